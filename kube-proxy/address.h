/* An IPv4 or IPv6 address, comparable byte by byte. */
#pragma once
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>

struct address {
    uint8_t family;    /* AF_INET, AF_INET6; 0: none */
    uint8_t bytes[16]; /* network byte order; IPv4 in the first four, zeros behind */
};
#define ADDRESS_TEXT_MAX INET6_ADDRSTRLEN
/* False, and *a none, for malformed and for unspecified (all zero) ones. */
bool address_parse(const char *text, struct address *a);
/* Canonical (RFC 5952). Returns out. */
const char *address_text(const struct address *a, char out[ADDRESS_TEXT_MAX]);
bool address_equal(const struct address *a, const struct address *b);
/* "10.244.1.7/24": the prefix' first address, and its length; false if malformed. */
bool address_parse_cidr(const char *text, struct address *a, uint8_t *prefix);
