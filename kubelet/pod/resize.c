#include "kubelet/pod/resize.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include <string.h>

#define RETRY_MS 10000 /* what the runtime refused; room that may come without our seeing it */

static bool same_resources(const cJSON *a, const cJSON *b)
{
    static const char *const kinds[] = {"requests", "limits"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const cJSON *x = json_get(a, kinds[i]), *y = json_get(b, kinds[i]);
        bool no_x = !cJSON_GetArraySize(x), no_y = !cJSON_GetArraySize(y);
        if (no_x != no_y || (!no_x && !json_equal(x, y)))
            return false;
    }
    return true;
}

/* What the API was told that a container runs with; NULL if it never was. */
static const cJSON *reported(const cJSON *status, enum container_kind kind, const char *name)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(status, container_kind_status(kind)))
    {
        if (strcmp(json_str_or(e, "name", ""), name) == 0 && json_str(e, "containerID"))
            return json_get(e, "resources");
    }
    return NULL;
}

static cJSON *copy_or_empty(const cJSON *resources)
{
    return cJSON_IsObject(resources) ? json_dup(resources) : cJSON_CreateObject();
}

/* --- allocation --- */

/* {"containers":[{"name":"c","resources":{...}}],"generation":2}, as events show it. */
static char *resize_text(const struct kube_object *o, const char *error)
{
    cleanup_json cJSON *text = cJSON_CreateObject();
    cJSON *list = json_ensure_array(text, "containers");
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(o->json, &all);
    for (size_t i = 0; i < all.count && all.items[i].kind != CONTAINER_EPHEMERAL; i++) {
        cJSON *e = cJSON_CreateObject();
        json_set_str(e, "name", all.items[i].name);
        json_set(e, "resources", copy_or_empty(json_get(all.items[i].spec, "resources")));
        cJSON_AddItemToArray(list, e);
    }
    json_set_int(text, "generation", json_int(o->json, "metadata.generation", 0));
    if (error)
        json_set_str(text, "error", error);
    return json_text(text);
}

static void note_pending(struct pod *p, const struct kube_object *o, const char *reason, const char *message)
{
    pthread_mutex_lock(&p->lock);
    bool told = p->resize_reason && strcmp(p->resize_reason, reason) == 0;
    char *r = mem_strdup(reason), *m = mem_strdup(message);
    free(p->resize_reason);
    free(p->resize_message);
    p->resize_reason = r;
    p->resize_message = m;
    pthread_mutex_unlock(&p->lock);
    if (told)
        return;
    cleanup_free char *text = resize_text(o, message), *event = mem_printf("Resize%s", reason);
    kubelet_event(p->kubelet, o->json, NULL, "Warning", event, "Pod resize %s: %s", reason, text);
}

static void clear_pending(struct pod *p)
{
    free(p->resize_reason);
    free(p->resize_message);
    p->resize_reason = p->resize_message = NULL;
}

/* Does what the pod asks for now fit the node? Otherwise notes that it never will, or not yet. */
static bool fits(struct pod *p, const struct kube_object *o, const cJSON *given)
{
    struct kubelet *k = p->kubelet;
    struct pod_resources own, had, used;
    int64_t pods;
    pod_effective_resources(o->json, &own);
    pod_effective_resources(given, &had);
    pods_used(k, p, &pods, &used);
    const struct {
        const char *name;
        int64_t own, had, used, capacity;
    } limits[] = {
        {"cpu", own.cpu_request_milli, had.cpu_request_milli, used.cpu_request_milli, k->allocatable_cpu_milli},
        {"memory", own.memory_request, had.memory_request, used.memory_request, k->allocatable_memory},
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        long long want = limits[i].own, others = limits[i].used, capacity = limits[i].capacity;
        if (capacity <= 0 || want <= limits[i].had)
            continue;
        if (want > capacity) {
            cleanup_free char *message = mem_printf("Node didn't have enough capacity: %s, requested: %lld, capacity: %lld",
                                                    limits[i].name, want, capacity);
            note_pending(p, o, "Infeasible", message);
            return false;
        }
        if (want + others > capacity) {
            cleanup_free char *message =
                mem_printf("Node didn't have enough resource: %s, requested: %lld, used: %lld, capacity: %lld",
                           limits[i].name, want, others, capacity);
            note_pending(p, o, "Deferred", message);
            pod_wake_after(p, RETRY_MS);
            return false;
        }
    }
    return true;
}

/* The object with the resources that are allocated in place of those that are asked for. With the lock held. */
static cJSON *with_allocation(const struct pod *p, const struct kube_object *o)
{
    cJSON *copy = json_dup(o->json);
    static const char *const lists[] = {"spec.initContainers", "spec.containers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        cJSON *c;
        cJSON_ArrayForEach(c, json_path(copy, lists[i]))
        {
            const cJSON *given = json_get(p->allocation, json_str_or(c, "name", ""));
            if (given)
                json_set(c, "resources", json_dup(given));
        }
    }
    return copy;
}

struct kube_object *pod_allocate(struct pod *p, const struct kube_object *o)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(o->json, &all);
    pthread_mutex_lock(&p->lock);
    if (!p->allocation)
        p->allocation = cJSON_CreateObject();
    bool differs = false;
    for (size_t i = 0; i < all.count && all.items[i].kind != CONTAINER_EPHEMERAL; i++) {
        const cJSON *wanted = json_get(all.items[i].spec, "resources");
        const cJSON *given = json_get(p->allocation, all.items[i].name);
        if (!given) { /* seen for the first time, or we were restarted */
            given = reported(pod_reported_status(p, o), all.items[i].kind, all.items[i].name);
            json_map_set(p->allocation, all.items[i].name, copy_or_empty(given ? given : wanted));
            given = json_get(p->allocation, all.items[i].name);
        }
        differs = differs || !same_resources(given, wanted);
    }
    cJSON *copy = differs ? with_allocation(p, o) : NULL;
    if (!differs) {
        clear_pending(p);
        kube_object_unref(p->effective);
        p->effective = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    if (!differs)
        return kube_object_ref((struct kube_object *)o);

    if (!fits(p, o, copy)) {
        struct kube_object *given = kube_object_new(copy);
        pthread_mutex_lock(&p->lock);
        kube_object_unref(p->effective);
        p->effective = kube_object_ref(given);
        pthread_mutex_unlock(&p->lock);
        return given;
    }
    cJSON_Delete(copy);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < all.count && all.items[i].kind != CONTAINER_EPHEMERAL; i++)
        json_map_set(p->allocation, all.items[i].name, copy_or_empty(json_get(all.items[i].spec, "resources")));
    clear_pending(p);
    p->resizing = true;
    kube_object_unref(p->effective);
    p->effective = NULL;
    pthread_mutex_unlock(&p->lock);
    pods_weigh(p->kubelet);
    cleanup_free char *text = resize_text(o, NULL);
    kubelet_event(p->kubelet, o->json, NULL, "Normal", "ResizeStarted", "Pod resize started: %s", text);
    return kube_object_ref((struct kube_object *)o);
}

void pods_retry_resizes(struct kubelet *k)
{
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++) {
        pthread_mutex_lock(&list[i]->lock);
        bool waits = list[i]->resize_reason != NULL;
        pthread_mutex_unlock(&list[i]->lock);
        if (waits)
            pod_wake(list[i]);
    }
    pods_free_list(list);
}

/* --- actuation --- */

void pod_set_applied(struct pod_container_state *s, const cJSON *spec)
{
    cJSON_Delete(s->applied);
    s->applied = copy_or_empty(json_get(spec, "resources"));
}

static bool needs_restart(const cJSON *spec, const cJSON *applied)
{
    cleanup_json cJSON *was = cJSON_CreateObject();
    json_set(was, "resources", json_dup(applied));
    const cJSON *policy;
    cJSON_ArrayForEach(policy, json_get(spec, "resizePolicy"))
    {
        const char *resource = json_str_or(policy, "resourceName", "");
        if (strcmp(json_str_or(policy, "restartPolicy", ""), "RestartContainer") == 0 &&
            (container_resource(spec, false, resource) != container_resource(was, false, resource) ||
             container_resource(spec, true, resource) != container_resource(was, true, resource)))
            return true;
    }
    return false;
}

static void note_error(struct pod *p, char *message_taken)
{
    pthread_mutex_lock(&p->lock);
    free(p->resize_error);
    p->resize_error = message_taken;
    pthread_mutex_unlock(&p->lock);
    if (message_taken)
        pod_wake_after(p, RETRY_MS);
}

bool pod_actuate(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const cJSON *spec,
                 const struct runtime_container *c)
{
    struct kubelet *k = p->kubelet;
    pthread_mutex_lock(&p->lock);
    if (!s->applied) {
        const cJSON *told = reported(pod_reported_status(p, o), s->kind, s->name);
        s->applied = copy_or_empty(told ? told : json_get(spec, "resources"));
    }
    bool same = same_resources(s->applied, json_get(spec, "resources"));
    bool restart = !same && needs_restart(spec, s->applied);
    if (!same)
        p->resizing = true;
    if (restart && !s->stopping) {
        cleanup_free char *message = mem_printf("Container %s resize requires restart", s->name);
        pod_kill_container(p, s, c->id, json_int(o->json, "spec.terminationGracePeriodSeconds", 30), message);
    }
    pthread_mutex_unlock(&p->lock);
    if (same || restart)
        return same;

    cleanup_arena struct arena a = {0};
    cri_resources *resources = translate_resources(&a, &k->translate, o->json, spec);
    if (!resources->cpu_quota) {
        resources->cpu_quota = -1; /* zero would leave the old limit */
        resources->cpu_period = CPU_PERIOD_US;
    }
    if (!resources->memory_limit_in_bytes)
        resources->memory_limit_in_bytes = -1;
    cleanup_free char *group = cgroups_pod_path(k->cgroups, pod_qos(o->json), p->uid);
    cleanup_free char *own = mem_printf("%s/%s", group, c->id);
    int64_t usage = cgroups_memory_usage(k->cgroups, own), limit = resources->memory_limit_in_bytes;
    if (limit > 0 && usage > limit) {
        note_error(p, mem_printf("attempting to set pod memory limit (%lld) below current usage (%lld)", (long long)limit,
                                 (long long)usage));
        return false;
    }
    cleanup_error struct error *failure = NULL;
    if (!cri_update_resources(&k->cri, c->id, resources, &failure)) {
        log_warn("Could not resize a container", "pod", p->key, "container", s->name, "err", error_message(failure));
        note_error(p, mem_strdup(error_message(failure)));
        return false;
    }
    note_error(p, NULL);
    pthread_mutex_lock(&p->lock);
    pod_set_applied(s, spec);
    pthread_mutex_unlock(&p->lock);
    return true;
}

void pod_resize_settle(struct pod *p, const struct kube_object *o, bool done)
{
    pthread_mutex_lock(&p->lock);
    bool over = p->resizing && done;
    if (over)
        p->resizing = false;
    pthread_mutex_unlock(&p->lock);
    if (!over)
        return;
    cleanup_free char *text = resize_text(o, NULL);
    kubelet_event(p->kubelet, o->json, NULL, "Normal", "ResizeCompleted", "Pod resize completed: %s", text);
}

/* --- what is told --- */

static void add(const struct pod *p, cJSON *status, const char *type, const char *reason, const char *message, int64_t now)
{
    cJSON *o = cJSON_CreateObject();
    const cJSON *old = NULL, *c;
    cJSON_ArrayForEach(c, json_get(p->status, "conditions"))
    {
        if (strcmp(json_str_or(c, "type", ""), type) == 0)
            old = c;
    }
    char text[TIME_TEXT_MAX];
    json_set_str(o, "type", type);
    json_set_str(o, "status", "True");
    int64_t generation = json_int(p->object->json, "metadata.generation", 0);
    if (generation > 0)
        json_set_int(o, "observedGeneration", generation);
    json_set_str(o, "lastTransitionTime", json_str_or(old, "lastTransitionTime", time_format(now, text)));
    json_set_str(o, "reason", reason);
    json_set_str(o, "message", message);
    cJSON_AddItemToArray(json_ensure_array(status, "conditions"), o);
}

void resize_conditions(const struct pod *p, cJSON *status, int64_t now)
{
    if (p->resize_reason)
        add(p, status, "PodResizePending", p->resize_reason, p->resize_message, now);
    if (p->resizing)
        add(p, status, "PodResizeInProgress", p->resize_error ? "Error" : NULL, p->resize_error, now);
}
