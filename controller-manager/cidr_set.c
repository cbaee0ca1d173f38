#include "controller-manager/cidr_set.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

enum { MAX_BLOCK_BITS = 16 };

static uint32_t mask_bits(int mask)
{
    return mask ? 0xffffffffu << (32 - mask) : 0;
}

bool cidr_parse(const char *text, uint32_t *network, int *mask, struct error **err)
{
    char address[INET_ADDRSTRLEN];
    const char *slash = text ? strchr(text, '/') : NULL;
    struct in_addr a;
    char *end = NULL;
    long m = slash ? strtol(slash + 1, &end, 10) : -1;
    if (!slash || (size_t)(slash - text) >= sizeof(address) || end == slash + 1 || *end || m < 0 ||
        m > 32) {
        error_setf(err, "invalid CIDR address: %s", text ? text : "");
        return false;
    }
    memcpy(address, text, (size_t)(slash - text));
    address[slash - text] = 0;
    if (inet_pton(AF_INET, address, &a) != 1) {
        error_setf(err, "invalid CIDR address: %s", text);
        return false;
    }
    *mask = (int)m;
    *network = ntohl(a.s_addr) & mask_bits(*mask);
    return true;
}

bool cidr_set_init(struct cidr_set *s, const char *cidr, int block_mask, struct error **err)
{
    *s = (struct cidr_set){.block_mask = block_mask};
    if (!cidr_parse(cidr, &s->network, &s->mask, err))
        return false;
    if (block_mask < s->mask || block_mask > 32 || block_mask - s->mask > MAX_BLOCK_BITS) {
        error_setf(err, "--node-cidr-mask-size %d does not fit the cluster CIDR %s", block_mask,
                   cidr);
        return false;
    }
    s->count = (size_t)1 << (block_mask - s->mask);
    s->used = mem_alloc(s->count);
    return true;
}

void cidr_set_free(struct cidr_set *s)
{
    free(s->used);
    *s = (struct cidr_set){0};
}

static bool mark(struct cidr_set *s, const char *cidr, bool used)
{
    uint32_t network;
    int mask;
    if (!cidr_parse(cidr, &network, &mask, NULL))
        return false;
    uint64_t first = network, last = (uint64_t)network | ~mask_bits(mask);
    uint64_t from = s->network, to = (uint64_t)s->network | ~mask_bits(s->mask);
    if (last < from || first > to)
        return false;
    first = first < from ? from : first;
    last = last > to ? to : last;
    int shift = 32 - s->block_mask;
    for (uint64_t block = (first - from) >> shift; block <= (last - from) >> shift; block++)
        s->used[block] = used;
    return true;
}

bool cidr_set_occupy(struct cidr_set *s, const char *cidr)
{
    return mark(s, cidr, true);
}

bool cidr_set_release(struct cidr_set *s, const char *cidr)
{
    return mark(s, cidr, false);
}

bool cidr_set_allocate(struct cidr_set *s, char out[CIDR_TEXT_MAX])
{
    for (size_t i = 0; i < s->count; i++) {
        size_t block = (s->next + i) % s->count;
        if (s->used[block])
            continue;
        s->used[block] = 1;
        s->next = (block + 1) % s->count;
        struct in_addr a = {.s_addr =
                                htonl(s->network + (uint32_t)(block << (32 - s->block_mask)))};
        char text[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &a, text, sizeof(text));
        snprintf(out, CIDR_TEXT_MAX, "%s/%d", text, s->block_mask);
        return true;
    }
    return false;
}
