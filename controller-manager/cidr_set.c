#include "controller-manager/cidr_set.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

enum { MAX_BLOCK_BITS = 16 };

static int width(int family)
{
    return family == AF_INET ? 32 : 128;
}

/* The bits behind a prefix, set. */
static cidr_number host_bits(int family, int mask)
{
    int bits = width(family) - mask;
    return bits >= 128 ? ~(cidr_number)0 : ((cidr_number)1 << bits) - 1;
}

bool cidr_parse(const char *text, int *family, cidr_number *network, int *mask, struct error **err)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = text ? strchr(text, '/') : NULL;
    unsigned char bytes[16] = {0};
    char *end = NULL;
    long m = slash ? strtol(slash + 1, &end, 10) : -1;
    *family = text && strchr(text, ':') ? AF_INET6 : AF_INET;
    if (slash && (size_t)(slash - text) < sizeof(address)) {
        memcpy(address, text, (size_t)(slash - text));
        address[slash - text] = 0;
    }
    if (!slash || (size_t)(slash - text) >= sizeof(address) || end == slash + 1 || *end || m < 0 ||
        m > width(*family) || inet_pton(*family, address, bytes) != 1) {
        error_setf(err, "invalid CIDR address: %s", text ? text : "");
        return false;
    }
    cidr_number n = 0;
    for (int i = 0; i < width(*family) / 8; i++)
        n = n << 8 | bytes[i];
    *mask = (int)m;
    *network = n & ~host_bits(*family, *mask);
    return true;
}

bool cidr_set_init(struct cidr_set *s, const char *cidr, int block_mask, struct error **err)
{
    *s = (struct cidr_set){.block_mask = block_mask};
    if (!cidr_parse(cidr, &s->family, &s->network, &s->mask, err))
        return false;
    if (block_mask < s->mask || block_mask > width(s->family) ||
        block_mask - s->mask > MAX_BLOCK_BITS) {
        error_setf(err, "a block size of /%d does not fit the range %s", block_mask, cidr);
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

/* The blocks that a CIDR overlaps; false when there are none. */
static bool blocks_of(const struct cidr_set *s, const char *cidr, size_t *first, size_t *last)
{
    cidr_number network;
    int family, mask;
    if (!cidr_parse(cidr, &family, &network, &mask, NULL) || family != s->family)
        return false;
    cidr_number to = network | host_bits(family, mask);
    cidr_number end = s->network | host_bits(s->family, s->mask);
    if (to < s->network || network > end)
        return false;
    int shift = width(s->family) - s->block_mask;
    *first = (size_t)((network < s->network ? 0 : network - s->network) >> shift);
    *last = (size_t)(((to > end ? end : to) - s->network) >> shift);
    return true;
}

static bool mark(struct cidr_set *s, const char *cidr, bool used)
{
    size_t first, last;
    if (!blocks_of(s, cidr, &first, &last))
        return false;
    memset(s->used + first, used, last - first + 1);
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

bool cidr_set_is_free(const struct cidr_set *s, const char *cidr)
{
    size_t first, last;
    return blocks_of(s, cidr, &first, &last) && !memchr(s->used + first, 1, last - first + 1);
}

static void print(const struct cidr_set *s, size_t block, char out[CIDR_TEXT_MAX])
{
    cidr_number n = s->network + ((cidr_number)block << (width(s->family) - s->block_mask));
    unsigned char bytes[16];
    char text[INET6_ADDRSTRLEN];
    for (int i = width(s->family) / 8; i-- > 0; n >>= 8)
        bytes[i] = (unsigned char)n;
    inet_ntop(s->family, bytes, text, sizeof(text));
    snprintf(out, CIDR_TEXT_MAX, "%s/%d", text, s->block_mask);
}

bool cidr_set_allocate(struct cidr_set *s, char out[CIDR_TEXT_MAX])
{
    for (size_t i = 0; i < s->count; i++) {
        size_t block = (s->next + i) % s->count;
        if (s->used[block])
            continue;
        s->used[block] = 1;
        s->next = (block + 1) % s->count;
        print(s, block, out);
        return true;
    }
    return false;
}
