/* Watches: an answer without end, given out line by line. */
#include "common/kube_client_internal.h"
#include <string.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define POLL_MS      200
#define LINE_MAX_LEN ((size_t)64 << 20) /* an object is a few MB at most; more is no watch event */

struct stream {
    bool (*on_line)(void *userdata, const char *line, size_t len);
    void *userdata;
    CURL *handle;
    long http_status;
    struct buf pending; /* an unfinished line, or the body of an error */
    bool stopped, too_long;
    int64_t last_data_ms;
};

static size_t on_data(char *p, size_t size, size_t count, void *userdata)
{
    struct stream *s = userdata;
    size_t n = size * count;
    s->last_data_ms = time_monotonic_ms();
    if (!s->http_status)
        curl_easy_getinfo(s->handle, CURLINFO_RESPONSE_CODE, &s->http_status);
    if (s->pending.len + n > LINE_MAX_LEN) {
        s->too_long = true;
        return CURL_WRITEFUNC_ERROR;
    }
    if (s->http_status >= 400) {
        buf_add(&s->pending, p, n);
        return n;
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
        return CURL_WRITEFUNC_ERROR;
    if (at < end)
        buf_add(&s->pending, at, (size_t)(end - at));
    return n;
}

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
            curl_multi_wakeup(w->multi);
    pthread_mutex_unlock(&c->lock);
}

/* Drives the transfer to its end. Returns curl's result; *timed_out and s->stopped tell other endings. */
static CURLcode drive(struct stream *s, CURLM *multi, const volatile bool *stop, int poll_ms,
                      int idle_timeout_ms, bool *timed_out)
{
    for (;;) {
        int running = 0;
        if (curl_multi_perform(multi, &running) != CURLM_OK)
            return CURLE_FAILED_INIT;
        int left;
        for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));)
            if (m->msg == CURLMSG_DONE)
                return m->data.result;
        if (!running)
            return CURLE_OK;
        if (stop && __atomic_load_n(stop, __ATOMIC_ACQUIRE)) {
            s->stopped = true;
            return CURLE_OK;
        }
        int wait = poll_ms;
        if (idle_timeout_ms > 0) {
            int64_t left_ms = s->last_data_ms + idle_timeout_ms - time_monotonic_ms();
            if (left_ms <= 0) {
                *timed_out = true;
                return CURLE_OPERATION_TIMEDOUT;
            }
            if (left_ms < wait)
                wait = (int)left_ms;
        }
        curl_multi_poll(multi, NULL, 0, wait, NULL);
    }
}

static bool stream(struct kube_client *c, const char *path_and_query,
                   bool (*on_line)(void *userdata, const char *line, size_t len), void *userdata,
                   const volatile bool *stop, int poll_ms, int idle_timeout_ms, struct error **err)
{
    struct curl_slist *headers = NULL;
    struct stream s = {.on_line = on_line, .userdata = userdata, .last_data_ms = time_monotonic_ms()};
    CURLM *multi = curl_multi_init();
    s.handle = multi ? kube_client_handle(c, NULL, path_and_query, &headers, NULL) : NULL;
    if (!s.handle) {
        if (multi)
            curl_multi_cleanup(multi);
        error_setf(err, "watching %s: out of memory", path_and_query);
        return false;
    }
    curl_easy_setopt(s.handle, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(s.handle, CURLOPT_WRITEDATA, &s);
    curl_multi_add_handle(multi, s.handle);
    struct stream_wake wake = {.stop = stop, .multi = multi};
    register_stream(c, &wake);
    bool timed_out = false;
    CURLcode rc = drive(&s, multi, stop, poll_ms, idle_timeout_ms, &timed_out);
    unregister_stream(c, &wake);
    if (!s.http_status)
        curl_easy_getinfo(s.handle, CURLINFO_RESPONSE_CODE, &s.http_status);
    curl_multi_remove_handle(multi, s.handle);
    curl_easy_cleanup(s.handle);
    curl_multi_cleanup(multi);
    curl_slist_free_all(headers);

    bool ok = true;
    if (s.stopped) {
        /* asked for */
    } else if (timed_out) {
        error_setf(err, "watching %s: nothing heard for %d ms", path_and_query, idle_timeout_ms);
        ok = false;
    } else if (s.too_long) {
        error_setf(err, "watching %s: line too long", path_and_query);
        ok = false;
    } else if (rc != CURLE_OK) {
        error_setf(err, "watching %s: %s", path_and_query, curl_easy_strerror(rc));
        ok = false;
    } else if (s.http_status >= 400) {
        kube_client_status_error(s.http_status, buf_str(&s.pending), s.pending.len, err);
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
    return stream(c, path_and_query, on_line, userdata, stop, stop ? POLL_MS : 60000, idle_timeout_ms, err);
}

bool kube_stream_quiet(struct kube_client *c, const char *path_and_query,
                       bool (*on_line)(void *userdata, const char *line, size_t len), void *userdata,
                       const volatile bool *stop, int idle_timeout_ms, struct error **err)
{
    return stream(c, path_and_query, on_line, userdata, stop, 60000, idle_timeout_ms, err);
}
