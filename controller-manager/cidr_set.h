/* Blocks of one size out of an IPv4 network, each handed out once. Not thread-safe. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

struct cidr_set {
    uint32_t network;
    int mask, block_mask;
    size_t count; /* of blocks */
    size_t next;  /* where the search for a free block begins: what was given back is used again as
                     late as possible */
    unsigned char *used;
};
#define CIDR_TEXT_MAX 24
bool cidr_parse(const char *text, uint32_t *network, int *mask, struct error **err);
bool cidr_set_init(struct cidr_set *s, const char *cidr, int block_mask, struct error **err);
void cidr_set_free(struct cidr_set *s);
/* Marks every block that overlaps; false when the text is no CIDR or lies outside. */
bool cidr_set_occupy(struct cidr_set *s, const char *cidr);
bool cidr_set_release(struct cidr_set *s, const char *cidr);
/* False when all are used. */
bool cidr_set_allocate(struct cidr_set *s, char out[CIDR_TEXT_MAX]);
