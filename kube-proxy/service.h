/* What a Service and its EndpointSlices ask of a node, without a word about how the node does it.
 * Pure functions. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "kube-proxy/address.h"
#include "kube-proxy/ranges.h"

/* A port's protocol as the API names it; NULL is TCP. False for others than TCP, UDP and SCTP. */
bool proxy_protocol_parse(const char *text, uint8_t *protocol);
const char *proxy_protocol_name(uint8_t protocol); /* as nftables names it */

struct proxy_endpoint {
    struct address ip;
    uint16_t port;
    bool local; /* on this node */
};

/* The endpoints among which connections are spread. A service port has one such group for all its
 * endpoints, and one for those of this node where a traffic policy is Local. */
struct proxy_group {
    char *name; /* "namespace/service:port:protocol", with "/local" behind it for the node's own */
    uint8_t protocol;     /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
    int affinity_seconds; /* how long a client stays with its endpoint; 0: not at all */
    bool elsewhere; /* there are endpoints, but only on other nodes, where the policy forbids to go
                     */
    struct proxy_endpoint *endpoints;
    size_t count;
};

/* An address and port at which a group is reached. */
struct proxy_frontend {
    struct address ip; /* none: a node port, at any address of the node */
    uint16_t port;
    bool masquerade; /* endpoints must see the node as the client, so that answers come back this
                        way */
    size_t group;    /* index */
    bool has_inside; /* pods and processes of this node go to another group: */
    size_t inside_group; /* index */
    bool firewalled;     /* only clients of these addresses are let in */
    struct ranges sources;
};

struct proxy_service {
    char *name; /* "namespace/service" */
    struct proxy_group *groups;
    size_t group_count;
    struct proxy_frontend *frontends;
    size_t frontend_count;
    uint16_t health_port; /* where load balancers ask whether this node has endpoints; 0: nowhere */
    size_t local_ready;   /* endpoints of this node, for the answer */
};

/* The node that it is seen from. */
struct proxy_node {
    const char *name;
    const char *zone; /* "" when it has none */
};
/* family: AF_INET or AF_INET6; only addresses of that family count. NULL when there is nothing to
 * do for the Service in it (headless, ExternalName, another proxy's, malformed). */
struct proxy_service *proxy_service_build(const cJSON *service, const cJSON *const *slices,
                                          size_t slice_count, const struct proxy_node *node,
                                          int family);
void proxy_service_free(struct proxy_service *s); /* NULL is fine */
bool proxy_endpoint_equal(const struct proxy_endpoint *a,
                          const struct proxy_endpoint *b); /* same address and port */
