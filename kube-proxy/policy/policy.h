/* NetworkPolicies and pods as the enforcement needs them. Pure.
 * https://kubernetes.io/docs/concepts/services-networking/network-policies/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "common/selector.h"
#include "kube-proxy/address.h"
#include "kube-proxy/ranges.h"

enum policy_direction { POLICY_INGRESS, POLICY_EGRESS, POLICY_DIRECTIONS };
extern const char *const policy_direction_names[POLICY_DIRECTIONS]; /* "ingress", "egress" */

struct policy_peer {                   /* pods */
    struct label_selector *namespaces; /* NULL: the policy's own namespace */
    struct label_selector *pods;       /* NULL: all */
};
struct policy_named_port {
    char *name;
    uint8_t protocol;
};
/* Lets through what matches one of the peers (or any, if there are none) and one of the ports
 * (likewise). */
struct policy_rule {
    bool any_peer, any_port;
    struct policy_peer *peers;
    size_t peer_count;
    struct ranges blocks4, blocks6; /* ipBlocks without their exceptions */
    struct ranges tcp, udp, sctp;   /* ports by number */
    struct policy_named_port *named;
    size_t named_count;
};
struct policy_rules {
    bool applies; /* policyTypes has this direction */
    struct policy_rule *items;
    size_t count;
};
struct policy {
    char *key, *ns; /* "namespace/name" */
    struct label_selector *pods;
    struct policy_rules directions[POLICY_DIRECTIONS];
};
/* NULL with an error for what makes no sense; such a policy never comes through the API's
 * validation. */
struct policy *policy_parse(const cJSON *json, struct error **err);
void policy_free(struct policy *p); /* NULL is fine */

struct policy_pod_port {
    char *name;
    uint8_t protocol;
    uint16_t number;
};
struct policy_pod {
    char *ns;
    cJSON *labels; /* may be NULL */
    struct address addresses[2];
    size_t address_count;
    struct policy_pod_port *ports; /* those that have a name */
    size_t port_count;
    bool local;       /* on this node */
    bool terminating; /* its address may be another's by now */
};
/* NULL for pods that no policy is about: without an address yet, ended, or with their node's
 * network. */
struct policy_pod *policy_pod_new(const cJSON *json, const char *node_name);
void policy_pod_free(struct policy_pod *p); /* NULL is fine */
bool policy_pod_equal(const struct policy_pod *a, const struct policy_pod *b);

bool policy_selects(const struct policy *p, const struct policy_pod *pod);
/* Is the pod one of the rule's peers? namespace_labels: those of the pod's namespace. */
bool policy_rule_names(const struct policy *p, const struct policy_rule *rule,
                       const struct policy_pod *pod, const cJSON *namespace_labels);
