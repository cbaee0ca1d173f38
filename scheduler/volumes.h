/* Volumes that wait for their pod to be scheduled: which PersistentVolume, or which node to make one on, each unbound
 * claim of a pod gets when the pod goes to a node; and what was decided so but is not in the API yet.
 * https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode */
#pragma once
#include "common/kube_client.h"
#include "scheduler/framework.h"

struct volume_step {
    char *claim;  /* "namespace/name" */
    char *volume; /* an existing PersistentVolume; NULL: one is to be provisioned */
    unsigned long long written; /* resourceVersion of our write to the claim; 0: none yet */
    bool done;                  /* its write is in the API */
};
struct volume_plan {
    struct volume_step *steps;
    size_t count;
    int64_t deadline_ms; /* monotonic; set when the first write is done */
};
/* With the cache locked, when the pod was given this node: what is to be done for its claims, noted in the cache so
 * that no other pod is given the same volumes. NULL: nothing. */
struct volume_plan *volume_plan_new(const struct pod_info *p, struct cache *cache, const struct owners *owners,
                                    const struct node_info *n);
/* With the cache locked: it was carried out, or given up. */
void volume_plan_free(struct volume_plan *plan, struct cache *cache);
/* Carries it out as far as it can be now. */
enum volume_progress { VOLUMES_BOUND, VOLUMES_WAIT, VOLUMES_FAILED };
enum volume_progress volume_plan_advance(struct volume_plan *plan, struct kube_client *client,
                                         const struct owners *owners, const char *node, struct error **err);
