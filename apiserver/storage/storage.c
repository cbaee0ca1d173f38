#include "apiserver/storage/storage.h"

#include <inttypes.h>
#include <string.h>

#include "apiserver/server/request.h"
#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define WRITE_TIMEOUT_MS 15000

/* --- start and stop --- */

static void add_caches(struct storage *s)
{
    s->caches = mem_alloc(CACHES_MAX * sizeof *s->caches);
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->builtin; i++) {
        const struct resource *r = all->items[i];
        if (!r->storage_prefix || r->stored_as)
            continue;
        bool known = false;
        for (size_t k = 0; k < s->cache_count; k++)
            known |= !strcmp(s->caches[k]->resource->storage_prefix, r->storage_prefix);
        if (!known)
            s->caches[s->cache_count++] = cache_new(s, r);
    }
}

static void storage_free(struct storage *s)
{
    for (size_t i = 0; i < s->cache_count; i++)
        cache_free(s->caches[i]);
    free(s->caches);
    etcd_watch_free(s->watch);
    etcd_client_free(s->etcd);
    pthread_mutex_destroy(&s->mutex);
    pthread_mutex_destroy(&s->lease_mutex);
    pthread_cond_destroy(&s->changed);
    pthread_cond_destroy(&s->asked);
    free(s);
}

struct storage *storage_start(const struct storage_options *o, struct error **err)
{
    struct etcd_client *etcd = etcd_client_new(
        &(struct etcd_options){o->servers, o->ca_file, o->cert_file, o->key_file}, err);
    if (!etcd)
        return NULL;
    struct storage *s = mem_alloc(sizeof *s);
    s->etcd = etcd;
    s->watch = etcd_watch_new(etcd);
    s->compaction_interval_ms = o->compaction_interval_ms;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_init(&s->lease_mutex, NULL);
    pthread_cond_init(&s->changed, NULL);
    pthread_cond_init(&s->asked, NULL);
    add_caches(s);
    if (!sync_start(s, err) || !upkeep_start(s, err))
        return NULL; /* no threads to be had: the process ends; what was started still uses s */
    return s;
}

void storage_stop(struct storage *s)
{
    if (!s)
        return;
    sync_stop(s);
    upkeep_stop(s);
    storage_free(s);
}

struct cache *storage_cache(struct storage *s, const struct resource *r)
{
    r = resource_stored(r);
    for (size_t i = 0; i < s->cache_count; i++)
        if (s->caches[i]->resource == r)
            return s->caches[i];
    for (size_t i = 0; r->storage_prefix && i < s->cache_count; i++)
        if (!strcmp(s->caches[i]->resource->storage_prefix, r->storage_prefix))
            return s->caches[i];
    return NULL;
}

/* --- blocking reads --- */

struct block {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    bool done;
    struct error *err;
};

static void unblock(void *userdata, const struct error *err)
{
    struct block *b = userdata;
    pthread_mutex_lock(&b->mutex);
    if (err) {
        error_set(&b->err, err->code, err->reason, "%s", err->message);
        b->err->details = mem_strdup(err->details);
    }
    b->done = true;
    pthread_cond_signal(&b->cond);
    pthread_mutex_unlock(&b->mutex);
}

static bool wait_consistent(struct storage *s, struct error **err)
{
    struct block b = {.mutex = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    storage_consistent(s, unblock, &b);
    pthread_mutex_lock(&b.mutex);
    while (!b.done)
        pthread_cond_wait(&b.cond, &b.mutex);
    pthread_mutex_unlock(&b.mutex);
    if (!b.err)
        return true;
    error_move(err, b.err);
    return false;
}

static struct cache *need_cache(struct storage *s, const struct resource *r, struct error **err)
{
    struct cache *c = storage_cache(s, r);
    if (!c)
        error_set(err, 500, "InternalError", "%s are not stored", r->plural);
    return c;
}

struct stored *storage_get(struct storage *s, const struct resource *r, const char *ns,
                           const char *name, struct error **err)
{
    struct cache *c = need_cache(s, r, err);
    if (!c || !wait_consistent(s, err))
        return NULL;
    struct stored *o = cache_get(c, ns, name);
    if (!o)
        api_error_not_found(err, r, name);
    return o;
}

bool storage_list(struct storage *s, const struct resource *r, const char *ns,
                  struct stored ***items, size_t *count, uint64_t *revision, struct error **err)
{
    struct cache *c = need_cache(s, r, err);
    if (!c || !wait_consistent(s, err))
        return false;
    uint64_t at;
    struct tree_root *root = cache_snapshot(c, &at);
    cleanup_buf struct buf prefix = {0};
    cache_prefix(c, ns, &prefix);
    struct tree_cursor cursor;
    tree_seek(&cursor, root, prefix.data, false);
    size_t cap = 0;
    *items = NULL;
    *count = 0;
    struct stored *o;
    while ((o = tree_next(&cursor)) && !strncmp(o->key, prefix.data, prefix.len)) {
        if (*count == cap) {
            cap = cap ? cap * 2 : 16;
            *items = mem_realloc(*items, cap * sizeof **items);
        }
        (*items)[(*count)++] = stored_ref(o);
    }
    tree_root_unref(root);
    if (revision)
        *revision = at;
    return true;
}

/* --- writes --- */

/* The state of one key as the store told it. */
struct current {
    bool exists;
    uint64_t revision;
    struct buf value;
};

static void current_clear(struct current *c)
{
    buf_free(&c->value);
    *c = (struct current){0};
}

static void read_current(struct current *c, const cJSON *range)
{
    current_clear(c);
    const cJSON *kv = cJSON_GetArrayItem(json_get(range, "kvs"), 0);
    if (!kv)
        return;
    c->exists = true;
    c->revision = etcd_uint(kv, "mod_revision");
    etcd_bytes(kv, "value", &c->value);
}

static bool store_error(struct error **err, enum etcd_outcome outcome, struct error *why)
{
    if (outcome == ETCD_UNKNOWN)
        error_set(err, 500, "InternalError", "the store did not answer in time: %s",
                  error_message(why));
    else
        error_set(err, 503, "ServiceUnavailable", "the store does not answer: %s",
                  error_message(why));
    return false;
}

static bool fetch(struct storage *s, const char *key, struct current *out, struct error **err)
{
    cleanup_buf struct buf body = {0};
    buf_addc(&body, '{');
    etcd_add_bytes(&body, "key", key, strlen(key));
    buf_addc(&body, '}');
    cleanup_json cJSON *answer = NULL;
    cleanup_error struct error *why = NULL;
    enum etcd_outcome outcome =
        etcd_call(s->etcd, "/v3/kv/range", body.data, true, WRITE_TIMEOUT_MS, &answer, NULL, &why);
    if (outcome != ETCD_DONE)
        return store_error(err, ETCD_FAILED, why);
    read_current(out, answer);
    return true;
}

/* One transaction on one object and its claims. */
struct change {
    const char *key;
    uint64_t expect;         /* mod revision that it must have; 0: it must not exist */
    const struct buf *value; /* NULL: delete */
    int64_t ttl;
    const struct storage_claim *claims;
    int claim_count;
};

static void add_key(struct buf *b, const char *key, bool claim)
{
    cleanup_free char *full = claim ? mem_printf(REGISTRY "ranges/%s", key) : NULL;
    key = claim ? full : key;
    etcd_add_bytes(b, "key", key, strlen(key));
}

static void print_txn(const struct change *c, uint64_t lease, struct buf *b)
{
    buf_adds(b, "{\"compare\":[{\"target\":\"MOD\",\"result\":\"EQUAL\",");
    add_key(b, c->key, false);
    buf_printf(b, ",\"mod_revision\":\"%" PRIu64 "\"}", c->expect);
    for (int i = 0; i < c->claim_count; i++) {
        if (c->claims[i].release)
            continue;
        buf_adds(b, ",{\"target\":\"MOD\",\"result\":\"EQUAL\",");
        add_key(b, c->claims[i].key, true);
        buf_adds(b, ",\"mod_revision\":\"0\"}");
    }
    buf_adds(b, "],\"success\":[{");
    if (c->value) {
        buf_adds(b, "\"request_put\":{");
        add_key(b, c->key, false);
        buf_addc(b, ',');
        etcd_add_bytes(b, "value", c->value->data, c->value->len);
        if (lease)
            buf_printf(b, ",\"lease\":\"%" PRIu64 "\"", lease);
    } else {
        buf_adds(b, "\"request_delete_range\":{");
        add_key(b, c->key, false);
    }
    buf_adds(b, "}}");
    for (int i = 0; i < c->claim_count; i++) {
        buf_adds(b, c->claims[i].release ? ",{\"request_delete_range\":{" : ",{\"request_put\":{");
        add_key(b, c->claims[i].key, true);
        if (!c->claims[i].release) {
            buf_addc(b, ',');
            etcd_add_bytes(b, "value", c->key, strlen(c->key));
        }
        buf_adds(b, "}}");
    }
    buf_adds(b, "],\"failure\":[{\"request_range\":{");
    add_key(b, c->key, false);
    buf_adds(b, "}}]}");
}

enum commit { COMMIT_DONE, COMMIT_MISMATCH, COMMIT_ERROR };

/* A lost answer leaves it open whether the change was made. As the transaction holds only if the
 * key is as expected, it can be sent again: if the first one was made after all, the second one
 * fails and shows our own value. */
static enum commit commit(struct storage *s, const struct change *c, uint64_t *revision,
                          struct current *now, struct error **err)
{
    int64_t deadline = time_monotonic_ms() + WRITE_TIMEOUT_MS;
    bool resent = false;
    for (;;) {
        uint64_t lease = c->value && c->ttl ? upkeep_lease(s, c->ttl, err) : 0;
        if (c->value && c->ttl && !lease)
            return COMMIT_ERROR;
        cleanup_buf struct buf body = {0};
        print_txn(c, lease, &body);
        cleanup_json cJSON *answer = NULL;
        cleanup_error struct error *why = NULL;
        int64_t left = deadline - time_monotonic_ms();
        enum etcd_outcome outcome =
            etcd_call(s->etcd, "/v3/kv/txn", body.data, false, left > 1000 ? (int)left : 1000,
                      &answer, &resent, &why);
        if (outcome == ETCD_DONE) {
            *revision = etcd_header_revision(answer);
            if (json_bool(answer, "succeeded", false))
                return COMMIT_DONE;
            read_current(now, json_get(cJSON_GetArrayItem(json_get(answer, "responses"), 0),
                                       "response_range"));
            /* Only then: without a resent copy, an equal value is somebody else's change to the
             * same state. */
            if (resent && c->value && now->exists && now->revision > c->expect &&
                now->value.len == c->value->len &&
                !memcmp(now->value.data, c->value->data, c->value->len)) {
                *revision = now->revision;
                return COMMIT_DONE;
            }
            return !c->value && !now->exists && resent ? COMMIT_DONE : COMMIT_MISMATCH;
        }
        if (lease && etcd_error_no_lease(why) && left > 0) {
            upkeep_forget_lease(s, lease);
            continue;
        }
        if (outcome == ETCD_UNKNOWN && left > 0) {
            resent = true;
            continue;
        }
        store_error(err, resent ? ETCD_UNKNOWN : outcome, why);
        return COMMIT_ERROR;
    }
}

static char *object_key(const struct cache *c, const char *ns, const char *name)
{
    struct buf b = {0};
    cache_prefix(c, ns, &b);
    buf_adds(&b, name);
    return buf_take(&b);
}

static const char *name_of(const cJSON *object)
{
    return json_str_or(object, "metadata.name", "");
}

static struct stored *as_stored(const struct resource *r, const char *key, uint64_t revision,
                                const struct buf *value, const cJSON *dom, struct error **err)
{
    struct stored *s = stored_new(resource_stored(r), key, revision, value->data, value->len, dom);
    if (!s)
        error_set(err, 500, "InternalError", "the stored value of %s is no object", key);
    return s;
}

struct stored *storage_create(struct storage *s, const struct resource *r, const cJSON *object,
                              const struct storage_claim *claims, int claim_count,
                              struct error **err)
{
    struct cache *c = need_cache(s, r, err);
    if (!c)
        return NULL;
    cleanup_free char *key = object_key(
        c, r->namespaced ? json_str(object, "metadata.namespace") : NULL, name_of(object));
    cleanup_buf struct buf value = {0};
    stored_print(object, &value);
    struct change change = {.key = key,
                            .value = &value,
                            .ttl = c->resource->ttl_seconds,
                            .claims = claims,
                            .claim_count = claim_count};
    struct current now = {0};
    uint64_t revision;
    struct stored *made = NULL;
    switch (commit(s, &change, &revision, &now, err)) {
    case COMMIT_DONE:
        made = as_stored(r, key, revision, &value, NULL, err);
        break;
    case COMMIT_MISMATCH:
        if (now.exists)
            api_error_already_exists(err, r, name_of(object));
        else
            error_set(err, 409, "ClaimTaken", "an address or port of %s was taken meanwhile",
                      name_of(object));
        break;
    case COMMIT_ERROR:
        break;
    }
    current_clear(&now);
    return made;
}

/* Where an update starts: the cache's state, which is nearly always the newest; the transaction
 * finds out. */
static struct stored *newest(struct storage *s, struct cache *c, const struct resource *r,
                             const char *key, const char *ns, const char *name, bool *fresh,
                             struct error **err)
{
    struct stored *o = *fresh ? NULL : cache_get(c, ns, name);
    if (o)
        return o;
    *fresh = true;
    struct current now = {0};
    if (fetch(s, key, &now, err)) {
        if (now.exists)
            o = as_stored(r, key, now.revision, &now.value, NULL, err);
        else
            api_error_not_found(err, r, name);
    }
    current_clear(&now);
    return o;
}

/* After COMMIT_MISMATCH: what is there now, or NULL with the error. */
static struct stored *after_mismatch(const struct resource *r, const char *key, const char *name,
                                     uint64_t expected, const struct current *now,
                                     struct error **err)
{
    if (!now->exists) {
        api_error_not_found(err, r, name);
        return NULL;
    }
    if (now->revision == expected) {
        error_set(err, 409, "ClaimTaken", "an address or port of %s was taken meanwhile", name);
        return NULL;
    }
    return as_stored(r, key, now->revision, &now->value, NULL, err);
}

struct stored *storage_update(struct storage *s, const struct resource *r, const char *ns,
                              const char *name, struct storage_update *u, struct error **err)
{
    struct cache *c = need_cache(s, r, err);
    if (!c)
        return NULL;
    cleanup_free char *key = object_key(c, ns, name);
    bool fresh = false;
    cleanup_stored struct stored *old = newest(s, c, r, key, ns, name, &fresh, err);
    while (old) {
        cleanup_json cJSON *current = json_parse(old->json, old->len, err);
        if (!current)
            return NULL;
        struct error *why = NULL;
        u->delete_instead = false;
        cleanup_json cJSON *object = u->change(u->userdata, current, old, &why);
        if (!object && !fresh &&
            !(u->delete_instead &&
              !why)) { /* it may have judged an old state: once more with the newest */
            uint64_t seen = old->revision;
            struct error *gone = NULL;
            fresh = true;
            struct stored *now = newest(s, c, r, key, ns, name, &fresh, &gone);
            bool changed = !now || now->revision != seen;
            stored_unref(old);
            old = now;
            if (changed) {
                error_free(why);
                if (!now)
                    error_move(err, gone);
                continue;
            }
        }
        if (why) {
            error_move(err, why);
            return NULL;
        }
        if (!object && !u->delete_instead)
            return stored_ref(old); /* nothing changes */
        cleanup_buf struct buf value = {0};
        if (!u->delete_instead)
            stored_print(object, &value);
        struct change change = {.key = key,
                                .expect = old->revision,
                                .value = u->delete_instead ? NULL : &value,
                                .ttl = c->resource->ttl_seconds,
                                .claims = u->claims,
                                .claim_count = u->claim_count};
        struct current now = {0};
        uint64_t revision = 0;
        enum commit result = commit(s, &change, &revision, &now, err);
        if (result == COMMIT_DONE) {
            current_clear(&now);
            return u->delete_instead ? stored_at_revision(old, revision)
                                     : as_stored(r, key, revision, &value, NULL, err);
        }
        struct stored *next = NULL;
        if (result == COMMIT_MISMATCH)
            next = after_mismatch(r, key, name, old->revision, &now, err);
        fresh = true;
        current_clear(&now);
        stored_unref(old);
        old = next;
    }
    return NULL;
}

static bool preconditions_hold(const struct stored *o, const struct resource *r, const char *uid,
                               uint64_t revision, struct error **err)
{
    cleanup_free char *why = NULL;
    if (uid && strcmp(uid, o->uid) != 0)
        why = mem_printf("Precondition failed: UID in precondition: %s, UID in object meta: %s",
                         uid, o->uid);
    else if (revision && revision != o->revision)
        why = mem_printf("Precondition failed: ResourceVersion in precondition: %" PRIu64
                         ", ResourceVersion in object meta: %" PRIu64,
                         revision, o->revision);
    if (!why)
        return true;
    api_error_conflict(err, r, o->name, why);
    return false;
}

struct stored *storage_delete(struct storage *s, const struct resource *r, const char *ns,
                              const char *name, const char *uid, uint64_t revision,
                              const struct storage_claim *claims, int claim_count,
                              struct error **err)
{
    struct cache *c = need_cache(s, r, err);
    if (!c)
        return NULL;
    cleanup_free char *key = object_key(c, ns, name);
    bool fresh = false;
    cleanup_stored struct stored *old = newest(s, c, r, key, ns, name, &fresh, err);
    while (old) {
        struct error *why = NULL;
        if (!preconditions_hold(old, r, uid, revision, &why)) {
            if (fresh) {
                error_move(err, why);
                return NULL;
            }
            error_free(why);
            fresh = true;
            stored_unref(old);
            old = newest(s, c, r, key, ns, name, &fresh, err);
            continue;
        }
        struct change change = {
            .key = key, .expect = old->revision, .claims = claims, .claim_count = claim_count};
        struct current now = {0};
        uint64_t at = 0;
        enum commit result = commit(s, &change, &at, &now, err);
        struct stored *next = NULL;
        if (result == COMMIT_DONE) {
            current_clear(&now);
            return stored_at_revision(old, at);
        }
        if (result == COMMIT_MISMATCH)
            next = after_mismatch(r, key, name, old->revision, &now, err);
        fresh = true;
        current_clear(&now);
        stored_unref(old);
        old = next;
    }
    return NULL;
}

/* --- the past --- */

bool storage_range_at(struct storage *s, const struct resource *r, const char *ns,
                      const char *after, uint64_t revision, size_t limit, struct stored ***items,
                      size_t *count, int64_t *remaining, struct error **err)
{
    struct cache *c = need_cache(s, r, err);
    if (!c)
        return false;
    cleanup_buf struct buf from = {0}, end = {0}, body = {0};
    cache_prefix(c, ns, &end);
    end.data[end.len - 1]++;
    if (after)
        buf_add(&from, after, strlen(after) + 1); /* with its NUL: the next possible key */
    else
        cache_prefix(c, ns, &from);
    buf_addc(&body, '{');
    etcd_add_bytes(&body, "key", from.data, from.len);
    buf_addc(&body, ',');
    etcd_add_bytes(&body, "range_end", end.data, end.len);
    buf_printf(&body, ",\"limit\":\"%zu\",\"revision\":\"%" PRIu64 "\"}", limit, revision);
    cleanup_json cJSON *answer = NULL;
    cleanup_error struct error *why = NULL;
    enum etcd_outcome outcome =
        etcd_call(s->etcd, "/v3/kv/range", body.data, true, WRITE_TIMEOUT_MS, &answer, NULL, &why);
    if (outcome != ETCD_DONE) {
        if (!etcd_error_compacted(why))
            return store_error(err, ETCD_FAILED, why);
        error_set(err, 410, "Expired", "The resourceVersion for the provided list is too old.");
        return false;
    }
    const cJSON *kvs = json_get(answer, "kvs"), *kv;
    *items = mem_alloc(((size_t)cJSON_GetArraySize(kvs) + 1) * sizeof **items);
    *count = 0;
    int64_t got = 0;
    cJSON_ArrayForEach(kv, kvs)
    {
        cleanup_buf struct buf key = {0}, value = {0};
        got++;
        if (!etcd_bytes(kv, "key", &key) || !etcd_bytes(kv, "value", &value))
            continue;
        struct stored *o = stored_new(c->resource, key.data, etcd_uint(kv, "mod_revision"),
                                      buf_str(&value), value.len, NULL);
        if (o)
            (*items)[(*count)++] = o;
    }
    *remaining = (int64_t)etcd_uint(answer, "count") - got;
    return true;
}
