/* Which cluster and member a data directory belongs to; how a member without one comes to its
 * cluster.
 *
 * A data directory knows both: flags that describe a new cluster are then no more than a check.
 * Without one, a member of a new cluster reckons both from --initial-cluster, and one that joins
 * asks the members that run. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "etcd-lite/join.h"
#include "etcd-lite/server.h"

struct cluster_options {
    const char *data_dir, *name, *initial_cluster, *token, *advertise_peer_url;
    bool existing; /* --initial-cluster-state */
    struct join_tls tls;
};
struct cluster {
    uint64_t id, self;
    struct cluster_member *members; /* from --initial-cluster, or of the cluster that is joined */
    size_t n_members;
    bool fresh;   /* nothing was noted in the data directory yet */
    bool joining; /* the members have not sent us the log yet */
    bool removed; /* the cluster goes on without this member */
    char *token, *identity_file;
    int lock_fd;
};
/* Makes the data directory if needed and locks it. Fails when it belongs to another cluster or
 * member. */
bool cluster_open(struct cluster *c, const struct cluster_options *o, struct error **err);
/* For a new cluster that begins with a backup: the directory must have no member's data yet, and
 * cannot be used until cluster_created notes that all is there. */
bool cluster_create(struct cluster *c, const struct cluster_options *o, struct error **err);
bool cluster_created(struct cluster *c, const struct cluster_options *o, struct error **err);
/* Notes the identity, durably: of a new cluster once the log is there, else before. */
bool cluster_note(struct cluster *c, struct error **err);
void cluster_close(struct cluster *c);

/* Comma-separated -> NULL-terminated array. */
char **cluster_split(const char *list);
void cluster_free_split(char **list);
