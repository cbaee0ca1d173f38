/* Keeps the status of PodDisruptionBudgets: how many of their pods may be evicted now. (The API
 * server takes one out of that number at each eviction and writes the pod down; here it is counted
 * anew.) https://kubernetes.io/docs/concepts/workloads/pods/disruptions/ */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/controller.h"
#include "controller-manager/discovery.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/strmap.h"

enum {
    DELETION_TIMEOUT_S = 120
}; /* how long an evicted pod counts as gone though nobody has deleted it */

struct disruption {
    struct informer *budgets, *pods, *sets, *deployments;
    struct recorder *recorder;
};

/* --- how many pods there should be --- */

/* The scale of what controls a pod; -1 with an error. *uid: whose it is (caller frees). */
static int64_t scale_of(struct controller *c, const cJSON *pod, const cJSON *ref, char **uid,
                        struct error **err)
{
    struct disruption *d = c->state;
    const char *kind = json_str_or(ref, "kind", ""), *name = json_str_or(ref, "name", "");
    const char *api_version = json_str_or(ref, "apiVersion", "");
    *uid = mem_strdup(json_str_or(ref, "uid", ""));
    if (!strcmp(kind, "ReplicaSet") && !strcmp(api_version, "apps/v1")) {
        cleanup_object struct kube_object *set = informer_get_ns(d->sets, meta_ns(pod), name);
        if (!set || strcmp(set->uid, *uid) != 0) {
            error_setf(err, "found no controllers for pod \"%s\"", meta_name(pod));
            return -1;
        }
        const cJSON *owner = controller_ref(set->json);
        if (!owner || strcmp(json_str_or(owner, "kind", ""), "Deployment") != 0)
            return json_int(set->json, "spec.replicas", 0);
        cleanup_object struct kube_object *deployment =
            informer_get_ns(d->deployments, meta_ns(pod), json_str_or(owner, "name", ""));
        if (!deployment || strcmp(deployment->uid, json_str_or(owner, "uid", "")) != 0)
            return json_int(set->json, "spec.replicas", 0);
        free(*uid);
        *uid = mem_strdup(deployment->uid);
        return json_int(deployment->json, "spec.replicas", 0);
    }
    cleanup_resources struct api_resources kinds = {0};
    if (!discover_resources(c->client, &kinds, err))
        return -1;
    const struct api_resource *r = api_resource_of_kind(&kinds, api_version, kind);
    if (!r) {
        error_setf(err, "found no controllers for pod \"%s\"", meta_name(pod));
        return -1;
    }
    cleanup_free char *path =
        kube_path_new(r->api_version, r->resource, meta_ns(pod), name, "scale");
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *scale = kube_get(c->client, path, &e);
    if (scale && !strcmp(meta_uid(scale), *uid))
        return json_int(scale, "spec.replicas", 0);
    if (kube_error_is(e, "NotFound"))
        error_setf(err, "%s%s%s does not implement the scale subresource", r->resource,
                   *r->group ? "." : "", r->group);
    else
        error_setf(err, "found no controllers for pod \"%s\"", meta_name(pod));
    return -1;
}

struct expected {
    int64_t count, healthy; /* pods that there should be; of these, how many must be healthy */
    size_t unmanaged;       /* pods without a controller */
};

/* The scales of all that control the pods, each once. */
static bool sum_scales(struct controller *c, const struct kube_object_list *pods,
                       struct expected *out, struct error **err)
{
    struct strmap seen = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < pods->count; i++) {
        const cJSON *pod = pods->items[i]->json, *ref = controller_ref(pod);
        if (!ref) {
            out->unmanaged++;
            continue;
        }
        if (strmap_get(&seen, json_str_or(ref, "uid", "")))
            continue;
        cleanup_free char *uid = NULL;
        int64_t scale = scale_of(c, pod, ref, &uid, err);
        ok = scale >= 0;
        strmap_put(&seen, json_str_or(ref, "uid", ""), c);
        /* Two ReplicaSets of one Deployment have one scale. */
        if (ok && (!strcmp(uid, json_str_or(ref, "uid", "")) || !strmap_get(&seen, uid)))
            out->count += scale;
        if (ok)
            strmap_put(&seen, uid, c);
    }
    strmap_clear(&seen, NULL);
    return ok;
}

static bool expect(struct controller *c, const cJSON *budget, const struct kube_object_list *pods,
                   struct expected *out, struct error **err)
{
    const cJSON *min = json_path(budget, "spec.minAvailable"),
                *max = json_path(budget, "spec.maxUnavailable");
    *out = (struct expected){0};
    if (cJSON_IsNumber(min)) {
        out->count = (int64_t)pods->count;
        out->healthy = (int64_t)min->valuedouble;
        return true;
    }
    if ((!min && !max) || !sum_scales(c, pods, out, err))
        return !min && !max;
    int64_t n = 0;
    if (!int_or_percent(max ? max : min, out->count, true, &n)) {
        error_setf(err, "invalid value for IntOrString: invalid type: string is not a percentage");
        return false;
    }
    out->healthy = max ? out->count - n : n;
    if (out->healthy < 0)
        out->healthy = 0;
    return true;
}

/* --- the pods --- */

static void find_pods(struct disruption *d, const cJSON *budget, struct kube_object_list *out)
{
    struct label_selector *s = label_selector_from_json(json_path(budget, "spec.selector"), NULL);
    cleanup_objects struct kube_object_list all = {0};
    if (s)
        informer_by_index(d->pods, "namespace", meta_ns(budget), &all);
    for (size_t i = 0; i < all.count; i++) {
        if (!label_selector_matches(s, meta_labels(all.items[i]->json)))
            continue;
        out->items = mem_realloc(out->items, (out->count + 1) * sizeof *out->items);
        out->items[out->count++] = kube_object_ref(all.items[i]);
    }
    label_selector_free(s);
}

/* Evicted pods whose end is still to come. *again: seconds until one of them must be looked at
 * anew, 0 for never. */
static cJSON *still_disrupted(struct disruption *d, const cJSON *budget,
                              const struct kube_object_list *pods, int64_t now, int64_t *again)
{
    cJSON *result = cJSON_CreateObject();
    const cJSON *before = json_path(budget, "status.disruptedPods");
    *again = 0;
    for (size_t i = 0; i < pods->count; i++) {
        const cJSON *pod = pods->items[i]->json;
        const char *since = json_map_str(before, meta_name(pod));
        int64_t micros;
        if (!since || meta_deleting(pod) || !time_parse(since, &micros))
            continue;
        int64_t left = micros / 1000000 + DELETION_TIMEOUT_S - now;
        if (left < 0) {
            recorder_event(d->recorder, pod, "Warning", "NotDeleted",
                           "Pod was expected by PDB %s/%s to be deleted but it wasn't",
                           meta_ns(budget), meta_name(budget));
            continue;
        }
        json_map_set_str(result, meta_name(pod), since);
        if (!*again || left + 1 < *again)
            *again = left + 1;
    }
    return result;
}

static int64_t count_healthy(const struct kube_object_list *pods, const cJSON *disrupted)
{
    int64_t n = 0;
    for (size_t i = 0; i < pods->count; i++) {
        const cJSON *pod = pods->items[i]->json;
        n += !meta_deleting(pod) && !json_map_str(disrupted, meta_name(pod)) && pod_ready(pod);
    }
    return n;
}

/* --- the status --- */

static bool write_status(struct controller *c, const cJSON *budget, cJSON *status_taken,
                         struct error **err)
{
    cleanup_json cJSON *updated = json_dup(budget);
    bool same = json_equal(status_taken, json_get(budget, "status"));
    json_map_set(updated, "status", status_taken);
    if (same)
        return true;
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer =
        update_status(c->client, "policy/v1", "poddisruptionbudgets", updated, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

static void set_allowed(cJSON *status, const char *value, const char *reason, const char *message)
{
    cJSON *conditions = json_ensure_array(status, "conditions");
    condition_set(conditions, "DisruptionAllowed", value, reason, message);
    json_set_int(condition_find(conditions, "DisruptionAllowed"), "observedGeneration",
                 json_int(status, "observedGeneration", 0));
}

/* Nothing may be evicted while nobody knows what that would do. */
static bool fail_safe(struct controller *c, const cJSON *budget, const char *why,
                      struct error **err)
{
    cJSON *status = json_dup(json_get(budget, "status"));
    if (!status)
        status = cJSON_CreateObject();
    json_set_int(status, "disruptionsAllowed", 0);
    set_allowed(status, "False", "SyncFailed", why);
    return write_status(c, budget, status, err);
}

static void tell(struct disruption *d, const cJSON *budget, const struct kube_object_list *pods,
                 const struct expected *e)
{
    if (!pods->count)
        recorder_event(d->recorder, budget, "Normal", "NoPods", "No matching pods found");
    if (!e->unmanaged)
        return;
    struct label_selector *s = label_selector_from_json(json_path(budget, "spec.selector"), NULL);
    cleanup_free char *text = s ? label_selector_text(s) : mem_strdup("");
    recorder_event(d->recorder, budget, "Warning", "UnmanagedPods",
                   "Pods selected by this PodDisruptionBudget (selector: %s) were found to be "
                   "unmanaged. As a result, the status of the PDB cannot be calculated correctly, "
                   "which may result in undefined behavior. To account for these pods please set "
                   "\".spec.minAvailable\" field of the PDB to an integer value.",
                   text);
    label_selector_free(s);
}

static cJSON *new_status(const cJSON *budget, const struct expected *e, int64_t healthy,
                         cJSON *disrupted_taken)
{
    int64_t allowed = healthy - e->healthy;
    if (e->count <= 0 || allowed < 0)
        allowed = 0;
    cJSON *status = cJSON_CreateObject();
    const cJSON *conditions = json_path(budget, "status.conditions");
    if (conditions)
        json_map_set(status, "conditions", json_dup(conditions));
    json_set_int(status, "observedGeneration", meta_generation(budget));
    json_set_int(status, "currentHealthy", healthy);
    json_set_int(status, "desiredHealthy", e->healthy);
    json_set_int(status, "expectedPods", e->count);
    json_set_int(status, "disruptionsAllowed", allowed);
    if (disrupted_taken->child)
        json_map_set(status, "disruptedPods", disrupted_taken);
    else
        cJSON_Delete(disrupted_taken);
    set_allowed(status, allowed ? "True" : "False", allowed ? "SufficientPods" : "InsufficientPods",
                "");
    return status;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct disruption *d = c->state;
    cleanup_object struct kube_object *cached = informer_get(d->budgets, key);
    if (!cached)
        return true;
    const cJSON *budget = cached->json;
    cleanup_objects struct kube_object_list pods = {0};
    find_pods(d, budget, &pods);
    struct expected expected;
    cleanup_error struct error *e = NULL;
    bool known = expect(c, budget, &pods, &expected, &e);
    if (known) {
        tell(d, budget, &pods, &expected);
    } else {
        recorder_event(d->recorder, budget, "Warning", "CalculateExpectedPodCountFailed",
                       "Failed to calculate the number of expected pods: %s", error_message(e));
        if (!fail_safe(c, budget, error_message(e), err))
            return false;
        error_move(err, e);
        e = NULL;
        return false;
    }
    int64_t now = time_now_seconds(), again;
    cJSON *disrupted = still_disrupted(d, budget, &pods, now, &again);
    int64_t healthy = count_healthy(&pods, disrupted);
    if (again)
        workqueue_add_after(c->queue, key, again * 1000);
    return write_status(c, budget, new_status(budget, &expected, healthy, disrupted), err);
}

/* --- what feeds the queue --- */

static void enqueue_budgets(struct controller *c, const cJSON *pod)
{
    struct disruption *d = c->state;
    cleanup_objects struct kube_object_list budgets = {0};
    informer_by_index(d->budgets, "namespace", meta_ns(pod), &budgets);
    for (size_t i = 0; i < budgets.count; i++) {
        struct label_selector *s =
            label_selector_from_json(json_path(budgets.items[i]->json, "spec.selector"), NULL);
        if (s && label_selector_matches(s, meta_labels(pod)))
            workqueue_add(c->queue, budgets.items[i]->key);
        label_selector_free(s);
    }
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    (void)event;
    if (old)
        enqueue_budgets(userdata, old->json);
    if (new_object)
        enqueue_budgets(userdata, new_object->json);
}

/* A Deployment that wants more or fewer pods changes what is expected. */
static void on_scaled(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct disruption *d = c->state;
    if (event != INFORMER_UPDATED ||
        json_int(old->json, "spec.replicas", 0) == json_int(new_object->json, "spec.replicas", 0))
        return;
    cleanup_objects struct kube_object_list budgets = {0};
    informer_by_index(d->budgets, "namespace", new_object->ns, &budgets);
    for (size_t i = 0; i < budgets.count; i++)
        workqueue_add(c->queue, budgets.items[i]->key);
}

static void setup(struct controller *c)
{
    struct disruption *d = mem_alloc(sizeof *d);
    c->state = d;
    d->budgets = manager_informer(c->manager, "policy/v1", "poddisruptionbudgets");
    d->pods = manager_informer(c->manager, "v1", "pods");
    d->sets = manager_informer(c->manager, "apps/v1", "replicasets");
    d->deployments = manager_informer(c->manager, "apps/v1", "deployments");
    d->recorder = manager_recorder(c->manager, "controllermanager");
    informer_add_handler(d->budgets, controller_enqueue_object, c);
    informer_add_handler(d->pods, on_pod, c);
    informer_add_handler(d->deployments, on_scaled, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type disruption_controller = {.name = "disruption-controller",
                                                      .queue = "disruption",
                                                      .workers = 1,
                                                      .setup = setup,
                                                      .reconcile = reconcile,
                                                      .free_state = free_state};

/* --- pods that were to be disrupted, and were not --- */

static bool is_target(const cJSON *pod, int64_t *since)
{
    const cJSON *c = condition_find(json_path(pod, "status.conditions"), "DisruptionTarget");
    *since = json_time(c, "lastTransitionTime", 0);
    return c && !strcmp(json_str_or(c, "status", ""), "True") && !meta_deleting(pod) &&
           !pod_terminal(pod);
}

static bool reconcile_stale(struct controller *c, const char *key, struct error **err)
{
    struct disruption *d = c->state;
    cleanup_object struct kube_object *pod = informer_get(d->pods, key);
    int64_t since;
    if (!pod || !is_target(pod->json, &since))
        return true;
    int64_t left = since + DELETION_TIMEOUT_S - time_now_seconds();
    if (left > 0) {
        workqueue_add_after(c->queue, key, left * 1000);
        return true;
    }
    log_info("A disruption did not come about", "pod", key);
    return patch_pod_condition(c->client, pod->json, NULL, "DisruptionTarget", "False", NULL, NULL,
                               err);
}

static void on_target(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *new_object)
{
    struct controller *c = userdata;
    int64_t since;
    (void)event;
    (void)old;
    if (new_object && is_target(new_object->json, &since))
        workqueue_add(c->queue, new_object->key);
}

static void setup_stale(struct controller *c)
{
    struct disruption *d = mem_alloc(sizeof *d);
    c->state = d;
    d->pods = manager_informer(c->manager, "v1", "pods");
    informer_add_handler(d->pods, on_target, c);
}

const struct controller_type stale_disruption_controller = {.name = "disruption-controller-stale",
                                                            .part_of = "disruption-controller",
                                                            .queue = "stale_pod_disruption",
                                                            .workers = 1,
                                                            .setup = setup_stale,
                                                            .reconcile = reconcile_stale,
                                                            .free_state = free_state};
