/* Upgrades. The connection is suspended as for any deferred answer, so that libmicrohttpd lets it
 * be, and its owner takes the socket and the TLS session meanwhile: he sends the 101 and whatever
 * follows himself. At the end libmicrohttpd gets the connection back, to close it. (Its own way of
 * upgrading TLS connections, through a pair of sockets, stalls under load and drops what was
 * written just before the end.) */
#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "common/httpd_internal.h"
#include "common/mem.h"
#include "common/timefmt.h"

enum { HEAD_TIMEOUT_MS = 10000, GOODBYE_MS = 2000 };

struct httpd_upgrade {
    struct httpd *server;
    struct httpd_request *request;
    struct httpd_upgrade *next, **link; /* among the server's, under its mutex */
    pthread_cond_t suspended;           /* under the request's mutex */
    int fd;
    gnutls_session_t tls; /* NULL: plain */
    bool failed;
};

/* --- bytes --- */

int httpd_upgrade_fd(const struct httpd_upgrade *u)
{
    return u->fd;
}

static ssize_t result(struct httpd_upgrade *u, ssize_t n)
{
    if (n >= 0)
        return n;
    bool later = u->tls ? !gnutls_error_is_fatal((int)n)
                        : errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    u->failed |= !later;
    return later ? HTTPD_UPGRADE_LATER : HTTPD_UPGRADE_OVER;
}

ssize_t httpd_upgrade_read(struct httpd_upgrade *u, void *p, size_t max)
{
    ssize_t n = result(u, u->tls ? gnutls_record_recv(u->tls, p, max)
                                 : recv(u->fd, p, max, MSG_DONTWAIT));
    return n ? n : HTTPD_UPGRADE_OVER;
}

ssize_t httpd_upgrade_write(struct httpd_upgrade *u, const void *p, size_t len)
{
    return result(u, u->tls ? gnutls_record_send(u->tls, p, len)
                            : send(u->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static bool wait_for(int fd, short events, int64_t deadline)
{
    int64_t left = deadline - time_monotonic_ms();
    struct pollfd p = {.fd = fd, .events = events};
    return left > 0 && poll(&p, 1, (int)left) != 0;
}

static bool write_all(struct httpd_upgrade *u, const char *p, size_t len, int64_t deadline)
{
    while (len) {
        ssize_t n = httpd_upgrade_write(u, p, len);
        if (n == HTTPD_UPGRADE_OVER ||
            (n == HTTPD_UPGRADE_LATER && !wait_for(u->fd, POLLOUT, deadline)))
            return false;
        p += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* --- begin --- */

void httpd_upgrade_suspended(struct httpd_upgrade *u)
{
    pthread_cond_broadcast(&u->suspended);
}

/* Until libmicrohttpd has let the connection go. */
static void await_suspension(struct httpd_upgrade *u, struct httpd_request *r)
{
    pthread_mutex_lock(&r->mutex);
    assert(!r->upgrade && !r->response);
    r->upgrade = u;
    while (!r->suspended)
        pthread_cond_wait(&u->suspended, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
}

static void take_connection(struct httpd_upgrade *u, struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    int on = 1, off = 0;
    u->fd = info->connect_fd;
    setsockopt(u->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    setsockopt(u->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!u->server->options.cert_file)
        return;
    info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    u->tls = info->tls_session;
}

struct httpd_upgrade *httpd_upgrade(struct httpd_request *r)
{
    struct httpd *h = r->server;
    struct httpd_upgrade *u = mem_alloc(sizeof *u);
    u->server = h;
    u->request = r;
    pthread_cond_init(&u->suspended, NULL);
    await_suspension(u, r);
    take_connection(u, r->connection);
    pthread_mutex_lock(&h->mutex);
    u->next = h->upgrades;
    u->link = &h->upgrades;
    if (u->next)
        u->next->link = &u->next;
    h->upgrades = u;
    pthread_mutex_unlock(&h->mutex);
    httpd_answered(h); /* a stop need not wait for more, it can end it now */
    cleanup_buf struct buf head = {0};
    buf_adds(&head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n");
    for (size_t i = 0; i < r->header_count; i++)
        buf_printf(&head, "%s: %s\r\n", r->headers[i].name, r->headers[i].value);
    buf_adds(&head, "\r\n");
    if (write_all(u, head.data, head.len, time_monotonic_ms() + HEAD_TIMEOUT_MS))
        return u;
    httpd_upgrade_end(u);
    return NULL;
}

/* --- end --- */

/* Closing while bytes of the client's are unread would reset the connection, and the client might
 * lose what it has not read yet: it goes first. */
static void say_goodbye(struct httpd_upgrade *u)
{
    if (u->failed)
        return;
    if (u->tls)
        gnutls_bye(u->tls, GNUTLS_SHUT_WR);
    shutdown(u->fd, SHUT_WR);
    int64_t deadline = time_monotonic_ms() + GOODBYE_MS;
    char unread[4096];
    while (wait_for(u->fd, POLLIN, deadline))
        if (recv(u->fd, unread, sizeof unread, MSG_DONTWAIT) <= 0)
            break;
}

void httpd_upgrade_end(struct httpd_upgrade *u)
{
    struct httpd *h = u->server;
    struct httpd_request *r = u->request;
    say_goodbye(u);
    /* httpd_upgrades_stop must not see the socket once it may be closed. */
    pthread_mutex_lock(&h->mutex);
    pthread_mutex_lock(&r->mutex);
    r->abandoned = true;
    r->upgrade = NULL;
    r->suspended = false;
    MHD_resume_connection(r->connection);
    pthread_mutex_unlock(&r->mutex);
    *u->link = u->next;
    if (u->next)
        u->next->link = u->link;
    h->closing++; /* the server must not stop with connections that libmicrohttpd has yet to take back */
    pthread_mutex_unlock(&h->mutex);
    httpd_request_unref(r);
    pthread_cond_destroy(&u->suspended);
    free(u);
}

void httpd_upgrade_closed(struct httpd *h)
{
    pthread_mutex_lock(&h->mutex);
    h->closing--;
    if (!h->upgrades && !h->closing)
        pthread_cond_broadcast(&h->idle);
    pthread_mutex_unlock(&h->mutex);
}

void httpd_upgrades_stop(struct httpd *h)
{
    pthread_mutex_lock(&h->mutex);
    for (struct httpd_upgrade *u = h->upgrades; u; u = u->next)
        shutdown(u->fd, SHUT_RDWR);
    while (h->upgrades || h->closing)
        pthread_cond_wait(&h->idle, &h->mutex);
    pthread_mutex_unlock(&h->mutex);
}
