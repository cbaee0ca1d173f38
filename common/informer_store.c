#include "common/informer_store.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

struct store_entry {
    struct store_entry *next;
    uint32_t hash;
    unsigned generation;
    struct kube_object *object;
};

/* The objects that have one value of an index. */
struct index_value {
    struct index_value *next;
    uint32_t hash;
    char *value;
    struct kube_object **objects; /* not counted: they are in the store */
    size_t count, cap;
};

struct store_index {
    struct store_index *next;
    char *name;
    informer_index_fn *fn;
    struct index_value **slots;
    size_t slot_count, count;
};

static uint32_t hash_text(const char *s)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

/* --- secondary indexes --- */

static struct index_value **index_slot(struct store_index *x, const char *value, uint32_t hash)
{
    struct index_value **at = &x->slots[hash & (x->slot_count - 1)];
    while (*at && ((*at)->hash != hash || strcmp((*at)->value, value)))
        at = &(*at)->next;
    return at;
}

static void index_grow(struct store_index *x)
{
    size_t n = x->slot_count * 2;
    struct index_value **slots = mem_alloc(n * sizeof(*slots));
    for (size_t i = 0; i < x->slot_count; i++) {
        for (struct index_value *v = x->slots[i], *next; v; v = next) {
            next = v->next;
            v->next = slots[v->hash & (n - 1)];
            slots[v->hash & (n - 1)] = v;
        }
    }
    free(x->slots);
    x->slots = slots;
    x->slot_count = n;
}

struct index_change {
    struct store_index *index;
    struct kube_object *object;
};

static void index_add_value(void *ctx, const char *value)
{
    struct index_change *c = ctx;
    struct store_index *x = c->index;
    if (!value)
        return;
    if (x->count >= x->slot_count)
        index_grow(x);
    uint32_t hash = hash_text(value);
    struct index_value **at = index_slot(x, value, hash), *v = *at;
    if (!v) {
        v = *at = mem_alloc(sizeof(*v));
        v->hash = hash;
        v->value = mem_strdup(value);
        x->count++;
    }
    for (size_t i = 0; i < v->count; i++)
        if (v->objects[i] == c->object)
            return; /* the function gave the same value twice */
    if (v->count == v->cap) {
        v->cap = v->cap ? v->cap * 2 : 2;
        v->objects = mem_realloc(v->objects, v->cap * sizeof(*v->objects));
    }
    v->objects[v->count++] = c->object;
}

static void index_remove_value(void *ctx, const char *value)
{
    struct index_change *c = ctx;
    struct store_index *x = c->index;
    if (!value)
        return;
    struct index_value **at = index_slot(x, value, hash_text(value)), *v = *at;
    if (!v)
        return;
    for (size_t i = 0; i < v->count; i++) {
        if (v->objects[i] == c->object) {
            v->objects[i] = v->objects[--v->count];
            break;
        }
    }
    if (!v->count) {
        *at = v->next;
        free(v->value);
        free(v->objects);
        free(v);
        x->count--;
    }
}

static void index_object(struct store *s, struct kube_object *o, void (*change)(void *, const char *))
{
    for (struct store_index *x = s->indexes; x; x = x->next) {
        struct index_change c = {x, o};
        x->fn(o->json, change, &c);
    }
}

static void index_namespace(const cJSON *object, void (*add)(void *, const char *), void *ctx)
{
    add(ctx, json_str_or(object, "metadata.namespace", ""));
}

void store_add_index(struct store *s, const char *name, informer_index_fn *fn)
{
    struct store_index *x = mem_alloc(sizeof(*x));
    x->name = mem_strdup(name);
    x->fn = fn;
    x->slot_count = 16;
    x->slots = mem_alloc(x->slot_count * sizeof(*x->slots));
    x->next = s->indexes;
    s->indexes = x;
}

/* --- the store --- */

void store_init(struct store *s)
{
    *s = (struct store){.slot_count = 16};
    s->slots = mem_alloc(s->slot_count * sizeof(*s->slots));
    store_add_index(s, "namespace", index_namespace);
}

static struct store_entry **store_slot(const struct store *s, const char *key, uint32_t hash)
{
    struct store_entry **at = &s->slots[hash & (s->slot_count - 1)];
    while (*at && ((*at)->hash != hash || strcmp((*at)->object->key, key)))
        at = &(*at)->next;
    return at;
}

struct kube_object *store_find(const struct store *s, const char *key)
{
    struct store_entry *e = *store_slot(s, key, hash_text(key));
    return e ? e->object : NULL;
}

static void store_grow(struct store *s)
{
    size_t n = s->slot_count * 2;
    struct store_entry **slots = mem_alloc(n * sizeof(*slots));
    for (size_t i = 0; i < s->slot_count; i++) {
        for (struct store_entry *e = s->slots[i], *next; e; e = next) {
            next = e->next;
            e->next = slots[e->hash & (n - 1)];
            slots[e->hash & (n - 1)] = e;
        }
    }
    free(s->slots);
    s->slots = slots;
    s->slot_count = n;
}

struct kube_object *store_put(struct store *s, struct kube_object *o)
{
    if (s->count >= s->slot_count)
        store_grow(s);
    uint32_t hash = hash_text(o->key);
    struct store_entry **at = store_slot(s, o->key, hash), *e = *at;
    struct kube_object *old = NULL;
    if (e) {
        old = e->object;
        index_object(s, old, index_remove_value);
    } else {
        e = *at = mem_alloc(sizeof(*e));
        e->hash = hash;
        s->count++;
    }
    e->object = kube_object_ref(o);
    e->generation = s->generation;
    index_object(s, o, index_add_value);
    return old;
}

/* Unlinks the entry at `at`. */
static struct kube_object *take_out(struct store *s, struct store_entry **at)
{
    struct store_entry *e = *at;
    struct kube_object *o = e->object;
    index_object(s, o, index_remove_value);
    *at = e->next;
    free(e);
    s->count--;
    return o;
}

struct kube_object *store_remove(struct store *s, const char *key)
{
    struct store_entry **at = store_slot(s, key, hash_text(key));
    return *at ? take_out(s, at) : NULL;
}

void store_begin_replace(struct store *s)
{
    s->generation++;
}

void store_touch(struct store *s, const char *key)
{
    struct store_entry *e = *store_slot(s, key, hash_text(key));
    if (e)
        e->generation = s->generation;
}

struct kube_object *store_take_stale(struct store *s)
{
    for (size_t i = 0; i < s->slot_count; i++)
        for (struct store_entry **at = &s->slots[i]; *at; at = &(*at)->next)
            if ((*at)->generation != s->generation)
                return take_out(s, at);
    return NULL;
}

void store_list(const struct store *s, struct kube_object_list *out)
{
    out->items = mem_alloc((s->count + 1) * sizeof(*out->items));
    out->count = 0;
    for (size_t i = 0; i < s->slot_count; i++)
        for (struct store_entry *e = s->slots[i]; e; e = e->next)
            out->items[out->count++] = kube_object_ref(e->object);
}

void store_by_index(const struct store *s, const char *index, const char *value, struct kube_object_list *out)
{
    *out = (struct kube_object_list){0};
    struct store_index *x = s->indexes;
    while (x && strcmp(x->name, index))
        x = x->next;
    struct index_value *v = x ? *index_slot(x, value, hash_text(value)) : NULL;
    if (!v)
        return;
    out->items = mem_alloc(v->count * sizeof(*out->items));
    out->count = v->count;
    for (size_t i = 0; i < v->count; i++)
        out->items[i] = kube_object_ref(v->objects[i]);
}

void store_free(struct store *s)
{
    for (struct store_index *x = s->indexes, *next; x; x = next) {
        next = x->next;
        for (size_t i = 0; i < x->slot_count; i++) {
            for (struct index_value *v = x->slots[i], *after; v; v = after) {
                after = v->next;
                free(v->value);
                free(v->objects);
                free(v);
            }
        }
        free(x->slots);
        free(x->name);
        free(x);
    }
    for (size_t i = 0; i < s->slot_count; i++) {
        for (struct store_entry *e = s->slots[i], *after; e; e = after) {
            after = e->next;
            kube_object_unref(e->object);
            free(e);
        }
    }
    free(s->slots);
    *s = (struct store){0};
}
