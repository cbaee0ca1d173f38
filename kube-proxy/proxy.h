/* The loop that keeps the kernel as the API says: what changed is collected by name, and brought to
 * nftables, connection tracking and the routing table in one go, on one thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"
#include "common/kube_client.h"

struct proxy;
struct proxy_options {
    struct kube_client *client;
    const char *node_name;
    const char *cluster_cidr; /* pods; one range, or one of each IP family joined by a comma */
    const char *service_cidr; /* of the same families */
    int64_t min_sync_ms;      /* changes that come within it are brought together */
    int64_t sync_ms;          /* how often to look whether all is still there */
    bool network_policy;      /* enforce NetworkPolicies too */
};
struct proxy *proxy_start(const struct proxy_options *o, struct error **err);
/* Has everything been programmed once? For /readyz. */
bool proxy_ready(void *proxy, struct error **why);
void proxy_stop(
    struct proxy *p); /* leaves all rules in place: connections go on without this process */
