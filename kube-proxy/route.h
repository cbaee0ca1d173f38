/* Routes: to the pods of other nodes by their nodes' addresses, and one for the Services' range, so that a
 * process of the node that connects to a Service gets the node's address as its own even where there is no
 * default route. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

struct route {
    uint32_t destination; /* network byte order, as the others */
    uint8_t prefix;
    uint32_t gateway; /* 0: directly at the interface of `source` */
    uint32_t source;  /* 0: the kernel's choice */
};
/* "10.244.1.0/24"; false if malformed. */
bool route_parse_cidr(const char *text, uint32_t *address, uint8_t *prefix);
bool route_equal(const struct route *a, const struct route *b);

struct routes;
struct routes *routes_new(struct error **err);
void routes_free(struct routes *r);
/* Makes these the only routes of ours in the kernel, also if others were left by an earlier process. Failing
 * ones are told in the error, the others are set all the same. */
bool routes_sync(struct routes *r, const struct route *wanted, size_t count, struct error **err);
