/* Writes that several controllers do in the same way. */
#pragma once
#include <cjson/cJSON.h>
#include "common/informer.h"
#include "common/kube_client.h"
#include "common/recorder.h"

/* PUT .../status. Returns the object as stored, or NULL. */
cJSON *update_status(struct kube_client *c, const char *api_version, const char *resource,
                     const cJSON *object, struct error **err);
/* PUT of the whole object. */
cJSON *update_object(struct kube_client *c, const char *api_version, const char *resource,
                     const cJSON *object, struct error **err);
/* Was it refused because the namespace is going away? Then nothing is wrong and nothing is to be
 * done. */
bool refused_by_namespace_end(const struct error *e);
/* Creates a pod under a name of ours, so that a lost answer is no lost pod: the same name is tried
 * again, and what exists under it already is recognized by its controller. pod: metadata.name is
 * set here. Returns the pod as stored, or NULL. */
cJSON *create_pod(struct kube_client *c, cJSON *pod, struct error **err);
/* Writes a condition of a pod's status (and its phase unless NULL) on the version that is known.
 * True if the pod is gone. */
bool patch_pod_condition(struct kube_client *c, const cJSON *pod, const char *phase,
                         const char *type, const char *status, const char *reason,
                         const char *message, struct error **err);
bool delete_pod(struct kube_client *c, const cJSON *pod, int64_t grace_seconds,
                struct error **err); /* true if gone already */
