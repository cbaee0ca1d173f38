/* Admission plug-ins, one file each, called by registry/admission.c in Kubernetes' order:
 * https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/ */
#pragma once
#include "apiserver/registry/registry.h"

/* ServiceAccount: gives a new pod its account, the account's pull secrets, and the volume with its token. */
bool service_account_admit(struct write *w, cJSON *pod, struct error **err);

/* PodSecurity: pods, what makes pods (warnings only), and the labels of namespaces. */
bool pod_security_admit(struct write *w, const cJSON *object, const cJSON *old, struct error **err);
/* Appends what is wrong with a pod for a level; nothing when it is good. */
void pod_security_evaluate(const cJSON *meta, const cJSON *spec, const char *level, struct buf *out);
