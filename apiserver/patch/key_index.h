/* A hash table from text to a number: what keeps merging long lists and large maps from being quadratic. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct key_index {
    struct key_slot {
        char *key; /* owned; NULL: free */
        intptr_t value;
    } * slots;
    size_t capacity, count;
};
/* Replaces the value of a key that is there. */
void key_index_set(struct key_index *x, const char *key, intptr_t value);
intptr_t key_index_get(const struct key_index *x, const char *key, intptr_t otherwise);
void key_index_clear(struct key_index *x);
#define cleanup_key_index __attribute__((cleanup(key_index_clear)))
