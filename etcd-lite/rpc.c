#include "etcd-lite/rpc.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "etcd-lite/rpc_library.h"

#define WAITING_CALLS 32 /* requests for a new call that gRPC core holds of us */
enum { CODE_UNIMPLEMENTED = 12 };

/* What a completion is about: gRPC core gives the pointer back. */
enum event_kind { EVENT_CALL, EVENT_MESSAGE, EVENT_SENT, EVENT_CLOSED, EVENT_SHUTDOWN };
struct event_tag {
    enum event_kind kind;
    struct rpc *rpc;
};

struct outgoing {
    struct outgoing *next;
    grpc_byte_buffer *buffer;
    void (*release)(void *owner);
    void *owner;
};

struct rpc {
    struct rpc_server *server;
    grpc_call *call;
    const struct rpc_method *method;
    grpc_metadata_array metadata;
    struct event_tag call_tag, message_tag, sent_tag, closed_tag;
    grpc_byte_buffer *incoming;
    int cancelled;
    void *data;
    atomic_uint refs; /* the owner's, and one for each event to come */

    pthread_mutex_t lock;
    struct outgoing *queue, **queue_tail, *sending;
    /* busy: something is being sent; greeted: headers are; ended: the status is; finished: shall be. */
    bool busy, greeted, ended, finished, dead;
    int code;
    char *status;
};

struct rpc_server {
    struct rpc_server_options o;
    const struct rpc_library *lib;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    grpc_server_credentials *credentials;
    pthread_t thread;
    struct event_tag shutdown_tag;
    struct waiting {
        struct event_tag tag;
        grpc_call *call;
        grpc_call_details details;
        grpc_metadata_array metadata;
    } waiting[WAITING_CALLS];
    pthread_mutex_t lock;
    pthread_cond_t idle;
    size_t calls;
    bool stopping;
};

/* --- life --- */
static void unref(struct rpc *r)
{
    if (atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    struct rpc_server *s = r->server;
    s->lib->grpc_metadata_array_destroy(&r->metadata);
    s->lib->grpc_call_unref(r->call);
    pthread_mutex_destroy(&r->lock);
    free(r->status);
    free(r);
    pthread_mutex_lock(&s->lock);
    if (--s->calls == 0)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

/* Each batch ends in an event, whose reference is taken here. */
static bool start(struct rpc *r, const grpc_op *ops, size_t n, struct event_tag *tag)
{
    atomic_fetch_add(&r->refs, 1);
    if (r->server->lib->grpc_call_start_batch(r->call, ops, n, tag, NULL) == GRPC_CALL_OK)
        return true;
    atomic_fetch_sub(&r->refs, 1); /* never the last: our caller has one */
    return false;
}

/* --- sending --- */
static void free_outgoing(struct rpc *r, struct outgoing *m)
{
    if (m->buffer)
        r->server->lib->grpc_byte_buffer_destroy(m->buffer);
    if (m->release)
        m->release(m->owner);
    free(m);
}

/* Under the lock: sends what is next. Returns what will never be sent, to be freed without it. */
static struct outgoing *send_next(struct rpc *r)
{
    const struct rpc_library *lib = r->server->lib;
    if (r->busy || r->ended)
        return NULL;
    struct outgoing *dropped = NULL;
    if (r->dead) {
        dropped = r->queue;
        r->queue = NULL;
        r->queue_tail = &r->queue;
    }
    grpc_op ops[3];
    memset(ops, 0, sizeof(ops));
    size_t n = 0;
    struct outgoing *m = r->queue;
    bool end = r->finished && (!m || !m->next);
    if (!m && !end)
        return dropped;
    if (!r->greeted)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (m) {
        r->queue = m->next;
        if (!r->queue)
            r->queue_tail = &r->queue;
        r->sending = m;
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = m->buffer;
    }
    grpc_slice text;
    if (end) {
        text = lib->grpc_slice_from_copied_string(r->status ? r->status : "");
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = (grpc_status_code)r->code;
        if (r->status)
            ops[n].data.send_status_from_server.status_details = &text;
        n++;
    }
    r->greeted = r->busy = true;
    r->ended = end;
    if (!start(r, ops, n, &r->sent_tag)) { /* the owner's reference is still there */
        r->dead = true;
        if (m) {
            m->next = dropped;
            dropped = m;
            r->sending = NULL;
        }
    }
    if (end)
        lib->grpc_slice_unref(text);
    return dropped;
}

static void drop(struct rpc *r, struct outgoing *list)
{
    while (list) {
        struct outgoing *next = list->next;
        free_outgoing(r, list);
        list = next;
    }
}

void rpc_send(struct rpc *r, char *data, size_t len, void (*release)(void *owner), void *owner)
{
    const struct rpc_library *lib = r->server->lib;
    struct outgoing *m = mem_alloc(sizeof(*m));
    grpc_slice slice = lib->grpc_slice_new_with_user_data(data, len, free, data);
    m->buffer = lib->grpc_raw_byte_buffer_create(&slice, 1);
    lib->grpc_slice_unref(slice);
    m->release = release;
    m->owner = owner;
    pthread_mutex_lock(&r->lock);
    *r->queue_tail = m;
    r->queue_tail = &m->next;
    struct outgoing *dropped = send_next(r);
    pthread_mutex_unlock(&r->lock);
    drop(r, dropped);
}

bool rpc_is_gone(struct rpc *r)
{
    pthread_mutex_lock(&r->lock);
    bool gone = r->dead;
    pthread_mutex_unlock(&r->lock);
    return gone;
}

void rpc_finish(struct rpc *r, int code, const char *message)
{
    pthread_mutex_lock(&r->lock);
    r->finished = true;
    r->code = code;
    r->status = code ? mem_strdup(message) : NULL;
    struct outgoing *dropped = send_next(r);
    pthread_mutex_unlock(&r->lock);
    drop(r, dropped);
    unref(r);
}

static void on_sent(struct rpc *r, bool ok)
{
    pthread_mutex_lock(&r->lock);
    struct outgoing *m = r->sending;
    r->sending = NULL;
    r->busy = false;
    r->dead |= !ok;
    struct outgoing *dropped = send_next(r);
    pthread_mutex_unlock(&r->lock);
    if (m)
        free_outgoing(r, m);
    drop(r, dropped);
}

/* --- receiving --- */
void rpc_read(struct rpc *r)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &r->incoming;
    start(r, &op, 1, &r->message_tag);
}

static void on_message(struct rpc *r)
{
    const struct rpc_library *lib = r->server->lib;
    char *data = NULL;
    size_t len = 0;
    if (r->incoming) {
        size_t total = lib->grpc_byte_buffer_length(r->incoming);
        data = mem_alloc(total + 1);
        grpc_byte_buffer_reader reader;
        if (lib->grpc_byte_buffer_reader_init(&reader, r->incoming)) {
            grpc_slice piece;
            while (lib->grpc_byte_buffer_reader_next(&reader, &piece)) {
                size_t n = GRPC_SLICE_LENGTH(piece);
                if (n > total - len)
                    n = total - len;
                memcpy(data + len, GRPC_SLICE_START_PTR(piece), n);
                len += n;
                lib->grpc_slice_unref(piece);
            }
            lib->grpc_byte_buffer_reader_destroy(&reader);
        }
        lib->grpc_byte_buffer_destroy(r->incoming);
        r->incoming = NULL;
    }
    r->method->on_message(r->server->o.userdata, r, data, len);
}

static void on_closed(struct rpc *r)
{
    pthread_mutex_lock(&r->lock);
    r->dead = true;
    if (!r->finished && r->method && r->method->on_gone)
        r->method->on_gone(r);
    pthread_mutex_unlock(&r->lock);
}

const struct rpc_method *rpc_get_method(const struct rpc *r)
{
    return r->method;
}

void rpc_set_data(struct rpc *r, void *data)
{
    pthread_mutex_lock(&r->lock);
    r->data = data;
    pthread_mutex_unlock(&r->lock);
}

void *rpc_data(const struct rpc *r)
{
    return r->data;
}

bool rpc_metadata_is(const struct rpc *r, const char *name, const char *value)
{
    for (size_t i = 0; i < r->metadata.count; i++) {
        grpc_slice k = r->metadata.metadata[i].key, v = r->metadata.metadata[i].value;
        if (GRPC_SLICE_LENGTH(k) == strlen(name) && GRPC_SLICE_LENGTH(v) == strlen(value) &&
            memcmp(GRPC_SLICE_START_PTR(k), name, strlen(name)) == 0 &&
            memcmp(GRPC_SLICE_START_PTR(v), value, strlen(value)) == 0)
            return true;
    }
    return false;
}

/* --- new calls --- */
static void request_call(struct rpc_server *s, struct waiting *w)
{
    s->lib->grpc_call_details_init(&w->details);
    s->lib->grpc_metadata_array_init(&w->metadata);
    if (s->lib->grpc_server_request_call(s->grpc, &w->call, &w->details, &w->metadata, s->queue,
                                         s->queue, &w->tag) != GRPC_CALL_OK) {
        s->lib->grpc_call_details_destroy(&w->details);
        s->lib->grpc_metadata_array_destroy(&w->metadata);
    }
}

static void refuse_unknown(struct rpc *r, const char *path, size_t len)
{
    char name[128];
    snprintf(name, sizeof(name), "%.*s", (int)(len > 100 ? 100 : len), path);
    char *slash = name[0] == '/' ? strchr(name + 1, '/') : NULL;
    cleanup_free char *text = NULL;
    if (slash) {
        *slash = '\0';
        bool known = false;
        for (size_t i = 0; i < r->server->o.n_methods; i++) {
            const char *have = r->server->o.methods[i].path;
            known |= strncmp(have, name, strlen(name)) == 0 && have[strlen(name)] == '/';
        }
        text = known ? mem_printf("unknown method %s for service %s", slash + 1, name + 1)
                     : mem_printf("unknown service %s", name + 1);
    }
    rpc_finish(r, CODE_UNIMPLEMENTED, text ? text : "malformed method name");
}

static void on_call(struct rpc_server *s, struct waiting *w)
{
    struct rpc *r = mem_alloc(sizeof(*r));
    r->server = s;
    r->call = w->call;
    r->metadata = w->metadata;
    r->queue_tail = &r->queue;
    r->message_tag = (struct event_tag){EVENT_MESSAGE, r};
    r->sent_tag = (struct event_tag){EVENT_SENT, r};
    r->closed_tag = (struct event_tag){EVENT_CLOSED, r};
    atomic_init(&r->refs, 1);
    pthread_mutex_init(&r->lock, NULL);
    pthread_mutex_lock(&s->lock);
    s->calls++;
    pthread_mutex_unlock(&s->lock);
    const char *path = (const char *)GRPC_SLICE_START_PTR(w->details.method);
    size_t len = GRPC_SLICE_LENGTH(w->details.method);
    for (size_t i = 0; i < s->o.n_methods && !r->method; i++)
        if (strlen(s->o.methods[i].path) == len && memcmp(s->o.methods[i].path, path, len) == 0)
            r->method = &s->o.methods[i];
    grpc_op close = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    close.data.recv_close_on_server.cancelled = &r->cancelled;
    start(r, &close, 1, &r->closed_tag);
    if (r->method)
        rpc_read(r);
    else
        refuse_unknown(r, path, len);
    s->lib->grpc_call_details_destroy(&w->details);
}

/* --- the thread --- */
static void *run(void *arg)
{
    struct rpc_server *s = arg;
    pthread_setname_np(pthread_self(), "grpc");
    for (;;) {
        grpc_event e = s->lib->grpc_completion_queue_next(
            s->queue, s->lib->gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (e.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        struct event_tag *tag = e.tag;
        struct rpc *r = tag->rpc;
        switch (tag->kind) {
        case EVENT_CALL: {
            struct waiting *w = (struct waiting *)tag;
            if (!e.success) { /* shutting down */
                s->lib->grpc_call_details_destroy(&w->details);
                s->lib->grpc_metadata_array_destroy(&w->metadata);
                break;
            }
            on_call(s, w);
            request_call(s, w);
            break;
        }
        case EVENT_MESSAGE:
            on_message(r);
            unref(r);
            break;
        case EVENT_SENT:
            on_sent(r, e.success);
            unref(r);
            break;
        case EVENT_CLOSED:
            on_closed(r);
            unref(r);
            break;
        case EVENT_SHUTDOWN:
            break;
        }
    }
}

struct rpc_server *rpc_server_start(const struct rpc_server_options *o, struct error **err)
{
    const struct rpc_library *lib = rpc_library_load(err);
    if (!lib)
        return NULL;
    struct rpc_server *s = mem_alloc(sizeof(*s));
    s->o = *o;
    s->lib = lib;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->idle, NULL);
    lib->grpc_init();
    /* Clients' keep-alive pings are welcome as often as etcd takes them; ours find dead clients, and
     * those that never finish a handshake. */
    grpc_arg args[] = {
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, {.integer = (int)o->max_message}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, {.integer = -1}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_KEEPALIVE_TIME_MS, {.integer = 60000}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_KEEPALIVE_TIMEOUT_MS, {.integer = 20000}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, {.integer = 1}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, {.integer = 5000}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_HTTP2_MAX_PING_STRIKES, {.integer = 0}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_ENABLE_CHANNELZ, {.integer = 0}},
        {GRPC_ARG_INTEGER, (char *)GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, {.integer = 0}},
    };
    grpc_channel_args channel_args = {ARRAY_LEN(args), args};
    s->queue = lib->grpc_completion_queue_create_for_next(NULL);
    s->grpc = lib->grpc_server_create(&channel_args, NULL);
    s->credentials = lib->grpc_insecure_server_credentials_create();
    lib->grpc_server_register_completion_queue(s->grpc, s->queue, NULL);
    lib->grpc_server_start(s->grpc);
    if (!thread_start(&s->thread, run, s)) {
        error_setf(err, "cannot start the gRPC thread");
        s->thread = 0;
        rpc_server_stop(s);
        return NULL;
    }
    for (size_t i = 0; i < WAITING_CALLS; i++) {
        s->waiting[i].tag = (struct event_tag){EVENT_CALL, NULL};
        request_call(s, &s->waiting[i]);
    }
    return s;
}

void rpc_server_add(struct rpc_server *s, int fd)
{
    s->lib->grpc_server_add_channel_from_fd(s->grpc, fd, s->credentials);
}

void rpc_server_stop(struct rpc_server *s)
{
    if (!s)
        return;
    s->shutdown_tag.kind = EVENT_SHUTDOWN;
    s->lib->grpc_server_shutdown_and_notify(s->grpc, s->queue, &s->shutdown_tag);
    s->lib->grpc_server_cancel_all_calls(s->grpc);
    pthread_mutex_lock(&s->lock);
    while (s->calls && s->thread)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
    s->lib->grpc_completion_queue_shutdown(s->queue);
    if (s->thread)
        pthread_join(s->thread, NULL);
    else
        run(s);
    s->lib->grpc_server_destroy(s->grpc);
    s->lib->grpc_completion_queue_destroy(s->queue);
    s->lib->grpc_server_credentials_release(s->credentials);
    s->lib->grpc_shutdown();
    pthread_cond_destroy(&s->idle);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
