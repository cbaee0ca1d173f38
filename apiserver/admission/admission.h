/* Admission plug-ins, one file each, called by registry/admission.c in Kubernetes' order:
 * https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/ */
#pragma once
#include "apiserver/registry/registry.h"

/* ServiceAccount: gives a new pod its account, the account's pull secrets, and the volume with its token. */
bool service_account_admit(struct write *w, cJSON *pod, struct error **err);
