#include "etcd-lite/peer.h"
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/log.h"
#include "common/mem.h"

#define RECONNECT_MIN   20
#define RECONNECT_MAX   1000
#define WRITE_QUEUE_MAX (64u << 20) /* a member that takes nothing is cut off */

struct remote;
struct connection {
    struct connection *next, **link;
    struct peers *p;
    struct remote *remote; /* outgoing: to whom; NULL for incoming */
    uint64_t serial, peer;
    uv_stream_t *stream;
    struct buf in;
    bool closed;
};
struct remote {
    struct remote *next;
    struct peers *p;
    uint64_t id;
    char **urls;
    size_t next_url;
    struct connection *connection;
    bool connecting, dropped;
    uv_timer_t timer;
    unsigned delay;
};
struct peers {
    struct peers_options o;
    struct remote *remotes;
    struct connection *connections;
    uint64_t next_serial;
    bool stopped;
};

static void connect_later(struct remote *r);

static void close_connection(struct connection *c)
{
    if (c->closed)
        return;
    c->closed = true;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    c->stream->data = NULL;
    uv_read_stop(c->stream);
    transport_close_stream(c->stream);
    struct remote *r = c->remote;
    struct peers *p = c->p;
    uint64_t id = c->peer;
    buf_free(&c->in);
    free(c);
    if (r) {
        r->connection = NULL;
        p->o.on_down(p->o.userdata, id);
        connect_later(r);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct connection *c = handle->data;
    if (!c) {
        *buf = uv_buf_init(NULL, 0);
        return;
    }
    size_t room = suggested > 65536 ? 65536 : suggested;
    buf_reserve(&c->in, room);
    *buf = uv_buf_init(c->in.data + c->in.len, (unsigned)room);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    (void)b;
    struct connection *c = stream->data;
    if (!c || n == 0)
        return;
    if (n < 0) {
        close_connection(c);
        return;
    }
    struct peers *p = c->p;
    uint64_t serial = c->serial;
    c->in.len += (size_t)n;
    size_t at = 0;
    while (c->in.len - at >= 5) {
        uint32_t len;
        memcpy(&len, c->in.data + at, 4);
        if (len == 0 || len > FRAME_MAX) {
            close_connection(c);
            return;
        }
        if (c->in.len - at - 4 < len)
            break;
        const uint8_t *frame = (const uint8_t *)c->in.data + at + 4;
        p->o.on_frame(p->o.userdata, c->peer, serial, frame[0], frame + 1, len - 1);
        /* The receiver may have answered, failed to, and so closed it. */
        if (stream->data != c)
            return;
        at += 4 + len;
    }
    memmove(c->in.data, c->in.data + at, c->in.len - at);
    c->in.len -= at;
    if (c->in.len == 0 && c->in.cap > 1 << 18)
        buf_free(&c->in);
}

static struct connection *add_connection(struct peers *p, uint64_t peer, uv_stream_t *stream)
{
    struct connection *c = mem_alloc(sizeof(*c));
    c->p = p;
    c->peer = peer;
    c->serial = ++p->next_serial;
    c->stream = stream;
    c->next = p->connections;
    if (c->next)
        c->next->link = &c->next;
    c->link = &p->connections;
    p->connections = c;
    stream->data = c;
    return c;
}

struct write {
    uv_write_t req;
    char data[];
};

static void on_written(uv_write_t *w, int status)
{
    (void)status; /* a broken connection is noticed by the reader */
    free(w);
}

static bool send_frame(struct connection *c, uint8_t type, const void *payload, size_t len)
{
    if (uv_stream_get_write_queue_size(c->stream) > WRITE_QUEUE_MAX) {
        close_connection(c);
        return false;
    }
    struct write *w = malloc(sizeof(*w) + 5 + len);
    if (!w)
        abort();
    uint32_t n = (uint32_t)len + 1;
    memcpy(w->data, &n, 4);
    w->data[4] = (char)type;
    if (len)
        memcpy(w->data + 5, payload, len);
    uv_buf_t buf = uv_buf_init(w->data, (unsigned)(5 + len));
    if (uv_write(&w->req, c->stream, &buf, 1, on_written) != 0) {
        free(w);
        close_connection(c);
        return false;
    }
    return true;
}

/* --- outgoing --- */
static void on_connected(void *userdata, uv_stream_t *stream)
{
    struct remote *r = userdata;
    r->connecting = false;
    if (r->p->stopped || r->dropped) {
        transport_close_stream(stream);
        return;
    }
    if (!stream) {
        r->next_url++;
        connect_later(r);
        return;
    }
    r->delay = 0;
    struct connection *c = add_connection(r->p, r->id, stream);
    c->remote = r;
    r->connection = c;
    if (uv_read_start(stream, on_alloc, on_read) != 0)
        close_connection(c);
    else
        r->p->o.on_up(r->p->o.userdata, r->id);
}

static void on_reconnect(uv_timer_t *timer)
{
    struct remote *r = timer->data;
    if (r->p->stopped || r->connection || r->connecting || r->dropped)
        return;
    size_t n = 0;
    while (r->urls[n])
        n++;
    const char *url = n ? r->urls[r->next_url % n] : "";
    r->connecting = true;
    if (!transport_connect(r->p->o.transport, CONNECTION_RPC, r->id, url, on_connected, r)) {
        r->connecting = false;
        r->next_url++;
        connect_later(r);
    }
}

static void connect_later(struct remote *r)
{
    if (r->p->stopped || r->dropped)
        return;
    uv_timer_start(&r->timer, on_reconnect, r->delay, 0);
    r->delay = r->delay ? r->delay * 2 : RECONNECT_MIN;
    if (r->delay > RECONNECT_MAX)
        r->delay = RECONNECT_MAX;
}

/* --- face --- */
struct peers *peers_new(const struct peers_options *o)
{
    struct peers *p = mem_alloc(sizeof(*p));
    p->o = *o;
    return p;
}

static bool same_urls(char *const *a, char *const *b)
{
    for (; *a && *b; a++, b++)
        if (strcmp(*a, *b) != 0)
            return false;
    return !*a && !*b;
}

static void copy_urls(struct remote *r, char *const *urls)
{
    size_t n = 0;
    while (urls[n])
        n++;
    for (char **u = r->urls; u && *u; u++)
        free(*u);
    free(r->urls);
    r->urls = mem_alloc((n + 1) * sizeof(char *));
    for (size_t i = 0; i < n; i++)
        r->urls[i] = mem_strdup(urls[i]);
    r->next_url = 0;
}

static struct remote *find_remote(const struct peers *p, uint64_t id)
{
    struct remote *r = p->remotes;
    while (r && r->id != id)
        r = r->next;
    return r;
}

void peers_set(struct peers *p, uint64_t id, char *const *urls)
{
    struct remote *r = find_remote(p, id);
    if (p->stopped || (r && (r->dropped || same_urls(r->urls, urls))))
        return;
    if (r) {
        copy_urls(r, urls);
        r->delay = 0;
        if (r->connection)
            close_connection(r->connection); /* connects anew */
        else
            connect_later(r);
        return;
    }
    r = mem_alloc(sizeof(*r));
    r->p = p;
    r->id = id;
    copy_urls(r, urls);
    r->next = p->remotes;
    p->remotes = r;
    uv_timer_init(p->o.loop, &r->timer);
    r->timer.data = r;
    connect_later(r);
}

/* What is left of it is small; members don't come back under the same id. */
void peers_drop(struct peers *p, uint64_t id)
{
    struct remote *r = find_remote(p, id);
    if (r) {
        r->dropped = true;
        uv_timer_stop(&r->timer);
    }
    for (struct connection *c = p->connections, *next; c; c = next) {
        next = c->next;
        if (c->peer == id)
            close_connection(c);
    }
}

bool peers_is_up(const struct peers *p, uint64_t id)
{
    const struct remote *r = find_remote(p, id);
    return r && r->connection;
}

void peers_accept(struct peers *p, uint64_t from, uv_stream_t *stream)
{
    if (p->stopped) {
        transport_close_stream(stream);
        return;
    }
    struct connection *c = add_connection(p, from, stream);
    if (uv_read_start(stream, on_alloc, on_read) != 0)
        close_connection(c);
    struct remote *r = find_remote(p, from);
    if (r && !r->connection && !r->connecting) { /* it runs: no reason to wait */
        r->delay = 0;
        connect_later(r);
    }
}

bool peers_send(struct peers *p, uint64_t id, uint8_t type, const void *payload, size_t len)
{
    struct remote *r = find_remote(p, id);
    return r && r->connection && send_frame(r->connection, type, payload, len);
}

void peers_answer(struct peers *p, uint64_t connection, uint8_t type, const void *payload,
                  size_t len)
{
    for (struct connection *c = p->connections; c; c = c->next)
        if (c->serial == connection) {
            send_frame(c, type, payload, len);
            return;
        }
}

void peers_stop(struct peers *p)
{
    if (p->stopped)
        return;
    p->stopped = true;
    while (p->connections)
        close_connection(p->connections);
    for (struct remote *r = p->remotes; r; r = r->next)
        uv_close((uv_handle_t *)&r->timer, NULL);
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    while (p->remotes) {
        struct remote *r = p->remotes;
        p->remotes = r->next;
        for (char **u = r->urls; *u; u++)
            free(*u);
        free(r->urls);
        free(r);
    }
    free(p);
}
