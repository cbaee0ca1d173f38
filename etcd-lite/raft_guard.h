/* Between libraft 0.15 and its I/O: what it makes wrong of changes of membership (and of entries of
 * former terms) is prevented or mended here. See raft_guard.c for each. */
#pragma once
#include <raft.h>
#include <stdbool.h>

struct raft_guard {
    struct raft *raft;
    /* libraft's own. */
    int (*io_load)(struct raft_io *io, raft_term *term, raft_id *voted_for,
                   struct raft_snapshot **snapshot, raft_index *start_index,
                   struct raft_entry *entries[], size_t *n_entries);
    int (*io_start)(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv);
    int (*io_append)(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb);
    int (*io_snapshot_put)(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
    int (*io_send)(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m,
                   raft_io_send_cb cb);
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    /* What the latest snapshot says. */
    struct raft_configuration snapshot_configuration;
    raft_index snapshot_configuration_index;
    /* As a follower: how far our log is known to be that of the leader of this term. */
    raft_index same_as_leader;
    raft_term same_in_term;
    unsigned changes_in_flight; /* appends with changes of membership, not on disk yet */
};
/* After raft_uv_init, before raft_init; io->append is already whatever shall be called in the end.
 * The guard must be found by raft_guard_of(io). */
void raft_guard_init(struct raft_guard *g, struct raft *r, struct raft_io *io);
struct raft_guard *raft_guard_of(struct raft_io *io); /* provided by the user of the guard */
/* After raft_start: which configuration is committed. */
void raft_guard_started(struct raft_guard *g);
void raft_guard_free(struct raft_guard *g);

/* What libraft puts into an entry of type RAFT_CHANGE. */
int raft_guard_decode(const struct raft_buffer *buf, struct raft_configuration *out);
