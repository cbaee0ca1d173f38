#include "common/tunnel.h"

#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "common/websocket.h"

enum {
    CONNECT_TIMEOUT_S = 10,
    ANSWER_TIMEOUT_MS = 60000,
    LAST_WORDS_MS = 10000, /* for bytes under way when the other side has ended */
    HEADER_MAX = 16 * 1024,
    BODY_MAX = 64 * 1024,
    PIECE = 32 * 1024,
    WAITING_MAX = 1024 * 1024, /* answers to pings that the client does not take */
};

struct tunnel {
    CURL *curl;
    int fd; /* curl's */
    int status;
    struct buf header; /* of the answer */
    struct buf rest;   /* what came behind it */
    size_t header_len;
    const char *wrapped; /* the WebSocket protocol, when bytes are unwrapped on their way */
};

static void tunnel_free(struct tunnel *t)
{
    if (!t)
        return;
    curl_easy_cleanup(t->curl);
    buf_free(&t->header);
    buf_free(&t->rest);
    free(t);
}

/* --- the other server, by libcurl: TLS or not --- */

enum io { IO_DONE, IO_LATER, IO_ENDED };

static enum io upstream_read(struct tunnel *t, char *p, size_t max, size_t *n)
{
    CURLcode rc = curl_easy_recv(t->curl, p, max, n);
    return rc == CURLE_AGAIN ? IO_LATER : rc != CURLE_OK || !*n ? IO_ENDED : IO_DONE;
}

static enum io upstream_write(struct tunnel *t, const char *p, size_t len, size_t *n)
{
    CURLcode rc = curl_easy_send(t->curl, p, len, n);
    return rc == CURLE_AGAIN ? IO_LATER : rc != CURLE_OK ? IO_ENDED : IO_DONE;
}

static bool wait_for(int fd, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left = deadline_ms - time_monotonic_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int rc = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (rc > 0)
            return true;
        if (rc == 0 || errno != EINTR)
            return false;
    }
}

static bool dial(struct tunnel *t, const struct tunnel_target *to, struct error **err)
{
    char reason[CURL_ERROR_SIZE] = "";
    CURL *c = t->curl = curl_easy_init();
    if (!c) {
        error_setf(err, "libcurl");
        return false;
    }
    curl_easy_setopt(c, CURLOPT_URL, to->server);
    curl_easy_setopt(c, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, reason);
    if (to->client_certificate)
        curl_easy_setopt(c, CURLOPT_SSLCERT, to->client_certificate);
    if (to->client_key)
        curl_easy_setopt(c, CURLOPT_SSLKEY, to->client_key);
    if (to->authority) {
        curl_easy_setopt(c, CURLOPT_CAINFO, to->authority);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* never the system's authorities */
    } else {
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    CURLcode rc = curl_easy_perform(c);
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (rc == CURLE_OK)
        rc = curl_easy_getinfo(c, CURLINFO_ACTIVESOCKET, &fd);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, NULL);
    if (rc != CURLE_OK || fd == CURL_SOCKET_BAD) {
        error_setf(err, "%s", *reason ? reason : curl_easy_strerror(rc));
        return false;
    }
    t->fd = fd;
    return true;
}

/* --- the request --- */

bool tunnel_wanted(const struct httpd_request *r)
{
    const char *values[8];
    size_t n = httpd_header_all(r, "Connection", values, ARRAY_LEN(values));
    bool upgrade = false;
    for (size_t i = 0; i < n && i < ARRAY_LEN(values); i++)
        upgrade |= strcasestr(values[i], "upgrade") != NULL;
    const char *protocol = httpd_header(r, "Upgrade");
    return upgrade && protocol && *protocol;
}

/* Browsers hide a bearer token among the protocols: it is for the first server alone. */
static void add_protocols(struct buf *b, const char *value)
{
    static const char token[] = "base64url.bearer.authorization.k8s.io.";
    cleanup_free char *copy = mem_strdup(value);
    char *save = NULL;
    const char *separator = "Sec-WebSocket-Protocol: ";
    for (char *p = strtok_r(copy, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
        if (!strncmp(p, token, sizeof token - 1))
            continue;
        buf_printf(b, "%s%s", separator, p);
        separator = ", ";
    }
    if (*separator == ',')
        buf_adds(b, "\r\n");
}

static void write_request(const struct httpd_request *r, const struct tunnel_target *to,
                          struct buf *b)
{
    static const char *const passed[] = {"Upgrade", "X-Stream-Protocol-Version",
                                         "Sec-WebSocket-Key", "Sec-WebSocket-Version"};
    const char *values[16], *host = strstr(to->server, "://");
    buf_printf(b, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n", httpd_method(r),
               to->path, host ? host + 3 : to->server);
    if (strcmp(httpd_method(r), "GET") != 0)
        buf_adds(b, "Content-Length: 0\r\n");
    if (to->unwrapped) {
        buf_printf(b, "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\n\r\n", to->unwrapped);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(passed); i++) {
        size_t n = httpd_header_all(r, passed[i], values, ARRAY_LEN(values));
        for (size_t k = 0; k < n && k < ARRAY_LEN(values); k++)
            buf_printf(b, "%s: %s\r\n", passed[i], values[k]);
    }
    size_t n = httpd_header_all(r, "Sec-WebSocket-Protocol", values, ARRAY_LEN(values));
    for (size_t k = 0; k < n && k < ARRAY_LEN(values); k++)
        add_protocols(b, values[k]);
    buf_adds(b, "\r\n");
}

static bool send_all(struct tunnel *t, const char *p, size_t len, int64_t deadline_ms)
{
    while (len) {
        size_t n = 0;
        enum io io = upstream_write(t, p, len, &n);
        if (io == IO_ENDED || (io == IO_LATER && !wait_for(t->fd, POLLOUT, deadline_ms)))
            return false;
        p += n;
        len -= n;
    }
    return true;
}

/* --- the answer --- */

static enum io read_more(struct tunnel *t, struct buf *into, int64_t deadline_ms)
{
    char piece[4096];
    for (;;) {
        size_t n = 0;
        enum io io = upstream_read(t, piece, sizeof piece, &n);
        if (io == IO_DONE)
            buf_add(into, piece, n);
        if (io != IO_LATER)
            return io;
        if (!wait_for(t->fd, POLLIN, deadline_ms))
            return IO_LATER;
    }
}

/* Calls fn with each header line, taken apart in place. */
static void each_header(char *text, void (*fn)(void *ctx, const char *name, const char *value),
                        void *ctx)
{
    char *save = NULL, *line = strtok_r(text, "\r\n", &save); /* the status line */
    while (line && (line = strtok_r(NULL, "\r\n", &save))) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        *value++ = 0;
        fn(ctx, line, value + strspn(value, " \t"));
    }
}

struct answer {
    struct httpd_request *request; /* gets the headers of a 101 */
    long length;                   /* -1: not told */
    char type[128];
};

static void look_at_header(void *ctx, const char *name, const char *value)
{
    struct answer *a = ctx;
    if (!strcasecmp(name, "Content-Length"))
        a->length = strtol(value, NULL, 10);
    else if (!strcasecmp(name, "Content-Type"))
        snprintf(a->type, sizeof a->type, "%s", value);
    if (a->request &&
        (!strcasecmp(name, "Upgrade") || !strcasecmp(name, "X-Stream-Protocol-Version") ||
         !strncasecmp(name, "Sec-WebSocket-", 14)))
        httpd_add_header(a->request, name, value);
}

static struct answer read_headers(const struct tunnel *t, struct httpd_request *request)
{
    struct answer a = {.request = request, .length = -1};
    cleanup_free char *text = mem_strndup(t->header.data, t->header_len);
    each_header(text, look_at_header, &a);
    return a;
}

static bool read_answer(struct tunnel *t, struct error **err)
{
    int64_t deadline = time_monotonic_ms() + ANSWER_TIMEOUT_MS;
    const char *end;
    while (!t->header.len || !(end = strstr(t->header.data, "\r\n\r\n"))) {
        enum io io = t->header.len < HEADER_MAX ? read_more(t, &t->header, deadline) : IO_ENDED;
        if (io != IO_DONE) {
            error_setf(err, io == IO_LATER ? "timeout awaiting response headers"
                            : t->header.len ? "malformed HTTP response"
                                            : "unexpected EOF");
            return false;
        }
    }
    t->header_len = (size_t)(end - t->header.data) + 4;
    buf_add(&t->rest, t->header.data + t->header_len, t->header.len - t->header_len);
    if (sscanf(t->header.data, "HTTP/1.%*1[01] %3d", &t->status) != 1 || t->status < 101) {
        error_setf(err, "malformed HTTP response");
        return false;
    }
    if (t->status == 101)
        return true;
    long length = read_headers(t, NULL).length;
    /* Without a length it ends with the connection, or when nothing more comes. */
    if (length < 0)
        deadline = time_monotonic_ms() + 2000;
    while ((length < 0 || t->rest.len < (size_t)length) && t->rest.len < BODY_MAX &&
           read_more(t, &t->rest, deadline) == IO_DONE)
        ;
    return true;
}

struct tunnel *tunnel_open(const struct httpd_request *r, const struct tunnel_target *to,
                           struct error **err)
{
    struct tunnel *t = mem_alloc(sizeof *t);
    t->wrapped = to->wrapped;
    cleanup_buf struct buf request = {0};
    write_request(r, to, &request);
    bool ok = dial(t, to, err);
    if (ok && !send_all(t, request.data, request.len,
                        time_monotonic_ms() + ANSWER_TIMEOUT_MS)) {
        error_setf(err, "write to %s: connection lost", to->server);
        ok = false;
    }
    if (ok && read_answer(t, err))
        return t;
    tunnel_free(t);
    return NULL;
}

int tunnel_status(const struct tunnel *t)
{
    return t->status;
}

/* --- relaying --- */

/* Bytes on their way in one direction. */
struct flow {
    struct buf out; /* from `at` on */
    size_t at;
    bool ended; /* its source has */
};
struct relay {
    struct tunnel *t;
    struct httpd_upgrade *client;
    struct flow up, down;
    struct websocket socket; /* when wrapped */
    char piece[PIECE];
};

static bool waits(const struct flow *f)
{
    return f->at < f->out.len;
}

static enum io client_result(ssize_t result, size_t *n)
{
    *n = result > 0 ? (size_t)result : 0;
    return result == HTTPD_UPGRADE_LATER ? IO_LATER
           : result == HTTPD_UPGRADE_OVER ? IO_ENDED
                                          : IO_DONE;
}

static enum io client_read(struct httpd_upgrade *u, char *p, size_t max, size_t *n)
{
    return client_result(httpd_upgrade_read(u, p, max), n);
}

static enum io client_write(struct httpd_upgrade *u, const char *p, size_t len, size_t *n)
{
    return client_result(httpd_upgrade_write(u, p, len), n);
}

static void add_unwrapped(void *ctx, const void *p, size_t n, bool begins)
{
    (void)begins; /* where messages end means nothing to SPDY */
    struct relay *r = ctx;
    if (n)
        buf_add(&r->up.out, p, n);
}

/* More from the source of f. */
static bool fetch(struct relay *r, struct flow *f)
{
    bool up = f == &r->up;
    size_t n = 0;
    enum io io = up ? client_read(r->client, r->piece, PIECE, &n)
                    : upstream_read(r->t, r->piece, PIECE, &n);
    f->ended = io == IO_ENDED;
    if (!r->t->wrapped) {
        if (n)
            buf_add(&f->out, r->piece, n);
    } else if (up) {
        if (n && !websocket_feed(&r->socket, r->piece, n, add_unwrapped, r, &r->down.out))
            f->ended = true;
    } else {
        if (n)
            websocket_frame(&f->out, WEBSOCKET_BINARY, r->piece, n);
        if (f->ended && !r->socket.closed)
            websocket_close_frame(&f->out, 1000);
    }
    return io != IO_LATER;
}

/* True when something moved; *over when nobody takes the bytes any more. */
static bool advance(struct relay *r, struct flow *f, bool *over)
{
    bool up = f == &r->up, moved = false;
    if (!waits(f) && !f->ended)
        moved = fetch(r, f);
    if (waits(f)) {
        size_t n = 0;
        const char *p = f->out.data + f->at;
        enum io io = up ? upstream_write(r->t, p, f->out.len - f->at, &n)
                        : client_write(r->client, p, f->out.len - f->at, &n);
        f->at += n;
        moved |= n > 0;
        *over |= io == IO_ENDED || f->out.len - f->at > WAITING_MAX;
    }
    if (f->at && !waits(f)) {
        buf_clear(&f->out);
        f->at = 0;
    }
    *over |= f->ended && !waits(f);
    return moved;
}

/* Neither SPDY nor WebSocket uses TCP's half-close: who ends one direction has said all, and wants
 * to hear no more; what is under way from him is still passed on. */
static void relay_run(struct relay *r)
{
    for (bool over = false; !over;) {
        bool moved = advance(r, &r->up, &over);
        moved |= advance(r, &r->down, &over);
        if (moved || over)
            continue;
        bool ending = r->up.ended || r->down.ended;
        struct pollfd p[2] = {
            {.fd = httpd_upgrade_fd(r->client),
             .events = (short)((waits(&r->up) || r->up.ended ? 0 : POLLIN) | (waits(&r->down) ? POLLOUT : 0))},
            {.fd = r->t->fd,
             .events =
                 (short)((waits(&r->down) || r->down.ended ? 0 : POLLIN) | (waits(&r->up) ? POLLOUT : 0))},
        };
        for (int i = 0; i < 2; i++) /* a hang-up would be told for ever to who waits for the other */
            if (!p[i].events)
                p[i].fd = -1;
        int rc = poll(p, 2, ending ? LAST_WORDS_MS : -1);
        if (rc == 0 || (rc < 0 && errno != EINTR))
            return;
    }
}

static void add_websocket_headers(const struct tunnel *t, struct httpd_request *r)
{
    cleanup_buf struct buf accept = {0};
    const char *key = httpd_header(r, "Sec-WebSocket-Key");
    websocket_accept(&accept, key ? key : "");
    httpd_add_header(r, "Upgrade", "websocket");
    httpd_add_header(r, "Sec-WebSocket-Accept", buf_str(&accept));
    httpd_add_header(r, "Sec-WebSocket-Protocol", t->wrapped);
}

void tunnel_run(struct tunnel *t, struct httpd_request *r)
{
    if (t->status != 101) {
        struct answer a = read_headers(t, NULL);
        httpd_reply(r, t->status, *a.type ? a.type : "text/plain; charset=utf-8", buf_str(&t->rest),
                    t->rest.len);
        tunnel_free(t);
        return;
    }
    if (t->wrapped)
        add_websocket_headers(t, r);
    else
        read_headers(t, r);
    struct httpd_upgrade *u = httpd_upgrade(r);
    if (u) {
        struct relay *relay = mem_alloc(sizeof *relay);
        relay->t = t;
        relay->client = u;
        /* what came right behind the answer goes first */
        if (t->rest.len && t->wrapped)
            websocket_frame(&relay->down.out, WEBSOCKET_BINARY, t->rest.data, t->rest.len);
        else if (t->rest.len)
            buf_add(&relay->down.out, t->rest.data, t->rest.len);
        relay_run(relay);
        buf_free(&relay->up.out);
        buf_free(&relay->down.out);
        free(relay);
        httpd_upgrade_end(u);
    }
    tunnel_free(t);
}
