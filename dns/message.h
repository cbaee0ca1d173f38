/* DNS messages (RFC 1035, EDNS0: RFC 6891): queries are parsed by ldns; answers are packed here,
 * straight into the buffer that is sent. Names are in wire form: labels with a length byte before
 * each, ended by a zero byte. */
#pragma once
#include <ldns/ldns.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DNS_NAME_MAX      255
#define DNS_HEADER_SIZE   12
#define DNS_UDP_SIZE      1232 /* what passes without fragments: https://www.dnsflagday.net/2020/ */
#define DNS_TCP_SIZE      65535
#define DNS_RCODE_BADVERS 16 /* RFC 6891 section 6.1.3 */
#define DNS_QUERY_MAX     (DNS_HEADER_SIZE + DNS_NAME_MAX + 4)

struct dns_query {
    uint16_t id, type, class;
    uint8_t name[DNS_NAME_MAX];       /* lower case */
    uint8_t asked_name[DNS_NAME_MAX]; /* as it was sent: the answer repeats that
                                         (draft-vixie-dnsext-dns0x20) */
    uint8_t name_len;                 /* of both, with the last zero */
    bool recursion_desired, checking_disabled;
    bool edns, dnssec_ok;
    uint16_t udp_size; /* the client takes answers of this size over UDP; at least 512 */
};

enum dns_parsed {
    DNS_PARSED,
    DNS_IGNORE, /* no query: an answer to it could be the start of a loop */
    DNS_REFUSE, /* a query that can't be answered: see *rcode; id and opcode are set, the question
                   may be missing */
};
/* rcode: LDNS_RCODE_FORMERR, LDNS_RCODE_NOTIMPL, or DNS_RCODE_BADVERS. */
enum dns_parsed dns_query_parse(struct dns_query *q, const uint8_t *wire, size_t len, int *rcode);

/* Writes an answer. Records that don't fit any more set TC (answer, authority) or are left out
 * (additional). */
struct dns_writer {
    uint8_t *wire;
    size_t limit, len; /* bytes; room for an OPT record is kept inside of the limit */
    uint16_t counts[3];
    bool truncated, authoritative;
    const struct dns_query *query;
};
enum dns_section { DNS_ANSWER, DNS_AUTHORITY, DNS_ADDITIONAL };
/* The question's name as an owner. */
#define DNS_QUESTION_NAME NULL
/* size: of the buffer; what may be sent is DNS_UDP_SIZE, what the client takes, or DNS_TCP_SIZE. */
void dns_writer_start(struct dns_writer *w, const struct dns_query *q, uint8_t *wire, size_t size);
/* Appends a record; false if it did not fit. Sections must be written in their order. */
bool dns_writer_add(struct dns_writer *w, enum dns_section section, const uint8_t *owner,
                    uint16_t type, uint32_t ttl, const void *data, size_t data_len);
/* Header and OPT. Returns the length of the message. */
size_t dns_writer_finish(struct dns_writer *w, int rcode, bool recursion_available);
/* The answer to what could not be parsed: a header only (and OPT for BADVERS). Returns its length.
 */
size_t dns_write_refusal(uint8_t wire[DNS_HEADER_SIZE + 11], const uint8_t *query, int rcode);
/* How much may be sent to who asked so. */
size_t dns_answer_limit(const struct dns_query *q, bool tcp);

/* The OPT record of our answers. Returns its length, 11. */
size_t dns_write_opt(uint8_t *at, int rcode, bool dnssec_ok);

/* --- names --- */
/* "a.b.c" or "a.b.c." as a name in lower case; 0 if it is none, else its length. */
size_t dns_name_from_text(uint8_t out[DNS_NAME_MAX], const char *text);
/* The other way, without the last dot. Bytes that are no letters, digits, '-' or '_' become '?'. */
void dns_name_to_text(char out[DNS_NAME_MAX + 1], const uint8_t *name);
size_t dns_name_length(const uint8_t *name); /* with the last zero */
/* Is name equal to or below parent? Returns the offset of parent in name, or -1. Both in lower
 * case. */
int dns_name_below(const uint8_t *name, size_t name_len, const uint8_t *parent, size_t parent_len);

static inline void dns_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline uint16_t dns_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}
static inline void dns_put32(uint8_t *p, uint32_t v)
{
    dns_put16(p, (uint16_t)(v >> 16));
    dns_put16(p + 2, (uint16_t)v);
}
static inline uint32_t dns_get32(const uint8_t *p)
{
    return (uint32_t)dns_get16(p) << 16 | dns_get16(p + 2);
}
