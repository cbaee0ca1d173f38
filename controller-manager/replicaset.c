/* Keeps as many pods as a ReplicaSet wants. The workload's kind is a parameter:
 * ReplicationControllers differ by names only. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/claim.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/ranking.h"
#include "controller-manager/requests.h"

enum { BURST = 500, STALE_CACHE_RECHECK_MS = 1000 };

struct replicas_kind {
    const char *api_version, *kind, *resource, *component;
};
static const struct replicas_kind replicaset_kind = {"apps/v1", "ReplicaSet", "replicasets",
                                                     "replicaset-controller"};

struct replicas {
    const struct replicas_kind *kind;
    struct informer *sets, *pods;
    struct recorder *recorder;
    struct expectations *expectations;
};

/* --- what feeds the queue --- */

static struct kube_object *set_of_pod(struct replicas *r, const cJSON *pod)
{
    const cJSON *ref = controller_ref(pod);
    if (!ref || strcmp(json_str_or(ref, "kind", ""), r->kind->kind) != 0)
        return NULL;
    struct kube_object *set = informer_get_ns(r->sets, meta_ns(pod), json_str_or(ref, "name", ""));
    if (set && strcmp(set->uid, json_str_or(ref, "uid", "")) == 0)
        return set;
    kube_object_unref(set);
    return NULL;
}

static void enqueue_matching_sets(struct controller *c, const cJSON *pod)
{
    struct replicas *r = c->state;
    cleanup_objects struct kube_object_list sets = {0};
    if (!meta_labels(pod))
        return;
    informer_by_index(r->sets, "namespace", meta_ns(pod), &sets);
    for (size_t i = 0; i < sets.count; i++) {
        struct label_selector *selector =
            label_selector_from_json(json_path(sets.items[i]->json, "spec.selector"), NULL);
        if (selector && !label_selector_empty(selector) &&
            label_selector_matches(selector, meta_labels(pod)))
            workqueue_add(c->queue, sets.items[i]->key);
        label_selector_free(selector);
    }
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct replicas *r = c->state;
    (void)event;
    const cJSON *states[] = {old ? old->json : NULL, new_object ? new_object->json : NULL};
    if (old && new_object && strcmp(old->resource_version, new_object->resource_version) == 0)
        return;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        cleanup_object struct kube_object *set = states[i] ? set_of_pod(r, states[i]) : NULL;
        if (set)
            workqueue_add(c->queue, set->key);
    }
    bool owned = new_object && controller_ref(new_object->json);
    if (!new_object || owned || meta_deleting(new_object->json))
        return;
    bool same = old && json_equal(meta_labels(old->json), meta_labels(new_object->json)) &&
                !controller_ref(old->json);
    if (!same)
        enqueue_matching_sets(c, new_object->json);
}

static void on_set(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct replicas *r = c->state;
    const char *key = new_object ? new_object->key : old->key;
    if (event == INFORMER_DELETED || (old && new_object && strcmp(old->uid, new_object->uid) != 0))
        expectations_forget(r->expectations, key);
    workqueue_add(c->queue, key);
}

/* --- more and fewer pods --- */

struct creation {
    struct replicas *r;
    struct kube_client *client;
    const struct kube_object *set;
};

static bool create_one(void *ctx, int i, struct error **err)
{
    struct creation *x = ctx;
    (void)i;
    cleanup_json cJSON *pod =
        pod_from_template(x->set->json, x->r->kind->api_version, x->r->kind->kind);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *created = create_pod(x->client, pod, &e);
    if (created) {
        expectations_wrote(x->r->expectations, x->set->key, meta_version(created));
        recorder_event(x->r->recorder, x->set->json, "Normal", "SuccessfulCreate",
                       "Created pod: %s", meta_name(created));
        return true;
    }
    if (!refused_by_namespace_end(e))
        recorder_event(x->r->recorder, x->set->json, "Warning", "FailedCreate",
                       "Error creating: %s", error_message(e));
    error_move(err, e);
    e = NULL;
    return false;
}

struct deletion {
    struct replicas *r;
    struct kube_client *client;
    const struct kube_object *set;
    const struct ranked_pod *pods;
};

static bool delete_one(void *ctx, int i, struct error **err)
{
    struct deletion *x = ctx;
    const cJSON *pod = x->pods[i].pod;
    cleanup_free char *key = mem_printf("%s/%s", meta_ns(pod), meta_name(pod));
    cleanup_error struct error *e = NULL;
    if (delete_pod(x->client, pod, -1, &e)) {
        expectations_deleted(x->r->expectations, x->set->key, key, meta_uid(pod));
        recorder_event(x->r->recorder, x->set->json, "Normal", "SuccessfulDelete",
                       "Deleted pod: %s", meta_name(pod));
        return true;
    }
    if (kube_error_is(e, "Conflict"))
        return true; /* another pod has the name by now: ours is gone */
    recorder_event(x->r->recorder, x->set->json, "Warning", "FailedDelete", "Error deleting: %s",
                   error_message(e));
    error_move(err, e);
    e = NULL;
    return false;
}

/* Active pods of all sets with the same owner (a Deployment's other ReplicaSets): they double up on
 * nodes, too. */
static void count_related(struct replicas *r, const struct kube_object *set,
                          const struct kube_object_list *own, struct ranked_pod *ranked,
                          size_t count)
{
    cleanup_objects struct kube_object_list related = {0};
    const char *owner = controller_uid(set->json);
    cleanup_objects struct kube_object_list siblings = {0};
    if (owner)
        informer_by_index(r->sets, "controller", owner, &siblings);
    for (size_t i = 0; i < siblings.count; i++) {
        cleanup_objects struct kube_object_list pods = {0};
        informer_by_index(r->pods, "controller", siblings.items[i]->uid, &pods);
        for (size_t p = 0; p < pods.count; p++)
            object_list_add(&related, pods.items[p]);
    }
    const struct kube_object_list *all = related.count ? &related : own;
    for (size_t i = 0; i < count; i++) {
        const char *node = json_str_or(ranked[i].pod, "spec.nodeName", "");
        for (size_t n = 0; n < all->count; n++)
            if (pod_active(all->items[n]->json) &&
                strcmp(json_str_or(all->items[n]->json, "spec.nodeName", ""), node) == 0)
                ranked[i].related_on_node++;
    }
}

/* diff: pods too many (positive) or too few. */
static bool manage(struct controller *c, const struct kube_object *set,
                   const struct kube_object_list *active, int64_t diff, struct error **err)
{
    struct replicas *r = c->state;
    if (diff < 0) {
        int64_t missing = -diff < BURST ? -diff : BURST;
        struct creation x = {.r = r, .client = c->client, .set = set};
        cleanup_error struct error *e = NULL;
        log_debug(2, "Too few replicas", "set", set->key, "creating", log_int(missing));
        run_slow_start((int)missing, create_one, &x, &e);
        if (!e || refused_by_namespace_end(e))
            return true;
        error_move(err, e);
        e = NULL;
        return false;
    }
    int64_t surplus = diff < BURST ? diff : BURST;
    cleanup_free struct ranked_pod *ranked = mem_alloc((active->count + 1) * sizeof(*ranked));
    for (size_t i = 0; i < active->count; i++)
        ranked[i].pod = active->items[i]->json;
    if ((size_t)surplus < active->count) {
        count_related(r, set, active, ranked, active->count);
        rank_pods_for_deletion(ranked, active->count, time_now_seconds());
    }
    struct deletion x = {.r = r, .client = c->client, .set = set, .pods = ranked};
    struct error *e = NULL;
    log_debug(2, "Too many replicas", "set", set->key, "deleting", log_int(surplus));
    run_parallel((int)surplus, delete_one, &x, &e);
    if (!e)
        return true;
    error_move(err, e);
    return false;
}

/* --- status --- */

static bool labels_include(const cJSON *labels, const cJSON *wanted)
{
    const cJSON *w;
    cJSON_ArrayForEach(w, wanted)
    {
        const char *have = json_map_str(labels, w->string);
        if (!have || !cJSON_IsString(w) || strcmp(have, w->valuestring) != 0)
            return false;
    }
    return true;
}

static void set_count(cJSON *status, const char *field, int64_t n)
{
    if (n)
        json_set_int(status, field, n);
    else
        json_remove(status, field);
}

static cJSON *new_status(const cJSON *set, const struct kube_object_list *active,
                         int64_t terminating, int64_t diff, const struct error *failure)
{
    const cJSON *old = json_get(set, "status");
    cJSON *status = cJSON_IsObject(old) ? json_dup(old) : cJSON_CreateObject();
    int64_t now = time_now_seconds(), min_ready = json_int(set, "spec.minReadySeconds", 0);
    int64_t labeled = 0, ready = 0, available = 0;
    const cJSON *template_labels = json_path(set, "spec.template.metadata.labels");
    for (size_t i = 0; i < active->count; i++) {
        const cJSON *pod = active->items[i]->json;
        labeled += labels_include(meta_labels(pod), template_labels);
        ready += pod_ready(pod);
        available += pod_available(pod, min_ready, now);
    }
    cJSON *conditions = json_get(status, "conditions");
    cJSON *failed = condition_find(conditions, "ReplicaFailure");
    if (failure && !failed) {
        condition_set(json_ensure_array(status, "conditions"), "ReplicaFailure", "True",
                      diff < 0 ? "FailedCreate" : "FailedDelete", error_message(failure));
    } else if (!failure && failed) {
        cJSON_Delete(cJSON_DetachItemViaPointer(conditions, failed));
        if (!conditions->child)
            json_remove(status, "conditions");
    }
    json_set_int(status, "replicas", (int64_t)active->count);
    set_count(status, "fullyLabeledReplicas", labeled);
    set_count(status, "readyReplicas", ready);
    set_count(status, "availableReplicas", available);
    json_set_int(status, "terminatingReplicas", terminating);
    set_count(status, "observedGeneration", meta_generation(set));
    return status;
}

/* Writes the status when it differs; a conflict is retried once with the live object, because the
 * counts are ours alone. */
static bool write_status(struct controller *c, const struct kube_object *set, cJSON *status_taken,
                         struct error **err)
{
    struct replicas *r = c->state;
    cleanup_json cJSON *status = status_taken;
    if (json_equal(json_get(set->json, "status"), status))
        return true;
    cleanup_json cJSON *object = json_dup(set->json);
    json_set(object, "status", json_dup(status));
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer =
        update_status(c->client, r->kind->api_version, r->kind->resource, object, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    if (kube_error_is(e, "Conflict")) {
        cleanup_free char *path =
            kube_path_new(r->kind->api_version, r->kind->resource, set->ns, set->name, NULL);
        cleanup_error struct error *e2 = NULL;
        cleanup_json cJSON *live = kube_get(c->client, path, &e2);
        if (kube_error_is(e2, "NotFound") || (live && strcmp(meta_uid(live), set->uid) != 0))
            return true;
        if (live) {
            json_set(live, "status", json_dup(status));
            cleanup_json cJSON *second =
                update_status(c->client, r->kind->api_version, r->kind->resource, live, &e2);
            if (second || kube_error_is(e2, "NotFound"))
                return true;
        }
    }
    error_move(err, e);
    e = NULL;
    return false;
}

/* A pod that is ready but not for minReadySeconds yet: come again when it is. */
static void requeue_when_available(struct controller *c, const struct kube_object *set,
                                   const struct kube_object_list *active)
{
    int64_t min_ready = json_int(set->json, "spec.minReadySeconds", 0), soonest = INT64_MAX,
            now = time_now_seconds();
    for (size_t i = 0; min_ready > 0 && i < active->count; i++) {
        int64_t in = pod_available_in(active->items[i]->json, min_ready, now);
        soonest = in > 0 && in < soonest ? in : soonest;
    }
    if (soonest != INT64_MAX)
        workqueue_add_after(c->queue, set->key, soonest * 1000);
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct replicas *r = c->state;
    cleanup_object struct kube_object *set = informer_get(r->sets, key);
    if (!set) {
        expectations_forget(r->expectations, key);
        return true;
    }
    struct label_selector *selector =
        label_selector_from_json(json_path(set->json, "spec.selector"), err);
    if (!selector)
        return true; /* validated by the API; waiting will not mend it */
    bool fresh = expectations_met(r->expectations, key, r->pods);

    const struct claim claim = {.client = c->client,
                                .owner = set->json,
                                .owner_api_version = r->kind->api_version,
                                .owner_kind = r->kind->kind,
                                .owner_resource = r->kind->resource,
                                .child_api_version = "v1",
                                .child_resource = "pods",
                                .selector = selector,
                                .eligible = pod_active};
    cleanup_objects struct kube_object_list pods = {0};
    bool claimed = claim_children(&claim, r->pods, &pods, err);
    label_selector_free(selector);
    if (!claimed)
        return false;
    cleanup_objects struct kube_object_list active = {0};
    int64_t terminating = 0;
    for (size_t i = 0; i < pods.count; i++) {
        const cJSON *pod = pods.items[i]->json;
        if (pod_active(pod))
            object_list_add(&active, pods.items[i]);
        else
            terminating += meta_deleting(pod) && !pod_terminal(pod);
    }

    int64_t diff = (int64_t)active.count - json_int(set->json, "spec.replicas", 1);
    cleanup_error struct error *failure = NULL;
    if (!fresh)
        workqueue_add_after(c->queue, key,
                            STALE_CACHE_RECHECK_MS); /* the pods' events come first, as a rule */
    else if (!meta_deleting(set->json) && diff != 0)
        manage(c, set, &active, diff, &failure);

    cleanup_error struct error *status_failure = NULL;
    bool written = write_status(c, set, new_status(set->json, &active, terminating, diff, failure),
                                &status_failure);
    if (failure || !written) {
        error_move(err, failure ? failure : status_failure);
        if (failure)
            failure = NULL;
        else
            status_failure = NULL;
        return false;
    }
    requeue_when_available(c, set, &active);
    return true;
}

static void setup(struct controller *c)
{
    struct replicas *r = mem_alloc(sizeof(*r));
    c->state = r;
    r->kind = &replicaset_kind;
    r->expectations = expectations_new();
    r->recorder = manager_recorder(c->manager, r->kind->component);
    r->sets = manager_informer(c->manager, r->kind->api_version, r->kind->resource);
    r->pods = manager_informer(c->manager, "v1", "pods");
    manager_index(c->manager, r->sets, "controller", index_controller);
    manager_index(c->manager, r->pods, "controller", index_controller);
    informer_add_handler(r->sets, on_set, c);
    informer_add_handler(r->pods, on_pod, c);
}

static void free_state(struct controller *c)
{
    struct replicas *r = c->state;
    expectations_free(r->expectations);
    free(r);
}

const struct controller_type replicaset_controller = {.name = "replicaset-controller",
                                                      .queue = "replicaset",
                                                      .workers = 4,
                                                      .setup = setup,
                                                      .reconcile = reconcile,
                                                      .free_state = free_state};
