#include "etcd-lite/lease.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

struct lessor {
    struct lease **buckets; /* by id; a power of two */
    size_t n_buckets, count;
    struct lease **heap; /* by expiry */
    size_t cap_heap;
};

struct lessor *lessor_new(void)
{
    struct lessor *l = mem_alloc(sizeof(*l));
    l->n_buckets = 16;
    l->buckets = mem_alloc(l->n_buckets * sizeof(*l->buckets));
    return l;
}

void lessor_free(struct lessor *l)
{
    if (!l)
        return;
    for (size_t i = 0; i < l->count; i++) {
        free(l->heap[i]->keys);
        free(l->heap[i]);
    }
    free(l->heap);
    free(l->buckets);
    free(l);
}

size_t lessor_count(const struct lessor *l)
{
    return l->count;
}

static struct lease **bucket(const struct lessor *l, int64_t id)
{
    return &l->buckets[((uint64_t)id * 0x9e3779b97f4a7c15u >> 32) & (l->n_buckets - 1)];
}

struct lease *lessor_find(const struct lessor *l, int64_t id)
{
    struct lease *e = *bucket(l, id);
    while (e && e->id != id)
        e = e->next_in_bucket;
    return e;
}

/* --- heap --- */
static void place(struct lessor *l, struct lease *e, size_t i)
{
    l->heap[i] = e;
    e->heap_slot = (uint32_t)i;
}

static void sift(struct lessor *l, struct lease *e)
{
    size_t i = e->heap_slot;
    while (i > 0 && l->heap[(i - 1) / 2]->expiry_ms > e->expiry_ms) {
        place(l, l->heap[(i - 1) / 2], i);
        i = (i - 1) / 2;
    }
    for (size_t child; (child = 2 * i + 1) < l->count; i = child) {
        if (child + 1 < l->count && l->heap[child + 1]->expiry_ms < l->heap[child]->expiry_ms)
            child++;
        if (l->heap[child]->expiry_ms >= e->expiry_ms)
            break;
        place(l, l->heap[child], i);
    }
    place(l, e, i);
}

static void grow(struct lessor *l)
{
    size_t n = l->n_buckets * 2;
    free(l->buckets);
    l->buckets = mem_alloc(n * sizeof(*l->buckets));
    l->n_buckets = n;
    for (size_t i = 0; i < l->count; i++) {
        struct lease **b = bucket(l, l->heap[i]->id);
        l->heap[i]->next_in_bucket = *b;
        *b = l->heap[i];
    }
}

struct lease *lessor_grant(struct lessor *l, int64_t id, int64_t ttl, int64_t now_ms)
{
    if (lessor_find(l, id))
        return NULL;
    if (l->count >= l->n_buckets)
        grow(l);
    if (l->count == l->cap_heap) {
        l->cap_heap = l->cap_heap ? l->cap_heap * 2 : 16;
        l->heap = mem_realloc(l->heap, l->cap_heap * sizeof(*l->heap));
    }
    struct lease *e = mem_alloc(sizeof(*e));
    e->id = id;
    e->ttl = ttl < LEASE_MIN_TTL ? LEASE_MIN_TTL : ttl;
    e->expiry_ms = now_ms + e->ttl * 1000;
    struct lease **b = bucket(l, id);
    e->next_in_bucket = *b;
    *b = e;
    place(l, e, l->count++);
    sift(l, e);
    return e;
}

void lessor_remove(struct lessor *l, struct lease *lease)
{
    struct lease **b = bucket(l, lease->id);
    while (*b != lease)
        b = &(*b)->next_in_bucket;
    *b = lease->next_in_bucket;
    struct lease *last = l->heap[--l->count];
    if (last != lease) {
        place(l, last, lease->heap_slot);
        sift(l, last);
    }
    free(lease->keys);
    free(lease);
}

void lessor_attach(struct lease *lease, struct kv_key *k)
{
    if (lease->n_keys == lease->cap_keys) {
        lease->cap_keys = lease->cap_keys ? lease->cap_keys * 2 : 2;
        lease->keys = mem_realloc(lease->keys, lease->cap_keys * sizeof(struct kv_key *));
    }
    k->lease_slot = lease->n_keys;
    lease->keys[lease->n_keys++] = k;
}

void lessor_detach(struct lease *lease, struct kv_key *k)
{
    assert(k->lease_slot < lease->n_keys && lease->keys[k->lease_slot] == k);
    struct kv_key *last = lease->keys[--lease->n_keys];
    lease->keys[k->lease_slot] = last;
    last->lease_slot = k->lease_slot;
}

static int by_expiry(const void *a, const void *b)
{
    const struct lease *x = *(struct lease *const *)a, *y = *(struct lease *const *)b;
    return (x->expiry_ms > y->expiry_ms) - (x->expiry_ms < y->expiry_ms);
}

struct lease **lessor_list(const struct lessor *l, size_t *n)
{
    struct lease **all = mem_alloc((l->count + 1) * sizeof(struct lease *));
    if (l->count) {
        memcpy(all, l->heap, l->count * sizeof(struct lease *));
        qsort(all, l->count, sizeof(struct lease *), by_expiry);
    }
    *n = l->count;
    return all;
}

/* --- the leader's clock --- */
void lessor_promote(struct lessor *l, int64_t now_ms)
{
    for (size_t i = 0; i < l->count; i++) {
        l->heap[i]->expiry_ms = now_ms + l->heap[i]->ttl * 1000;
        l->heap[i]->revoking = false;
    }
    if (l->count)
        qsort(l->heap, l->count, sizeof(struct lease *), by_expiry); /* a sorted array is a heap */
    for (size_t i = 0; i < l->count; i++)
        l->heap[i]->heap_slot = (uint32_t)i;
}

void lessor_renew(struct lessor *l, struct lease *lease, int64_t now_ms)
{
    lease->expiry_ms = now_ms + lease->ttl * 1000;
    sift(l, lease);
}

struct lease *lessor_expired(struct lessor *l, int64_t now_ms)
{
    if (l->count == 0 || l->heap[0]->expiry_ms > now_ms)
        return NULL;
    struct lease *e = l->heap[0];
    /* Should the revocation be lost, it is proposed again in 3 s. */
    e->revoking = true;
    e->expiry_ms = now_ms + 3000;
    sift(l, e);
    return e;
}

void lessor_retry(struct lessor *l, int64_t id, int64_t now_ms)
{
    struct lease *e = lessor_find(l, id);
    if (e && e->revoking) {
        e->revoking = false;
        e->expiry_ms = now_ms;
        sift(l, e);
    }
}

int64_t lessor_next_expiry(const struct lessor *l)
{
    return l->count ? l->heap[0]->expiry_ms : INT64_MAX;
}
