/* Admission plug-ins, one file each, called by registry/admission.c in Kubernetes' order:
 * https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/ */
#pragma once
#include "apiserver/registry/registry.h"

/* ServiceAccount: gives a new pod its account, the account's pull secrets, and the volume with its
 * token. */
bool service_account_admit(struct write *w, cJSON *pod, struct error **err);

/* PodSecurity: pods, what makes pods (warnings only), and the labels of namespaces. */
bool pod_security_admit(struct write *w, const cJSON *object, const cJSON *old, struct error **err);
/* Appends what is wrong with a pod for a level; nothing when it is good. */
void pod_security_evaluate(const cJSON *meta, const cJSON *spec, const char *level,
                           struct buf *out);

/* Calls fn with each object of a namespace (all, of a cluster-scoped resource) as the watch cache
 * has it, until it returns false; returns whether it went through. */
bool admission_each(struct storage *storage, const char *group, const char *plural, const char *ns,
                    bool (*fn)(void *ctx, const cJSON *object), void *ctx);

/* Priority: pods, and that there is one default class at most. */
bool priority_admit_pod(struct write *w, cJSON *pod, struct error **err);
bool priority_admit_class(struct write *w, const cJSON *object, struct error **err);
/* Makes the classes that every cluster has. */
bool priority_bootstrap(struct storage *storage, struct error **err);

/* DefaultStorageClass, DefaultIngressClass, RuntimeClass, StorageObjectInUseProtection. */
bool classes_admit(struct write *w, cJSON *object, struct error **err);
/* PersistentVolumeClaimResize: claims grow when they are bound and their class allows it. */
bool claim_resize_admit(struct write *w, const cJSON *claim, const cJSON *old, struct error **err);

/* CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may approve or sign for a signer, and that
 * nobody asks for the rights of all. */
bool certificate_admit(struct write *w, const cJSON *request, const cJSON *old, struct error **err);

/* LimitRanger: what a new pod does not say, then what pods and claims may. */
void limit_ranger_default(struct write *w, cJSON *pod);
bool limit_ranger_admit(struct write *w, const cJSON *object, struct error **err);

/* ResourceQuota: the last of all, when the object is known to be good; takes what it needs. */
bool resource_quota_admit(struct write *w, const cJSON *object, const cJSON *old,
                          struct error **err);
