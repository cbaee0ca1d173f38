/* Watches: an answer without end, given out line by line. */
#include "common/kube_client_internal.h"
#include <errno.h>
#include <http_parser.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/connection.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define POLL_MS      200
#define READ_SIZE    8192               /* on the stack of a thread that mostly waits */
#define LINE_MAX_LEN ((size_t)64 << 20) /* an object is a few MB at most; more is no watch event   \
                                         */

struct stream {
    bool (*on_line)(void *userdata, const char *line, size_t len);
    void *userdata;
    http_parser parser;
    struct buf pending; /* an unfinished line, or the body of an error */
    bool stopped, too_long, complete;
    int64_t last_data_ms;
};

static int on_body(http_parser *parser, const char *p, size_t n)
{
    struct stream *s = parser->data;
    if (s->pending.len + n > LINE_MAX_LEN) {
        s->too_long = true;
        return -1;
    }
    if (parser->status_code >= 400) {
        buf_add(&s->pending, p, n);
        return 0;
    }
    const char *at = p, *end = p + n, *newline;
    while (!s->stopped && (newline = memchr(at, '\n', (size_t)(end - at)))) {
        size_t len = (size_t)(newline - at);
        if (s->pending.len) {
            buf_add(&s->pending, at, len);
            s->stopped = !s->on_line(s->userdata, s->pending.data, s->pending.len);
            /* A rare big line must not stay in memory for the life of a watch. */
            if (s->pending.cap > 65536)
                buf_free(&s->pending);
            else
                buf_clear(&s->pending);
        } else if (len) {
            s->stopped = !s->on_line(s->userdata, at, len);
        }
        at = newline + 1;
    }
    if (s->stopped)
        return -1;
    if (at < end)
        buf_add(&s->pending, at, (size_t)(end - at));
    return 0;
}

static int on_complete(http_parser *parser)
{
    struct stream *s = parser->data;
    s->complete = true;
    return 0;
}

static const http_parser_settings settings = {.on_body = on_body,
                                              .on_message_complete = on_complete};

static void register_stream(struct kube_client *c, struct stream_wake *w)
{
    pthread_mutex_lock(&c->lock);
    w->next = c->streams;
    c->streams = w;
    pthread_mutex_unlock(&c->lock);
}

static void unregister_stream(struct kube_client *c, struct stream_wake *w)
{
    pthread_mutex_lock(&c->lock);
    struct stream_wake **at = &c->streams;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    pthread_mutex_unlock(&c->lock);
}

void kube_stream_wake(struct kube_client *c, const volatile bool *stop)
{
    pthread_mutex_lock(&c->lock);
    for (struct stream_wake *w = c->streams; w; w = w->next)
        if (w->stop == stop)
            eventfd_write(w->event_fd, 1);
    pthread_mutex_unlock(&c->lock);
}

/* --- one exchange --- */

static bool is_set(const volatile bool *stop)
{
    return stop && __atomic_load_n(stop, __ATOMIC_ACQUIRE);
}

/* What it was woken for has been seen to. */
static void clear_wake(int event_fd)
{
    eventfd_t n;
    eventfd_read(event_fd, &n);
}

static char *request_text(struct kube_client *c, const char *authority, const char *path_and_query)
{
    const char *prefix = strchr(strstr(c->config.server, "://") + 3, '/');
    char *auth = kube_client_authorization(c);
    char *text = mem_printf(
        "GET %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: application/json\r\n%s%s\r\n",
        prefix ? prefix : "", path_and_query, authority, c->config.user_agent, auth ? auth : "",
        auth ? "\r\n" : "");
    if (auth)
        explicit_bzero(auth, strlen(auth));
    free(auth);
    return text;
}

static bool send_all(struct connection *to, const char *text, int event_fd, int64_t deadline_ms)
{
    for (size_t len = strlen(text); len;) {
        ssize_t n = connection_write(to, text, len);
        if (n < 0 ||
            (n == 0 && connection_wait(to, true, deadline_ms, event_fd) != CONNECTION_READY))
            return false;
        text += n;
        len -= (size_t)n;
    }
    return true;
}

/* Reads the answer to its end. False with an error; s->stopped tells of the other endings. */
static bool drive(struct stream *s, struct connection *from, const volatile bool *stop,
                  int event_fd, int poll_ms, int idle_timeout_ms, struct error **err)
{
    char bytes[READ_SIZE];
    while (!s->complete) {
        if (is_set(stop)) {
            s->stopped = true;
            return true;
        }
        ssize_t n = connection_read(from, bytes, sizeof bytes);
        if (n == 0) {
            int64_t now = time_monotonic_ms(), until = now + poll_ms,
                    silent = s->last_data_ms + idle_timeout_ms;
            if (idle_timeout_ms > 0 && now >= silent) {
                error_setf(err, "nothing heard for %d ms", idle_timeout_ms);
                return false;
            }
            if (connection_wait(from, false, idle_timeout_ms > 0 && silent < until ? silent : until,
                                event_fd) == CONNECTION_WOKEN)
                clear_wake(event_fd);
            continue;
        }
        s->last_data_ms = time_monotonic_ms();
        size_t len = n < 0 ? 0 : (size_t)n; /* 0 tells the parser of the end */
        size_t used = http_parser_execute(&s->parser, &settings, bytes, len);
        enum http_errno e = HTTP_PARSER_ERRNO(&s->parser);
        if (s->stopped || s->complete)
            return true;
        if (s->too_long)
            error_setf(err, "line too long");
        else if (n < 0)
            error_setf(err, e == HPE_OK && s->parser.status_code ? "unexpected EOF"
                                                                 : "connection reset by peer");
        else if (e != HPE_OK || used != len)
            error_setf(err, "no HTTP answer: %s", http_errno_description(e));
        else
            continue;
        return false;
    }
    return true;
}

static bool stream(struct kube_client *c, const char *path_and_query,
                   bool (*on_line)(void *userdata, const char *line, size_t len), void *userdata,
                   const volatile bool *stop, int poll_ms, int idle_timeout_ms, struct error **err)
{
    struct stream s = {
        .on_line = on_line, .userdata = userdata, .last_data_ms = time_monotonic_ms()};
    http_parser_init(&s.parser, HTTP_RESPONSE);
    s.parser.data = &s;
    struct stream_wake wake = {.stop = stop, .event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (wake.event_fd < 0) {
        error_set_errno(err, errno, "watching %s", path_and_query);
        return false;
    }
    register_stream(c, &wake);
    struct error *why = NULL;
    cleanup_connection struct connection *to =
        connection_open(c->config.server, c->tls, CONNECT_TIMEOUT_MS, wake.event_fd, &why);
    bool ok = to != NULL;
    if (ok) {
        cleanup_free char *text = request_text(c, connection_authority(to), path_and_query);
        ok = send_all(to, text, wake.event_fd, time_monotonic_ms() + CONNECT_TIMEOUT_MS);
        if (!ok)
            error_setf(&why, "the request could not be sent");
        explicit_bzero(text, strlen(text));
    }
    ok = ok && drive(&s, to, stop, wake.event_fd, poll_ms, idle_timeout_ms, &why);
    unregister_stream(c, &wake);
    close(wake.event_fd);

    if (s.stopped || is_set(stop)) {
        error_free(why); /* asked for */
        ok = true;
    } else if (!ok) {
        error_wrap(&why, "watching %s", path_and_query);
        error_move(err, why);
    } else if (s.parser.status_code >= 400) {
        kube_client_status_error(s.parser.status_code, buf_str(&s.pending), s.pending.len, err);
        ok = false;
    } else if (s.pending.len) {
        on_line(userdata, s.pending.data, s.pending.len); /* a last line without its newline */
    }
    buf_free(&s.pending);
    return ok;
}

bool kube_stream(struct kube_client *c, const char *path_and_query,
                 bool (*on_line)(void *userdata, const char *line, size_t len), void *userdata,
                 const volatile bool *stop, int idle_timeout_ms, struct error **err)
{
    return stream(c, path_and_query, on_line, userdata, stop, stop ? POLL_MS : 60000,
                  idle_timeout_ms, err);
}

bool kube_stream_quiet(struct kube_client *c, const char *path_and_query,
                       bool (*on_line)(void *userdata, const char *line, size_t len),
                       void *userdata, const volatile bool *stop, int idle_timeout_ms,
                       struct error **err)
{
    return stream(c, path_and_query, on_line, userdata, stop, 60000, idle_timeout_ms, err);
}
