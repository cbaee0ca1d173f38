/* The objects of one resource, ordered by key, with snapshots in constant time (copy on write).
 *
 * Two levels: an array of leaves, each an array of objects. A snapshot takes a reference to the
 * array; the next change copies what it must touch, so a list of any length is written out without
 * holding a lock and without missing or doubling anything. The tree itself is guarded by its
 * cache's mutex; snapshots need none. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "apiserver/storage/storage.h"

struct tree_root;
struct tree {
    struct tree_root *root;
};

void tree_init(struct tree *t);
void tree_clear(struct tree *t); /* frees; init again before use */
size_t tree_count(const struct tree_root *root);
/* Puts s (a reference, taken) in; returns what had the key before (a reference, the caller's) or
 * NULL. */
struct stored *tree_put(struct tree *t, struct stored *s);
/* Takes out; the reference is the caller's; NULL when absent. */
struct stored *tree_remove(struct tree *t, const char *key);
/* Borrowed; NULL when absent. */
struct stored *tree_find(const struct tree_root *root, const char *key);

struct tree_root *tree_snapshot(struct tree *t); /* a reference */
struct tree_root *tree_root_ref(struct tree_root *r);
void tree_root_unref(struct tree_root *r); /* NULL is fine */

/* Walks a snapshot in the order of keys. */
struct tree_cursor {
    const struct tree_root *root;
    size_t leaf, item;
};
/* To the first key that is >= key (or > key when `after`). */
void tree_seek(struct tree_cursor *c, const struct tree_root *root, const char *key, bool after);
struct stored *tree_next(struct tree_cursor *c); /* borrowed; NULL at the end */
/* How many objects lie between two places in one snapshot, a before b. */
size_t tree_distance(const struct tree_cursor *a, const struct tree_cursor *b);
