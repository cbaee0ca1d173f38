#include "kube-proxy/address.h"
#include <stdlib.h>
#include <string.h>

static bool parse(const char *text, struct address *a)
{
    *a = (struct address){0};
    if (!text)
        return false;
    a->family = strchr(text, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(a->family, text, a->bytes) == 1)
        return true;
    *a = (struct address){0};
    return false;
}

bool address_parse(const char *text, struct address *a)
{
    static const struct address zero[] = {{.family = AF_INET}, {.family = AF_INET6}};
    if (!parse(text, a) || address_equal(a, &zero[0]) || address_equal(a, &zero[1])) {
        *a = (struct address){0};
        return false;
    }
    return true;
}

const char *address_text(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
    out[0] = '\0';
    if (a->family)
        inet_ntop(a->family, a->bytes, out, ADDRESS_TEXT_MAX);
    return out;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool address_parse_cidr(const char *text, struct address *a, uint8_t *prefix)
{
    char ip[ADDRESS_TEXT_MAX], *end;
    const char *slash = text ? strchr(text, '/') : NULL;
    if (!slash || slash - text >= (long)sizeof ip || slash[1] < '0' || slash[1] > '9')
        return false;
    memcpy(ip, text, (size_t)(slash - text));
    ip[slash - text] = '\0';
    unsigned long bits = strtoul(slash + 1, &end, 10);
    if (!parse(ip, a) || *end || bits > (a->family == AF_INET ? 32 : 128))
        return false;
    *prefix = (uint8_t)bits;
    for (unsigned i = 0; i < sizeof a->bytes; i++) {
        int keep = (int)bits - 8 * (int)i;
        a->bytes[i] &= keep >= 8 ? 0xff : keep <= 0 ? 0 : (uint8_t)(0xff00 >> keep);
    }
    return true;
}
