/* WATCH: a stream of events to one client.
 *
 * The cache's thread hands each event to each watcher (watch_deliver), which filters it and queues
 * the shared bytes on the client's stream; nobody waits for a slow client, its stream is cut off. A
 * watch that begins with the present state takes a snapshot and is registered in the same moment;
 * events that come while the snapshot is written wait in `pending`. One thread, the keeper, sends
 * bookmarks, ends what has lasted long enough, and buries what is gone. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "apiserver/registry/table.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define QUEUE_BYTES      ((size_t)8 * 1024 * 1024) /* what a client may lag behind */
#define PENDING_MAX      100000
#define BOOKMARK_MS      60000
#define BOOKMARK_LAST_MS 2000 /* one more so long before the end */
#define MEMORY_CHECK_MS  5000
#define MIN_TIMEOUT_S                                                                              \
    1800 /* Kubernetes' --min-request-timeout: a random time from this to its double */

struct watch {
    struct cache_watcher base;
    struct watch *next, **link; /* in watches->list */
    struct watches *watches;
    struct cache *cache;
    const struct resource *resource;
    struct httpd_stream *stream;
    char *ns;
    struct object_filter filter;
    struct api_accept accept;
    enum table_include include;
    bool table_started; /* the first Table of a watch has the columns */
    bool bookmarks, starting;
    bool over; /* nothing more is to be sent; under the watchers' lock */
    struct cache_event **pending;
    size_t pending_count, pending_cap;
    int64_t deadline_ms, bookmark_ms;
    bool last_bookmark_sent;
    atomic_bool gone;  /* the client left, or the watch must end */
    atomic_bool ready; /* set up; the keeper may touch it */
};

struct watches {
    struct storage *storage;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct watch *list;
    bool stopping;
    pthread_t keeper;
};

/* --- writing events --- */

static void write_text(struct watch *w, struct buf *b)
{
    if (!httpd_stream_write(w->stream, b->data, b->len))
        w->over = true;
}

static cJSON *parse_line(const struct encoded *line)
{
    cleanup_json cJSON *event = json_parse(line->bytes, line->len, NULL);
    return event ? cJSON_DetachItemFromObjectCaseSensitive(event, "object") : NULL;
}

/* An event written as JSON, in the media type of this watch. */
static void write_line(struct watch *w, const char *type, const struct buf *object)
{
    cleanup_buf struct buf b = {0};
    if (w->accept.protobuf) {
        cleanup_json cJSON *parsed = json_parse(object->data, object->len, NULL);
        protobuf_encode_watch_event(type, parsed, &b);
    } else {
        buf_printf(&b, "{\"type\":\"%s\",\"object\":", type);
        size_t len = object->len; /* one line an event */
        buf_add(&b, object->data, len && object->data[len - 1] == '\n' ? len - 1 : len);
        buf_adds(&b, "}\n");
    }
    write_text(w, &b);
}

/* An event in any form but the stored one. object: the stored form, parsed; taken. */
static void write_converted(struct watch *w, const char *type, cJSON *object)
{
    if (w->resource->from_stored && object) {
        cJSON *converted = w->resource->from_stored(w->resource, object);
        cJSON_Delete(object);
        object = converted;
    }
    cleanup_buf struct buf b = {0};
    switch (w->accept.form) {
    case FORM_OBJECT:
        json_print(object, &b);
        break;
    case FORM_PARTIAL_METADATA:
        table_partial_metadata(&b, w->accept.meta_version, object);
        break;
    case FORM_TABLE:
        table_open(&b, w->resource, w->accept.meta_version,
                   json_str_or(object, "metadata.resourceVersion", ""), NULL, -1,
                   !w->table_started);
        w->table_started = true;
        table_row(&b, w->resource, w->accept.meta_version, object, NULL, 0, w->include, true);
        table_close(&b);
        break;
    }
    cJSON_Delete(object);
    write_line(w, type, &b);
}

static bool shares_bytes(const struct watch *w)
{
    return w->accept.form == FORM_OBJECT && !w->resource->from_stored;
}

/* Under the watchers' lock. */
static void send_event(struct watch *w, struct cache_event *e)
{
    bool was = e->old && filter_matches(&w->filter, e->old);
    bool is = e->type != EVENT_DELETED && filter_matches(&w->filter, e->object);
    if (!was && !is)
        return;
    enum event_type as = is ? (was ? EVENT_MODIFIED : EVENT_ADDED) : EVENT_DELETED;
    if (!shares_bytes(w)) {
        write_converted(w, event_type_text[as], parse_line(cache_event_line(e, as)));
        return;
    }
    struct encoded *line = w->accept.protobuf ? cache_event_frame(e, as) : cache_event_line(e, as);
    if (!httpd_stream_write_shared(w->stream, line->bytes, line->len, encoded_unref,
                                   encoded_ref(line)))
        w->over = true;
}

static void watch_deliver(struct cache_watcher *base, struct cache_event *e)
{
    struct watch *w = (struct watch *)base;
    if (w->over)
        return;
    if (!w->starting) {
        send_event(w, e);
        return;
    }
    if (w->pending_count == PENDING_MAX) {
        w->over = true;
        atomic_store(&w->gone, true);
        return;
    }
    if (w->pending_count == w->pending_cap) {
        w->pending_cap = w->pending_cap ? w->pending_cap * 2 : 16;
        w->pending = mem_realloc(w->pending, w->pending_cap * sizeof *w->pending);
    }
    w->pending[w->pending_count++] = cache_event_ref(e);
}

static void watch_reset(struct cache_watcher *base)
{
    struct watch *w = (struct watch *)base;
    w->over = true;
    atomic_store(&w->gone, true); /* the client lists again */
}

static void write_error(struct watch *w, const struct error *err)
{
    cleanup_buf struct buf b = {0};
    status_print(err, &b);
    write_line(w, "ERROR", &b);
}

static void write_bookmark(struct watch *w, uint64_t revision, bool initial_end)
{
    const struct resource *r = w->resource;
    cleanup_buf struct buf b = {0};
    const char *annotation =
        initial_end ? ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}" : "";
    if (w->accept.form == FORM_TABLE) {
        char text[24];
        snprintf(text, sizeof text, "%" PRIu64, revision);
        table_open(&b, r, w->accept.meta_version, text, NULL, -1, !w->table_started);
        w->table_started = true;
        table_close(&b);
    } else {
        bool partial = w->accept.form == FORM_PARTIAL_METADATA;
        buf_printf(&b,
                   "{\"kind\":\"%s\",\"apiVersion\":\"%s%s%s\","
                   "\"metadata\":{"
                   "\"resourceVersion\":\"%" PRIu64 "\",\"creationTimestamp\":null%s}}",
                   partial ? "PartialObjectMetadata" : r->kind, partial ? "meta.k8s.io" : r->group,
                   partial || *r->group ? "/" : "", partial ? w->accept.meta_version : r->version,
                   revision, annotation);
    }
    write_line(w, "BOOKMARK", &b);
}

static void release_stored(void *s)
{
    stored_unref(s);
}

static void write_initial(struct watch *w, struct stored *s)
{
    if (!shares_bytes(w) || w->accept.protobuf) {
        write_converted(w, "ADDED", json_parse(s->json, s->len, NULL));
        return;
    }
    static const char head[] = "{\"type\":\"ADDED\",\"object\":", tail[] = "}\n";
    if (!httpd_stream_write(w->stream, head, sizeof head - 1) ||
        !httpd_stream_write_shared(w->stream, s->json, s->len, release_stored, stored_ref(s)) ||
        !httpd_stream_write(w->stream, tail, sizeof tail - 1))
        w->over = true;
}

/* --- life and death --- */

static void wake_keeper(struct watches *all)
{
    pthread_mutex_lock(&all->mutex);
    pthread_cond_signal(&all->wake);
    pthread_mutex_unlock(&all->mutex);
}

static void on_gone(void *userdata)
{
    struct watch *w = userdata;
    atomic_store(&w->gone, true);
    wake_keeper(w->watches);
}

static void watch_free(struct watch *w)
{
    for (size_t i = 0; i < w->pending_count; i++)
        cache_event_unref(w->pending[i]);
    free(w->pending);
    filter_clear(&w->filter);
    free(w->ns);
    free(w);
}

/* The keeper only; w is out of the list. */
static void bury(struct watch *w)
{
    cache_unwatch(w->cache, &w->base);
    httpd_stream_end(w->stream);
    watch_free(w);
}

static void keep(struct watch *w, int64_t now)
{
    int64_t left = w->deadline_ms - now;
    bool last = !w->last_bookmark_sent && left <= BOOKMARK_LAST_MS;
    if (!w->bookmarks || (now < w->bookmark_ms && !last))
        return;
    w->bookmark_ms = now + BOOKMARK_MS;
    w->last_bookmark_sent |= last;
    uint64_t revision = cache_lock_watchers(w->cache);
    if (!w->over && !w->starting)
        write_bookmark(w, revision > w->base.since ? revision : w->base.since, false);
    cache_unlock_watchers(w->cache);
}

static void *run_keeper(void *arg)
{
    struct watches *all = arg;
    struct memory_watch memory = {0};
    int64_t checked = time_monotonic_ms();
    pthread_mutex_lock(&all->mutex);
    for (;;) {
        int64_t now = time_monotonic_ms();
        if (now - checked > MEMORY_CHECK_MS) {
            checked = now;
            pthread_mutex_unlock(&all->mutex);
            memory_check(&memory);
            pthread_mutex_lock(&all->mutex);
        }
        struct watch *dead = NULL;
        for (struct watch *w = all->list, *next; w; w = next) {
            next = w->next;
            if (!atomic_load(&w->ready))
                continue;
            if (atomic_load(&w->gone) || now >= w->deadline_ms || all->stopping) {
                *w->link = w->next;
                if (w->next)
                    w->next->link = w->link;
                w->next = dead;
                dead = w;
                continue;
            }
            keep(w, now);
        }
        pthread_mutex_unlock(&all->mutex);
        bool buried = dead != NULL;
        while (dead) {
            struct watch *next = dead->next;
            bury(dead);
            dead = next;
        }
        pthread_mutex_lock(&all->mutex);
        if (all->stopping && !all->list)
            break;
        if (buried)
            continue;
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_sec += 1;
        if (all->stopping) { /* some are still being set up */
            at.tv_sec -= 1;
            at.tv_nsec += 10000000;
            if (at.tv_nsec >= 1000000000) {
                at.tv_nsec -= 1000000000;
                at.tv_sec++;
            }
        }
        pthread_cond_timedwait(&all->wake, &all->mutex, &at);
    }
    pthread_mutex_unlock(&all->mutex);
    return NULL;
}

struct watches *watches_start(struct storage *storage)
{
    struct watches *all = mem_alloc(sizeof *all);
    all->storage = storage;
    pthread_mutex_init(&all->mutex, NULL);
    pthread_cond_init(&all->wake, NULL);
    if (pthread_create(&all->keeper, NULL, run_keeper, all))
        abort();
    return all;
}

void watches_stop(struct watches *all)
{
    if (!all)
        return;
    pthread_mutex_lock(&all->mutex);
    all->stopping = true;
    pthread_cond_signal(&all->wake);
    pthread_mutex_unlock(&all->mutex);
    pthread_join(all->keeper, NULL);
    pthread_cond_destroy(&all->wake);
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

/* --- starting --- */

/* What is known until the stream starts. */
struct watch_request {
    struct watch *w; /* not registered anywhere yet */
    struct list_options options;
};

static void watch_request_free(void *p)
{
    struct watch_request *r = p;
    if (r->w)
        watch_free(r->w);
    list_options_clear(&r->options);
    free(r);
}

static int64_t random_timeout(void)
{
    uint32_t bits = 0;
    if (getrandom(&bits, sizeof bits, 0) != sizeof bits)
        bits = (uint32_t)time_monotonic_ms();
    return MIN_TIMEOUT_S + bits % MIN_TIMEOUT_S;
}

/* From here on the keeper owns the watch (once it is ready) and no longer the request. False, with
 * the answer given and q consumed, when the server stops. */
static bool enlist(struct server_request *q)
{
    struct watch_request *r = q->state;
    struct watch *w = r->w;
    struct watches *all = w->watches;
    int64_t now = time_monotonic_ms();
    w->deadline_ms = now + 1000 * (r->options.timeout_seconds > 0 ? r->options.timeout_seconds
                                                                  : random_timeout());
    w->bookmark_ms = now + BOOKMARK_MS;
    pthread_mutex_lock(&all->mutex);
    bool ok = !all->stopping;
    if (ok) {
        w->next = all->list;
        w->link = &all->list;
        if (w->next)
            w->next->link = &w->next;
        all->list = w;
        r->w = NULL;
    }
    pthread_mutex_unlock(&all->mutex);
    if (!ok) {
        cleanup_error struct error *err = NULL;
        error_set(&err, 503, "ServiceUnavailable", "the server is shutting down");
        reply_error_done(q, err);
    }
    return ok;
}

/* Answers with the stream; consumes q. queue: what it may hold at once. */
static void start_stream(struct server_request *q, struct watch *w, size_t queue)
{
    const char *type =
        w->accept.protobuf ? PROTOBUF_MEDIA_TYPE ";stream=watch" : "application/json";
    w->stream = httpd_stream_start(api_answered(&q->pub, 200), 200, type, queue, on_gone, w);
    request_done(q);
}

/* The watch begins behind a revision that the client knows. */
static void watch_since(struct server_request *q, uint64_t since)
{
    struct watch *w = ((struct watch_request *)q->state)->w;
    w->base.since = since;
    if (!enlist(q))
        return;
    start_stream(q, w, QUEUE_BYTES);
    cleanup_error struct error *err = NULL;
    bool ok = cache_watch(w->cache, &w->base, &err);
    struct watches *all = w->watches;
    if (!ok) {
        write_error(w, err);
        atomic_store(&w->gone, true);
    }
    atomic_store(&w->ready, true);
    if (!ok)
        wake_keeper(all);
}

static size_t initial_bytes(const struct watch *w, const struct tree_root *root, const char *prefix)
{
    struct tree_cursor cursor;
    tree_seek(&cursor, root, prefix, false);
    size_t n = 0, prefix_len = strlen(prefix);
    struct stored *s;
    while ((s = tree_next(&cursor)) && !strncmp(s->key, prefix, prefix_len))
        n += s->len * (shares_bytes(w) ? 1 : 3) + 4096;
    return n;
}

/* The watch begins with what there is. On a worker. */
static void watch_from_now(struct server_request *q)
{
    struct watch_request *r = q->state;
    struct watch *w = r->w;
    bool initial = !r->options.has_initial_events || r->options.initial_events;
    bool initial_end =
        r->options.has_initial_events && r->options.initial_events && r->options.bookmarks;
    if (!enlist(q))
        return;
    w->starting = true;
    uint64_t revision;
    struct tree_root *root = cache_watch_list(w->cache, &w->base, &revision);
    cleanup_buf struct buf prefix = {0};
    cache_prefix(w->cache, w->filter.ns, &prefix);
    start_stream(q, w, QUEUE_BYTES + (initial ? initial_bytes(w, root, prefix.data) : 0));
    struct tree_cursor cursor;
    tree_seek(&cursor, root, prefix.data, false);
    struct stored *s;
    while (initial && !w->over && (s = tree_next(&cursor)) &&
           !strncmp(s->key, prefix.data, prefix.len))
        if (filter_matches(&w->filter, s))
            write_initial(w, s);
    tree_root_unref(root);
    struct cache *cache = w->cache;
    cache_lock_watchers(cache);
    if (initial_end && !w->over)
        write_bookmark(w, revision, true);
    for (size_t i = 0; i < w->pending_count && !w->over; i++)
        send_event(w, w->pending[i]);
    w->starting = false;
    atomic_store(&w->ready, true);
    cache_unlock_watchers(cache);
}

static void from_now_ready(void *userdata, const struct error *failed)
{
    struct server_request *q = userdata;
    if (failed)
        reply_error_done(q, failed);
    else
        request_to_worker(q, watch_from_now);
}

static bool prepare(struct server_request *q, struct watch_request *r, struct error **err)
{
    struct api_request *req = &q->pub;
    struct watch *w = r->w;
    w->base.deliver = watch_deliver;
    w->base.reset = watch_reset;
    w->watches = q->server->watches;
    w->resource = req->resource;
    w->accept = req->accept;
    w->ns = mem_strdup(req->resource->namespaced ? req->info.ns : "");
    w->filter.ns = w->ns;
    w->cache = storage_cache(req->storage, req->resource);
    if (!w->cache) {
        api_error_method_not_allowed(err);
        return false;
    }
    if (!table_parse_include(httpd_query(req->http, "includeObject"), &w->include)) {
        api_error_bad_request(err, "includeObject: Unsupported value: supported values: "
                                   "\"Metadata\", \"None\", \"Object\"");
        return false;
    }
    if (!list_options_parse(req->http, true, &r->options, err))
        return false;
    w->bookmarks = r->options.bookmarks;
    const char *fields = httpd_query(req->http, "fieldSelector");
    cleanup_free char *named = NULL;
    if (*req->info.name && (!fields || !*fields)) /* the old path /watch/.../<name> */
        fields = named = mem_printf("metadata.name=%s", req->info.name);
    return filter_parse(req->resource, w->ns, httpd_query(req->http, "labelSelector"), fields,
                        &w->filter, err);
}

void serve_watch(struct server_request *q)
{
    struct watch_request *r = mem_alloc(sizeof *r);
    r->w = mem_alloc(sizeof *r->w);
    r->w->filter.ns = "";
    q->state = r;
    q->state_free = watch_request_free;
    cleanup_error struct error *err = NULL;
    if (!prepare(q, r, &err)) {
        reply_error_done(q, err);
        return;
    }
    const struct list_options *o = &r->options;
    if (o->has_revision && o->revision && !o->has_initial_events) {
        watch_since(q, o->revision);
        return;
    }
    request_defer(q);
    if (!o->has_revision)
        storage_consistent(q->pub.storage, from_now_ready, q);
    else
        storage_wait_revision(q->pub.storage, o->revision, from_now_ready, q);
}
