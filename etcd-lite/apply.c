/* One command of the log -> the changed state and an answer. */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/state.h"

static struct response_header *new_header(struct arena *a, int64_t revision)
{
    struct response_header *h = arena_alloc(a, sizeof(*h));
    h->revision = revision;
    return h;
}

static int64_t revision_now(const struct state *s)
{
    return mvcc_changed(s->kv) ? mvcc_write_revision(s->kv) : mvcc_revision(s->kv);
}

static struct key_value *new_key_value(struct arena *a, const struct kv_version *v)
{
    struct key_value *kv = arena_alloc(a, sizeof(*kv));
    key_value_fill(kv, v);
    return kv;
}

/* --- put, delete --- */
static enum kv_status may_put(const struct state *s, const struct put_request *r)
{
    if (r->ignore_value || r->ignore_lease) {
        struct kv_key *k = mvcc_find(s->kv, r->key);
        if (!k || !mvcc_visible(k, 0))
            return KV_KEY_NOT_FOUND;
    }
    if (r->lease && !lessor_find(s->leases, r->lease))
        return KV_LEASE_NOT_FOUND;
    return KV_OK;
}

static struct put_response *put(struct state *s, const struct put_request *r, struct arena *a)
{
    struct put_response *resp = arena_alloc(a, sizeof(*resp));
    struct kv_key *k = mvcc_find(s->kv, r->key);
    struct kv_version *old = k ? mvcc_visible(k, 0) : NULL;
    struct bytes value = r->value;
    int64_t lease = r->lease;
    if (old && r->ignore_value)
        value = (struct bytes){old->value, old->value_len};
    if (old && r->ignore_lease)
        lease = old->lease;
    int64_t old_lease = old ? old->lease : 0;
    const struct kv_version *v = mvcc_put(s->kv, r->key, value, lease);
    if (old && r->prev_kv)
        resp->prev_kv = new_key_value(a, old);
    if (old_lease != lease) {
        struct lease *from = old_lease ? lessor_find(s->leases, old_lease) : NULL;
        struct lease *to = lease ? lessor_find(s->leases, lease) : NULL;
        if (from)
            lessor_detach(from, v->key);
        if (to)
            lessor_attach(to, v->key);
    }
    resp->header = new_header(a, revision_now(s));
    return resp;
}

static void delete_key(struct state *s, struct kv_key *k)
{
    int64_t lease = mvcc_visible(k, 0)->lease;
    struct lease *from = lease ? lessor_find(s->leases, lease) : NULL;
    if (from)
        lessor_detach(from, k);
    mvcc_delete(s->kv, k);
}

static struct delete_range_response *
delete_range(struct state *s, const struct delete_range_request *r, struct arena *a)
{
    struct delete_range_response *resp = arena_alloc(a, sizeof(*resp));
    for (struct kv_key *k = mvcc_range_first(s->kv, r->key, r->range_end); k;
         k = mvcc_range_next(k, r->range_end)) {
        const struct kv_version *v = mvcc_visible(k, 0);
        if (!v)
            continue;
        if (r->prev_kv)
            key_value_fill(msg_list_add(&resp->prev_kvs, sizeof(struct key_value), a), v);
        delete_key(s, k);
        resp->deleted++;
    }
    resp->header = new_header(a, revision_now(s));
    return resp;
}

/* --- transactions ---
 * As in etcd, first all comparisons are evaluated, nested ones too, against the state before the
 * transaction; then everything that could fail on the chosen path is checked; only then changes are
 * made. So a transaction happens whole or not at all. */
static bool compare_one(const struct compare *c, const struct kv_version *v)
{
    int order;
    int64_t have, want;
    switch (c->target) {
    case COMPARE_VALUE:
        if (!v)
            return false; /* an absent key has no value, whatever is asked */
        order = bytes_compare((struct bytes){v->value, v->value_len}, c->value);
        break;
    default:
        want = c->target == COMPARE_VERSION  ? c->version
               : c->target == COMPARE_CREATE ? c->create_revision
               : c->target == COMPARE_MOD    ? c->mod_revision
                                             : c->lease;
        have = !v                             ? 0
               : c->target == COMPARE_VERSION ? v->version
               : c->target == COMPARE_CREATE  ? v->create
               : c->target == COMPARE_MOD     ? v->mod
                                              : v->lease;
        order = (have > want) - (have < want);
    }
    switch (c->result) {
    case COMPARE_EQUAL:
        return order == 0;
    case COMPARE_NOT_EQUAL:
        return order != 0;
    case COMPARE_GREATER:
        return order > 0;
    case COMPARE_LESS:
        return order < 0;
    default:
        return true; /* etcd lets an unknown operator pass */
    }
}

static bool compare_holds(const struct state *s, const struct compare *c)
{
    bool any = false;
    for (struct kv_key *k = mvcc_range_first(s->kv, c->key, c->range_end); k;
         k = mvcc_range_next(k, c->range_end)) {
        const struct kv_version *v = mvcc_visible(k, 0);
        if (!v)
            continue;
        any = true;
        if (!compare_one(c, v))
            return false;
    }
    return any || compare_one(c, NULL);
}

/* The chosen branches of a transaction and of those nested in it, in the order of a walk. */
struct path {
    bool *took_success;
    size_t n, cap;
};

static const struct msg_list *branch(const struct txn_request *t, bool success)
{
    return success ? &t->success : &t->failure;
}

static void choose_path(const struct state *s, const struct txn_request *t, struct path *path)
{
    bool ok = true;
    const struct compare *c = t->compare.items;
    for (size_t i = 0; i < t->compare.n && ok; i++)
        ok = compare_holds(s, &c[i]);
    if (path->n == path->cap)
        path->took_success = mem_realloc(
            path->took_success, (path->cap = path->cap ? path->cap * 2 : 8) * sizeof(bool));
    path->took_success[path->n++] = ok;
    const struct msg_list *ops = branch(t, ok);
    for (size_t i = 0; i < ops->n; i++) {
        const struct request_op *op = (const struct request_op *)ops->items + i;
        if (op->txn)
            choose_path(s, op->txn, path);
    }
}

static enum kv_status check_path(const struct state *s, const struct txn_request *t,
                                 const struct path *path, size_t *at)
{
    const struct msg_list *ops = branch(t, path->took_success[(*at)++]);
    for (size_t i = 0; i < ops->n; i++) {
        const struct request_op *op = (const struct request_op *)ops->items + i;
        enum kv_status st = KV_OK;
        if (op->put)
            st = may_put(s, op->put);
        else if (op->range && op->range->revision > mvcc_revision(s->kv))
            st = KV_FUTURE_REVISION;
        else if (op->range && op->range->revision > 0 &&
                 op->range->revision < mvcc_compact_revision(s->kv))
            st = KV_COMPACTED;
        else if (op->txn)
            st = check_path(s, op->txn, path, at);
        if (st)
            return st;
    }
    return KV_OK;
}

static struct txn_response *run_path(struct state *s, const struct txn_request *t,
                                     const struct path *path, size_t *at, struct arena *a)
{
    struct txn_response *resp = arena_alloc(a, sizeof(*resp));
    resp->succeeded = path->took_success[(*at)++];
    const struct msg_list *ops = branch(t, resp->succeeded);
    for (size_t i = 0; i < ops->n; i++) {
        const struct request_op *op = (const struct request_op *)ops->items + i;
        struct response_op *r = msg_list_add(&resp->responses, sizeof(*r), a);
        if (op->put) {
            r->put = put(s, op->put, a);
        } else if (op->delete_range) {
            r->delete_range = delete_range(s, op->delete_range, a);
        } else if (op->txn) {
            r->txn = run_path(s, op->txn, path, at, a);
        } else if (op->range) {
            r->range = arena_alloc(a, sizeof(*r->range));
            state_range(s, op->range, a, r->range, NULL);
        }
    }
    /* etcd leaves the header of a nested transaction empty. */
    resp->header = arena_alloc(a, sizeof(*resp->header));
    return resp;
}

static enum kv_status txn(struct state *s, const struct txn_request *t, struct arena *a,
                          struct txn_response **out)
{
    struct path path = {0};
    size_t at = 0;
    choose_path(s, t, &path);
    enum kv_status st = check_path(s, t, &path, &at);
    if (!st) {
        at = 0;
        *out = run_path(s, t, &path, &at, a);
        (*out)->header->revision = revision_now(s);
    }
    free(path.took_success);
    return st;
}

/* --- leases --- */
static int by_key(const void *a, const void *b)
{
    return bytes_compare(kv_key_bytes(*(struct kv_key *const *)a),
                         kv_key_bytes(*(struct kv_key *const *)b));
}

static enum kv_status revoke_lease(struct state *s, int64_t id)
{
    struct lease *l = lessor_find(s->leases, id);
    if (!l)
        return KV_LEASE_NOT_FOUND;
    /* Sorted, so that every member deletes in the same order. */
    if (l->n_keys)
        qsort(l->keys, l->n_keys, sizeof(struct kv_key *), by_key);
    for (uint32_t i = 0; i < l->n_keys; i++)
        mvcc_delete(s->kv, l->keys[i]);
    lessor_remove(s->leases, l);
    return KV_OK;
}

/* --- the state --- */
void state_init(struct state *s, int64_t (*now_ms)(void))
{
    *s = (struct state){.kv = mvcc_new(), .leases = lessor_new(), .now_ms = now_ms};
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
}

void state_clear(struct state *s)
{
    lessor_free(s->leases);
    mvcc_free(s->kv);
    state_clear_members(s);
    free(s->alarms);
    pthread_rwlock_destroy(&s->lock);
}

void state_apply(struct state *s, const struct command *c, struct arena *a,
                 struct apply_result *out)
{
    *out = (struct apply_result){0};
    mvcc_begin(s->kv);
    if ((c->put || (c->txn && txn_puts(c->txn)) || c->lease_grant) &&
        state_has_alarm(s, ALARM_NOSPACE)) {
        out->status = KV_NO_SPACE;
    } else if (c->put) {
        struct put_response *r = NULL;
        out->status = may_put(s, c->put);
        if (!out->status) {
            r = put(s, c->put, a);
            *out = (struct apply_result){KV_OK, &put_response_type, r, r->header};
        }
    } else if (c->delete_range) {
        struct delete_range_response *r = delete_range(s, c->delete_range, a);
        *out = (struct apply_result){KV_OK, &delete_range_response_type, r, r->header};
    } else if (c->txn) {
        struct txn_response *r = NULL;
        out->status = txn(s, c->txn, a, &r);
        if (r)
            *out = (struct apply_result){KV_OK, &txn_response_type, r, r->header};
    } else if (c->compaction) {
        int64_t revision = c->compaction->revision;
        if (revision <= mvcc_compact_revision(s->kv)) {
            out->status = KV_COMPACTED;
        } else if (revision > mvcc_revision(s->kv)) {
            out->status = KV_FUTURE_REVISION;
        } else {
            mvcc_compact(s->kv, revision);
            struct header_response *r = arena_alloc(a, sizeof(*r));
            r->header = new_header(a, mvcc_revision(s->kv));
            *out = (struct apply_result){KV_OK, &header_response_type, r, r->header};
        }
    } else if (c->lease_grant) {
        struct lease *l = NULL;
        if (c->lease_grant->ttl > LEASE_MAX_TTL)
            out->status = KV_LEASE_TTL_TOO_LARGE;
        else if (c->lease_grant->id == 0 || !(l = lessor_grant(s->leases, c->lease_grant->id,
                                                               c->lease_grant->ttl, s->now_ms())))
            out->status = KV_LEASE_EXISTS;
        if (l) {
            struct lease_grant_response *r = arena_alloc(a, sizeof(*r));
            *r = (struct lease_grant_response){
                .header = new_header(a, mvcc_revision(s->kv)), .id = l->id, .ttl = l->ttl};
            *out = (struct apply_result){KV_OK, &lease_grant_response_type, r, r->header};
        }
    } else if (c->lease_revoke) {
        out->status = revoke_lease(s, c->lease_revoke->id);
        if (!out->status) {
            struct header_response *r = arena_alloc(a, sizeof(*r));
            r->header = new_header(a, revision_now(s));
            *out = (struct apply_result){KV_OK, &header_response_type, r, r->header};
        }
    } else if (members_is_command(c)) {
        out->status = members_apply(s, c);
    } else if (c->alarm) {
        struct alarm_response *r = arena_alloc(a, sizeof(*r));
        state_apply_alarm(s, c->alarm, a, r);
        r->header = new_header(a, mvcc_revision(s->kv));
        *out = (struct apply_result){KV_OK, &alarm_response_type, r, r->header};
    }
    mvcc_end(s->kv);
}
