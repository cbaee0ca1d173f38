/* Leader election by a coordination.k8s.io/v1 Lease in kube-system, compatible with client-go's
 * (holderIdentity, leaseDurationSeconds, acquireTime, renewTime, leaseTransitions). Safe against clock
 * differences: another's lease counts as expired when it was seen unchanged for its duration on our own
 * monotonic clock. */
#pragma once
#include <stdbool.h>
#include "common/kube_client.h"

struct leader_election_options {
    struct kube_client *client;
    const char *ns;                                            /* "kube-system" */
    const char *name;                                          /* "kube-scheduler" */
    const char *identity;                                      /* "cp-1_<uuid>" */
    int lease_duration_ms, renew_deadline_ms, retry_period_ms; /* Kubernetes: 15000, 10000, 2000 */
};
struct leader_election;
/* Starts a thread that tries to become leader. started() is called once on that thread when leading and must
 * return soon (start threads). lost() is called when leadership was lost: the process must stop acting at
 * once (Kubernetes' components exit; ours do too). */
struct leader_election *leader_election_start(const struct leader_election_options *o,
                                              void (*started)(void *), void (*lost)(void *), void *userdata);
bool leader_election_is_leader(const struct leader_election *e);
/* Stops and, if leading, gives the lease up (holderIdentity "") so that the next candidate need not wait. */
void leader_election_release(struct leader_election *e);
/* "<host name>_<random uuid>", caller frees. */
char *leader_election_identity(void);
