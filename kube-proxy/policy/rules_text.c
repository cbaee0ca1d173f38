#include "kube-proxy/policy/rules_text.h"
#include <netinet/in.h>
#include <string.h>
#include "common/mem.h"
#include "kube-proxy/policy/table.h"
#include "kube-proxy/service.h"

static const char table_text[] =
    "table " POLICY_TABLE " {\n"
    " set self4 { typeof ip saddr . ip daddr; }\n"
    " set self6 { typeof ip6 saddr . ip6 daddr; }\n"
    " map egress-pods4 { typeof ip saddr : verdict; }\n"
    " map egress-pods6 { typeof ip6 saddr : verdict; }\n"
    " map ingress-pods4 { typeof ip daddr : verdict; }\n"
    " map ingress-pods6 { typeof ip6 daddr : verdict; }\n"
    " chain always {\n"
    "  ct state established,related accept\n"
    /* Neighbours on one bridge find each other by ICMPv6, as they do by ARP. */
    "  icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert "
    "} accept\n"
    "  ip saddr . ip daddr @self4 accept\n"
    "  ip6 saddr . ip6 daddr @self6 accept\n"
    " }\n"
    /* accept ends a base chain, not the hook: who may send must also be let in. */
    " chain forward-egress { type filter hook forward priority 10; policy accept;\n"
    "  jump always\n"
    "  ip saddr vmap @egress-pods4\n"
    "  ip6 saddr vmap @egress-pods6\n"
    " }\n"
    " chain forward-ingress { type filter hook forward priority 11; policy accept;\n"
    "  jump always\n"
    "  ip daddr vmap @ingress-pods4\n"
    "  ip6 daddr vmap @ingress-pods6\n"
    " }\n"
    "}\n";

void policy_print_table(struct buf *out)
{
    buf_adds(out, table_text);
}

char *policy_chain_name(const char *policy_key, enum policy_direction d)
{
    enum { LONGEST = 160 }; /* nftables' names have 255 characters, and sets' are longer */
    size_t n = strlen(policy_key);
    if (n <= LONGEST)
        return mem_printf("%s/%s", policy_direction_names[d], policy_key);
    return mem_printf("%s/%.*s-%08x", policy_direction_names[d], LONGEST - 9, policy_key,
                      hash_text(policy_key));
}

struct printer {
    const char *chain;
    enum policy_direction direction;
    size_t index; /* of the rule */
    struct element_list *sets;
    struct buf *out;
};

static void print_set(struct printer *w, const char *what, int version, const char *type)
{
    element_list_add(w->sets, "%s/%zu-%s%d", w->chain, w->index, what, version);
    buf_printf(w->out, "add set " POLICY_TABLE " %s/%zu-%s%d { typeof %s; }\n", w->chain, w->index,
               what, version, type);
}

static void print_ports(const struct ranges *r, const char *protocol, struct buf *out)
{
    for (size_t i = 0; i < r->count; i++)
        buf_printf(out, "%s%s . %u-%u", out->len ? ", " : "", protocol, (unsigned)r->items[i].first,
                   (unsigned)r->items[i].last);
}

/* One rule for each way in which the ports can match. version: IP version of the peer's match, 0
 * for both. */
static void print_accepts(struct printer *w, const struct policy_rule *rule, int version,
                          const char *peer)
{
    cleanup_buf struct buf numbers = {0};
    if (rule->any_port) {
        buf_printf(w->out, "add rule " POLICY_TABLE " %s %s accept\n", w->chain, peer);
        return;
    }
    print_ports(&rule->tcp, "tcp", &numbers);
    print_ports(&rule->udp, "udp", &numbers);
    print_ports(&rule->sctp, "sctp", &numbers);
    if (numbers.len)
        buf_printf(w->out,
                   "add rule " POLICY_TABLE " %s %s meta l4proto . th dport { %s } accept\n",
                   w->chain, peer, numbers.data);
    if (rule->named_count && version != 6)
        buf_printf(w->out,
                   "add rule " POLICY_TABLE
                   " %s %s ip daddr . meta l4proto . th dport @%s/%zu-ports4 accept\n",
                   w->chain, peer, w->chain, w->index);
    if (rule->named_count && version != 4)
        buf_printf(w->out,
                   "add rule " POLICY_TABLE
                   " %s %s ip6 daddr . meta l4proto . th dport @%s/%zu-ports6 accept\n",
                   w->chain, peer, w->chain, w->index);
}

static void print_blocks(struct printer *w, const struct policy_rule *rule,
                         const struct ranges *blocks, int family, const char *address)
{
    if (blocks->count == 0)
        return;
    cleanup_buf struct buf peer = {0};
    if (ranges_all(blocks, family)) {
        buf_adds(&peer, family == AF_INET ? "meta nfproto ipv4" : "meta nfproto ipv6");
    } else {
        buf_printf(&peer, "%s { ", address);
        ranges_print_addresses(blocks, family, &peer);
        buf_adds(&peer, " }");
    }
    print_accepts(w, rule, family == AF_INET ? 4 : 6, peer.data);
}

static void print_rule(struct printer *w, const struct policy_rule *rule)
{
    bool ingress = w->direction == POLICY_INGRESS;
    const char *address4 = ingress ? "ip saddr" : "ip daddr",
               *address6 = ingress ? "ip6 saddr" : "ip6 daddr";
    if (rule->named_count) {
        print_set(w, "ports", 4, "ip daddr . meta l4proto . th dport");
        print_set(w, "ports", 6, "ip6 daddr . meta l4proto . th dport");
    }
    if (rule->any_peer) {
        print_accepts(w, rule, 0, "");
        return;
    }
    if (rule->peer_count) {
        print_set(w, "pods", 4, address4);
        print_set(w, "pods", 6, address6);
        cleanup_free char *peer4 = mem_printf("%s @%s/%zu-pods4", address4, w->chain, w->index);
        cleanup_free char *peer6 = mem_printf("%s @%s/%zu-pods6", address6, w->chain, w->index);
        print_accepts(w, rule, 4, peer4);
        print_accepts(w, rule, 6, peer6);
    }
    print_blocks(w, rule, &rule->blocks4, AF_INET, address4);
    print_blocks(w, rule, &rule->blocks6, AF_INET6, address6);
}

void policy_print_chain(const struct policy *p, enum policy_direction d, struct element_list *sets,
                        struct buf *out)
{
    cleanup_free char *chain = policy_chain_name(p->key, d);
    buf_printf(out, "add chain " POLICY_TABLE " %s\n", chain);
    for (size_t i = 0; i < p->directions[d].count; i++)
        print_rule(
            &(struct printer){.chain = chain, .direction = d, .index = i, .sets = sets, .out = out},
            &p->directions[d].items[i]);
}

static bool has_name(const struct policy_rule *rule, const struct policy_pod_port *port)
{
    for (size_t i = 0; i < rule->named_count; i++)
        if (rule->named[i].protocol == port->protocol &&
            strcmp(rule->named[i].name, port->name) == 0)
            return true;
    return false;
}

void policy_elements(const struct policy *p, const struct policy_pod *pod,
                     const cJSON *namespace_labels, struct element_list *out)
{
    for (int d = 0; d < POLICY_DIRECTIONS; d++) {
        if (!p->directions[d].applies)
            continue;
        cleanup_free char *chain = policy_chain_name(p->key, d);
        for (size_t i = 0; i < p->directions[d].count; i++) {
            const struct policy_rule *rule = &p->directions[d].items[i];
            bool peer = policy_rule_names(p, rule, pod, namespace_labels);
            /* A port's name means what the pod at the connection's end calls so. */
            bool end = d == POLICY_INGRESS
                           ? pod->local && policy_selects(p, pod)
                           : peer || rule->any_peer || rule->blocks4.count || rule->blocks6.count;
            for (size_t a = 0; a < pod->address_count; a++) {
                char ip[ADDRESS_TEXT_MAX];
                int version = pod->addresses[a].family == AF_INET ? 4 : 6;
                address_text(&pod->addresses[a], ip);
                if (peer)
                    element_list_add(out, "%s/%zu-pods%d\t%s", chain, i, version, ip);
                for (size_t n = 0; end && n < pod->port_count; n++)
                    if (has_name(rule, &pod->ports[n]))
                        element_list_add(out, "%s/%zu-ports%d\t%s . %s . %u", chain, i, version, ip,
                                         proxy_protocol_name(pod->ports[n].protocol),
                                         pod->ports[n].number);
            }
        }
    }
}
