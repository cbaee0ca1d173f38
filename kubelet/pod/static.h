/* Static pods: those that files on this node ask for, with or without an API server; and their
 * mirrors, the pods that show them in the API.
 * https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/ */
#pragma once
#include "kubelet/pod/pod.h"

/* A file's text (JSON or YAML) as the static pod that it means: name with the node's appended,
 * namespace, uid from its content, annotations, tolerations. NULL with an error for what can be
 * none. file: its path, part of the uid. */
cJSON *static_pod_parse(const char *text, size_t len, const char *file, const char *node_name,
                        struct error **err);

/* Reads the folder (or the one file) at once, then follows it. Never ends before static_pods_stop.
 */
struct static_pods;
struct static_pods *static_pods_start(struct kubelet *k, const char *path);
void static_pods_stop(struct static_pods *s); /* waits; NULL is fine */

bool is_mirror_pod(const cJSON *pod);
bool is_static_pod(const cJSON *pod);
/* What the API tells of a mirror pod. */
void static_mirror_changed(struct kubelet *k, enum informer_event event,
                           struct kube_object *mirror);
/* Makes or replaces the mirror as needed; a job's part, for it asks the API. True: the pod has one,
 * in p->mirror. */
bool static_mirror_ensure(struct pod *p, struct error **err);
/* The pod is gone for good: so goes its mirror. */
void static_pod_ended(struct pod *p);
