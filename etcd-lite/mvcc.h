/* Multi-version key-value store: every change makes a version, stamped with a revision (main, sub):
 * main counts transactions that changed something, sub the changes inside one.
 *
 * Keys stand in an ordered index (a skip list); each holds its versions, newest first. All versions
 * since the last compaction also stand in the revision log, in order, from which watches read
 * history. A value is kept once, inside its version.
 *
 * Threads: one writer. Everybody else reads under the lock that the owner of the store keeps
 * (struct state); a version that must outlive the lock is referenced. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "etcd-lite/msg.h"

struct kv_key;
struct kv_version {
    struct kv_version *prev; /* the next older version of the key; NULL when none or compacted */
    struct kv_key *key;      /* referenced */
    int64_t mod, create;     /* main revisions */
    int64_t version;         /* counts since creation; 0 marks a deletion */
    int64_t lease;
    uint32_t sub;
    uint32_t value_len;
    atomic_uint refs;
    char value[];
};
struct kv_key {
    struct kv_version *latest;
    atomic_uint refs;    /* the index, and each version */
    uint32_t lease_slot; /* where in its lease's list of keys it stands */
    uint32_t len;
    uint8_t levels;
    struct kv_key *next[]; /* then the key's bytes */
};
static inline struct bytes kv_key_bytes(const struct kv_key *k)
{
    return (struct bytes){(const char *)&k->next[k->levels], k->len};
}
static inline bool kv_is_delete(const struct kv_version *v)
{
    return v->version == 0;
}
struct kv_version *kv_ref(struct kv_version *v);
void kv_unref(struct kv_version *v);

struct mvcc;
struct mvcc *mvcc_new(void);
void mvcc_free(struct mvcc *m); /* while held: with the end of the last hold */

int64_t mvcc_revision(const struct mvcc *m); /* of the last finished transaction; 1 when fresh */
int64_t mvcc_compact_revision(const struct mvcc *m);
size_t mvcc_key_count(const struct mvcc *m); /* living keys */
size_t mvcc_bytes(const struct mvcc *m);     /* keys, values and what it takes to keep them */

/* --- reading --- */
struct kv_key *mvcc_find(const struct mvcc *m, struct bytes key);
struct kv_key *mvcc_seek(const struct mvcc *m, struct bytes key); /* first key not below */
static inline struct kv_key *mvcc_next(const struct kv_key *k)
{
    return k->next[0];
}
/* What a reader at that revision sees (0: the newest, unfinished changes included); NULL when it
 * sees none. */
struct kv_version *mvcc_visible(const struct kv_key *k, int64_t revision);
/* etcd's ranges: end empty: the key alone; end "\0": all keys from key on; else [key, end). */
struct kv_key *mvcc_range_first(const struct mvcc *m, struct bytes key, struct bytes end);
struct kv_key *mvcc_range_next(const struct kv_key *k, struct bytes end); /* NULL at the end */
bool mvcc_range_contains(struct bytes key, struct bytes end, struct bytes k);
int bytes_compare(struct bytes a, struct bytes b);

/* The revision log: versions [0, n) in order. The first with a main revision not below. */
size_t mvcc_log_size(const struct mvcc *m);
struct kv_version *mvcc_log_at(const struct mvcc *m, size_t i);
size_t mvcc_log_seek(const struct mvcc *m, int64_t revision);

/* --- writing: between begin and end, which makes the changes one revision (if there were any) ---
 */
void mvcc_begin(struct mvcc *m);
int64_t mvcc_write_revision(const struct mvcc *m); /* the one that the next change gets */
bool mvcc_changed(const struct mvcc *m);
struct kv_version *mvcc_put(struct mvcc *m, struct bytes key, struct bytes value, int64_t lease);
struct kv_version *mvcc_delete(struct mvcc *m, struct kv_key *k); /* a living key */
void mvcc_end(struct mvcc *m);

/* --- compaction --- */
/* From now on history below `revision` is gone, logically; what only it needs is freed bit by bit
 * by mvcc_collect. */
void mvcc_compact(struct mvcc *m, int64_t revision);
/* Frees what about `budget` dead versions hold; true when there is more to do. Does nothing while
 * the store is held. */
bool mvcc_collect(struct mvcc *m, size_t budget);
/* While held (a snapshot is being written), no key or version that is in the store goes away. */
void mvcc_hold(struct mvcc *m);
void mvcc_release(struct mvcc *m);
bool mvcc_is_held(const struct mvcc *m);

/* --- what is saved ---
 * Changes are saved bit by bit: what has come since the last time, in order. So a version that
 * compaction takes out of the revision log before it is saved is remembered until then. */
/* All up to the revision is saved (raft thread; forgets what was remembered of it). Before the
 * first call nothing is remembered. */
void mvcc_saved(struct mvcc *m, int64_t revision);
/* The versions that are not saved, in order: [0, n). While the store is held they stay what and
 * where they are, and more come behind; position is for mvcc_unsaved_at. */
size_t mvcc_unsaved(const struct mvcc *m, size_t *position);
const struct kv_version *mvcc_unsaved_at(const struct mvcc *m, size_t position, size_t i);

/* --- loading what was saved, into an empty store or one that is older ---
 * Keys in any order (in order is faster), a key's versions oldest first; what the store has
 * already is passed over. */
void mvcc_load_begin(struct mvcc *m, int64_t compact_revision); /* what it will be in the end */
struct kv_key *mvcc_load_key(struct mvcc *m, struct bytes key);
void mvcc_load_version(struct mvcc *m, struct kv_key *k, int64_t mod, uint32_t sub, int64_t create,
                       int64_t version, int64_t lease, struct bytes value);
/* False when something newer than the revision was loaded. */
bool mvcc_load_done(struct mvcc *m, int64_t revision, int64_t compact_revision);

/* CRC-32 of all that is visible at the revision and of history from the compact revision on: equal
 * on all members. */
uint32_t mvcc_hash(const struct mvcc *m, int64_t revision);
