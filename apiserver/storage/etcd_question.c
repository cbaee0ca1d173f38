#include "apiserver/storage/etcd_question.h"

#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "apiserver/storage/etcd_client_internal.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define CONNECT_MS 300
#define ANSWER_MS  500
#define PAUSE_MS   1000 /* after a failure etcd_call() has it alone for so long */
#define ANSWER_MAX 4096
#define BODY       "{\"key\":\"AA==\",\"limit\":\"1\",\"count_only\":true}"

struct etcd_question {
    struct etcd_client *client;
    unsigned server;      /* to which this is connected */
    int fd;               /* -1: not */
    gnutls_session_t tls; /* NULL: plain */
    gnutls_certificate_credentials_t credentials;
    char *request;
    int64_t pause_until_ms;
};

struct etcd_question *etcd_question_new(struct etcd_client *c)
{
    struct etcd_question *q = mem_alloc(sizeof *q);
    q->client = c;
    q->fd = -1;
    return q;
}

static void hang_up(struct etcd_question *q)
{
    if (q->tls)
        gnutls_deinit(q->tls);
    q->tls = NULL;
    if (q->fd >= 0)
        close(q->fd);
    q->fd = -1;
    free(q->request);
    q->request = NULL;
}

void etcd_question_free(struct etcd_question *q)
{
    if (!q)
        return;
    hang_up(q);
    if (q->credentials)
        gnutls_certificate_free_credentials(q->credentials);
    free(q);
}

/* --- connecting --- */

static bool wait_connected(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int failed = 0;
    socklen_t len = sizeof failed;
    return poll(&p, 1, CONNECT_MS) == 1 && !getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) &&
           !failed;
}

static int connect_to(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *info = NULL;
    if (getaddrinfo(host, port, &hints, &info))
        return -1;
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && (!connect(fd, info->ai_addr, info->ai_addrlen) || errno == EINPROGRESS) &&
              wait_connected(fd);
    freeaddrinfo(info);
    if (!ok) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

/* The files are read again for each connection: certificates are renewed in place. */
static bool load_credentials(struct etcd_question *q)
{
    const struct etcd_client *c = q->client;
    if (q->credentials)
        gnutls_certificate_free_credentials(q->credentials);
    q->credentials = NULL;
    if (!c->ca_file || gnutls_certificate_allocate_credentials(&q->credentials) < 0)
        return false;
    return gnutls_certificate_set_x509_trust_file(q->credentials, c->ca_file, GNUTLS_X509_FMT_PEM) >
               0 &&
           (!c->cert_file ||
            gnutls_certificate_set_x509_key_file(q->credentials, c->cert_file, c->key_file,
                                                 GNUTLS_X509_FMT_PEM) >= 0);
}

/* The socket never blocks; whoever wants bytes waits here until the deadline. */
static bool wait_for(const struct etcd_question *q, short events, int64_t deadline_ms)
{
    int64_t left = deadline_ms - time_monotonic_ms();
    struct pollfd p = {.fd = q->fd, .events = events};
    return left > 0 && poll(&p, 1, (int)left) == 1;
}

static bool start_tls(struct etcd_question *q, const char *host)
{
    int64_t deadline = time_monotonic_ms() + ANSWER_MS;
    unsigned char address[sizeof(struct in6_addr)];
    bool numeric =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    if (!load_credentials(q) || gnutls_init(&q->tls, GNUTLS_CLIENT | GNUTLS_NONBLOCK) < 0)
        return false;
    gnutls_session_set_verify_cert(q->tls, host, 0);
    if (gnutls_set_default_priority(q->tls) < 0 ||
        gnutls_credentials_set(q->tls, GNUTLS_CRD_CERTIFICATE, q->credentials) < 0 ||
        (!numeric && gnutls_server_name_set(q->tls, GNUTLS_NAME_DNS, host, strlen(host)) < 0))
        return false;
    gnutls_transport_set_int(q->tls, q->fd);
    for (;;) {
        int rc = gnutls_handshake(q->tls);
        if (rc >= 0)
            return true;
        if (gnutls_error_is_fatal(rc) ||
            (rc == GNUTLS_E_AGAIN &&
             !wait_for(q, gnutls_record_get_direction(q->tls) ? POLLOUT : POLLIN, deadline)))
            return false;
    }
}

static bool call_up(struct etcd_question *q)
{
    q->server = atomic_load(&q->client->current) % q->client->server_count;
    const char *url = q->client->servers[q->server], *rest = strstr(url, "://") + 3;
    bool tls = !strncasecmp(url, "https:", 6);
    cleanup_free char *authority = mem_strndup(rest, strcspn(rest, "/"));
    cleanup_free char *copy = mem_strdup(authority);
    char *host = copy, *colon = strrchr(copy, ':');
    if (!colon)
        return false;
    *colon = 0;
    if (*host == '[' && colon[-1] == ']') {
        host++;
        colon[-1] = 0;
    }
    q->fd = connect_to(host, colon + 1);
    if (q->fd < 0 || (tls && !start_tls(q, host))) {
        hang_up(q);
        return false;
    }
    q->request =
        mem_printf("POST /v3/kv/range HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
                   "Content-Length: %zu\r\n\r\n" BODY,
                   authority, sizeof BODY - 1);
    return true;
}

/* --- asking --- */

static ssize_t write_some(struct etcd_question *q, const char *p, size_t n)
{
    if (!q->tls) {
        ssize_t rc = send(q->fd, p, n, MSG_NOSIGNAL);
        return rc < 0 && errno == EAGAIN ? 0 : rc;
    }
    ssize_t rc = gnutls_record_send(q->tls, p, n);
    return rc < 0 && !gnutls_error_is_fatal((int)rc) ? 0 : rc;
}

/* 0: nothing there yet. */
static ssize_t read_some(struct etcd_question *q, char *p, size_t n)
{
    if (!q->tls) {
        ssize_t rc = recv(q->fd, p, n, 0);
        return rc < 0 && errno == EAGAIN ? 0 : rc ? rc : -1;
    }
    ssize_t rc = gnutls_record_recv(q->tls, p, n);
    return rc < 0 && !gnutls_error_is_fatal((int)rc) ? 0 : rc ? rc : -1;
}

/* Where the body begins and how long it is; false when this is no answer that we can use. */
static bool read_head(const char *answer, const char **body, size_t *len)
{
    const char *end = strstr(answer, "\r\n\r\n");
    if (!end || strncmp(answer, "HTTP/1.1 200 ", 13) != 0)
        return false;
    *body = end + 4;
    for (const char *line = strstr(answer, "\r\n"); line && line < end;
         line = strstr(line + 2, "\r\n")) {
        if (!strncasecmp(line + 2, "Content-Length:", 15)) {
            *len = strtoul(line + 17, NULL, 10);
            return *len < ANSWER_MAX;
        }
    }
    return false;
}

static bool read_revision(const char *body, uint64_t *revision)
{
    static const char name[] = "\"revision\":\"";
    const char *at = strstr(body, name);
    if (!at)
        return false;
    *revision = strtoull(at + sizeof name - 1, NULL, 10);
    return *revision > 0;
}

static bool exchange(struct etcd_question *q, uint64_t *revision)
{
    int64_t deadline = time_monotonic_ms() + ANSWER_MS;
    size_t all = strlen(q->request);
    for (size_t sent = 0; sent < all;) {
        ssize_t n = write_some(q, q->request + sent, all - sent);
        if (n < 0 || (!n && !wait_for(q, POLLOUT, deadline)))
            return false;
        sent += (size_t)n;
    }
    char answer[ANSWER_MAX + 1];
    size_t got = 0;
    while (got < ANSWER_MAX) {
        ssize_t n = read_some(q, answer + got, ANSWER_MAX - got);
        if (n < 0 || (!n && !wait_for(q, POLLIN, deadline)))
            return false;
        got += (size_t)n;
        answer[got] = 0;
        if (!n || !strstr(answer, "\r\n\r\n"))
            continue;
        const char *body;
        size_t len;
        if (!read_head(answer, &body, &len))
            return false;
        size_t have = (size_t)(answer + got - body);
        if (have > len) /* nobody asked for more: we are out of step */
            return false;
        if (have == len)
            return read_revision(body, revision);
    }
    return false;
}

bool etcd_question_ask(struct etcd_question *q, uint64_t *revision)
{
    if (q->fd >= 0 && q->server != atomic_load(&q->client->current) % q->client->server_count)
        hang_up(q);
    bool kept = q->fd >= 0;
    if (kept) {
        if (exchange(q, revision))
            return true;
        hang_up(q); /* it may have been closed while it was idle: once more with a new one */
    }
    if (time_monotonic_ms() < q->pause_until_ms)
        return false;
    if (call_up(q) && exchange(q, revision))
        return true;
    hang_up(q);
    q->pause_until_ms = time_monotonic_ms() + PAUSE_MS;
    return false;
}
