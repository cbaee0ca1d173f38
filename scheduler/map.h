/* A hash map from strings to pointers or numbers. Not thread-safe. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

union map_value {
    void *ptr;
    int64_t number;
};
struct map_entry;
struct map {
    struct map_entry **slots;
    size_t slot_count, count;
};
/* NULL when absent. */
union map_value *map_find(const struct map *m, const char *key);
/* Zero at first. The place stays valid until the key is removed. */
union map_value *map_at(struct map *m, const char *key);
/* The removed value; zero when absent. */
union map_value map_remove(struct map *m, const char *key);
/* Calls fn for each value; fn must not change the map. */
void map_each(const struct map *m, void (*fn)(void *ctx, const char *key, union map_value *v), void *ctx);
void map_free(struct map *m, void (*free_value)(void *));
