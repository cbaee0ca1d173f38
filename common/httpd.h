/* An HTTP/1.1 server over TLS or plain TCP (libmicrohttpd, epoll threads).
 *
 * A handler runs on an I/O thread when headers and body have arrived. It must not block. It either
 * answers at once (httpd_reply*), or keeps the request by httpd_defer() and answers later from any
 * thread, or turns it into a stream (httpd_stream_*), also from any thread. Exactly one answer per
 * request. A request stays valid until it is answered (after that only a stream handle is). */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/socket.h>
#include "common/error.h"

struct httpd;
struct httpd_request;
struct httpd_stream;
typedef void httpd_handler(struct httpd_request *req, void *userdata);

struct httpd_options {
    const char *address;       /* "0.0.0.0:6443", "[::]:6443", "127.0.0.1:0"; NULL: connections only come by
                                * httpd_add_connection() */
    const char *cert_file;     /* PEM chain; NULL for plain HTTP */
    const char *key_file;      /* PEM */
    const char *client_ca_file; /* PEM; clients may then present certificates, checked against it */
    bool require_client_cert;  /* refuse connections without a valid client certificate */
    unsigned threads;          /* I/O threads, at least 1 */
    size_t max_body;           /* bytes; a larger body never reaches the handler but is answered 413 */
    unsigned idle_timeout_seconds; /* keep-alive connections; 0 for none */
    httpd_handler *handler;
    /* Writes the body of a 413 answer (Kubernetes wants a Status); NULL for a plain text. */
    void (*too_large)(struct httpd_request *req, void *userdata);
    void *userdata;
};
struct httpd *httpd_start(const struct httpd_options *o, struct error **err);
int httpd_port(const struct httpd *h);
/* A non-blocking listening socket, or -1. */
int httpd_listen(const char *address, int *port, struct error **err);
/* Serves a connection that somebody else has accepted; takes the socket. Any thread. Only when started without an address. */
void httpd_add_connection(struct httpd *h, int fd, const struct sockaddr *from, socklen_t from_len);
/* Stops listening, ends streams, waits for the threads; unanswered requests must be answered first. */
void httpd_stop(struct httpd *h);

/* --- the request (strings live as long as it) --- */
const char *httpd_method(const struct httpd_request *r);
const char *httpd_path(const struct httpd_request *r);  /* percent-decoded, without the query */
const char *httpd_raw_path(const struct httpd_request *r); /* as sent, without the query */
const char *httpd_query(const struct httpd_request *r, const char *name); /* decoded; NULL if absent */
/* All values of a repeated parameter, in order; returns the count, fills at most max. */
size_t httpd_query_all(const struct httpd_request *r, const char *name, const char **values, size_t max);
const char *httpd_query_string(const struct httpd_request *r); /* as sent, without '?'; "" if none */
const char *httpd_header(const struct httpd_request *r, const char *name); /* any case; NULL if absent */
size_t httpd_header_all(const struct httpd_request *r, const char *name, const char **values, size_t max);
/* Is the item one of those that the header lists, joined by commas? Of headers of that name the first 8 count. */
bool httpd_header_lists(const struct httpd_request *r, const char *name, const char *item);
/* Calls fn with each header whose name begins with prefix (any case); rest: the name after it, as sent. */
void httpd_headers_prefixed(const struct httpd_request *r, const char *prefix,
                            void (*fn)(void *ctx, const char *rest, const char *value), void *ctx);
const char *httpd_body(const struct httpd_request *r, size_t *len); /* NUL-terminated */
/* Puts another body (malloc'd, NUL-terminated, taken) in the place of the one that was sent: for handlers that translate
 * it. httpd_header then gives content_type (static) for Content-Type. */
void httpd_replace_body(struct httpd_request *r, char *body, size_t len, const char *content_type);
/* Subject of the verified client certificate; NULL when none was presented (or it did not verify).
 * cn: common name; orgs: all organizations, NULL-terminated array. */
const char *httpd_client_cn(const struct httpd_request *r);
const char *const *httpd_client_orgs(const struct httpd_request *r);
bool httpd_client_cert_invalid(const struct httpd_request *r); /* presented but did not verify */
const char *httpd_client_address(const struct httpd_request *r); /* "10.0.0.7:4711" */
/* For the handler's own per-request data; freed by free_fn when the request ends. */
void httpd_set_data(struct httpd_request *r, void *data, void (*free_fn)(void *));
void *httpd_data(const struct httpd_request *r);

/* --- answers --- */
void httpd_add_header(struct httpd_request *r, const char *name, const char *value);
/* Copies the body. */
void httpd_reply(struct httpd_request *r, int status, const char *content_type, const void *body, size_t len);
/* Takes the body (malloc'd). */
void httpd_reply_take(struct httpd_request *r, int status, const char *content_type, char *body, size_t len);
/* Sends bytes owned by someone else, without a copy; release(owner) is called when sent. */
void httpd_reply_shared(struct httpd_request *r, int status, const char *content_type, const void *body,
                        size_t len, void (*release)(void *), void *owner);
/* A body of len bytes that is put together while it is sent, so that it need not be in memory whole. fill(owner, at, out, max)
 * copies what is at that place, at least one byte; it is called in order, on an I/O thread, and must not block.
 * release(owner) is called once, when all is sent or the client is gone. */
void httpd_reply_pieces(struct httpd_request *r, int status, const char *content_type, uint64_t len,
                        size_t (*fill)(void *owner, uint64_t at, char *out, size_t max), void (*release)(void *),
                        void *owner);
void httpd_defer(struct httpd_request *r);

/* --- streams (chunked answers of unknown length) ---
 * Bytes that the client has not taken yet are queued; past max_queued bytes the stream is cut off
 * (a slow watcher is never waited for). gone() is told once, on any thread, when the client left or the
 * stream was cut off; after httpd_stream_end() it is not called. Each chunk is flushed at once. */
struct httpd_stream *httpd_stream_start(struct httpd_request *r, int status, const char *content_type,
                                        size_t max_queued, void (*gone)(void *), void *userdata);
/* Copies. False when the stream is over already. */
bool httpd_stream_write(struct httpd_stream *s, const void *p, size_t n);
/* The same, but waits for room in the queue instead of cutting a slow client off. For a stream with one writer, on a thread that
 * may block. n at most max_queued. */
bool httpd_stream_write_wait(struct httpd_stream *s, const void *p, size_t n);
/* Shares without a copy; release(owner) is called once, also when it fails. */
bool httpd_stream_write_shared(struct httpd_stream *s, const void *p, size_t n, void (*release)(void *), void *owner);
/* Ends the answer after what is queued and gives the handle up. Must be called exactly once per
 * stream, also after gone() was called. */
void httpd_stream_end(struct httpd_stream *s);

/* --- upgrades (RFC 9110 section 7.8): the connection becomes a tunnel for bytes ---
 * Sends a 101 with the headers that were added (Upgrade must be among them) on a deferred request.
 * NULL: the client left; the request is done with all the same. Not for I/O threads. */
struct httpd_upgrade *httpd_upgrade(struct httpd_request *r);
enum { HTTPD_UPGRADE_LATER = -1, HTTPD_UPGRADE_OVER = -2 };
/* Bytes, or one of the above; neither waits. A write that was put off must be repeated with the same
 * bytes. By one thread at a time. Over when the client left or the server stops. */
ssize_t httpd_upgrade_read(struct httpd_upgrade *u, void *p, size_t max);
ssize_t httpd_upgrade_write(struct httpd_upgrade *u, const void *p, size_t len);
int httpd_upgrade_fd(const struct httpd_upgrade *u); /* to wait on, nothing else */
/* Closes after what was written; waits a little for the client to do so first. Exactly once. */
void httpd_upgrade_end(struct httpd_upgrade *u);
