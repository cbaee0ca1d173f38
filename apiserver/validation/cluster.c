/* Networking, volumes, runtime classes and certificates. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

#define SPEC PATH_ROOT("spec")

static void check_ingress_backend(const cJSON *backend, const struct field_path *p, struct field_errors *e)
{
    const cJSON *service = json_get(backend, "service"), *resource = json_get(backend, "resource");
    const struct field_path at = {p, "service", NULL, 0};
    if (service && resource)
        field_invalid_str(e, p, "", "cannot set both resource and service backends");
    if (!service) {
        if (!resource)
            field_required(e, p, "");
        return;
    }
    check_name(text_of(service, "name"), name_dns1035_label, PATH_CHILD(&at, "name"), e);
    const cJSON *number = json_path(service, "port.number");
    const char *name = json_str_or(service, "port.name", "");
    const struct field_path port = {&at, "port", NULL, 0};
    if (*name && number)
        field_invalid_str(e, &at, "", "cannot set both port name & port number");
    else if (!*name && !number)
        field_required(e, &at, "port name or number is required");
    else if (number && (number->valuedouble < 1 || number->valuedouble > 65535))
        field_invalid_int(e, PATH_CHILD(&port, "number"), (int64_t)number->valuedouble, NOT_A_PORT);
    else if (*name)
        check_name(name, name_port, PATH_CHILD(&port, "name"), e);
}

static void check_ingress_path(const cJSON *path, const struct field_path *p, struct field_errors *e)
{
    const char *type = text_of(path, "pathType"), *text = text_of(path, "path");
    if (!*type)
        field_required(e, PATH_CHILD(p, "pathType"), "pathType must be specified");
    else if (!one_of(type, "Exact,ImplementationSpecific,Prefix"))
        field_not_supported(e, PATH_CHILD(p, "pathType"), type, "Exact,ImplementationSpecific,Prefix");
    else if (one_of(type, "Exact,Prefix") || *text) {
        if (*text != '/')
            field_invalid_str(e, PATH_CHILD(p, "path"), text, "must be an absolute path");
        else if (one_of(type, "Exact,Prefix") && strstr(text, "//"))
            field_invalid_str(e, PATH_CHILD(p, "path"), text, "must not contain '//'");
    }
    check_ingress_backend(json_get(path, "backend"), PATH_CHILD(p, "backend"), e);
}

static void check_ingress_host(const char *host, const struct field_path *p, struct field_errors *e)
{
    const char *name = !strncmp(host, "*.", 2) ? host + 2 : host, *why = name_dns_subdomain(name);
    if (is_ip(host, 0))
        field_invalid_str(e, p, host, "must be a DNS name, not an IP address");
    else if (why)
        field_invalid_str(e, p, host, "%s", why);
}

static void check_ingress_tls(const cJSON *tls, struct field_errors *e)
{
    const struct field_path list = {SPEC, "tls", NULL, 0};
    int i = 0;
    EACH (t, tls) {
        const struct field_path at = {&list, NULL, NULL, i++}, hosts = {&at, "hosts", NULL, 0};
        int k = 0;
        EACH (h, json_get(t, "hosts")) {
            check_ingress_host(cJSON_IsString(h) ? h->valuestring : "", PATH_INDEX(&hosts, k), e);
            k++;
        }
        if (*text_of(t, "secretName"))
            check_name(text_of(t, "secretName"), name_dns_subdomain, PATH_CHILD(&at, "secretName"), e);
    }
}

void validate_ingress(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status"))
        return;
    const cJSON *spec = json_get(object, "spec"), *backend = json_get(spec, "defaultBackend"),
                *rules = json_get(spec, "rules");
    if (!backend && !cJSON_GetArraySize(rules))
        field_invalid(e, SPEC, rules, "either `defaultBackend` or `rules` must be specified");
    if (backend)
        check_ingress_backend(backend, PATH_CHILD(SPEC, "defaultBackend"), e);
    if (*text_of(spec, "ingressClassName"))
        check_name(text_of(spec, "ingressClassName"), name_dns_subdomain,
                   PATH_CHILD(SPEC, "ingressClassName"), e);
    if (!old && *text_of(spec, "ingressClassName") &&
        json_map_str(json_path(object, "metadata.annotations"), "kubernetes.io/ingress.class")) {
        const struct field_path meta = {PATH_ROOT("metadata"), "annotations", NULL, 0};
        field_invalid_str(e, PATH_CHILD(&meta, "kubernetes.io/ingress.class"),
                          json_map_str(json_path(object, "metadata.annotations"), "kubernetes.io/ingress.class"),
                          "can not be set when the class field is also set");
    }
    check_ingress_tls(json_get(spec, "tls"), e);
    int i = 0;
    EACH (r, rules) {
        const struct field_path list = {SPEC, "rules", NULL, 0}, at = {&list, NULL, NULL, i++};
        const char *host = text_of(r, "host");
        if (*host)
            check_ingress_host(host, PATH_CHILD(&at, "host"), e);
        const cJSON *paths = json_path(r, "http.paths");
        const struct field_path http = {&at, "http", NULL, 0}, all = {&http, "paths", NULL, 0};
        if (json_get(r, "http") && !cJSON_GetArraySize(paths))
            field_required(e, &all, "");
        int k = 0;
        EACH (path, paths) {
            check_ingress_path(path, PATH_INDEX(&all, k), e);
            k++;
        }
    }
}

void validate_ingressclass(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    const cJSON *spec = json_get(object, "spec");
    const char *controller = text_of(spec, "controller");
    if (!*controller)
        field_required(e, PATH_CHILD(SPEC, "controller"), "");
    else if (!strchr(controller, '/'))
        field_invalid_str(e, PATH_CHILD(SPEC, "controller"), controller,
                          "must be a domain-prefixed path (such as \"acme.io/foo\")");
    if (old)
        check_immutable(spec, json_get(old, "spec"), "controller", SPEC, e);
}

/* Is a a part of b, and smaller? */
static bool cidr_within(const char *a, const char *b)
{
    unsigned char x[16], y[16];
    char text[64];
    int family = strchr(b, ':') ? AF_INET6 : AF_INET;
    int bits_a = atoi(strchr(a, '/') + 1), bits_b = atoi(strchr(b, '/') + 1);
    if (!strchr(a, ':') != !strchr(b, ':') || bits_a <= bits_b || strlen(a) >= sizeof text ||
        strlen(b) >= sizeof text)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(a, "/"), a);
    if (inet_pton(family, text, x) != 1)
        return false;
    snprintf(text, sizeof text, "%.*s", (int)strcspn(b, "/"), b);
    if (inet_pton(family, text, y) != 1 || memcmp(x, y, (size_t)bits_b / 8) != 0)
        return false;
    unsigned mask = 0xff00u >> (bits_b % 8) & 0xff;
    return bits_b % 8 == 0 || (x[bits_b / 8] & mask) == (y[bits_b / 8] & mask);
}

static void check_policy_peer(const cJSON *peer, const struct field_path *p, struct field_errors *e)
{
    const cJSON *block = json_get(peer, "ipBlock"), *pods = json_get(peer, "podSelector"),
                *namespaces = json_get(peer, "namespaceSelector");
    const struct field_path at = {p, "ipBlock", NULL, 0};
    if (!block && !pods && !namespaces)
        field_required(e, p, "must specify a peer");
    else if (block && (pods || namespaces))
        field_forbidden(e, p, "may not specify both ipBlock and another peer");
    check_label_selector(pods, PATH_CHILD(p, "podSelector"), e);
    check_label_selector(namespaces, PATH_CHILD(p, "namespaceSelector"), e);
    if (!block)
        return;
    const char *cidr = text_of(block, "cidr");
    if (!*cidr)
        field_required(e, PATH_CHILD(&at, "cidr"), "");
    else if (!is_cidr(cidr))
        field_invalid_str(e, PATH_CHILD(&at, "cidr"), cidr,
                          "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    int i = 0;
    EACH (x, json_get(block, "except")) {
        const struct field_path except = {&at, "except", NULL, 0};
        if (!cJSON_IsString(x) || !is_cidr(x->valuestring))
            field_invalid(e, PATH_INDEX(&except, i), x,
                          "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        else if (is_cidr(cidr) && !cidr_within(x->valuestring, cidr))
            field_invalid_str(e, PATH_INDEX(&except, i), x->valuestring, "must be a strict subset of `cidr`");
        i++;
    }
}

static void check_policy_rules(const cJSON *rules, const char *direction, const char *peers,
                               struct field_errors *e)
{
    int i = 0;
    EACH (r, rules) {
        const struct field_path list = {SPEC, direction, NULL, 0}, at = {&list, NULL, NULL, i++};
        const struct field_path ports = {&at, "ports", NULL, 0}, from = {&at, peers, NULL, 0};
        int k = 0;
        EACH (port, json_get(r, "ports")) {
            const struct field_path one = {&ports, NULL, NULL, k++};
            const char *protocol = text_of(port, "protocol");
            if (*protocol && !one_of(protocol, "TCP,UDP,SCTP"))
                field_not_supported(e, PATH_CHILD(&one, "protocol"), protocol, "SCTP,TCP,UDP");
            if (json_get(port, "port"))
                check_int_or_port_name(json_get(port, "port"), PATH_CHILD(&one, "port"), e);
            const cJSON *first = json_get(port, "port"), *last = json_get(port, "endPort");
            if (!last)
                continue;
            if (!first || cJSON_IsString(first))
                field_required(e, PATH_CHILD(&one, "endPort"),
                               first ? "may not be specified when `port` is non-numeric"
                                     : "may not be specified when `port` is not specified");
            else if (last->valuedouble < 1 || last->valuedouble > 65535)
                field_invalid_int(e, PATH_CHILD(&one, "endPort"), (int64_t)last->valuedouble, NOT_A_PORT);
            else if (last->valuedouble < first->valuedouble)
                field_invalid_int(e, PATH_CHILD(&one, "endPort"), (int64_t)last->valuedouble,
                                  "must be greater than or equal to `port`");
        }
        k = 0;
        EACH (peer, json_get(r, peers)) {
            check_policy_peer(peer, PATH_INDEX(&from, k), e);
            k++;
        }
    }
}

void validate_networkpolicy(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    const cJSON *spec = json_get(object, "spec"), *types = json_get(spec, "policyTypes");
    check_label_selector(json_get(spec, "podSelector"), PATH_CHILD(SPEC, "podSelector"), e);
    check_policy_rules(json_get(spec, "ingress"), "ingress", "from", e);
    check_policy_rules(json_get(spec, "egress"), "egress", "to", e);
    if (cJSON_GetArraySize(types) > 2) {
        field_invalid(e, PATH_CHILD(SPEC, "policyTypes"), types, "may not specify more than two policyTypes");
        return;
    }
    int i = 0;
    EACH (t, types) {
        const struct field_path list = {SPEC, "policyTypes", NULL, 0};
        const char *type = cJSON_IsString(t) ? t->valuestring : "";
        if (!one_of(type, "Ingress,Egress"))
            field_not_supported(e, PATH_INDEX(&list, i), type, "Egress,Ingress");
        i++;
    }
}

/* --- volumes --- */
static const char access_modes[] = "ReadOnlyMany,ReadWriteMany,ReadWriteOnce,ReadWriteOncePod";

static void check_access_modes(const cJSON *spec, const char *missing, struct field_errors *e)
{
    const cJSON *modes = json_get(spec, "accessModes");
    if (!cJSON_GetArraySize(modes))
        field_required(e, PATH_CHILD(SPEC, "accessModes"), missing);
    EACH (m, modes) {
        const char *mode = cJSON_IsString(m) ? m->valuestring : "";
        if (!one_of(mode, access_modes))
            field_not_supported(e, PATH_CHILD(SPEC, "accessModes"), mode, access_modes);
        if (!strcmp(mode, "ReadWriteOncePod") && cJSON_GetArraySize(modes) > 1)
            field_forbidden(e, PATH_CHILD(SPEC, "accessModes"),
                            "may not use ReadWriteOncePod with other access modes");
    }
}

static void check_size(const char *text, const struct field_path *p, struct field_errors *e)
{
    struct quantity q;
    if (quantity_parse(text, &q) && q.nano <= 0)
        field_invalid_str(e, p, text, "must be greater than zero");
}

static bool has_parent_step(const char *path)
{
    for (const char *s = path; (s = strstr(s, "..")); s += 2)
        if ((s == path || s[-1] == '/') && (!s[2] || s[2] == '/'))
            return true;
    return false;
}

static void check_volume_path(const cJSON *source, const struct field_path *p, struct field_errors *e)
{
    const char *path = text_of(source, "path");
    if (!*path)
        field_required(e, PATH_CHILD(p, "path"), "");
    else if (has_parent_step(path))
        field_invalid_str(e, PATH_CHILD(p, "path"), path, "must not contain '..'");
}

/* What this project's own provisioners and kubelets know; others are their drivers' concern. */
static void check_volume_source(const cJSON *spec, struct field_errors *e)
{
    const cJSON *host = json_get(spec, "hostPath"), *local = json_get(spec, "local"), *csi = json_get(spec, "csi");
    if (host)
        check_volume_path(host, PATH_CHILD(SPEC, "hostPath"), e);
    if (host && !strcmp(text_of(host, "path"), "/") &&
        !strcmp(text_of(spec, "persistentVolumeReclaimPolicy"), "Recycle"))
        field_forbidden(e, PATH_CHILD(SPEC, "persistentVolumeReclaimPolicy"),
                        "may not be 'recycle' for a hostPath mount of '/'");
    if (local)
        check_volume_path(local, PATH_CHILD(SPEC, "local"), e);
    if (local && !json_path(spec, "nodeAffinity.required"))
        field_required(e, PATH_CHILD(SPEC, "nodeAffinity"), "Local volume requires node affinity");
    const struct field_path at = {SPEC, "csi", NULL, 0};
    if (csi && !*text_of(csi, "driver"))
        field_required(e, PATH_CHILD(&at, "driver"), "");
    if (csi && !*text_of(csi, "volumeHandle"))
        field_required(e, PATH_CHILD(&at, "volumeHandle"), "");
}

void validate_persistentvolume(const cJSON *object, const cJSON *old, const char *sub,
                               struct field_errors *e)
{
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status"))
        return;
    static const char *const no_source[] = {
        "capacity",         "accessModes",  "claimRef",     "persistentVolumeReclaimPolicy",
        "storageClassName", "mountOptions", "nodeAffinity", "volumeMode",
        "volumeAttributesClassName"};
    const cJSON *spec = json_get(object, "spec"), *capacity = json_get(spec, "capacity");
    const struct field_path at = {SPEC, "capacity", NULL, 0};
    check_access_modes(spec, "", e);
    if (!capacity || !capacity->child)
        field_required(e, &at, "");
    else if (!json_get(capacity, "storage") || capacity->child->next)
        field_not_supported(e, &at, capacity->child->string, "storage");
    else
        check_size(text_of(capacity, "storage"), PATH_KEY(&at, "storage"), e);
    const char *reclaim = text_of(spec, "persistentVolumeReclaimPolicy"), *mode = text_of(spec, "volumeMode");
    if (*reclaim && !one_of(reclaim, "Delete,Recycle,Retain"))
        field_not_supported(e, PATH_CHILD(SPEC, "persistentVolumeReclaimPolicy"), reclaim,
                            "Delete,Recycle,Retain");
    if (*mode && !one_of(mode, "Block,Filesystem"))
        field_not_supported(e, PATH_CHILD(SPEC, "volumeMode"), mode, "Block,Filesystem");
    const cJSON *source = NULL;
    EACH (m, spec) {
        bool plain = false;
        for (size_t i = 0; i < ARRAY_LEN(no_source); i++)
            plain |= !strcmp(m->string, no_source[i]);
        if (!plain && source)
            field_forbidden(e, PATH_CHILD(SPEC, m->string), "may not specify more than 1 volume type");
        else if (!plain)
            source = m;
    }
    if (!source)
        field_required(e, SPEC, "must specify a volume type");
    check_volume_source(spec, e);
    if (*text_of(spec, "storageClassName"))
        check_name(text_of(spec, "storageClassName"), name_dns_subdomain, PATH_CHILD(SPEC, "storageClassName"), e);
    if (old && strcmp(mode, text_of(json_get(old, "spec"), "volumeMode")) != 0)
        field_invalid_str(e, PATH_CHILD(SPEC, "volumeMode"), mode, IMMUTABLE);
    if (old && json_path(old, "spec.nodeAffinity"))
        check_immutable(spec, json_get(old, "spec"), "nodeAffinity", SPEC, e);
    const cJSON *before = source ? json_get(json_get(old, "spec"), source->string) : NULL;
    if (old && source && !json_equal(before, source))
        field_forbidden(e, PATH_CHILD(SPEC, "persistentvolumesource"),
                        "spec.persistentvolumesource is immutable after creation");
}

void validate_persistentvolumeclaim(const cJSON *object, const cJSON *old, const char *sub,
                                    struct field_errors *e)
{
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status"))
        return;
    const cJSON *spec = json_get(object, "spec");
    const char *size = json_str_or(spec, "resources.requests.storage", ""), *mode = text_of(spec, "volumeMode");
    const struct field_path resources = {SPEC, "resources", NULL, 0};
    check_access_modes(spec, "at least 1 access mode is required", e);
    check_label_selector(json_get(spec, "selector"), PATH_CHILD(SPEC, "selector"), e);
    if (!*size)
        field_required(e, PATH_KEY(&resources, "storage"), "");
    else
        check_size(size, PATH_KEY(PATH_CHILD(&resources, "requests"), "storage"), e);
    if (*mode && !one_of(mode, "Block,Filesystem"))
        field_not_supported(e, PATH_CHILD(SPEC, "volumeMode"), mode, "Block,Filesystem");
    if (!old)
        return;
    /* The volume's name may be filled in, a bound claim may grow, the class of attributes may change. */
    cleanup_json cJSON *now = json_dup(spec), *before = json_dup(json_get(old, "spec"));
    if (!*text_of(before, "volumeName")) {
        json_remove(now, "volumeName");
        if (!json_get(before, "storageClassName")) /* the default class came later */
            json_remove(now, "storageClassName");
    }
    bool bound = !strcmp(json_str_or(old, "status.phase", ""), "Bound");
    cJSON *const both[] = {now, before};
    for (int i = 0; i < 2; i++) {
        if (bound)
            json_remove(both[i], "resources");
        json_remove(both[i], "volumeAttributesClassName");
    }
    if (!json_equal(now, before))
        field_forbidden(e, SPEC,
                        "spec is immutable after creation except resources.requests and "
                        "volumeAttributesClassName for bound claims");
    if (bound && quantity_text_value(size) <
                     quantity_text_value(json_str(json_get(old, "spec"), "resources.requests.storage")))
        field_forbidden(e, PATH_CHILD(PATH_CHILD(&resources, "requests"), "storage"),
                        "field can not be less than status.capacity");
}

void validate_storageclass(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    const char *reclaim = text_of(object, "reclaimPolicy"), *binding = text_of(object, "volumeBindingMode");
    if (!*text_of(object, "provisioner"))
        field_required(e, PATH_ROOT("provisioner"), "");
    if (*reclaim && !one_of(reclaim, "Delete,Retain"))
        field_not_supported(e, PATH_ROOT("reclaimPolicy"), reclaim, "Delete,Retain");
    if (!one_of(binding, "Immediate,WaitForFirstConsumer"))
        field_not_supported(e, PATH_ROOT("volumeBindingMode"), binding, "Immediate,WaitForFirstConsumer");
    if (!old)
        return;
    static const char *const fixed[] = {"parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        const cJSON *a = json_get(object, fixed[i]), *b = json_get(old, fixed[i]);
        if (!(a == b || json_equal(a, b)))
            field_forbidden(e, PATH_ROOT(fixed[i]), "updates to %s are forbidden.", fixed[i]);
    }
}

void validate_runtimeclass(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    check_name(text_of(object, "handler"), name_dns_label, PATH_ROOT("handler"), e);
    const struct field_path scheduling = {NULL, "scheduling", NULL, 0}, overhead = {NULL, "overhead", NULL, 0};
    check_labels(json_path(object, "scheduling.nodeSelector"), PATH_CHILD(&scheduling, "nodeSelector"), e);
    check_tolerations(json_path(object, "scheduling.tolerations"), PATH_CHILD(&scheduling, "tolerations"), e);
    const struct field_path fixed = {&overhead, "podFixed", NULL, 0};
    EACH (q, json_path(object, "overhead.podFixed")) {
        struct quantity v;
        if (cJSON_IsString(q) && quantity_parse(q->valuestring, &v) && v.nano < 0)
            field_invalid_str(e, PATH_KEY(&fixed, q->string), q->valuestring, NEGATIVE);
    }
    if (old && strcmp(text_of(object, "handler"), text_of(old, "handler")) != 0)
        field_invalid_str(e, PATH_ROOT("handler"), text_of(object, "handler"), IMMUTABLE);
}

