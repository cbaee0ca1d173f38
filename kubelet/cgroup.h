/* Control groups of pods: the arithmetic, and the directories on cgroup v1 and v2.
 * https://kubernetes.io/docs/concepts/architecture/cgroups/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

#define CPU_PERIOD_US 100000
int64_t cpu_shares(int64_t milli);              /* 2..262144 */
int64_t cpu_quota(int64_t milli, int64_t period_us); /* at least 1 ms */
int64_t cpu_weight(int64_t shares);             /* v2: 1..10000 */
/* As Kubernetes gives them by QoS class, raised to `lowest` (what this process may set). */
int oom_score(const char *qos, int64_t memory_request, int64_t node_memory, bool critical, int lowest);
/* -1000 with CAP_SYS_RESOURCE, else this process' own score: it may raise scores, never lower them. */
int oom_lowest_allowed(void);

struct cgroup_limits {
    int64_t cpu_shares, cpu_quota, memory, pids; /* -1: none */
};
/* Raises each limit of *to to that of from where this is larger. */
void cgroup_limits_widen(struct cgroup_limits *to, const struct cgroup_limits *from);
/* A pod's limits by its QoS class. pids: --pod-max-pids or -1. */
void cgroup_pod_limits(const cJSON *pod, int64_t pids, struct cgroup_limits *out);

struct cgroups; /* what is mounted where */
/* mount_point: "/sys/fs/cgroup"; root: "/" or "/host-a", under which "kubepods" is. */
struct cgroups *cgroups_new(const char *mount_point, const char *root);
void cgroups_free(struct cgroups *g);
bool cgroups_v2(const struct cgroups *g);
/* Where a group is in the hierarchy of a controller ("memory", "cpuacct"; v2: any), caller frees; NULL: not mounted. */
char *cgroups_dir(const struct cgroups *g, const char *controller, const char *path);
/* kubepods and its two QoS classes, with the node's allocatable as limit (-1: none). */
bool cgroups_setup(struct cgroups *g, int64_t cpu_milli, int64_t memory, struct error **err);
/* The burstable class competes with guaranteed pods by the sum of its pods' requests. */
void cgroups_set_burstable(struct cgroups *g, int64_t cpu_milli);
char *cgroups_all_pods(const struct cgroups *g); /* "/host-a/kubepods", caller frees */
/* "/host-a/kubepods/burstable/pod<uid>", caller frees. */
char *cgroups_pod_path(const struct cgroups *g, const char *qos, const char *uid);
/* Creates the pod's group or brings its limits up to date. What the kernel refuses to set is logged. */
bool cgroups_ensure_pod(struct cgroups *g, const char *path, const struct cgroup_limits *l, struct error **err);
/* Bytes that a group uses; -1 when that cannot be told. */
int64_t cgroups_memory_usage(const struct cgroups *g, const char *path);
/* Kills what is left in it and removes it with all below. */
bool cgroups_remove_pod(struct cgroups *g, const char *path, struct error **err);
/* Calls fn with the uid and path of each pod group that exists. */
void cgroups_each_pod(struct cgroups *g, void (*fn)(void *userdata, const char *uid, const char *path), void *userdata);
