/* Watches over HTTP: the body brings one or more requests, the answer is a stream of lines that
 * ends when the client goes. */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/gateway_internal.h"

/* A client with so much unread is fed no further until it has read (it is fed from history then:
 * nothing is lost). */
#define HIGH_WATER (1u << 20)
#define LOW_WATER  (256u << 10)
#define MAX_QUEUED ((size_t)1 << 40) /* our own water marks hold before */

struct watch_stream {
    struct watch_stream *next, **link; /* g->streams, under its lock */
    struct gateway *g;
    struct httpd_stream *http; /* NULL once ended; under g->lock when ending */
    atomic_uint refs;
    atomic_size_t queued;
    atomic_bool full;
    struct op gone_op; /* for the message that the client left */
    /* Raft thread. */
    struct watcher **watchers;
    size_t n_watchers;
    int64_t next_id;
    bool ended;
};

static void unref(struct watch_stream *w)
{
    if (atomic_fetch_sub(&w->refs, 1) == 1) {
        free(w->watchers);
        free(w);
    }
}

/* --- writing --- */
struct chunk {
    struct watch_stream *stream;
    size_t len;
    char *data;
};

static void on_sent(void *owner)
{
    struct chunk *c = owner;
    struct watch_stream *w = c->stream;
    size_t before = atomic_fetch_sub(&w->queued, c->len);
    if (before - c->len < LOW_WATER && atomic_exchange(&w->full, false))
        server_wake_watches(w->g->server);
    free(c->data);
    free(c);
    unref(w);
}

/* Takes what is in b. Raft thread. */
static void write_line(struct watch_stream *w, struct buf *b)
{
    if (w->ended) {
        buf_free(b);
        return;
    }
    struct chunk *c = mem_alloc(sizeof(*c));
    c->stream = w;
    c->len = b->len;
    c->data = buf_take(b);
    atomic_fetch_add(&w->refs, 1);
    atomic_fetch_add(&w->queued, c->len);
    httpd_stream_write_shared(w->http, c->data, c->len, on_sent, c);
}

static void begin_line(struct buf *b, struct watch_stream *w, int64_t revision, int64_t id)
{
    struct response_header h = {0};
    server_fill_header(w->g->server, &h);
    h.revision = revision;
    buf_adds(b, "{\"result\":{\"header\":");
    msg_print_json(&response_header_type, &h, b);
    if (id)
        buf_printf(b, ",\"watch_id\":\"%lld\"", (long long)id);
}

static void end_line(struct buf *b)
{
    buf_adds(b, "}}\n");
}

/* --- the sink --- */
struct encoded {
    size_t len;
    char *text;
};

static const struct encoded *encode(struct watch_event *e, bool with_prev)
{
    if (e->encoded[with_prev])
        return e->encoded[with_prev];
    struct key_value kv = {0}, prev;
    struct event ev = {.type = kv_is_delete(e->version) ? EVENT_DELETE : EVENT_PUT, .kv = &kv};
    if (ev.type == EVENT_DELETE) {
        kv.key = kv_key_bytes(e->version->key);
        kv.mod_revision = e->version->mod;
    } else {
        key_value_fill(&kv, e->version);
    }
    if (with_prev && e->prev) {
        key_value_fill(&prev, e->prev);
        ev.prev_kv = &prev;
    }
    struct buf b = {0};
    msg_print_json(&event_type, &ev, &b);
    struct encoded *enc = mem_alloc(sizeof(*enc));
    enc->len = b.len;
    enc->text = buf_take(&b);
    e->encoded[with_prev] = enc;
    return enc;
}

static void forget_encoded(void *userdata, void *p)
{
    (void)userdata;
    struct encoded *enc = p;
    free(enc->text);
    free(enc);
}

static void on_events(void *userdata, struct watcher *watcher, struct watch_event *const *events,
                      size_t n, int64_t revision)
{
    (void)userdata;
    const struct watch_options *o = watch_get_options(watcher);
    struct watch_stream *w = o->stream;
    struct buf b = {0};
    begin_line(&b, w, revision, o->id);
    buf_adds(&b, ",\"events\":[");
    for (size_t i = 0; i < n; i++) {
        const struct encoded *enc = encode(events[i], o->prev_kv);
        if (i)
            buf_addc(&b, ',');
        buf_add(&b, enc->text, enc->len);
    }
    buf_addc(&b, ']');
    end_line(&b);
    write_line(w, &b);
}

static void on_progress(void *userdata, struct watcher *watcher, int64_t revision)
{
    (void)userdata;
    const struct watch_options *o = watch_get_options(watcher);
    struct buf b = {0};
    begin_line(&b, o->stream, revision, o->id);
    end_line(&b);
    write_line(o->stream, &b);
}

static void drop_watcher(struct watch_stream *w, const struct watcher *watcher)
{
    for (size_t i = 0; i < w->n_watchers; i++)
        if (w->watchers[i] == watcher) {
            w->watchers[i] = w->watchers[--w->n_watchers];
            return;
        }
}

static void on_compacted(void *userdata, struct watcher *watcher, int64_t compact_revision)
{
    (void)userdata;
    const struct watch_options *o = watch_get_options(watcher);
    struct watch_stream *w = o->stream;
    struct buf b = {0};
    begin_line(&b, w, mvcc_revision(server_state(w->g->server)->kv), o->id);
    buf_printf(&b, ",\"canceled\":true,\"compact_revision\":\"%lld\"", (long long)compact_revision);
    end_line(&b);
    write_line(w, &b);
    drop_watcher(w, watcher);
}

static bool has_room(void *userdata, struct watcher *watcher)
{
    (void)userdata;
    struct watch_stream *w = watch_get_options(watcher)->stream;
    if (atomic_load(&w->queued) < HIGH_WATER)
        return true;
    atomic_store(&w->full, true);
    /* It may have been read between the two lines. */
    return atomic_load(&w->queued) < LOW_WATER;
}

const struct watch_sink *gateway_watch_sink(void)
{
    static const struct watch_sink sink = {on_events, on_progress,    on_compacted,
                                           has_room,  forget_encoded, NULL};
    return &sink;
}

/* --- requests --- */
static void refuse(struct watch_stream *w, int64_t revision, const char *reason)
{
    struct buf b = {0};
    begin_line(&b, w, revision, -1);
    buf_printf(&b, ",\"created\":true,\"canceled\":true,\"cancel_reason\":\"%s\"", reason);
    end_line(&b);
    write_line(w, &b);
}

static struct watcher *find_watcher(const struct watch_stream *w, int64_t id)
{
    for (size_t i = 0; i < w->n_watchers; i++)
        if (watch_get_options(w->watchers[i])->id == id)
            return w->watchers[i];
    return NULL;
}

static void create(struct server *s, struct watch_stream *w, const struct watch_create_request *r)
{
    const struct mvcc *kv = server_state(s)->kv;
    int64_t id = r->watch_id;
    if (id && find_watcher(w, id)) {
        refuse(w, mvcc_revision(kv), "etcdserver: duplicate watch ID provided on the watch stream");
        return;
    }
    if (r->range_end.n && !(r->range_end.n == 1 && r->range_end.p[0] == '\0') &&
        bytes_compare(r->key, r->range_end) >= 0) {
        refuse(w, mvcc_revision(kv), "etcdserver: mvcc: watcher range is empty");
        return;
    }
    if (!id) {
        while (find_watcher(w, w->next_id))
            w->next_id++;
        id = w->next_id++;
    }
    struct watch_options o = {
        .key = r->key.n ? r->key : (struct bytes){"", 1}, /* none: the smallest, "\0" */
        .range_end = r->range_end,
        .start_revision = r->start_revision,
        .prev_kv = r->prev_kv,
        .progress_notify = r->progress_notify,
        .id = id,
        .stream = w};
    for (size_t i = 0; i < r->filters.n; i++) {
        int64_t f = ((const int64_t *)r->filters.items)[i];
        o.no_put |= f == FILTER_NOPUT;
        o.no_delete |= f == FILTER_NODELETE;
    }
    struct buf b = {0};
    begin_line(&b, w, mvcc_revision(kv), id);
    buf_adds(&b, ",\"created\":true");
    end_line(&b);
    write_line(w, &b);
    w->watchers = mem_realloc(w->watchers, (w->n_watchers + 1) * sizeof(struct watcher *));
    w->watchers[w->n_watchers++] = watch_add(server_watches(s), kv, &o);
}

static void run_request(struct server *s, struct watch_stream *w, const struct watch_request *r)
{
    int64_t revision = mvcc_revision(server_state(s)->kv);
    if (r->create_request) {
        create(s, w, r->create_request);
    } else if (r->cancel_request) {
        struct watcher *watcher = find_watcher(w, r->cancel_request->watch_id);
        if (!watcher)
            return;
        drop_watcher(w, watcher);
        watch_remove(server_watches(s), watcher);
        struct buf b = {0};
        begin_line(&b, w, revision, r->cancel_request->watch_id);
        buf_adds(&b, ",\"canceled\":true");
        end_line(&b);
        write_line(w, &b);
    } else if (r->progress_request) {
        /* Only worth an answer when all before it has been sent. */
        for (size_t i = 0; i < w->n_watchers; i++)
            if (!watch_is_synced(w->watchers[i]))
                return;
        struct buf b = {0};
        begin_line(&b, w, revision, -1);
        end_line(&b);
        write_line(w, &b);
    }
}

/* Raft thread, or the server has stopped. */
static void end_stream(struct watch_stream *w)
{
    pthread_mutex_lock(&w->g->lock);
    struct httpd_stream *http = w->http;
    w->http = NULL;
    w->ended = true;
    if (http) {
        *w->link = w->next;
        if (w->next)
            w->next->link = w->link;
    }
    pthread_mutex_unlock(&w->g->lock);
    if (http) {
        httpd_stream_end(http);
        unref(w);
    }
}

static void on_gone_here(struct server *s, struct op *op, enum kv_status status)
{
    struct watch_stream *w = op->data;
    if (!status) {
        while (w->n_watchers)
            watch_remove(server_watches(s), w->watchers[--w->n_watchers]);
        end_stream(w);
    }
    unref(w); /* when the server has stopped, gateway_end_streams does the rest */
}

/* Any thread. */
static void on_gone(void *userdata)
{
    struct watch_stream *w = userdata;
    w->gone_op = (struct op){.kind = OP_CALL, .done = on_gone_here, .data = w};
    atomic_fetch_add(&w->refs, 1);
    server_submit(w->g->server, &w->gone_op);
}

void gateway_end_streams(struct gateway *g)
{
    for (;;) {
        pthread_mutex_lock(&g->lock);
        struct watch_stream *w = g->streams;
        if (w)
            atomic_fetch_add(&w->refs, 1);
        pthread_mutex_unlock(&g->lock);
        if (!w)
            return;
        end_stream(w);
        unref(w);
    }
}

/* Runs the requests of the body once the stream is there. */
static void on_started(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    struct watch_stream *w = op->data;
    const struct watch_request *r = c->many.items;
    for (size_t i = 0; i < c->many.n && !status && !w->ended; i++)
        run_request(s, w, &r[i]);
    if (!status)
        server_wake_watches(s);
    call_free(c);
    unref(w);
}

void handle_watch(struct gateway *g, struct httpd_request *req)
{
    struct call *c = call_new(g, req);
    size_t len, used;
    const char *body = httpd_body(req, &len);
    do {
        cleanup_error struct error *e = NULL;
        struct watch_request *r = msg_list_add(&c->many, sizeof(*r), &c->arena);
        if (!msg_parse_json(&watch_request_type, body, len, &used, r, &c->arena, &e)) {
            reply_error(req, 400, kv_status_info(KV_INVALID_ARGUMENT)->grpc_code, error_message(e));
            call_free(c);
            return;
        }
        body += used;
        len -= used;
    } while (len > 0);
    struct watch_stream *w = mem_alloc(sizeof(*w));
    w->g = g;
    atomic_init(&w->refs, 2); /* the list's, and the operation's below */
    pthread_mutex_lock(&g->lock);
    w->next = g->streams;
    if (w->next)
        w->next->link = &w->next;
    w->link = &g->streams;
    g->streams = w;
    w->http = httpd_stream_start(req, 200, "application/json", MAX_QUEUED, on_gone, w);
    pthread_mutex_unlock(&g->lock);
    c->op.kind = OP_CALL;
    c->op.done = on_started;
    c->op.data = w;
    server_submit(g->server, &c->op);
}
