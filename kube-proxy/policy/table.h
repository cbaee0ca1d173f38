/* NetworkPolicies of a node as one nftables table, kept as text commands. Pure: nothing here
 * touches the kernel.
 *
 *   forward, priority 10:  source address      -> goto egress-N           map egress-pods4,
 * egress-pods6 forward, priority 11:  destination address -> goto ingress-N          map
 * ingress-pods4, ingress-pods6 ingress-N:             jump ingress/NAMESPACE/NAME for each policy
 * of a set of policies, then drop ingress/NAMESPACE/NAME: one rule per peer and port, with sets of
 * the pods' addresses; accepts or returns
 *
 * The maps have this node's pods that a policy selects. Pods under the same policies share one
 * chain, so that a pod's coming, going or changing is a few elements, whatever its policies say.
 * Policies that select no pod of this node are not here at all. Never judged: answers and what
 * belongs to a connection that was let through once, what a pod sends to itself, and what its own
 * node sends to it or gets from it (that passes input and output, not forward). */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "common/buf.h"
#include "kube-proxy/policy/policy.h"

#define POLICY_TABLE "inet network-policy"

struct policies;
struct policies *policies_new(void);
void policies_free(struct policies *p);
/* What is taken becomes the state; NULL: there is no such thing any more. */
void policies_set_policy(struct policies *p, const char *key, struct policy *taken);
void policies_set_pod(struct policies *p, const char *key, struct policy_pod *taken);
void policies_set_namespace(struct policies *p, const char *name, cJSON *labels_taken);
bool policies_none(const struct policies *p); /* not one policy */
/* Appends the transaction that brings the kernel from the state of the last call to now. */
void policies_take_changes(struct policies *p, struct buf *out);
/* Appends the transaction that makes the table anew, or removes it when there is no policy. */
void policies_take_all(struct policies *p, struct buf *out);
