/* Services: how their fields follow from each other. The numbers they hold are given out in
 * service_alloc.c. */
#include "apiserver/registry/services.h"
#include <string.h>
#include "apiserver/registry/cidr.h"
#include "apiserver/registry/strategy.h"
#include "common/json.h"
#include "common/mem.h"

static const char *type_of(const cJSON *service)
{
    return json_str_or(service, "spec.type", "ClusterIP");
}

bool service_needs_ip(const cJSON *service)
{
    return strcmp(type_of(service), "ExternalName") != 0;
}

bool service_needs_node_ports(const cJSON *service)
{
    const char *type = type_of(service);
    return !strcmp(type, "NodePort") ||
           (!strcmp(type, "LoadBalancer") &&
            json_bool(service, "spec.allocateLoadBalancerNodePorts", true));
}

bool service_needs_health_port(const cJSON *service)
{
    return !strcmp(type_of(service), "LoadBalancer") &&
           !strcmp(json_str_or(service, "spec.externalTrafficPolicy", ""), "Local");
}

bool service_headless(const cJSON *service)
{
    return !strcmp(json_str_or(service, "spec.clusterIP", ""), "None");
}

static bool same(const cJSON *a, const cJSON *b, const char *path)
{
    return json_equal(json_path(a, path), json_path(b, path));
}

static void copy(cJSON *to, const cJSON *from, const char *path)
{
    const cJSON *v = json_path(from, path);
    if (v && !json_path(to, path))
        json_set(to, path, json_dup(v));
}

static bool any_uses_external_policy(const cJSON *service)
{
    const char *type = type_of(service);
    return !strcmp(type, "NodePort") || !strcmp(type, "LoadBalancer") ||
           (!strcmp(type, "ClusterIP") &&
            cJSON_GetArraySize(json_path(service, "spec.externalIPs")) > 0);
}

static bool same_node_ports(const cJSON *a, const cJSON *b)
{
    /* Every port that the new one names must have been the old one's. */
    const cJSON *p, *q;
    cJSON_ArrayForEach(p, json_path(a, "spec.ports"))
    {
        int64_t wanted = json_int(p, "nodePort", 0);
        if (!wanted)
            continue;
        bool found = false;
        cJSON_ArrayForEach(q, json_path(b, "spec.ports")) found |=
            json_int(q, "nodePort", 0) == wanted;
        if (!found)
            return false;
    }
    return true;
}

/* A change of the type takes along what only the old type needed, if the client left that as it
 * was. */
static void drop_what_the_type_needs_no_more(cJSON *service, const cJSON *old)
{
    if (service_needs_ip(old) && !service_needs_ip(service)) {
        static const char *const fields[] = {"spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies",
                                             "spec.ipFamilyPolicy"};
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            if (same(service, old, fields[i]))
                json_remove(service, fields[i]);
    }
    if (service_needs_node_ports(old) && !service_needs_node_ports(service) &&
        same_node_ports(service, old)) {
        cJSON *p;
        cJSON_ArrayForEach(p, json_path(service, "spec.ports")) json_remove(p, "nodePort");
    }
    if (service_needs_health_port(old) && !service_needs_health_port(service) &&
        same(service, old, "spec.healthCheckNodePort"))
        json_remove(service, "spec.healthCheckNodePort");
    if (any_uses_external_policy(old) && !any_uses_external_policy(service) &&
        same(service, old, "spec.externalTrafficPolicy"))
        json_remove(service, "spec.externalTrafficPolicy");
    if (!strcmp(type_of(old), "LoadBalancer") && strcmp(type_of(service), "LoadBalancer") != 0) {
        if (same(service, old, "spec.allocateLoadBalancerNodePorts"))
            json_remove(service, "spec.allocateLoadBalancerNodePorts");
        if (same(service, old, "spec.loadBalancerClass"))
            json_remove(service, "spec.loadBalancerClass");
    }
}

static const cJSON *find_port(const cJSON *service, const cJSON *like)
{
    const cJSON *p;
    cJSON_ArrayForEach(
        p, json_path(service,
                     "spec.ports")) if (json_int(p, "port", 0) == json_int(like, "port", 0) &&
                                        !strcmp(json_str_or(p, "protocol", "TCP"),
                                                json_str_or(like, "protocol", "TCP"))) return p;
    return NULL;
}

static bool node_port_used(const cJSON *service, int64_t port)
{
    const cJSON *p;
    cJSON_ArrayForEach(p, json_path(service, "spec.ports")) if (json_int(p, "nodePort", 0) ==
                                                                port) return true;
    return false;
}

/* What was given out stays when the client leaves it out. */
static void keep_allocated(cJSON *service, const cJSON *old)
{
    if (service_needs_ip(service) && service_needs_ip(old)) {
        if (!*json_str_or(service, "spec.clusterIP", "") &&
            !cJSON_GetArraySize(json_path(service, "spec.clusterIPs"))) {
            json_remove(service, "spec.clusterIP");
            json_remove(service, "spec.clusterIPs");
            copy(service, old, "spec.clusterIP");
            copy(service, old, "spec.clusterIPs");
        }
        copy(service, old, "spec.ipFamilies");
        copy(service, old, "spec.ipFamilyPolicy");
    }
    if (service_needs_node_ports(service) && service_needs_node_ports(old)) {
        cJSON *p;
        cJSON_ArrayForEach(p, json_path(service, "spec.ports"))
        {
            int64_t kept = json_int(find_port(old, p), "nodePort", 0);
            if (!json_int(p, "nodePort", 0) && kept && !node_port_used(service, kept))
                json_set_int(p, "nodePort", kept);
        }
    }
    if (service_needs_health_port(service) && service_needs_health_port(old) &&
        !json_int(service, "spec.healthCheckNodePort", 0))
        json_set_int(service, "spec.healthCheckNodePort",
                     json_int(old, "spec.healthCheckNodePort", 0));
}

/* clusterIP and the first of clusterIPs are one. */
static void join_cluster_ips(cJSON *service, const cJSON *old)
{
    const char *ip = json_str_or(service, "spec.clusterIP", "");
    const cJSON *list = json_path(service, "spec.clusterIPs");
    const char *first = list && cJSON_IsString(list->child) ? list->child->valuestring : "";
    if (old && strcmp(ip, json_str_or(old, "spec.clusterIP", "")) != 0 &&
        same(service, old, "spec.clusterIPs")) {
        /* The client knows clusterIP only. */
        if (!*ip) {
            json_remove(service, "spec.clusterIPs");
        } else {
            cJSON *new_list = cJSON_CreateArray();
            cJSON_AddItemToArray(new_list, cJSON_CreateString(ip));
            json_set(service, "spec.clusterIPs", new_list);
        }
        return;
    }
    if (*ip && !*first && old && !strcmp(ip, json_str_or(old, "spec.clusterIP", ""))) {
        copy(service, old, "spec.clusterIPs"); /* the second one stays too */
    } else if (*ip && !*first) {
        cJSON *new_list = cJSON_CreateArray();
        cJSON_AddItemToArray(new_list, cJSON_CreateString(ip));
        json_set(service, "spec.clusterIPs", new_list);
    } else if (!*ip && *first) {
        cleanup_free char *text = mem_strdup(first);
        json_set_str(service, "spec.clusterIP", text);
    }
}

static bool is_bare(const cJSON *service)
{
    return service_headless(service) && !cJSON_GetArraySize(json_path(service, "spec.selector"));
}

static const char *text_at(const cJSON *list, int i)
{
    const cJSON *item = cJSON_GetArrayItem(list, i);
    return cJSON_IsString(item) ? item->valuestring : "";
}

static void trim(cJSON *service, const char *path)
{
    cJSON *list = json_path(service, path);
    while (cJSON_GetArraySize(list) > 1)
        cJSON_DeleteItemFromArray(list, 1);
}

/* From two families to one: who only changes the policy, or the families, means the addresses too. */
static void drop_the_second_family(cJSON *service, const cJSON *old)
{
    if (!old || cJSON_GetArraySize(json_path(old, "spec.ipFamilies")) < 2)
        return;
    bool single = !strcmp(json_str_or(service, "spec.ipFamilyPolicy", ""), "SingleStack") &&
                  !same(service, old, "spec.ipFamilyPolicy");
    if (single && same(service, old, "spec.ipFamilies"))
        trim(service, "spec.ipFamilies");
    if (single && same(service, old, "spec.clusterIPs"))
        trim(service, "spec.clusterIPs");
}

/* What the client left open of ipFamilies and ipFamilyPolicy
 * (https://kubernetes.io/docs/concepts/services-networking/dual-stack/#services). */
static void set_families(cJSON *service, const cJSON *old)
{
    if (!service_needs_ip(service))
        return;
    drop_the_second_family(service, old);
    bool bare = is_bare(service), dual = service_range_family(1) != NULL;
    cJSON *families = json_ensure_array(service, "spec.ipFamilies");
    const cJSON *ips = json_path(service, "spec.clusterIPs");
    if (!json_path(service, "spec.ipFamilyPolicy"))
        json_set_str(service, "spec.ipFamilyPolicy",
                     bare || cJSON_GetArraySize(families) > 1 || cJSON_GetArraySize(ips) > 1
                         ? "RequireDualStack"
                         : "SingleStack");
    /* Addresses that are asked for tell their families. */
    for (int i = cJSON_GetArraySize(families); i < 2 && i < cJSON_GetArraySize(ips); i++) {
        const char *ip = text_at(ips, i);
        if (!address_parse(ip, NULL))
            break;
        cJSON_AddItemToArray(families, cJSON_CreateString(strchr(ip, ':') ? "IPv6" : "IPv4"));
    }
    if (!cJSON_GetArraySize(families))
        cJSON_AddItemToArray(families, cJSON_CreateString(service_range_family(0)));
    /* Without a selector the endpoints are somebody else's, of whatever family. */
    if ((bare || dual) && cJSON_GetArraySize(families) < 2 &&
        strcmp(json_str_or(service, "spec.ipFamilyPolicy", ""), "SingleStack") != 0)
        cJSON_AddItemToArray(families,
                             cJSON_CreateString(!strcmp(text_at(families, 0), "IPv6") ? "IPv4" : "IPv6"));
}

static bool configured(const char *family)
{
    for (int i = 0; i < 2; i++)
        if (service_range_family(i) && !strcmp(family, service_range_family(i)))
            return true;
    return false;
}

static bool check_families(const cJSON *service, const cJSON *old, struct error **err)
{
    if (!service_needs_ip(service))
        return true;
    cleanup_field_errors struct field_errors errors = {0};
    const struct field_path *spec = PATH_ROOT("spec");
    const char *policy = json_str_or(service, "spec.ipFamilyPolicy", "");
    const cJSON *families = json_path(service, "spec.ipFamilies"),
                *ips = json_path(service, "spec.clusterIPs"), *f;
    const struct field_path *policy_path = PATH_CHILD(spec, "ipFamilyPolicy");
    bool bare = is_bare(service);
    if (!strcmp(policy, "RequireDualStack") && !service_range_family(1) && !bare)
        field_invalid_str(&errors, policy_path, policy,
                          "this cluster is not configured for dual-stack services");
    if (!strcmp(policy, "SingleStack") && cJSON_GetArraySize(families) > 1)
        field_invalid_str(&errors, policy_path, policy,
                          "must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified");
    else if (!strcmp(policy, "SingleStack") && cJSON_GetArraySize(ips) > 1)
        field_invalid_str(&errors, policy_path, policy,
                          "must be RequireDualStack or PreferDualStack when multiple 'clusterIPs' are specified");
    int i = 0;
    cJSON_ArrayForEach(f, families)
    {
        const char *family = cJSON_IsString(f) ? f->valuestring : "";
        const struct field_path *path = PATH_INDEX(PATH_CHILD(spec, "ipFamilies"), i);
        if ((!strcmp(family, "IPv4") || !strcmp(family, "IPv6")) && !bare && !configured(family))
            field_invalid_str(&errors, path, family, "not configured on this cluster");
        else if (i && !strcmp(family, text_at(families, 0)))
            field_duplicate_str(&errors, path, family);
        const char *ip = text_at(ips, i);
        if (address_parse(ip, NULL) && (strchr(ip, ':') != NULL) != !strcmp(family, "IPv6"))
            field_invalid_str(&errors, PATH_INDEX(PATH_CHILD(spec, "clusterIPs"), i), ip,
                              "expected an %s value as indicated by `ipFamilies[%d]`", family, i);
        i++;
    }
    if (cJSON_GetArraySize(families) > 2)
        field_invalid(&errors, PATH_CHILD(spec, "ipFamilies"), families, "may only hold up to 2 values");
    if (cJSON_GetArraySize(ips) > 2)
        field_invalid(&errors, PATH_CHILD(spec, "clusterIPs"), ips, "may only hold up to 2 values");
    const cJSON *before = json_path(old, "spec.ipFamilies");
    if (old && service_needs_ip(old) && before && strcmp(text_at(before, 0), text_at(families, 0)) != 0 &&
        service_headless(old) == service_headless(service))
        field_invalid(&errors, PATH_INDEX(PATH_CHILD(spec, "ipFamilies"), 0), cJSON_GetArrayItem(families, 0),
                      "may not change once set");
    return field_errors_check(&errors, "", "Service", json_str_or(service, "metadata.name", ""),
                              err);
}

bool service_prepare(cJSON *service, const cJSON *old, const char *sub, struct error **err)
{
    if (*sub)
        return true;
    json_ensure_object(service, "spec");
    if (old) {
        drop_what_the_type_needs_no_more(service, old);
        keep_allocated(service, old);
    } else {
        cJSON *status = cJSON_CreateObject();
        cJSON_AddItemToObject(status, "loadBalancer", cJSON_CreateObject());
        json_map_set(service, "status", status);
    }
    join_cluster_ips(service, old);
    set_families(service, old);
    return check_families(service, old, err);
}
