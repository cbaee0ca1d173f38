#include "ingress-controller/model.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

static int compare_ages(const void *a, const void *b)
{
    const struct ingress *x = *(struct ingress *const *)a, *y = *(struct ingress *const *)b;
    int c = strcmp(json_str_or(x->object, "metadata.creationTimestamp", ""),
                   json_str_or(y->object, "metadata.creationTimestamp", ""));
    return c ? c : strcmp(x->key, y->key);
}

void model_sort(struct ingress **ingresses, size_t count)
{
    qsort(ingresses, count, sizeof(*ingresses), compare_ages);
}

struct ordered {
    const struct ingress_location *location;
    size_t age;
};

/* By host; then the longer path first, an exact one before a prefix; then the older Ingress. */
static int compare_locations(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    const struct ingress_location *l = x->location, *m = y->location;
    int c = strcmp(l->host, m->host);
    if (c)
        return c;
    if ((l->kind == PATH_DEFAULT) != (m->kind == PATH_DEFAULT))
        return l->kind == PATH_DEFAULT ? 1 : -1;
    size_t n = strlen(l->path), k = strlen(m->path);
    if (n != k)
        return n > k ? -1 : 1;
    if (l->kind != m->kind)
        return l->kind < m->kind ? -1 : 1;
    c = strcmp(l->path, m->path);
    if (c)
        return c;
    return x->age < y->age ? -1 : x->age > y->age;
}

static cJSON *location_json(const struct ingress_location *l)
{
    static const char *const kinds[] = {"exact", "prefix", "regex", "prefix"};
    const struct ingress_settings *s = &l->of->settings;
    cJSON *o = cJSON_CreateObject();
    json_map_set_str(o, "path", l->path);
    json_map_set_str(o, "type", kinds[l->kind]);
    json_set_int(o, "length", (int64_t)strlen(l->path));
    json_map_set_str(o, "backend", l->backend);
    json_map_set_str(o, "scheme", s->scheme);
    json_set_int(o, "body_size", s->body_size);
    cleanup_free char *timeouts = mem_printf("%lld,%lld,%lld", (long long)s->connect_ms,
                                             (long long)s->send_ms, (long long)s->read_ms);
    json_map_set_str(o, "timeouts", timeouts);
    json_set_bool(o, "ssl_redirect", s->ssl_redirect);
    json_set_bool(o, "force_ssl_redirect", s->force_ssl_redirect);
    if (s->rewrite_target)
        json_map_set_str(o, "rewrite", s->rewrite_target);
    return o;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool has_tls(const char *const *hosts, size_t count, const char *host)
{
    const char *dot = strchr(host, '.');
    cleanup_free char *wildcard = mem_printf("*%s", dot ? dot : "");
    const char *w = wildcard;
    return bsearch(&host, hosts, count, sizeof(*hosts), compare_strings) ||
           (dot && bsearch(&w, hosts, count, sizeof(*hosts), compare_strings));
}

cJSON *model_routes(struct ingress *const *ingresses, size_t count, model_conflict *conflict,
                    void *ctx)
{
    size_t total = 0, tls_total = 0;
    for (size_t i = 0; i < count; i++) {
        total += ingresses[i]->location_count;
        tls_total += ingresses[i]->tls_count;
    }
    cleanup_free struct ordered *all = mem_alloc((total + 1) * sizeof(*all));
    cleanup_free const char **tls = mem_alloc((tls_total + 1) * sizeof(*tls));
    size_t n = 0, tls_count = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < ingresses[i]->location_count; j++)
            all[n++] = (struct ordered){&ingresses[i]->locations[j], i};
        for (size_t j = 0; j < ingresses[i]->tls_count; j++)
            tls[tls_count++] = ingresses[i]->tls[j].host;
    }
    qsort(all, n, sizeof(*all), compare_locations);
    qsort(tls, tls_count, sizeof(*tls), compare_strings);

    cJSON *routes = cJSON_CreateObject(), *servers = cJSON_AddObjectToObject(routes, "servers"),
          *locations = NULL;
    const struct ingress_location *last = NULL;
    for (size_t i = 0; i < n; i++) {
        const struct ingress_location *l = all[i].location;
        bool same_host = last && !strcmp(last->host, l->host);
        if (same_host && last->kind == l->kind && !strcmp(last->path, l->path)) {
            if (conflict && last->of != l->of) {
                cleanup_free char *what = mem_printf("%s%s", l->host, l->path);
                conflict(ctx, l->of, what, last->of);
            }
            continue;
        }
        if (!same_host) {
            cJSON *server = cJSON_CreateObject();
            json_set_bool(server, "tls", has_tls(tls, tls_count, l->host));
            locations = cJSON_AddArrayToObject(server, "locations");
            cJSON_AddItemToObject(servers, l->host, server);
        }
        cJSON_AddItemToArray(locations, location_json(l));
        last = l;
    }
    return routes;
}

/* The Service's port that the key's last part names or numbers. */
static const cJSON *find_port(const cJSON *service, const char *wanted)
{
    const cJSON *p;
    char *end;
    long number = strtol(wanted, &end, 10);
    cJSON_ArrayForEach(p, json_path(service, "spec.ports"))
    {
        if (*end ? !strcmp(json_str_or(p, "name", ""), wanted) : json_int(p, "port", 0) == number)
            return p;
    }
    return NULL;
}

cJSON *model_endpoints(const char *backend_key, const cJSON *service,
                       const struct kube_object_list *slices)
{
    cJSON *list = cJSON_CreateArray();
    const cJSON *port = service ? find_port(service, strrchr(backend_key, '/') + 1) : NULL;
    if (!port)
        return list;
    const char *name = json_str_or(port, "name", "");
    for (size_t i = 0; i < slices->count; i++) {
        const cJSON *slice = slices->items[i]->json, *p, *e;
        int64_t number = 0;
        cJSON_ArrayForEach(p,
                           json_get(slice, "ports")) if (!strcmp(json_str_or(p, "name", ""), name))
            number = json_int(p, "port", 0);
        if (number < 1 || number > 65535 || !strcmp(json_str_or(slice, "addressType", ""), "FQDN"))
            continue;
        bool v6 = !strcmp(json_str_or(slice, "addressType", ""), "IPv6");
        cJSON_ArrayForEach(e, json_get(slice, "endpoints"))
        {
            const cJSON *address = cJSON_GetArrayItem(json_get(e, "addresses"), 0);
            if (!json_bool(e, "conditions.ready", true) || !cJSON_IsString(address))
                continue;
            cJSON *pair = cJSON_CreateArray();
            cleanup_free char *text = mem_printf(v6 ? "[%s]" : "%s", address->valuestring);
            cJSON_AddItemToArray(pair, cJSON_CreateString(text));
            cJSON_AddItemToArray(pair, cJSON_CreateNumber((double)number));
            cJSON_AddItemToArray(list, pair);
        }
    }
    return list;
}
