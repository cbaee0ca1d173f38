#include "dns/message.h"
#include <assert.h>
#include <string.h>

#define OPT_SIZE 11

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

enum dns_parsed dns_query_parse(struct dns_query *q, const uint8_t *wire, size_t len, int *rcode)
{
    if (len < DNS_HEADER_SIZE || wire[2] & 0x80)
        return DNS_IGNORE;
    *rcode = LDNS_RCODE_FORMERR;
    if ((wire[2] >> 3 & 0xf) != LDNS_PACKET_QUERY) {
        *rcode = LDNS_RCODE_NOTIMPL;
        return DNS_REFUSE;
    }
    ldns_pkt *packet = NULL;
    if (dns_get16(wire + 4) != 1 || ldns_wire2pkt(&packet, wire, len) != LDNS_STATUS_OK)
        return DNS_REFUSE;
    enum dns_parsed result = DNS_REFUSE;
    const ldns_rr *question = ldns_rr_list_rr(ldns_pkt_question(packet), 0);
    const ldns_rdf *name = question ? ldns_rr_owner(question) : NULL;
    if (name && ldns_rdf_size(name) <= DNS_NAME_MAX) {
        *q = (struct dns_query){
            .id = ldns_pkt_id(packet),
            .type = (uint16_t)ldns_rr_get_type(question),
            .class = (uint16_t)ldns_rr_get_class(question),
            .name_len = (uint8_t)ldns_rdf_size(name),
            .recursion_desired = ldns_pkt_rd(packet),
            .checking_disabled = ldns_pkt_cd(packet),
            .edns = ldns_pkt_edns(packet),
            .udp_size = 512,
        };
        memcpy(q->asked_name, ldns_rdf_data(name), q->name_len);
        for (size_t i = 0; i < q->name_len; i++)
            q->name[i] = lower(q->asked_name[i]); /* a length is at most 63, below 'A' */
        result = DNS_PARSED;
        if (q->edns) {
            q->dnssec_ok = ldns_pkt_edns_do(packet);
            if (ldns_pkt_edns_udp_size(packet) > 512)
                q->udp_size = ldns_pkt_edns_udp_size(packet);
            if (ldns_pkt_edns_version(packet) != 0) {
                *rcode = DNS_RCODE_BADVERS;
                result = DNS_REFUSE;
            }
        }
    }
    ldns_pkt_free(packet);
    return result;
}

size_t dns_answer_limit(const struct dns_query *q, bool tcp)
{
    if (tcp)
        return DNS_TCP_SIZE;
    return q->udp_size < DNS_UDP_SIZE ? q->udp_size : DNS_UDP_SIZE;
}

void dns_writer_start(struct dns_writer *w, const struct dns_query *q, uint8_t *wire, size_t size)
{
    assert(size >= DNS_QUERY_MAX + OPT_SIZE);
    *w = (struct dns_writer){.wire = wire, .limit = size - (q->edns ? OPT_SIZE : 0), .query = q};
    memcpy(wire + DNS_HEADER_SIZE, q->asked_name, q->name_len);
    w->len = DNS_HEADER_SIZE + q->name_len;
    dns_put16(wire + w->len, q->type);
    dns_put16(wire + w->len + 2, q->class);
    w->len += 4;
}

bool dns_writer_add(struct dns_writer *w, enum dns_section section, const uint8_t *owner,
                    uint16_t type, uint32_t ttl, const void *data, size_t data_len)
{
    if (w->truncated)
        return false;
    size_t owner_len = owner ? dns_name_length(owner) : 2;
    if (w->len + owner_len + 10 + data_len > w->limit) {
        w->truncated = section != DNS_ADDITIONAL;
        return false;
    }
    uint8_t *p = w->wire + w->len;
    if (owner)
        memcpy(p, owner, owner_len);
    else
        dns_put16(p, 0xc000 | DNS_HEADER_SIZE);
    p += owner_len;
    dns_put16(p, type);
    dns_put16(p + 2, LDNS_RR_CLASS_IN);
    dns_put32(p + 4, ttl);
    dns_put16(p + 8, (uint16_t)data_len);
    memcpy(p + 10, data, data_len);
    w->len += owner_len + 10 + data_len;
    w->counts[section]++;
    return true;
}

size_t dns_write_opt(uint8_t *at, int rcode, bool dnssec_ok)
{
    memset(at, 0, OPT_SIZE);
    dns_put16(at + 1, LDNS_RR_TYPE_OPT);
    dns_put16(at + 3, DNS_UDP_SIZE);
    at[5] = (uint8_t)(rcode >> 4);
    at[7] = dnssec_ok ? 0x80 : 0;
    return OPT_SIZE;
}

size_t dns_writer_finish(struct dns_writer *w, int rcode, bool recursion_available)
{
    uint8_t *h = w->wire;
    const struct dns_query *q = w->query;
    dns_put16(h, q->id);
    h[2] = (uint8_t)(0x80 | (w->authoritative ? 0x04 : 0) | (w->truncated ? 0x02 : 0) |
                     q->recursion_desired);
    h[3] = (uint8_t)((recursion_available ? 0x80 : 0) | (q->checking_disabled ? 0x10 : 0) |
                     (rcode & 0xf));
    dns_put16(h + 4, 1);
    for (int i = 0; i < 3; i++)
        dns_put16(h + 6 + 2 * i, w->counts[i]);
    if (q->edns) {
        w->len += dns_write_opt(w->wire + w->len, rcode, q->dnssec_ok);
        dns_put16(h + 10, (uint16_t)(w->counts[DNS_ADDITIONAL] + 1));
    }
    return w->len;
}

size_t dns_write_refusal(uint8_t wire[DNS_HEADER_SIZE + 11], const uint8_t *query, int rcode)
{
    memset(wire, 0, DNS_HEADER_SIZE);
    memcpy(wire, query, 2);
    wire[2] = (uint8_t)(0x80 | (query[2] & 0x79)); /* opcode and RD are the query's */
    wire[3] = (uint8_t)(rcode & 0xf);
    if (rcode < 16)
        return DNS_HEADER_SIZE;
    wire[11] = 1;
    return DNS_HEADER_SIZE + dns_write_opt(wire + DNS_HEADER_SIZE, rcode, false);
}

size_t dns_name_length(const uint8_t *name)
{
    size_t n = 0;
    while (name[n])
        n += name[n] + 1u;
    return n + 1;
}

size_t dns_name_from_text(uint8_t out[DNS_NAME_MAX], const char *text)
{
    size_t len = 0;
    if (!strcmp(text, "."))
        text = "";
    while (*text) {
        size_t n = strcspn(text, ".");
        if (n == 0 || n > 63 || len + n + 2 > DNS_NAME_MAX)
            return 0;
        out[len++] = (uint8_t)n;
        for (size_t i = 0; i < n; i++)
            out[len++] = lower((uint8_t)text[i]);
        text += n + (text[n] == '.');
    }
    out[len++] = 0;
    return len;
}

void dns_name_to_text(char out[DNS_NAME_MAX + 1], const uint8_t *name)
{
    size_t len = 0;
    for (; *name; name += *name + 1) {
        if (len)
            out[len++] = '.';
        for (size_t i = 1; i <= *name; i++) {
            char c = (char)name[i];
            bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                         (c >= '0' && c <= '9') || c == '-' || c == '_';
            out[len++] = plain ? c : '?';
        }
    }
    out[len] = 0;
}

int dns_name_below(const uint8_t *name, size_t name_len, const uint8_t *parent, size_t parent_len)
{
    if (name_len < parent_len || memcmp(name + name_len - parent_len, parent, parent_len) != 0)
        return -1;
    /* The tail is the same bytes; it must begin where a label does. */
    size_t at = 0;
    while (at < name_len - parent_len)
        at += name[at] + 1u;
    return at == name_len - parent_len ? (int)at : -1;
}
