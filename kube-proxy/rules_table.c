#include "kube-proxy/rules_table.h"
#include "kube-proxy/rules.h"

const char *const rules_map_names[RULES_MAP_COUNT] = {
    [RULES_SERVICE_IPS] = "service-ips",
    [RULES_NODE_PORTS] = "node-ports",
    [RULES_GROUPS] = "groups",
    [RULES_NO_ENDPOINTS] = "no-endpoints",
    [RULES_PICKS] = "picks",
    [RULES_ENDPOINTS] = "endpoints",
    [RULES_AFFINITY_ALIVE] = "affinity-alive",
    [RULES_HAIRPIN] = "hairpin",
};

static const char *const map_types[RULES_MAP_COUNT] = {
    [RULES_SERVICE_IPS] = "map %s { typeof ip daddr . meta l4proto . th dport : ct mark; }",
    [RULES_NODE_PORTS] = "map %s { typeof meta l4proto . th dport : ct mark; }",
    [RULES_GROUPS] = "map %s { typeof ct mark : verdict; }",
    [RULES_NO_ENDPOINTS] = "map %s { typeof ct mark : verdict; }",
    [RULES_PICKS] = "map %s { typeof ct mark . numgen random mod 2 : ct mark; }",
    [RULES_ENDPOINTS] = "map %s { type mark : ipv4_addr . inet_service; }",
    [RULES_AFFINITY_ALIVE] = "map %s { typeof ct mark : verdict; }",
    [RULES_HAIRPIN] = "set %s { typeof ip saddr . ip daddr; }",
};

#define TABLE    "ip " RULES_TABLE
#define ANY_PORT "meta l4proto { tcp, udp, sctp } "

/* Rules that are made anew each time; %1$s is the cluster's pod range, %2$s the Services'. */
static const char rules[] =
    "table " TABLE " {\n"
    " chain services {\n"
    "  fib daddr type local ip daddr != 127.0.0.0/8 ct mark set meta l4proto . th dport map @node-ports\n"
    "  ct mark set ip daddr . meta l4proto . th dport map @service-ips\n"
    "  ct mark vmap @groups\n"
    " }\n"
    " chain reject-service {\n"
    "  meta l4proto tcp reject with tcp reset\n"
    "  reject\n"
    " }\n"
    " chain without-endpoints {\n"
    "  ct state new ct mark vmap @no-endpoints\n"
    " }\n"
    /* What is still addressed to the Services' range here is no Service; it must never leave by a default
       route. */
    " chain unknown-services {\n"
    "  ip daddr %2$s goto reject-service\n"
    " }\n"
    " chain filter-input { type filter hook input priority 0; policy accept;\n"
    "  jump without-endpoints\n"
    " }\n"
    " chain filter-forward { type filter hook forward priority 0; policy accept;\n"
    /* Packets that connection tracking has lost would reach the pod's peer with the pod's own address. */
    "  ct state invalid drop\n"
    "  jump without-endpoints\n"
    "  jump unknown-services\n"
    " }\n"
    " chain filter-output { type filter hook output priority 0; policy accept;\n"
    "  jump without-endpoints\n"
    "  jump unknown-services\n"
    " }\n"
    " chain nat-prerouting { type nat hook prerouting priority -100; policy accept;\n"
    "  jump services\n"
    " }\n"
    " chain nat-output { type nat hook output priority -100; policy accept;\n"
    "  jump services\n"
    " }\n"
    " chain nat-postrouting { type nat hook postrouting priority 100; policy accept;\n"
    /* A pod that reaches itself through its Service must see the answers come from there. */
    "  ct status & dnat == dnat ip saddr . ip daddr @hairpin masquerade fully-random\n"
    "  meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff masquerade fully-random\n"
    "  ct status & dnat == dnat ct original ip daddr %2$s ip saddr != %1$s masquerade fully-random\n"
    /* Beyond the cluster nobody knows the way to a pod. */
    "  ip saddr %1$s ip daddr != %1$s masquerade fully-random\n"
    " }\n"
    "}\n";

void rules_print_skeleton(struct buf *out, const struct rules_skeleton *s)
{
    buf_adds(out, "add table " TABLE "\nflush table " TABLE "\ntable " TABLE " {\n");
    for (int i = 0; i < RULES_MAP_COUNT; i++) {
        buf_adds(out, " ");
        buf_printf(out, "%.3s %s", map_types[i], rules_map_names[i]);
        buf_adds(out, map_types[i] + 6);
        buf_adds(out, "\n");
    }
    /* Not flushed: clients stay with their endpoints when kube-proxy restarts. */
    buf_adds(
        out,
        " map affinity { typeof ip saddr . meta mark : ct mark; size 262144; flags dynamic,timeout; }\n}\n");
    for (int i = 0; i < RULES_MAP_COUNT; i++)
        buf_printf(out, "flush %.3s " TABLE " %s\n", map_types[i], rules_map_names[i]);
    for (const char *p = rules; *p; p++) {
        if (p[0] == '%' && p[2] == '$' && p[3] == 's') {
            buf_adds(out, p[1] == '1' ? s->cluster_cidr : s->service_cidr);
            p += 3;
        } else {
            buf_addc(out, *p);
        }
    }
}

static void begin_chain(struct buf *out, const char *name)
{
    buf_printf(out, "add chain " TABLE " %s\nflush chain " TABLE " %s\n", name, name);
}

static void rule(struct buf *out, const char *chain, const char *text)
{
    buf_printf(out, "add rule " TABLE " %s %s\n", chain, text);
}

/* A transaction swaps rules and elements at once, but a packet on its way between the two may still hold a
 * number that is gone: the second try is for it; else there is nothing at an endpoint's number for it to
 * find. */
void rules_print_pick(struct buf *out, const char *name, unsigned n, int seconds)
{
    (void)seconds;
    begin_chain(out, name);
    buf_printf(out, "add rule " TABLE " %s ct mark set ct mark . numgen random mod %u map @picks\n", name, n);
    rule(out, name, "ct mark set ct mark . numgen random mod 1 map @picks");
    rule(out, name, ANY_PORT "dnat to ct mark map @endpoints");
}

void rules_print_masquerade(struct buf *out, const char *name, unsigned n, int seconds)
{
    (void)seconds;
    begin_chain(out, name);
    rule(out, name, "meta mark set ct mark & 0x4000");
    rule(out, name, "ct mark set ct mark & 0xffffbfff");
    buf_printf(out, "add rule " TABLE " %s goto pick-%u\n", name, n);
}

/* The packet mark holds the group's number meanwhile, and the masquerade bit to the end. `update` refreshes
 * the time of an element but not its value, hence the delete. */
void rules_print_affinity(struct buf *out, const char *name, unsigned n, int seconds)
{
    begin_chain(out, name);
    rule(out, name, "meta mark set ct mark");
    rule(out, name, "ct mark set ip saddr . meta mark map @affinity");
    rule(out, name, "ct mark vmap @affinity-alive");
    rule(out, name, "delete @affinity { ip saddr . meta mark : ct mark }");
    buf_printf(out, "add rule " TABLE " %s ct mark set meta mark . numgen random mod %u map @picks\n", name,
               n);
    buf_printf(out, "add rule " TABLE " %s goto remembered-%d\n", name, seconds);
}

void rules_print_remembered(struct buf *out, const char *name, unsigned n, int seconds)
{
    (void)n;
    begin_chain(out, name);
    buf_printf(out, "add rule " TABLE " %s update @affinity { ip saddr . meta mark timeout %ds : ct mark }\n",
               name, seconds);
    rule(out, name, "meta mark set meta mark & 0x4000");
    rule(out, name, ANY_PORT "dnat to ct mark map @endpoints");
}
