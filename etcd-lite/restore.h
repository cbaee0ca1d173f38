/* A new cluster from a backup: of etcd-lite's or of etcd's (etcdctl snapshot save). */
#pragma once
#include "etcd-lite/cluster.h"
#include "etcd-lite/state.h"

/* Makes the data directory of one member of the new cluster; with the same backup and flags, each
 * member makes its own. The directory must not be one already. */
bool restore_member(const char *backup, bool skip_hash_check, const struct cluster_options *o,
                    struct error **err);
/* What is in a database file; the state is fresh. */
bool restore_read(const uint8_t *data, size_t len, struct state *s, struct error **err);
