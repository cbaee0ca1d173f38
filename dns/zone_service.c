/* What DNS needs to know of a Service, from its object and its EndpointSlices. */
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "dns/zone.h"

static void add_address(struct zone_service *s, const char *text)
{
    struct zone_address a;
    if (!text || !zone_address_parse(text, &a))
        return;
    for (size_t i = 0; i < s->address_count; i++)
        if (!memcmp(&s->addresses[i], &a, sizeof(a)))
            return;
    s->addresses = mem_realloc(s->addresses, (s->address_count + 1) * sizeof(a));
    s->addresses[s->address_count++] = a;
}

static void add_ports(struct zone_service *s, const cJSON *ports)
{
    size_t more = (size_t)(cJSON_IsArray(ports) ? cJSON_GetArraySize(ports) : 0);
    if (!more)
        return;
    s->ports = mem_realloc(s->ports, (s->port_count + more) * sizeof(*s->ports));
    const cJSON *p;
    cJSON_ArrayForEach(p, ports)
    {
        struct zone_port *port = &s->ports[s->port_count];
        const char *protocol = json_str_or(p, "protocol", "TCP");
        const char *name = json_str_or(p, "name", "");
        int64_t number = json_int(p, "port", 0);
        if (strlen(name) >= sizeof(port->name) || strlen(protocol) >= sizeof(port->protocol) ||
            number < 1 || number > 65535)
            continue;
        *port = (struct zone_port){.number = (uint16_t)number};
        strcpy(port->name, name);
        for (size_t i = 0; protocol[i]; i++)
            port->protocol[i] = (char)tolower((unsigned char)protocol[i]);
        s->port_count++;
    }
}

static void dashed(char out[64], const char *address)
{
    size_t i = 0;
    for (; i < 63 && address[i]; i++)
        out[i] = address[i] == '.' || address[i] == ':' ? '-' : address[i];
    out[i] = 0;
}

/* hostname.subdomain of a pod, as far as the slice tells; a label is lower case and at most 63
 * bytes long. */
static void add_endpoints(struct zone_service *s, const cJSON *slice)
{
    const cJSON *endpoints = json_get(slice, "endpoints"), *e;
    size_t first_port = s->port_count;
    add_ports(s, json_get(slice, "ports"));
    size_t more = (size_t)(cJSON_IsArray(endpoints) ? cJSON_GetArraySize(endpoints) : 0);
    if (!more)
        return;
    s->endpoints = mem_realloc(s->endpoints, (s->endpoint_count + more) * sizeof(*s->endpoints));
    cJSON_ArrayForEach(e, endpoints)
    {
        /* More addresses than one stand for the same endpoint: the first is as good as any. */
        const cJSON *first = cJSON_GetArrayItem(json_get(e, "addresses"), 0);
        struct zone_endpoint *out = &s->endpoints[s->endpoint_count];
        memset(out, 0, sizeof(*out));
        if (!json_bool(e, "conditions.ready", true) || !cJSON_IsString(first) ||
            !zone_address_parse(first->valuestring, &out->address))
            continue;
        const char *hostname = json_str_or(e, "hostname", "");
        if (*hostname && strlen(hostname) < sizeof(out->name))
            strcpy(out->name, hostname);
        else
            dashed(out->name, first->valuestring);
        out->first_port = first_port;
        out->port_count = s->port_count - first_port;
        s->endpoint_count++;
    }
}

struct zone_service *zone_service_new(const cJSON *service, const struct kube_object_list *slices)
{
    struct zone_service *s = mem_alloc(sizeof(*s));
    s->refs = 1;
    s->key = mem_printf("%s/%s", json_str_or(service, "metadata.namespace", ""),
                        json_str_or(service, "metadata.name", ""));
    const char *cluster_ip = json_str_or(service, "spec.clusterIP", "");
    if (!strcmp(json_str_or(service, "spec.type", "ClusterIP"), "ExternalName")) {
        uint8_t name[DNS_NAME_MAX];
        size_t len = dns_name_from_text(name, json_str_or(service, "spec.externalName", ""));
        if (len < 2) {
            zone_service_unref(s);
            return NULL;
        }
        s->kind = ZONE_EXTERNAL_NAME;
        s->external_name = mem_dup(name, len);
    } else if (!strcmp(cluster_ip, "None")) {
        s->kind = ZONE_HEADLESS;
        for (size_t i = 0; i < slices->count; i++)
            add_endpoints(s, slices->items[i]->json);
    } else {
        s->kind = ZONE_CLUSTER_IP;
        add_address(s, cluster_ip);
        const cJSON *ip;
        cJSON_ArrayForEach(ip, json_path(service, "spec.clusterIPs")) if (cJSON_IsString(ip))
            add_address(s, ip->valuestring);
        add_ports(s, json_path(service, "spec.ports"));
    }
    return s;
}
