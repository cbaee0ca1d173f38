/* Descriptors of networking.k8s.io. */
#include "apiserver/registry/descriptors.h"
#include "apiserver/registry/strategy.h"
#include "apiserver/registry/tables.h"
#include "common/mem.h"

static const struct resource_column columns_ingress[] = {
    COL_NAME,
    COL("Class", "Class of the ingress."),
    COL("Hosts", "Hosts that it has rules for."),
    COL("Address", "Where it is reached."),
    COL("Ports", "Ports that it is served on."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_ingressclass[] = {
    COL_NAME,
    COL("Controller", "Controller of the class."),
    COL("Parameters", "Object with the class's parameters."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_networkpolicy[] = {
    COL_NAME,
    COL("Pod-Selector", "Pods that the policy is for."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_ipaddress[] = {
    COL_NAME,
    COL("ParentRef", "Object that holds the address."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_servicecidr[] = {
    COL_NAME,
    COL("CIDRs", "Ranges of service addresses."),
    COL_AGE,
    COL_END,
};

static const struct subresource subs_status[] = {SUB_STATUS, SUB_END};

static struct resource resources[] = {
    {.group = "networking.k8s.io",
     .version = "v1",
     .kind = "IngressClass",
     .plural = "ingressclasses",
     .singular = "ingressclass",
     .verbs = VERBS_ALL,
     .storage_prefix = "ingressclasses",
     .columns = columns_ingressclass,
     .row = row_ingressclass,
     .generation = true},
    {.group = "networking.k8s.io",
     .version = "v1",
     .kind = "Ingress",
     .plural = "ingresses",
     .singular = "ingress",
     .short_names = NAMES("ing"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_status,
     .storage_prefix = "ingress",
     .columns = columns_ingress,
     .row = row_ingress,
     .generation = true,
     .has_status = true,
     .prepare = workload_prepare},
    {.group = "networking.k8s.io",
     .version = "v1",
     .kind = "IPAddress",
     .plural = "ipaddresses",
     .singular = "ipaddress",
     .short_names = NAMES("ip"),
     .verbs = VERBS_ALL,
     .storage_prefix = "ipaddresses",
     .columns = columns_ipaddress,
     .row = row_ipaddress,
     .generation = true,
     .field_selectors = NAMES("spec.parentRef.name")},
    {.group = "networking.k8s.io",
     .version = "v1",
     .kind = "NetworkPolicy",
     .plural = "networkpolicies",
     .singular = "networkpolicy",
     .short_names = NAMES("netpol"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "networkpolicies",
     .columns = columns_networkpolicy,
     .row = row_networkpolicy,
     .generation = true},
    {.group = "networking.k8s.io",
     .version = "v1",
     .kind = "ServiceCIDR",
     .plural = "servicecidrs",
     .singular = "servicecidr",
     .verbs = VERBS_ALL,
     .subresources = subs_status,
     .storage_prefix = "servicecidrs",
     .columns = columns_servicecidr,
     .row = row_servicecidr,
     .generation = true,
     .has_status = true,
     .prepare = workload_prepare},
};

const struct resource_set resources_network = {resources, ARRAY_LEN(resources)};
