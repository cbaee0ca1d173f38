/* The node's Services as one nftables table a family, kept as text commands. Pure: nothing here
 * touches the kernel.
 *
 * The table has a fixed skeleton of chains and maps; Services are nothing but elements of the maps,
 * so that an update costs what changed. A connection's first packet takes this way:
 *
 *   address, protocol, port          -> ct mark = number of a group of endpoints    maps
 * service-ips, node-ports ct mark                          -> goto pick-N, N the number of
 * endpoints      map groups pick-N: ct mark, random below N  -> ct mark = number of an endpoint map
 * picks ct mark                          -> dnat to its address and port                map
 * endpoints
 *
 * Where answers must come back through this node, service-ips and node-ports give the group's
 * number with a bit more (MASQUERADE_BIT), which leads to masquerade-N: it moves that bit to the
 * packet mark, and postrouting masquerades. Where a traffic policy keeps clients from outside on
 * this node (OUTSIDE_BIT), those from inside are led to the group of all endpoints by the map
 * inside. With session affinity the group leads to affinity-N-SECONDS: a dynamic map remembers
 * which endpoint a client was given; if that one is gone, another is picked and remembered. A group
 * without endpoints is not in `groups` but in `no-endpoints`, where the filter chains reject its
 * connections. Addresses that only some clients may use are in `firewall`, and with the clients'
 * ranges in `sources`. The tables of both families, ip and ip6, have the same skeleton. */
#pragma once
#include "common/buf.h"
#include "kube-proxy/service.h"

#define RULES_TABLE "kube-proxy"

struct rules;
/* family: AF_INET or AF_INET6; so must be the ranges. */
struct rules *rules_new(int family, const char *cluster_cidr, const char *service_cidr);
void rules_free(struct rules *r);
/* Makes the state of one Service the desired one (taken; NULL: no such Service any more). */
void rules_set(struct rules *r, const char *name, struct proxy_service *desired);
/* Appends the transaction that brings the kernel from the state of the last call to now; nothing
 * when all is equal. */
void rules_take_changes(struct rules *r, struct buf *out);
/* Appends the transaction that makes the whole table anew, whatever was there; clients keep their
 * affinity.
 */
void rules_take_all(struct rules *r, struct buf *out);
/* Names of all Services that are set. */
void rules_each(const struct rules *r, void (*fn)(void *ctx, const char *name), void *ctx);

/* A UDP frontend of a Service that changed since the last rules_take_udp: flows to it that go to
 * anything but these endpoints are stale, because connection tracking holds on to them for as long
 * as the client keeps sending. */
struct rules_udp {
    struct address ip; /* none: a node port */
    uint16_t port;
    struct proxy_endpoint *endpoints;
    size_t count;
};
/* The caller frees with rules_udp_free. */
size_t rules_take_udp(struct rules *r, struct rules_udp **out);
void rules_udp_free(struct rules_udp *list, size_t count);
