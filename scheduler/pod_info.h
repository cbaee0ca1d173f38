/* A pod, with what the scheduler wants to know of it worked out once. Immutable and reference-counted. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/informer.h"
#include "common/selector.h"
#include "scheduler/resources.h"

struct host_port {
    const char *ip, *protocol;
    int port;
};

/* One term of pod (anti-)affinity. */
struct pod_term {
    struct label_selector *selector;
    struct label_selector *ns_selector; /* NULL: none */
    const cJSON *namespaces;            /* array of names; NULL: none */
    const char *topology_key;
    int weight; /* preferred terms */
};
struct pod_terms {
    struct pod_term *items;
    size_t count;
};

struct spread_constraint {
    const char *topology_key;
    struct label_selector *selector;
    int max_skew, min_domains; /* min_domains 0: not given */
    bool honor_affinity, honor_taints;
};
struct spread_constraints {
    struct spread_constraint *items;
    size_t count;
};

struct pod_info {
    int refs;
    struct kube_object *object;
    const cJSON *spec, *labels; /* labels: NULL when there are none */
    const char *key, *ns, *name, *uid;
    const char *node_name;      /* "" when unassigned */
    const char *nominated_node; /* "" when none */
    int64_t priority;
    int64_t created_micros, started_micros; /* started: 0 when not known */
    bool terminating, may_preempt, best_effort, gated;
    struct resources requests;
    int64_t nonzero_cpu, nonzero_memory;
    struct host_port *ports;
    size_t port_count;
    struct pod_terms affinity, anti_affinity;                     /* required */
    struct pod_terms preferred_affinity, preferred_anti_affinity; /* with weights */
    struct spread_constraints spread_hard, spread_soft;
    bool has_constraints; /* names any topologySpreadConstraints */
};

struct pod_info *pod_info_new(struct kube_object *object); /* takes a reference of its own */
struct pod_info *pod_info_ref(struct pod_info *p);
void pod_info_unref(struct pod_info *p);
void pod_info_cleanup(struct pod_info **p);
#define cleanup_pod __attribute__((cleanup(pod_info_cleanup)))

/* Drops what no scheduler reads (environments, probes, volumes, ...): the store of pods is most of its
 * memory. */
void pod_info_strip(cJSON *pod);
/* Is it finished, so that it holds no resources any more? */
bool pod_object_terminal(const cJSON *pod);
/* Does a term of owner's select the other pod? namespace_labels: the labels of the other pod's namespace, or
 * NULL. */
bool pod_term_matches(const struct pod_term *t, const struct pod_info *owner, const struct pod_info *other,
                      const cJSON *namespace_labels);
void spread_constraints_clear(struct spread_constraints *c);
