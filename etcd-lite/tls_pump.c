#include "etcd-lite/tls_pump.h"
#include <errno.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/mem.h"

#define CHUNK 16384

struct tls_credentials {
    gnutls_certificate_credentials_t x509;
    gnutls_priority_t priority;
    gnutls_certificate_request_t request; /* server: of the client's certificate */
    const char *protocol;                 /* NULL: none is negotiated */
};

struct flow {
    char data[CHUNK];
    size_t start, len;
    bool ended; /* the source has no more */
};
struct pump {
    gnutls_session_t session;
    uv_poll_t network, plain;
    int network_fd, plain_fd;
    int open_handles;
    bool handshaken, closing, network_blocked;
    char *host;
    void (*on_failed)(const char *why);
    struct flow in, out; /* in: network -> plain */
};

struct tls_credentials *tls_credentials_load_server(const char *cert_file, const char *key_file,
                                                    const char *ca_file, bool require,
                                                    const char *protocol, struct error **err)
{
    struct tls_credentials *c = mem_alloc(sizeof(*c));
    c->protocol = protocol;
    c->request = !ca_file ? GNUTLS_CERT_IGNORE : require ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_REQUEST;
    int rc = gnutls_certificate_allocate_credentials(&c->x509);
    const char *what = ca_file;
    if (rc >= 0 && ca_file) {
        rc = gnutls_certificate_set_x509_trust_file(c->x509, ca_file, GNUTLS_X509_FMT_PEM);
        if (rc == 0)
            rc = GNUTLS_E_NO_CERTIFICATE_FOUND;
    }
    if (rc >= 0) {
        what = cert_file;
        rc =
            gnutls_certificate_set_x509_key_file(c->x509, cert_file, key_file, GNUTLS_X509_FMT_PEM);
    }
    if (rc >= 0) {
        what = "TLS priorities";
        rc = gnutls_priority_init(&c->priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", NULL);
    }
    if (rc < 0) {
        error_setf(err, "cannot load %s: %s", what, gnutls_strerror(rc));
        tls_credentials_free(c);
        return NULL;
    }
    return c;
}

struct tls_credentials *tls_credentials_load(const char *cert_file, const char *key_file,
                                             const char *ca_file, struct error **err)
{
    return tls_credentials_load_server(cert_file, key_file, ca_file, true, NULL, err);
}

void tls_credentials_free(struct tls_credentials *c)
{
    if (!c)
        return;
    if (c->x509)
        gnutls_certificate_free_credentials(c->x509);
    if (c->priority)
        gnutls_priority_deinit(c->priority);
    free(c);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct pump *p = h->data;
    if (--p->open_handles > 0)
        return;
    gnutls_deinit(p->session);
    close(p->network_fd);
    close(p->plain_fd);
    free(p->host);
    free(p);
}

static void stop(struct pump *p)
{
    if (p->closing)
        return;
    p->closing = true;
    if (p->handshaken)
        gnutls_bye(p->session, GNUTLS_SHUT_WR);
    uv_close((uv_handle_t *)&p->network, on_handle_closed);
    uv_close((uv_handle_t *)&p->plain, on_handle_closed);
}

static bool would_block(ssize_t rc)
{
    return rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED;
}

/* Each of the next four moves what it can and says whether it moved anything. */
static bool read_network(struct pump *p)
{
    if (p->in.len || p->in.ended)
        return false;
    ssize_t n = gnutls_record_recv(p->session, p->in.data, CHUNK);
    if (n > 0) {
        p->in.start = 0;
        p->in.len = (size_t)n;
        return true;
    }
    p->in.ended = !would_block(n);
    return false;
}

static bool write_plain(struct pump *p)
{
    if (!p->in.len)
        return false;
    ssize_t n = send(p->plain_fd, p->in.data + p->in.start, p->in.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
        p->in.start += (size_t)n;
        p->in.len -= (size_t)n;
        return true;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        p->out.ended = true, p->out.len = 0, p->in.len = 0, p->in.ended = true;
    return false;
}

static bool read_plain(struct pump *p)
{
    if (p->out.len || p->out.ended)
        return false;
    ssize_t n = recv(p->plain_fd, p->out.data, CHUNK, MSG_DONTWAIT);
    if (n > 0) {
        p->out.start = 0;
        p->out.len = (size_t)n;
        return true;
    }
    p->out.ended = n == 0 || (errno != EAGAIN && errno != EINTR);
    return false;
}

static bool write_network(struct pump *p)
{
    p->network_blocked = false;
    if (!p->out.len)
        return false;
    ssize_t n = gnutls_record_send(p->session, p->out.data + p->out.start, p->out.len);
    if (n > 0) {
        p->out.start += (size_t)n;
        p->out.len -= (size_t)n;
        return true;
    }
    if (would_block(n))
        p->network_blocked = true;
    else
        p->out.ended = true, p->out.len = 0;
    return false;
}

static void on_event(uv_poll_t *h, int status, int events);

static void watch(uv_poll_t *h, int events)
{
    if (events)
        uv_poll_start(h, events, on_event);
    else
        uv_poll_stop(h);
}

static void step(struct pump *p)
{
    if (p->closing)
        return;
    if (!p->handshaken) {
        int rc = gnutls_handshake(p->session);
        if (rc < 0 && !gnutls_error_is_fatal(rc)) {
            watch(&p->network, gnutls_record_get_direction(p->session) ? UV_WRITABLE : UV_READABLE);
            return;
        }
        if (rc < 0) {
            if (p->on_failed) {
                gnutls_datum_t text = {0};
                unsigned verdict = gnutls_session_get_verify_cert_status(p->session);
                if (rc == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR &&
                    gnutls_certificate_verification_status_print(verdict, GNUTLS_CRT_X509, &text,
                                                                 0) == 0) {
                    p->on_failed((const char *)text.data);
                    gnutls_free(text.data);
                } else {
                    p->on_failed(gnutls_strerror(rc));
                }
            }
            stop(p);
            return;
        }
        p->handshaken = true;
    }
    for (int round = 0;; round++) {
        bool moved = read_network(p);
        moved |= write_plain(p);
        moved |= read_plain(p);
        moved |= write_network(p);
        if (!moved)
            break;
        /* Let others have the loop, unless GnuTLS holds data that no poll would tell of. */
        if (round > 32 && (p->in.len || gnutls_record_check_pending(p->session) == 0))
            break;
    }
    if ((p->in.ended && !p->in.len) || (p->out.ended && !p->out.len)) {
        stop(p);
        return;
    }
    watch(&p->network, (p->in.len ? 0 : UV_READABLE) | (p->network_blocked ? UV_WRITABLE : 0));
    watch(&p->plain, (p->out.len ? 0 : UV_READABLE) | (p->in.len ? UV_WRITABLE : 0));
}

static void on_event(uv_poll_t *h, int status, int events)
{
    (void)events;
    struct pump *p = h->data;
    /* Before the handshake is done, the plain end is only watched for being given up. */
    if (status < 0 || (!p->handshaken && h == &p->plain))
        stop(p);
    else
        step(p);
}

static int verify_if_shown(gnutls_session_t session)
{
    unsigned verdict = 0, n = 0;
    if (!gnutls_certificate_get_peers(session, &n) || n == 0)
        return 0;
    return gnutls_certificate_verify_peers2(session, &verdict) < 0 || verdict
               ? GNUTLS_E_CERTIFICATE_ERROR
               : 0;
}

int tls_pump_start(uv_loop_t *loop, struct tls_credentials *c, int fd, const char *host,
                   void (*on_failed)(const char *why))
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
        close(fd);
        return -1;
    }
    struct pump *p = mem_alloc(sizeof(*p));
    p->network_fd = fd;
    p->plain_fd = pair[0];
    p->on_failed = on_failed;
    p->host = mem_strdup(host);
    unsigned flags = (host ? GNUTLS_CLIENT : GNUTLS_SERVER) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL;
    bool ok = gnutls_init(&p->session, flags) >= 0 &&
              gnutls_priority_set(p->session, c->priority) >= 0 &&
              gnutls_credentials_set(p->session, GNUTLS_CRD_CERTIFICATE, c->x509) >= 0;
    if (!ok) {
        if (p->session)
            gnutls_deinit(p->session);
        close(fd);
        close(pair[0]);
        close(pair[1]);
        free(p->host);
        free(p);
        return -1;
    }
    gnutls_transport_set_int(p->session, fd);
    gnutls_handshake_set_timeout(
        p->session, GNUTLS_INDEFINITE_TIMEOUT); /* the owner of the plain end watches the time */
    if (host) {
        struct in6_addr address;
        if (inet_pton(AF_INET, host, &address) != 1 && inet_pton(AF_INET6, host, &address) != 1)
            gnutls_server_name_set(p->session, GNUTLS_NAME_DNS, host, strlen(host));
        gnutls_session_set_verify_cert(p->session, p->host, 0);
    } else {
        gnutls_certificate_server_set_request(p->session, c->request);
        if (c->request == GNUTLS_CERT_REQUIRE)
            gnutls_session_set_verify_cert(p->session, NULL, 0);
        else if (c->request == GNUTLS_CERT_REQUEST)
            gnutls_session_set_verify_function(p->session, verify_if_shown);
    }
    if (c->protocol) {
        gnutls_datum_t name = {(unsigned char *)c->protocol, (unsigned)strlen(c->protocol)};
        gnutls_alpn_set_protocols(p->session, &name, 1, GNUTLS_ALPN_MANDATORY);
    }
    uv_poll_init(loop, &p->network, fd);
    uv_poll_init(loop, &p->plain, p->plain_fd);
    p->network.data = p->plain.data = p;
    p->open_handles = 2;
    /* Whoever gives up during the handshake closes the plain end: that must be seen. */
    uv_poll_start(&p->plain, UV_DISCONNECT, on_event);
    step(p);
    return pair[1];
}
