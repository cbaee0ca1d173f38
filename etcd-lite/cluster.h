/* Which cluster a data directory belongs to, and who its first members are. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "etcd-lite/server.h"

struct cluster {
    uint64_t id, self;
    struct cluster_member *members; /* from --initial-cluster */
    size_t n_members;
    bool fresh; /* nothing was noted in the data directory yet */
    char *identity_file;
    int lock_fd;
};
/* Makes the data directory if needed and locks it. Fails when it belongs to another cluster or
 * member. */
bool cluster_open(struct cluster *c, const char *data_dir, const char *name,
                  const char *initial_cluster, const char *token, const char *advertise_peer_url,
                  bool existing, struct error **err);
/* Once the log is there: notes the identity, durably. */
bool cluster_note(struct cluster *c, struct error **err);
void cluster_close(struct cluster *c);

/* Comma-separated -> NULL-terminated array. */
char **cluster_split(const char *list);
void cluster_free_split(char **list);
