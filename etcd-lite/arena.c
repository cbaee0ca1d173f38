#include "etcd-lite/arena.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

struct arena_chunk {
    struct arena_chunk *next;
    char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    size = (size + 7) & ~(size_t)7;
    if (size > (size_t)(a->end - a->next)) {
        size_t want = a->chunks ? 4064 : 992;
        if (want < size)
            want = size;
        struct arena_chunk *c = mem_alloc(sizeof(*c) + want);
        c->next = a->chunks;
        a->chunks = c;
        /* Keep filling the roomier of the two chunks. */
        if (want - size < (size_t)(a->end - a->next))
            return c->data;
        a->next = c->data;
        a->end = c->data + want;
    }
    void *p = a->next;
    a->next += size;
    return p;
}

void *arena_dup(struct arena *a, const void *p, size_t n)
{
    void *q = arena_alloc(a, n ? n : 1);
    if (n)
        memcpy(q, p, n);
    return q;
}

void arena_free(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *c = a->chunks;
        a->chunks = c->next;
        free(c);
    }
    a->next = a->end = NULL;
}
