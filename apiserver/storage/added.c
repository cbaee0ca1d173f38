/* Resources that are added while the storage runs. The thread that follows the store loads their objects as of the
 * revision that it has reached, so no other resource notices. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define PAGE            500
#define LOAD_TIMEOUT_MS 10000

bool storage_add_resource(struct storage *s, const struct resource *r, struct error **err)
{
    if (storage_cache(s, r))
        return true;
    struct cache *c = cache_new(s, r);
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec += LOAD_TIMEOUT_MS / 1000;
    pthread_mutex_lock(&s->mutex);
    bool room = s->cache_count < CACHES_MAX && !s->added;
    if (room)
        s->added = c;
    pthread_mutex_unlock(&s->mutex);
    if (!room) {
        cache_free(c);
        error_setf(err, "there is no room for another resource");
        return false;
    }
    etcd_watch_break(s->watch);
    pthread_mutex_lock(&s->mutex);
    int late = 0;
    while (s->added == c && !late && !atomic_load(&s->stopping))
        late = pthread_cond_timedwait(&s->changed, &s->mutex, &at) == ETIMEDOUT;
    bool loaded = s->added != c;
    if (!loaded)
        s->added = NULL; /* given up; whoever loads it just now throws it away */
    pthread_mutex_unlock(&s->mutex);
    if (!loaded)
        error_setf(err, "the objects of %s were not loaded in time", r->plural);
    return loaded;
}

static bool load_page(struct storage *s, struct cache *c, uint64_t revision, struct buf *from, struct tree *tree,
                      bool *more, struct error **err)
{
    cleanup_buf struct buf body = {0}, key = {0}, value = {0};
    cleanup_free char *end = mem_strdup(c->prefix);
    end[c->prefix_len - 1]++; /* behind '/' */
    buf_addc(&body, '{');
    etcd_add_bytes(&body, "key", from->data, from->len);
    buf_addc(&body, ',');
    etcd_add_bytes(&body, "range_end", end, c->prefix_len);
    buf_printf(&body, ",\"limit\":\"%d\",\"revision\":\"%" PRIu64 "\"}", PAGE, revision);
    cleanup_json cJSON *answer = NULL;
    if (etcd_call(s->etcd, "/v3/kv/range", body.data, true, LOAD_TIMEOUT_MS, &answer, NULL, err) != ETCD_DONE)
        return false;
    const cJSON *kvs = json_get(answer, "kvs"), *kv;
    cJSON_ArrayForEach(kv, kvs)
    {
        buf_clear(&key);
        buf_clear(&value);
        if (!etcd_bytes(kv, "key", &key) || !etcd_bytes(kv, "value", &value))
            continue;
        struct stored *o = stored_new(c->resource, key.data, etcd_uint(kv, "mod_revision"), buf_str(&value),
                                      value.len, NULL);
        if (o)
            stored_unref(tree_put(tree, o));
    }
    *more = json_bool(answer, "more", false) && cJSON_GetArraySize(kvs) > 0;
    if (*more) {
        buf_clear(from);
        buf_add(from, key.data, key.len + 1); /* with its NUL: the next possible key */
    }
    return true;
}

void storage_load_added(struct storage *s)
{
    pthread_mutex_lock(&s->mutex);
    struct cache *c = s->added;
    pthread_mutex_unlock(&s->mutex);
    if (!c)
        return;
    uint64_t revision = storage_revision(s);
    struct tree tree;
    tree_init(&tree);
    cleanup_buf struct buf from = {0};
    buf_add(&from, c->prefix, c->prefix_len);
    cleanup_error struct error *err = NULL;
    for (bool more = true; more;) {
        if (!load_page(s, c, revision, &from, &tree, &more, &err)) {
            tree_clear(&tree);
            return; /* tried again with the next round */
        }
    }
    cache_load(c, &tree, revision);
    pthread_mutex_lock(&s->mutex);
    bool wanted = s->added == c;
    if (wanted) {
        s->caches[s->cache_count] = c;
        s->cache_count++;
        s->added = NULL;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->mutex);
    if (!wanted)
        cache_free(c);
}
