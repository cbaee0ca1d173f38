/* A pod's class of service, from what its containers ask for.
 * https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ */
#pragma once
#include <cjson/cJSON.h>

/* "Guaranteed", "Burstable" or "BestEffort". */
const char *pod_qos_class(const cJSON *pod);
