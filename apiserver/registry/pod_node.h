/* From a pod to its node's kubelet: what pods/log and the streams (exec, attach, portforward) share. */
#pragma once
#include "apiserver/registry/registry.h"

/* The container's name in the pod (wanted may be NULL or ""); NULL with an error. */
const char *pod_choose_container(const cJSON *pod, const char *wanted, struct error **err);
/* "https://10.89.0.21:10250", the caller's; NULL with an error. */
char *pod_node_url(struct write *w, const char *node_name, struct error **err);
