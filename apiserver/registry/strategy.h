/* What is particular to each kind, as hooks of its descriptor (Kubernetes' "strategies" and the
 * admission plug-ins that belong to one kind). prepare: `sub` is "" or a subresource's name; `old`
 * is NULL on create. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "common/error.h"

struct resource;

bool pod_prepare(cJSON *pod, const cJSON *old, const char *sub, struct error **err);
const char *pod_field_default(const char *path);
/* pods/ephemeralcontainers, pods/resize. */
bool pod_part_handles(const char *sub);
/* The stored pod with the one part that the subresource may change taken from `asked` (consumed). */
cJSON *pod_part_only(cJSON *asked, const cJSON *old, const char *sub);

const char *node_field_default(const char *path);
bool namespace_prepare(cJSON *ns, const cJSON *old, const char *sub, struct error **err);
bool service_prepare(cJSON *service, const cJSON *old, const char *sub, struct error **err);
bool deployment_prepare(cJSON *deployment, const cJSON *old, const char *sub, struct error **err);
bool replicaset_prepare(cJSON *replicaset, const cJSON *old, const char *sub, struct error **err);
const char *replicaset_field_default(const char *path);
bool secret_prepare(cJSON *secret, const cJSON *old, const char *sub, struct error **err);

/* core/v1 Events and their events.k8s.io/v1 form. */
const char *event_field_value(const cJSON *event, const char *path);
cJSON *event_from_stored(const struct resource *r, const cJSON *core_event);
cJSON *event_to_stored(const struct resource *r, const cJSON *event);

/* What makes pods, and all else whose controller alone fills the status in. */
bool workload_prepare(cJSON *object, const cJSON *old, const char *sub, struct error **err);
bool daemonset_prepare(cJSON *object, const cJSON *old, const char *sub, struct error **err);
bool job_prepare(cJSON *job, const cJSON *old, const char *sub, struct error **err);
const char *job_field_value(const cJSON *job, const char *path);
/* autoscaling/v2 HorizontalPodAutoscalers and their v1 form. */
cJSON *autoscaler_v1_from_v2(const struct resource *r, const cJSON *stored);
cJSON *autoscaler_v2_from_v1(const struct resource *r, const cJSON *object);
/* CertificateSigningRequests. */
bool csr_prepare(cJSON *request, const cJSON *old, const char *sub, struct error **err);
/* CustomResourceDefinitions. */
void definition_begin_deletion(cJSON *crd);
bool definition_prepare(cJSON *crd, const cJSON *old, const char *sub, struct error **err);
