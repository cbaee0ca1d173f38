/* Blocks of one size out of an IPv4 or IPv6 network, each handed out once. Not thread-safe. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

typedef unsigned __int128 cidr_number; /* an address; IPv4 ones have 32 bits */

struct cidr_set {
    int family; /* AF_INET or AF_INET6 */
    cidr_number network;
    int mask, block_mask;
    size_t count; /* of blocks */
    size_t next;  /* where the search for a free block begins: what was given back is used again as
                     late as possible */
    unsigned char *used;
};
#define CIDR_TEXT_MAX 52
bool cidr_parse(const char *text, int *family, cidr_number *network, int *mask, struct error **err);
/* At most 2^16 blocks. */
bool cidr_set_init(struct cidr_set *s, const char *cidr, int block_mask, struct error **err);
void cidr_set_free(struct cidr_set *s);
/* Marks every block that overlaps; false when the text is no CIDR or lies outside. */
bool cidr_set_occupy(struct cidr_set *s, const char *cidr);
bool cidr_set_release(struct cidr_set *s, const char *cidr);
/* Lies the CIDR inside, with no block of it taken? */
bool cidr_set_is_free(const struct cidr_set *s, const char *cidr);
/* False when all are used. */
bool cidr_set_allocate(struct cidr_set *s, char out[CIDR_TEXT_MAX]);
