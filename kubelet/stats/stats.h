/* Resource usage of the node, its pods and containers: collected when asked for, with rates over
 * the time since an earlier look. Served as /stats/summary, /metrics/resource and
 * /metrics/cadvisor; read by eviction. Any thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/informer.h"
#include "kubelet/stats/usage.h"

struct kubelet;

/* --- rates (rates.c): processor time of a moment ago, by control group --- */
struct rates;
struct rates *rates_new(void);
void rates_free(struct rates *r);
/* Notes what was used so far, and gives nanocores over the last seconds: false when it was never
 * seen before, at least `RATE_MIN_MS` ago. */
enum { RATE_MIN_MS = 3000 };
bool rates_note(struct rates *r, const char *key, const struct cgroup_usage *u, uint64_t *nanocores,
                int64_t *window_ms);
/* Forgets what was not noted for a minute. */
void rates_expire(struct rates *r, int64_t now_us);

/* --- a collection --- */
struct measured { /* one group of processes */
    struct cgroup_usage usage;
    bool has_rate;
    uint64_t nanocores;
    int64_t window_ms;
};
struct container_stats {
    char *name, *id, *image;
    int64_t started_at_us;
    bool running;
    struct measured m;
    bool has_rootfs;
    uint64_t rootfs_bytes, rootfs_inodes; /* what the container wrote */
    uint64_t log_bytes, log_inodes;
};
struct volume_stats {
    char *name;
    const char *claim;      /* of a persistent volume claim; NULL; lives with the pod's object */
    bool memory, ephemeral; /* ephemeral: counts as the pod's local storage */
    uint64_t used, inodes_used;
    struct fs_usage fs;
};
struct pod_stats {
    struct kube_object *object;
    char *cgroup;
    struct measured m;
    struct net_interface interfaces[8];
    size_t interface_count;
    struct container_stats *containers;
    size_t container_count;
    struct volume_stats *volumes;
    size_t volume_count;
};
struct node_stats {
    int64_t boot_us;
    struct measured node, pods, kubelet; /* pods: all together */
    struct net_interface interfaces[8];
    size_t interface_count;
    struct fs_usage nodefs, imagefs;
    uint64_t image_bytes; /* of imagefs used by images */
    int64_t tasks, tasks_max;
    struct pod_stats *items;
    size_t count;
};
enum { STATS_DISK = 1, STATS_NETWORK = 2 };
void stats_collect(struct kubelet *k, unsigned what, struct node_stats *out);
/* With the disk usage of some pods only. */
void stats_collect_some(struct kubelet *k, unsigned what, bool (*on_disk)(const cJSON *pod),
                        struct node_stats *out);
void stats_clear(struct node_stats *s);
#define cleanup_stats __attribute__((cleanup(stats_clear)))

/* Local storage that a pod uses: written layers, logs, volumes on the node's disk. */
uint64_t pod_stats_ephemeral(const struct pod_stats *p);

/* Starts looking every ten seconds, so that rates are known when somebody asks. */
void stats_start(struct kubelet *k);

/* --- how they are told --- */
void stats_write_summary(struct kubelet *k, const struct node_stats *s, bool only_cpu_and_memory,
                         struct buf *out);
void stats_write_resource_metrics(const struct node_stats *s, struct buf *out);
void stats_write_cadvisor_metrics(struct kubelet *k, const struct node_stats *s, struct buf *out);
