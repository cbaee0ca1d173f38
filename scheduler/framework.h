/* The scheduling framework: plugins that filter and score nodes for one pod.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/ */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "scheduler/cache.h"
#include "scheduler/pod_info.h"
#include "scheduler/queue.h"

#define SCORE_MAX 100

enum verdict {
    VERDICT_FITS,
    VERDICT_UNSCHEDULABLE, /* removing pods from the node could help */
    VERDICT_UNRESOLVABLE,  /* nothing that preemption can do would help */
};

/* Why nodes were refused: each reason with the number of nodes. */
struct reason {
    char *text;
    int count;
};
struct reasons {
    struct reason *items;
    size_t count;
};
void reasons_add(struct reasons *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void reasons_clear(struct reasons *r);

/* What else of the API the plugins look at: where the selectors of default spreading come from, and volumes. May be NULL
 * in tests, and so may each. */
struct owners {
    struct informer *services, *replica_sets;
    struct informer *claims, *volumes, *classes;
};

/* One pod's way through the plugins. Valid while the cache is locked. */
struct cycle {
    const struct pod_info *pod;
    struct cache *cache;
    const struct owners *owners;
    struct reasons *reasons; /* of the present filtering; never NULL */
    /* States of the plugins that look at the whole cluster at first. */
    struct spread_state *spread;
    struct pod_affinity_state *affinity;
    struct volume_state *volumes;
    char *rejected; /* by a filter's preparation: fits no node at all, and why; owned */
    /* What scoring looks at. */
    struct node_info **nodes;
    size_t node_count;
};

struct plugin {
    const char *name;
    unsigned events; /* that may make its refusals void */
    void (*pre_filter)(struct cycle *c);
    enum verdict (*filter)(struct cycle *c, const struct node_info *n);
    int weight;
    bool (*pre_score)(struct cycle *c);              /* false: nothing to say about this pod */
    void (*score)(struct cycle *c, int64_t *scores); /* 0..SCORE_MAX for each of c->nodes */
};

extern const struct plugin plugin_node_unschedulable, plugin_node_name, plugin_taint_toleration,
    plugin_node_affinity, plugin_node_ports, plugin_node_resources_fit, plugin_pod_topology_spread,
    plugin_inter_pod_affinity, plugin_volume_binding, plugin_balanced_allocation, plugin_image_locality;

void cycle_begin(struct cycle *c, const struct pod_info *pod, struct cache *cache,
                 const struct owners *owners, struct reasons *reasons);
/* Runs the filters' preparation; again after the cache has changed. */
void cycle_pre_filter(struct cycle *c);
/* The first plugin that refuses ends it; its reasons are added. *refused_by may be NULL. */
enum verdict cycle_filter(struct cycle *c, const struct node_info *n, const struct plugin **refused_by);
/* The best of nodes; seed breaks ties. */
struct node_info *cycle_pick(struct cycle *c, struct node_info **nodes, size_t count, unsigned *seed);
void cycle_end(struct cycle *c);

/* Helpers shared by plugins. */
/* Does the pod tolerate the taint? */
bool taint_tolerated(const cJSON *tolerations, const cJSON *taint);
/* nodeSelector and required node affinity. */
bool node_affinity_matches(const cJSON *spec, const struct node_info *n);
/* Do the pod's terms name nodes by metadata.name, and not this one? Such nodes are not even looked at. */
bool node_affinity_excludes_by_name(const cJSON *spec, const char *name);
/* The first NoSchedule or NoExecute taint that is not tolerated; NULL when there is none. */
const cJSON *untolerated_taint(const cJSON *spec, const struct node_info *n);
/* Spreads raw scores over 0..SCORE_MAX in proportion to the largest. */
void scores_normalize(int64_t *scores, size_t count, bool reverse);
void volume_state_free(struct volume_state *s);
void spread_state_free(struct spread_state *s);
void pod_affinity_state_free(struct pod_affinity_state *s);
