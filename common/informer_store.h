/* The informer's store: objects by key, with secondary indexes. Not thread-safe; the informer locks. */
#pragma once
#include "common/informer.h"

struct store_index;
struct store {
    struct store_entry **slots;
    size_t slot_count, count;
    struct store_index *indexes;
    unsigned generation; /* of the last full list */
};

void store_init(struct store *s);
void store_add_index(struct store *s, const char *name, informer_index_fn *fn);
/* Borrowed; NULL when absent. */
struct kube_object *store_find(const struct store *s, const char *key);
/* Puts o (taking a reference) and returns the replaced object's reference, or NULL. */
struct kube_object *store_put(struct store *s, struct kube_object *o);
/* Takes the object out; its reference passes to the caller. */
struct kube_object *store_remove(struct store *s, const char *key);
/* A full list consists of store_begin_replace, store_put or store_touch for each object, and store_take_stale
 * until NULL, which removes what was not listed. */
void store_begin_replace(struct store *s);
void store_touch(struct store *s, const char *key);
struct kube_object *store_take_stale(struct store *s);
void store_list(const struct store *s, struct kube_object_list *out);
void store_by_index(const struct store *s, const char *index, const char *value,
                    struct kube_object_list *out);
void store_free(struct store *s);
