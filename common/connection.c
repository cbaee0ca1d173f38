#include "common/connection.h"
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/mem.h"
#include "common/timefmt.h"

/* --- credentials --- */

/* One reading of the files. Each connection that uses it holds a count. */
struct credentials {
    unsigned users;
    gnutls_certificate_credentials_t x509;
    gnutls_priority_t priority;
};

struct tls_client {
    char *ca_file, *cert_file, *key_file;
    bool insecure;
    pthread_mutex_t mutex; /* of what follows */
    struct credentials *current;
    struct timespec read_at[3]; /* modification times of the files */
};

/* Counts are changed rarely and by any thread. */
static pthread_mutex_t users_mutex = PTHREAD_MUTEX_INITIALIZER;

static void credentials_release(struct credentials *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&users_mutex);
    bool last = --c->users == 0;
    pthread_mutex_unlock(&users_mutex);
    if (!last)
        return;
    if (c->x509)
        gnutls_certificate_free_credentials(c->x509);
    if (c->priority)
        gnutls_priority_deinit(c->priority);
    free(c);
}

struct tls_client *tls_client_new(const char *ca_file, const char *cert_file, const char *key_file,
                                  bool insecure)
{
    struct tls_client *t = mem_alloc(sizeof *t);
    *t = (struct tls_client){.ca_file = mem_strdup(ca_file),
                             .cert_file = mem_strdup(cert_file),
                             .key_file = mem_strdup(key_file ? key_file : cert_file),
                             .insecure = insecure,
                             .mutex = PTHREAD_MUTEX_INITIALIZER};
    return t;
}

void tls_client_free(struct tls_client *t)
{
    if (!t)
        return;
    credentials_release(t->current);
    pthread_mutex_destroy(&t->mutex);
    free(t->ca_file);
    free(t->cert_file);
    free(t->key_file);
    free(t);
}

static bool fail_tls(struct error **err, int rc, const char *what)
{
    error_setf(err, "%s: %s", what, gnutls_strerror(rc));
    return false;
}

static bool read_credentials(const struct tls_client *t, struct credentials *c, struct error **err)
{
    int rc = gnutls_certificate_allocate_credentials(&c->x509);
    if (rc >= 0)
        rc = gnutls_priority_init(&c->priority, NULL, NULL);
    if (rc < 0)
        return fail_tls(err, rc, "TLS");
    if (!t->insecure) {
        rc = t->ca_file
                 ? gnutls_certificate_set_x509_trust_file(c->x509, t->ca_file, GNUTLS_X509_FMT_PEM)
                 : gnutls_certificate_set_x509_system_trust(c->x509);
        if (rc <= 0)
            return fail_tls(err, rc ? rc : GNUTLS_E_NO_CERTIFICATE_FOUND,
                            t->ca_file ? t->ca_file : "system trust");
    }
    if (t->cert_file) {
        rc = gnutls_certificate_set_x509_key_file(c->x509, t->cert_file, t->key_file,
                                                  GNUTLS_X509_FMT_PEM);
        if (rc < 0)
            return fail_tls(err, rc, t->cert_file);
    }
    return true;
}

/* Have the files changed? Notes how they are now. */
static bool files_changed(struct tls_client *t)
{
    const char *files[] = {t->ca_file, t->cert_file, t->key_file};
    bool changed = false;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct stat st;
        if (!files[i] || stat(files[i], &st) != 0)
            continue; /* reading says what is wrong */
        changed |= st.st_mtim.tv_sec != t->read_at[i].tv_sec ||
                   st.st_mtim.tv_nsec != t->read_at[i].tv_nsec;
        t->read_at[i] = st.st_mtim;
    }
    return changed;
}

/* The caller releases what it gets. */
static struct credentials *credentials_get(struct tls_client *t, struct error **err)
{
    pthread_mutex_lock(&t->mutex);
    if (files_changed(t) || !t->current) {
        struct credentials *fresh = mem_alloc(sizeof *fresh);
        *fresh = (struct credentials){.users = 1};
        if (read_credentials(t, fresh, err)) {
            credentials_release(t->current);
            t->current = fresh;
        } else {
            credentials_release(fresh);
            memset(t->read_at, 0, sizeof t->read_at); /* half-written, perhaps: again next time */
            pthread_mutex_unlock(&t->mutex);
            return NULL;
        }
    }
    struct credentials *c = t->current;
    pthread_mutex_lock(&users_mutex);
    c->users++;
    pthread_mutex_unlock(&users_mutex);
    pthread_mutex_unlock(&t->mutex);
    return c;
}

/* --- connections --- */

struct connection {
    int fd;
    gnutls_session_t tls; /* NULL: plain */
    struct credentials *credentials;
    char *authority;
};

const char *connection_authority(const struct connection *c)
{
    return c->authority;
}

void connection_close(struct connection *c)
{
    if (!c)
        return;
    if (c->tls)
        gnutls_deinit(c->tls);
    if (c->fd >= 0)
        close(c->fd);
    credentials_release(c->credentials);
    free(c->authority);
    free(c);
}

void connection_cleanup(struct connection **c)
{
    connection_close(*c);
}

enum connection_event connection_wait(const struct connection *c, bool to_write,
                                      int64_t deadline_ms, int wake_fd)
{
    if (!to_write && c->tls && gnutls_record_check_pending(c->tls))
        return CONNECTION_READY;
    for (;;) {
        int64_t left = deadline_ms == INT64_MAX ? -1 : deadline_ms - time_monotonic_ms();
        if (deadline_ms != INT64_MAX && left <= 0)
            return CONNECTION_TIMEOUT;
        struct pollfd p[2] = {{.fd = c->fd, .events = to_write ? POLLOUT : POLLIN},
                              {.fd = wake_fd, .events = POLLIN}};
        int n = poll(p, wake_fd >= 0 ? 2 : 1, left > INT_MAX ? INT_MAX : (int)left);
        if (n > 0 && p[1].revents && wake_fd >= 0)
            return CONNECTION_WOKEN;
        if (n > 0 || (n < 0 && errno != EINTR))
            return CONNECTION_READY;
    }
}

void connection_socket_options(int fd)
{
    int idle = 10, interval = 5, count = 3, on = 1;
    unsigned unacknowledged_ms = 30000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof unacknowledged_ms);
}

/* False with errno. */
static bool connect_to(struct connection *c, const struct addrinfo *to, int64_t deadline_ms,
                       int wake_fd)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return false;
    connection_socket_options(c->fd);
    if (connect(c->fd, to->ai_addr, to->ai_addrlen) == 0)
        return true;
    if (errno != EINPROGRESS)
        return false;
    enum connection_event e = connection_wait(c, true, deadline_ms, wake_fd);
    int failed = e == CONNECTION_WOKEN ? ECANCELED : ETIMEDOUT;
    socklen_t len = sizeof failed;
    if (e == CONNECTION_READY && getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failed, &len) != 0)
        failed = errno;
    errno = failed;
    return failed == 0;
}

static bool dial(struct connection *c, const char *host, const char *port, int64_t deadline_ms,
                 int wake_fd, struct error **err)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all = NULL;
    int rc = getaddrinfo(host, port, &hints, &all);
    if (rc) {
        error_setf(err, "dial tcp: lookup %s: %s", host, gai_strerror(rc));
        return false;
    }
    bool ok = false;
    int why = 0;
    for (const struct addrinfo *a = all; a && !ok && why != ECANCELED; a = a->ai_next) {
        ok = connect_to(c, a, deadline_ms, wake_fd);
        why = errno;
    }
    freeaddrinfo(all);
    if (!ok)
        error_setf(err, "dial tcp %s: connect: %s", c->authority, strerror(why));
    return ok;
}

static bool start_tls(struct connection *c, struct tls_client *t, const char *host,
                      int64_t deadline_ms, int wake_fd, struct error **err)
{
    unsigned char address[sizeof(struct in6_addr)];
    bool numeric =
        inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
    c->credentials = credentials_get(t, err);
    if (!c->credentials)
        return false;
    int rc = gnutls_init(&c->tls,
                         GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL);
    if (rc < 0)
        return fail_tls(err, rc, "TLS");
    if (!t->insecure)
        gnutls_session_set_verify_cert(c->tls, host, 0);
    rc = gnutls_priority_set(c->tls, c->credentials->priority);
    if (rc >= 0)
        rc = gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->credentials->x509);
    if (rc >= 0 && !numeric)
        rc = gnutls_server_name_set(c->tls, GNUTLS_NAME_DNS, host, strlen(host));
    if (rc < 0)
        return fail_tls(err, rc, "TLS");
    gnutls_transport_set_int(c->tls, c->fd);
    while ((rc = gnutls_handshake(c->tls)) < 0) {
        if (rc == GNUTLS_E_AGAIN) {
            enum connection_event e =
                connection_wait(c, gnutls_record_get_direction(c->tls), deadline_ms, wake_fd);
            if (e == CONNECTION_READY)
                continue;
            error_setf(err, "TLS handshake with %s: %s", c->authority,
                       e == CONNECTION_WOKEN ? "canceled" : "timeout");
            return false;
        }
        if (!gnutls_error_is_fatal(rc))
            continue;
        gnutls_datum_t text = {0};
        if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
            gnutls_certificate_verification_status_print(
                gnutls_session_get_verify_cert_status(c->tls), GNUTLS_CRT_X509, &text, 0) == 0)
            error_setf(err, "TLS handshake with %s: %s", c->authority, (const char *)text.data);
        else
            error_setf(err, "TLS handshake with %s: %s", c->authority, gnutls_strerror(rc));
        gnutls_free(text.data);
        return false;
    }
    return true;
}

struct connection *connection_open(const char *url, struct tls_client *tls, int timeout_ms,
                                   int wake_fd, struct error **err)
{
    bool secure = !strncasecmp(url, "https://", 8);
    if (!secure && strncasecmp(url, "http://", 7) != 0) {
        error_setf(err, "unsupported protocol scheme in \"%s\"", url);
        return NULL;
    }
    const char *rest = url + (secure ? 8 : 7);
    cleanup_connection struct connection *c = mem_alloc(sizeof *c);
    *c = (struct connection){.fd = -1, .authority = mem_strndup(rest, strcspn(rest, "/?#"))};
    cleanup_free char *copy = mem_strdup(c->authority);
    char *host = copy, *port = strrchr(copy, ':');
    if (*host == '[') {
        host++;
        char *end = strchr(host, ']');
        if (!end) {
            error_setf(err, "missing ']' in \"%s\"", url);
            return NULL;
        }
        *end = 0;
        port = end[1] == ':' ? end + 1 : NULL;
    }
    if (port)
        *port++ = 0;
    int64_t deadline_ms = time_monotonic_ms() + timeout_ms;
    if (!dial(c, host, port ? port : secure ? "443" : "80", deadline_ms, wake_fd, err))
        return NULL;
    if (secure && !start_tls(c, tls, host, deadline_ms, wake_fd, err))
        return NULL;
    struct connection *done = c;
    c = NULL;
    return done;
}

ssize_t connection_write(struct connection *c, const void *bytes, size_t len)
{
    if (!c->tls) {
        ssize_t rc = send(c->fd, bytes, len, MSG_NOSIGNAL);
        return rc < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : rc;
    }
    ssize_t rc = gnutls_record_send(c->tls, bytes, len);
    return rc < 0 ? (gnutls_error_is_fatal((int)rc) ? -1 : 0) : rc;
}

ssize_t connection_read(struct connection *c, void *bytes, size_t len)
{
    if (!c->tls) {
        ssize_t rc = recv(c->fd, bytes, len, 0);
        return rc < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : rc ? rc : -1;
    }
    ssize_t rc = gnutls_record_recv(c->tls, bytes, len);
    return rc < 0 ? (gnutls_error_is_fatal((int)rc) ? -1 : 0) : rc ? rc : -1;
}
