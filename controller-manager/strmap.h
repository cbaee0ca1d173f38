/* A hash map from strings to pointers. Zero-initialized is empty. Not thread-safe. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct strmap_entry {
    char *key; /* NULL: free slot */
    void *value;
};
struct strmap {
    struct strmap_entry *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

void *strmap_get(const struct strmap *m, const char *key); /* NULL when absent */
/* Stores a value that is not NULL; returns the value that it replaced, or NULL. The key is copied.
 */
void *strmap_put(struct strmap *m, const char *key, void *value);
/* Removes; returns the value that was there, or NULL. */
void *strmap_remove(struct strmap *m, const char *key);
/* Frees the map; each value by free_value unless that is NULL. */
void strmap_clear(struct strmap *m, void (*free_value)(void *));
/* for (size_t i = 0; (e = strmap_next(&m, &i));) ...; the map must not change meanwhile. */
const struct strmap_entry *strmap_next(const struct strmap *m, size_t *position);

/* FNV-1a, 32 bits; seed with FNV32_START. */
#define FNV32_START 2166136261u
uint32_t fnv32(uint32_t hash, const void *p, size_t n);
