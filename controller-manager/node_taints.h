/* What taints a node should have, and what a pod may bear of them. No state, no requests. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAINT_NOT_READY      "node.kubernetes.io/not-ready"
#define TAINT_UNREACHABLE    "node.kubernetes.io/unreachable"
#define TAINT_OUT_OF_SERVICE "node.kubernetes.io/out-of-service"

/* spec.taints with the NoSchedule taints that conditions and spec.unschedulable call for, others
 * untouched; NULL when it is so already. now: metav1.Time text. */
cJSON *taints_for_conditions(const cJSON *node, const cJSON *taints, const char *now);
/* spec.taints with NoExecute of exactly this key (TAINT_NOT_READY, TAINT_UNREACHABLE, or NULL for
 * neither); NULL when it is so already. */
cJSON *taints_for_eviction(const cJSON *taints, const char *key, const char *now);
/* The status of the node's Ready condition; "" when it has none. */
const char *node_ready_status(const cJSON *node);

enum eviction { EVICT_NEVER, EVICT_NOW, EVICT_LATER };
/* What the node's NoExecute taints mean for a pod. For EVICT_LATER, *seconds is how long the pod
 * may stay, counted from *since: the time at which the last of these taints was added, or now when
 * that is not known. */
enum eviction pod_eviction(const cJSON *pod, const cJSON *taints, int64_t now, int64_t *seconds,
                           int64_t *since);
bool has_no_execute_taint(const cJSON *taints);

enum zone_state { ZONE_NORMAL, ZONE_PARTIAL_DISRUPTION, ZONE_FULL_DISRUPTION };
enum zone_state zone_state_of(size_t ready, size_t not_ready);
