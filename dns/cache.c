/* A cache of sets: an answer lives in one of the WAYS places of its set, where it takes the place
 * of what expires first. Its size is bounded, and nothing needs to be swept. */
#include "dns/cache.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

#define SETS             2048
#define WAYS             4
#define NEGATIVE_TTL_MAX 300 /* seconds; RFC 2308 section 5 allows up to three hours */

struct cached {
    int refs;
    struct dns_query question; /* for the name in lower case and the flags */
    uint8_t *wire;
    size_t len;
    uint16_t *ttls; /* where they are in wire */
    size_t ttl_count;
    int64_t stored_ms, expires_ms;
};

struct cache {
    struct cached *sets[SETS][WAYS];
};

bool cache_same_question(const struct dns_query *a, const struct dns_query *b)
{
    return a->type == b->type && a->class == b->class && a->dnssec_ok == b->dnssec_ok &&
           a->checking_disabled == b->checking_disabled && a->name_len == b->name_len &&
           !memcmp(a->name, b->name, a->name_len);
}

uint32_t cache_hash(const struct dns_query *q)
{
    uint32_t h =
        2166136261u ^ q->type ^ (uint32_t)q->dnssec_ok << 17 ^ (uint32_t)q->checking_disabled << 18;
    for (size_t i = 0; i < q->name_len; i++)
        h = (h ^ q->name[i]) * 16777619u;
    return h ^ h >> 15;
}

void cached_unref(struct cached *c)
{
    if (!c || --c->refs > 0)
        return;
    LDNS_FREE(c->wire);
    free(c->ttls);
    free(c);
}

int cached_rcode(const struct cached *c)
{
    return c->wire[3] & 0xf;
}

static bool answers(const ldns_pkt *p, const struct dns_query *q, uint16_t id)
{
    const ldns_rr *rr = ldns_pkt_qdcount(p) == 1 ? ldns_rr_list_rr(ldns_pkt_question(p), 0) : NULL;
    if (!rr || !ldns_pkt_qr(p) || ldns_pkt_id(p) != id ||
        ldns_rr_get_type(rr) != (ldns_rr_type)q->type ||
        ldns_rr_get_class(rr) != (ldns_rr_class)q->class ||
        ldns_rdf_size(ldns_rr_owner(rr)) != q->name_len)
        return false;
    const uint8_t *name = ldns_rdf_data(ldns_rr_owner(rr));
    for (size_t i = 0; i < q->name_len; i++)
        if ((name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]) != q->name[i])
            return false;
    return true;
}

/* How long it may be kept, in seconds (RFC 2308 for answers that there is nothing). */
static uint32_t lifetime(const ldns_pkt *p, uint32_t max_ttl)
{
    const ldns_rr_list *list = ldns_pkt_answer(p);
    uint32_t ttl = max_ttl;
    int rcode = ldns_pkt_get_rcode(p);
    if (rcode != LDNS_RCODE_NOERROR && rcode != LDNS_RCODE_NXDOMAIN)
        return 0;
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++)
        if (ldns_rr_ttl(ldns_rr_list_rr(list, i)) < ttl)
            ttl = ldns_rr_ttl(ldns_rr_list_rr(list, i));
    if (rcode == LDNS_RCODE_NOERROR && ldns_rr_list_rr_count(list) > 0)
        return ttl;
    list = ldns_pkt_authority(p);
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(list, i);
        const ldns_rdf *minimum =
            ldns_rr_get_type(rr) == LDNS_RR_TYPE_SOA ? ldns_rr_rdf(rr, 6) : NULL;
        if (!minimum || ldns_rdf_size(minimum) != 4)
            continue;
        uint32_t limits[] = {ldns_rr_ttl(rr), dns_get32(ldns_rdf_data(minimum)), NEGATIVE_TTL_MAX};
        for (size_t j = 0; j < ARRAY_LEN(limits); j++)
            ttl = limits[j] < ttl ? limits[j] : ttl;
        return ttl;
    }
    return 0;
}

static const uint8_t *skip_name(const uint8_t *p)
{
    while (*p && *p < 0xc0)
        p += *p + 1;
    return p + (*p ? 2 : 1);
}

/* In a message that ldns has just written: it is well-formed. */
static void find_ttls(struct cached *c)
{
    size_t count =
        (size_t)dns_get16(c->wire + 6) + dns_get16(c->wire + 8) + dns_get16(c->wire + 10);
    const uint8_t *p = skip_name(c->wire + DNS_HEADER_SIZE) + 4;
    c->ttls = mem_alloc((count ? count : 1) * sizeof(*c->ttls));
    for (size_t i = 0; i < count; i++) {
        p = skip_name(p);
        c->ttls[c->ttl_count++] = (uint16_t)(p + 4 - c->wire);
        p += 10 + dns_get16(p + 8);
    }
}

static void remove_edns(ldns_pkt *p)
{
    ldns_rdf_deep_free(p->_edns_data);
    p->_edns_data = NULL;
    ldns_edns_option_list_deep_free(p->_edns_list);
    p->_edns_list = NULL;
    p->_edns_present = 0;
    p->_edns_udp_size = 0;
    p->_edns_extended_rcode = 0;
    p->_edns_z = 0;
}

struct cached *cached_new(const struct dns_query *q, uint16_t id, const uint8_t *wire, size_t len,
                          uint32_t max_ttl, int64_t now_ms, bool *truncated)
{
    ldns_pkt *p = NULL;
    *truncated = false;
    if (ldns_wire2pkt(&p, wire, len) != LDNS_STATUS_OK)
        return NULL;
    struct cached *c = NULL;
    if (answers(p, q, id) && ldns_pkt_edns_extended_rcode(p) == 0) {
        *truncated = ldns_pkt_tc(p);
        c = mem_alloc(sizeof(*c));
        *c = (struct cached){.refs = 1, .question = *q, .stored_ms = now_ms};
        c->expires_ms = now_ms + 1000 * (int64_t)lifetime(p, max_ttl);
        remove_edns(p);
        if (ldns_pkt2wire(&c->wire, p, &c->len) != LDNS_STATUS_OK || c->len > DNS_TCP_SIZE) {
            cached_unref(c);
            c = NULL;
        } else {
            find_ttls(c);
        }
    }
    ldns_pkt_free(p);
    return c;
}

static uint32_t aged(uint32_t ttl, const struct cached *c, int64_t now_ms)
{
    int64_t left = ttl - (now_ms - c->stored_ms) / 1000;
    return left > 0 ? (uint32_t)left : 0;
}

size_t cached_write(const struct cached *c, const struct dns_query *q, uint8_t *wire, size_t limit,
                    int64_t now_ms)
{
    struct dns_writer w;
    dns_writer_start(&w, q, wire, limit);
    if (c->len > w.limit) {
        w.truncated = true;
        return dns_writer_finish(&w, cached_rcode(c), true);
    }
    memcpy(wire + w.len, c->wire + w.len, c->len - w.len);
    for (size_t i = 0; i < c->ttl_count; i++)
        dns_put32(wire + c->ttls[i], aged(dns_get32(c->wire + c->ttls[i]), c, now_ms));
    w.len = c->len;
    for (int i = 0; i < 3; i++)
        w.counts[i] = dns_get16(c->wire + 6 + 2 * i);
    size_t len = dns_writer_finish(&w, cached_rcode(c), true);
    wire[3] |= c->wire[3] & 0x20; /* AD: the other server has validated it */
    return len;
}

void cached_append(const struct cached *c, struct dns_writer *w, int64_t now_ms)
{
    ldns_pkt *p = NULL;
    if (ldns_wire2pkt(&p, c->wire, c->len) != LDNS_STATUS_OK)
        return;
    const ldns_rr_list *list = ldns_pkt_answer(p);
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(list, i);
        ldns_buffer *data = ldns_buffer_new(512);
        if (ldns_rr_rdata2buffer_wire(data, rr) == LDNS_STATUS_OK &&
            ldns_buffer_position(data) <= UINT16_MAX)
            dns_writer_add(w, DNS_ANSWER, ldns_rdf_data(ldns_rr_owner(rr)),
                           (uint16_t)ldns_rr_get_type(rr), aged(ldns_rr_ttl(rr), c, now_ms),
                           ldns_buffer_begin(data), ldns_buffer_position(data));
        ldns_buffer_free(data);
    }
    ldns_pkt_free(p);
}

struct cache *cache_new(void)
{
    return mem_alloc(sizeof(struct cache));
}

void cache_free(struct cache *c)
{
    for (size_t i = 0; c && i < SETS; i++)
        for (size_t j = 0; j < WAYS; j++)
            cached_unref(c->sets[i][j]);
    free(c);
}

struct cached *cache_get(struct cache *c, const struct dns_query *q, int64_t now_ms)
{
    struct cached **set = c->sets[cache_hash(q) % SETS];
    for (size_t i = 0; i < WAYS; i++)
        if (set[i] && cache_same_question(&set[i]->question, q))
            return set[i]->expires_ms > now_ms ? set[i] : NULL;
    return NULL;
}

void cache_put(struct cache *c, struct cached *answer, int64_t now_ms)
{
    if (answer->expires_ms <= now_ms)
        return;
    struct cached **set = c->sets[cache_hash(&answer->question) % SETS], **place = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i] && cache_same_question(&set[i]->question, &answer->question)) {
            place = &set[i];
            break;
        }
        if (*place && (!set[i] || set[i]->expires_ms < (*place)->expires_ms))
            place = &set[i];
    }
    answer->refs++;
    cached_unref(*place);
    *place = answer;
}
