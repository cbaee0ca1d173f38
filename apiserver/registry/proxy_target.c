/* To which address a proxied request goes. */
#include "apiserver/registry/proxy.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "apiserver/registry/pod_node.h"
#include "common/json.h"
#include "common/mem.h"

void proxy_target_clear(struct proxy_target *t)
{
    free(t->server);
    t->server = NULL;
}

bool proxy_name_parse(const char *text, struct proxy_name *out)
{
    const char *a = strchr(text, ':'), *b = a ? strchr(a + 1, ':') : NULL;
    *out = (struct proxy_name){0};
    if (b && strchr(b + 1, ':'))
        return false;
    const char *name = b ? a + 1 : text, *port = b ? b + 1 : a ? a + 1 : "";
    size_t name_len = b ? (size_t)(b - a - 1) : a ? (size_t)(a - text) : strlen(text);
    size_t scheme_len = b ? (size_t)(a - text) : 0;
    if (!name_len || name_len >= sizeof out->name || strlen(port) >= sizeof out->port ||
        scheme_len >= sizeof out->scheme)
        return false;
    memcpy(out->scheme, text, scheme_len);
    memcpy(out->name, name, name_len);
    strcpy(out->port, port);
    return !scheme_len || !strcmp(out->scheme, "http") || !strcmp(out->scheme, "https");
}

const char *proxy_rest(const char *raw_path)
{
    /* api/v1/nodes/NAME/proxy, api/v1/namespaces/NS/pods/NAME/proxy */
    size_t skip = 5, at = 0;
    for (const char *p = raw_path; *p;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (at == 2 && n == 10 && !strncmp(p, "namespaces", n))
            skip = 7;
        p += n;
        if (++at == skip)
            return p;
    }
    return "";
}

bool proxy_address_allowed(const char *ip)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, ip, &v4) == 1) {
        uint32_t a = ntohl(v4.s_addr);
        return a != 0 && a != 0xffffffff && a >> 24 != 127 && a >> 16 != 0xa9fe && a >> 28 != 0xe;
    }
    if (inet_pton(AF_INET6, ip, &v6) != 1)
        return false;
    return !IN6_IS_ADDR_LOOPBACK(&v6) && !IN6_IS_ADDR_UNSPECIFIED(&v6) &&
           !IN6_IS_ADDR_LINKLOCAL(&v6) && !IN6_IS_ADDR_MULTICAST(&v6) && !IN6_IS_ADDR_V4MAPPED(&v6);
}

static char *server_of(const char *scheme, const char *host, const char *port)
{
    const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
    return mem_printf("%s://%s%s%s%s%s", *scheme ? scheme : "http", open, host, close,
                      *port ? ":" : "", port);
}

static cJSON *get(struct write *w, const struct resource *r, const char *name, struct error **err)
{
    cleanup_stored struct stored *s =
        storage_get(w->req->storage, r, r->namespaced ? w->ns : "", name, err);
    return s ? json_parse(s->json, s->len, err) : NULL;
}

static bool port_is_number(const char *port)
{
    size_t n = strspn(port, "0123456789");
    long v = n && n < 6 && !port[n] ? strtol(port, NULL, 10) : 0;
    return v > 0 && v < 65536;
}

/* --- pods --- */

static bool find_pod(struct write *w, const struct proxy_name *n, struct proxy_target *out,
                     struct error **err)
{
    cleanup_json cJSON *pod = get(w, w->r, n->name, err);
    if (!pod)
        return false;
    const char *ip = json_str_or(pod, "status.podIP", "");
    if (!proxy_address_allowed(ip)) {
        api_error_bad_request(err, "address not allowed");
        return false;
    }
    char first[16] = "";
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(pod, "spec.containers"))
    {
        const cJSON *ports = json_get(c, "ports");
        if (!*first && ports && ports->child)
            snprintf(first, sizeof first, "%d", (int)json_int(ports->child, "containerPort", 0));
    }
    if (*n->port && !port_is_number(n->port)) {
        api_error_bad_request(err, "invalid pod request \"%s\"", w->name);
        return false;
    }
    out->server = server_of(n->scheme, ip, *n->port ? n->port : first);
    return true;
}

/* --- services --- */

static bool unavailable(struct error **err, char *message_taken)
{
    error_set(err, 503, "ServiceUnavailable", "%s", message_taken);
    if (err)
        (*err)->details = mem_strdup("{}"); /* nobody knows when it will be there */
    free(message_taken);
    return false;
}

/* The name of the service's port with that number; NULL when there is none. */
static const char *port_name(const cJSON *service, long number)
{
    const cJSON *p;
    cJSON_ArrayForEach(p, json_path(service, "spec.ports"))
    {
        if (json_int(p, "port", 0) == number)
            return json_str_or(p, "name", "");
    }
    return NULL;
}

/* Endpoints are written by people as well: only addresses of pods that have them are gone to. */
static bool address_is_pods(struct write *w, const cJSON *address)
{
    const char *ip = json_str_or(address, "ip", ""),
               *name = json_str_or(address, "targetRef.name", ""),
               *ns = json_str_or(address, "targetRef.namespace", w->ns);
    if (strcmp(json_str_or(address, "targetRef.kind", ""), "Pod") || strcmp(ns, w->ns) != 0)
        return false;
    cleanup_json cJSON *pod = get(w, resource_find("", "v1", "pods"), name, NULL);
    const cJSON *own;
    if (!strcmp(json_str_or(pod, "status.podIP", ""), ip))
        return true;
    cJSON_ArrayForEach(own, json_path(pod, "status.podIPs"))
    {
        if (!strcmp(json_str_or(own, "ip", ""), ip))
            return true;
    }
    return false;
}

static unsigned any_number(void)
{
    unsigned n = 0;
    return getrandom(&n, sizeof n, 0) == sizeof n ? n : 0;
}

/* One of a subset's addresses, at random; NULL when none can be gone to. */
static const char *choose_address(struct write *w, const cJSON *addresses)
{
    int n = cJSON_GetArraySize(addresses);
    unsigned start = any_number();
    for (int i = 0; i < n; i++) {
        const cJSON *a = cJSON_GetArrayItem(addresses, (int)((start + (unsigned)i) % (unsigned)n));
        const char *ip = json_str_or(a, "ip", "");
        if (proxy_address_allowed(ip) && address_is_pods(w, a))
            return ip;
    }
    return NULL;
}

static bool find_service(struct write *w, const struct proxy_name *n, struct proxy_target *out,
                         struct error **err)
{
    const char *name = n->port;
    cleanup_json cJSON *service = get(w, w->r, n->name, err);
    if (!service)
        return false;
    if (port_is_number(n->port)) {
        name = port_name(service, strtol(n->port, NULL, 10));
        if (!name)
            return unavailable(
                err, mem_printf("no service port %s found for service \"%s\"", n->port, n->name));
    }
    cleanup_json cJSON *endpoints = get(w, resource_find("", "v1", "endpoints"), n->name, err);
    if (!endpoints)
        return false;
    const cJSON *subset, *p;
    cJSON_ArrayForEach(subset, json_get(endpoints, "subsets"))
    {
        cJSON_ArrayForEach(p, json_get(subset, "ports"))
        {
            if (strcmp(json_str_or(p, "name", ""), name) != 0)
                continue;
            const char *ip = choose_address(w, json_get(subset, "addresses"));
            char port[16];
            snprintf(port, sizeof port, "%d", (int)json_int(p, "port", 0));
            if (ip) {
                out->server = server_of(n->scheme, ip, port);
                return true;
            }
        }
    }
    return unavailable(err, mem_printf("no endpoints available for service \"%s\"", w->name));
}

/* --- nodes --- */

static bool find_node(struct write *w, const struct proxy_name *n, struct proxy_target *out,
                      struct error **err)
{
    char *kubelet = pod_node_url(w, n->name, err);
    if (!kubelet)
        return false;
    out->server = kubelet;
    out->is_kubelet = true;
    char *port = strrchr(kubelet, ':');
    if (!*n->port || !strcmp(n->port, port + 1))
        return true;
    char *host = strstr(kubelet, "://") + 3;
    *port = 0;
    cleanup_free char *bare =
        *host == '[' ? mem_strndup(host + 1, strlen(host) - 2) : mem_strdup(host);
    out->is_kubelet = false;
    if (!proxy_address_allowed(bare) || !port_is_number(n->port)) {
        api_error_bad_request(err, "address not allowed");
        return false;
    }
    out->server = server_of(n->scheme, bare, n->port);
    free(kubelet);
    return true;
}

bool proxy_find(struct write *w, struct proxy_target *out, struct error **err)
{
    struct proxy_name n;
    *out = (struct proxy_target){0};
    const char *kind = w->r->singular;
    if (!proxy_name_parse(w->name, &n)) {
        api_error_bad_request(err, "invalid %s request \"%s\"", kind, w->name);
        return false;
    }
    return !strcmp(kind, "pod")       ? find_pod(w, &n, out, err)
           : !strcmp(kind, "service") ? find_service(w, &n, out, err)
                                      : find_node(w, &n, out, err);
}
