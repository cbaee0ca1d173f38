#include "apiserver/patch/key_index.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/mem.h"

/* FNV-1a with a start that differs between processes, so that nobody can prepare colliding keys. */
static uint64_t hash(const char *s)
{
    static uint64_t seed; /* set once; a race sets the same kind of value */
    uint64_t start = __atomic_load_n(&seed, __ATOMIC_RELAXED);
    if (!start) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t fresh = ((uint64_t)now.tv_nsec * 0x9e3779b97f4a7c15u ^ (uintptr_t)&seed) | 1;
        start = 0;
        if (__atomic_compare_exchange_n(&seed, &start, fresh, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            start = fresh;
    }
    uint64_t h = 14695981039346656037u ^ start;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h ^ h >> 29;
}

static struct key_slot *slot_of(const struct key_index *x, const char *key)
{
    size_t i = hash(key) & (x->capacity - 1);
    while (x->slots[i].key && strcmp(x->slots[i].key, key))
        i = (i + 1) & (x->capacity - 1);
    return &x->slots[i];
}

void key_index_set(struct key_index *x, const char *key, intptr_t value)
{
    if (x->count * 2 >= x->capacity) {
        struct key_index bigger = {.capacity = x->capacity ? x->capacity * 2 : 16, .count = x->count};
        bigger.slots = mem_alloc(sizeof *bigger.slots * bigger.capacity);
        for (size_t i = 0; i < x->capacity; i++)
            if (x->slots[i].key)
                *slot_of(&bigger, x->slots[i].key) = x->slots[i];
        free(x->slots);
        *x = bigger;
    }
    struct key_slot *s = slot_of(x, key);
    if (!s->key) {
        s->key = mem_strdup(key);
        x->count++;
    }
    s->value = value;
}

intptr_t key_index_get(const struct key_index *x, const char *key, intptr_t otherwise)
{
    if (!x->count)
        return otherwise;
    const struct key_slot *s = slot_of(x, key);
    return s->key ? s->value : otherwise;
}

void key_index_clear(struct key_index *x)
{
    for (size_t i = 0; i < x->capacity; i++)
        free(x->slots[i].key);
    free(x->slots);
    *x = (struct key_index){0};
}
