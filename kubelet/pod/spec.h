/* What a Pod object says: questions about the JSON that several parts of the kubelet ask. Never changes it. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

enum container_kind { CONTAINER_INIT, CONTAINER_SIDECAR, CONTAINER_MAIN, CONTAINER_EPHEMERAL };
/* All containers in the order they start: init containers and sidecars, then the main ones; ephemeral ones (kubectl debug)
 * last, though they start whenever they come. */
struct pod_container {
    const cJSON *spec;
    const char *name;
    enum container_kind kind;
};
struct pod_container_list {
    struct pod_container *items;
    size_t count;
};
void pod_containers(const cJSON *pod, struct pod_container_list *out);
void pod_container_list_clear(struct pod_container_list *l);
#define cleanup_pod_containers __attribute__((cleanup(pod_container_list_clear)))
/* Where a kind stands: "initContainers" in the spec, "initContainerStatuses" in the status. */
const char *container_kind_field(enum container_kind k);
const char *container_kind_status(enum container_kind k);
/* NULL when there is none of that name. */
const cJSON *pod_find_container(const cJSON *pod, const char *name, enum container_kind *kind);

const char *pod_qos(const cJSON *pod); /* "Guaranteed", "Burstable" or "BestEffort"; a static string */
bool pod_is_critical(const cJSON *pod);
const char *pod_restart_policy(const cJSON *pod); /* "Always" by default */
/* Would a container that ended so be started again? By its own rules and policy, else by its pod's. */
bool container_restarts(const cJSON *pod, const struct pod_container *c, int exit_code);
bool pod_host_network(const cJSON *pod);
/* "Succeeded" or "Failed" in the API. */
bool pod_is_terminal(const cJSON *pod);

/* A JSON number as an integer, at the ends of the range when it lies beyond. */
int64_t number_value(const cJSON *number);

struct pod_resources {
    int64_t cpu_request_milli, memory_request; /* effective, with init containers */
    int64_t cpu_limit_milli, memory_limit;     /* -1 unless all containers have one */
};
void pod_effective_resources(const cJSON *pod, struct pod_resources *out);
/* One resource of a container; the request falls back to the limit. -1 when there is none. */
int64_t container_resource(const cJSON *container, bool limit, const char *resource);

/* FNV-1a (32 bit) over what makes a running container another one: name and image. */
uint64_t container_hash(const cJSON *container);

/* The hostname inside the pod, and its domain ("" if none). */
void pod_hostname(const cJSON *pod, const char *cluster_domain, struct buf *hostname, struct buf *domain);

/* --- downward API --- */
struct downward_source {
    const cJSON *pod;
    const char *node_name, *host_ip, *pod_ips; /* pod_ips comma-joined, first is primary; NULL if not known yet */
    int64_t allocatable_cpu_milli, allocatable_memory, allocatable_ephemeral;
};
/* Appends the value. fieldRef paths of environment variables and volumes. */
bool downward_field(const struct downward_source *s, const char *path, struct buf *out, struct error **err);
/* resourceFieldRef; container: the one it is about when the reference names none. */
bool downward_resource(const struct downward_source *s, const cJSON *container, const cJSON *ref, struct buf *out,
                       struct error **err);
