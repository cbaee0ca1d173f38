/* What a Service and its EndpointSlices ask of a node, without a word about how the node does it. Pure
 * functions. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy_endpoint {
    uint32_t ip; /* network byte order */
    uint16_t port;
    bool local; /* on this node */
};

/* The endpoints among which connections are spread. A service port has one such group for all its endpoints,
 * and one for those of this node where a traffic policy is Local. */
struct proxy_group {
    char *name;           /* "namespace/service:port:protocol", with "/local" behind it for the node's own */
    uint8_t protocol;     /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP */
    int affinity_seconds; /* how long a client stays with its endpoint; 0: not at all */
    bool elsewhere;       /* there are endpoints, but only on other nodes, where the policy forbids to go */
    struct proxy_endpoint *endpoints;
    size_t count;
};

/* An address and port at which a group is reached. */
struct proxy_frontend {
    uint32_t ip; /* network byte order; 0: a node port, at any address of the node */
    uint16_t port;
    bool masquerade; /* endpoints must see the node as the client, so that answers come back this way */
    size_t group;    /* index */
};

struct proxy_service {
    char *name; /* "namespace/service" */
    struct proxy_group *groups;
    size_t group_count;
    struct proxy_frontend *frontends;
    size_t frontend_count;
};

/* NULL when there is nothing to do for the Service (headless, ExternalName, another proxy's, malformed).
 * IPv4. */
struct proxy_service *proxy_service_build(const cJSON *service, const cJSON *const *slices,
                                          size_t slice_count, const char *node_name);
void proxy_service_free(struct proxy_service *s); /* NULL is fine */
bool proxy_endpoint_equal(const struct proxy_endpoint *a,
                          const struct proxy_endpoint *b); /* same address and port */
