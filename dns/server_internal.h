/* Shared by the files of the server only. */
#pragma once
#include <pthread.h>
#include <sys/socket.h>
#include "common/buf.h"
#include "dns/server.h"

struct connection;
struct server {
    struct server_options options;
    struct loop loop;
    struct loop_source udp, tcp;
    int port;
    struct cache *cache;
    struct forwarder *forwarder; /* NULL without upstream servers */
    pthread_t thread;
    struct udp_batch *batch;
    struct connection *connections;
    size_t connection_count;
    uint8_t *scratch; /* DNS_TCP_SIZE bytes: an answer that is about to be sent over TCP */
    bool dirty;       /* counters that have not been told to the metrics yet */
    uint64_t requests[2], rcodes[16], cache_hits, cache_misses;
    bool synced;
};

/* Where an answer goes. */
struct request {
    struct forward_waiter waiter;
    struct server *server;
    struct dns_query query;
    struct connection *connection; /* TCP; NULL for UDP */
    struct sockaddr_storage from;  /* UDP */
    socklen_t from_len;
    uint8_t control[64];
    size_t control_len;
};
/* Answers a message: writes to out and returns its length; 0 when there is nothing to send (yet).
 * The request is kept, by a copy, when others must be asked first. from: what the answer needs
 * later. */
size_t server_handle(struct server *s, const uint8_t *wire, size_t len, uint8_t *out,
                     const struct request *from);

bool udp_open(struct server *s, struct error **err);
void udp_close(struct server *s);
void udp_send(struct server *s, const struct request *r, const uint8_t *wire, size_t len);

bool tcp_open(struct server *s, struct error **err);
void tcp_close(struct server *s);
void tcp_send(struct connection *c, const uint8_t *wire, size_t len);
void tcp_hold(struct connection *c); /* a request of it is under way */
void tcp_let_go(struct connection *c);
void tcp_tick(struct server *s);

/* A bound socket for the options' address. */
int server_socket(struct server *s, int type, struct error **err);
