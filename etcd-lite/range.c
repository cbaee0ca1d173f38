/* Range reads: one snapshot of an interval of keys, sorted, filtered and limited as etcd does it.
 */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/state.h"

void key_value_fill(struct key_value *out, const struct kv_version *v)
{
    *out = (struct key_value){.key = kv_key_bytes(v->key),
                              .create_revision = v->create,
                              .mod_revision = v->mod,
                              .version = v->version,
                              .value = {v->value, v->value_len},
                              .lease = v->lease};
}

void version_pins_clear(struct version_pins *p)
{
    for (size_t i = 0; i < p->n; i++)
        kv_unref(p->items[i]);
    free(p->items);
    *p = (struct version_pins){0};
}

static void pin(struct version_pins *p, struct kv_version *v)
{
    if (p->n == p->cap)
        p->items = mem_realloc(p->items,
                               (p->cap = p->cap ? p->cap * 2 : 16) * sizeof(struct kv_version *));
    p->items[p->n++] = kv_ref(v);
}

static int64_t order_of(const struct key_value *kv, int64_t target)
{
    return target == SORT_BY_VERSION  ? kv->version
           : target == SORT_BY_CREATE ? kv->create_revision
                                      : kv->mod_revision;
}

struct sorting {
    int64_t target;
    bool descend;
};

static int compare_items(const void *a, const void *b, void *arg)
{
    const struct key_value *x = a, *y = b;
    const struct sorting *s = arg;
    int c;
    if (s->target == SORT_BY_KEY) {
        c = bytes_compare(x->key, y->key);
    } else if (s->target == SORT_BY_VALUE) {
        c = bytes_compare(x->value, y->value);
    } else {
        int64_t i = order_of(x, s->target), j = order_of(y, s->target);
        c = (i > j) - (i < j);
    }
    return s->descend ? -c : c;
}

enum kv_status state_range(const struct state *s, const struct range_request *r, struct arena *a,
                           struct range_response *out, struct version_pins *pins)
{
    const struct mvcc *m = s->kv;
    int64_t current = mvcc_changed(m) ? mvcc_write_revision(m) : mvcc_revision(m);
    if (r->revision > current)
        return KV_FUTURE_REVISION;
    if (r->revision > 0 && r->revision < mvcc_compact_revision(m))
        return KV_COMPACTED;
    int64_t at = r->revision > 0 ? r->revision : 0;
    bool filtered = r->min_mod_revision || r->max_mod_revision || r->min_create_revision ||
                    r->max_create_revision;
    struct sorting sorting = {r->sort_target, r->sort_order == SORT_DESCEND};
    /* Keys come in order already. */
    bool sorted =
        (r->sort_order != SORT_NONE && !(r->sort_target == SORT_BY_KEY && !sorting.descend)) ||
        (r->sort_order == SORT_NONE && r->sort_target != SORT_BY_KEY);
    /* As in etcd, a limit without an order is applied before sorting by another target. */
    int64_t fetch =
        r->sort_order != SORT_NONE || filtered || r->limit <= 0 ? INT64_MAX : r->limit + 1;

    for (struct kv_key *k = mvcc_range_first(m, r->key, r->range_end); k;
         k = mvcc_range_next(k, r->range_end)) {
        struct kv_version *v = mvcc_visible(k, at);
        if (!v)
            continue;
        out->count++;
        if (r->count_only)
            continue;
        if ((int64_t)out->kvs.n >= fetch)
            continue;
        if (filtered && ((r->min_mod_revision && v->mod < r->min_mod_revision) ||
                         (r->max_mod_revision && v->mod > r->max_mod_revision) ||
                         (r->min_create_revision && v->create < r->min_create_revision) ||
                         (r->max_create_revision && v->create > r->max_create_revision)))
            continue;
        key_value_fill(msg_list_add(&out->kvs, sizeof(struct key_value), a), v);
        if (pins)
            pin(pins, v);
    }
    if (sorted && out->kvs.n)
        qsort_r(out->kvs.items, out->kvs.n, sizeof(struct key_value), compare_items, &sorting);
    if (r->limit > 0 && (int64_t)out->kvs.n > r->limit) {
        out->kvs.n = (size_t)r->limit;
        out->more = true;
    }
    if (r->keys_only) {
        struct key_value *kv = out->kvs.items;
        for (size_t i = 0; i < out->kvs.n; i++)
            kv[i].value = (struct bytes){NULL, 0};
    }
    out->header = arena_alloc(a, sizeof(*out->header));
    out->header->revision = current;
    return KV_OK;
}
