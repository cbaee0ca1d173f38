/* Rows of nodes, of Services and their endpoints, and of events. */
#include <ctype.h>
#include <string.h>
#include "apiserver/registry/strategy.h"
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, without duplicates, joined by commas. */
static void join_sorted(struct buf *b, const char **list, size_t n)
{
    qsort(list, n, sizeof *list, compare_strings);
    for (size_t i = 0; i < n; i++) {
        if (i && !strcmp(list[i], list[i - 1]))
            continue;
        if (i)
            buf_addc(b, ',');
        buf_adds(b, list[i]);
    }
}

static void node_roles(const cJSON *node, cJSON *cells)
{
    static const char prefix[] = "node-role.kubernetes.io/";
    const cJSON *labels = json_path(node, "metadata.labels"), *label;
    size_t n = 0;
    cleanup_free const char **roles =
        mem_alloc(sizeof *roles * (size_t)(cJSON_GetArraySize(labels) + 1));
    cJSON_ArrayForEach(label, labels)
    {
        if (!strncmp(label->string, prefix, sizeof prefix - 1) && label->string[sizeof prefix - 1])
            roles[n++] = label->string + sizeof prefix - 1;
        else if (!strcmp(label->string, "kubernetes.io/role") && cJSON_IsString(label) &&
                 *label->valuestring)
            roles[n++] = label->valuestring;
    }
    cleanup_buf struct buf b = {0};
    join_sorted(&b, roles, n);
    cell_str(cells, n ? buf_str(&b) : "<none>");
}

static const char *node_address(const cJSON *node, const char *type)
{
    const cJSON *a;
    cJSON_ArrayForEach(
        a, json_path(node, "status.addresses")) if (!strcmp(json_str_or(a, "type", ""),
                                                            type)) return json_str_or(a, "address",
                                                                                      "<none>");
    return "<none>";
}

static const char *or_unknown(const char *s)
{
    return s && *s ? s : "<unknown>";
}

void row_node(const cJSON *node, cJSON *cells)
{
    cell_name(cells, node);
    const char *status = "Unknown";
    const cJSON *c;
    cJSON_ArrayForEach(
        c, json_path(node, "status.conditions")) if (!strcmp(json_str_or(c, "type", ""), "Ready"))
        status = !strcmp(json_str_or(c, "status", ""), "True") ? "Ready" : "NotReady";
    cleanup_buf struct buf b = {0};
    buf_adds(&b, status);
    if (json_bool(node, "spec.unschedulable", false))
        buf_adds(&b, ",SchedulingDisabled");
    cell_str(cells, buf_str(&b));
    node_roles(node, cells);
    cell_age(cells, json_str(node, "metadata.creationTimestamp"));
    cell_str(cells, json_str(node, "status.nodeInfo.kubeletVersion"));
    cell_str(cells, node_address(node, "InternalIP"));
    cell_str(cells, node_address(node, "ExternalIP"));
    cell_str(cells, or_unknown(json_str(node, "status.nodeInfo.osImage")));
    cell_str(cells, or_unknown(json_str(node, "status.nodeInfo.kernelVersion")));
    cell_str(cells, or_unknown(json_str(node, "status.nodeInfo.containerRuntimeVersion")));
}

static void load_balancer_addresses(const cJSON *service, struct buf *b)
{
    const cJSON *ingress = json_path(service, "status.loadBalancer.ingress"), *i;
    size_t n = 0;
    cleanup_free const char **list =
        mem_alloc(sizeof *list * (size_t)(cJSON_GetArraySize(ingress) + 1));
    cJSON_ArrayForEach(i, ingress)
    {
        const char *address = json_str_or(i, "ip", "");
        if (!*address)
            address = json_str_or(i, "hostname", "");
        if (*address)
            list[n++] = address;
    }
    join_sorted(b, list, n);
}

static void external_addresses(const cJSON *service, cJSON *cells)
{
    const char *type = json_str_or(service, "spec.type", "ClusterIP");
    if (!strcmp(type, "ExternalName")) {
        cell_str(cells, json_str(service, "spec.externalName"));
        return;
    }
    bool balanced = !strcmp(type, "LoadBalancer");
    cleanup_buf struct buf b = {0};
    if (balanced)
        load_balancer_addresses(service, &b);
    const cJSON *ip;
    cJSON_ArrayForEach(ip, json_path(service, "spec.externalIPs"))
    {
        if (b.len)
            buf_addc(&b, ',');
        buf_adds(&b, cJSON_IsString(ip) ? ip->valuestring : "");
    }
    cell_str(cells, b.len ? buf_str(&b) : balanced ? "<pending>" : "<none>");
}

void row_service(const cJSON *service, cJSON *cells)
{
    cell_name(cells, service);
    cell_str(cells, json_str_or(service, "spec.type", "ClusterIP"));
    const char *ip = json_str_or(service, "spec.clusterIP", "");
    cell_str(cells, *ip ? ip : "<none>");
    external_addresses(service, cells);
    cleanup_buf struct buf b = {0};
    const cJSON *port;
    cJSON_ArrayForEach(port, json_path(service, "spec.ports"))
    {
        int64_t node_port = json_int(port, "nodePort", 0);
        buf_printf(&b, "%s%lld", b.len ? "," : "", (long long)json_int(port, "port", 0));
        if (node_port)
            buf_printf(&b, ":%lld", (long long)node_port);
        buf_printf(&b, "/%s", json_str_or(port, "protocol", "TCP"));
    }
    cell_str(cells, b.len ? buf_str(&b) : "<none>");
    cell_age(cells, json_str(service, "metadata.creationTimestamp"));
    cell_map(cells, json_path(service, "spec.selector"));
}

enum { LISTED_MAX = 3 };

/* The first three of a list, and how many there are. */
struct some {
    struct buf text;
    int count;
};

static void some_add(struct some *s, const char *item)
{
    if (s->count < LISTED_MAX) {
        if (s->count)
            buf_addc(&s->text, ',');
        buf_adds(&s->text, item);
    }
    s->count++;
}

static void cell_some(cJSON *cells, struct some *s, const char *when_empty)
{
    if (s->count > LISTED_MAX)
        buf_printf(&s->text, " + %d more...", s->count - LISTED_MAX);
    cell_str(cells, s->text.len ? buf_str(&s->text) : when_empty);
    buf_free(&s->text);
}

void row_endpoints(const cJSON *endpoints, cJSON *cells)
{
    cell_name(cells, endpoints);
    struct some some = {0};
    const cJSON *subsets = json_get(endpoints, "subsets"), *subset, *port, *address;
    cJSON_ArrayForEach(subset, subsets)
    {
        const cJSON *ports = json_get(subset, "ports"), *addresses = json_get(subset, "addresses");
        if (cJSON_GetArraySize(ports) == 0)
            cJSON_ArrayForEach(address, addresses) some_add(&some, json_str_or(address, "ip", ""));
        cJSON_ArrayForEach(port, ports) cJSON_ArrayForEach(address, addresses)
        {
            const char *ip = json_str_or(address, "ip", "");
            cleanup_buf struct buf b = {0};
            buf_printf(&b, strchr(ip, ':') ? "[%s]:%lld" : "%s:%lld", ip,
                       (long long)json_int(port, "port", 0));
            some_add(&some, buf_str(&b));
        }
    }
    cell_some(cells, &some, cJSON_GetArraySize(subsets) ? "" : "<none>");
    cell_age(cells, json_str(endpoints, "metadata.creationTimestamp"));
}

void row_endpointslice(const cJSON *slice, cJSON *cells)
{
    cell_name(cells, slice);
    cell_str(cells, json_str(slice, "addressType"));
    struct some some = {0};
    const cJSON *item, *address;
    cJSON_ArrayForEach(item, json_get(slice, "ports"))
    {
        const cJSON *number = json_get(item, "port");
        const char *name = json_str_or(item, "name", "");
        cleanup_buf struct buf b = {0};
        if (cJSON_IsNumber(number))
            buf_printf(&b, "%d", number->valueint);
        else
            buf_adds(&b, *name ? name : "*");
        some_add(&some, buf_str(&b));
    }
    cell_some(cells, &some, "<unset>");
    some = (struct some){0};
    cJSON_ArrayForEach(item, json_get(slice, "endpoints"))
        cJSON_ArrayForEach(address, json_get(item, "addresses"))
            some_add(&some, cJSON_IsString(address) ? address->valuestring : "");
    cell_some(cells, &some, "<unset>");
    cell_age(cells, json_str(slice, "metadata.creationTimestamp"));
}

static void cell_trimmed(cJSON *cells, const char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t len = strlen(s);
    while (len && isspace((unsigned char)s[len - 1]))
        len--;
    cleanup_free char *text = mem_strndup(s, len);
    cell_str(cells, text);
}

static const char *first_of(const char *a, const char *b)
{
    return a && *a ? a : b ? b : "";
}

void row_event(const cJSON *event, cJSON *cells)
{
    cleanup_json cJSON *converted = NULL;
    if (!strncmp(json_str_or(event, "apiVersion", ""), "events.k8s.io/", 14))
        event = converted = event_to_stored(NULL, event);

    const char *first = json_str(event, "firstTimestamp");
    if (!first)
        first = json_str(event, "eventTime");
    const char *last = json_str(event, "lastTimestamp");
    if (!last)
        last = first;
    int64_t count = json_int(event, "count", 0);
    if (cJSON_IsObject(json_get(event, "series"))) {
        last = json_str(event, "series.lastObservedTime");
        count = json_int(event, "series.count", 0);
    } else if (count == 0) {
        count = 1;
    }
    cleanup_buf struct buf object = {0};
    for (const char *p = json_str_or(event, "involvedObject.kind", ""); *p; p++)
        buf_addc(&object, (char)tolower((unsigned char)*p));
    const char *name = json_str_or(event, "involvedObject.name", "");
    if (*name)
        buf_printf(&object, "/%s", name);
    cleanup_buf struct buf source = {0};
    buf_adds(&source,
             first_of(json_str(event, "source.component"), json_str(event, "reportingComponent")));
    const char *instance =
        first_of(json_str(event, "source.host"), json_str(event, "reportingInstance"));
    if (*instance)
        buf_printf(&source, ", %s", instance);

    cell_age(cells, last);
    cell_str(cells, json_str(event, "type"));
    cell_str(cells, json_str(event, "reason"));
    cell_str(cells, buf_str(&object));
    cell_str(cells, json_str(event, "involvedObject.fieldPath"));
    cell_str(cells, buf_str(&source));
    cell_trimmed(cells, json_str_or(event, "message", ""));
    cell_age(cells, first);
    cell_int(cells, count);
    cell_name(cells, event);
}
