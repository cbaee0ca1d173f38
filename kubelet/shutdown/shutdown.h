/* Graceful node shutdown: when the machine is about to go off, pods end in order within the time
 * there is, and the node is not ready meanwhile. Told by SIGPWR, the signal that power supplies,
 * container managers and init systems send.
 * https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#graceful-node-shutdown
 */
#pragma once
#include "kubelet/kubelet.h"

struct node_agent;
struct shutdown_options {
    int64_t grace_ms; /* of all pods together; 0: pods are not ended */
    int64_t
        critical_grace_ms; /* the part of it that critical pods have to themselves, at the end */
};
/* Before any thread: the signal is for shutdown_start's alone. */
void shutdown_block_signal(void);
void shutdown_start(struct kubelet *k, const struct shutdown_options *o, struct node_agent *agent);
/* What happens when the signal comes; returns when all pods have ended or the time is over. */
void shutdown_run(struct kubelet *k, const struct shutdown_options *o, struct node_agent *agent);
