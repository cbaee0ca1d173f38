#include "kube-proxy/policy/policy.h"
#include <netinet/in.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "kube-proxy/service.h"

const char *const policy_direction_names[POLICY_DIRECTIONS] = {"ingress", "egress"};

/* --- policies --- */

static bool parse_block(struct policy_rule *rule, const cJSON *block, struct error **err)
{
    struct range range, except;
    int family, except_family;
    if (!range_of_cidr(json_str(block, "cidr"), &family, &range)) {
        error_setf(err, "ipBlock: \"%s\" is no range of addresses", json_str_or(block, "cidr", ""));
        return false;
    }
    struct ranges left = {0};
    ranges_add(&left, range.first, range.last);
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(block, "except"))
    {
        if (cJSON_IsString(e) && range_of_cidr(e->valuestring, &except_family, &except) &&
            except_family == family)
            ranges_remove(&left, except.first, except.last);
    }
    ranges_add_all(family == AF_INET ? &rule->blocks4 : &rule->blocks6, &left);
    ranges_clear(&left);
    return true;
}

static bool parse_selector(const cJSON *json, struct label_selector **out, struct error **err)
{
    *out = NULL;
    return !cJSON_IsObject(json) || (*out = label_selector_from_json(json, err)) != NULL;
}

static bool parse_peer(struct policy_rule *rule, const cJSON *json, struct error **err)
{
    const cJSON *block = json_get(json, "ipBlock"), *pods = json_get(json, "podSelector"),
                *namespaces = json_get(json, "namespaceSelector");
    if (cJSON_IsObject(block))
        return parse_block(rule, block, err);
    if (!cJSON_IsObject(pods) && !cJSON_IsObject(namespaces)) {
        error_setf(err, "a peer names nobody");
        return false;
    }
    rule->peers = mem_realloc(rule->peers, (rule->peer_count + 1) * sizeof *rule->peers);
    struct policy_peer *peer = &rule->peers[rule->peer_count++];
    *peer = (struct policy_peer){0};
    return parse_selector(pods, &peer->pods, err) &&
           parse_selector(namespaces, &peer->namespaces, err);
}

static bool parse_port(struct policy_rule *rule, const cJSON *json, struct error **err)
{
    const cJSON *port = json_get(json, "port");
    uint8_t protocol;
    if (!proxy_protocol_parse(json_str(json, "protocol"), &protocol)) {
        error_setf(err, "unknown protocol");
        return false;
    }
    if (cJSON_IsString(port)) {
        rule->named = mem_realloc(rule->named, (rule->named_count + 1) * sizeof *rule->named);
        rule->named[rule->named_count++] =
            (struct policy_named_port){.name = mem_strdup(port->valuestring), .protocol = protocol};
        return true;
    }
    int64_t first = json_int(json, "port", 0), last = json_int(json, "endPort", first);
    if (!port) {
        first = 0;
        last = 65535;
    }
    if (first < 0 || last < first || last > 65535) {
        error_setf(err, "a port is out of range");
        return false;
    }
    ranges_add(protocol == IPPROTO_TCP   ? &rule->tcp
               : protocol == IPPROTO_UDP ? &rule->udp
                                         : &rule->sctp,
               (range_number)first, (range_number)last);
    return true;
}

static bool parse_rules(struct policy_rules *out, const cJSON *list, const char *peers_name,
                        struct error **err)
{
    const cJSON *json, *item;
    cJSON_ArrayForEach(json, list)
    {
        out->items = mem_realloc(out->items, (out->count + 1) * sizeof *out->items);
        struct policy_rule *rule = &out->items[out->count++];
        const cJSON *peers = json_get(json, peers_name), *ports = json_get(json, "ports");
        *rule = (struct policy_rule){.any_peer = cJSON_GetArraySize(peers) == 0,
                                     .any_port = cJSON_GetArraySize(ports) == 0};
        cJSON_ArrayForEach(item, peers)
        {
            if (!parse_peer(rule, item, err))
                return false;
        }
        cJSON_ArrayForEach(item, ports)
        {
            if (!parse_port(rule, item, err))
                return false;
        }
    }
    return true;
}

struct policy *policy_parse(const cJSON *json, struct error **err)
{
    const cJSON *spec = json_get(json, "spec"), *type;
    struct policy *p = mem_alloc(sizeof *p);
    p->ns = mem_strdup(json_str_or(json, "metadata.namespace", ""));
    p->key = mem_printf("%s/%s", p->ns, json_str_or(json, "metadata.name", ""));
    const cJSON *types = json_get(spec, "policyTypes");
    cJSON_ArrayForEach(type, types)
    {
        if (cJSON_IsString(type))
            p->directions[strcmp(type->valuestring, "Egress") == 0 ? POLICY_EGRESS : POLICY_INGRESS]
                .applies = true;
    }
    if (!types) {
        p->directions[POLICY_INGRESS].applies = true;
        p->directions[POLICY_EGRESS].applies = cJSON_GetArraySize(json_get(spec, "egress")) > 0;
    }
    static const char everything[] = "{}";
    cleanup_json cJSON *empty = json_parse(everything, sizeof everything - 1, NULL);
    const cJSON *selector = json_get(spec, "podSelector");
    p->pods = label_selector_from_json(cJSON_IsObject(selector) ? selector : empty, err);
    if (!p->pods ||
        !parse_rules(&p->directions[POLICY_INGRESS], json_get(spec, "ingress"), "from", err) ||
        !parse_rules(&p->directions[POLICY_EGRESS], json_get(spec, "egress"), "to", err)) {
        policy_free(p);
        return NULL;
    }
    return p;
}

static void rule_clear(struct policy_rule *rule)
{
    for (size_t i = 0; i < rule->peer_count; i++) {
        label_selector_free(rule->peers[i].namespaces);
        label_selector_free(rule->peers[i].pods);
    }
    for (size_t i = 0; i < rule->named_count; i++)
        free(rule->named[i].name);
    free(rule->peers);
    free(rule->named);
    ranges_clear(&rule->blocks4);
    ranges_clear(&rule->blocks6);
    ranges_clear(&rule->tcp);
    ranges_clear(&rule->udp);
    ranges_clear(&rule->sctp);
}

void policy_free(struct policy *p)
{
    if (!p)
        return;
    for (int d = 0; d < POLICY_DIRECTIONS; d++) {
        for (size_t i = 0; i < p->directions[d].count; i++)
            rule_clear(&p->directions[d].items[i]);
        free(p->directions[d].items);
    }
    label_selector_free(p->pods);
    free(p->key);
    free(p->ns);
    free(p);
}

/* --- pods --- */

static void add_address(struct policy_pod *p, const char *text)
{
    struct address a;
    if (p->address_count >= 2 || !address_parse(text, &a) ||
        (p->address_count && a.family == p->addresses[0].family))
        return;
    p->addresses[p->address_count++] = a;
}

static void add_ports(struct policy_pod *p, const cJSON *containers, bool sidecars_only)
{
    const cJSON *container, *port;
    cJSON_ArrayForEach(container, containers)
    {
        if (sidecars_only && strcmp(json_str_or(container, "restartPolicy", ""), "Always") != 0)
            continue;
        cJSON_ArrayForEach(port, json_get(container, "ports"))
        {
            const char *name = json_str(port, "name");
            int64_t number = json_int(port, "containerPort", 0);
            uint8_t protocol;
            if (!name || number < 1 || number > 65535 ||
                !proxy_protocol_parse(json_str(port, "protocol"), &protocol))
                continue;
            p->ports = mem_realloc(p->ports, (p->port_count + 1) * sizeof *p->ports);
            p->ports[p->port_count++] = (struct policy_pod_port){
                .name = mem_strdup(name), .protocol = protocol, .number = (uint16_t)number};
        }
    }
}

struct policy_pod *policy_pod_new(const cJSON *json, const char *node_name)
{
    const char *phase = json_str_or(json, "status.phase", "");
    if (json_bool(json, "spec.hostNetwork", false) || strcmp(phase, "Succeeded") == 0 ||
        strcmp(phase, "Failed") == 0)
        return NULL;
    struct policy_pod *p = mem_alloc(sizeof *p);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, json_path(json, "status.podIPs"))
        add_address(p, json_str(entry, "ip"));
    add_address(p, json_str(json, "status.podIP"));
    if (p->address_count == 0) {
        free(p);
        return NULL;
    }
    const cJSON *labels = json_path(json, "metadata.labels");
    p->ns = mem_strdup(json_str_or(json, "metadata.namespace", ""));
    p->labels = labels ? json_dup(labels) : NULL;
    p->local = strcmp(json_str_or(json, "spec.nodeName", ""), node_name) == 0;
    p->terminating = json_str(json, "metadata.deletionTimestamp") != NULL;
    add_ports(p, json_path(json, "spec.containers"), false);
    add_ports(p, json_path(json, "spec.initContainers"), true);
    return p;
}

void policy_pod_free(struct policy_pod *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->port_count; i++)
        free(p->ports[i].name);
    free(p->ports);
    cJSON_Delete(p->labels);
    free(p->ns);
    free(p);
}

bool policy_pod_equal(const struct policy_pod *a, const struct policy_pod *b)
{
    if (!a || !b)
        return a == b;
    if (a->address_count != b->address_count || a->port_count != b->port_count ||
        a->local != b->local || a->terminating != b->terminating ||
        !json_equal(a->labels, b->labels))
        return false;
    for (size_t i = 0; i < a->address_count; i++)
        if (!address_equal(&a->addresses[i], &b->addresses[i]))
            return false;
    for (size_t i = 0; i < a->port_count; i++)
        if (a->ports[i].number != b->ports[i].number ||
            a->ports[i].protocol != b->ports[i].protocol ||
            strcmp(a->ports[i].name, b->ports[i].name) != 0)
            return false;
    return true;
}

/* --- who is meant --- */

bool policy_selects(const struct policy *p, const struct policy_pod *pod)
{
    return strcmp(p->ns, pod->ns) == 0 && label_selector_matches(p->pods, pod->labels);
}

bool policy_rule_names(const struct policy *p, const struct policy_rule *rule,
                       const struct policy_pod *pod, const cJSON *namespace_labels)
{
    for (size_t i = 0; i < rule->peer_count; i++) {
        const struct policy_peer *peer = &rule->peers[i];
        bool there = peer->namespaces ? label_selector_matches(peer->namespaces, namespace_labels)
                                      : strcmp(p->ns, pod->ns) == 0;
        if (there && (!peer->pods || label_selector_matches(peer->pods, pod->labels)))
            return true;
    }
    return false;
}
