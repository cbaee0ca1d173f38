/* Services: how their fields follow from each other. The numbers they hold are given out in
 * service_alloc.c. */
#include "apiserver/registry/services.h"
#include <string.h>
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
    if (*ip && !*first) {
        cJSON *new_list = cJSON_CreateArray();
        cJSON_AddItemToArray(new_list, cJSON_CreateString(ip));
        json_set(service, "spec.clusterIPs", new_list);
    } else if (!*ip && *first) {
        cleanup_free char *text = mem_strdup(first);
        json_set_str(service, "spec.clusterIP", text);
    }
}

static void set_families(cJSON *service)
{
    if (!service_needs_ip(service))
        return;
    const char *own = service_range_family();
    bool bare =
        service_headless(service) && !cJSON_GetArraySize(json_path(service, "spec.selector"));
    cJSON *families = json_ensure_array(service, "spec.ipFamilies");
    if (!json_path(service, "spec.ipFamilyPolicy"))
        json_set_str(service, "spec.ipFamilyPolicy",
                     bare || cJSON_GetArraySize(families) > 1 ? "RequireDualStack" : "SingleStack");
    if (!cJSON_GetArraySize(families))
        cJSON_AddItemToArray(families, cJSON_CreateString(own));
    /* Without a selector the endpoints are somebody else's, of whatever family. */
    const char *first = cJSON_IsString(families->child) ? families->child->valuestring : "";
    if (bare && cJSON_GetArraySize(families) < 2 &&
        strcmp(json_str_or(service, "spec.ipFamilyPolicy", ""), "SingleStack") != 0)
        cJSON_AddItemToArray(families,
                             cJSON_CreateString(!strcmp(first, "IPv6") ? "IPv4" : "IPv6"));
}

static bool check_families(const cJSON *service, struct error **err)
{
    if (!service_needs_ip(service) ||
        (service_headless(service) && !cJSON_GetArraySize(json_path(service, "spec.selector"))))
        return true;
    cleanup_field_errors struct field_errors errors = {0};
    const char *policy = json_str_or(service, "spec.ipFamilyPolicy", "");
    if (!strcmp(policy, "RequireDualStack"))
        field_invalid_str(&errors, PATH_CHILD(PATH_ROOT("spec"), "ipFamilyPolicy"), policy,
                          "this cluster is not configured for dual-stack services");
    const cJSON *f;
    int i = 0;
    cJSON_ArrayForEach(f, json_path(service, "spec.ipFamilies"))
    {
        const char *family = cJSON_IsString(f) ? f->valuestring : "";
        if ((!strcmp(family, "IPv4") || !strcmp(family, "IPv6")) &&
            strcmp(family, service_range_family()) != 0)
            field_invalid_str(&errors, PATH_INDEX(PATH_CHILD(PATH_ROOT("spec"), "ipFamilies"), i),
                              family, "not configured on this cluster");
        i++;
    }
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
    set_families(service);
    return check_families(service, err);
}
