/* Pods that must not start on this node, though they were bound to it. */
#pragma once
#include "kubelet/kubelet.h"

/* Why a pod is refused, in Kubernetes' words (caller frees the message), or NULL. *reason: a static
 * string. */
char *admit_refuses(const struct kubelet *k, const cJSON *pod, const char **reason);
/* Is a sysctl one that each pod has for itself and that cannot harm others? */
bool admit_sysctl_is_safe(const char *name);
/* pods that may use further ones: "kernel.msg*,net.core.somaxconn" (may be NULL). Gives the
 * message, or NULL. */
char *admit_sysctls(const cJSON *pod, const char *allowed);
