/* A hash table from strings to pointers. Zero-initialized is empty. Keys are copied, values are the caller's.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct hash_entry {
    char *key; /* NULL: free slot */
    void *value;
};
struct hash {
    struct hash_entry *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};
void *hash_get(const struct hash *h, const char *key);       /* NULL when absent */
void hash_set(struct hash *h, const char *key, void *value); /* value not NULL */
void *hash_remove(struct hash *h, const char *key);          /* the value it had, or NULL */
void hash_clear(struct hash *h, void (*free_value)(void *)); /* free_value may be NULL */
/* for (struct hash_entry *e = NULL; (e = hash_next(h, e));) — the table must not change meanwhile. */
struct hash_entry *hash_next(const struct hash *h, const struct hash_entry *after);
unsigned hash_text(const char *s); /* FNV-1a, 32 bits; the same in every process */
