/* Streams: a bounded queue of byte pieces between any number of writers and the I/O thread of one
 * connection.
 *
 * While the queue is empty the connection is suspended, and libmicrohttpd does not look at it; a
 * client that hangs up meanwhile is noticed by a thread of our own that waits for the hang-up of
 * all streams' sockets. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/httpd_internal.h"
#include "common/mem.h"

struct chunk {
    struct chunk *next;
    const char *data;
    size_t len;
    void (*release)(void *);
    void *owner;
    char copy[];
};

struct httpd_stream {
    int refs; /* under the mutex: the owner's, the response's, and the hang-up thread's for a moment
               */
    struct httpd *server;
    struct MHD_Connection *connection; /* NULL once the response is over */
    uint32_t slot;
    pthread_mutex_t mutex;
    pthread_cond_t told; /* gone() has returned; room in the queue; dead */
    struct chunk *head, *tail;
    size_t offset; /* of head, already sent */
    size_t queued, max_queued;
    bool suspended;
    bool ended; /* by the owner */
    bool dead;  /* cut off, hung up, or the server stops */
    bool telling;
    pthread_t teller;
    void (*gone)(void *);
    void *userdata;
};

static void chunk_free(struct chunk *c)
{
    if (c->release)
        c->release(c->owner);
    free(c);
}

static void chunks_free(struct chunk *c)
{
    while (c) {
        struct chunk *next = c->next;
        chunk_free(c);
        c = next;
    }
}

static struct chunk *take_queue(struct httpd_stream *s)
{
    struct chunk *c = s->head;
    s->head = s->tail = NULL;
    s->queued = s->offset = 0;
    return c;
}

/* Unlocks. */
static void unref_locked(struct httpd_stream *s)
{
    bool last = --s->refs == 0;
    struct chunk *queue = last ? take_queue(s) : NULL;
    pthread_mutex_unlock(&s->mutex);
    if (!last)
        return;
    chunks_free(queue);
    pthread_cond_destroy(&s->told);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* With the mutex held. */
static void wake(struct httpd_stream *s)
{
    if (s->suspended) {
        s->suspended = false;
        MHD_resume_connection(s->connection);
    }
}

/* With the mutex held: nothing more will be sent, and the connection is torn down even if the
 * client does not read. */
static void kill_stream(struct httpd_stream *s)
{
    s->dead = true;
    pthread_cond_broadcast(&s->told);
    if (!s->connection)
        return;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(s->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info)
        shutdown(info->connect_fd, SHUT_RDWR);
    wake(s);
}

/* --- the I/O thread's side --- */

static ssize_t read_stream(void *cls, uint64_t pos, char *out, size_t max)
{
    (void)pos;
    struct httpd_stream *s = cls;
    size_t n = 0;
    struct chunk *done = NULL, **done_end = &done;
    pthread_mutex_lock(&s->mutex);
    while (!s->dead && s->head && n < max) {
        struct chunk *c = s->head;
        size_t part = c->len - s->offset < max - n ? c->len - s->offset : max - n;
        memcpy(out + n, c->data + s->offset, part);
        n += part;
        s->offset += part;
        s->queued -= part;
        if (s->offset < c->len)
            break;
        s->head = c->next;
        if (!s->head)
            s->tail = NULL;
        s->offset = 0;
        c->next = NULL;
        *done_end = c;
        done_end = &c->next;
    }
    if (n)
        pthread_cond_broadcast(&s->told);
    ssize_t result = (ssize_t)n;
    if (s->dead) {
        result = MHD_CONTENT_READER_END_WITH_ERROR;
    } else if (!n && s->ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (!n) {
        s->suspended = true;
        MHD_suspend_connection(s->connection);
    }
    pthread_mutex_unlock(&s->mutex);
    chunks_free(done);
    return result;
}

static void forget_slot(struct httpd_stream *s)
{
    struct httpd *h = s->server;
    pthread_mutex_lock(&h->streams_mutex);
    struct stream_slot *slot = &h->slots[s->slot];
    assert(slot->stream == s);
    slot->stream = NULL;
    slot->generation++;
    slot->next_free = h->first_free;
    h->first_free = s->slot;
    pthread_mutex_unlock(&h->streams_mutex);
}

/* The response is over: all sent, or the client left. */
static void stream_over(void *cls)
{
    struct httpd_stream *s = cls;
    forget_slot(s);
    pthread_mutex_lock(&s->mutex);
    s->connection = NULL;
    s->suspended = false;
    s->dead = true;
    pthread_cond_broadcast(&s->told);
    struct chunk *queue = take_queue(s);
    bool tell = !s->ended && s->gone;
    if (tell) {
        s->telling = true;
        s->teller = pthread_self();
    }
    pthread_mutex_unlock(&s->mutex);
    chunks_free(queue);
    if (tell)
        s->gone(s->userdata);
    pthread_mutex_lock(&s->mutex);
    s->telling = false;
    pthread_cond_broadcast(&s->told);
    unref_locked(s);
}

/* --- the owner's side --- */

static void take_slot(struct httpd_stream *s)
{
    struct httpd *h = s->server;
    pthread_mutex_lock(&h->streams_mutex);
    if (h->first_free == UINT32_MAX) {
        uint32_t count = h->slot_count ? h->slot_count * 2 : 64;
        h->slots = mem_realloc(h->slots, count * sizeof *h->slots);
        for (uint32_t i = h->slot_count; i < count; i++)
            h->slots[i] = (struct stream_slot){NULL, 0, i + 1 < count ? i + 1 : UINT32_MAX};
        h->first_free = h->slot_count;
        h->slot_count = count;
    }
    s->slot = h->first_free;
    h->first_free = h->slots[s->slot].next_free;
    h->slots[s->slot].stream = s;
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT,
                                .data.u64 = (uint64_t)s->slot << 32 | h->slots[s->slot].generation};
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(s->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    /* A later stream on the same connection finds its socket there already. The entry goes when the
     * socket is closed. */
    if (info && epoll_ctl(h->hangup_epoll, EPOLL_CTL_ADD, info->connect_fd, &event) &&
        errno == EEXIST)
        epoll_ctl(h->hangup_epoll, EPOLL_CTL_MOD, info->connect_fd, &event);
    pthread_mutex_unlock(&h->streams_mutex);
}

struct httpd_stream *httpd_stream_start(struct httpd_request *r, int status,
                                        const char *content_type, size_t max_queued,
                                        void (*gone)(void *), void *userdata)
{
    struct httpd_stream *s = mem_alloc(sizeof *s);
    s->refs = 2;
    s->server = r->server;
    s->connection = r->connection;
    s->max_queued = max_queued;
    s->gone = gone;
    s->userdata = userdata;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_cond_init(&s->told, NULL);
    take_slot(s);
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, s, stream_over);
    assert(response);
    httpd_request_apply_headers(r, response, content_type);
    httpd_request_answer(r, status, response);
    return s;
}

static bool enqueue(struct httpd_stream *s, struct chunk *c)
{
    pthread_mutex_lock(&s->mutex);
    assert(!s->ended);
    struct chunk *lost = NULL;
    bool ok = !s->dead;
    if (ok && s->queued + c->len > s->max_queued) {
        ok = false;
        lost = take_queue(s);
        kill_stream(s);
    }
    if (ok && c->len) {
        if (s->tail)
            s->tail->next = c;
        else
            s->head = c;
        s->tail = c;
        s->queued += c->len;
        wake(s);
        c = NULL;
    }
    pthread_mutex_unlock(&s->mutex);
    if (c)
        chunk_free(c);
    chunks_free(lost);
    return ok;
}

bool httpd_stream_write(struct httpd_stream *s, const void *p, size_t n)
{
    struct chunk *c = malloc(sizeof *c + n);
    if (!c)
        abort();
    *c = (struct chunk){.data = c->copy, .len = n};
    memcpy(c->copy, p, n);
    return enqueue(s, c);
}

bool httpd_stream_write_wait(struct httpd_stream *s, const void *p, size_t n)
{
    pthread_mutex_lock(&s->mutex);
    while (!s->dead && s->queued && s->queued + n > s->max_queued)
        pthread_cond_wait(&s->told, &s->mutex);
    bool ok = !s->dead;
    pthread_mutex_unlock(&s->mutex);
    return ok && httpd_stream_write(s, p, n);
}

bool httpd_stream_write_shared(struct httpd_stream *s, const void *p, size_t n,
                               void (*release)(void *), void *owner)
{
    struct chunk *c = mem_alloc(sizeof *c);
    *c = (struct chunk){.data = p, .len = n, .release = release, .owner = owner};
    return enqueue(s, c);
}

void httpd_stream_end(struct httpd_stream *s)
{
    pthread_mutex_lock(&s->mutex);
    assert(!s->ended);
    s->ended = true;
    wake(s);
    /* The owner frees what gone() uses next. */
    while (s->telling && !pthread_equal(s->teller, pthread_self()))
        pthread_cond_wait(&s->told, &s->mutex);
    unref_locked(s);
}

/* --- clients that hang up, and the end --- */

static struct httpd_stream *find_stream(struct httpd *h, uint64_t id)
{
    pthread_mutex_lock(&h->streams_mutex);
    uint32_t index = (uint32_t)(id >> 32);
    struct httpd_stream *s = NULL;
    if (index < h->slot_count && h->slots[index].generation == (uint32_t)id)
        s = h->slots[index].stream;
    if (s) { /* stream_over() waits for streams_mutex before it lets go, so s is whole */
        pthread_mutex_lock(&s->mutex);
        s->refs++;
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_mutex_unlock(&h->streams_mutex);
    return s;
}

static void *watch_hangups(void *arg)
{
    struct httpd *h = arg;
    for (;;) {
        struct epoll_event events[32];
        int n = epoll_wait(h->hangup_epoll, events, 32, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == UINT64_MAX)
                return NULL;
            struct httpd_stream *s = find_stream(h, events[i].data.u64);
            if (!s)
                continue;
            pthread_mutex_lock(&s->mutex);
            struct chunk *lost = take_queue(s);
            kill_stream(s);
            unref_locked(s);
            chunks_free(lost);
        }
    }
}

bool httpd_streams_start(struct httpd *h, struct error **err)
{
    pthread_mutex_init(&h->streams_mutex, NULL);
    h->first_free = UINT32_MAX;
    h->hangup_epoll = epoll_create1(EPOLL_CLOEXEC);
    h->hangup_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
    if (h->hangup_epoll < 0 || h->hangup_wake < 0 ||
        epoll_ctl(h->hangup_epoll, EPOLL_CTL_ADD, h->hangup_wake, &event) < 0) {
        error_set_errno(err, errno, "epoll");
        return false;
    }
    int rc = pthread_create(&h->hangup_thread, NULL, watch_hangups, h);
    if (rc) {
        close(h->hangup_wake);
        h->hangup_wake = -1;
        error_set_errno(err, rc, "start a thread");
        return false;
    }
    return true;
}

void httpd_streams_close(struct httpd *h)
{
    pthread_mutex_lock(&h->streams_mutex);
    for (uint32_t i = 0; i < h->slot_count; i++) {
        struct httpd_stream *s = h->slots[i].stream;
        if (!s)
            continue;
        pthread_mutex_lock(&s->mutex);
        kill_stream(s);
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_mutex_unlock(&h->streams_mutex);
}

void httpd_streams_free(struct httpd *h)
{
    if (h->hangup_wake >= 0) {
        uint64_t one = 1;
        if (write(h->hangup_wake, &one, sizeof one) == sizeof one)
            pthread_join(h->hangup_thread, NULL);
        close(h->hangup_wake);
    }
    if (h->hangup_epoll >= 0)
        close(h->hangup_epoll);
    free(h->slots);
    pthread_mutex_destroy(&h->streams_mutex);
}
