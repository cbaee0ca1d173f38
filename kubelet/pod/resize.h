/* In-place resize: what a container was given (allocated), what it runs with (applied), and the way from what its spec
 * asks for to there.
 * https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/ */
#pragma once
#include "kubelet/pod/pod.h"

/* The pod as it runs: its object, but with the resources that are allocated to it. Accepts a resize that fits the node,
 * otherwise notes why it waits. A reference. Called by the worker. */
struct kube_object *pod_allocate(struct pod *p, const struct kube_object *o);
/* Brings a running container to what is allocated. True: nothing is left to do. False: it is being restarted, or the
 * runtime refused. */
bool pod_actuate(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const cJSON *spec,
                 const struct runtime_container *c);
/* The container was started with this. */
void pod_set_applied(struct pod_container_state *s, const cJSON *spec);
/* After all containers were looked at; done: all have what they were given. */
void pod_resize_settle(struct pod *p, const struct kube_object *o, bool done);
/* Pods whose resize waits for room try again: another pod has ended. */
void pods_retry_resizes(struct kubelet *k);
/* Adds PodResizePending and PodResizeInProgress to a status. With the lock held. */
void resize_conditions(const struct pod *p, cJSON *status, int64_t now);
