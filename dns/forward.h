/* Questions about the rest of the world, asked of other name servers: over UDP, over TCP what does
 * not fit. Equal questions at the same time are asked once. One thread's own, on its loop. */
#pragma once
#include <sys/socket.h>
#include "dns/cache.h"
#include "dns/loop.h"

#define FORWARD_SERVERS_MAX 8
struct forward_servers {
    struct sockaddr_storage addresses[FORWARD_SERVERS_MAX];
    size_t count;
};
/* "192.0.2.1", "192.0.2.1:5353", "[2001:db8::1]:53"; false if malformed or one too many. */
bool forward_servers_add(struct forward_servers *s, const char *text);
/* The nameserver lines of a resolv.conf. */
void forward_servers_read(struct forward_servers *s, const char *path);

/* Embedded in what waits for an answer. done: answer is borrowed, NULL when no server has one. */
struct forward_waiter {
    struct forward_waiter *next;
    void (*done)(struct forward_waiter *w, struct cached *answer);
};
struct forwarder;
struct forwarder *forwarder_new(struct loop *l, const struct forward_servers *servers,
                                struct cache *cache, uint32_t max_ttl);
void forwarder_free(struct forwarder *f);
/* Asks; done is called later, never from in here. False: too many questions are under way. */
bool forward(struct forwarder *f, const struct dns_query *q, struct forward_waiter *w);
/* For the loop's tick: gives up on servers that don't answer. */
void forwarder_tick(struct forwarder *f);
bool forwarder_busy(const struct forwarder *f);
