#include "etcd-lite/front.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/httpd.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "etcd-lite/tls_pump.h"

#define GREETING_MAX (16384 + 5) /* one TLS record */
#define GREETING_MS  10000       /* who has said nothing by then is cut off */
#define MAX_ACCEPTS  64          /* at one go */
#define RETRY_MS     100         /* after running out of descriptors */

struct guest {
    struct guest *next, **link;
    struct front *front;
    uv_poll_t poll;
    uv_timer_t timer;
    int fd, open_handles;
    size_t seen;
    struct sockaddr_storage from;
    socklen_t from_len;
    enum front_verdict verdict; /* FRONT_MORE: cut off */
};
struct front {
    struct front_options o;
    int port, fd;
    uv_loop_t loop;
    pthread_t thread;
    uv_async_t wake;
    uv_poll_t listener;
    uv_timer_t retry;
    struct tls_credentials *tls;
    struct guest *guests; /* have not said enough yet */
    atomic_bool closing;
};

static void on_tls_failed(const char *why)
{
    log_debug(2, "A gRPC client failed the TLS handshake", "reason", why);
}

static void hand_on(struct guest *g)
{
    struct front *f = g->front;
    if (g->verdict == FRONT_MORE || atomic_load(&f->closing)) {
        close(g->fd);
    } else if (g->verdict == FRONT_HTTP) {
        f->o.http(f->o.userdata, g->fd, (struct sockaddr *)&g->from, g->from_len);
    } else {
        int one = 1, idle = 30, interval = 10, count = 3, fd = g->fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
        if (f->tls)
            fd = tls_pump_start(&f->loop, f->tls, fd, NULL, on_tls_failed);
        if (fd >= 0)
            f->o.grpc(f->o.userdata, fd);
    }
}

static void on_guest_closed(uv_handle_t *h)
{
    struct guest *g = h->data;
    if (--g->open_handles > 0)
        return;
    hand_on(g); /* not before: the loop must have let the socket go */
    free(g);
}

static void settle(struct guest *g, enum front_verdict verdict)
{
    g->verdict = verdict;
    *g->link = g->next;
    if (g->next)
        g->next->link = g->link;
    uv_close((uv_handle_t *)&g->poll, on_guest_closed);
    uv_close((uv_handle_t *)&g->timer, on_guest_closed);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
    (void)events;
    struct guest *g = h->data;
    unsigned char greeting[GREETING_MAX];
    ssize_t n = status < 0 ? 0 : recv(g->fd, greeting, sizeof(greeting), MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || (size_t)n == g->seen) { /* readable without news: the end */
        settle(g, FRONT_MORE);
        return;
    }
    g->seen = (size_t)n;
    enum front_verdict verdict = front_judge(greeting, (size_t)n, g->front->tls != NULL);
    /* Readable again only when there is more than was seen. */
    int more = verdict == FRONT_MORE ? (int)n + 1 : 1;
    setsockopt(g->fd, SOL_SOCKET, SO_RCVLOWAT, &more, sizeof(more));
    if (verdict != FRONT_MORE)
        settle(g, verdict);
}

static void on_silence(uv_timer_t *t)
{
    settle(t->data, FRONT_MORE);
}

static void watch_listener(struct front *f);

static void on_retry(uv_timer_t *t)
{
    watch_listener(t->data);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    (void)events;
    struct front *f = h->data;
    for (int i = 0; i < MAX_ACCEPTS && status >= 0; i++) {
        struct sockaddr_storage from;
        socklen_t from_len = sizeof(from);
        int fd = accept4(f->fd, (struct sockaddr *)&from, &from_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0 && errno != EAGAIN) { /* no descriptors, no memory: the backlog waits */
            uv_poll_stop(&f->listener);
            uv_timer_start(&f->retry, on_retry, RETRY_MS, 0);
        }
        if (fd < 0)
            return;
        struct guest *g = mem_alloc(sizeof(*g));
        g->front = f;
        g->fd = fd;
        g->from = from;
        g->from_len = from_len;
        if (uv_poll_init(&f->loop, &g->poll, fd) != 0) {
            close(fd);
            free(g);
            continue;
        }
        uv_timer_init(&f->loop, &g->timer);
        g->poll.data = g->timer.data = g;
        g->open_handles = 2;
        g->next = f->guests;
        if (g->next)
            g->next->link = &g->next;
        g->link = &f->guests;
        f->guests = g;
        uv_poll_start(&g->poll, UV_READABLE, on_readable);
        uv_timer_start(&g->timer, on_silence, GREETING_MS, 0);
    }
}

static void watch_listener(struct front *f)
{
    uv_poll_start(&f->listener, UV_READABLE, on_connection);
}

static void on_listener_closed(uv_handle_t *h)
{
    struct front *f = h->data;
    close(f->fd);
    f->fd = -1;
}

static void on_wake(uv_async_t *async)
{
    struct front *f = async->data;
    if (!atomic_load(&f->closing) || uv_is_closing((uv_handle_t *)async))
        return;
    while (f->guests)
        settle(f->guests, FRONT_MORE);
    uv_close((uv_handle_t *)&f->listener, on_listener_closed);
    uv_close((uv_handle_t *)&f->retry, NULL);
    uv_close((uv_handle_t *)&f->wake, NULL); /* then only pumps keep the loop running */
}

static void *run(void *arg)
{
    struct front *f = arg;
    pthread_setname_np(pthread_self(), "front");
    uv_run(&f->loop, UV_RUN_DEFAULT);
    return NULL;
}

struct front *front_start(const struct front_options *o, struct error **err)
{
    struct front *f = mem_alloc(sizeof(*f));
    f->o = *o;
    if (o->cert_file && !(f->tls = tls_credentials_load_server(o->cert_file, o->key_file, o->ca_file,
                                                               o->client_cert_auth, "h2", err))) {
        free(f);
        return NULL;
    }
    f->fd = httpd_listen(o->address, &f->port, err);
    if (f->fd < 0) {
        tls_credentials_free(f->tls);
        free(f);
        return NULL;
    }
    uv_loop_init(&f->loop);
    uv_async_init(&f->loop, &f->wake, on_wake);
    uv_poll_init(&f->loop, &f->listener, f->fd);
    uv_timer_init(&f->loop, &f->retry);
    f->wake.data = f->listener.data = f->retry.data = f;
    watch_listener(f);
    if (!thread_start(&f->thread, run, f)) {
        error_setf(err, "cannot start the thread that accepts clients");
        f->thread = 0;
        front_close(f);
        run(f);
        front_free(f);
        return NULL;
    }
    return f;
}

int front_port(const struct front *f)
{
    return f->port;
}

void front_close(struct front *f)
{
    if (!atomic_exchange(&f->closing, true))
        uv_async_send(&f->wake);
}

void front_free(struct front *f)
{
    if (f->thread)
        pthread_join(f->thread, NULL);
    uv_loop_close(&f->loop);
    tls_credentials_free(f->tls);
    free(f);
}
