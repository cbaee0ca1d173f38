#include "kube-proxy/rules_table.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "kube-proxy/rules.h"

const char *const rules_map_names[RULES_MAP_COUNT] = {
    [RULES_SERVICE_IPS] = "service-ips",
    [RULES_NODE_PORTS] = "node-ports",
    [RULES_GROUPS] = "groups",
    [RULES_NO_ENDPOINTS] = "no-endpoints",
    [RULES_PICKS] = "picks",
    [RULES_ENDPOINTS] = "endpoints",
    [RULES_AFFINITY_ALIVE] = "affinity-alive",
    [RULES_INSIDE] = "inside",
    [RULES_FIREWALL] = "firewall",
    [RULES_HAIRPIN] = "hairpin",
    [RULES_SOURCES] = "sources",
};

/* In all texts: @N the map's name, @F the family, @P the pods' range, @S the Services', @L
 * loopback, @A the type of an address. */
static const char *const map_types[RULES_MAP_COUNT] = {
    [RULES_SERVICE_IPS] = "map @N { typeof @F daddr . meta l4proto . th dport : ct mark; }",
    [RULES_NODE_PORTS] = "map @N { typeof meta l4proto . th dport : ct mark; }",
    [RULES_GROUPS] = "map @N { typeof ct mark : verdict; }",
    [RULES_NO_ENDPOINTS] = "map @N { typeof ct mark : verdict; }",
    [RULES_PICKS] = "map @N { typeof ct mark . numgen random mod 2 : ct mark; }",
    [RULES_ENDPOINTS] = "map @N { type mark : @A . inet_service; }",
    [RULES_AFFINITY_ALIVE] = "map @N { typeof ct mark : verdict; }",
    [RULES_INSIDE] = "map @N { typeof ct mark : ct mark; }",
    [RULES_FIREWALL] = "map @N { typeof @F daddr . meta l4proto . th dport : verdict; }",
    [RULES_HAIRPIN] = "set @N { typeof @F saddr . @F daddr; }",
    [RULES_SOURCES] =
        "set @N { typeof @F daddr . meta l4proto . th dport . @F saddr; flags interval; }",
};

#define ANY_PORT "meta l4proto { tcp, udp, sctp } "

/* Rules that are made anew each time. */
static const char rules[] =
    "table @F " RULES_TABLE " {\n"
    " chain services {\n"
    "  fib daddr type local @F daddr != @L ct mark set meta l4proto . th dport map @node-ports\n"
    "  ct mark set @F daddr . meta l4proto . th dport map @service-ips\n"
    "  ct mark & 0x80002000 == 0x2000 goto from-outside\n"
    "  ct mark vmap @groups\n"
    " }\n"
    /* Who is inside needs no endpoint on this very node. */
    " chain from-outside {\n"
    "  @F saddr @P ct mark set ct mark map @inside\n"
    "  fib saddr type local ct mark set ct mark map @inside\n"
    "  ct mark set ct mark & 0xffffdfff\n"
    "  ct mark vmap @groups\n"
    " }\n"
    " chain reject-service {\n"
    "  meta l4proto tcp reject with tcp reset\n"
    "  reject\n"
    " }\n"
    " chain without-endpoints {\n"
    "  ct state new ct mark vmap @no-endpoints\n"
    " }\n"
    " chain check-source {\n"
    "  @F daddr . meta l4proto . th dport . @F saddr @sources return\n"
    "  drop\n"
    " }\n"
    /* What is still addressed to the Services' range here is no Service; it must never leave by a
       default route. */
    " chain unknown-services {\n"
    "  @F daddr @S goto reject-service\n"
    " }\n"
    /* Before the destination is translated. */
    " chain firewall-prerouting { type filter hook prerouting priority -110; policy accept;\n"
    "  ct state new @F daddr . meta l4proto . th dport vmap @firewall\n"
    " }\n"
    " chain firewall-output { type filter hook output priority -110; policy accept;\n"
    "  ct state new @F daddr . meta l4proto . th dport vmap @firewall\n"
    " }\n"
    " chain filter-input { type filter hook input priority 0; policy accept;\n"
    "  jump without-endpoints\n"
    " }\n"
    " chain filter-forward { type filter hook forward priority 0; policy accept;\n"
    /* Packets that connection tracking has lost would reach the pod's peer with the pod's own
       address. */
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
    "  ct status & dnat == dnat @F saddr . @F daddr @hairpin masquerade fully-random\n"
    "  meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff masquerade fully-random\n"
    "  ct status & dnat == dnat ct original @F daddr @S @F saddr != @P masquerade fully-random\n"
    /* Beyond the cluster nobody knows the way to a pod. */
    "  @F saddr @P @F daddr != @P masquerade fully-random\n"
    " }\n"
    "}\n";

const char *rules_family(const struct rules_skeleton *s)
{
    return s->family == AF_INET ? "ip" : "ip6";
}

/* Who is remembered by session affinity. By a hash of its address in IPv6: libnftables 1.0.6 dies
 * of maps that rules add to when their keys are as long as an IPv6 address and something more. Two
 * clients of one hash only share an endpoint. */
static const char *client(const char *family)
{
    return strcmp(family, "ip") == 0 ? "ip saddr" : "jhash ip6 saddr mod 0xffffffff seed 0x5c1ff";
}

static void print(struct buf *out, const struct rules_skeleton *s, const char *name,
                  const char *text)
{
    bool v4 = s->family == AF_INET;
    for (const char *p = text; *p; p++) {
        const char *value = NULL;
        if (p[0] == '@') {
            switch (p[1]) {
            case 'N':
                value = name;
                break;
            case 'F':
                value = rules_family(s);
                break;
            case 'P':
                value = s->cluster_cidr;
                break;
            case 'S':
                value = s->service_cidr;
                break;
            case 'L':
                value = v4 ? "127.0.0.0/8" : "::1";
                break;
            case 'A':
                value = v4 ? "ipv4_addr" : "ipv6_addr";
                break;
            case 'C':
                value = client(rules_family(s));
                break;
            default:
                break;
            }
        }
        if (value) {
            buf_adds(out, value);
            p++;
        } else {
            buf_addc(out, *p);
        }
    }
}

void rules_print_skeleton(struct buf *out, const struct rules_skeleton *s)
{
    print(out, s, "",
          "add table @F " RULES_TABLE "\nflush table @F " RULES_TABLE "\ntable @F " RULES_TABLE
          " {\n");
    for (int i = 0; i < RULES_MAP_COUNT; i++) {
        print(out, s, rules_map_names[i], map_types[i]);
        buf_adds(out, "\n");
    }
    /* Not flushed: clients stay with their endpoints when kube-proxy restarts. */
    print(out, s, "",
          " map affinity { typeof @C . meta mark : ct mark; size 262144; flags "
          "dynamic,timeout; }\n}\n");
    for (int i = 0; i < RULES_MAP_COUNT; i++)
        buf_printf(out, "flush %.3s %s " RULES_TABLE " %s\n", map_types[i], rules_family(s),
                   rules_map_names[i]);
    print(out, s, "", rules);
}

static void begin_chain(struct buf *out, const char *family, const char *name)
{
    buf_printf(out, "add chain %s " RULES_TABLE " %s\nflush chain %s " RULES_TABLE " %s\n", family,
               name, family, name);
}

__attribute__((format(printf, 4, 5))) static void rule(struct buf *out, const char *family,
                                                       const char *chain, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_printf(out, "add rule %s " RULES_TABLE " %s %s\n", family, chain, text);
}

/* A transaction swaps rules and elements at once, but a packet on its way between the two may still
 * hold a number that is gone: the second try is for it; else there is nothing at an endpoint's
 * number for it to find. */
void rules_print_pick(struct buf *out, const char *family, const char *name, unsigned n,
                      int seconds)
{
    (void)seconds;
    begin_chain(out, family, name);
    rule(out, family, name, "ct mark set ct mark . numgen random mod %u map @picks", n);
    rule(out, family, name, "ct mark set ct mark . numgen random mod 1 map @picks");
    rule(out, family, name, ANY_PORT "dnat to ct mark map @endpoints");
}

void rules_print_masquerade(struct buf *out, const char *family, const char *name, unsigned n,
                            int seconds)
{
    (void)seconds;
    begin_chain(out, family, name);
    rule(out, family, name, "meta mark set ct mark & 0x4000");
    rule(out, family, name, "ct mark set ct mark & 0xffffbfff");
    rule(out, family, name, "goto pick-%u", n);
}

/* The packet mark holds the group's number meanwhile, and the masquerade bit to the end. `update`
 * refreshes the time of an element but not its value, hence the delete. */
void rules_print_affinity(struct buf *out, const char *family, const char *name, unsigned n,
                          int seconds)
{
    begin_chain(out, family, name);
    rule(out, family, name, "meta mark set ct mark");
    rule(out, family, name, "ct mark set %s . meta mark map @affinity", client(family));
    rule(out, family, name, "ct mark vmap @affinity-alive");
    rule(out, family, name, "delete @affinity { %s . meta mark : ct mark }", client(family));
    rule(out, family, name, "ct mark set meta mark . numgen random mod %u map @picks", n);
    rule(out, family, name, "goto remembered-%d", seconds);
}

void rules_print_remembered(struct buf *out, const char *family, const char *name, unsigned n,
                            int seconds)
{
    (void)n;
    begin_chain(out, family, name);
    rule(out, family, name, "update @affinity { %s . meta mark timeout %ds : ct mark }",
         client(family), seconds);
    rule(out, family, name, "meta mark set meta mark & 0x4000");
    rule(out, family, name, ANY_PORT "dnat to ct mark map @endpoints");
}
