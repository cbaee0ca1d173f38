/* One policy in nftables' words (table.h tells how these work together). */
#pragma once
#include "common/buf.h"
#include "kube-proxy/policy/elements.h"
#include "kube-proxy/policy/policy.h"

void policy_print_table(struct buf *out); /* what does not depend on policies */
/* "ingress/namespace/name", short enough for nftables. The caller frees. */
char *policy_chain_name(const char *policy_key, enum policy_direction d);
/* The chain with its rules, and the sets that they need; their names are appended to `sets`. */
void policy_print_chain(const struct policy *p, enum policy_direction d, struct element_list *sets,
                        struct buf *out);
/* What a pod adds to the sets of a policy. namespace_labels: those of the pod's namespace. */
void policy_elements(const struct policy *p, const struct policy_pod *pod,
                     const cJSON *namespace_labels, struct element_list *out);
