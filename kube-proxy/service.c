#include "kube-proxy/service.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

static bool parse_ip(const char *text, int family, struct address *ip)
{
    return address_parse(text, ip) && ip->family == family;
}

bool proxy_protocol_parse(const char *text, uint8_t *protocol)
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

const char *proxy_protocol_name(uint8_t protocol)
{
    return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "sctp";
}

bool proxy_endpoint_equal(const struct proxy_endpoint *a, const struct proxy_endpoint *b)
{
    return a->port == b->port && address_equal(&a->ip, &b->ip);
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
        g->endpoints =
            mem_realloc(g->endpoints, (g->count ? g->count * 2 : 1) * sizeof *g->endpoints);
    g->endpoints[g->count++] = e;
}

/* Which endpoints count: those that are ready; if there is none in the whole group, those that
 * still serve while terminating (KEP-1669). */
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
        if (proxy_protocol_parse(json_str(p, "protocol"), &proto) && proto == protocol &&
            strcmp(json_str_or(p, "name", ""), port_name) == 0 && port > 0 && port <= 65535)
            return (uint16_t)port;
    }
    return 0;
}

struct builder {
    struct proxy_service *out;
    const cJSON *service;
    const cJSON *const *slices;
    size_t slice_count;
    const struct proxy_node *node;
    int family;
    int affinity_seconds;
};

static bool is_here(const struct builder *b, const cJSON *endpoint)
{
    return strcmp(json_str_or(endpoint, "nodeName", ""), b->node->name) == 0;
}

static bool right_type(const struct builder *b, const cJSON *slice)
{
    return strcmp(json_str_or(slice, "addressType", "IPv4"),
                  b->family == AF_INET ? "IPv4" : "IPv6") == 0;
}

/* --- hints: endpoints meant for this node or zone
 * https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/ --- */

static bool names(const cJSON *hints, const char *list, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(hints, list))
    {
        if (strcmp(json_str_or(item, "name", ""), name) == 0)
            return true;
    }
    return false;
}

/* Hints only help when each ready endpoint has them and one of them is meant for here. NULL: they
 * do not. */
static const char *useful_hints(const struct builder *b, const char *port_name, uint8_t protocol)
{
    bool nodes = true, zones = true, this_node = false, this_zone = false;
    size_t count = 0;
    for (size_t i = 0; i < b->slice_count; i++) {
        if (!right_type(b, b->slices[i]) || slice_port(b->slices[i], port_name, protocol) == 0)
            continue;
        const cJSON *endpoint;
        cJSON_ArrayForEach(endpoint, json_get(b->slices[i], "endpoints"))
        {
            if (!counts(endpoint, PASS_READY))
                continue;
            const cJSON *hints = json_get(endpoint, "hints");
            count++;
            nodes = nodes && cJSON_GetArraySize(json_get(hints, "forNodes")) > 0;
            zones = zones && cJSON_GetArraySize(json_get(hints, "forZones")) > 0;
            this_node = this_node || names(hints, "forNodes", b->node->name);
            this_zone = this_zone || (*b->node->zone && names(hints, "forZones", b->node->zone));
        }
    }
    if (count && nodes && this_node)
        return "forNodes";
    return count && zones && this_zone ? "forZones" : NULL;
}

/* --- groups --- */

static void collect(const struct builder *b, struct proxy_group *g, const char *port_name,
                    bool only_local, enum pass pass, const char *hints)
{
    for (size_t i = 0; i < b->slice_count; i++) {
        uint16_t port = slice_port(b->slices[i], port_name, g->protocol);
        if (port == 0 || !right_type(b, b->slices[i]))
            continue;
        const cJSON *endpoint;
        cJSON_ArrayForEach(endpoint, json_get(b->slices[i], "endpoints"))
        {
            if (!counts(endpoint, pass))
                continue;
            bool local = is_here(b, endpoint);
            if (only_local && !local) {
                g->elsewhere = true;
                continue;
            }
            if (hints && !names(json_get(endpoint, "hints"), hints,
                                strcmp(hints, "forNodes") == 0 ? b->node->name : b->node->zone))
                continue;
            /* All addresses of one endpoint are fungible; clients use the first. */
            struct address ip;
            const cJSON *address = cJSON_GetArrayItem(json_get(endpoint, "addresses"), 0);
            if (cJSON_IsString(address) && parse_ip(address->valuestring, b->family, &ip))
                add_endpoint(g, (struct proxy_endpoint){.ip = ip, .port = port, .local = local});
        }
    }
}

static size_t add_group(struct builder *b, const char *port_name, uint8_t protocol,
                        const char *protocol_name, bool only_local)
{
    struct proxy_service *s = b->out;
    s->groups = mem_realloc(s->groups, (s->group_count + 1) * sizeof *s->groups);
    struct proxy_group *g = &s->groups[s->group_count];
    *g = (struct proxy_group){
        .name =
            mem_printf("%s:%s:%s%s", s->name, port_name, protocol_name, only_local ? "/local" : ""),
        .protocol = protocol,
        .affinity_seconds = b->affinity_seconds,
    };
    const char *hints = only_local ? NULL : useful_hints(b, port_name, protocol);
    collect(b, g, port_name, only_local, PASS_READY, hints);
    if (g->count == 0)
        collect(b, g, port_name, only_local, PASS_SERVING_TERMINATING, NULL);
    return s->group_count++;
}

/* --- frontends --- */

static void add_frontend(struct builder *b, struct proxy_frontend f)
{
    struct proxy_service *s = b->out;
    s->frontends = mem_realloc(s->frontends, (s->frontend_count + 1) * sizeof *s->frontends);
    s->frontends[s->frontend_count++] = f;
}

static void add_external_ips(struct builder *b, const cJSON *list, struct proxy_frontend f)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        if (cJSON_IsString(item) && parse_ip(item->valuestring, b->family, &f.ip))
            add_frontend(b, f);
    }
}

static void read_source_ranges(const struct builder *b, struct proxy_frontend *f)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(b->service, "spec.loadBalancerSourceRanges"))
    {
        struct range r;
        int family;
        if (cJSON_IsString(item) && range_of_cidr(item->valuestring, &family, &r) &&
            family == b->family) {
            f->firewalled = true;
            ranges_add(&f->sources, r.first, r.last);
        }
    }
}

static void add_load_balancers(struct builder *b, const cJSON *ingress, struct proxy_frontend f)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, ingress)
    {
        /* Proxy: the load balancer itself hands connections to node ports; packets to its address
         * are not ours. */
        if (strcmp(json_str_or(item, "ipMode", "VIP"), "Proxy") == 0 ||
            !parse_ip(json_str(item, "ip"), b->family, &f.ip))
            continue;
        f.firewalled = false;
        f.sources = (struct ranges){0};
        read_source_ranges(b, &f);
        add_frontend(b, f);
    }
}

/* The Service's address of the family. */
static bool cluster_ip(const cJSON *service, int family, struct address *ip)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(service, "spec.clusterIPs"))
    {
        if (cJSON_IsString(item) && parse_ip(item->valuestring, family, ip))
            return true;
    }
    return parse_ip(json_str(service, "spec.clusterIP"), family, ip);
}

static void add_port(struct builder *b, const cJSON *port)
{
    const char *type = json_str_or(b->service, "spec.type", "ClusterIP"),
               *name = json_str_or(port, "name", "");
    const char *protocol_name = json_str_or(port, "protocol", "TCP");
    int64_t number = json_int(port, "port", 0), node_port = json_int(port, "nodePort", 0);
    uint8_t protocol;
    struct address ip;
    if (number <= 0 || number > 65535 || !proxy_protocol_parse(protocol_name, &protocol) ||
        !cluster_ip(b->service, b->family, &ip))
        return;
    bool external = strcmp(type, "NodePort") == 0 || strcmp(type, "LoadBalancer") == 0;
    const cJSON *external_ips = json_path(b->service, "spec.externalIPs");
    const cJSON *ingress = json_path(b->service, "status.loadBalancer.ingress");
    bool local_inside =
        strcmp(json_str_or(b->service, "spec.internalTrafficPolicy", ""), "Local") == 0;
    bool local_outside =
        strcmp(json_str_or(b->service, "spec.externalTrafficPolicy", ""), "Local") == 0;
    bool has_outside = (external && node_port > 0) || cJSON_GetArraySize(external_ips) > 0 ||
                       cJSON_GetArraySize(ingress) > 0;

    size_t all = SIZE_MAX, local = SIZE_MAX;
    if (!local_inside || has_outside)
        all = add_group(b, name, protocol, protocol_name, false);
    if (local_inside || (has_outside && local_outside))
        local = add_group(b, name, protocol, protocol_name, true);

    struct proxy_frontend f = {
        .ip = ip, .port = (uint16_t)number, .group = local_inside ? local : all};
    add_frontend(b, f);
    f.group = local_outside ? local : all;
    f.masquerade = !local_outside;
    /* Local is for those who come from outside and may choose their node. */
    f.has_inside = local_outside;
    f.inside_group = all;
    add_external_ips(b, external_ips, f);
    if (strcmp(type, "LoadBalancer") == 0)
        add_load_balancers(b, ingress, f);
    if (external && node_port > 0 && node_port <= 65535) {
        f.ip = (struct address){0};
        f.port = (uint16_t)node_port;
        add_frontend(b, f);
    }
}

static size_t count_local_ready(const struct builder *b)
{
    struct proxy_group pods = {0};
    for (size_t i = 0; i < b->slice_count; i++) {
        const cJSON *endpoint;
        if (!right_type(b, b->slices[i]))
            continue;
        cJSON_ArrayForEach(endpoint, json_get(b->slices[i], "endpoints"))
        {
            struct address ip;
            const cJSON *address = cJSON_GetArrayItem(json_get(endpoint, "addresses"), 0);
            if (counts(endpoint, PASS_READY) && is_here(b, endpoint) && cJSON_IsString(address) &&
                parse_ip(address->valuestring, b->family, &ip))
                add_endpoint(&pods, (struct proxy_endpoint){.ip = ip});
        }
    }
    free(pods.endpoints);
    return pods.count;
}

struct proxy_service *proxy_service_build(const cJSON *service, const cJSON *const *slices,
                                          size_t slice_count, const struct proxy_node *node,
                                          int family)
{
    const char *ns = json_str(service, "metadata.namespace"),
               *name = json_str(service, "metadata.name");
    const char *type = json_str_or(service, "spec.type", "");
    const cJSON *labels = json_path(service, "metadata.labels");
    struct address ip;
    if (!ns || !name || strcmp(type, "ExternalName") == 0 || !cluster_ip(service, family, &ip) ||
        json_map_str(labels, "service.kubernetes.io/service-proxy-name"))
        return NULL;
    struct builder b = {
        .out = mem_alloc(sizeof *b.out),
        .service = service,
        .slices = slices,
        .slice_count = slice_count,
        .node = node,
        .family = family,
    };
    b.out->name = mem_printf("%s/%s", ns, name);
    if (strcmp(json_str_or(service, "spec.sessionAffinity", "None"), "ClientIP") == 0) {
        int64_t seconds =
            json_int(service, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 10800);
        b.affinity_seconds = seconds > 0 && seconds <= 86400 ? (int)seconds : 10800;
    }
    const cJSON *port;
    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        add_port(&b, port);
    }
    int64_t health = json_int(service, "spec.healthCheckNodePort", 0);
    if (strcmp(type, "LoadBalancer") == 0 && health > 0 && health <= 65535 &&
        strcmp(json_str_or(service, "spec.externalTrafficPolicy", ""), "Local") == 0) {
        b.out->health_port = (uint16_t)health;
        b.out->local_ready = count_local_ready(&b);
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
    for (size_t i = 0; i < s->frontend_count; i++)
        ranges_clear(&s->frontends[i].sources);
    free(s->groups);
    free(s->frontends);
    free(s->name);
    free(s);
}
