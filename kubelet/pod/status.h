/* Computes a PodStatus. Pure: the same input gives the same status (times of transitions come from the old one). */
#pragma once
#include "kubelet/pod/pod.h"

struct status_input {
    const cJSON *pod;        /* as in the API */
    const cJSON *old_status; /* what was reported last: ours, else the API's */
    const struct runtime_sandboxes *sandboxes;
    const struct runtime_containers *containers;
    const struct pod_container_state *states;
    size_t state_count;
    const char *pod_ips; /* comma-joined or NULL */
    const char *host_ip;
    const char *end_phase, *end_reason, *end_message; /* NULL, or what ends the pod */
    bool disrupted; /* with end_phase: it was the kubelet's choice */
    bool terminal;                                    /* it came to its end: nothing will be started again */
    int64_t now;                                      /* seconds */
};
cJSON *status_compute(const struct status_input *in);
/* The phase alone, from container statuses. */
const char *status_phase(const cJSON *pod, const cJSON *init_statuses, const cJSON *statuses, bool terminal);
