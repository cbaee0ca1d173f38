#include "kube-proxy/ranges.h"
#include <string.h>
#include "common/mem.h"
#include "kube-proxy/address.h"

/* Rebuilds the list from pieces, which come in ascending order. */
static void append(struct ranges *r, range_number first, range_number last)
{
    struct range *before = r->count ? &r->items[r->count - 1] : NULL;
    if (before && (before->last >= first || before->last + 1 == first)) {
        if (last > before->last)
            before->last = last;
        return;
    }
    r->items = mem_realloc(r->items, (r->count + 1) * sizeof *r->items);
    r->items[r->count++] = (struct range){first, last};
}

void ranges_add(struct ranges *r, range_number first, range_number last)
{
    struct ranges now = {0};
    bool added = false;
    for (size_t i = 0; i < r->count; i++) {
        if (!added && r->items[i].first > first) {
            append(&now, first, last);
            added = true;
        }
        append(&now, r->items[i].first, r->items[i].last);
    }
    if (!added)
        append(&now, first, last);
    free(r->items);
    *r = now;
}

void ranges_remove(struct ranges *r, range_number first, range_number last)
{
    struct ranges now = {0};
    for (size_t i = 0; i < r->count; i++) {
        const struct range *it = &r->items[i];
        if (it->last < first || it->first > last) {
            append(&now, it->first, it->last);
            continue;
        }
        if (it->first < first)
            append(&now, it->first, first - 1);
        if (it->last > last)
            append(&now, last + 1, it->last);
    }
    free(r->items);
    *r = now;
}

void ranges_add_all(struct ranges *r, const struct ranges *other)
{
    for (size_t i = 0; i < other->count; i++)
        ranges_add(r, other->items[i].first, other->items[i].last);
}

void ranges_clear(struct ranges *r)
{
    free(r->items);
    *r = (struct ranges){0};
}

static size_t size_of(int family)
{
    return family == AF_INET ? 4 : 16;
}

static range_number last_of(int family)
{
    return family == AF_INET ? (range_number)0xffffffffu : ~(range_number)0;
}

bool range_of_cidr(const char *cidr, int *family, struct range *out)
{
    struct address a;
    uint8_t prefix;
    if (!address_parse_cidr(cidr, &a, &prefix))
        return false;
    *family = a.family;
    range_number n = 0;
    for (size_t i = 0; i < size_of(a.family); i++)
        n = n << 8 | a.bytes[i];
    unsigned host = (unsigned)size_of(a.family) * 8 - prefix;
    *out = (struct range){n, host >= 128 ? ~(range_number)0 : n | (((range_number)1 << host) - 1)};
    return true;
}

bool ranges_all(const struct ranges *r, int family)
{
    return r->count == 1 && r->items[0].first == 0 && r->items[0].last == last_of(family);
}

static void print_address(range_number n, int family, struct buf *out)
{
    struct address a = {.family = (uint8_t)family};
    char text[ADDRESS_TEXT_MAX];
    for (size_t i = size_of(family); i-- > 0; n >>= 8)
        a.bytes[i] = (uint8_t)n;
    buf_adds(out, address_text(&a, text));
}

void ranges_print_addresses(const struct ranges *r, int family, struct buf *out)
{
    for (size_t i = 0; i < r->count; i++) {
        if (i)
            buf_adds(out, ", ");
        print_address(r->items[i].first, family, out);
        if (r->items[i].first != r->items[i].last) {
            buf_addc(out, '-');
            print_address(r->items[i].last, family, out);
        }
    }
}
