#include "controller-manager/rollout.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/objects.h"

enum { REVISION_HISTORY_LENGTH = 2000 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* --- counts --- */

int64_t spec_replicas(const cJSON *o)
{
    return o ? json_int(o, "spec.replicas", 1) : 0;
}

int64_t status_count(const cJSON *o, const char *field)
{
    return json_int(json_get(o, "status"), field, 0);
}

int64_t sum_spec_replicas(cJSON *const *sets, size_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += spec_replicas(sets[i]);
    return sum;
}

int64_t sum_status(cJSON *const *sets, size_t count, const char *field)
{
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += status_count(sets[i], field);
    return sum;
}

bool rolling_update(const cJSON *deployment)
{
    return strcmp(json_str_or(deployment, "spec.strategy.type", "RollingUpdate"),
                  "RollingUpdate") == 0;
}

void rollout_fenceposts(const cJSON *deployment, int64_t *surge, int64_t *unavailable)
{
    *surge = *unavailable = 0;
    if (!rolling_update(deployment))
        return;
    int64_t replicas = spec_replicas(deployment);
    const cJSON *rolling = json_path(deployment, "spec.strategy.rollingUpdate");
    int_or_percent(json_get(rolling, "maxSurge"), replicas, true, surge);
    int_or_percent(json_get(rolling, "maxUnavailable"), replicas, false, unavailable);
    if (*surge == 0 && *unavailable == 0)
        *unavailable = 1; /* or the rollout could never move */
}

int64_t max_surge(const cJSON *deployment)
{
    int64_t surge, unavailable;
    rollout_fenceposts(deployment, &surge, &unavailable);
    return surge;
}

int64_t max_unavailable(const cJSON *deployment)
{
    int64_t surge, unavailable, replicas = spec_replicas(deployment);
    if (replicas == 0)
        return 0;
    rollout_fenceposts(deployment, &surge, &unavailable);
    return smaller(unavailable, replicas);
}

int64_t new_set_replicas(const cJSON *deployment, cJSON *const *all_sets, size_t count,
                         const cJSON *new_set)
{
    int64_t wanted = spec_replicas(deployment), have = spec_replicas(new_set);
    if (!rolling_update(deployment))
        return wanted;
    int64_t room = wanted + max_surge(deployment) - sum_spec_replicas(all_sets, count);
    if (room <= 0)
        return have;
    return have + smaller(room, wanted - have);
}

int64_t old_pods_to_remove(const cJSON *deployment, cJSON *const *old_sets, size_t old_count,
                           const cJSON *new_set)
{
    int64_t old_pods = sum_spec_replicas(old_sets, old_count);
    if (old_pods == 0)
        return 0;
    /* New pods that are not available yet count as lost already: pods of a broken template must not
     * eat up the old ones. */
    int64_t new_unavailable =
        new_set ? spec_replicas(new_set) - status_count(new_set, "availableReplicas") : 0;
    int64_t min_available = spec_replicas(deployment) - max_unavailable(deployment);
    int64_t n = old_pods + spec_replicas(new_set) - min_available - new_unavailable;
    return n > 0 ? n : 0;
}

/* --- proportional scaling --- */

static int64_t set_fraction(const cJSON *deployment, const cJSON *set)
{
    int64_t size = spec_replicas(set);
    if (spec_replicas(deployment) == 0)
        return -size;
    int64_t now_most = spec_replicas(deployment) + max_surge(deployment);
    const char *text = meta_annotation(set, MAX_REPLICAS_ANNOTATION);
    int64_t then_most = text ? strtoll(text, NULL, 10) : 0;
    if (then_most <= 0)
        then_most = status_count(deployment, "replicas");
    if (then_most <= 0)
        return 0;
    return (int64_t)round((double)(size * now_most) / (double)then_most) - size;
}

void proportional_sizes(const cJSON *deployment, cJSON **sets, size_t count, int64_t *sizes)
{
    int64_t wanted = spec_replicas(deployment), have = sum_spec_replicas(sets, count);
    int64_t allowed = wanted > 0 ? wanted + max_surge(deployment) : 0;
    int64_t to_add = allowed - have, added = 0;
    /* Who gains most is scaled up first, newer before older; who loses most is scaled down first,
     * older before newer. */
    if (to_add > 0)
        sort_sets(sets, count, LARGEST_NEWER_FIRST);
    else if (to_add < 0)
        sort_sets(sets, count, LARGEST_OLDER_FIRST);
    for (size_t i = 0; i < count; i++) {
        int64_t size = spec_replicas(sets[i]), share = 0, left = to_add - added;
        if (to_add != 0 && left != 0 && size != 0) {
            share = set_fraction(deployment, sets[i]);
            if (to_add > 0 ? share > left : share < left)
                share = left;
        }
        sizes[i] = size + share;
        added += share;
    }
    if (to_add != 0 && count) {
        sizes[0] += to_add - added; /* what rounding left over */
        if (sizes[0] < 0)
            sizes[0] = 0;
    }
}

/* --- ReplicaSets --- */

static int compare_sets(const void *pa, const void *pb, void *ctx)
{
    const cJSON *a = *(cJSON *const *)pa, *b = *(cJSON *const *)pb;
    enum set_order order = *(const enum set_order *)ctx;
    if (order == SMALLEST_REVISION_FIRST) {
        int64_t ra = set_revision(a), rb = set_revision(b);
        if (ra != rb)
            return ra < rb ? -1 : 1;
    }
    if (order == LARGEST_NEWER_FIRST || order == LARGEST_OLDER_FIRST) {
        int64_t sa = spec_replicas(a), sb = spec_replicas(b);
        if (sa != sb)
            return sa > sb ? -1 : 1;
    }
    bool newer_first = order == NEWEST_FIRST || order == LARGEST_NEWER_FIRST;
    int64_t ta = meta_created(a), tb = meta_created(b);
    if (ta != tb)
        return (ta < tb) != newer_first ? -1 : 1;
    int by_name = strcmp(meta_name(a), meta_name(b));
    return newer_first ? -by_name : by_name;
}

void sort_sets(cJSON **sets, size_t count, enum set_order order)
{
    if (count > 1)
        qsort_r(sets, count, sizeof(*sets), compare_sets, &order);
}

cJSON *find_new_set(const cJSON *deployment, cJSON *const *sets, size_t count)
{
    const cJSON *wanted = json_path(deployment, "spec.template");
    cJSON *found = NULL;
    enum set_order oldest_first = OLDEST_FIRST;
    for (size_t i = 0; i < count; i++) {
        if (!pod_template_equal(json_path(sets[i], "spec.template"), wanted))
            continue;
        if (!found || compare_sets(&sets[i], &found, &oldest_first) < 0)
            found = sets[i];
    }
    return found;
}

int64_t set_revision(const cJSON *set)
{
    const char *text = meta_annotation(set, REVISION_ANNOTATION);
    return text ? strtoll(text, NULL, 10) : 0;
}

int64_t max_revision(cJSON *const *sets, size_t count)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++)
        most = set_revision(sets[i]) > most ? set_revision(sets[i]) : most;
    return most;
}

static bool number_annotation_is(const cJSON *o, const char *key, int64_t value)
{
    const char *text = meta_annotation(o, key);
    char *end = NULL;
    return text && *text && strtoll(text, &end, 10) == value && !*end;
}

static void set_number_annotation(cJSON *o, const char *key, int64_t value)
{
    cleanup_free char *text = mem_printf("%lld", (long long)value);
    meta_set_annotation(o, key, text);
}

bool replicas_annotations_outdated(const cJSON *set, int64_t desired, int64_t most)
{
    return !number_annotation_is(set, DESIRED_REPLICAS_ANNOTATION, desired) ||
           !number_annotation_is(set, MAX_REPLICAS_ANNOTATION, most);
}

bool set_replicas_annotations(cJSON *set, int64_t desired, int64_t most)
{
    if (!replicas_annotations_outdated(set, desired, most))
        return false;
    set_number_annotation(set, DESIRED_REPLICAS_ANNOTATION, desired);
    set_number_annotation(set, MAX_REPLICAS_ANNOTATION, most);
    return true;
}

int64_t desired_replicas_annotation(const cJSON *set)
{
    const char *text = meta_annotation(set, DESIRED_REPLICAS_ANNOTATION);
    char *end = NULL;
    int64_t n = text ? strtoll(text, &end, 10) : -1;
    return text && *text && !*end ? n : -1;
}

static bool copied_to_sets(const char *annotation)
{
    static const char *const kept_back[] = {"kubectl.kubernetes.io/last-applied-configuration",
                                            REVISION_ANNOTATION,
                                            REVISION_HISTORY_ANNOTATION,
                                            DESIRED_REPLICAS_ANNOTATION,
                                            MAX_REPLICAS_ANNOTATION,
                                            "deprecated.deployment.rollback.to"};
    for (size_t i = 0; i < ARRAY_LEN(kept_back); i++)
        if (strcmp(annotation, kept_back[i]) == 0)
            return false;
    return true;
}

/* The revisions that a set has had, oldest first, no longer than REVISION_HISTORY_LENGTH. */
static void remember_revision(cJSON *set, const char *old_revision)
{
    const char *history = meta_annotation(set, REVISION_HISTORY_ANNOTATION);
    if (!history || !*history) {
        meta_set_annotation(set, REVISION_HISTORY_ANNOTATION, old_revision);
        return;
    }
    while (history && strlen(history) + strlen(old_revision) + 1 > REVISION_HISTORY_LENGTH) {
        history = strchr(history, ',');
        history = history ? history + 1 : NULL;
    }
    cleanup_free char *text =
        history ? mem_printf("%s,%s", history, old_revision) : mem_strdup(old_revision);
    meta_set_annotation(set, REVISION_HISTORY_ANNOTATION, text);
}

bool set_new_set_annotations(const cJSON *deployment, cJSON *set, int64_t revision, bool exists)
{
    bool changed = false;
    const cJSON *a;
    cJSON_ArrayForEach(a, json_path(deployment, "metadata.annotations"))
    {
        if (!cJSON_IsString(a) || !copied_to_sets(a->string))
            continue;
        const char *have = meta_annotation(set, a->string);
        if (have && strcmp(have, a->valuestring) == 0)
            continue;
        meta_set_annotation(set, a->string, a->valuestring);
        changed = true;
    }
    cleanup_free char *old = mem_strdup(meta_annotation(set, REVISION_ANNOTATION));
    char *end = NULL;
    int64_t old_revision = old && *old ? strtoll(old, &end, 10) : 0;
    if (old && *old && *end)
        return false; /* somebody wrote nonsense there: hands off */
    if (old_revision < revision) {
        set_number_annotation(set, REVISION_ANNOTATION, revision);
        changed = true;
        if (old)
            remember_revision(set, old);
    }
    if (!exists && set_replicas_annotations(set, spec_replicas(deployment),
                                            spec_replicas(deployment) + max_surge(deployment)))
        changed = true;
    return changed;
}

/* --- progress --- */

static bool has_limit(const cJSON *deployment, const char *path)
{
    const cJSON *n = json_path(deployment, path);
    return cJSON_IsNumber(n) && n->valuedouble != INT32_MAX;
}

bool has_progress_deadline(const cJSON *deployment)
{
    return has_limit(deployment, "spec.progressDeadlineSeconds");
}

bool has_revision_history_limit(const cJSON *deployment)
{
    return has_limit(deployment, "spec.revisionHistoryLimit");
}

bool deployment_complete(const cJSON *deployment, const cJSON *status)
{
    int64_t wanted = spec_replicas(deployment);
    return json_int(status, "updatedReplicas", 0) == wanted &&
           json_int(status, "replicas", 0) == wanted &&
           json_int(status, "availableReplicas", 0) == wanted &&
           json_int(status, "observedGeneration", 0) >= meta_generation(deployment);
}

bool deployment_progressing(const cJSON *deployment, const cJSON *status)
{
    const cJSON *old = json_get(deployment, "status");
    int64_t old_updated = json_int(old, "updatedReplicas", 0),
            updated = json_int(status, "updatedReplicas", 0);
    int64_t old_outdated = json_int(old, "replicas", 0) - old_updated,
            outdated = json_int(status, "replicas", 0) - updated;
    return updated > old_updated || outdated < old_outdated ||
           json_int(status, "readyReplicas", 0) > json_int(old, "readyReplicas", 0) ||
           json_int(status, "availableReplicas", 0) > json_int(old, "availableReplicas", 0);
}

bool deployment_timed_out(const cJSON *deployment, const cJSON *status, int64_t now)
{
    if (!has_progress_deadline(deployment))
        return false;
    const cJSON *c = condition_find(json_get(status, "conditions"), "Progressing");
    if (!c)
        return false;
    const char *reason = json_str_or(c, "reason", "");
    if (strcmp(reason, "NewReplicaSetAvailable") == 0)
        return false;
    if (strcmp(reason, "ProgressDeadlineExceeded") == 0)
        return true;
    return json_time(c, "lastUpdateTime", now) +
               json_int(deployment, "spec.progressDeadlineSeconds", 0) <
           now;
}

void deployment_condition_remove(cJSON *status, const char *type)
{
    cJSON *conditions = json_get(status, "conditions");
    cJSON *c = condition_find(conditions, type);
    if (!c)
        return;
    cJSON_Delete(cJSON_DetachItemViaPointer(conditions, c));
    if (!conditions->child)
        json_remove(status, "conditions");
}

void deployment_condition_set(cJSON *status, const char *type, const char *value,
                              const char *reason, const char *message, const char *transition_time)
{
    char now[TIME_TEXT_MAX];
    time_now_text(now);
    const cJSON *old = condition_find(json_get(status, "conditions"), type);
    cleanup_free char *transition = mem_strdup(transition_time ? transition_time : now);
    if (old && strcmp(json_str_or(old, "status", ""), value) == 0) {
        if (strcmp(json_str_or(old, "reason", ""), reason) == 0)
            return;
        free(transition);
        transition = mem_strdup(json_str_or(old, "lastTransitionTime", now));
    }
    deployment_condition_remove(status, type);
    cJSON *c = cJSON_CreateObject();
    json_map_set_str(c, "type", type);
    json_map_set_str(c, "status", value);
    json_map_set_str(c, "lastUpdateTime", now);
    json_map_set_str(c, "lastTransitionTime", transition);
    json_map_set_str(c, "reason", reason);
    json_map_set_str(c, "message", message);
    cJSON_AddItemToArray(json_ensure_array(status, "conditions"), c);
}

static void set_count(cJSON *status, const char *field, int64_t n)
{
    if (n)
        json_set_int(status, field, n);
    else
        json_remove(status, field);
}

cJSON *deployment_status(const cJSON *deployment, cJSON *const *all_sets, size_t count,
                         const cJSON *new_set)
{
    const cJSON *old = json_get(deployment, "status");
    cJSON *status = cJSON_IsObject(old) ? json_dup(old) : cJSON_CreateObject();
    int64_t available = sum_status(all_sets, count, "availableReplicas");
    int64_t unavailable = sum_spec_replicas(all_sets, count) - available;
    set_count(status, "observedGeneration", meta_generation(deployment));
    set_count(status, "replicas", sum_status(all_sets, count, "replicas"));
    set_count(status, "updatedReplicas", status_count(new_set, "replicas"));
    set_count(status, "readyReplicas", sum_status(all_sets, count, "readyReplicas"));
    set_count(status, "availableReplicas", available);
    set_count(status, "unavailableReplicas", unavailable > 0 ? unavailable : 0);
    json_set_int(status, "terminatingReplicas", sum_status(all_sets, count, "terminatingReplicas"));
    if (available >= spec_replicas(deployment) - max_unavailable(deployment))
        deployment_condition_set(status, "Available", "True", "MinimumReplicasAvailable",
                                 "Deployment has minimum availability.", NULL);
    else
        deployment_condition_set(status, "Available", "False", "MinimumReplicasUnavailable",
                                 "Deployment does not have minimum availability.", NULL);
    return status;
}
