/* Sets of numbers as disjoint ranges: what the ipBlocks and the ports of a rule come to.
 * Zero-initialized is empty. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/buf.h"

typedef unsigned __int128 range_number; /* an IPv4 or IPv6 address, or a port */
struct range {
    range_number first, last;
};
struct ranges {
    struct range *items; /* ascending, disjoint, not even touching */
    size_t count;
};
void ranges_add(struct ranges *r, range_number first, range_number last);
void ranges_remove(struct ranges *r, range_number first, range_number last);
void ranges_add_all(struct ranges *r, const struct ranges *other);
void ranges_clear(struct ranges *r);

/* The addresses of "10.0.0.0/8" or "fd00::/8"; false if malformed. family: AF_INET or AF_INET6. */
bool range_of_cidr(const char *cidr, int *family, struct range *out);
/* Is this every address of the family? */
bool ranges_all(const struct ranges *r, int family);
/* "10.0.0.0-10.0.0.255, 10.0.2.1" */
void ranges_print_addresses(const struct ranges *r, int family, struct buf *out);
