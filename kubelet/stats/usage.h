/* What control groups, file systems and network namespaces say of resources in use. Any thread.
 * https://kubernetes.io/docs/reference/instrumentation/node-metrics/ */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "kubelet/cgroup.h"

struct cgroup_usage {
    int64_t time_us;                    /* wall clock, when it was read */
    bool has_cpu, has_memory, has_pids; /* what the kernel told */
    uint64_t cpu_ns;                    /* since the group was made */
    uint64_t memory, working_set, rss, page_faults, major_page_faults, swap;
    uint64_t memory_limit; /* 0: none */
    uint64_t pids;
};
/* path as of cgroups_pod_path(). Absent groups give nothing. */
void usage_of_cgroup(const struct cgroups *g, const char *path, struct cgroup_usage *out);
/* The whole machine, from /proc: memory_limit is what it has. */
void usage_of_node(struct cgroup_usage *out);
/* A process of the group, or of one below it; 0 if there is none. */
int usage_any_pid(const struct cgroups *g, const char *path);

struct fs_usage {
    uint64_t capacity, available, used, inodes, inodes_free, inodes_used;
};
bool usage_of_filesystem(const char *path, struct fs_usage *out);
/* Bytes and inodes of a directory tree, without leaving its file system or following links. */
bool usage_of_tree(const char *path, uint64_t *bytes, uint64_t *inodes);

struct net_interface {
    char name[32];
    uint64_t rx_bytes, rx_errors, tx_bytes, tx_errors;
};
/* Interfaces but lo in the network namespace of a process; at most max. */
size_t usage_of_network(int pid, struct net_interface *out, size_t max);
/* Parses the text of /proc/<pid>/net/dev. */
size_t usage_parse_net_dev(const char *text, struct net_interface *out, size_t max);

/* --- processes of the machine --- */
/* Those that run and how many there may be. */
void usage_of_pids(int64_t *running, int64_t *max);
