#include "kube-proxy/service.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

static bool parse_ip(const char *text, uint32_t *ip)
{
    struct in_addr a;
    if (!text || inet_pton(AF_INET, text, &a) != 1 || a.s_addr == 0)
        return false;
    *ip = a.s_addr;
    return true;
}

static bool parse_protocol(const char *text, uint8_t *protocol)
{
    if (!text || strcmp(text, "TCP") == 0)
        *protocol = IPPROTO_TCP;
    else if (strcmp(text, "UDP") == 0)
        *protocol = IPPROTO_UDP;
    else if (strcmp(text, "SCTP") == 0)
        *protocol = IPPROTO_SCTP;
    else
        return false;
    return true;
}

bool proxy_endpoint_equal(const struct proxy_endpoint *a, const struct proxy_endpoint *b)
{
    return a->ip == b->ip && a->port == b->port;
}

static bool contains(const struct proxy_group *g, const struct proxy_endpoint *e)
{
    for (size_t i = 0; i < g->count; i++)
        if (proxy_endpoint_equal(&g->endpoints[i], e))
            return true;
    return false;
}

static void add_endpoint(struct proxy_group *g, struct proxy_endpoint e)
{
    if (contains(g, &e))
        return;
    if ((g->count & (g->count - 1)) == 0)
        g->endpoints = mem_realloc(g->endpoints, (g->count ? g->count * 2 : 1) * sizeof *g->endpoints);
    g->endpoints[g->count++] = e;
}

/* Which of an EndpointSlice's endpoints count: those that are ready; if there is none in the whole group,
 * those that still serve while terminating (KEP-1669). */
enum pass { PASS_READY, PASS_SERVING_TERMINATING };

static bool counts(const cJSON *endpoint, enum pass pass)
{
    bool ready = json_bool(endpoint, "conditions.ready", true);
    if (pass == PASS_READY)
        return ready;
    return !ready && json_bool(endpoint, "conditions.serving", false) &&
           json_bool(endpoint, "conditions.terminating", false);
}

/* The slice's port of that name and protocol; 0 if it has none. */
static uint16_t slice_port(const cJSON *slice, const char *port_name, uint8_t protocol)
{
    const cJSON *p;
    cJSON_ArrayForEach(p, json_get(slice, "ports"))
    {
        uint8_t proto;
        int64_t port = json_int(p, "port", 0);
        if (parse_protocol(json_str(p, "protocol"), &proto) && proto == protocol &&
            strcmp(json_str_or(p, "name", ""), port_name) == 0 && port > 0 && port <= 65535)
            return (uint16_t)port;
    }
    return 0;
}

static void collect(struct proxy_group *g, const char *port_name, bool only_local, enum pass pass,
                    const cJSON *const *slices, size_t slice_count, const char *node_name)
{
    for (size_t i = 0; i < slice_count; i++) {
        uint16_t port = slice_port(slices[i], port_name, g->protocol);
        if (port == 0 || strcmp(json_str_or(slices[i], "addressType", "IPv4"), "IPv4") != 0)
            continue;
        const cJSON *endpoint;
        cJSON_ArrayForEach(endpoint, json_get(slices[i], "endpoints"))
        {
            if (!counts(endpoint, pass))
                continue;
            bool local = strcmp(json_str_or(endpoint, "nodeName", ""), node_name) == 0;
            if (only_local && !local) {
                g->elsewhere = true;
                continue;
            }
            /* All addresses of one endpoint are fungible; clients use the first. */
            uint32_t ip;
            const cJSON *address = cJSON_GetArrayItem(json_get(endpoint, "addresses"), 0);
            if (cJSON_IsString(address) && parse_ip(address->valuestring, &ip))
                add_endpoint(g, (struct proxy_endpoint){.ip = ip, .port = port, .local = local});
        }
    }
}

struct builder {
    struct proxy_service *out;
    const cJSON *service;
    const cJSON *const *slices;
    size_t slice_count;
    const char *node_name;
    int affinity_seconds;
};

static size_t add_group(struct builder *b, const char *port_name, uint8_t protocol, const char *protocol_name,
                        bool only_local)
{
    struct proxy_service *s = b->out;
    s->groups = mem_realloc(s->groups, (s->group_count + 1) * sizeof *s->groups);
    struct proxy_group *g = &s->groups[s->group_count];
    *g = (struct proxy_group){
        .name = mem_printf("%s:%s:%s%s", s->name, port_name, protocol_name, only_local ? "/local" : ""),
        .protocol = protocol,
        .affinity_seconds = b->affinity_seconds,
    };
    collect(g, port_name, only_local, PASS_READY, b->slices, b->slice_count, b->node_name);
    if (g->count == 0)
        collect(g, port_name, only_local, PASS_SERVING_TERMINATING, b->slices, b->slice_count, b->node_name);
    return s->group_count++;
}

static void add_frontend(struct builder *b, struct proxy_frontend f)
{
    struct proxy_service *s = b->out;
    s->frontends = mem_realloc(s->frontends, (s->frontend_count + 1) * sizeof *s->frontends);
    s->frontends[s->frontend_count++] = f;
}

static void add_addresses(struct builder *b, const cJSON *list, const char *member, struct proxy_frontend f)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *address = member ? json_get(item, member) : item;
        if (cJSON_IsString(address) && parse_ip(address->valuestring, &f.ip))
            add_frontend(b, f);
    }
}

static void add_port(struct builder *b, const cJSON *port)
{
    const char *type = json_str_or(b->service, "spec.type", "ClusterIP"),
               *name = json_str_or(port, "name", "");
    const char *protocol_name = json_str_or(port, "protocol", "TCP");
    int64_t number = json_int(port, "port", 0), node_port = json_int(port, "nodePort", 0);
    uint8_t protocol;
    uint32_t cluster_ip;
    if (number <= 0 || number > 65535 || !parse_protocol(protocol_name, &protocol) ||
        !parse_ip(json_str(b->service, "spec.clusterIP"), &cluster_ip))
        return;
    bool external = strcmp(type, "NodePort") == 0 || strcmp(type, "LoadBalancer") == 0;
    const cJSON *external_ips = json_path(b->service, "spec.externalIPs");
    const cJSON *ingress = json_path(b->service, "status.loadBalancer.ingress");
    bool local_inside = strcmp(json_str_or(b->service, "spec.internalTrafficPolicy", ""), "Local") == 0;
    bool local_outside = strcmp(json_str_or(b->service, "spec.externalTrafficPolicy", ""), "Local") == 0;
    bool has_outside = (external && node_port > 0) || cJSON_GetArraySize(external_ips) > 0 ||
                       cJSON_GetArraySize(ingress) > 0;

    size_t all = SIZE_MAX, local = SIZE_MAX;
    if (!local_inside || (has_outside && !local_outside))
        all = add_group(b, name, protocol, protocol_name, false);
    if (local_inside || (has_outside && local_outside))
        local = add_group(b, name, protocol, protocol_name, true);

    struct proxy_frontend f = {
        .ip = cluster_ip, .port = (uint16_t)number, .group = local_inside ? local : all};
    add_frontend(b, f);
    f.group = local_outside ? local : all;
    f.masquerade = !local_outside;
    add_addresses(b, external_ips, NULL, f);
    if (strcmp(type, "LoadBalancer") == 0)
        add_addresses(b, ingress, "ip", f);
    if (external && node_port > 0 && node_port <= 65535) {
        f.ip = 0;
        f.port = (uint16_t)node_port;
        add_frontend(b, f);
    }
}

struct proxy_service *proxy_service_build(const cJSON *service, const cJSON *const *slices,
                                          size_t slice_count, const char *node_name)
{
    const char *ns = json_str(service, "metadata.namespace"), *name = json_str(service, "metadata.name");
    const cJSON *labels = json_path(service, "metadata.labels");
    uint32_t ip;
    if (!ns || !name || strcmp(json_str_or(service, "spec.type", ""), "ExternalName") == 0 ||
        !parse_ip(json_str(service, "spec.clusterIP"), &ip) ||
        json_map_str(labels, "service.kubernetes.io/service-proxy-name"))
        return NULL;
    struct builder b = {
        .out = mem_alloc(sizeof *b.out),
        .service = service,
        .slices = slices,
        .slice_count = slice_count,
        .node_name = node_name,
    };
    b.out->name = mem_printf("%s/%s", ns, name);
    if (strcmp(json_str_or(service, "spec.sessionAffinity", "None"), "ClientIP") == 0) {
        int64_t seconds = json_int(service, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10800);
        b.affinity_seconds = seconds > 0 && seconds <= 86400 ? (int)seconds : 10800;
    }
    const cJSON *port;
    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        add_port(&b, port);
    }
    return b.out;
}

void proxy_service_free(struct proxy_service *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->group_count; i++) {
        free(s->groups[i].name);
        free(s->groups[i].endpoints);
    }
    free(s->groups);
    free(s->frontends);
    free(s->name);
    free(s);
}
