#include "dns/answer.h"
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"

#define SCHEMA_VERSION "1.1.0"
#define LABELS_MAX     128
#define CNAMES_MAX     8

/* A question, as labels from left to right without the cluster domain's. */
struct labels {
    const uint8_t *at[LABELS_MAX];
    size_t count;
};
struct reply {
    const struct answer_config *c;
    struct dns_writer *w;
    const uint8_t *owner; /* DNS_QUESTION_NAME, or where a CNAME led to */
    uint16_t type;
    bool exists; /* the name does: NODATA instead of NXDOMAIN when there is no record of the type */
};

static bool is(const uint8_t *label, const char *text)
{
    size_t n = strlen(text);
    return label[0] == n && !memcmp(label + 1, text, n);
}

static void text_of(char out[64], const uint8_t *label)
{
    memcpy(out, label + 1, label[0]);
    out[label[0]] = 0;
    /* A zero byte in a label would end the text early and make it another's. */
    if (memchr(label + 1, 0, label[0]))
        strcpy(out, "\x01");
}

static void add_name(uint8_t out[DNS_NAME_MAX], size_t *len, const char *label)
{
    size_t n = strlen(label);
    if (!n || n > 63 || *len + n + 1 >= DNS_NAME_MAX)
        return;
    out[(*len)++] = (uint8_t)n;
    memcpy(out + *len, label, n);
    *len += n;
}

/* [endpoint.]service.namespace.svc.<domain>; returns the length. */
static size_t service_name(uint8_t out[DNS_NAME_MAX], const struct answer_config *c,
                           const struct zone_service *s, const struct zone_endpoint *e)
{
    size_t len = 0;
    const char *slash = strchr(s->key, '/');
    char ns[64];
    snprintf(ns, sizeof(ns), "%.*s", (int)(slash - s->key), s->key);
    if (e)
        add_name(out, &len, e->name);
    add_name(out, &len, slash + 1);
    add_name(out, &len, ns);
    add_name(out, &len, "svc");
    if (len + c->domain_len > DNS_NAME_MAX)
        return 0;
    memcpy(out + len, c->domain, c->domain_len);
    return len + c->domain_len;
}

static void put_address(struct reply *r, enum dns_section section, const uint8_t *owner,
                        const struct zone_address *a)
{
    dns_writer_add(r->w, section, owner, a->family == 4 ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA,
                   r->c->ttl, a->bytes, zone_address_size(a));
}

static bool wants(const struct reply *r, const struct zone_address *a)
{
    return r->type == (a->family == 4 ? LDNS_RR_TYPE_A : LDNS_RR_TYPE_AAAA);
}

/* Where a list that is told in turns begins this time: clients take the first address. */
static size_t turn(size_t count)
{
    static __thread uint32_t counter; /* only spreads load */
    return count ? counter++ % count : 0;
}

static void put_soa(struct reply *r, enum dns_section section)
{
    const struct answer_config *c = r->c;
    uint8_t data[2 * DNS_NAME_MAX + 40];
    size_t len = 0;
    static const char ns[] = "\2ns\3dns", mailbox[] = "\12hostmaster";
    memcpy(data, ns, sizeof(ns) - 1);
    len += sizeof(ns) - 1;
    memcpy(data + len, c->domain, c->domain_len);
    len += c->domain_len;
    memcpy(data + len, mailbox, sizeof(mailbox) - 1);
    len += sizeof(mailbox) - 1;
    memcpy(data + len, c->domain, c->domain_len);
    len += c->domain_len;
    const uint32_t numbers[] = {1, 7200, 1800, 86400,
                                c->ttl}; /* nobody transfers this zone: its serial says nothing */
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++, len += 4)
        dns_put32(data + len, numbers[i]);
    dns_writer_add(r->w, section, c->domain, LDNS_RR_TYPE_SOA, c->ttl, data, len);
}

/* A service's or an endpoint's own addresses. */
static void put_service_addresses(struct reply *r, const struct zone_service *s,
                                  const char *endpoint)
{
    if (!endpoint) {
        size_t first = turn(s->address_count);
        for (size_t i = 0; i < s->address_count; i++) {
            const struct zone_address *a = &s->addresses[(first + i) % s->address_count];
            if (wants(r, a))
                put_address(r, DNS_ANSWER, r->owner, a);
        }
    }
    size_t first = turn(s->endpoint_count);
    for (size_t i = 0; i < s->endpoint_count; i++) {
        const struct zone_endpoint *e = &s->endpoints[(first + i) % s->endpoint_count];
        if (endpoint && strcmp(e->name, endpoint))
            continue;
        r->exists = true;
        if (wants(r, &e->address))
            put_address(r, DNS_ANSWER, r->owner, &e->address);
    }
}

struct srv {
    const struct zone_service *service;
    const struct zone_endpoint *endpoint;
    uint16_t port;
};

static void put_srv(struct reply *r, const struct srv *srv, uint16_t weight)
{
    uint8_t data[6 + DNS_NAME_MAX] = {0};
    size_t len = service_name(data + 6, r->c, srv->service, srv->endpoint);
    if (!len)
        return;
    dns_put16(data + 2, weight);
    dns_put16(data + 4, srv->port);
    dns_writer_add(r->w, DNS_ANSWER, r->owner, LDNS_RR_TYPE_SRV, r->c->ttl, data, 6 + len);
}

/* SRV records of one named port, or of all ports (port NULL), with the addresses that they lead to.
 */
static void put_service_ports(struct reply *r, const struct zone_service *s, const char *port,
                              const char *protocol)
{
    size_t count = 0, most = s->port_count * (s->endpoint_count ? s->endpoint_count : 1);
    struct srv *list = mem_alloc((most ? most : 1) * sizeof(*list));
    bool headless = s->kind == ZONE_HEADLESS;
    size_t rounds = headless ? s->endpoint_count : 1, first_round = turn(rounds);
    for (size_t i = 0; i < rounds; i++) {
        const struct zone_endpoint *e = headless ? &s->endpoints[(first_round + i) % rounds] : NULL;
        size_t first = e ? e->first_port : 0, last = e ? first + e->port_count : s->port_count;
        for (size_t p = first; p < last; p++)
            if (!port ||
                (!strcmp(s->ports[p].name, port) && !strcmp(s->ports[p].protocol, protocol)))
                list[count++] = (struct srv){s, e, s->ports[p].number};
    }
    r->exists |= count > 0;
    if (r->type == LDNS_RR_TYPE_SRV && count) {
        uint16_t weight = count < 100 ? (uint16_t)(100 / count) : 1;
        for (size_t i = 0; i < count; i++)
            put_srv(r, &list[i], weight);
        for (size_t i = 0; i < count; i++) {
            uint8_t target[DNS_NAME_MAX];
            if (!service_name(target, r->c, s, list[i].endpoint))
                continue;
            if (list[i].endpoint)
                put_address(r, DNS_ADDITIONAL, target, &list[i].endpoint->address);
            else if (i == 0)
                for (size_t a = 0; a < s->address_count; a++)
                    put_address(r, DNS_ADDITIONAL, target, &s->addresses[a]);
        }
    }
    free(list);
}

/* Is there a port of this protocol? _tcp.service.namespace.svc is then an empty name in the tree.
 */
static bool has_protocol(const struct zone_service *s, const char *protocol)
{
    for (size_t i = 0; i < s->port_count; i++)
        if (!strcmp(s->ports[i].protocol, protocol))
            return true;
    return false;
}

/* [[_port.]_protocol.|endpoint.]service.namespace.svc; external: gets the name of a CNAME. */
static void answer_service(struct reply *r, const struct labels *l, uint8_t external[DNS_NAME_MAX])
{
    char name[64], ns[64];
    text_of(ns, l->at[l->count - 2]);
    if (l->count == 2) {
        r->exists = zone_has_namespace(r->c->zone, ns);
        return;
    }
    text_of(name, l->at[l->count - 3]);
    cleanup_service struct zone_service *s = zone_find_service(r->c->zone, ns, name);
    if (!s || l->count > 5)
        return;
    if (s->kind == ZONE_EXTERNAL_NAME) {
        if (l->count != 3)
            return;
        r->exists = true;
        size_t len = dns_name_length(s->external_name);
        dns_writer_add(r->w, DNS_ANSWER, r->owner, LDNS_RR_TYPE_CNAME, r->c->ttl, s->external_name,
                       len);
        if (r->type != LDNS_RR_TYPE_CNAME)
            memcpy(external, s->external_name, len);
        return;
    }
    if (l->count == 3) {
        r->exists = s->kind == ZONE_CLUSTER_IP;
        put_service_addresses(r, s, NULL);
        if (r->type == LDNS_RR_TYPE_SRV)
            put_service_ports(r, s, NULL, NULL);
        return;
    }
    char left[64], protocol[64];
    text_of(left, l->at[0]);
    text_of(protocol, l->at[l->count - 4]);
    if (l->count == 5 && left[0] == '_' && left[1] && protocol[0] == '_')
        put_service_ports(r, s, left + 1, protocol + 1);
    else if (l->count == 4 && left[0] == '_')
        r->exists = has_protocol(s, left + 1);
    else if (l->count == 4 && s->kind == ZONE_HEADLESS)
        put_service_addresses(r, s, left);
}

/* a-b-c-d.namespace.pod */
static void answer_pod(struct reply *r, const struct labels *l)
{
    char ns[64];
    struct zone_address a;
    if (r->c->pods == ANSWER_PODS_DISABLED || l->count > 3)
        return;
    text_of(ns, l->at[l->count - 2]);
    if (!zone_has_namespace(r->c->zone, ns))
        return;
    if (l->count == 2) {
        r->exists = true;
        return;
    }
    if (!zone_address_parse_dashed((const char *)l->at[0] + 1, l->at[0][0], &a))
        return;
    if (r->c->pods == ANSWER_PODS_VERIFIED && !zone_has_pod(r->c->zone, ns, &a))
        return;
    r->exists = true;
    if (wants(r, &a))
        put_address(r, DNS_ANSWER, r->owner, &a);
}

static void put_own_addresses(struct reply *r, enum dns_section section, const uint8_t *owner,
                              bool any)
{
    cleanup_service struct zone_service *s =
        zone_find_service(r->c->zone, r->c->own_namespace, r->c->own_service);
    for (size_t i = 0; s && i < s->address_count; i++)
        if (any || wants(r, &s->addresses[i]))
            put_address(r, section, owner, &s->addresses[i]);
}

static void answer_apex(struct reply *r)
{
    r->exists = true;
    if (r->type == LDNS_RR_TYPE_SOA)
        put_soa(r, DNS_ANSWER);
    if (r->type != LDNS_RR_TYPE_NS)
        return;
    uint8_t name[DNS_NAME_MAX] = "\2ns\3dns";
    memcpy(name + 7, r->c->domain, r->c->domain_len);
    dns_writer_add(r->w, DNS_ANSWER, r->owner, LDNS_RR_TYPE_NS, r->c->ttl, name,
                   7 + r->c->domain_len);
    put_own_addresses(r, DNS_ADDITIONAL, name, true);
}

/* A name in the cluster's domain. */
static void answer_domain(struct reply *r, const struct labels *l, uint8_t external[DNS_NAME_MAX])
{
    static const char version[] = SCHEMA_VERSION;
    if (l->count == 0) {
        answer_apex(r);
        return;
    }
    const uint8_t *last = l->at[l->count - 1];
    bool pods = r->c->pods != ANSWER_PODS_DISABLED;
    if (l->count == 1) {
        r->exists = is(last, "svc") || (pods && is(last, "pod")) || is(last, "dns");
        if (is(last, "dns-version")) {
            r->exists = true;
            uint8_t data[sizeof(version)] = {sizeof(version) - 1};
            memcpy(data + 1, version, sizeof(version) - 1);
            if (r->type == LDNS_RR_TYPE_TXT)
                dns_writer_add(r->w, DNS_ANSWER, r->owner, LDNS_RR_TYPE_TXT, r->c->ttl, data,
                               sizeof(data));
        }
    } else if (is(last, "svc")) {
        answer_service(r, l, external);
    } else if (is(last, "pod")) {
        answer_pod(r, l);
    } else if (is(last, "dns") && l->count == 2 && is(l->at[0], "ns")) {
        r->exists = true;
        put_own_addresses(r, DNS_ANSWER, r->owner, false);
    }
}

/* The address in a name below in-addr.arpa or ip6.arpa (RFC 1035 3.5, RFC 3596 2.5). */
static bool reverse_address(const uint8_t *name, size_t len, struct zone_address *out)
{
    static const uint8_t v4[] = "\7in-addr\4arpa", v6[] = "\3ip6\4arpa";
    memset(out, 0, sizeof(*out));
    int at;
    if ((at = dns_name_below(name, len, v4, sizeof(v4))) > 0) {
        out->family = 4;
        for (int i = 3; i >= 0; i--) {
            int digits = *name;
            if (!digits || digits > 3)
                return false;
            unsigned value = 0;
            for (int d = 1; d <= digits; d++) {
                if (name[d] < '0' || name[d] > '9')
                    return false;
                value = value * 10 + (name[d] - '0');
            }
            if (value > 255)
                return false;
            out->bytes[i] = (uint8_t)value;
            name += digits + 1;
            at -= digits + 1;
        }
        return at == 0;
    }
    if ((at = dns_name_below(name, len, v6, sizeof(v6))) != 64)
        return false;
    out->family = 6;
    for (int i = 31; i >= 0; i--, name += 2) {
        uint8_t c = name[1];
        if (name[0] != 1 || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        out->bytes[i / 2] |= (uint8_t)((c <= '9' ? c - '0' : c - 'a' + 10) << (i % 2 ? 0 : 4));
    }
    return true;
}

static bool is_reverse(const uint8_t *name, size_t len)
{
    static const uint8_t v4[] = "\7in-addr\4arpa", v6[] = "\3ip6\4arpa";
    return dns_name_below(name, len, v4, sizeof(v4)) >= 0 ||
           dns_name_below(name, len, v6, sizeof(v6)) >= 0;
}

static void put_pointer(void *ctx, const struct zone_service *s, const struct zone_endpoint *e)
{
    struct reply *r = ctx;
    uint8_t name[DNS_NAME_MAX];
    size_t len = service_name(name, r->c, s, e);
    r->exists = true;
    if (len && r->type == LDNS_RR_TYPE_PTR)
        dns_writer_add(r->w, DNS_ANSWER, r->owner, LDNS_RR_TYPE_PTR, r->c->ttl, name, len);
}

enum answer_result answer(const struct answer_config *c, const struct dns_query *q,
                          struct dns_writer *w, uint8_t next[DNS_NAME_MAX], int *rcode)
{
    struct reply r = {.c = c, .w = w, .owner = DNS_QUESTION_NAME, .type = q->type};
    *rcode = LDNS_RCODE_REFUSED;
    if (q->class != LDNS_RR_CLASS_IN)
        return ANSWER_DONE;
    memcpy(next, q->name, q->name_len);
    size_t next_len = q->name_len;
    if (is_reverse(next, next_len)) {
        struct zone_address a;
        if (reverse_address(next, next_len, &a))
            zone_by_address(c->zone, &a, put_pointer, &r);
        if (!r.exists && c->forwards)
            return ANSWER_FORWARD;
        w->authoritative = true;
        *rcode = r.exists ? LDNS_RCODE_NOERROR : LDNS_RCODE_NXDOMAIN;
        return ANSWER_DONE;
    }
    uint8_t owner[DNS_NAME_MAX];
    for (int cnames = 0; cnames < CNAMES_MAX; cnames++) {
        int at = dns_name_below(next, next_len, c->domain, c->domain_len);
        if (at < 0) {
            if (c->forwards)
                return ANSWER_FORWARD;
            /* What a CNAME leads to is for the client to find out. */
            *rcode = cnames ? LDNS_RCODE_NOERROR : LDNS_RCODE_REFUSED;
            return ANSWER_DONE;
        }
        w->authoritative = true;
        struct labels l = {0};
        for (const uint8_t *p = next; p < next + at && l.count < LABELS_MAX; p += *p + 1)
            l.at[l.count++] = p;
        uint8_t external[DNS_NAME_MAX] = {0};
        r.exists = false;
        if (q->type == LDNS_RR_TYPE_ANY) {
            /* RFC 8482: a small answer to a question that asks for too much. */
            static const uint8_t hinfo[] = "\7RFC8482";
            dns_writer_add(w, DNS_ANSWER, r.owner, LDNS_RR_TYPE_HINFO, c->ttl, hinfo,
                           sizeof(hinfo));
            r.exists = true;
        } else {
            answer_domain(&r, &l, external);
        }
        if (external[0]) {
            next_len = dns_name_length(external);
            memcpy(next, external, next_len);
            memcpy(owner, external, next_len);
            r.owner = owner;
            continue;
        }
        *rcode = r.exists ? LDNS_RCODE_NOERROR : LDNS_RCODE_NXDOMAIN;
        bool none = w->counts[DNS_ANSWER] == (uint16_t)cnames;
        if (none)
            put_soa(&r, DNS_AUTHORITY);
        return ANSWER_DONE;
    }
    *rcode = LDNS_RCODE_SERVFAIL; /* ExternalNames that lead to each other */
    return ANSWER_DONE;
}
