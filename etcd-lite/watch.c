#include "etcd-lite/watch.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

#define BATCH_EVENTS  1000 /* sent at once to a watcher that is behind (whole revisions) */
#define BATCH_BYTES   (1u << 20)
#define SCAN_VERSIONS 100000 /* looked at in one go */

struct watcher {
    struct watch_options o;
    struct watcher *next, **link; /* in its list */
    int64_t next_revision;        /* all before were sent or did not concern it */
    int64_t told_revision;        /* by an event, progress or creation */
    bool synced;
};

/* Synced watchers of single keys are found by hash, those of ranges by walking. */
struct watch_hub {
    struct watch_sink sink;
    struct watcher **single;
    size_t n_buckets, n_single;
    struct watcher *ranges, *behind;
    size_t count;
    struct watch_event *events; /* scratch */
    struct watch_event **picked;
    size_t cap_events, cap_picked;
};

struct watch_hub *watch_hub_new(const struct watch_sink *sink)
{
    struct watch_hub *h = mem_alloc(sizeof(*h));
    h->sink = *sink;
    h->n_buckets = 64;
    h->single = mem_alloc(h->n_buckets * sizeof(*h->single));
    return h;
}

static void free_watcher(struct watcher *w)
{
    free((char *)w->o.key.p);
    free((char *)w->o.range_end.p);
    free(w);
}

static void free_list(struct watcher *w)
{
    while (w) {
        struct watcher *next = w->next;
        free_watcher(w);
        w = next;
    }
}

void watch_hub_free(struct watch_hub *h)
{
    if (!h)
        return;
    for (size_t i = 0; i < h->n_buckets; i++)
        free_list(h->single[i]);
    free_list(h->ranges);
    free_list(h->behind);
    free(h->single);
    free(h->events);
    free(h->picked);
    free(h);
}

size_t watch_hub_count(const struct watch_hub *h)
{
    return h->count;
}

const struct watch_options *watch_get_options(const struct watcher *w)
{
    return &w->o;
}

bool watch_is_synced(const struct watcher *w)
{
    return w->synced;
}

static size_t hash(struct bytes k)
{
    uint64_t v = 0xcbf29ce484222325u;
    for (size_t i = 0; i < k.n; i++)
        v = (v ^ (unsigned char)k.p[i]) * 0x100000001b3u;
    return (size_t)(v ^ v >> 32);
}

static void insert(struct watcher **list, struct watcher *w)
{
    w->next = *list;
    if (w->next)
        w->next->link = &w->next;
    w->link = list;
    *list = w;
}

static void detach(struct watch_hub *h, struct watcher *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    if (w->synced && w->o.range_end.n == 0)
        h->n_single--;
}

static void grow(struct watch_hub *h)
{
    struct watcher **old = h->single;
    size_t n = h->n_buckets;
    h->n_buckets *= 4;
    h->single = mem_alloc(h->n_buckets * sizeof(*h->single));
    for (size_t i = 0; i < n; i++)
        for (struct watcher *w = old[i], *next; w; w = next) {
            next = w->next;
            insert(&h->single[hash(w->o.key) & (h->n_buckets - 1)], w);
        }
    free(old);
}

static void attach(struct watch_hub *h, struct watcher *w, bool synced)
{
    w->synced = synced;
    if (!synced) {
        insert(&h->behind, w);
    } else if (w->o.range_end.n) {
        insert(&h->ranges, w);
    } else {
        if (++h->n_single > h->n_buckets)
            grow(h);
        insert(&h->single[hash(w->o.key) & (h->n_buckets - 1)], w);
    }
}

static struct bytes copy(struct bytes b)
{
    return (struct bytes){b.n ? mem_dup(b.p, b.n) : NULL, b.n};
}

struct watcher *watch_add(struct watch_hub *h, const struct mvcc *m, const struct watch_options *o)
{
    struct watcher *w = mem_alloc(sizeof(*w));
    w->o = *o;
    w->o.key = copy(o->key);
    w->o.range_end = copy(o->range_end);
    int64_t now = mvcc_revision(m);
    w->next_revision = o->start_revision > 0 ? o->start_revision : now + 1;
    w->told_revision = now;
    attach(h, w, w->next_revision > now);
    h->count++;
    return w;
}

void watch_remove(struct watch_hub *h, struct watcher *w)
{
    detach(h, w);
    free_watcher(w);
    h->count--;
}

static bool concerns(const struct watcher *w, const struct kv_version *v)
{
    return v->mod >= w->next_revision && !(kv_is_delete(v) ? w->o.no_delete : w->o.no_put) &&
           mvcc_range_contains(w->o.key, w->o.range_end, kv_key_bytes(v->key));
}

static void fill_event(struct watch_event *e, struct kv_version *v)
{
    struct kv_version *prev = v->prev && !kv_is_delete(v->prev) ? v->prev : NULL;
    *e = (struct watch_event){v, prev, {NULL, NULL}};
}

static void reserve_events(struct watch_hub *h, size_t n)
{
    if (n > h->cap_events) {
        h->cap_events = n * 2;
        h->events = mem_realloc(h->events, h->cap_events * sizeof(*h->events));
    }
    if (n > h->cap_picked) {
        h->cap_picked = n * 2;
        h->picked = mem_realloc(h->picked, h->cap_picked * sizeof(struct watch_event *));
    }
}

static void forget_encoded(struct watch_hub *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < WATCH_EVENT_FORMS; k++)
            if (h->events[i].encoded[k])
                h->sink.forget_encoded(h->sink.userdata, h->events[i].encoded[k]);
    if (h->cap_events > 65536) {
        free(h->events);
        free(h->picked);
        h->events = NULL;
        h->picked = NULL;
        h->cap_events = h->cap_picked = 0;
    }
}

static void fall_behind(struct watch_hub *h, struct watcher *w)
{
    detach(h, w);
    attach(h, w, false);
}

static void deliver(struct watch_hub *h, struct watcher *w, struct watch_event *const *events,
                    size_t n, int64_t revision)
{
    if (!h->sink.has_room(h->sink.userdata, w)) {
        fall_behind(h, w); /* next_revision stays: it is fed from the log later */
        return;
    }
    w->next_revision = revision + 1;
    w->told_revision = revision;
    h->sink.events(h->sink.userdata, w, events, n, revision);
}

void watch_notify(struct watch_hub *h, const struct mvcc *m, size_t from)
{
    size_t n = mvcc_log_size(m) - from;
    if (n == 0 || (h->n_single == 0 && !h->ranges))
        return;
    reserve_events(h, n);
    for (size_t i = 0; i < n; i++)
        fill_event(&h->events[i], mvcc_log_at(m, from + i));
    int64_t revision = mvcc_revision(m);
    for (struct watcher *w = h->ranges, *next; w; w = next) {
        next = w->next;
        size_t picked = 0;
        for (size_t i = 0; i < n; i++)
            if (concerns(w, h->events[i].version))
                h->picked[picked++] = &h->events[i];
        if (picked)
            deliver(h, w, h->picked, picked, revision);
    }
    for (size_t i = 0; i < n && h->n_single; i++) {
        /* A watcher whose key changed several times gets all of it at the first of them, and the
         * rest no more concerns it. */
        struct bytes key = kv_key_bytes(h->events[i].version->key);
        for (struct watcher *w = h->single[hash(key) & (h->n_buckets - 1)], *next; w; w = next) {
            next = w->next;
            if (!concerns(w, h->events[i].version))
                continue;
            size_t picked = 0;
            for (size_t k = i; k < n; k++)
                if (h->events[k].version->key == h->events[i].version->key &&
                    concerns(w, h->events[k].version))
                    h->picked[picked++] = &h->events[k];
            deliver(h, w, h->picked, picked, revision);
        }
    }
    forget_encoded(h, n);
}

void watch_resync(struct watch_hub *h)
{
    while (h->ranges)
        fall_behind(h, h->ranges);
    for (size_t i = 0; i < h->n_buckets; i++)
        while (h->single[i])
            fall_behind(h, h->single[i]);
}

/* Sends one batch; true when the watcher has got all there is. */
static bool feed(struct watch_hub *h, const struct mvcc *m, struct watcher *w)
{
    int64_t now = mvcc_revision(m), reached = w->next_revision - 1;
    size_t size = mvcc_log_size(m), picked = 0, i = mvcc_log_seek(m, w->next_revision), scanned = 0,
           bytes = 0;
    while (i < size && picked < BATCH_EVENTS && bytes < BATCH_BYTES && scanned < SCAN_VERSIONS) {
        int64_t revision = mvcc_log_at(m, i)->mod;
        for (; i < size && mvcc_log_at(m, i)->mod == revision; i++, scanned++) {
            struct kv_version *v = mvcc_log_at(m, i);
            if (!concerns(w, v))
                continue;
            reserve_events(h, picked + 1);
            fill_event(&h->events[picked++], v);
            bytes += v->value_len + v->key->len;
        }
        reached = revision;
    }
    bool all = i >= size;
    if (all && now > reached)
        reached = now;
    w->next_revision = reached + 1 > w->next_revision ? reached + 1 : w->next_revision;
    if (picked) {
        for (size_t k = 0; k < picked; k++)
            h->picked[k] = &h->events[k];
        w->told_revision = reached;
        h->sink.events(h->sink.userdata, w, h->picked, picked, reached);
        forget_encoded(h, picked);
    }
    return all;
}

bool watch_catch_up(struct watch_hub *h, const struct mvcc *m)
{
    bool more = false;
    for (struct watcher *w = h->behind, *next; w; w = next) {
        next = w->next;
        if (!h->sink.has_room(h->sink.userdata, w))
            continue;
        if (w->next_revision < mvcc_compact_revision(m)) {
            h->sink.compacted(h->sink.userdata, w, mvcc_compact_revision(m));
            watch_remove(h, w);
            continue;
        }
        if (feed(h, m, w)) {
            detach(h, w);
            attach(h, w, true);
        } else {
            more = true;
        }
    }
    return more;
}

static void tell(struct watch_hub *h, struct watcher *w, int64_t revision, const void *force_stream)
{
    bool forced = force_stream && w->o.stream == force_stream;
    if (force_stream ? !forced : !w->o.progress_notify || w->told_revision >= revision)
        return;
    /* Creation with a start in the future promises nothing about now. */
    if (w->next_revision > revision + 1 || !h->sink.has_room(h->sink.userdata, w))
        return;
    w->told_revision = revision;
    h->sink.progress(h->sink.userdata, w, revision);
}

void watch_send_progress(struct watch_hub *h, const struct mvcc *m, const void *force_stream)
{
    int64_t revision = mvcc_revision(m);
    for (struct watcher *w = h->ranges; w; w = w->next)
        tell(h, w, revision, force_stream);
    if (h->n_single)
        for (size_t i = 0; i < h->n_buckets; i++)
            for (struct watcher *w = h->single[i]; w; w = w->next)
                tell(h, w, revision, force_stream);
}
