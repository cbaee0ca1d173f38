/* The text of the table's fixed parts (rules.h tells how they work together). */
#pragma once
#include <stdint.h>
#include "common/buf.h"

#define MASQUERADE_BIT 0x4000u
#define OUTSIDE_BIT    0x2000u
#define ENDPOINT_BIT   0x80000000u

enum rules_map {
    RULES_SERVICE_IPS,
    RULES_NODE_PORTS,
    RULES_GROUPS,
    RULES_NO_ENDPOINTS,
    RULES_PICKS,
    RULES_ENDPOINTS,
    RULES_AFFINITY_ALIVE,
    RULES_INSIDE,
    RULES_FIREWALL,
    RULES_HAIRPIN, /* these are sets */
    RULES_SOURCES,
    RULES_MAP_COUNT
};
extern const char *const rules_map_names[RULES_MAP_COUNT];

struct rules_skeleton {
    int family;
    char *cluster_cidr; /* "10.244.0.0/16" */
    char *service_cidr; /* "10.96.0.0/16" */
};
const char *rules_family(const struct rules_skeleton *s); /* "ip", "ip6" */
/* Empties the table, if it is there, and makes all that does not depend on Services. */
void rules_print_skeleton(struct buf *out, const struct rules_skeleton *s);
/* Chains made when first needed; family: as rules_family says; n: number of endpoints. */
typedef void rules_printer(struct buf *out, const char *family, const char *name, unsigned n,
                           int seconds);
rules_printer rules_print_pick, rules_print_masquerade, rules_print_affinity,
    rules_print_remembered;
