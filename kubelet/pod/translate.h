/* From a Pod to what the container runtime is told: sandbox and container configurations. Pure: all that is looked
 * up elsewhere (environment, mounts, images) comes in. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "kubelet/arena.h"
#include "kubelet/cri/cri.h"
#include "kubelet/pod/env.h"

struct translate_mount {
    char *host_path, *container_path;
    bool readonly;
    const char *propagation; /* "HostToContainer", "Bidirectional", NULL or "None"; not owned */
};
struct translate_mounts {
    struct translate_mount *items;
    size_t count;
};
void translate_mounts_add(struct translate_mounts *m, const char *host_path, const char *container_path, bool readonly,
                          const char *propagation);
void translate_mounts_clear(struct translate_mounts *m);
#define cleanup_mounts __attribute__((cleanup(translate_mounts_clear)))

struct translate_node { /* what is the same for all pods */
    const char *cluster_dns;    /* comma-separated, or "" */
    const char *cluster_domain; /* "cluster.local" */
    const char *resolv_conf;    /* text of the host's */
    const char *seccomp_dir;    /* "/var/lib/kubelet/seccomp" */
    int64_t memory;             /* bytes of the node */
    int oom_lowest;
    bool cgroup_v2;
};

cri_sandbox_config *translate_sandbox(struct arena *a, const struct translate_node *node, const cJSON *pod,
                                      uint32_t attempt, const char *cgroup_parent);

/* A container's resources alone. */
cri_resources *translate_resources(struct arena *a, const struct translate_node *node, const cJSON *pod,
                                   const cJSON *container);

struct translate_container_input {
    const cJSON *pod, *container;
    int restart_count;
    const char *image; /* reference that the runtime resolves */
    const struct env_list *env;
    const struct translate_mounts *mounts;
    const char *target_id; /* an ephemeral container joins the processes of this one; NULL: none */
};
/* An error is Kubernetes' CreateContainerConfigError or InvalidImageName. */
cri_container_config *translate_container(struct arena *a, const struct translate_node *node,
                                          const struct translate_container_input *in, struct error **err);

/* "/var/log/pods/<namespace>_<name>_<uid>"; the caller frees. */
char *pod_log_dir(const cJSON *pod);
/* May the pod be translated at all? False for names that would lead outside of their directories. */
bool translate_safe_names(const cJSON *pod, struct error **err);
