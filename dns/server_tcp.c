/* TCP: messages with two bytes of length before each, as many on a connection as the client likes
 * (RFC 7766). */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common/mem.h"
#include "dns/server_internal.h"

#define CONNECTIONS_MAX 1024
#define IDLE_MS         10000
#define QUERY_MAX       4096
#define QUEUED_MAX      (1 << 20) /* bytes that a client has not taken: then it is not read from */

struct connection {
    struct connection *next, **back;
    struct server *server;
    struct loop_source source;
    int held;  /* requests under way, and the connection itself */
    bool over; /* closed: nothing can be sent any more */
    bool eof;  /* the client has asked all it wanted */
    uint32_t events;
    int64_t active_ms;
    uint8_t in[2 + QUERY_MAX];
    size_t in_len;
    struct buf out;
    size_t out_sent;
};

void tcp_hold(struct connection *c)
{
    c->held++;
}

static void close_connection(struct connection *c)
{
    if (c->over)
        return;
    c->over = true;
    loop_close(&c->server->loop, &c->source);
    *c->back = c->next;
    if (c->next)
        c->next->back = c->back;
    c->server->connection_count--;
    buf_free(&c->out);
    if (--c->held == 0)
        loop_bury(&c->server->loop, c);
}

void tcp_let_go(struct connection *c)
{
    if (--c->held == 0) {
        loop_bury(&c->server->loop, c);
        return;
    }
    if (c->held == 1 && c->eof && c->out.len == c->out_sent)
        close_connection(c);
}

static void update_events(struct connection *c)
{
    size_t queued = c->out.len - c->out_sent;
    uint32_t want = (queued ? EPOLLOUT : 0) | (c->eof || queued > QUEUED_MAX ? 0 : EPOLLIN);
    if (want != c->events)
        loop_change(&c->server->loop, &c->source, c->events = want);
}

/* Sends what it takes; closes when that fails, or when all is done. */
static void flush(struct connection *c)
{
    while (c->out_sent < c->out.len) {
        ssize_t n =
            send(c->source.fd, c->out.data + c->out_sent, c->out.len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0) {
            close_connection(c);
            return;
        }
        c->out_sent += (size_t)n;
        c->active_ms = c->server->loop.now_ms;
    }
    if (c->out_sent == c->out.len) {
        buf_clear(&c->out);
        c->out_sent = 0;
        if (c->eof && c->held == 1) {
            close_connection(c);
            return;
        }
    }
    update_events(c);
}

static void queue(struct connection *c, const uint8_t *wire, size_t len)
{
    uint8_t prefix[2];
    dns_put16(prefix, (uint16_t)len);
    buf_add(&c->out, prefix, 2);
    buf_add(&c->out, wire, len);
}

void tcp_send(struct connection *c, const uint8_t *wire, size_t len)
{
    if (c->over)
        return;
    queue(c, wire, len);
    flush(c);
}

static void handle_messages(struct connection *c)
{
    size_t at = 0;
    while (c->in_len - at >= 2) {
        size_t len = dns_get16(c->in + at);
        if (len > QUERY_MAX) {
            close_connection(c);
            return;
        }
        if (c->in_len - at < 2 + len)
            break;
        struct request r = {.connection = c};
        size_t answer = server_handle(c->server, c->in + at + 2, len, c->server->scratch, &r);
        if (answer)
            queue(c, c->server->scratch, answer);
        at += 2 + len;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

static void ready(struct loop_source *source, uint32_t events)
{
    struct connection *c =
        (struct connection *)((char *)source - offsetof(struct connection, source));
    if (events & EPOLLERR) {
        close_connection(c);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP) && !c->eof) {
        ssize_t n = recv(source->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, 0);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            close_connection(c);
            return;
        }
        if (n == 0)
            c->eof = true;
        if (n > 0) {
            c->in_len += (size_t)n;
            c->active_ms = c->server->loop.now_ms;
            handle_messages(c);
        }
    } else if (events & EPOLLHUP) {
        close_connection(c);
    }
    if (!c->over)
        flush(c);
}

static void accept_connections(struct loop_source *source, uint32_t events)
{
    struct server *s = (struct server *)((char *)source - offsetof(struct server, tcp));
    (void)events;
    int fd;
    while ((fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = mem_alloc(sizeof(*c));
        *c = (struct connection){.server = s,
                                 .source = {fd, ready},
                                 .held = 1,
                                 .events = EPOLLIN,
                                 .active_ms = s->loop.now_ms};
        if (s->connection_count >= CONNECTIONS_MAX || !loop_add(&s->loop, &c->source, EPOLLIN)) {
            close(fd);
            free(c);
            continue;
        }
        c->next = s->connections;
        c->back = &s->connections;
        if (c->next)
            c->next->back = &c->next;
        s->connections = c;
        s->connection_count++;
    }
}

void tcp_tick(struct server *s)
{
    for (struct connection *c = s->connections, *next; c; c = next) {
        next = c->next;
        if (c->held == 1 && s->loop.now_ms - c->active_ms > IDLE_MS)
            close_connection(c);
    }
}

bool tcp_open(struct server *s, struct error **err)
{
    s->tcp = (struct loop_source){server_socket(s, SOCK_STREAM, err), accept_connections};
    if (s->tcp.fd < 0)
        return false;
    if (listen(s->tcp.fd, 512) < 0 || !loop_add(&s->loop, &s->tcp, EPOLLIN)) {
        error_set_errno(err, errno, "listening for TCP");
        return false;
    }
    return true;
}

void tcp_close(struct server *s)
{
    loop_close(&s->loop, &s->tcp);
    while (s->connections)
        close_connection(s->connections);
}
