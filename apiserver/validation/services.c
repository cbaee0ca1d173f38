/* Services, Endpoints, EndpointSlices. */
#include <arpa/inet.h>
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

#define NOT_AN_IP "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"

static void check_protocol(const cJSON *port, const struct field_path *p, struct field_errors *e)
{
    const char *protocol = text_of(port, "protocol");
    if (!*protocol)
        field_required(e, PATH_CHILD(p, "protocol"), "");
    else if (!one_of(protocol, "SCTP,TCP,UDP"))
        field_not_supported(e, PATH_CHILD(p, "protocol"), protocol, "SCTP,TCP,UDP");
}

static void check_port_number(const cJSON *port, const char *name, const struct field_path *p,
                              struct field_errors *e)
{
    int64_t n = json_int(port, name, 0);
    if (n < 1 || n > 65535)
        field_invalid_int(e, PATH_CHILD(p, name), n, NOT_A_PORT);
}

static void check_service_ports(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    cleanup_key_index struct key_index names = {0}, numbers = {0}, node_ports = {0};
    const cJSON *ports = json_get(spec, "ports");
    const char *type = text_of(spec, "type");
    bool many = ports && ports->child && ports->child->next;
    int i = 0;
    EACH (port, ports) {
        const struct field_path list = {p, "ports", NULL, 0}, at = {&list, NULL, NULL, i++};
        const char *name = text_of(port, "name");
        int64_t number = json_int(port, "port", 0), node_port = json_int(port, "nodePort", 0);
        if (!*name && many)
            field_required(e, PATH_CHILD(&at, "name"), "");
        else if (*name) {
            const char *why = name_dns_label(name);
            if (why)
                field_invalid_str(e, PATH_CHILD(&at, "name"), name, "%s", why);
            if (key_index_get(&names, name, 0))
                field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
            key_index_set(&names, name, 1);
        }
        check_port_number(port, "port", &at, e);
        check_protocol(port, &at, e);
        if (json_get(port, "targetPort"))
            check_int_or_port_name(json_get(port, "targetPort"), PATH_CHILD(&at, "targetPort"), e);
        cleanup_free char *key = mem_printf("%s/%lld", text_of(port, "protocol"), (long long)number);
        if (key_index_get(&numbers, key, 0)) {
            cleanup_json cJSON *shown = cJSON_CreateObject();
            json_set_str(shown, "protocol", text_of(port, "protocol"));
            json_set_int(shown, "port", number);
            field_duplicate(e, &at, shown);
        }
        key_index_set(&numbers, key, 1);
        if (!node_port)
            continue;
        if (!strcmp(type, "ClusterIP") || !strcmp(type, "ExternalName"))
            field_forbidden(e, PATH_CHILD(&at, "nodePort"), "may not be used when `type` is '%s'", type);
        else if (node_port < 1 || node_port > 65535)
            field_invalid_int(e, PATH_CHILD(&at, "nodePort"), node_port, NOT_A_PORT);
        cleanup_free char *node_key = mem_printf("%s/%lld", text_of(port, "protocol"), (long long)node_port);
        if (key_index_get(&node_ports, node_key, 0))
            field_duplicate_str(e, PATH_CHILD(&at, "nodePort"), node_key);
        key_index_set(&node_ports, node_key, 1);
    }
}

static void check_affinity_config(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    const char *affinity = text_of(spec, "sessionAffinity");
    const struct field_path config = {p, "sessionAffinityConfig", NULL, 0},
                            client = {&config, "clientIP", NULL, 0};
    if (!*affinity) {
        field_required(e, PATH_CHILD(p, "sessionAffinity"), "");
        return;
    }
    if (!one_of(affinity, "ClientIP,None"))
        field_not_supported(e, PATH_CHILD(p, "sessionAffinity"), affinity, "ClientIP,None");
    if (!strcmp(affinity, "ClientIP")) {
        int64_t seconds = json_int(spec, "sessionAffinityConfig.clientIP.timeoutSeconds", 0);
        if (seconds <= 0 || seconds > 86400)
            field_invalid_int(e, PATH_CHILD(&client, "timeoutSeconds"), seconds,
                              "must be greater than 0 and less than 86400");
    }
}

static void check_ip_list(const cJSON *list, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH (v, list) {
        const char *s = cJSON_IsString(v) ? v->valuestring : "";
        if (!is_ip(s, 0))
            field_invalid_str(e, PATH_INDEX(p, i), s, NOT_AN_IP);
        else if (!strncmp(s, "127.", 4) || !strcmp(s, "::1"))
            field_invalid_str(e, PATH_INDEX(p, i), s,
                              "may not be in the loopback range (127.0.0.0/8, ::1/128)");
        i++;
    }
}

static void check_cluster_ips(const cJSON *spec, const cJSON *old, const struct field_path *p,
                              struct field_errors *e)
{
    const struct field_path list = {p, "clusterIPs", NULL, 0};
    const cJSON *ips = json_get(spec, "clusterIPs");
    const char *ip = text_of(spec, "clusterIP"),
               *first = ips && cJSON_IsString(ips->child) ? ips->child->valuestring : "";
    bool external = !strcmp(text_of(spec, "type"), "ExternalName");
    if (external) {
        if (ips && ips->child)
            field_forbidden(e, &list, "may not be set when `type` is 'ExternalName'");
    } else if (*ip && strcmp(ip, "None") != 0 && !is_ip(ip, 0)) {
        field_invalid_str(e, PATH_INDEX(&list, 0), ip, "must be a valid IP address");
    } else if (*first && *ip && strcmp(first, ip) != 0) {
        field_invalid(e, &list, ips, "first value must match `clusterIP`");
    }
    const char *before = text_of(old, "clusterIP");
    if (old && *before && !external && strcmp(text_of(old, "type"), "ExternalName") != 0 &&
        strcmp(before, ip) != 0)
        field_invalid(e, &list, ips, "may not change once set");
}

static void check_policies(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    const char *type = text_of(spec, "type"), *external = text_of(spec, "externalTrafficPolicy"),
               *internal = text_of(spec, "internalTrafficPolicy"),
               *families = text_of(spec, "ipFamilyPolicy");
    const cJSON *external_ips = json_get(spec, "externalIPs");
    bool reachable = one_of(type, "NodePort,LoadBalancer") ||
                     (!strcmp(type, "ClusterIP") && external_ips && external_ips->child);
    if (*external && !reachable)
        field_invalid_str(e, PATH_CHILD(p, "externalTrafficPolicy"), external,
                          "may only be set for externally-accessible services");
    else if (*external && !one_of(external, "Cluster,Local"))
        field_not_supported(e, PATH_CHILD(p, "externalTrafficPolicy"), external, "Cluster,Local");
    else if (!*external && reachable)
        field_required(e, PATH_CHILD(p, "externalTrafficPolicy"), "");
    if (*internal && !one_of(internal, "Cluster,Local"))
        field_not_supported(e, PATH_CHILD(p, "internalTrafficPolicy"), internal, "Cluster,Local");
    const char *distribution = text_of(spec, "trafficDistribution");
    if (*distribution && !one_of(distribution, "PreferClose,PreferSameNode,PreferSameZone"))
        field_not_supported(e, PATH_CHILD(p, "trafficDistribution"), distribution,
                            "PreferClose,PreferSameNode,PreferSameZone");
    if (*families && !one_of(families, "PreferDualStack,RequireDualStack,SingleStack"))
        field_not_supported(e, PATH_CHILD(p, "ipFamilyPolicy"), families,
                            "PreferDualStack,RequireDualStack,SingleStack");
    if (json_get(spec, "loadBalancerClass") && strcmp(type, "LoadBalancer") != 0)
        field_forbidden(e, PATH_CHILD(p, "loadBalancerClass"),
                        "may only be used when `type` is 'LoadBalancer'");
    int i = 0;
    EACH (range, json_get(spec, "loadBalancerSourceRanges")) {
        const struct field_path list = {p, "loadBalancerSourceRanges", NULL, 0};
        const char *s = cJSON_IsString(range) ? range->valuestring : "";
        if (!is_cidr(s))
            field_invalid_str(e, PATH_INDEX(&list, i), s,
                              "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        i++;
    }
}

void validate_service(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    const struct field_path *p = PATH_ROOT("spec");
    const cJSON *spec = json_get(object, "spec"), *ports = json_get(spec, "ports");
    const char *type = text_of(spec, "type");
    static const char types[] = "ClusterIP,ExternalName,LoadBalancer,NodePort";
    validate_object_meta(object, old, true, NAME_DNS1035_LABEL, e);
    if (!strcmp(sub, "status"))
        return;
    bool headless = !strcmp(text_of(spec, "clusterIP"), "None"), external = !strcmp(type, "ExternalName");
    if ((!ports || !ports->child) && !headless && !external)
        field_required(e, PATH_CHILD(p, "ports"), "");
    if (!*type)
        field_required(e, PATH_CHILD(p, "type"), "");
    else if (!one_of(type, types))
        field_not_supported(e, PATH_CHILD(p, "type"), type, types);
    if (headless && one_of(type, "NodePort,LoadBalancer"))
        field_invalid_str(e, PATH_INDEX(PATH_CHILD(p, "clusterIPs"), 0), "None",
                          "may not be set to 'None' for %s services", type);
    if (external) {
        cleanup_free char *name = mem_strdup(text_of(spec, "externalName"));
        size_t n = strlen(name);
        if (n && name[n - 1] == '.')
            name[n - 1] = '\0';
        check_name(name, name_dns_subdomain, PATH_CHILD(p, "externalName"), e);
    }
    check_service_ports(spec, p, e);
    check_labels(json_get(spec, "selector"), PATH_CHILD(p, "selector"), e);
    check_affinity_config(spec, p, e);
    check_cluster_ips(spec, old ? json_get(old, "spec") : NULL, p, e);
    check_ip_list(json_get(spec, "externalIPs"), PATH_CHILD(p, "externalIPs"), e);
    check_policies(spec, p, e);
}

/* --- endpoints --- */
static void check_addresses(const cJSON *addresses, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH (a, addresses) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *ip = text_of(a, "ip"), *hostname = text_of(a, "hostname");
        if (!is_ip(ip, 0))
            field_invalid_str(e, PATH_CHILD(&at, "ip"), ip, NOT_AN_IP);
        else if (!strcmp(ip, "0.0.0.0") || !strcmp(ip, "::"))
            field_invalid_str(e, PATH_CHILD(&at, "ip"), ip, "may not be unspecified (0.0.0.0 or ::)");
        else if (!strncmp(ip, "127.", 4) || !strcmp(ip, "::1"))
            field_invalid_str(e, PATH_CHILD(&at, "ip"), ip,
                              "may not be in the loopback range (127.0.0.0/8, ::1/128)");
        const char *why = *hostname ? name_dns_label(hostname) : NULL;
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "hostname"), hostname, "%s", why);
    }
}

void validate_endpoints(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    const struct field_path *p = PATH_ROOT("subsets");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    int i = 0;
    EACH (s, json_get(object, "subsets")) {
        const struct field_path at = {p, NULL, NULL, i++};
        const cJSON *ready = json_get(s, "addresses"), *not_ready = json_get(s, "notReadyAddresses"),
                    *ports = json_get(s, "ports");
        if (!(ready && ready->child) && !(not_ready && not_ready->child))
            field_required(e, &at, "must specify `addresses` or `notReadyAddresses`");
        check_addresses(ready, PATH_CHILD(&at, "addresses"), e);
        check_addresses(not_ready, PATH_CHILD(&at, "notReadyAddresses"), e);
        bool many = ports && ports->child && ports->child->next;
        int k = 0;
        EACH (port, ports) {
            const struct field_path list = {&at, "ports", NULL, 0}, port_path = {&list, NULL, NULL, k++};
            const char *name = text_of(port, "name");
            if (!*name && many)
                field_required(e, PATH_CHILD(&port_path, "name"), "");
            else if (*name && name_dns_label(name))
                field_invalid_str(e, PATH_CHILD(&port_path, "name"), name, "%s", name_dns_label(name));
            check_port_number(port, "port", &port_path, e);
            check_protocol(port, &port_path, e);
        }
    }
}

static void check_endpoint(const cJSON *endpoint, const char *type, const struct field_path *p,
                           struct field_errors *e)
{
    const struct field_path list = {p, "addresses", NULL, 0};
    const cJSON *addresses = json_get(endpoint, "addresses");
    int n = cJSON_GetArraySize(addresses), i = 0;
    if (n == 0)
        field_required(e, &list, "must contain at least 1 address");
    else if (n > 100)
        field_too_many(e, &list, n, 100);
    EACH (a, addresses) {
        const char *s = cJSON_IsString(a) ? a->valuestring : "";
        const struct field_path at = {&list, NULL, NULL, i++};
        if (!strcmp(type, "IPv4") && !is_ip(s, AF_INET))
            field_invalid_str(e, &at, s, "must be a valid IPv4 address");
        else if (!strcmp(type, "IPv6") && !is_ip(s, AF_INET6))
            field_invalid_str(e, &at, s, "must be a valid IPv6 address");
        else if (!strcmp(type, "FQDN") && name_dns_subdomain(s))
            field_invalid_str(e, &at, s, "%s", name_dns_subdomain(s));
    }
    const char *node = text_of(endpoint, "nodeName"), *hostname = text_of(endpoint, "hostname");
    if (*node && name_dns_subdomain(node))
        field_invalid_str(e, PATH_CHILD(p, "nodeName"), node, "%s", name_dns_subdomain(node));
    if (*hostname && name_dns_label(hostname))
        field_invalid_str(e, PATH_CHILD(p, "hostname"), hostname, "%s", name_dns_label(hostname));
}

void validate_endpointslice(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    const char *type = text_of(object, "addressType");
    const cJSON *endpoints = json_get(object, "endpoints"), *ports = json_get(object, "ports");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!*type)
        field_required(e, PATH_ROOT("addressType"), "");
    else if (!one_of(type, "FQDN,IPv4,IPv6"))
        field_not_supported(e, PATH_ROOT("addressType"), type, "FQDN,IPv4,IPv6");
    if (old && strcmp(type, text_of(old, "addressType")) != 0)
        field_invalid_str(e, PATH_ROOT("addressType"), type, IMMUTABLE);
    int n = cJSON_GetArraySize(endpoints), i = 0;
    if (n > 1000)
        field_too_many(e, PATH_ROOT("endpoints"), n, 1000);
    EACH (endpoint, endpoints) {
        const struct field_path at = {PATH_ROOT("endpoints"), NULL, NULL, i++};
        check_endpoint(endpoint, type, &at, e);
    }
    n = cJSON_GetArraySize(ports);
    if (n > 20000)
        field_too_many(e, PATH_ROOT("ports"), n, 20000);
    cleanup_key_index struct key_index names = {0};
    i = 0;
    EACH (port, ports) {
        const struct field_path at = {PATH_ROOT("ports"), NULL, NULL, i++};
        const char *name = text_of(port, "name");
        const char *why = *name ? name_dns_label(name) : NULL;
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "name"), name, "%s", why);
        if (key_index_get(&names, name, 0))
            field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
        key_index_set(&names, name, 1);
        check_protocol(port, &at, e);
        if (json_get(port, "port"))
            check_port_number(port, "port", &at, e);
    }
}
