/* A bump allocator for everything that belongs to one request: freed all at once. Zero-initialized
 * is empty. */
#pragma once
#include <stddef.h>

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;
    char *next, *end;
};
void *arena_alloc(struct arena *a, size_t size); /* zeroed, aligned to 8 */
void *arena_dup(struct arena *a, const void *p, size_t n);
void arena_free(struct arena *a);
#define cleanup_arena __attribute__((cleanup(arena_free)))
