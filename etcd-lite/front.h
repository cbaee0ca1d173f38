/* Accepts clients' connections and looks at their first bytes: gRPC (HTTP/2) or HTTP/1.1, as etcd
 * serves both on one port.
 *
 * Over TLS, what decides is the ClientHello's ALPN: gRPC clients offer "h2" alone, while HTTP
 * clients that know HTTP/2 (curl) offer "http/1.1" too. TLS of a gRPC connection ends here, in a
 * pump that hands on a plain socket; an HTTP connection is handed on as it came. */
#pragma once
#include <stdbool.h>
#include <sys/socket.h>
#include "common/error.h"

struct front;
struct front_options {
    const char *address;                        /* "0.0.0.0:2379" */
    const char *cert_file, *key_file, *ca_file; /* NULL without TLS */
    bool client_cert_auth;
    /* Each takes the socket (non-blocking). On the front's thread; must not block long. */
    void (*http)(void *userdata, int fd, const struct sockaddr *from, socklen_t from_len);
    void (*grpc)(void *userdata, int fd);
    void *userdata;
};
struct front *front_start(const struct front_options *o, struct error **err);
int front_port(const struct front *f);
/* No more connections come. Those handed on stay. */
void front_close(struct front *f);
/* Waits until the gRPC connections are closed by their other side. After front_close(). */
void front_free(struct front *f);

/* What the first bytes say. */
enum front_verdict { FRONT_MORE, FRONT_HTTP, FRONT_GRPC };
enum front_verdict front_judge(const unsigned char *p, size_t len, bool tls);
