/* Watches. Over HTTP the body brings one or more requests, and the answer is a stream of lines that
 * ends when the client goes; over gRPC requests come and answers go as long as the call lasts. */
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
    /* One of them; NULL once ended; under g->lock when ending. */
    struct httpd_stream *http;
    struct rpc *rpc;
    bool protobuf; /* rpc's form */
    atomic_uint refs;
    atomic_size_t queued;
    atomic_bool full, gone, malformed;
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
static void write_chunk(struct watch_stream *w, struct buf *b)
{
    if (w->ended) {
        buf_free(b);
        return;
    }
    struct chunk *c = mem_alloc(sizeof(*c));
    c->stream = w;
    c->len = b->len;
    char *data = buf_take(b);
    atomic_fetch_add(&w->refs, 1);
    atomic_fetch_add(&w->queued, c->len);
    if (w->protobuf) {
        rpc_send(w->rpc, data, c->len, on_sent, c);
    } else {
        c->data = data;
        httpd_stream_write_shared(w->http, data, c->len, on_sent, c);
    }
}

/* An event in the form that this stream speaks. */
struct encoded {
    size_t len;
    char *text;
};

static const struct encoded *encode(struct watch_event *e, bool protobuf, bool with_prev)
{
    void **slot = &e->encoded[protobuf * 2 + with_prev];
    if (*slot)
        return *slot;
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
    if (protobuf)
        msg_encode(&event_type, &ev, &b);
    else
        msg_print_json(&event_type, &ev, &b);
    struct encoded *enc = mem_alloc(sizeof(*enc));
    enc->len = b.len;
    enc->text = buf_take(&b);
    *slot = enc;
    return enc;
}

static void forget_encoded(void *userdata, void *p)
{
    (void)userdata;
    struct encoded *enc = p;
    free(enc->text);
    free(enc);
}

/* r without header and events; the revision is the header's. */
static void write_response(struct watch_stream *w, int64_t revision, struct watch_response *r,
                           const struct encoded *const *events, size_t n)
{
    struct response_header h = {0};
    server_fill_header(w->g->server, &h);
    h.revision = revision;
    r->header = &h;
    struct buf b = {0};
    if (w->protobuf) {
        enum { EVENTS_TAG = 11 << 3 | 2 };
        msg_encode(&watch_response_type, r, &b);
        for (size_t i = 0; i < n; i++) {
            buf_addc(&b, EVENTS_TAG);
            msg_encode_varint(events[i]->len, &b);
            buf_add(&b, events[i]->text, events[i]->len);
        }
    } else {
        buf_adds(&b, "{\"result\":{");
        msg_print_json_fields(&watch_response_type, r, &b);
        for (size_t i = 0; i < n; i++) {
            buf_adds(&b, i ? "," : ",\"events\":[");
            buf_add(&b, events[i]->text, events[i]->len);
        }
        buf_adds(&b, n ? "]}}\n" : "}}\n");
    }
    write_chunk(w, &b);
}

/* --- the sink --- */
static void on_events(void *userdata, struct watcher *watcher, struct watch_event *const *events,
                      size_t n, int64_t revision)
{
    (void)userdata;
    const struct watch_options *o = watch_get_options(watcher);
    struct watch_stream *w = o->stream;
    const struct encoded **encoded = mem_alloc(n * sizeof(*encoded));
    for (size_t i = 0; i < n; i++)
        encoded[i] = encode(events[i], w->protobuf, o->prev_kv);
    for (size_t from = 0; from < n;) {
        size_t to = from + 1, size = encoded[from]->len;
        while (to < n && (!o->fragment || size + encoded[to]->len <= w->g->max_request))
            size += encoded[to++]->len;
        struct watch_response r = {.watch_id = o->id, .fragment = to < n};
        write_response(w, revision, &r, encoded + from, to - from);
        from = to;
    }
    free(encoded);
}

static void on_progress(void *userdata, struct watcher *watcher, int64_t revision)
{
    (void)userdata;
    const struct watch_options *o = watch_get_options(watcher);
    write_response(o->stream, revision, &(struct watch_response){.watch_id = o->id}, NULL, 0);
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
    struct watch_response r = {
        .watch_id = o->id, .canceled = true, .compact_revision = compact_revision};
    write_response(w, mvcc_revision(server_state(w->g->server)->kv), &r, NULL, 0);
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
    struct watch_response r = {.watch_id = -1,
                               .created = true,
                               .canceled = true,
                               .cancel_reason = {reason, strlen(reason)}};
    write_response(w, revision, &r, NULL, 0);
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
        .fragment = r->fragment,
        .stream = w};
    for (size_t i = 0; i < r->filters.n; i++) {
        int64_t f = ((const int64_t *)r->filters.items)[i];
        o.no_put |= f == FILTER_NOPUT;
        o.no_delete |= f == FILTER_NODELETE;
    }
    write_response(w, mvcc_revision(kv), &(struct watch_response){.watch_id = id, .created = true},
                   NULL, 0);
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
        struct watch_response resp = {.watch_id = r->cancel_request->watch_id, .canceled = true};
        write_response(w, revision, &resp, NULL, 0);
    } else if (r->progress_request) {
        /* Only worth an answer when all before it has been sent. */
        for (size_t i = 0; i < w->n_watchers; i++)
            if (!watch_is_synced(w->watchers[i]))
                return;
        write_response(w, revision, &(struct watch_response){.watch_id = -1}, NULL, 0);
    }
}

/* Raft thread, or the server has stopped. */
static void end_stream(struct watch_stream *w)
{
    pthread_mutex_lock(&w->g->lock);
    struct httpd_stream *http = w->http;
    struct rpc *rpc = w->rpc;
    w->http = NULL;
    w->rpc = NULL;
    w->ended = true;
    if (http || rpc) {
        *w->link = w->next;
        if (w->next)
            w->next->link = w->link;
    }
    pthread_mutex_unlock(&w->g->lock);
    if (http)
        httpd_stream_end(http);
    if (rpc) {
        const struct kv_status_info *i = 
            kv_status_info(atomic_load(&w->malformed) ? KV_INVALID_ARGUMENT : KV_STOPPED);
        rpc_finish(rpc, i->grpc_code, i->message);
    }
    if (http || rpc)
        unref(w);
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
    if (atomic_exchange(&w->gone, true))
        return;
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

void watch_on_gone(struct rpc *r)
{
    if (rpc_data(r))
        on_gone(rpc_data(r));
}

/* The requests of an HTTP body, or one of gRPC. */
static void on_requests(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    struct watch_stream *w = op->data;
    const struct watch_request *r = c->many.items;
    for (size_t i = 0; i < c->many.n && !status && !w->ended; i++)
        run_request(s, w, &r[i]);
    if (!status)
        server_wake_watches(s);
    if (!status && !w->ended && w->rpc)
        rpc_read(w->rpc);
    call_free(c);
    unref(w);
}

static void submit(struct call *c, struct watch_stream *w)
{
    atomic_fetch_add(&w->refs, 1);
    c->op.kind = OP_CALL;
    c->op.done = on_requests;
    c->op.data = w;
    server_submit(c->g->server, &c->op);
}

/* NULL when the gateway is stopping. */
static struct watch_stream *open_stream(struct call *c)
{
    struct gateway *g = c->g;
    struct watch_stream *w = mem_alloc(sizeof(*w));
    w->g = g;
    atomic_init(&w->refs, 2); /* the list's, and our caller's */
    pthread_mutex_lock(&g->lock);
    if (c->rpc && atomic_load(&g->stopping)) {
        pthread_mutex_unlock(&g->lock);
        free(w);
        return NULL;
    }
    w->next = g->streams;
    if (w->next)
        w->next->link = &w->next;
    w->link = &g->streams;
    g->streams = w;
    w->protobuf = c->rpc != NULL;
    w->rpc = c->rpc;
    if (!c->rpc)
        w->http = httpd_stream_start(c->req, 200, "application/json", MAX_QUEUED, on_gone, w);
    pthread_mutex_unlock(&g->lock);
    return w;
}

void handle_watch(struct call *c)
{
    if (!c->rpc) {
        if (!call_parse_many(c, &watch_request_type))
            return;
        struct watch_stream *w = open_stream(c);
        submit(c, w);
        unref(w);
        return;
    }
    /* The stream owns the call from its first message on. */
    struct watch_stream *w = rpc_data(c->rpc);
    struct watch_request *r = msg_list_add(&c->many, sizeof(*r), &c->arena);
    bool good = msg_decode(&watch_request_type, c->message, c->message_len, r, &c->arena);
    if (!w) {
        if (!good) {
            call_fail(c, KV_INVALID_ARGUMENT);
            return;
        }
        w = open_stream(c);
        if (!w) {
            call_fail(c, KV_STOPPED);
            return;
        }
        rpc_set_data(c->rpc, w);
        submit(c, w);
        unref(w);
    } else if (good) {
        submit(c, w);
    } else {
        call_free(c);
        atomic_store(&w->malformed, true);
        on_gone(w);
    }
}
