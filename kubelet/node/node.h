/* This machine as a Node: registration, status, heartbeat by Lease, and the CNI configuration that follows its podCIDR. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/informer.h"
#include "kubelet/eviction/thresholds.h"
#include "kubelet/kubelet.h"

struct node_config {
    const char *labels;                        /* "a=b,c=d" */
    const char *system_reserved, *kube_reserved; /* "cpu=100m,memory=256Mi" */
    const char *cni_conf_dir;
    const char *runtime; /* "containerd://1.6.20" */
    const struct thresholds *eviction; /* what the hard ones keep free is not for pods; NULL: none */
    int port;            /* where the kubelet serves */
    int64_t status_report_ms, status_update_ms, lease_seconds; /* Kubernetes: 300000, 10000, 40 */
};

/* --- facts (facts.c) --- */
struct node_facts {
    int64_t cpu_milli, memory, ephemeral, pods; /* capacity */
    int64_t allocatable_cpu_milli, allocatable_memory, allocatable_ephemeral;
    int64_t pods_memory; /* the limit of all pods together: without what eviction keeps free */
};
/* False with a message for a reservation that makes no sense. */
bool node_read_facts(const struct node_config *c, const char *root_dir, int64_t max_pods, struct node_facts *out,
                     struct error **err);
/* Sets capacity, allocatable and nodeInfo in a NodeStatus. */
void node_set_facts(cJSON *status, const struct node_facts *f, const struct node_config *c);
struct node_pressure {
    bool memory, disk, pid;
};

/* --- CNI (cni.c) --- */
/* Writes 10-skiff.conflist for these ranges (one, or one of each IP family joined by a comma) unless somebody else's
 * configuration is there already. Pods get the MTU of the interface that has the first of the node's addresses. */
bool cni_configure(const char *dir, const char *pod_cidrs, const char *node_ips, bool *changed, struct error **err);

/* --- the agent (agent.c) --- */
/* Conditions as they are now; old: the API's, for the times of transitions. Returns the array. */
cJSON *node_conditions(const cJSON *old, const struct node_pressure *p, const char *runtime_not_ready,
                       const char *network_not_ready, int64_t now);
struct node_agent;
struct node_agent *node_agent_start(struct kubelet *k, const struct node_config *c, const struct node_facts *f);
/* An informer_handler for the Node itself; userdata is the agent. */
void node_agent_changed(void *agent, enum informer_event event, const struct kube_object *old,
                        const struct kube_object *new_object);
void node_agent_wake(struct node_agent *a);
void node_agent_report(struct node_agent *a); /* the status changed: report it now */
void node_agent_event(struct node_agent *a, const char *type, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void node_agent_stop(struct node_agent *a); /* waits */
/* The Node is known to the API and the runtime answers. */
bool node_agent_ready(struct node_agent *a, char **why_not);
