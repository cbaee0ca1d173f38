/* The state as one file: written by libraft to disk, and sent to members that are too far behind.
 *
 * Writing does not stop the store: begin marks the revision and holds versions in place; the walk
 * over the keys runs on another thread, giving the read lock up between slices; values are
 * referenced, not copied. A checksum stands at the end. */
#pragma once
#include <raft.h>
#include <stdbool.h>
#include "common/error.h"
#include "etcd-lite/state.h"

struct snapshot_job;
struct snapshot_job *snapshot_begin(struct state *s); /* raft thread */
void snapshot_run(struct snapshot_job *j);            /* any thread */
/* The buffers live until the end of the job. */
void snapshot_buffers(struct snapshot_job *j, struct raft_buffer **bufs, unsigned *n);
void snapshot_end(struct snapshot_job *j); /* raft thread */
/* Instead of run and buffers: all versions of the snapshot in order of their revisions (malloc'd;
 * they live until the end of the job). Any thread. */
const struct kv_version **snapshot_versions(struct snapshot_job *j, size_t *n);
size_t snapshot_size(const struct snapshot_job *j);

/* Replaces the whole state (takes the write lock at the end). On failure the state is as before. */
bool snapshot_restore(struct state *s, const void *data, size_t len, struct error **err);
