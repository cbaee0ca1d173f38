/* Open addressing with linear probing; a removal moves later entries of the run back, so there are
 * no tombstones. */
#include "controller-manager/strmap.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

uint32_t fnv32(uint32_t hash, const void *p, size_t n)
{
    const unsigned char *s = p;
    for (size_t i = 0; i < n; i++)
        hash = (uint32_t)((hash ^ s[i]) * (uint64_t)16777619u);
    return hash;
}

static size_t home_slot(const struct strmap *m, const char *key)
{
    return fnv32(FNV32_START, key, strlen(key)) & (m->capacity - 1);
}

static size_t find_slot(const struct strmap *m, const char *key)
{
    size_t i = home_slot(m, key);
    while (m->slots[i].key && strcmp(m->slots[i].key, key) != 0)
        i = (i + 1) & (m->capacity - 1);
    return i;
}

static void resize(struct strmap *m, size_t capacity)
{
    struct strmap old = *m;
    m->capacity = capacity;
    m->slots = mem_alloc(capacity * sizeof(*m->slots));
    for (size_t i = 0; i < old.capacity; i++)
        if (old.slots[i].key)
            m->slots[find_slot(m, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void *strmap_get(const struct strmap *m, const char *key)
{
    if (!m->count || !key)
        return NULL;
    const struct strmap_entry *e = &m->slots[find_slot(m, key)];
    return e->key ? e->value : NULL;
}

void *strmap_put(struct strmap *m, const char *key, void *value)
{
    if ((m->count + 1) * 4 > m->capacity * 3)
        resize(m, m->capacity ? m->capacity * 2 : 8);
    struct strmap_entry *e = &m->slots[find_slot(m, key)];
    void *old = NULL;
    if (e->key) {
        old = e->value;
    } else {
        e->key = mem_strdup(key);
        m->count++;
    }
    e->value = value;
    return old;
}

void *strmap_remove(struct strmap *m, const char *key)
{
    if (!m->count || !key)
        return NULL;
    size_t hole = find_slot(m, key);
    if (!m->slots[hole].key)
        return NULL;
    void *value = m->slots[hole].value;
    free(m->slots[hole].key);
    m->slots[hole] = (struct strmap_entry){0};
    m->count--;
    size_t mask = m->capacity - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key; i = (i + 1) & mask) {
        size_t home = home_slot(m, m->slots[i].key);
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            m->slots[i] = (struct strmap_entry){0};
            hole = i;
        }
    }
    if (m->capacity > 64 && m->count * 8 < m->capacity)
        resize(m, m->capacity / 2);
    return value;
}

void strmap_clear(struct strmap *m, void (*free_value)(void *))
{
    for (size_t i = 0; i < m->capacity; i++) {
        if (!m->slots[i].key)
            continue;
        free(m->slots[i].key);
        if (free_value)
            free_value(m->slots[i].value);
    }
    free(m->slots);
    *m = (struct strmap){0};
}

const struct strmap_entry *strmap_next(const struct strmap *m, size_t *position)
{
    while (*position < m->capacity) {
        const struct strmap_entry *e = &m->slots[(*position)++];
        if (e->key)
            return e;
    }
    return NULL;
}
