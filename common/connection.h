/* Client connections: TCP, with TLS by GnuTLS for https. They never block: whoever wants bytes
 * waits in connection_wait. For connections that live for hours (watches): many of them share one
 * set of credentials, where a handle of libcurl has its own. A connection belongs to one thread at
 * a time. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "common/error.h"

/* What connections to one server trust and show. Thread-safe. The files are read again when they
 * change: certificates are renewed in place. */
struct tls_client;
/* PEM files. ca_file NULL: the system's authorities. cert_file NULL: no client certificate.
 * insecure: the server is not checked. */
struct tls_client *tls_client_new(const char *ca_file, const char *cert_file, const char *key_file,
                                  bool insecure);
/* Connections that are open stay good. */
void tls_client_free(struct tls_client *t);

struct connection;
/* Dials url ("https://host:port/...", "http://[::1]:80"; what follows the authority is not looked
 * at). timeout_ms: for the whole, name resolution excepted. wake_fd: when it gets readable this
 * gives up; -1 for none. tls: for https. NULL with an error. */
struct connection *connection_open(const char *url, struct tls_client *tls, int timeout_ms,
                                   int wake_fd, struct error **err);
/* "host:port" as in the url. */
const char *connection_authority(const struct connection *c);
/* Bytes taken; 0: wait first; -1: the connection is broken. */
ssize_t connection_write(struct connection *c, const void *bytes, size_t len);
/* Bytes got; 0: wait first; -1: ended or broken. */
ssize_t connection_read(struct connection *c, void *bytes, size_t len);
enum connection_event { CONNECTION_READY, CONNECTION_TIMEOUT, CONNECTION_WOKEN };
/* Until the connection can be read (written) or is broken, or the deadline (monotonic ms;
 * INT64_MAX: none), or wake_fd is readable. */
enum connection_event connection_wait(const struct connection *c, bool to_write,
                                      int64_t deadline_ms, int wake_fd);
void connection_close(struct connection *c);
/* What every connection of ours gets: no delay, and a peer that vanished without a word is noticed
 * within half a minute. */
void connection_socket_options(int fd);

void connection_cleanup(struct connection **c);
#define cleanup_connection __attribute__((cleanup(connection_cleanup)))
