/* What the parts of the HTTP server share (httpd.c: server and answers; httpd_request.c: the
 * request's parts; httpd_stream.c: streams; httpd_upgrade.c: tunnels). Nobody else includes this.
 *
 * Which thread does what. libmicrohttpd runs each connection on one I/O thread. A connection may
 * only be suspended on that thread, inside a callback, and may be resumed by any. A response is
 * therefore never queued elsewhere: an answer is stored in the request, the connection is resumed,
 * and libmicrohttpd calls the access handler again on the right thread, where the stored response
 * is queued. The request's mutex orders "is it suspended yet?" against "is there an answer yet?"; a
 * stream's mutex does the same for "queue is empty" and "suspended". */
#pragma once
#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include "common/httpd.h"

struct pair {
    char *name, *value;
};

/* What is known of one connection, made when it is accepted. */
struct peer {
    char address[64];
    bool checked; /* the certificate was looked at (the handshake is over at the first request) */
    bool invalid;
    char *cn;
    char **orgs;
};

#define HTTPD_MAX_DAEMONS 8

struct stream_slot {
    struct httpd_stream *stream; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

struct httpd {
    struct httpd_options options; /* strings are not kept */
    /* One with a pool of threads that listens; or, because libmicrohttpd cannot give foreign
     * connections to a pool, one a thread. */
    struct MHD_Daemon *daemons[HTTPD_MAX_DAEMONS];
    unsigned n_daemons;
    atomic_uint next_daemon;
    int port;
    bool ipv6;
    pthread_mutex_t mutex;
    pthread_cond_t idle;
    bool stopping;
    unsigned unanswered;            /* handlers running or deferred */
    unsigned unfinished;            /* those, and answers that libmicrohttpd has not done with */
    struct httpd_upgrade *upgrades; /* all that are not ended */
    unsigned closing;               /* ended, but libmicrohttpd has not closed them yet */
    /* Streams, by slot: for stopping, and for the thread that watches for clients that hang up
     * while nothing is sent to them (libmicrohttpd does not look at a suspended connection). */
    pthread_mutex_t streams_mutex;
    struct stream_slot *slots;
    uint32_t slot_count, first_free;
    int hangup_epoll, hangup_wake;
    pthread_t hangup_thread;
};

struct httpd_request {
    atomic_int refs; /* libmicrohttpd's and the answering code's */
    struct httpd *server;
    struct MHD_Connection *connection;
    struct peer *peer;
    pthread_mutex_t mutex;
    bool handed, deferred, suspended;
    bool queued;                   /* the answer is libmicrohttpd's */
    struct MHD_Response *response; /* the answer, until it is queued */
    int status;

    char *uri; /* as sent, cut at '?' */
    char *query_string;
    char *path; /* decoded */
    char *method;
    struct pair *query;
    size_t query_count;
    bool query_parsed;
    char *query_memory;

    char *body;
    size_t body_len, body_cap;
    size_t discarded; /* of a body that is too large */
    bool too_large;
    const char *replaced_type; /* Content-Type of a replaced body */

    struct pair *headers; /* of the answer */
    size_t header_count;
    void *data;
    void (*data_free)(void *);
    struct httpd_upgrade *upgrade; /* waits for the suspension, or has the connection */
    bool abandoned;                /* an upgrade is over: close */
};

struct httpd_request *httpd_request_new(const char *uri);
void httpd_request_unref(struct httpd_request *r);
/* Stores the answer and wakes the connection; uses up the answering code's reference. */
void httpd_request_answer(struct httpd_request *r, int status, struct MHD_Response *response);
void httpd_request_apply_headers(struct httpd_request *r, struct MHD_Response *response,
                                 const char *content_type);

bool httpd_streams_start(struct httpd *h, struct error **err);
/* Ends all streams' connections; then (all threads gone) frees. */
void httpd_streams_close(struct httpd *h);
void httpd_streams_free(struct httpd *h);

void httpd_peer_check(struct peer *p, struct MHD_Connection *c);
void httpd_peer_free(struct peer *p);

void httpd_answered(struct httpd *h);

/* The connection is suspended; with the request's mutex held. */
void httpd_upgrade_suspended(struct httpd_upgrade *u);
/* The request of an upgrade is over. */
void httpd_upgrade_closed(struct httpd *h);
/* Ends all and waits until their owners let go, and their connections are closed. */
void httpd_upgrades_stop(struct httpd *h);
