/* What can be said about a request without looking at the store. */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/state.h"

enum kv_status check_range(const struct range_request *r)
{
    if (r->key.n == 0)
        return KV_EMPTY_KEY;
    if (r->sort_order < SORT_NONE || r->sort_order > SORT_DESCEND || r->sort_target < SORT_BY_KEY ||
        r->sort_target > SORT_BY_VALUE)
        return KV_INVALID_SORT_OPTION;
    return KV_OK;
}

enum kv_status check_put(const struct put_request *r)
{
    if (r->key.n == 0)
        return KV_EMPTY_KEY;
    if (r->ignore_value && r->value.n)
        return KV_VALUE_PROVIDED;
    if (r->ignore_lease && r->lease)
        return KV_LEASE_PROVIDED;
    return KV_OK;
}

enum kv_status check_delete_range(const struct delete_range_request *r)
{
    return r->key.n == 0 ? KV_EMPTY_KEY : KV_OK;
}

static enum kv_status check_ops(const struct msg_list *ops, int depth);

static enum kv_status check_txn_at(const struct txn_request *r, int depth)
{
    if (depth > MSG_MAX_DEPTH)
        return KV_TOO_MANY_OPS;
    size_t n = r->compare.n;
    if (r->success.n > n)
        n = r->success.n;
    if (r->failure.n > n)
        n = r->failure.n;
    if (n > TXN_MAX_OPS)
        return KV_TOO_MANY_OPS;
    const struct compare *c = r->compare.items;
    for (size_t i = 0; i < r->compare.n; i++)
        if (c[i].key.n == 0)
            return KV_EMPTY_KEY;
    enum kv_status s = check_ops(&r->success, depth);
    return s ? s : check_ops(&r->failure, depth);
}

static enum kv_status check_ops(const struct msg_list *ops, int depth)
{
    const struct request_op *op = ops->items;
    enum kv_status s = KV_OK;
    for (size_t i = 0; i < ops->n && !s; i++) {
        if (op[i].range)
            s = check_range(op[i].range);
        else if (op[i].put)
            s = check_put(op[i].put);
        else if (op[i].delete_range)
            s = check_delete_range(op[i].delete_range);
        else if (op[i].txn)
            s = check_txn_at(op[i].txn, depth + 1);
        else
            s = KV_KEY_NOT_FOUND; /* etcd's answer to an operation that is none */
    }
    return s;
}

/* --- no key may be changed twice ---
 * Puts of one branch must differ, and no delete of the same branch may cover a put. Branches that
 * exclude each other (success, failure) are looked at apart. */
struct key_set {
    struct bytes *puts;
    size_t n_puts, cap_puts;
    const struct delete_range_request **deletes;
    size_t n_deletes, cap_deletes;
};

static void add_put(struct key_set *s, struct bytes key)
{
    if (s->n_puts == s->cap_puts)
        s->puts = mem_realloc(s->puts, (s->cap_puts = s->cap_puts ? s->cap_puts * 2 : 16) *
                                           sizeof(*s->puts));
    s->puts[s->n_puts++] = key;
}

static void add_delete(struct key_set *s, const struct delete_range_request *d)
{
    if (s->n_deletes == s->cap_deletes)
        s->deletes =
            mem_realloc(s->deletes, (s->cap_deletes = s->cap_deletes ? s->cap_deletes * 2 : 16) *
                                        sizeof(*s->deletes));
    s->deletes[s->n_deletes++] = d;
}

static bool has_put(const struct key_set *s, struct bytes key)
{
    for (size_t i = 0; i < s->n_puts; i++)
        if (s->puts[i].n == key.n && memcmp(s->puts[i].p, key.p, key.n) == 0)
            return true;
    return false;
}

/* etcd takes the end of a deleted range literally here: "\0" ends nothing above it. */
static bool is_deleted(const struct key_set *s, struct bytes key)
{
    for (size_t i = 0; i < s->n_deletes; i++) {
        struct bytes from = s->deletes[i]->key, end = s->deletes[i]->range_end;
        if (end.n ? bytes_compare(key, from) >= 0 && bytes_compare(key, end) < 0
                  : bytes_compare(key, from) == 0)
            return true;
    }
    return false;
}

static void key_set_clear(struct key_set *s)
{
    free(s->puts);
    free(s->deletes);
}

static bool branch_is_valid(const struct msg_list *ops, struct key_set *out);

/* Adds what a nested transaction may change. Its branches exclude each other. */
static bool add_nested(const struct txn_request *t, struct key_set *out)
{
    struct key_set yes = {0}, no = {0};
    bool ok = branch_is_valid(&t->success, &yes) && branch_is_valid(&t->failure, &no);
    for (size_t i = 0; i < yes.n_puts && ok; i++) {
        ok = !has_put(out, yes.puts[i]) && !is_deleted(out, yes.puts[i]);
        if (ok)
            add_put(out, yes.puts[i]);
    }
    for (size_t i = 0; i < no.n_puts && ok; i++) {
        bool also_yes = has_put(&yes, no.puts[i]);
        ok = (also_yes || !has_put(out, no.puts[i])) && !is_deleted(out, no.puts[i]);
        if (ok && !also_yes)
            add_put(out, no.puts[i]);
    }
    for (size_t i = 0; i < yes.n_deletes && ok; i++)
        add_delete(out, yes.deletes[i]);
    for (size_t i = 0; i < no.n_deletes && ok; i++)
        add_delete(out, no.deletes[i]);
    key_set_clear(&yes);
    key_set_clear(&no);
    return ok;
}

static bool branch_is_valid(const struct msg_list *ops, struct key_set *out)
{
    const struct request_op *op = ops->items;
    for (size_t i = 0; i < ops->n; i++)
        if (op[i].delete_range)
            add_delete(out, op[i].delete_range);
    bool ok = true;
    for (size_t i = 0; i < ops->n && ok; i++)
        if (op[i].txn)
            ok = add_nested(op[i].txn, out);
    for (size_t i = 0; i < ops->n && ok; i++) {
        if (!op[i].put)
            continue;
        ok = !has_put(out, op[i].put->key) && !is_deleted(out, op[i].put->key);
        if (ok)
            add_put(out, op[i].put->key);
    }
    return ok;
}

enum kv_status check_txn(const struct txn_request *r)
{
    enum kv_status s = check_txn_at(r, 0);
    if (s)
        return s;
    struct key_set yes = {0}, no = {0};
    bool ok = branch_is_valid(&r->success, &yes) && branch_is_valid(&r->failure, &no);
    key_set_clear(&yes);
    key_set_clear(&no);
    return ok ? KV_OK : KV_DUPLICATE_KEY;
}
