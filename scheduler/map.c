#include "scheduler/map.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

struct map_entry {
    struct map_entry *next;
    uint32_t hash;
    union map_value value;
    char key[];
};

static uint32_t hash_text(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static struct map_entry **slot(const struct map *m, const char *key, uint32_t hash)
{
    struct map_entry **at = &m->slots[hash & (m->slot_count - 1)];
    while (*at && ((*at)->hash != hash || strcmp((*at)->key, key)))
        at = &(*at)->next;
    return at;
}

union map_value *map_find(const struct map *m, const char *key)
{
    if (!m->count)
        return NULL;
    struct map_entry *e = *slot(m, key, hash_text(key));
    return e ? &e->value : NULL;
}

static void grow(struct map *m)
{
    size_t n = m->slot_count ? m->slot_count * 2 : 8;
    struct map_entry **slots = mem_alloc(n * sizeof(*slots));
    for (size_t i = 0; i < m->slot_count; i++) {
        for (struct map_entry *e = m->slots[i], *next; e; e = next) {
            next = e->next;
            e->next = slots[e->hash & (n - 1)];
            slots[e->hash & (n - 1)] = e;
        }
    }
    free(m->slots);
    m->slots = slots;
    m->slot_count = n;
}

union map_value *map_at(struct map *m, const char *key)
{
    if (m->count >= m->slot_count)
        grow(m);
    uint32_t hash = hash_text(key);
    struct map_entry **at = slot(m, key, hash);
    if (!*at) {
        size_t n = strlen(key) + 1;
        *at = mem_alloc(sizeof(**at) + n);
        (*at)->hash = hash;
        memcpy((*at)->key, key, n);
        m->count++;
    }
    return &(*at)->value;
}

union map_value map_remove(struct map *m, const char *key)
{
    union map_value v = {0};
    if (!m->count)
        return v;
    struct map_entry **at = slot(m, key, hash_text(key)), *e = *at;
    if (e) {
        v = e->value;
        *at = e->next;
        free(e);
        m->count--;
    }
    return v;
}

void map_each(const struct map *m, void (*fn)(void *ctx, const char *key, union map_value *v), void *ctx)
{
    for (size_t i = 0; i < m->slot_count; i++)
        for (struct map_entry *e = m->slots[i]; e; e = e->next)
            fn(ctx, e->key, &e->value);
}

void map_free(struct map *m, void (*free_value)(void *))
{
    for (size_t i = 0; i < m->slot_count; i++) {
        for (struct map_entry *e = m->slots[i], *next; e; e = next) {
            next = e->next;
            if (free_value)
                free_value(e->value.ptr);
            free(e);
        }
    }
    free(m->slots);
    *m = (struct map){0};
}
