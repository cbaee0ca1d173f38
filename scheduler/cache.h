/* What the scheduler believes of the cluster: nodes, with the pods that are on them or were just sent there.
 *
 * A pod that was given a node is assumed to be there before the API has said so; the watch confirms it, or
 * its deletion or a failed binding takes it away again. So nothing needs to expire. All functions but the
 * locking ones want the lock to be held. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include "scheduler/map.h"
#include "scheduler/pod_info.h"

struct node_info {
    char *name;
    struct kube_object *object; /* NULL: pods name it, but the node is not known (any more) */
    const cJSON *labels;        /* of the object; may be NULL */
    const cJSON *taints;
    bool unschedulable;
    struct resources allocatable, requested;
    int64_t nonzero_cpu, nonzero_memory;
    struct pod_info **pods;
    size_t pod_count, pod_cap;
    size_t index; /* in the cache's list of nodes; meaningful when object is set */
};

struct cache {
    pthread_mutex_t lock;
    struct map nodes_by_name, pods_by_uid, namespaces;
    struct map nominated;     /* by uid: pods that wait for their victims to leave a node */
    /* Decided, but not in the API yet (volumes.h): PersistentVolume -> claim's key, claim's key -> node. */
    struct map assumed_volumes, assumed_claims;
    struct node_info **nodes; /* known ones */
    size_t node_count, node_cap;
};

void cache_init(struct cache *c);
void cache_destroy(struct cache *c);
void cache_lock(struct cache *c);
void cache_unlock(struct cache *c);

/* What about a node has changed, as cluster events (queue.h). */
unsigned cache_set_node(struct cache *c, struct kube_object *node);
void cache_remove_node(struct cache *c, const char *name);
struct node_info *cache_node(struct cache *c, const char *name);

/* A pod that the API shows on a node. Returns the event that this means to others (0: nothing new). */
unsigned cache_set_pod(struct cache *c, struct pod_info *p);
/* False when it was not there. */
bool cache_remove_pod(struct cache *c, const char *uid);
void cache_assume(struct cache *c, struct pod_info *p, struct node_info *node);
/* The binding failed: takes the pod away, if it is still only assumed. */
void cache_forget(struct cache *c, const char *uid);
bool cache_has_pod(struct cache *c, const char *uid);

/* A pod for which room is made on a node: pods of lower priority must not take it. node NULL or "": no
 * longer. */
void cache_nominate(struct cache *c, struct pod_info *p, const char *node);
const char *cache_nominated_node(const struct cache *c, const char *uid); /* NULL when none */
/* Pods nominated for the node with at least this priority, but not the one with this uid; fills at most max.
 */
size_t cache_nominated_pods(const struct cache *c, const char *node, int64_t priority, const char *but_uid,
                            struct pod_info **out, size_t max);

void cache_set_namespace(struct cache *c, struct kube_object *ns, const char *name); /* NULL: removed */
const cJSON *cache_namespace_labels(const struct cache *c, const char *name);

/* Moves a pod on or off a node for a thought experiment. */
void node_info_add(struct node_info *n, struct pod_info *p);
bool node_info_remove(struct node_info *n, struct pod_info *p);
