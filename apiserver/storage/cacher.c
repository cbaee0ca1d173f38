#include "apiserver/storage/cacher.h"

#include <inttypes.h>
#include <string.h>

#include "apiserver/schema/protobuf.h"
#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

/* How much of the past a watch can be resumed from: at least EVENTS_MIN events, then what is
 * younger than EVENTS_AGE_MS, but never more than EVENTS_MAX events or EVENTS_BYTES of objects. */
#define EVENTS_MIN    128
#define EVENTS_MAX    32768
#define EVENTS_BYTES  ((size_t)16 * 1024 * 1024)
#define EVENTS_AGE_MS 75000 /* Kubernetes' */
#define REMEMBER_MS   300000

const char *const event_type_text[] = {"ADDED", "MODIFIED", "DELETED"};

/* --- events --- */

struct encoded *encoded_new(size_t len)
{
    struct encoded *e = malloc(sizeof *e + len);
    if (!e)
        abort();
    e->refs = 1;
    e->len = len;
    return e;
}

struct encoded *encoded_ref(struct encoded *e)
{
    __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

void encoded_unref(void *p)
{
    struct encoded *e = p;
    if (e && __atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) == 0)
        free(e);
}

struct cache_event *cache_event_ref(struct cache_event *e)
{
    __atomic_fetch_add(&e->refs, 1, __ATOMIC_RELAXED);
    return e;
}

/* Whoever still sends them has references. Who resumes later has new ones made. */
static void forget_encodings(struct cache_event *e)
{
    for (size_t i = 0; i < ARRAY_LEN(e->line); i++) {
        encoded_unref(e->line[i]);
        encoded_unref(e->frame[i]);
        e->line[i] = e->frame[i] = NULL;
    }
}

void cache_event_unref(struct cache_event *e)
{
    if (__atomic_sub_fetch(&e->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    stored_unref(e->object);
    stored_unref(e->old);
    forget_encodings(e);
    free(e);
}

static struct encoded *encode(const struct stored *s, enum event_type type)
{
    char head[48];
    int n = snprintf(head, sizeof head, "{\"type\":\"%s\",\"object\":", event_type_text[type]);
    struct encoded *e = encoded_new((size_t)n + s->len + 2);
    memcpy(e->bytes, head, (size_t)n);
    memcpy(e->bytes + n, s->json, s->len);
    memcpy(e->bytes + n + s->len, "}\n", 2);
    return e;
}

/* The object as somebody sees it for whom the event is of this type; a reference. */
static struct stored *shown(struct cache_event *e, enum event_type as)
{
    /* It left a selector: shown as it was, at the revision of the change. */
    if (as == EVENT_DELETED && e->type != EVENT_DELETED)
        return stored_at_revision(e->old ? e->old : e->object, e->revision);
    return stored_ref(e->object);
}

struct encoded *cache_event_line(struct cache_event *e, enum event_type as)
{
    if (!e->line[as]) {
        cleanup_stored struct stored *object = shown(e, as);
        e->line[as] = encode(object, as);
    }
    return e->line[as];
}

struct encoded *cache_event_frame(struct cache_event *e, enum event_type as)
{
    if (!e->frame[as]) {
        cleanup_stored struct stored *s = shown(e, as);
        cleanup_json cJSON *object = json_parse(s->json, s->len, NULL);
        cleanup_buf struct buf b = {0};
        protobuf_encode_watch_event(event_type_text[as], object, &b);
        e->frame[as] = encoded_new(b.len);
        memcpy(e->frame[as]->bytes, buf_str(&b), b.len);
    }
    return e->frame[as];
}

static size_t event_bytes(const struct cache_event *e)
{
    return sizeof *e + e->object->len;
}

static void drop_oldest(struct event_ring *r)
{
    struct cache_event *e = r->items[r->first];
    r->floor = e->revision;
    r->bytes -= event_bytes(e);
    r->first = (r->first + 1) % r->cap;
    r->count--;
    cache_event_unref(e);
}

static void trim(struct event_ring *r, int64_t now_ms)
{
    while (r->count > EVENTS_MIN && (r->count > EVENTS_MAX || r->bytes > EVENTS_BYTES ||
                                     now_ms - r->items[r->first]->time_ms > EVENTS_AGE_MS))
        drop_oldest(r);
}

static void remember_event(struct event_ring *r, struct cache_event *e)
{
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 64;
        struct cache_event **items = mem_alloc(cap * sizeof *items);
        for (size_t i = 0; i < r->count; i++)
            items[i] = r->items[(r->first + i) % r->cap];
        free(r->items);
        r->items = items;
        r->cap = cap;
        r->first = 0;
    }
    r->items[(r->first + r->count++) % r->cap] = e;
    r->bytes += event_bytes(e);
    trim(r, e->time_ms);
}

/* --- a cache --- */

struct cache *cache_new(struct storage *s, const struct resource *r)
{
    struct cache *c = mem_alloc(sizeof *c);
    c->storage = s;
    c->resource = r;
    c->prefix = mem_printf(REGISTRY "%s/", r->storage_prefix);
    c->prefix_len = strlen(c->prefix);
    pthread_mutex_init(&c->watchers_mutex, NULL);
    pthread_mutex_init(&c->tree_mutex, NULL);
    tree_init(&c->tree);
    return c;
}

static void forget_snapshots(struct cache *c)
{
    for (size_t i = 0; i < REMEMBER_MAX; i++) {
        tree_root_unref(c->remembered[i].root);
        c->remembered[i] = (struct remembered){0};
    }
}

void cache_free(struct cache *c)
{
    while (c->ring.count)
        drop_oldest(&c->ring);
    free(c->ring.items);
    forget_snapshots(c);
    tree_clear(&c->tree);
    free(c->prefix);
    pthread_mutex_destroy(&c->tree_mutex);
    pthread_mutex_destroy(&c->watchers_mutex);
    free(c);
}

const struct resource *cache_resource(const struct cache *c)
{
    return c->resource;
}

void cache_prefix(const struct cache *c, const char *ns, struct buf *out)
{
    buf_add(out, c->prefix, c->prefix_len);
    if (ns && *ns) {
        buf_adds(out, ns);
        buf_addc(out, '/');
    }
}

void cache_load(struct cache *c, struct tree *tree, uint64_t revision)
{
    pthread_mutex_lock(&c->watchers_mutex);
    while (c->ring.count)
        drop_oldest(&c->ring);
    c->ring.floor = revision;
    pthread_mutex_lock(&c->tree_mutex);
    struct tree old = c->tree;
    c->tree = *tree;
    c->revision = revision;
    forget_snapshots(c);
    pthread_mutex_unlock(&c->tree_mutex);
    for (struct cache_watcher *w = c->watchers; w; w = w->next)
        w->reset(w);
    pthread_mutex_unlock(&c->watchers_mutex);
    tree_clear(&old);
}

static struct cache_event *new_event(enum event_type type, uint64_t revision, struct stored *object,
                                     struct stored *old)
{
    struct cache_event *e = mem_alloc(sizeof *e);
    *e = (struct cache_event){.refs = 1,
                              .type = type,
                              .revision = revision,
                              .object = object,
                              .old = old,
                              .time_ms = time_monotonic_ms()};
    return e;
}

void cache_apply(struct cache *c, const char *key, struct stored *object, uint64_t revision)
{
    pthread_mutex_lock(&c->watchers_mutex);
    pthread_mutex_lock(&c->tree_mutex);
    struct stored *old =
        object ? tree_put(&c->tree, stored_ref(object)) : tree_remove(&c->tree, key);
    c->revision = revision;
    pthread_mutex_unlock(&c->tree_mutex);
    struct cache_event *e = NULL;
    if (object)
        e = new_event(old ? EVENT_MODIFIED : EVENT_ADDED, revision, object, old);
    else if (old)
        e = new_event(EVENT_DELETED, revision, stored_at_revision(old, revision), old);
    if (e) {
        for (struct cache_watcher *w = c->watchers; w; w = w->next)
            if (revision > w->since)
                w->deliver(w, e);
        forget_encodings(e);
        remember_event(&c->ring, e);
    }
    pthread_mutex_unlock(&c->watchers_mutex);
}

/* --- reading --- */

struct stored *cache_get(struct cache *c, const char *ns, const char *name)
{
    char text[768];
    cleanup_free char *long_key = NULL;
    const char *key = text;
    bool has_ns = ns && *ns;
    int n = snprintf(text, sizeof text, "%s%s%s%s", c->prefix, has_ns ? ns : "", has_ns ? "/" : "",
                     name);
    if (n >= (int)sizeof text)
        key = long_key =
            mem_printf("%s%s%s%s", c->prefix, has_ns ? ns : "", has_ns ? "/" : "", name);
    pthread_mutex_lock(&c->tree_mutex);
    struct stored *s = stored_ref(tree_find(c->tree.root, key));
    pthread_mutex_unlock(&c->tree_mutex);
    return s;
}

/* With the tree's lock: what the cache is known to show. Other resources' changes count, because
 * all are applied in order. */
static uint64_t shown_revision(struct cache *c)
{
    uint64_t all = storage_revision(c->storage);
    return all > c->revision ? all : c->revision;
}

struct tree_root *cache_snapshot(struct cache *c, uint64_t *revision)
{
    pthread_mutex_lock(&c->tree_mutex);
    struct tree_root *root = tree_snapshot(&c->tree);
    *revision = shown_revision(c);
    pthread_mutex_unlock(&c->tree_mutex);
    return root;
}

struct tree_root *cache_snapshot_at(struct cache *c, uint64_t revision)
{
    struct tree_root *root = NULL;
    pthread_mutex_lock(&c->tree_mutex);
    if (revision >= c->revision && revision <= shown_revision(c)) {
        root = tree_snapshot(&c->tree); /* nothing has changed since */
    } else {
        for (size_t i = 0; i < REMEMBER_MAX && !root; i++)
            if (c->remembered[i].root && c->remembered[i].revision == revision)
                root = tree_root_ref(c->remembered[i].root);
    }
    pthread_mutex_unlock(&c->tree_mutex);
    return root;
}

void cache_remember(struct cache *c, struct tree_root *root, uint64_t revision)
{
    int64_t now = time_monotonic_ms();
    struct tree_root *drop[REMEMBER_MAX] = {0};
    size_t drops = 0, place = 0;
    pthread_mutex_lock(&c->tree_mutex);
    for (size_t i = 0; i < REMEMBER_MAX; i++) {
        struct remembered *m = &c->remembered[i];
        if (m->root && now - m->time_ms > REMEMBER_MS) {
            drop[drops++] = m->root;
            *m = (struct remembered){0};
        }
        if (m->root && m->revision == revision) { /* there already */
            m->time_ms = now;
            place = REMEMBER_MAX;
            break;
        }
        if (c->remembered[i].time_ms < c->remembered[place].time_ms)
            place = i;
    }
    if (place < REMEMBER_MAX) {
        if (c->remembered[place].root)
            drop[drops++] = c->remembered[place].root;
        c->remembered[place] = (struct remembered){tree_root_ref(root), revision, now};
    }
    pthread_mutex_unlock(&c->tree_mutex);
    for (size_t i = 0; i < drops; i++)
        tree_root_unref(drop[i]);
}

void cache_tidy(struct cache *c)
{
    int64_t now = time_monotonic_ms();
    struct tree_root *drop[REMEMBER_MAX];
    size_t drops = 0;
    pthread_mutex_lock(&c->watchers_mutex);
    trim(&c->ring, now);
    pthread_mutex_unlock(&c->watchers_mutex);
    pthread_mutex_lock(&c->tree_mutex);
    for (size_t i = 0; i < REMEMBER_MAX; i++) {
        struct remembered *m = &c->remembered[i];
        if (!m->root || now - m->time_ms <= REMEMBER_MS)
            continue;
        drop[drops++] = m->root;
        *m = (struct remembered){0};
    }
    pthread_mutex_unlock(&c->tree_mutex);
    for (size_t i = 0; i < drops; i++)
        tree_root_unref(drop[i]);
}

/* --- watchers --- */

static void link_watcher(struct cache *c, struct cache_watcher *w)
{
    w->next = c->watchers;
    w->link = &c->watchers;
    if (w->next)
        w->next->link = &w->next;
    c->watchers = w;
}

bool cache_watch(struct cache *c, struct cache_watcher *w, struct error **err)
{
    pthread_mutex_lock(&c->watchers_mutex);
    struct event_ring *r = &c->ring;
    bool ok = w->since >= r->floor;
    if (!ok) {
        error_set(err, 410, "Expired", "too old resource version: %" PRIu64 " (%" PRIu64 ")",
                  w->since, r->floor);
    } else {
        size_t lo = 0, hi = r->count; /* the first event after w->since */
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (r->items[(r->first + mid) % r->cap]->revision > w->since)
                hi = mid;
            else
                lo = mid + 1;
        }
        for (; lo < r->count; lo++) {
            w->deliver(w, r->items[(r->first + lo) % r->cap]);
            forget_encodings(r->items[(r->first + lo) % r->cap]);
        }
        link_watcher(c, w);
    }
    pthread_mutex_unlock(&c->watchers_mutex);
    return ok;
}

struct tree_root *cache_watch_list(struct cache *c, struct cache_watcher *w, uint64_t *revision)
{
    pthread_mutex_lock(&c->watchers_mutex);
    struct tree_root *root = cache_snapshot(c, revision);
    w->since = *revision;
    link_watcher(c, w);
    pthread_mutex_unlock(&c->watchers_mutex);
    return root;
}

void cache_unwatch(struct cache *c, struct cache_watcher *w)
{
    pthread_mutex_lock(&c->watchers_mutex);
    if (w->link) {
        *w->link = w->next;
        if (w->next)
            w->next->link = w->link;
        w->link = NULL;
        w->next = NULL;
    }
    pthread_mutex_unlock(&c->watchers_mutex);
}

uint64_t cache_lock_watchers(struct cache *c)
{
    pthread_mutex_lock(&c->watchers_mutex);
    pthread_mutex_lock(&c->tree_mutex);
    uint64_t revision = shown_revision(c);
    pthread_mutex_unlock(&c->tree_mutex);
    return revision;
}

void cache_unlock_watchers(struct cache *c)
{
    pthread_mutex_unlock(&c->watchers_mutex);
}

size_t cache_watcher_count(struct cache *c)
{
    size_t n = 0;
    pthread_mutex_lock(&c->watchers_mutex);
    for (const struct cache_watcher *w = c->watchers; w; w = w->next)
        n++;
    pthread_mutex_unlock(&c->watchers_mutex);
    return n;
}
