#include "etcd-lite/transport.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/tls_pump.h"

#define GREETING_MAGIC    0x31504b53u /* "SKP1" */
#define HANDSHAKE_TIMEOUT 5000
#define MAX_PENDING       64 /* connections that have not said who they are */

/* All integers little-endian; the URL follows. */
struct greeting {
    uint32_t magic;
    uint16_t kind;
    uint16_t url_len;
    uint64_t cluster_id, from, to;
};
#define GREETING_OK 'Y' /* else a transport_refusal */

struct handshake {
    struct handshake *next, **link;
    struct transport *t;
    bool incoming, finished, written;
    enum connection_kind kind;
    uint64_t peer;
    struct url url;
    uv_getaddrinfo_t lookup;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd;
    bool lookup_active, poll_active;
    int busy; /* callbacks still to come */
    uv_stream_t *stream;
    uv_write_t write;
    char out[sizeof(struct greeting) + URL_MAX];
    size_t out_len;
    char in[sizeof(struct greeting) + URL_MAX];
    size_t in_len, in_want;
    transport_connected *done;
    void *userdata;
};

struct transport {
    struct transport_options o;
    struct raft_uv_transport raft;
    bool raft_listens; /* libraft has started */
    struct tls_credentials *credentials;
    struct url listen;
    char *advertise_url;
    int listen_fd;
    uv_poll_t listener;
    bool listening, stopped;
    raft_uv_transport_close_cb raft_closed;
    struct handshake *handshakes;
    unsigned n_incoming, attempts;
};

bool url_parse(const char *text, struct url *out, struct error **err)
{
    *out = (struct url){0};
    const char *p = text;
    if (strncmp(p, "https://", 8) == 0) {
        out->tls = true;
        p += 8;
    } else if (strncmp(p, "http://", 7) == 0) {
        p += 7;
    } else {
        error_setf(err, "\"%s\" is no http:// or https:// URL", text);
        return false;
    }
    const char *host = p, *end;
    if (*p == '[') {
        host = p + 1;
        end = strchr(host, ']');
        p = end ? end + 1 : p;
    } else {
        end = p = p + strcspn(p, ":/");
    }
    const char *port = *p == ':' ? p + 1 : NULL;
    size_t port_len = port ? strcspn(port, "/") : 0;
    if (!end || end == host || (size_t)(end - host) >= sizeof(out->host) || port_len == 0 ||
        port_len >= sizeof(out->port) || strspn(port, "0123456789") < port_len ||
        (port[port_len] && port[port_len + 1])) {
        error_setf(err, "\"%s\" is no URL with host and port", text);
        return false;
    }
    memcpy(out->host, host, (size_t)(end - host));
    memcpy(out->port, port, port_len);
    return true;
}

static void free_handle(uv_handle_t *h)
{
    raft_free(h);
}

void transport_close_stream(uv_stream_t *stream)
{
    if (stream && !uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, free_handle);
}

/* --- handshakes --- */
static void release(struct handshake *h)
{
    if (--h->busy > 0 || !h->finished)
        return;
    if (h->link) {
        *h->link = h->next;
        if (h->next)
            h->next->link = h->link;
    }
    free(h);
}

static void on_timer_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct handshake *h = handle->data;
    if (h->fd >= 0)
        close(h->fd);
    h->fd = -1;
    release(h);
}

static void finish(struct handshake *h, bool ok)
{
    if (h->finished)
        return;
    h->finished = true;
    if (h->incoming)
        h->t->n_incoming--;
    uv_close((uv_handle_t *)&h->timer, on_timer_closed);
    if (h->lookup_active)
        uv_cancel((uv_req_t *)&h->lookup);
    if (h->poll_active)
        uv_close((uv_handle_t *)&h->poll, on_poll_closed);
    uv_stream_t *stream = h->stream;
    h->stream = NULL;
    if (stream) {
        uv_read_stop(stream);
        stream->data = NULL;
    }
    if (stream && (!ok || h->t->stopped)) {
        transport_close_stream(stream);
        stream = NULL;
    }
    if (!h->incoming) {
        h->done(h->userdata, stream);
    } else if (stream && h->kind == CONNECTION_RPC) {
        h->t->o.on_rpc(h->t->o.userdata, h->peer, stream);
    } else if (stream && h->kind == CONNECTION_MEMBERS) {
        h->t->o.on_query(h->t->o.userdata, stream);
    } else if (stream && h->t->raft_listens) {
        h->in[h->in_len] = '\0';
        h->t->o.on_raft(h->t->o.userdata, h->peer, h->in + sizeof(struct greeting), stream);
    } else if (stream) {
        transport_close_stream(stream);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    finish(timer->data, false);
}

static struct handshake *new_handshake(struct transport *t, bool incoming)
{
    struct handshake *h = mem_alloc(sizeof(*h));
    h->t = t;
    h->incoming = incoming;
    h->fd = -1;
    h->next = t->handshakes;
    if (h->next)
        h->next->link = &h->next;
    h->link = &t->handshakes;
    t->handshakes = h;
    uv_timer_init(t->o.loop, &h->timer);
    h->timer.data = h;
    h->busy = 1;
    uv_timer_start(&h->timer, on_timeout, HANDSHAKE_TIMEOUT, 0);
    return h;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct handshake *h = handle->data;
    *buf = h ? uv_buf_init(h->in + h->in_len, (unsigned)(h->in_want - h->in_len))
             : uv_buf_init(NULL, 0);
}

static void answer_greeting(struct handshake *h);

static void on_written(uv_write_t *w, int status)
{
    struct handshake *h = w->data;
    h->written = status == 0;
    if (status != 0)
        finish(h, false);
    else if (h->incoming)
        finish(h, h->out[0] == GREETING_OK);
    release(h);
}

static void write_out(struct handshake *h)
{
    uv_buf_t buf = uv_buf_init(h->out, (unsigned)h->out_len);
    h->write.data = h;
    h->busy++;
    if (uv_write(&h->write, h->stream, &buf, 1, on_written) != 0) {
        finish(h, false);
        release(h);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct handshake *h = stream->data;
    if (!h || n == 0)
        return;
    if (n < 0) {
        finish(h, false);
        return;
    }
    h->in_len += (size_t)n;
    if (h->in_len < h->in_want)
        return;
    if (h->incoming) {
        answer_greeting(h);
        return;
    }
    char answer = h->in[0];
    if (answer == REFUSED_OTHER_CLUSTER)
        log_error("A member refuses us: cluster ID mismatch; is its or our data directory another "
                  "cluster's?",
                  "peer", h->url.host, "port", h->url.port);
    else if (answer == REFUSED_OTHER_MEMBER)
        log_error("A member refuses us: it has another id than we expect", "peer", h->url.host,
                  "port", h->url.port);
    struct transport *t = h->t;
    uint64_t peer = h->peer;
    finish(h, answer == GREETING_OK && h->written);
    if (answer != GREETING_OK && t->o.on_refused && !t->stopped)
        t->o.on_refused(t->o.userdata, peer, (enum transport_refusal)answer);
}

static void answer_greeting(struct handshake *h)
{
    struct greeting g;
    memcpy(&g, h->in, sizeof(g));
    if (g.magic != GREETING_MAGIC || g.kind < CONNECTION_RAFT || g.kind > CONNECTION_MEMBERS ||
        g.url_len >= URL_MAX) {
        finish(h, false);
        return;
    }
    h->in_want = sizeof(g) + g.url_len;
    if (h->in_len < h->in_want)
        return;
    uv_read_stop(h->stream);
    h->kind = g.kind;
    h->peer = g.from;
    h->out[0] = GREETING_OK;
    h->out_len = 1;
    if (g.kind == CONNECTION_MEMBERS) {
        write_out(h);
        return;
    }
    h->in[h->in_len] = '\0';
    if (g.cluster_id != h->t->o.cluster_id) {
        log_error("Refusing a member of another cluster: cluster ID mismatch", "url",
                  h->in + sizeof(g));
        h->out[0] = REFUSED_OTHER_CLUSTER;
    } else if (g.to != h->t->o.member_id) {
        h->out[0] = REFUSED_OTHER_MEMBER;
    } else if (h->t->o.is_removed(h->t->o.userdata, g.from)) {
        h->out[0] = (char)REFUSED_REMOVED;
    }
    write_out(h);
}

static void on_tls_failed(const char *why)
{
    log_warn("TLS handshake with a member failed", "reason", why);
}

/* The socket is connected: put TLS on it, make it a stream, greet. */
static void start_stream(struct handshake *h, int fd, bool tls)
{
    int one = 1;
    unsigned user_timeout = 5000; /* ms without acknowledgement until a dead host is given up */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
    uv_stream_t *stream;
    int rc;
    if (tls) {
        fd = tls_pump_start(h->t->o.loop, h->t->credentials, fd, h->incoming ? NULL : h->url.host,
                            on_tls_failed);
        if (fd < 0) {
            finish(h, false);
            return;
        }
        stream = raft_malloc(sizeof(uv_pipe_t));
        if (!stream)
            abort();
        uv_pipe_init(h->t->o.loop, (uv_pipe_t *)stream, 0);
        rc = uv_pipe_open((uv_pipe_t *)stream, fd);
    } else {
        stream = raft_malloc(sizeof(uv_tcp_t));
        if (!stream)
            abort();
        uv_tcp_init(h->t->o.loop, (uv_tcp_t *)stream);
        rc = uv_tcp_open((uv_tcp_t *)stream, fd);
    }
    h->stream = stream;
    stream->data = h;
    if (rc != 0) {
        close(fd);
        finish(h, false);
        return;
    }
    if (h->incoming) {
        h->in_want = sizeof(struct greeting);
    } else {
        h->in_want = 1;
        size_t url_len = strlen(h->t->advertise_url);
        struct greeting g = {GREETING_MAGIC,     (uint16_t)h->kind, (uint16_t)url_len,
                             h->t->o.cluster_id, h->t->o.member_id, h->peer};
        memcpy(h->out, &g, sizeof(g));
        memcpy(h->out + sizeof(g), h->t->advertise_url, url_len);
        h->out_len = sizeof(g) + url_len;
        write_out(h);
    }
    if (!h->finished && uv_read_start(stream, on_alloc, on_read) != 0)
        finish(h, false);
}

/* --- connecting --- */
static void on_connected(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct handshake *h = poll->data;
    if (h->finished)
        return;
    int error = 0;
    socklen_t len = sizeof(error);
    if (status < 0 || getsockopt(h->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error) {
        finish(h, false);
        return;
    }
    int fd = h->fd;
    h->fd = -1;
    h->poll_active = false;
    uv_poll_stop(poll);
    /* Another handle will watch this socket: the poll must be off it first. Duplicating is
     * simplest. */
    int dup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    h->fd = fd;
    uv_close((uv_handle_t *)poll, on_poll_closed);
    if (dup_fd < 0)
        finish(h, false);
    else
        start_stream(h, dup_fd, h->url.tls);
}

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *res)
{
    struct handshake *h = lookup->data;
    h->lookup_active = false;
    if (status == 0 && !h->finished) {
        int fd = socket(res->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0 || (connect(fd, res->ai_addr, res->ai_addrlen) < 0 && errno != EINPROGRESS)) {
            if (fd >= 0)
                close(fd);
            finish(h, false);
        } else {
            h->fd = fd;
            uv_poll_init(h->t->o.loop, &h->poll, fd);
            h->poll.data = h;
            h->poll_active = true;
            h->busy++;
            uv_poll_start(&h->poll, UV_WRITABLE, on_connected);
        }
    } else {
        finish(h, false);
    }
    uv_freeaddrinfo(res);
    release(h);
}

bool transport_connect(struct transport *t, enum connection_kind kind, uint64_t to, const char *url,
                       transport_connected *done, void *userdata)
{
    struct url parsed;
    if (t->stopped || !url_parse(url, &parsed, NULL) || (parsed.tls && !t->credentials))
        return false;
    struct handshake *h = new_handshake(t, false);
    h->kind = kind;
    h->peer = to;
    h->url = parsed;
    h->done = done;
    h->userdata = userdata;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    h->lookup.data = h;
    h->busy++;
    h->lookup_active = true;
    if (uv_getaddrinfo(t->o.loop, &h->lookup, on_resolved, parsed.host, parsed.port, &hints) != 0) {
        h->lookup_active = false;
        h->busy--;
        h->finished = true; /* done is not called when we return false */
        uv_close((uv_handle_t *)&h->timer, on_timer_closed);
        return false;
    }
    return true;
}

/* --- listening --- */
static void on_incoming(uv_poll_t *poll, int status, int events)
{
    (void)events;
    struct transport *t = poll->data;
    if (status < 0)
        return;
    int fd;
    while ((fd = accept4(t->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (t->n_incoming >= MAX_PENDING) {
            close(fd);
            continue;
        }
        t->n_incoming++;
        start_stream(new_handshake(t, true), fd, t->listen.tls);
    }
}

static bool start_listening(struct transport *t, struct error **err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE},
                    *res;
    int rc = getaddrinfo(t->listen.host, t->listen.port, &hints, &res);
    if (rc != 0) {
        error_setf(err, "cannot resolve %s: %s", t->listen.host, gai_strerror(rc));
        return false;
    }
    int one = 1;
    t->listen_fd = socket(res->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(t->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    bool ok = t->listen_fd >= 0 && bind(t->listen_fd, res->ai_addr, res->ai_addrlen) == 0 &&
              listen(t->listen_fd, 64) == 0;
    if (!ok)
        error_set_errno(err, errno, "cannot listen for members on %s", t->o.listen_url);
    freeaddrinfo(res);
    return ok;
}

/* --- libraft's face --- */
static int raft_init_transport(struct raft_uv_transport *r, raft_id id, const char *address)
{
    (void)r;
    (void)id;
    (void)address;
    return 0;
}

static int raft_listen(struct raft_uv_transport *r, raft_uv_accept_cb cb)
{
    (void)cb; /* see raft_receive.h */
    ((struct transport *)r->impl)->raft_listens = true;
    return 0;
}

static void on_raft_connected(void *userdata, uv_stream_t *stream)
{
    struct raft_uv_connect *req = userdata;
    req->cb(req, stream, stream ? 0 : RAFT_NOCONNECTION);
}

static int raft_connect(struct raft_uv_transport *r, struct raft_uv_connect *req, raft_id id,
                        const char *address, raft_uv_connect_cb cb)
{
    struct transport *t = r->impl;
    const char *url = t->o.resolve(t->o.userdata, id, t->attempts++);
    /* libraft keeps the first address that it heard of; members move. */
    if (!url && !t->o.is_removed(t->o.userdata, id))
        url = address;
    req->cb = cb;
    return url && transport_connect(t, CONNECTION_RAFT, id, url, on_raft_connected, req)
               ? 0
               : RAFT_NOCONNECTION;
}

static void raft_close_transport(struct raft_uv_transport *r, raft_uv_transport_close_cb cb)
{
    struct transport *t = r->impl;
    t->raft_listens = false;
    transport_stop(t);
    cb(r);
}

struct raft_uv_transport *transport_raft(struct transport *t)
{
    return &t->raft;
}

struct transport *transport_new(const struct transport_options *o, struct error **err)
{
    struct transport *t = mem_alloc(sizeof(*t));
    t->o = *o;
    t->listen_fd = -1;
    t->advertise_url = mem_strdup(o->advertise_url);
    t->raft.impl = t;
    t->raft.init = raft_init_transport;
    t->raft.listen = raft_listen;
    t->raft.connect = raft_connect;
    t->raft.close = raft_close_transport;
    bool ok = !o->listen_url || url_parse(o->listen_url, &t->listen, err);
    if (ok && strlen(o->advertise_url) >= URL_MAX) {
        error_setf(err, "peer URL is too long");
        ok = false;
    }
    if (ok && o->cert_file && *o->cert_file) {
        t->credentials = tls_credentials_load(o->cert_file, o->key_file, o->ca_file, err);
        ok = t->credentials != NULL;
    } else if (ok && t->listen.tls) {
        error_setf(
            err,
            "https peer URLs need --peer-cert-file, --peer-key-file and --peer-trusted-ca-file");
        ok = false;
    }
    if (!ok || (o->listen_url && !start_listening(t, err))) {
        transport_free(t);
        return NULL;
    }
    if (!o->listen_url)
        return t;
    uv_poll_init(o->loop, &t->listener, t->listen_fd);
    t->listener.data = t;
    t->listening = true;
    uv_poll_start(&t->listener, UV_READABLE, on_incoming);
    return t;
}

void transport_stop(struct transport *t)
{
    if (t->stopped)
        return;
    t->stopped = true;
    if (t->listening)
        uv_close((uv_handle_t *)&t->listener, NULL);
    t->listening = false;
    for (struct handshake *h = t->handshakes, *next; h; h = next) {
        next = h->next;
        finish(h, false);
    }
}

void transport_free(struct transport *t)
{
    if (!t)
        return;
    if (t->listen_fd >= 0)
        close(t->listen_fd);
    tls_credentials_free(t->credentials);
    free(t->advertise_url);
    free(t);
}
