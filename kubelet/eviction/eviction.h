/* Keeps the node alive when it runs out of memory, disk or processes: tells the pressure, frees
 * what nobody uses, ends pods by rank, one at a time; and ends pods that use more local storage
 * than they may. */
#pragma once
#include "kubelet/eviction/thresholds.h"
#include "kubelet/kubelet.h"

struct node_agent;
struct eviction_options {
    struct thresholds thresholds;
    int64_t transition_ms;     /* Kubernetes: 5 minutes */
    int64_t max_grace_seconds; /* of pods that end for a soft threshold */
    int64_t interval_ms;       /* between two looks; Kubernetes: 10 s */
};
/* Starts looking. agent: woken when the pressure changes; k->pressure tells it. */
void eviction_start(struct kubelet *k, const struct eviction_options *o, struct node_agent *agent);

/* Why a pod must not start here now, in Kubernetes' words (caller frees), or NULL. */
char *eviction_refuses(const cJSON *pod, unsigned pressure);
/* Quantities as messages show them; caller frees. */
char *eviction_amount(enum eviction_signal s, int64_t value);

/* --- local storage (local.c) --- */
/* Ends pods over a limit of theirs; true if there was one. */
bool eviction_local_storage(struct kubelet *k);
/* Why this pod is over a limit (caller frees), or NULL. */
struct pod_stats;
char *eviction_over_local_limit(const struct pod_stats *p);
/* Has it limits at all? */
bool eviction_has_local_limits(const cJSON *pod);
