/* All pods of this node: those of the API, and what runs without belonging to one. */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/metrics.h"
#include "kubelet/pod/admit.h"
#include "kubelet/pod/pod.h"
#include "kubelet/pod/static.h"
#include "kubelet/volume/atomic.h"
#include <dirent.h>
#include <string.h>
#include <unistd.h>

/* --- the list --- */

struct pod *pods_find_uid(struct kubelet *k, const char *uid)
{
    struct pod *found = NULL;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->pod_count && !found; i++)
        if (strcmp(k->pods[i]->uid, uid) == 0)
            found = pod_ref(k->pods[i]);
    pthread_mutex_unlock(&k->lock);
    return found;
}

struct pod *pods_find(struct kubelet *k, const char *ns, const char *name)
{
    cleanup_free char *key = mem_printf("%s/%s", ns, name);
    struct pod *found = NULL;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->pod_count; i++) {
        struct pod *p = k->pods[i];
        if (strcmp(p->key, key) == 0 && (!found || !p->removed)) { /* of two of one name, the living one */
            pod_unref(found);
            found = pod_ref(p);
        }
    }
    pthread_mutex_unlock(&k->lock);
    return found;
}

struct pod **pods_all(struct kubelet *k)
{
    pthread_mutex_lock(&k->lock);
    struct pod **list = mem_alloc((k->pod_count + 1) * sizeof(*list));
    for (size_t i = 0; i < k->pod_count; i++)
        list[i] = pod_ref(k->pods[i]);
    pthread_mutex_unlock(&k->lock);
    return list;
}

void pods_free_list(struct pod **list)
{
    for (size_t i = 0; list[i]; i++)
        pod_unref(list[i]);
    free(list);
}

void pods_wake_all(struct kubelet *k)
{
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++)
        pod_wake(list[i]);
    pods_free_list(list);
}

/* A pod with the resources that it was given. With its lock held. */
static const cJSON *given(const struct pod *p)
{
    return (p->effective ? p->effective : p->object)->json;
}

/* The class of burstable pods as a whole weighs what its pods ask for. */
void pods_weigh(struct kubelet *k)
{
    int64_t milli = 0;
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++) {
        pthread_mutex_lock(&list[i]->lock);
        if (!list[i]->resources_released && strcmp(pod_qos(list[i]->object->json), "Burstable") == 0) {
            struct pod_resources r;
            pod_effective_resources(given(list[i]), &r);
            milli += r.cpu_request_milli;
        }
        pthread_mutex_unlock(&list[i]->lock);
    }
    pods_free_list(list);
    cgroups_set_burstable(k->cgroups, milli);
}

static bool newer(const char *a, const char *b)
{
    return strtoull(a, NULL, 10) > strtoull(b, NULL, 10);
}

void pods_add(struct kubelet *k, struct kube_object *o, bool is_static)
{
    cleanup_pod struct pod *p = pod_new(k, o);
    p->is_static = is_static;
    pthread_mutex_lock(&k->lock);
    /* Of two static pods of one name the new one takes the old one's mirror over, and replaces it. */
    for (size_t i = 0; is_static && i < k->pod_count; i++) {
        struct pod *other = k->pods[i];
        if (!other->is_static || strcmp(other->key, p->key) != 0)
            continue;
        pthread_mutex_lock(&other->lock);
        kube_object_unref(p->mirror);
        p->mirror = other->mirror;
        other->mirror = NULL;
        pthread_mutex_unlock(&other->lock);
    }
    k->pods = mem_realloc(k->pods, (k->pod_count + 1) * sizeof(*k->pods));
    k->pods[k->pod_count++] = pod_ref(p);
    pthread_mutex_unlock(&k->lock);
    pods_weigh(k);
    pod_wake(p);
}

struct pod *pods_predecessor(struct pod *p)
{
    struct kubelet *k = p->kubelet;
    struct pod *found = NULL;
    pthread_mutex_lock(&k->lock);
    for (size_t i = 0; i < k->pod_count && k->pods[i] != p && !found; i++)
        if (strcmp(k->pods[i]->key, p->key) == 0)
            found = pod_ref(k->pods[i]);
    pthread_mutex_unlock(&k->lock);
    return found;
}

void pods_handle_event(void *kubelet, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *new_object)
{
    struct kubelet *k = kubelet;
    const struct kube_object *o = event == INFORMER_DELETED ? old : new_object;
    cleanup_error struct error *bad = NULL;
    if (!translate_safe_names(o->json, &bad)) {
        log_error("Ignoring a pod", "pod", o->key, "err", error_message(bad));
        return;
    }
    if (is_mirror_pod(o->json)) {
        static_mirror_changed(k, event, (struct kube_object *)o);
        return;
    }
    cleanup_pod struct pod *p = pods_find_uid(k, o->uid);
    if (!p && event == INFORMER_DELETED)
        return;
    /* A name given anew while we did not look: what had it is gone. */
    if (event == INFORMER_UPDATED && strcmp(old->uid, o->uid) != 0)
        pods_handle_event(k, INFORMER_DELETED, old, NULL);
    if (!p) {
        pods_add(k, (struct kube_object *)o, false);
        return;
    }
    pthread_mutex_lock(&p->lock);
    if (event == INFORMER_DELETED)
        p->removed = true;
    if (newer(o->resource_version, p->object->resource_version) || event == INFORMER_DELETED) {
        kube_object_unref(p->object);
        p->object = kube_object_ref((struct kube_object *)o);
    }
    pthread_mutex_unlock(&p->lock);
    pod_wake(p);
}

void pods_forget(struct pod *p)
{
    struct kubelet *k = p->kubelet;
    bool found = false;
    pthread_mutex_lock(&k->lock);
    cleanup_pod struct pod *next = NULL; /* of its name, waiting for its end */
    for (size_t i = 0; i < k->pod_count; i++) {
        if (k->pods[i] == p)
            found = true;
        else if (!next && strcmp(k->pods[i]->key, p->key) == 0)
            next = pod_ref(k->pods[i]);
        if (found && i + 1 < k->pod_count)
            k->pods[i] = k->pods[i + 1]; /* in the order in which they came: pods_predecessor() */
    }
    k->pod_count -= found;
    pthread_mutex_unlock(&k->lock);
    if (found) {
        pod_unref(p);
        pods_weigh(k);
        if (next)
            pod_wake(next);
    }
}

/* --- admission --- */

static bool reject(struct pod *p, const struct kube_object *o, const char *reason, const char *message)
{
    pthread_mutex_lock(&p->lock);
    if (!p->end_phase) {
        p->end_phase = mem_strdup("Failed");
        p->end_reason = mem_strdup(reason);
        p->end_message = mem_printf("Pod was rejected: %s", message);
    }
    p->settled = false;
    pthread_mutex_unlock(&p->lock);
    kubelet_event(p->kubelet, o->json, NULL, "Warning", reason, "%s", message);
    return false;
}

void pods_used(struct kubelet *k, const struct pod *but, int64_t *pods, struct pod_resources *out)
{
    *pods = 0;
    *out = (struct pod_resources){0};
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++) {
        if (list[i] == but)
            continue;
        pthread_mutex_lock(&list[i]->lock);
        bool counts = list[i]->admitted && !list[i]->resources_released && !pod_is_terminal(list[i]->object->json);
        struct pod_resources r = {0};
        if (counts)
            pod_effective_resources(given(list[i]), &r);
        pthread_mutex_unlock(&list[i]->lock);
        *pods += counts;
        out->cpu_request_milli += r.cpu_request_milli;
        out->memory_request += r.memory_request;
    }
    pods_free_list(list);
}

bool pods_admit(struct pod *p, const struct kube_object *o)
{
    struct kubelet *k = p->kubelet;
    /* What runs already was admitted before we were started again. */
    if (p->sandboxes.count || p->containers.count) {
        p->admitted = true;
        return true;
    }
    const char *reason;
    cleanup_free char *refused = admit_refuses(k, o->json, &reason);
    if (refused)
        return reject(p, o, reason, refused);
    struct pod_resources own, used;
    pod_effective_resources(o->json, &own);
    int64_t pods;
    pods_used(k, p, &pods, &used);
    const struct {
        const char *name, *reason;
        int64_t own, used, capacity;
    } limits[] = {
        {"pods", "OutOfpods", 1, pods, k->max_pods},
        {"cpu", "OutOfcpu", own.cpu_request_milli, used.cpu_request_milli, k->allocatable_cpu_milli},
        {"memory", "OutOfmemory", own.memory_request, used.memory_request, k->allocatable_memory},
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (limits[i].own > 0 && limits[i].capacity > 0 && limits[i].own + limits[i].used > limits[i].capacity) {
            cleanup_free char *message =
                mem_printf("Node didn't have enough resource: %s, requested: %lld, used: %lld, capacity: %lld",
                           limits[i].name, (long long)limits[i].own, (long long)limits[i].used,
                           (long long)limits[i].capacity);
            return reject(p, o, limits[i].reason, message);
        }
    }
    p->admitted = true;
    return true;
}

/* --- what the runtime has --- */

/* An end for what runs without a pod of the API: it was deleted while we were away. */
struct orphan {
    struct kubelet *kubelet;
    char *uid;
};

static void end_orphan(void *arg)
{
    struct orphan *j = arg;
    struct kubelet *k = j->kubelet;
    enum { GRACE = 30 };
    cleanup_runtime_sandboxes struct runtime_sandboxes sandboxes = {0};
    cleanup_runtime_containers struct runtime_containers containers = {0};
    cleanup_pod struct pod *p = pods_find_uid(k, j->uid); /* it may have come meanwhile */
    bool ok = !p && cri_list_sandboxes(&k->cri, j->uid, &sandboxes, NULL) &&
              cri_list_containers(&k->cri, j->uid, &containers, NULL);
    for (size_t i = 0; ok && i < containers.count; i++) {
        if (containers.items[i].state == CONTAINER_RUNNING)
            cri_stop_container(&k->cri, containers.items[i].id, GRACE, NULL);
        ok = cri_remove_container(&k->cri, containers.items[i].id, NULL);
    }
    for (size_t i = 0; ok && i < sandboxes.count; i++)
        ok = cri_stop_sandbox(&k->cri, sandboxes.items[i].id, NULL) &&
             cri_remove_sandbox(&k->cri, sandboxes.items[i].id, NULL);
    if (ok)
        log_info("Removed a pod that is not in the API any more", "uid", j->uid);
    free(j->uid);
    free(j);
}

/* What was last seen of each container, to find what changed. Guarded by seen_lock; used by one relist at a time. */
static struct seen {
    char id[72];
    char uid[64];
    int state;
} *seen;
static size_t seen_count;
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;

static int state_seen(const char *id)
{
    for (size_t i = 0; i < seen_count; i++)
        if (strcmp(seen[i].id, id) == 0)
            return seen[i].state;
    return -1;
}

static void remember(struct seen *next, size_t *n, const char *id, const char *uid, int state)
{
    snprintf(next[*n].id, sizeof(next[*n].id), "%s", id);
    snprintf(next[*n].uid, sizeof(next[*n].uid), "%s", uid);
    next[*n].state = state;
    (*n)++;
}

/* What changed since the last listing, as uids of pods (with repetitions); the caller frees all. */
static char **changes(const struct runtime_sandboxes *sandboxes, const struct runtime_containers *containers)
{
    size_t total = sandboxes->count + containers->count, n = 0, changed = 0;
    struct seen *next = mem_alloc((total + 1) * sizeof(*next));
    pthread_mutex_lock(&seen_lock);
    char **uids = mem_alloc((total + seen_count + 1) * sizeof(*uids));
    for (size_t i = 0; i < total; i++) {
        bool is_sandbox = i < sandboxes->count;
        const struct runtime_sandbox *s = is_sandbox ? &sandboxes->items[i] : NULL;
        const struct runtime_container *c = is_sandbox ? NULL : &containers->items[i - sandboxes->count];
        const char *id = is_sandbox ? s->id : c->id, *uid = is_sandbox ? s->pod_uid : c->pod_uid;
        int state = is_sandbox ? (int)s->ready : 10 + (int)c->state;
        if (state_seen(id) != state)
            uids[changed++] = mem_strdup(uid);
        remember(next, &n, id, uid, state);
    }
    for (size_t i = 0; i < seen_count; i++) {
        bool there = false;
        for (size_t m = 0; m < n && !there; m++)
            there = strcmp(next[m].id, seen[i].id) == 0;
        if (!there)
            uids[changed++] = mem_strdup(seen[i].uid);
    }
    free(seen);
    seen = next;
    seen_count = n;
    pthread_mutex_unlock(&seen_lock);
    return uids;
}

static void count_running(const struct runtime_sandboxes *sandboxes, const struct runtime_containers *containers)
{
    size_t pods = 0, states[4] = {0};
    for (size_t i = 0; i < sandboxes->count; i++)
        pods += sandboxes->items[i].ready;
    for (size_t i = 0; i < containers->count; i++)
        states[containers->items[i].state & 3]++;
    kubelet_metrics_running(pods, states[CONTAINER_RUNNING], states[CONTAINER_CREATED], states[CONTAINER_EXITED]);
}

void pods_relist(struct kubelet *k, bool collect)
{
    cleanup_runtime_sandboxes struct runtime_sandboxes sandboxes = {0};
    cleanup_runtime_containers struct runtime_containers containers = {0};
    if (!cri_list_sandboxes(&k->cri, NULL, &sandboxes, NULL) || !cri_list_containers(&k->cri, NULL, &containers, NULL))
        return;
    char **changed = changes(&sandboxes, &containers);
    count_running(&sandboxes, &containers);
    for (size_t i = 0; changed[i]; i++) {
        cleanup_pod struct pod *p = pods_find_uid(k, changed[i]);
        if (p)
            pod_wake(p);
        free(changed[i]);
    }
    free(changed);
    for (size_t i = 0; collect && i < sandboxes.count; i++) {
        const char *uid = sandboxes.items[i].pod_uid;
        bool first = true;
        for (size_t m = 0; m < i && first; m++)
            first = strcmp(sandboxes.items[m].pod_uid, uid) != 0;
        cleanup_pod struct pod *p = pods_find_uid(k, uid);
        if (p || !first)
            continue;
        struct orphan *j = mem_alloc(sizeof(*j));
        j->kubelet = k;
        j->uid = mem_strdup(uid);
        pool_run(k->pool, end_orphan, j);
    }
}

void pods_container_changed(struct kubelet *k, const char *id, bool ended)
{
    struct pod **list = pods_all(k);
    bool found = false;
    for (size_t i = 0; list[i] && !found; i++) {
        struct pod *p = list[i];
        pthread_mutex_lock(&p->lock);
        for (size_t n = 0; n < p->containers.count && !found; n++)
            found = strcmp(p->containers.items[n].id, id) == 0;
        for (size_t n = 0; n < p->sandboxes.count && !found; n++)
            found = strcmp(p->sandboxes.items[n].id, id) == 0;
        /* One that was started a moment ago is known by its state before the list has it. */
        for (size_t n = 0; n < p->state_count && !found; n++)
            found = p->states[n].instance && strcmp(p->states[n].instance, id) == 0;
        bool busy = p->running;
        if (found && ended) {
            free(p->ended_id);
            p->ended_id = mem_strdup(id);
            p->ended_looks = 0;
        }
        pthread_mutex_unlock(&p->lock);
        if (found || busy) /* a pod that is being synced may be about to know it */
            pod_wake(p);
    }
    pods_free_list(list);
}

/* --- garbage --- */

static bool known_uid(struct kubelet *k, const char *uid)
{
    cleanup_pod struct pod *p = pods_find_uid(k, uid);
    return p != NULL;
}

static bool runs(struct kubelet *k, const char *uid)
{
    cleanup_runtime_sandboxes struct runtime_sandboxes sandboxes = {0};
    return !cri_list_sandboxes(&k->cri, uid, &sandboxes, NULL) || sandboxes.count > 0;
}

static void remove_group(void *userdata, const char *uid, const char *path)
{
    struct kubelet *k = userdata;
    if (!known_uid(k, uid) && !runs(k, uid))
        cgroups_remove_pod(k->cgroups, path, NULL);
}

void pods_collect_garbage(struct kubelet *k)
{
    cleanup_free char *pods_dir = mem_printf("%s/pods", k->root_dir);
    DIR *d = opendir(pods_dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.' || known_uid(k, e->d_name) || runs(k, e->d_name))
            continue;
        cleanup_error struct error *failure = NULL;
        if (!volumes_teardown(&k->volumes, e->d_name, &failure))
            log_warn("Could not remove the directory of a pod that is gone", "uid", e->d_name, "err",
                     error_message(failure));
    }
    if (d)
        closedir(d);
    d = opendir("/var/log/pods");
    for (struct dirent *e; d && (e = readdir(d));) {
        const char *uid = strrchr(e->d_name, '_');
        if (e->d_name[0] == '.' || !uid || known_uid(k, uid + 1) || runs(k, uid + 1))
            continue;
        cleanup_free char *dir = mem_printf("/var/log/pods/%s", e->d_name);
        remove_tree(dir, NULL);
    }
    if (d)
        closedir(d);
    d = opendir("/var/log/containers");
    for (struct dirent *e; d && (e = readdir(d));) {
        cleanup_free char *link = mem_printf("/var/log/containers/%s", e->d_name);
        if (e->d_type == DT_LNK && access(link, F_OK) != 0)
            unlink(link);
    }
    if (d)
        closedir(d);
    cgroups_each_pod(k->cgroups, remove_group, k);
    object_cache_expire(k->objects);
}
