/* Which pods go first when a ReplicaSet shrinks. */
#pragma once
#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

struct ranked_pod {
    const cJSON *pod;
    int related_on_node; /* active pods of the same workload on its node */
};
/* Sorts so that the pods to delete first come first. now: seconds. */
void rank_pods_for_deletion(struct ranked_pod *pods, size_t count, int64_t now);
