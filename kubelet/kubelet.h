/* What the kubelet's parts share. One per process, made by main; tests make their own. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "kubelet/api.h"
#include "kubelet/cgroup.h"
#include "kubelet/cri/cri.h"
#include "kubelet/pod/translate.h"
#include "kubelet/pool.h"
#include "kubelet/volume/volume.h"

struct pod;
struct rates;
struct credential_providers;

struct kubelet {
    /* --- settled at start --- */
    char *node_name, *node_ip, *root_dir;
    struct kubelet_api api;
    struct cri cri;
    struct pool *pool;
    struct object_cache *objects;
    struct cgroups *cgroups;
    struct translate_node translate;
    struct volume_node volumes;
    int64_t allocatable_cpu_milli, allocatable_memory, allocatable_ephemeral;
    int64_t max_pods, pod_max_pids; /* pids: -1 for no limit */
    char *version;                  /* for probes: "1.36" */
    char *image_dir;                /* on the runtime's file system of images; NULL: not known */
    char *allowed_sysctls;          /* "kernel.msg*,...", or NULL */
    struct credential_providers *credential_providers; /* NULL: none */
    struct rates *rates;            /* of processor time; NULL: not kept */

    struct node_agent *agent; /* NULL until it runs */

    /* --- the pods; guarded by lock --- */
    pthread_mutex_t lock;
    struct pod **pods;
    size_t pod_count;
    atomic_bool stopping;
    atomic_bool release_due;
    atomic_bool shutting_down; /* the node goes off: no pod starts, and it is not ready */
    atomic_uint pressure; /* what the node is under: PRESSURE_ bits */

    /* --- the runtime's condition, as last asked --- */
    pthread_mutex_t runtime_lock;
    char *runtime_not_ready, *network_not_ready; /* NULL: ready; guarded by runtime_lock */
};

/* Something periodic was done: a little later, memory that is not needed between such things is let go of. */
void kubelet_release_soon(struct kubelet *k);
void kubelet_event(struct kubelet *k, const cJSON *object, const char *field_path, const char *type, const char *reason,
                   const char *fmt, ...) __attribute__((format(printf, 6, 7)));
