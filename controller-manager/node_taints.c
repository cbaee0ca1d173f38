#include "controller-manager/node_taints.h"
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"

const char *node_ready_status(const cJSON *node)
{
    return json_str_or(condition_find(json_path(node, "status.conditions"), "Ready"), "status", "");
}

static cJSON *taint_new(const char *key, const char *effect, const char *now)
{
    cJSON *t = cJSON_CreateObject();
    json_map_set_str(t, "key", key);
    json_map_set_str(t, "effect", effect);
    json_map_set_str(t, "timeAdded", now);
    return t;
}

/* Makes the taints of one effect, among the keys that are ours, be exactly the wanted ones. */
static cJSON *with_taints(const cJSON *taints, const char *effect, const char *const *keys,
                          const bool *wanted, size_t count, const char *now)
{
    cJSON *out = cJSON_CreateArray();
    bool changed = false, *present = mem_alloc(count * sizeof(*present));
    const cJSON *item;
    cJSON_ArrayForEach(item, taints)
    {
        struct taint t = taint_from_json(item);
        bool keep = true;
        for (size_t i = 0; i < count && strcmp(t.effect, effect) == 0; i++) {
            if (strcmp(t.key, keys[i]) != 0)
                continue;
            keep = wanted[i];
            present[i] = wanted[i];
        }
        changed = changed || !keep;
        if (keep)
            cJSON_AddItemToArray(out, json_dup(item));
    }
    for (size_t i = 0; i < count; i++) {
        if (!wanted[i] || present[i])
            continue;
        cJSON_AddItemToArray(out, taint_new(keys[i], effect, now));
        changed = true;
    }
    free(present);
    if (changed)
        return out;
    cJSON_Delete(out);
    return NULL;
}

cJSON *taints_for_conditions(const cJSON *node, const cJSON *taints, const char *now)
{
    static const char *const keys[] = {TAINT_NOT_READY,
                                       TAINT_UNREACHABLE,
                                       "node.kubernetes.io/memory-pressure",
                                       "node.kubernetes.io/disk-pressure",
                                       "node.kubernetes.io/network-unavailable",
                                       "node.kubernetes.io/pid-pressure",
                                       "node.kubernetes.io/unschedulable"};
    const char *ready = node_ready_status(node);
    const bool wanted[] = {strcmp(ready, "False") == 0,
                           strcmp(ready, "Unknown") == 0,
                           condition_is(node, "MemoryPressure", "True"),
                           condition_is(node, "DiskPressure", "True"),
                           condition_is(node, "NetworkUnavailable", "True"),
                           condition_is(node, "PIDPressure", "True"),
                           json_bool(node, "spec.unschedulable", false)};
    return with_taints(taints, "NoSchedule", keys, wanted, ARRAY_LEN(keys), now);
}

cJSON *taints_for_eviction(const cJSON *taints, const char *key, const char *now)
{
    static const char *const keys[] = {TAINT_NOT_READY, TAINT_UNREACHABLE};
    const bool wanted[] = {key && strcmp(key, keys[0]) == 0, key && strcmp(key, keys[1]) == 0};
    return with_taints(taints, "NoExecute", keys, wanted, ARRAY_LEN(keys), now);
}

bool has_no_execute_taint(const cJSON *taints)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, taints) if (strcmp(taint_from_json(item).effect, "NoExecute") ==
                                         0) return true;
    return false;
}

enum eviction pod_eviction(const cJSON *pod, const cJSON *taints, int64_t now, int64_t *seconds,
                           int64_t *since)
{
    const cJSON *tolerations = json_path(pod, "spec.tolerations"), *item, *toleration;
    int64_t shortest = -1, latest = 0;
    bool any = false, dated = true;
    cJSON_ArrayForEach(item, taints)
    {
        struct taint t = taint_from_json(item);
        if (strcmp(t.effect, "NoExecute") != 0)
            continue;
        any = true;
        int64_t added = json_time(item, "timeAdded", 0);
        dated = dated && added > 0;
        latest = added > latest ? added : latest;
        /* As in Kubernetes the first toleration that matches counts. */
        bool tolerated = false;
        cJSON_ArrayForEach(toleration, tolerations)
        {
            if (!toleration_tolerates(toleration, &t))
                continue;
            tolerated = true;
            const cJSON *limit = json_get(toleration, "tolerationSeconds");
            if (cJSON_IsNumber(limit)) {
                int64_t n = limit->valuedouble > 0 ? (int64_t)limit->valuedouble : 0;
                shortest = shortest < 0 || n < shortest ? n : shortest;
            }
            break;
        }
        if (!tolerated)
            return EVICT_NOW;
    }
    if (!any || shortest < 0)
        return EVICT_NEVER;
    if (shortest == 0)
        return EVICT_NOW;
    *seconds = shortest;
    *since = dated && latest <= now ? latest : now;
    return EVICT_LATER;
}

enum zone_state zone_state_of(size_t ready, size_t not_ready)
{
    if (ready == 0 && not_ready > 0)
        return ZONE_FULL_DISRUPTION;
    /* --unhealthy-zone-threshold 0.55 */
    if (not_ready > 2 && (double)not_ready / (double)(ready + not_ready) >= 0.55)
        return ZONE_PARTIAL_DISRUPTION;
    return ZONE_NORMAL;
}
