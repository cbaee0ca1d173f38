/* Deployments: rolls ReplicaSets over from one pod template to the next. */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/claim.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/rollout.h"

struct deployments {
    struct informer *deployments, *sets, *pods;
    struct recorder *recorder;
};

/* One look at one Deployment. The documents are private copies, replaced in place by what the API
 * answers to our writes. */
struct sync {
    struct controller *c;
    struct deployments *s;
    const char *key;
    cJSON *d;
    cJSON **sets; /* all ReplicaSets of the deployment */
    size_t count;
    cJSON *new_set; /* one of sets, or NULL */
    cJSON **old;    /* the others */
    size_t old_count;
};

static void sync_clear(struct sync *x)
{
    cJSON_Delete(x->d);
    for (size_t i = 0; i < x->count; i++)
        cJSON_Delete(x->sets[i]);
    free(x->sets);
    free(x->old);
}
#define cleanup_sync __attribute__((cleanup(sync_clear)))

/* Makes a document be what the API answered, without moving it. */
static void replace_in_place(cJSON *document, cJSON *answer_taken)
{
    cJSON before = *document;
    *document = *answer_taken;
    *answer_taken = before;
    cJSON_Delete(answer_taken);
}

static void add_set(struct sync *x, cJSON *set_taken)
{
    x->sets = mem_realloc(x->sets, (x->count + 1) * sizeof(*x->sets));
    x->sets[x->count++] = set_taken;
}

static void part_sets(struct sync *x)
{
    x->new_set = find_new_set(x->d, x->sets, x->count);
    free(x->old);
    x->old = mem_alloc((x->count + 1) * sizeof(*x->old));
    x->old_count = 0;
    for (size_t i = 0; i < x->count; i++)
        if (x->sets[i] != x->new_set)
            x->old[x->old_count++] = x->sets[i];
}

static size_t active_sets(cJSON *const *sets, size_t count, cJSON **out)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        if (spec_replicas(sets[i]) > 0)
            out[n++] = sets[i];
    return n;
}

/* --- writes --- */

/* The deployment carries the revision of its newest ReplicaSet. As in Kubernetes it is written
 * together with the status, which leaves the deployment's generation alone. revision NULL: stays as
 * it is. */
static bool write_revision(struct sync *x, cJSON *status_taken, const char *revision,
                           struct error **err)
{
    cleanup_json cJSON *object = json_dup(x->d);
    json_set(object, "status", status_taken);
    if (revision)
        meta_set_annotation(object, REVISION_ANNOTATION, revision);
    cJSON *answer = update_status(x->c->client, "apps/v1", "deployments", object, err);
    if (!answer)
        return false;
    replace_in_place(x->d, answer);
    return true;
}

static bool write_status(struct sync *x, cJSON *status_taken, struct error **err)
{
    return write_revision(x, status_taken, NULL, err);
}

static cJSON *status_copy(struct sync *x)
{
    return json_dup(json_ensure_object(x->d, "status"));
}

static bool set_condition(struct sync *x, const char *value, const char *reason,
                          const char *message, struct error **err)
{
    cJSON *status = status_copy(x);
    deployment_condition_set(status, "Progressing", value, reason, message, NULL);
    return write_status(x, status, err);
}

/* Brings the revision up to date and, when the deployment has a deadline, says how its new
 * ReplicaSet came about. */
static bool announce_new_set(struct sync *x, const char *revision, const char *reason,
                             const char *message, struct error **err)
{
    const char *have = meta_annotation(x->d, REVISION_ANNOTATION);
    bool update = revision && (!have || strcmp(have, revision) != 0);
    cJSON *status = status_copy(x);
    if (reason && has_progress_deadline(x->d)) {
        deployment_condition_set(status, "Progressing", "True", reason, message, NULL);
        update = true;
    }
    if (update)
        return write_revision(x, status, revision, err);
    cJSON_Delete(status);
    return true;
}

/* True when the set has its size; *scaled tells whether it changed. */
static bool scale_set(struct sync *x, cJSON *set, int64_t size, bool *scaled, struct error **err)
{
    int64_t before = spec_replicas(set), desired = spec_replicas(x->d),
            most = desired + max_surge(x->d);
    if (before == size && !replicas_annotations_outdated(set, desired, most))
        return true;
    cleanup_json cJSON *changed = json_dup(set);
    json_set_int(changed, "spec.replicas", size);
    set_replicas_annotations(changed, desired, most);
    cJSON *answer = update_object(x->c->client, "apps/v1", "replicasets", changed, err);
    if (!answer)
        return false;
    replace_in_place(set, answer);
    if (before != size) {
        if (scaled)
            *scaled = true;
        recorder_event(x->s->recorder, x->d, "Normal", "ScalingReplicaSet",
                       "Scaled %s replica set %s from %lld to %lld", before < size ? "up" : "down",
                       meta_name(set), (long long)before, (long long)size);
    }
    return true;
}

/* As scale_set, but leaves a set of the right size alone. */
static bool resize_set(struct sync *x, cJSON *set, int64_t size, bool *scaled, struct error **err)
{
    return spec_replicas(set) == size || scale_set(x, set, size, scaled, err);
}

/* --- the new ReplicaSet --- */

static bool adopt_existing_new_set(struct sync *x, int64_t revision, struct error **err)
{
    cleanup_json cJSON *changed = json_dup(x->new_set);
    bool update = set_new_set_annotations(x->d, changed, revision, true);
    int64_t min_ready = json_int(x->d, "spec.minReadySeconds", 0);
    if (json_int(changed, "spec.minReadySeconds", 0) != min_ready) {
        json_set_int(changed, "spec.minReadySeconds", min_ready);
        update = true;
    }
    if (update) {
        cJSON *answer = update_object(x->c->client, "apps/v1", "replicasets", changed, err);
        if (!answer)
            return false;
        replace_in_place(x->new_set, answer);
        return true; /* the next look, which this change brings about, writes the rest */
    }
    bool announced = condition_find(json_path(x->d, "status.conditions"), "Progressing");
    cleanup_free char *message = mem_printf("Found new replica set \"%s\"", meta_name(x->new_set));
    return announce_new_set(x, meta_annotation(x->new_set, REVISION_ANNOTATION),
                            announced ? NULL : "FoundNewReplicaSet", message, err);
}

static cJSON *build_new_set(struct sync *x, int64_t revision)
{
    cleanup_free char *hash = pod_template_hash(json_path(x->d, "spec.template"),
                                                json_int(x->d, "status.collisionCount", -1));
    cJSON *set = cJSON_CreateObject();
    json_map_set_str(set, "apiVersion", "apps/v1");
    json_map_set_str(set, "kind", "ReplicaSet");
    cleanup_free char *name = mem_printf("%s-%s", meta_name(x->d), hash);
    json_set_str(set, "metadata.name", name);
    json_set_str(set, "metadata.namespace", meta_ns(x->d));
    cJSON_AddItemToArray(json_ensure_array(set, "metadata.ownerReferences"),
                         controller_ref_new("apps/v1", "Deployment", x->d));
    json_set_int(set, "spec.replicas", 0);
    int64_t min_ready = json_int(x->d, "spec.minReadySeconds", 0);
    if (min_ready)
        json_set_int(set, "spec.minReadySeconds", min_ready);
    json_set(set, "spec.selector", json_dup(json_path(x->d, "spec.selector")));
    json_map_set_str(json_ensure_object(set, "spec.selector.matchLabels"), "pod-template-hash",
                     hash);
    json_set(set, "spec.template", json_dup(json_path(x->d, "spec.template")));
    json_map_set_str(json_ensure_object(set, "spec.template.metadata.labels"), "pod-template-hash",
                     hash);
    json_set(set, "metadata.labels", json_dup(json_path(set, "spec.template.metadata.labels")));
    json_set_int(set, "spec.replicas", new_set_replicas(x->d, x->sets, x->count, set));
    set_new_set_annotations(x->d, set, revision, false);
    return set;
}

/* The name is taken. By our own set, which the cache does not show yet? Then *existing gets it.
 * Otherwise two templates have one hash: count the collision, which gives the next look another
 * name. */
static bool resolve_collision(struct sync *x, const cJSON *wanted, cJSON **existing,
                              struct error **err)
{
    cleanup_free char *path =
        kube_path_new("apps/v1", "replicasets", meta_ns(wanted), meta_name(wanted), NULL);
    cleanup_json cJSON *live = kube_get(x->c->client, path, err);
    if (!live)
        return false;
    const char *owner = controller_uid(live);
    if (owner && strcmp(owner, meta_uid(x->d)) == 0 &&
        pod_template_equal(json_path(live, "spec.template"), json_path(x->d, "spec.template"))) {
        *existing = json_dup(live);
        return true;
    }
    cJSON *status = status_copy(x);
    json_set_int(status, "collisionCount", json_int(status, "collisionCount", 0) + 1);
    if (!write_status(x, status, err))
        return false;
    error_set(err, 409, "AlreadyExists", "replicasets.apps \"%s\" already exists",
              meta_name(wanted));
    return false;
}

static bool create_new_set(struct sync *x, int64_t revision, struct error **err)
{
    cleanup_json cJSON *wanted = build_new_set(x, revision);
    int64_t size = spec_replicas(wanted);
    cleanup_free char *path = kube_path_new("apps/v1", "replicasets", meta_ns(wanted), NULL, NULL);
    cleanup_error struct error *e = NULL;
    cJSON *created = kube_create(x->c->client, path, wanted, &e);
    bool existed = false;
    if (!created && kube_error_is(e, "AlreadyExists")) {
        if (!resolve_collision(x, wanted, &created, err))
            return false;
        existed = true;
    } else if (!created) {
        if (!refused_by_namespace_end(e)) {
            cleanup_free char *message = mem_printf("Failed to create new replica set \"%s\": %s",
                                                    meta_name(wanted), error_message(e));
            recorder_event(x->s->recorder, x->d, "Warning", "ReplicaSetCreateError", "%s", message);
            if (has_progress_deadline(x->d))
                set_condition(x, "False", "ReplicaSetCreateError", message, NULL);
        }
        error_move(err, e);
        e = NULL;
        return false;
    }
    add_set(x, created);
    if (!existed && size > 0)
        recorder_event(x->s->recorder, x->d, "Normal", "ScalingReplicaSet",
                       "Scaled up replica set %s from 0 to %lld", meta_name(created),
                       (long long)size);
    cleanup_free char *text = mem_printf("%lld", (long long)revision);
    cleanup_free char *message = mem_printf("Created new replica set \"%s\"", meta_name(created));
    part_sets(x);
    return announce_new_set(x, text, existed ? NULL : "NewReplicaSetCreated", message, err);
}

/* Finds the ReplicaSets old and new and brings the revisions up to date. */
static bool sync_revision(struct sync *x, bool create, struct error **err)
{
    part_sets(x);
    int64_t revision = max_revision(x->old, x->old_count) + 1;
    if (x->new_set)
        return adopt_existing_new_set(x, revision, err);
    return !create || create_new_set(x, revision, err);
}

/* --- status --- */

static cJSON *first_failure(struct sync *x)
{
    cJSON *found = condition_find(json_path(x->new_set, "status.conditions"), "ReplicaFailure");
    for (size_t i = 0; !found && i < x->count; i++)
        found = condition_find(json_path(x->sets[i], "status.conditions"), "ReplicaFailure");
    return found;
}

static bool sync_plain_status(struct sync *x, struct error **err)
{
    cJSON *status = deployment_status(x->d, x->sets, x->count, x->new_set);
    if (json_equal(json_get(x->d, "status"), status)) {
        cJSON_Delete(status);
        return true;
    }
    return write_status(x, status, err);
}

/* Nothing else will wake us when the deadline passes. */
static void requeue_at_deadline(struct sync *x, const cJSON *status)
{
    const cJSON *c = condition_find(json_get(status, "conditions"), "Progressing");
    if (!has_progress_deadline(x->d) || !c || deployment_complete(x->d, status) ||
        strcmp(json_str_or(c, "reason", ""), "ProgressDeadlineExceeded") == 0)
        return;
    int64_t now = time_now_seconds();
    int64_t left = json_time(c, "lastUpdateTime", now) +
                   json_int(x->d, "spec.progressDeadlineSeconds", 0) - now;
    workqueue_add_after(x->c->queue, x->key, left < 1 ? 1000 : (left + 1) * 1000);
}

static void set_progress(struct sync *x, cJSON *status)
{
    const cJSON *old = condition_find(json_path(x->d, "status.conditions"), "Progressing");
    const char *old_reason = json_str_or(old, "reason", "");
    bool was_complete = json_int(status, "replicas", 0) == json_int(status, "updatedReplicas", 0) &&
                        strcmp(old_reason, "NewReplicaSetAvailable") == 0;
    if (was_complete)
        return;
    const char *kind = x->new_set ? "ReplicaSet" : "Deployment";
    const char *name = x->new_set ? meta_name(x->new_set) : meta_name(x->d);
    if (deployment_complete(x->d, status)) {
        cleanup_free char *message =
            mem_printf("%s \"%s\" has successfully progressed.", kind, name);
        deployment_condition_set(status, "Progressing", "True", "NewReplicaSetAvailable", message,
                                 NULL);
    } else if (deployment_progressing(x->d, status)) {
        cleanup_free char *message = mem_printf("%s \"%s\" is progressing.", kind, name);
        bool same = old && strcmp(json_str_or(old, "status", ""), "True") == 0;
        /* Removed first, so that lastUpdateTime moves on with each step: the deadline runs from
         * there. */
        deployment_condition_remove(status, "Progressing");
        deployment_condition_set(status, "Progressing", "True", "ReplicaSetUpdated", message,
                                 same ? json_str(old, "lastTransitionTime") : NULL);
    } else if (deployment_timed_out(x->d, status, time_now_seconds())) {
        cleanup_free char *message = mem_printf("%s \"%s\" has timed out progressing.", kind, name);
        deployment_condition_set(status, "Progressing", "False", "ProgressDeadlineExceeded",
                                 message, NULL);
    }
}

static bool sync_rollout_status(struct sync *x, struct error **err)
{
    cJSON *status = deployment_status(x->d, x->sets, x->count, x->new_set);
    if (has_progress_deadline(x->d))
        set_progress(x, status);
    else
        deployment_condition_remove(status, "Progressing");
    const cJSON *failure = first_failure(x);
    if (failure)
        deployment_condition_set(status, "ReplicaFailure", json_str_or(failure, "status", "True"),
                                 json_str_or(failure, "reason", ""),
                                 json_str_or(failure, "message", ""),
                                 json_str(failure, "lastTransitionTime"));
    else
        deployment_condition_remove(status, "ReplicaFailure");
    requeue_at_deadline(x, status);
    if (json_equal(json_get(x->d, "status"), status)) {
        cJSON_Delete(status);
        return true;
    }
    return write_status(x, status, err);
}

/* --- scaling and cleaning up --- */

/* The only ReplicaSet with pods or, when none has any, the newest; NULL while a rollout is under
 * way. */
static cJSON *active_or_latest(struct sync *x)
{
    cleanup_free cJSON **active = mem_alloc((x->count + 1) * sizeof(*active));
    size_t n = active_sets(x->sets, x->count, active);
    if (n > 1)
        return NULL;
    if (n == 1)
        return active[0];
    if (x->new_set || !x->old_count)
        return x->new_set;
    sort_sets(x->old, x->old_count, NEWEST_FIRST);
    return x->old[0];
}

static bool saturated(struct sync *x)
{
    int64_t wanted = spec_replicas(x->d);
    return x->new_set && desired_replicas_annotation(x->new_set) == wanted &&
           spec_replicas(x->new_set) == wanted &&
           status_count(x->new_set, "availableReplicas") == wanted;
}

static bool scale_deployment(struct sync *x, struct error **err)
{
    cJSON *only = active_or_latest(x);
    if (only)
        return resize_set(x, only, spec_replicas(x->d), NULL, err);
    cleanup_free cJSON **active = mem_alloc((x->count + 1) * sizeof(*active));
    if (saturated(x)) {
        size_t n = active_sets(x->old, x->old_count, active);
        for (size_t i = 0; i < n; i++)
            if (!resize_set(x, active[i], 0, NULL, err))
                return false;
        return true;
    }
    if (!rolling_update(x->d))
        return true;
    size_t n = active_sets(x->sets, x->count, active);
    cleanup_free int64_t *sizes = mem_alloc((n + 1) * sizeof(*sizes));
    proportional_sizes(x->d, active, n, sizes);
    for (size_t i = 0; i < n; i++)
        if (!scale_set(x, active[i], sizes[i], NULL, err))
            return false;
    return true;
}

static bool clean_up(struct sync *x, struct error **err)
{
    if (!has_revision_history_limit(x->d))
        return true;
    cleanup_free cJSON **alive = mem_alloc((x->old_count + 1) * sizeof(*alive));
    size_t n = 0;
    for (size_t i = 0; i < x->old_count; i++)
        if (!meta_deleting(x->old[i]))
            alive[n++] = x->old[i];
    int64_t surplus = (int64_t)n - json_int(x->d, "spec.revisionHistoryLimit", 10);
    if (surplus <= 0)
        return true;
    sort_sets(alive, n, SMALLEST_REVISION_FIRST);
    for (int64_t i = 0; i < surplus; i++) {
        const cJSON *set = alive[i];
        if (status_count(set, "replicas") || spec_replicas(set) ||
            meta_generation(set) > status_count(set, "observedGeneration"))
            continue;
        cleanup_free char *path =
            kube_path_new("apps/v1", "replicasets", meta_ns(set), meta_name(set), NULL);
        cleanup_error struct error *e = NULL;
        if (!kube_delete(x->c->client, path, meta_uid(set), -1, "Background", &e) &&
            !kube_error_is(e, "NotFound")) {
            error_move(err, e);
            e = NULL;
            return false;
        }
    }
    return true;
}

/* Paused, or resized: no rollout now. */
static bool sync_only(struct sync *x, struct error **err)
{
    if (!sync_revision(x, false, err) || !scale_deployment(x, err))
        return false;
    if (json_bool(x->d, "spec.paused", false) && !clean_up(x, err))
        return false;
    return sync_plain_status(x, err);
}

/* --- strategies --- */

/* Takes pods that are not available from old ReplicaSets first: nothing is lost by that. */
static bool remove_unhealthy(struct sync *x, cJSON **old, size_t count, int64_t most,
                             int64_t *removed, struct error **err)
{
    sort_sets(old, count, OLDEST_FIRST);
    for (size_t i = 0; i < count && *removed < most; i++) {
        int64_t size = spec_replicas(old[i]),
                unhealthy = size - status_count(old[i], "availableReplicas");
        if (size == 0 || unhealthy <= 0)
            continue;
        int64_t n = unhealthy < most - *removed ? unhealthy : most - *removed;
        if (!resize_set(x, old[i], size - n, NULL, err))
            return false;
        *removed += n;
    }
    return true;
}

static bool remove_old(struct sync *x, cJSON **old, size_t count, int64_t *removed,
                       struct error **err)
{
    int64_t min_available = spec_replicas(x->d) - max_unavailable(x->d);
    int64_t available =
        sum_status(old, count, "availableReplicas") + status_count(x->new_set, "availableReplicas");
    int64_t left = available - min_available;
    sort_sets(old, count, OLDEST_FIRST);
    for (size_t i = 0; i < count && left > 0; i++) {
        int64_t size = spec_replicas(old[i]), n = size < left ? size : left;
        if (n == 0)
            continue;
        if (!resize_set(x, old[i], size - n, NULL, err))
            return false;
        left -= n;
        *removed += n;
    }
    return true;
}

static bool roll(struct sync *x, struct error **err)
{
    if (!sync_revision(x, true, err))
        return false;
    int64_t wanted = spec_replicas(x->d), have = spec_replicas(x->new_set);
    int64_t size = have > wanted ? wanted : new_set_replicas(x->d, x->sets, x->count, x->new_set);
    if (have != size)
        return scale_set(x, x->new_set, size, NULL, err) && sync_rollout_status(x, err);

    cleanup_free cJSON **old = mem_alloc((x->old_count + 1) * sizeof(*old));
    size_t n = active_sets(x->old, x->old_count, old);
    int64_t may_go = old_pods_to_remove(x->d, old, n, x->new_set), removed = 0;
    if (may_go > 0) {
        if (!remove_unhealthy(x, old, n, may_go, &removed, err) ||
            !remove_old(x, old, n, &removed, err))
            return false;
        if (removed > 0)
            return sync_rollout_status(x, err);
    }
    if (deployment_complete(x->d, json_get(x->d, "status")) && !clean_up(x, err))
        return false;
    return sync_rollout_status(x, err);
}

static bool old_pods_running(struct sync *x)
{
    if (sum_status(x->old, x->old_count, "replicas") > 0)
        return true;
    for (size_t i = 0; i < x->old_count; i++) {
        cleanup_objects struct kube_object_list pods = {0};
        informer_by_index(x->s->pods, "controller", meta_uid(x->old[i]), &pods);
        for (size_t p = 0; p < pods.count; p++)
            if (!pod_terminal(pods.items[p]->json))
                return true;
    }
    return false;
}

static bool recreate(struct sync *x, struct error **err)
{
    if (!sync_revision(x, false, err))
        return false;
    bool scaled = false;
    for (size_t i = 0; i < x->old_count; i++)
        if (!resize_set(x, x->old[i], 0, &scaled, err))
            return false;
    if (scaled || old_pods_running(x))
        return sync_rollout_status(x, err);
    if (!x->new_set && !sync_revision(x, true, err))
        return false;
    if (!resize_set(x, x->new_set, spec_replicas(x->d), NULL, err))
        return false;
    if (deployment_complete(x->d, json_get(x->d, "status")) && !clean_up(x, err))
        return false;
    return sync_rollout_status(x, err);
}

/* --- one look --- */

/* While paused, time does not count towards the progress deadline. */
static bool sync_paused_condition(struct sync *x, struct error **err)
{
    if (!has_progress_deadline(x->d))
        return true;
    const cJSON *c = condition_find(json_path(x->d, "status.conditions"), "Progressing");
    const char *reason = json_str_or(c, "reason", "");
    if (strcmp(reason, "ProgressDeadlineExceeded") == 0)
        return true; /* an explicit message is worth more than this one */
    bool paused = json_bool(x->d, "spec.paused", false),
         shown = strcmp(reason, "DeploymentPaused") == 0;
    if (paused && !shown)
        return set_condition(x, "Unknown", "DeploymentPaused", "Deployment is paused", err);
    if (!paused && shown)
        return set_condition(x, "Unknown", "DeploymentResumed", "Deployment is resumed", err);
    return true;
}

static bool scaling_wanted(struct sync *x)
{
    for (size_t i = 0; i < x->count; i++) {
        int64_t desired = desired_replicas_annotation(x->sets[i]);
        if (spec_replicas(x->sets[i]) > 0 && desired >= 0 && desired != spec_replicas(x->d))
            return true;
    }
    return false;
}

static bool gather_sets(struct sync *x, const struct label_selector *selector, struct error **err)
{
    const struct claim claim = {.client = x->c->client,
                                .owner = x->d,
                                .owner_api_version = "apps/v1",
                                .owner_kind = "Deployment",
                                .owner_resource = "deployments",
                                .child_api_version = "apps/v1",
                                .child_resource = "replicasets",
                                .selector = selector};
    cleanup_objects struct kube_object_list sets = {0};
    if (!claim_children(&claim, x->s->sets, &sets, err))
        return false;
    for (size_t i = 0; i < sets.count; i++)
        add_set(x, json_dup(sets.items[i]->json));
    return true;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct deployments *s = c->state;
    cleanup_object struct kube_object *cached = informer_get(s->deployments, key);
    if (!cached)
        return true;
    cleanup_sync struct sync x = {.c = c, .s = s, .key = key, .d = json_dup(cached->json)};
    struct label_selector *selector =
        label_selector_from_json(json_path(x.d, "spec.selector"), err);
    if (!selector)
        return true; /* validated by the API; waiting will not mend it */
    if (label_selector_empty(selector)) {
        label_selector_free(selector);
        recorder_event(s->recorder, x.d, "Warning", "SelectingAll",
                       "This deployment is selecting all pods. A non-empty selector is required.");
        if (status_count(x.d, "observedGeneration") >= meta_generation(x.d))
            return true;
        cJSON *status = json_dup(json_ensure_object(x.d, "status"));
        json_set_int(status, "observedGeneration", meta_generation(x.d));
        return write_status(&x, status, err);
    }
    bool gathered = gather_sets(&x, selector, err);
    label_selector_free(selector);
    if (!gathered)
        return false;
    if (meta_deleting(x.d))
        return sync_revision(&x, false, err) && sync_plain_status(&x, err);
    if (!sync_paused_condition(&x, err))
        return false;
    if (json_bool(x.d, "spec.paused", false) || scaling_wanted(&x))
        return sync_only(&x, err);
    return rolling_update(x.d) ? roll(&x, err) : recreate(&x, err);
}

/* --- what feeds the queue --- */

static struct kube_object *deployment_of_set(struct deployments *s, const cJSON *set)
{
    const cJSON *ref = controller_ref(set);
    if (!ref || strcmp(json_str_or(ref, "kind", ""), "Deployment") != 0)
        return NULL;
    struct kube_object *d =
        informer_get_ns(s->deployments, meta_ns(set), json_str_or(ref, "name", ""));
    if (d && strcmp(d->uid, json_str_or(ref, "uid", "")) == 0)
        return d;
    kube_object_unref(d);
    return NULL;
}

static void on_set(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct deployments *s = c->state;
    (void)event;
    if (old && new_object && strcmp(old->resource_version, new_object->resource_version) == 0)
        return;
    const struct kube_object *states[] = {old, new_object};
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        cleanup_object struct kube_object *d =
            states[i] ? deployment_of_set(s, states[i]->json) : NULL;
        if (d)
            workqueue_add(c->queue, d->key);
    }
    if (!new_object || controller_ref(new_object->json) || !meta_labels(new_object->json))
        return;
    cleanup_objects struct kube_object_list all = {0};
    informer_by_index(s->deployments, "namespace", new_object->ns, &all);
    for (size_t i = 0; i < all.count; i++) {
        struct label_selector *selector =
            label_selector_from_json(json_path(all.items[i]->json, "spec.selector"), NULL);
        if (selector && !label_selector_empty(selector) &&
            label_selector_matches(selector, meta_labels(new_object->json)))
            workqueue_add(c->queue, all.items[i]->key);
        label_selector_free(selector);
    }
}

/* A Recreate rollout waits for the last old pod to be gone. */
static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct deployments *s = c->state;
    (void)new_object;
    const cJSON *ref = event == INFORMER_DELETED ? controller_ref(old->json) : NULL;
    if (!ref || strcmp(json_str_or(ref, "kind", ""), "ReplicaSet") != 0)
        return;
    cleanup_object struct kube_object *set =
        informer_get_ns(s->sets, old->ns, json_str_or(ref, "name", ""));
    cleanup_object struct kube_object *d = set ? deployment_of_set(s, set->json) : NULL;
    if (d && !rolling_update(d->json))
        workqueue_add(c->queue, d->key);
}

static void setup(struct controller *c)
{
    struct deployments *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->recorder = manager_recorder(c->manager, "deployment-controller");
    s->deployments = manager_informer(c->manager, "apps/v1", "deployments");
    s->sets = manager_informer(c->manager, "apps/v1", "replicasets");
    s->pods = manager_informer(c->manager, "v1", "pods");
    manager_index(c->manager, s->sets, "controller", index_controller);
    manager_index(c->manager, s->pods, "controller", index_controller);
    informer_add_handler(s->deployments, controller_enqueue_object, c);
    informer_add_handler(s->sets, on_set, c);
    informer_add_handler(s->pods, on_pod, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type deployment_controller = {.name = "deployment-controller",
                                                      .queue = "deployment",
                                                      .workers = 2,
                                                      .setup = setup,
                                                      .reconcile = reconcile,
                                                      .free_state = free_state};
