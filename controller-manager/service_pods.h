/* What the endpoints and endpointslice controllers share: which pods stand behind a Service, and
 * when a change of a pod matters. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "controller-manager/controller.h"
#include "controller-manager/strmap.h"

bool service_has_selector(const cJSON *service); /* and is no ExternalName */
bool service_headless(const cJSON *service);
/* Pods of the Service's namespace that its selector matches. */
void service_pods(const cJSON *service, struct informer *pods, struct kube_object_list *out);
/* Queues every Service that selects the pod, in either state, if what endpoints show of it has
 * changed. */
void enqueue_services_of_pod(struct controller *c, struct informer *services,
                             const struct kube_object *old, const struct kube_object *new_object);
/* The port of a pod that a Service port leads to; false when the pod has none of that name. */
bool pod_target_port(const cJSON *pod, const cJSON *service_port, int64_t *port);
/* The pod's first address of a family ("IPv4", "IPv6"), or NULL. */
const char *pod_ip(const cJSON *pod, const char *family);
/* IPv4 when the Service does not say. index 0 or 1; NULL when there is no such. */
const char *service_ip_family(const cJSON *service, int index);
/* Terminal pods and pods without an address never are endpoints; pods being deleted only if asked
 * for. */
bool pod_is_endpoint(const cJSON *pod, bool include_terminating);
/* {"kind": "Pod", namespace, name, uid} */
cJSON *pod_target_ref(const cJSON *pod);
/* The pod's hostname if it makes a DNS name under this (headless) Service, else NULL. */
const char *pod_endpoint_hostname(const cJSON *pod, const cJSON *service);

/* The time of the oldest change that the present state has and the last one had not, for the
 * annotation endpoints.kubernetes.io/last-change-trigger-time. Not thread-safe: one key is worked
 * on by one thread; hold a lock. */
#define TRIGGER_TIME_ANNOTATION "endpoints.kubernetes.io/last-change-trigger-time"
struct trigger_times {
    struct strmap services; /* key -> struct strmap of pod names and times */
};
/* Seconds since 1970; 0 when nothing has changed. */
int64_t trigger_time(struct trigger_times *t, const char *key, const cJSON *service,
                     const struct kube_object_list *pods);
void trigger_times_forget(struct trigger_times *t, const char *key);
void trigger_times_clear(struct trigger_times *t);
