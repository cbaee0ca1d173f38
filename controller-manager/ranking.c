/* The order is Kubernetes' (controller.ActivePodsWithRanks): what costs least to lose goes first.
 * Ages are compared by their logarithm (KEP-2185), so that of pods of about the same age a random
 * one goes rather than always the newest. */
#include "controller-manager/ranking.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "controller-manager/objects.h"

static int phase_order(const cJSON *pod)
{
    const char *phase = pod_phase(pod);
    if (strcmp(phase, "Running") == 0)
        return 2;
    return strcmp(phase, "Unknown") == 0 ? 1 : 0;
}

static int64_t deletion_cost(const cJSON *pod)
{
    const char *text = meta_annotation(pod, "controller.kubernetes.io/pod-deletion-cost");
    if (!text || !*text)
        return 0;
    char *end;
    long long v = strtoll(text, &end, 10);
    return *end || v > INT32_MAX || v < INT32_MIN ? 0 : v;
}

static int64_t ready_since(const cJSON *pod)
{
    return json_time(condition_find(json_path(pod, "status.conditions"), "Ready"),
                     "lastTransitionTime", 0);
}

static int64_t restarts(const cJSON *pod)
{
    int64_t most = 0;
    const cJSON *s;
    cJSON_ArrayForEach(s, json_path(pod, "status.containerStatuses"))
    {
        int64_t n = json_int(s, "restartCount", 0);
        most = n > most ? n : most;
    }
    return most;
}

static int logarithm_of_age(int64_t since, int64_t now)
{
    return now <= since ? -1 : (int)log2((double)(now - since) * 1e9);
}

/* Negative: a goes first. */
static int compare_times(const cJSON *a, int64_t ta, const cJSON *b, int64_t tb, int64_t now)
{
    if (!ta || !tb)
        return ta ? 1 : -1; /* unknown counts as just now */
    int diff = logarithm_of_age(ta, now) - logarithm_of_age(tb, now);
    return diff ? diff : strcmp(meta_uid(a), meta_uid(b));
}

static int compare(const void *pa, const void *pb, void *ctx)
{
    const struct ranked_pod *x = pa, *y = pb;
    int64_t now = *(const int64_t *)ctx;
    const cJSON *a = x->pod, *b = y->pod;
    bool assigned_a = *json_str_or(a, "spec.nodeName", ""),
         assigned_b = *json_str_or(b, "spec.nodeName", "");
    if (assigned_a != assigned_b)
        return assigned_a ? 1 : -1;
    if (phase_order(a) != phase_order(b))
        return phase_order(a) - phase_order(b);
    bool ready_a = pod_ready(a), ready_b = pod_ready(b);
    if (ready_a != ready_b)
        return ready_a ? 1 : -1;
    int64_t cost_a = deletion_cost(a), cost_b = deletion_cost(b);
    if (cost_a != cost_b)
        return cost_a < cost_b ? -1 : 1;
    if (x->related_on_node != y->related_on_node)
        return x->related_on_node > y->related_on_node ? -1 : 1;
    if (ready_a && ready_since(a) != ready_since(b))
        return compare_times(a, ready_since(a), b, ready_since(b), now);
    if (restarts(a) != restarts(b))
        return restarts(a) > restarts(b) ? -1 : 1;
    if (meta_created(a) != meta_created(b))
        return compare_times(a, meta_created(a), b, meta_created(b), now);
    return strcmp(meta_uid(a), meta_uid(b));
}

void rank_pods_for_deletion(struct ranked_pod *pods, size_t count, int64_t now)
{
    qsort_r(pods, count, sizeof(*pods), compare, &now);
}
