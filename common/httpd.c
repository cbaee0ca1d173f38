#include "common/httpd.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/httpd_internal.h"
#include "common/log.h"
#include "common/mem.h"

/* A connection's memory holds its request line, headers and the pieces in flight; the body is kept
 * outside. */
#define CONNECTION_MEMORY ((size_t)32 * 1024)
/* How long a stop waits for clients to take their answers. */
#define SEND_TIMEOUT_SECONDS 2
#define CONNECTION_LIMIT     16384U
/* A client that sends a body beyond the limit gets its 413 after the body, because answering and
 * closing amid its writes would reset the connection and lose the answer; past this much it is cut
 * off. */
#define DISCARD_LIMIT ((size_t)64 * 1024 * 1024)
#define TLS_PRIORITIES                                                                             \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM:+AES-256-GCM:+CHACHA20-"  \
    "POLY1305:"                                                                                    \
    "%SERVER_PRECEDENCE"

/* --- answers --- */

enum { PIECE_SIZE = 32 * 1024 };

void httpd_add_header(struct httpd_request *r, const char *name, const char *value)
{
    r->headers = mem_realloc(r->headers, (r->header_count + 1) * sizeof *r->headers);
    r->headers[r->header_count++] = (struct pair){mem_strdup(name), mem_strdup(value)};
}

void httpd_request_apply_headers(struct httpd_request *r, struct MHD_Response *response,
                                 const char *content_type)
{
    if (content_type)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    for (size_t i = 0; i < r->header_count; i++)
        MHD_add_response_header(response, r->headers[i].name, r->headers[i].value);
}

void httpd_answered(struct httpd *h)
{
    pthread_mutex_lock(&h->mutex);
    assert(h->unanswered > 0);
    if (--h->unanswered == 0 && h->stopping)
        pthread_cond_broadcast(&h->idle);
    pthread_mutex_unlock(&h->mutex);
}

void httpd_request_answer(struct httpd_request *r, int status, struct MHD_Response *response)
{
    struct httpd *h = r->server;
    pthread_mutex_lock(&r->mutex);
    assert(!r->response);
    r->response = response;
    r->status = status;
    if (r->suspended) {
        r->suspended = false;
        MHD_resume_connection(r->connection);
    }
    pthread_mutex_unlock(&r->mutex);
    httpd_request_unref(r);
    httpd_answered(h);
}

static void reply_response(struct httpd_request *r, int status, const char *content_type,
                           struct MHD_Response *response)
{
    assert(response);
    httpd_request_apply_headers(r, response, content_type);
    httpd_request_answer(r, status, response);
}

void httpd_reply(struct httpd_request *r, int status, const char *content_type, const void *body,
                 size_t len)
{
    reply_response(
        r, status, content_type,
        MHD_create_response_from_buffer(len, (void *)(len ? body : ""), MHD_RESPMEM_MUST_COPY));
}

void httpd_reply_take(struct httpd_request *r, int status, const char *content_type, char *body,
                      size_t len)
{
    reply_response(r, status, content_type,
                   MHD_create_response_from_buffer(len, body, MHD_RESPMEM_MUST_FREE));
}

void httpd_reply_shared(struct httpd_request *r, int status, const char *content_type,
                        const void *body, size_t len, void (*release)(void *), void *owner)
{
    reply_response(
        r, status, content_type,
        MHD_create_response_from_buffer_with_free_callback_cls(len, (void *)body, release, owner));
}

struct pieces {
    size_t (*fill)(void *owner, uint64_t at, char *out, size_t max);
    void (*release)(void *);
    void *owner;
};

static ssize_t read_piece(void *cls, uint64_t at, char *out, size_t max)
{
    struct pieces *p = cls;
    size_t n = p->fill(p->owner, at, out, max);
    return n ? (ssize_t)n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void pieces_free(void *cls)
{
    struct pieces *p = cls;
    p->release(p->owner);
    free(p);
}

void httpd_reply_pieces(struct httpd_request *r, int status, const char *content_type, uint64_t len,
                        size_t (*fill)(void *owner, uint64_t at, char *out, size_t max),
                        void (*release)(void *), void *owner)
{
    struct pieces *p = mem_alloc(sizeof *p);
    *p = (struct pieces){fill, release, owner};
    reply_response(r, status, content_type,
                   MHD_create_response_from_callback(len, PIECE_SIZE, read_piece, p, pieces_free));
}

void httpd_defer(struct httpd_request *r)
{
    pthread_mutex_lock(&r->mutex);
    r->deferred = true;
    pthread_mutex_unlock(&r->mutex);
}

/* --- libmicrohttpd's callbacks, on I/O threads --- */

/* The first to see a request: keeps the target as it was sent. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    (void)cls;
    (void)connection;
    return httpd_request_new(uri);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    (void)cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        httpd_peer_free(*socket_context);
        *socket_context = NULL;
        return;
    }
    struct peer *p = mem_alloc(sizeof *p);
    *socket_context = p;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info && info->client_addr) {
        const struct sockaddr *a = info->client_addr;
        char host[INET6_ADDRSTRLEN] = "";
        if (a->sa_family == AF_INET) {
            const struct sockaddr_in *in = (const struct sockaddr_in *)a;
            inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
            snprintf(p->address, sizeof p->address, "%s:%u", host, ntohs(in->sin_port));
        } else if (a->sa_family == AF_INET6) {
            const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)a;
            inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof host);
            snprintf(p->address, sizeof p->address, "[%s]:%u", host, ntohs(in->sin6_port));
        }
    }
    info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info) {
        /* A host that vanished must not hold a watch for ever. */
        int fd = info->connect_fd, one = 1, idle = 30, interval = 10, count = 3;
        unsigned user_timeout_ms = 60000;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout_ms, sizeof user_timeout_ms);
    }
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    (void)c;
    (void)code;
    struct httpd *h = cls;
    struct httpd_request *r = *con_cls;
    if (!r)
        return;
    if (r->handed) {
        pthread_mutex_lock(&h->mutex);
        if (--h->unfinished == 0 && h->stopping)
            pthread_cond_broadcast(&h->idle);
        pthread_mutex_unlock(&h->mutex);
    }
    httpd_request_unref(r);
    *con_cls = NULL;
}

static void add_body(struct httpd_request *r, const char *data, size_t n)
{
    if (!r->too_large && r->body_len + n > r->server->options.max_body) {
        r->too_large = true;
        r->discarded = r->body_len;
        free(r->body);
        r->body = NULL;
        r->body_len = r->body_cap = 0;
    }
    if (r->too_large) {
        r->discarded += n;
        return;
    }
    if (r->body_len + n + 1 > r->body_cap) {
        size_t cap = r->body_cap ? r->body_cap * 2 : 512;
        while (cap < r->body_len + n + 1)
            cap *= 2;
        r->body = mem_realloc(r->body, cap);
        r->body_cap = cap;
    }
    memcpy(r->body + r->body_len, data, n);
    r->body_len += n;
    r->body[r->body_len] = 0;
}

/* True when this request may go to the handler: the answer is then counted on. */
static bool admit(struct httpd *h)
{
    pthread_mutex_lock(&h->mutex);
    bool ok = !h->stopping;
    if (ok) {
        h->unanswered++;
        h->unfinished++;
    }
    pthread_mutex_unlock(&h->mutex);
    return ok;
}

static enum MHD_Result hand_over(struct httpd *h, struct httpd_request *r)
{
    if (!admit(h))
        return MHD_NO;
    r->handed = true;
    atomic_fetch_add(&r->refs, 1);
    if (!r->too_large)
        h->options.handler(r, h->options.userdata);
    else if (h->options.too_large)
        h->options.too_large(r, h->options.userdata);
    else
        httpd_reply(r, 413, "text/plain", "request body too large\n", 23);
    return MHD_YES;
}

static enum MHD_Result queue_answer(struct httpd_request *r, struct MHD_Connection *c)
{
    struct MHD_Response *response = r->response;
    r->response = NULL;
    r->queued = true;
    enum MHD_Result ok = MHD_queue_response(c, (unsigned)r->status, response);
    MHD_destroy_response(response);
    return ok;
}

/* Called with the headers, with each piece of the body, with its end, and again when a suspended
 * connection is resumed. */
static enum MHD_Result on_access(void *cls, struct MHD_Connection *c, const char *url,
                                 const char *method, const char *version, const char *upload_data,
                                 size_t *upload_data_size, void **con_cls)
{
    (void)url;
    (void)version;
    struct httpd *h = cls;
    struct httpd_request *r = *con_cls;
    if (!r->connection) { /* headers */
        r->server = h;
        r->connection = c;
        r->method = mem_strdup(method);
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        r->peer = info->socket_context;
        if (!r->peer->checked && h->options.cert_file)
            httpd_peer_check(r->peer, c);
        if (h->options.require_client_cert && !r->peer->cn)
            return MHD_NO;
        /* Refused before it is sent, when the client asks first. */
        const char *length =
            MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
        if (length && MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) &&
            strtoull(length, NULL, 10) > h->options.max_body) {
            r->too_large = true;
            if (!hand_over(h, r))
                return MHD_NO;
            return r->response ? queue_answer(r, c) : MHD_NO;
        }
        return MHD_YES;
    }
    if (*upload_data_size) {
        add_body(r, upload_data, *upload_data_size);
        *upload_data_size = 0;
        return r->discarded > DISCARD_LIMIT ? MHD_NO : MHD_YES;
    }
    if (!r->handed && !hand_over(h, r))
        return MHD_NO;
    pthread_mutex_lock(&r->mutex);
    enum MHD_Result ok = MHD_YES;
    bool ready = r->response != NULL;
    if (r->abandoned || r->queued) { /* told to stop, a daemon forgets what is queued and asks again */
        ok = MHD_NO;
    } else if (!ready) {
        assert(r->deferred); /* the handler neither answered nor kept the request */
        r->suspended = true;
        MHD_suspend_connection(c);
        if (r->upgrade)
            httpd_upgrade_suspended(r->upgrade);
    }
    pthread_mutex_unlock(&r->mutex);
    if (ready)
        ok = queue_answer(r, c);
    return ok;
}

static void on_log(void *cls, const char *fmt, va_list ap)
{
    (void)cls;
    if (log_verbosity < 4)
        return;
    char text[512];
    vsnprintf(text, sizeof text, fmt, ap);
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n')
        text[--n] = 0;
    log_debug(4, "libmicrohttpd", "message", text);
}

/* --- start and stop --- */

static int listen_on(const char *address, bool *ipv6, int *port, struct error **err)
{
    cleanup_free char *host = mem_strdup(address);
    char *colon = strrchr(host, ':');
    if (!colon) {
        error_setf(err, "listen address %s has no port", address);
        return -1;
    }
    *colon = 0;
    char *name = host;
    if (*name == '[' && colon > name && colon[-1] == ']') {
        colon[-1] = 0;
        name++;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *info = NULL;
    int rc = getaddrinfo(*name ? name : "::", colon + 1, &hints, &info);
    if (rc) {
        error_setf(err, "listen address %s: %s", address, gai_strerror(rc));
        return -1;
    }
    *ipv6 = info->ai_family == AF_INET6;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, off = 0;
    bool ok = fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) &&
              (!*ipv6 || !setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off)) &&
              !setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) &&
              !bind(fd, info->ai_addr, info->ai_addrlen) && !listen(fd, 1024);
    int saved = errno;
    freeaddrinfo(info);
    if (!ok) {
        error_set_errno(err, saved, "listen on %s", address);
        if (fd >= 0)
            close(fd);
        return -1;
    }
    struct sockaddr_storage bound;
    socklen_t len = sizeof bound;
    getsockname(fd, (struct sockaddr *)&bound, &len);
    *port = ntohs(*ipv6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                        : ((struct sockaddr_in *)&bound)->sin_port);
    return fd;
}

static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void httpd_free(struct httpd *h)
{
    httpd_streams_free(h);
    pthread_cond_destroy(&h->idle);
    pthread_mutex_destroy(&h->mutex);
    free(h);
}

/* fd: the listening socket, or -1. */
static bool start_daemon(struct httpd *h, int fd, char *cert, char *key, char *ca)
{
    const struct httpd_options *o = &h->options;
    struct MHD_OptionItem items[16];
    unsigned n = 0;
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                         (intptr_t)CONNECTION_MEMORY, NULL};
    items[n++] = (struct MHD_OptionItem){MHD_OPTION_CONNECTION_LIMIT, CONNECTION_LIMIT, NULL};
    items[n++] =
        (struct MHD_OptionItem){MHD_OPTION_CONNECTION_TIMEOUT, o->idle_timeout_seconds, NULL};
    if (fd >= 0) {
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_LISTEN_SOCKET, fd, NULL};
        if (o->threads > 1)
            items[n++] = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, o->threads, NULL};
    }
    if (o->cert_file) {
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, cert};
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, key};
        items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0, TLS_PRIORITIES};
        if (o->client_ca_file)
            items[n++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, ca};
    }
    items[n] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    unsigned flags = MHD_USE_ERROR_LOG | MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
                     (o->cert_file ? MHD_USE_TLS : 0) | (h->ipv6 ? MHD_USE_DUAL_STACK : 0) |
                     (fd < 0 ? MHD_USE_NO_LISTEN_SOCKET : 0);
    struct MHD_Daemon *d = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_URI_LOG_CALLBACK, on_uri, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_ARRAY, items, MHD_OPTION_END);
    if (d)
        h->daemons[h->n_daemons++] = d;
    return d != NULL;
}

struct httpd *httpd_start(const struct httpd_options *o, struct error **err)
{
    cleanup_buf struct buf cert = {0}, key = {0}, ca = {0};
    if (o->cert_file &&
        (!buf_read_file(&cert, o->cert_file, err) || !buf_read_file(&key, o->key_file, err)))
        return NULL;
    if (o->cert_file && o->client_ca_file && !buf_read_file(&ca, o->client_ca_file, err))
        return NULL;
    raise_fd_limit();
    struct httpd *h = mem_alloc(sizeof *h);
    h->options = *o;
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->idle, NULL);
    int fd = -1;
    if (!httpd_streams_start(h, err) ||
        (o->address && (fd = listen_on(o->address, &h->ipv6, &h->port, err)) < 0)) {
        httpd_free(h);
        return NULL;
    }
    unsigned count = fd >= 0 || o->threads < 1 ? 1 : o->threads;
    if (count > HTTPD_MAX_DAEMONS)
        count = HTTPD_MAX_DAEMONS;
    while (h->n_daemons < count && start_daemon(h, fd, cert.data, key.data, ca.data))
        ;
    /* PEM text lives on inside GnuTLS only. */
    if (key.data)
        explicit_bzero(key.data, key.len);
    if (h->n_daemons < count) {
        error_setf(err, "cannot serve%s%s%s", o->address ? " on " : "",
                   o->address ? o->address : "",
                   o->cert_file ? " (is the certificate's key the right one?)" : "");
        while (h->n_daemons)
            MHD_stop_daemon(h->daemons[--h->n_daemons]);
        if (fd >= 0)
            close(fd);
        httpd_free(h);
        return NULL;
    }
    h->options.address = h->options.key_file = h->options.client_ca_file = NULL;
    return h;
}

int httpd_listen(const char *address, int *port, struct error **err)
{
    bool ipv6;
    return listen_on(address, &ipv6, port, err);
}

void httpd_add_connection(struct httpd *h, int fd, const struct sockaddr *from, socklen_t from_len)
{
    unsigned i = atomic_fetch_add(&h->next_daemon, 1) % h->n_daemons;
    MHD_add_connection(h->daemons[i], fd, from, from_len); /* closes it on failure */
}

int httpd_port(const struct httpd *h)
{
    return h->port;
}

/* What was answered is sent, unless its client does not read. */
static void await_sent(struct httpd *h)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SEND_TIMEOUT_SECONDS;
    pthread_mutex_lock(&h->mutex);
    while (h->unfinished && !pthread_cond_timedwait(&h->idle, &h->mutex, &until))
        ;
    pthread_mutex_unlock(&h->mutex);
}

void httpd_stop(struct httpd *h)
{
    if (!h)
        return;
    /* Not by MHD_quiesce_daemon: it races with the daemon's threads for the listening socket's
     * place in their epoll sets. New requests are refused by `stopping`. */
    pthread_mutex_lock(&h->mutex);
    h->stopping = true;
    while (h->unanswered)
        pthread_cond_wait(&h->idle, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
    httpd_streams_close(h);
    httpd_upgrades_stop(h);
    await_sent(h);
    while (h->n_daemons)
        MHD_stop_daemon(h->daemons[--h->n_daemons]);
    httpd_free(h);
}
