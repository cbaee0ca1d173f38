/* An address range of Services: offsets into it, and back. IPv4 and IPv6. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

#define ADDRESS_TEXT_MAX 46

struct cidr {
    int family; /* AF_INET or AF_INET6 */
    unsigned char base[16];
    int prefix;
    uint64_t size; /* addresses; at most 2^32 */
    uint64_t first,
        last; /* offsets that may be given out: not the network's own, nor IPv4's broadcast */
    uint64_t
        band; /* offsets below are the lower band, where addresses asked for by name are expected */
};
bool cidr_parse(const char *text, struct cidr *out, struct error **err);
/* The canonical text of the address at an offset. Returns out. */
char *cidr_address(const struct cidr *c, uint64_t offset, char out[ADDRESS_TEXT_MAX]);
/* False when the text is no address of this range (its ends included). */
bool cidr_offset(const struct cidr *c, const char *address, uint64_t *offset);
/* Is it an address at all? Gives its canonical text when canonical is not NULL. */
bool address_parse(const char *text, char canonical[ADDRESS_TEXT_MAX]);
