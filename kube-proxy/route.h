/* Routes: to the pods of other nodes by their nodes' addresses, and one for the Services' range, so
 * that a process of the node that connects to a Service gets the node's address as its own even
 * where there is no default route. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "kube-proxy/address.h"

struct route {
    struct address destination;
    uint8_t prefix;
    struct address gateway; /* none: directly at the interface of `source` */
    struct address source;  /* none: the kernel's choice */
};
bool route_equal(const struct route *a, const struct route *b);

struct routes;
struct routes *routes_new(struct error **err);
void routes_free(struct routes *r);
/* Makes these the only routes of ours in the kernel, also if others were left by an earlier
 * process. Failing ones are told in the error, the others are set all the same. */
bool routes_sync(struct routes *r, const struct route *wanted, size_t count, struct error **err);
