#include "apiserver/registry/cidr.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

bool cidr_parse(const char *text, struct cidr *out, struct error **err)
{
    *out = (struct cidr){0};
    const char *slash = strchr(text, '/');
    cleanup_free char *address = slash ? mem_strndup(text, (size_t)(slash - text)) : NULL;
    char *end = NULL;
    long prefix = slash ? strtol(slash + 1, &end, 10) : -1;
    out->family = address && strchr(address, ':') ? AF_INET6 : AF_INET;
    int bits = out->family == AF_INET6 ? 128 : 32;
    if (!address || *end || end == slash + 1 || prefix < 0 || prefix > bits ||
        inet_pton(out->family, address, out->base) != 1) {
        error_setf(err, "invalid CIDR address: %s", text);
        return false;
    }
    out->prefix = (int)prefix;
    for (int bit = out->prefix; bit < bits; bit++)
        out->base[bit / 8] &= (unsigned char)~(0x80u >> bit % 8);
    int host = bits - out->prefix > 32 ? 32 : bits - out->prefix;
    out->size = (uint64_t)1 << host;
    if (out->size < 4) {
        error_setf(err, "CIDR %s is too small for Services", text);
        return false;
    }
    out->first = 1;
    out->last = out->family == AF_INET6 ? out->size - 1 : out->size - 2;
    /* https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/: min(max(16,
     * size / 16), 256) */
    uint64_t band = out->size / 16;
    band = band < 16 ? 16 : band > 256 ? 256 : band;
    out->band = band < out->last ? band : 0;
    return true;
}

char *cidr_address(const struct cidr *c, uint64_t offset, char out[ADDRESS_TEXT_MAX])
{
    unsigned char bytes[16];
    memcpy(bytes, c->base, sizeof bytes);
    for (int i = (c->family == AF_INET6 ? 16 : 4) - 1; offset && i >= 0; i--) {
        offset += bytes[i];
        bytes[i] = (unsigned char)offset;
        offset >>= 8;
    }
    inet_ntop(c->family, bytes, out, ADDRESS_TEXT_MAX);
    return out;
}

bool cidr_offset(const struct cidr *c, const char *address, uint64_t *offset)
{
    unsigned char bytes[16] = {0};
    if (inet_pton(c->family, address, bytes) != 1)
        return false;
    int length = c->family == AF_INET6 ? 16 : 4;
    unsigned __int128 distance = 0;
    /* Offsets are positive only when the address is not below the base. */
    if (memcmp(bytes, c->base, (size_t)length) < 0)
        return false;
    for (int i = 0; i < length; i++)
        distance = distance * 256 + bytes[i];
    unsigned __int128 base = 0;
    for (int i = 0; i < length; i++)
        base = base * 256 + c->base[i];
    distance -= base;
    if (distance >= c->size)
        return false;
    *offset = (uint64_t)distance;
    return true;
}

bool address_parse(const char *text, char canonical[ADDRESS_TEXT_MAX])
{
    unsigned char bytes[16];
    int family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(family, text, bytes) != 1)
        return false;
    if (canonical)
        inet_ntop(family, bytes, canonical, ADDRESS_TEXT_MAX);
    return true;
}
