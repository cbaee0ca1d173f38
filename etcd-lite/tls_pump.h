/* Gives plain-text code an encrypted connection: the caller keeps one end of a socket pair, the
 * pump carries what passes through it over TLS on the network socket, both ways, on the caller's
 * event loop. */
#pragma once
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <uv.h>
#include "common/error.h"

struct tls_credentials;
/* PEM files. Both sides of a connection must show a certificate of the CA. */
struct tls_credentials *tls_credentials_load(const char *cert_file, const char *key_file,
                                             const char *ca_file, struct error **err);
/* For a server that speaks one protocol (ALPN). ca_file may be NULL: clients are not asked for a
 * certificate; without require, one that is shown must be good, but none is needed. */
struct tls_credentials *tls_credentials_load_server(const char *cert_file, const char *key_file,
                                                    const char *ca_file, bool require,
                                                    const char *protocol, struct error **err);
void tls_credentials_free(struct tls_credentials *c);

/* Takes the connected socket and returns the plain end (both non-blocking), or -1; the socket is
 * closed then. host: the name that a server's certificate must carry (client side); NULL on the
 * server side. Closing the plain end ends the connection, and the other way round: a failed
 * handshake is seen as end of file. The pump frees itself. on_failed (may be NULL) hears why. */
int tls_pump_start(uv_loop_t *loop, struct tls_credentials *c, int fd, const char *host,
                   void (*on_failed)(const char *why));
