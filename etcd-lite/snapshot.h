/* The state in the files of a snapshot (snapshot_file.h): what the records in them are. */
#pragma once
#include "common/error.h"
#include "etcd-lite/snapshot_file.h"
#include "etcd-lite/state.h"

/* --- changes since the last time, with all that has no revision: leases, members, alarms ---
 * Writes go on meanwhile. The store is held: what is freed waits until the end. */
struct snapshot_changes;
struct snapshot_changes *snapshot_changes_begin(struct state *s, int64_t from); /* raft thread */
/* Any thread. file: name is given, the rest is filled in. */
bool snapshot_changes_write(struct snapshot_changes *c, const char *dir, struct snapshot_file *file,
                            struct error **err);
void snapshot_changes_end(struct snapshot_changes *c); /* raft thread */

/* --- a base: all keys ---
 * Any thread; takes the read lock for some keys at a time and holds nothing. So it has no one
 * revision: it is whole together with all changes from `from` to at least `to`. */
bool snapshot_base_write(struct state *s, const char *dir, struct snapshot_file *file,
                         const atomic_bool *stop, struct error **err);

/* --- loading ---
 * Brings the state up to the list's revision: by the changes that it lacks if those are there, else
 * from scratch (then the old is freed first: there is not memory for two). Holds the write lock. On
 * failure the state is of no use any more. */
bool snapshot_load(struct state *s, const struct snapshot_list *l, const char *dir,
                   struct error **err);
/* Its pieces, for tests: records of one block. */
struct snapshot_loader {
    struct state *state;
    int64_t revision, compact_revision; /* of the last file that says so; 0 at first */
};
bool snapshot_load_block(struct snapshot_loader *l, const uint8_t *p, size_t n);
bool snapshot_load_done(struct snapshot_loader *l);

/* --- a view of the whole store at one revision, for a backup --- */
struct snapshot_view;
struct snapshot_view *snapshot_view_begin(struct state *s); /* raft thread; holds the store */
/* All versions in order of their revisions (malloc'd; they live until the end). Any thread. */
const struct kv_version **snapshot_view_versions(struct snapshot_view *v, size_t *n);
void snapshot_view_end(struct snapshot_view *v); /* raft thread */
