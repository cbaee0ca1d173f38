/* What the cluster's names stand for: an immutable record of each Service, found by name or by
 * address. Thread-safe. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/informer.h"
#include "dns/message.h"

struct zone_address {
    uint8_t family; /* 4 or 6 */
    uint8_t bytes[16];
};
/* "10.0.0.1", "fd00::1"; false if it is neither. */
bool zone_address_parse(const char *text, struct zone_address *out);
/* "10-0-0-1", "fd00--1": the other form that the names of pods and endpoints have. */
bool zone_address_parse_dashed(const char *text, size_t len, struct zone_address *out);
static inline size_t zone_address_size(const struct zone_address *a)
{
    return a->family == 4 ? 4 : 16;
}

struct zone_port {
    char name[16];
    char protocol[5]; /* "tcp", "udp", "sctp" */
    uint16_t number;
};
struct zone_endpoint {
    char name[64]; /* the pod's hostname, or the address with dashes */
    struct zone_address address;
    size_t first_port, port_count; /* of the Service's ports */
};
enum zone_kind { ZONE_CLUSTER_IP, ZONE_HEADLESS, ZONE_EXTERNAL_NAME };
struct zone_service {
    int refs;  /* atomic */
    char *key; /* "namespace/name" */
    enum zone_kind kind;
    uint8_t *external_name; /* wire form */
    struct zone_address *addresses;
    size_t address_count;
    struct zone_port *ports; /* ZONE_HEADLESS: those of the endpoints */
    size_t port_count;
    struct zone_endpoint *endpoints; /* ZONE_HEADLESS: the ready ones */
    size_t endpoint_count;
};
/* NULL: a Service without names (an ExternalName that is no name). slices: of this Service. */
struct zone_service *zone_service_new(const cJSON *service, const struct kube_object_list *slices);
void zone_service_unref(struct zone_service *s);
static inline void zone_service_cleanup(struct zone_service **s)
{
    zone_service_unref(*s);
}
#define cleanup_service __attribute__((cleanup(zone_service_cleanup)))

struct zone;
struct zone *zone_new(void);
void zone_free(struct zone *z);
/* s is taken; NULL removes. */
void zone_put_service(struct zone *z, const char *key, struct zone_service *s);
void zone_put_namespace(struct zone *z, const char *name, bool exists);
/* Addresses of running pods, for --pods=verified. */
void zone_put_pod(struct zone *z, const char *ns, const struct zone_address *a, bool exists);

/* A reference, or NULL. */
struct zone_service *zone_find_service(struct zone *z, const char *ns, const char *name);
bool zone_has_namespace(struct zone *z, const char *name);
bool zone_has_pod(struct zone *z, const char *ns, const struct zone_address *a);
/* Calls fn for each cluster IP and endpoint of a headless Service with this address (endpoint NULL:
 * the Service itself). */
void zone_by_address(struct zone *z, const struct zone_address *a,
                     void (*fn)(void *ctx, const struct zone_service *s,
                                const struct zone_endpoint *endpoint),
                     void *ctx);
