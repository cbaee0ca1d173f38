#include "kube-proxy/hash.h"
#include <stdint.h>
#include <string.h>
#include "common/mem.h"

unsigned hash_text(const char *s)
{
    uint32_t h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

/* Linear probing: the slot of the key, or the free one where it belongs. */
static struct hash_entry *slot_of(const struct hash *h, const char *key)
{
    size_t mask = h->capacity - 1, i = hash_text(key) & mask;
    while (h->slots[i].key && strcmp(h->slots[i].key, key) != 0)
        i = (i + 1) & mask;
    return &h->slots[i];
}

void *hash_get(const struct hash *h, const char *key)
{
    return h->capacity ? slot_of(h, key)->value : NULL;
}

static void grow(struct hash *h)
{
    struct hash old = *h;
    h->capacity = old.capacity ? old.capacity * 2 : 16;
    h->slots = mem_alloc(h->capacity * sizeof *h->slots);
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key)
            *slot_of(h, old.slots[i].key) = old.slots[i];
    free(old.slots);
}

void hash_set(struct hash *h, const char *key, void *value)
{
    if (h->count * 4 >= h->capacity * 3)
        grow(h);
    struct hash_entry *e = slot_of(h, key);
    if (!e->key) {
        e->key = mem_strdup(key);
        h->count++;
    }
    e->value = value;
}

void *hash_remove(struct hash *h, const char *key)
{
    struct hash_entry *e = h->capacity ? slot_of(h, key) : NULL;
    if (!e || !e->key)
        return NULL;
    void *value = e->value;
    free(e->key);
    *e = (struct hash_entry){0};
    h->count--;
    /* Those that were pushed behind it must be found again. */
    size_t mask = h->capacity - 1;
    for (size_t i = ((size_t)(e - h->slots) + 1) & mask; h->slots[i].key; i = (i + 1) & mask) {
        struct hash_entry moved = h->slots[i];
        h->slots[i] = (struct hash_entry){0};
        *slot_of(h, moved.key) = moved;
    }
    return value;
}

void hash_clear(struct hash *h, void (*free_value)(void *))
{
    for (size_t i = 0; i < h->capacity; i++) {
        if (h->slots[i].key && free_value)
            free_value(h->slots[i].value);
        free(h->slots[i].key);
    }
    free(h->slots);
    *h = (struct hash){0};
}

struct hash_entry *hash_next(const struct hash *h, const struct hash_entry *after)
{
    for (size_t i = after ? (size_t)(after - h->slots) + 1 : 0; i < h->capacity; i++)
        if (h->slots[i].key)
            return &h->slots[i];
    return NULL;
}
