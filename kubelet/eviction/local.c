/* Limits of local storage: of containers (written layer and log), of pods, of emptyDir volumes.
 * https://kubernetes.io/docs/concepts/storage/ephemeral-storage/ */
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "kubelet/eviction/eviction.h"
#include "kubelet/pod/pod.h"
#include "kubelet/stats/stats.h"

static const char *size_limit(const cJSON *volume)
{
    const char *limit = json_str(volume, "emptyDir.sizeLimit");
    return limit && quantity_text_value(limit) > 0 ? limit : NULL;
}

static const char *storage_limit(const cJSON *container)
{
    return json_map_str(json_path(container, "resources.limits"), "ephemeral-storage");
}

bool eviction_has_local_limits(const cJSON *pod)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, json_path(pod, "spec.volumes"))
    {
        if (size_limit(e))
            return true;
    }
    cJSON_ArrayForEach(e, json_path(pod, "spec.containers"))
    {
        if (storage_limit(e))
            return true;
    }
    return false;
}

static char *volume_over(const struct pod_stats *p)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(p->object->json, "spec.volumes"))
    {
        const char *limit = size_limit(v), *name = json_str_or(v, "name", "");
        for (size_t i = 0; limit && i < p->volume_count; i++)
            if (strcmp(p->volumes[i].name, name) == 0 &&
                p->volumes[i].used > (uint64_t)quantity_text_value(limit))
                return mem_printf("Usage of EmptyDir volume \"%s\" exceeds the limit \"%s\". ",
                                  name, limit);
    }
    return NULL;
}

static char *pod_over(const struct pod_stats *p)
{
    int64_t sum = 0;
    bool any = false;
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(p->object->json, "spec.containers"))
    {
        const char *limit = storage_limit(c);
        if (!limit)
            return NULL; /* one without a limit: the pod as a whole has none */
        any = true;
        sum += quantity_text_value(limit);
    }
    if (!any || pod_stats_ephemeral(p) <= (uint64_t)sum)
        return NULL;
    cleanup_free char *text = eviction_amount(SIGNAL_NODEFS, sum);
    return mem_printf(
        "Pod ephemeral local storage usage exceeds the total limit of containers %s. ", text);
}

static char *container_over(const struct pod_stats *p)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(p->object->json, "spec.containers"))
    {
        const char *limit = storage_limit(c), *name = json_str_or(c, "name", "");
        for (size_t i = 0; limit && i < p->container_count; i++)
            if (strcmp(p->containers[i].name, name) == 0 &&
                p->containers[i].rootfs_bytes + p->containers[i].log_bytes >
                    (uint64_t)quantity_text_value(limit))
                return mem_printf(
                    "Container %s exceeded its local ephemeral storage limit \"%s\". ", name,
                    limit);
    }
    return NULL;
}

char *eviction_over_local_limit(const struct pod_stats *p)
{
    char *why = volume_over(p);
    if (!why)
        why = pod_over(p);
    return why ? why : container_over(p);
}

static bool any_limits(struct kubelet *k)
{
    bool any = false;
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i] && !any; i++) {
        pthread_mutex_lock(&list[i]->lock);
        any = !list[i]->terminating && eviction_has_local_limits(list[i]->object->json);
        pthread_mutex_unlock(&list[i]->lock);
    }
    pods_free_list(list);
    return any;
}

bool eviction_local_storage(struct kubelet *k)
{
    if (!any_limits(k))
        return false;
    bool ended = false;
    cleanup_stats struct node_stats s = {0};
    stats_collect_some(k, STATS_DISK, eviction_has_local_limits, &s);
    for (size_t i = 0; i < s.count; i++) {
        if (!eviction_has_local_limits(s.items[i].object->json))
            continue;
        cleanup_free char *why = eviction_over_local_limit(&s.items[i]);
        cleanup_pod struct pod *p = why ? pods_find_uid(k, s.items[i].object->uid) : NULL;
        if (p && pod_evict(p, why, 1))
            ended = true;
    }
    return ended;
}
