/* Discovery: /api, /apis, /apis/<group>, /api/v1 and /apis/<group>/<version>, plain and aggregated.
 * https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api */
#include <stdlib.h>
#include <string.h>
#include "apiserver/openapi/groups.h"
#include "apiserver/openapi/discovery.h"
#include "common/json.h"
#include "common/mem.h"

static cJSON *strings(const char *const *list)
{
    cJSON *a = cJSON_CreateArray();
    for (; list && *list; list++)
        cJSON_AddItemToArray(a, cJSON_CreateString(*list));
    return a;
}

cJSON *discovery_versions(const char *server_address)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "kind", "APIVersions");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "versions"), cJSON_CreateString("v1"));
    cJSON *cidr = cJSON_CreateObject();
    cJSON_AddStringToObject(cidr, "clientCIDR", "0.0.0.0/0");
    cJSON_AddStringToObject(cidr, "serverAddress", server_address);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(o, "serverAddressByClientCIDRs"), cidr);
    return o;
}

static cJSON *version_json(const struct resource *r)
{
    cleanup_free char *gv = group_version_text(r->group, r->version);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "groupVersion", gv);
    cJSON_AddStringToObject(o, "version", r->version);
    return o;
}

static void add_group(cJSON *o, const char *group)
{
    cJSON_AddStringToObject(o, "name", group);
    cJSON *versions = cJSON_AddArrayToObject(o, "versions"), *preferred = NULL;
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i]->group, group) != 0 || !group_version_first(all, i))
            continue;
        cJSON_AddItemToArray(versions, version_json(all->items[i]));
        if (!preferred)
            preferred = version_json(all->items[i]);
    }
    cJSON_AddItemToObject(o, "preferredVersion", preferred);
}

cJSON *discovery_groups(void)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "kind", "APIGroupList");
    cJSON_AddStringToObject(o, "apiVersion", "v1");
    cJSON *groups = cJSON_AddArrayToObject(o, "groups");
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        if (!*all->items[i]->group || !group_first(all, i))
            continue;
        cJSON *g = cJSON_CreateObject();
        add_group(g, all->items[i]->group);
        cJSON_AddItemToArray(groups, g);
    }
    return o;
}

cJSON *discovery_group(const char *group)
{
    if (!*group || !group_served(group))
        return NULL;
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "kind", "APIGroup");
    cJSON_AddStringToObject(o, "apiVersion", "v1");
    add_group(o, group);
    return o;
}

/* Says which form is stored; Kubernetes hashes group, version and kind as well. */
static void add_storage_hash(cJSON *o, const struct resource *r)
{
    const struct resource *s = resource_stored(r);
    cleanup_free char *text = mem_printf("%s/%s/%s", s->group, s->version, s->kind);
    cleanup_free char *hash = document_hash(text, strlen(text));
    unsigned char raw[8];
    for (int i = 0; i < 8; i++)
        raw[i] = (unsigned char)(strchr("0123456789ABCDEF", hash[2 * i]) - "0123456789ABCDEF");
    cleanup_buf struct buf b = {0};
    buf_add_base64(&b, raw, sizeof raw);
    cJSON_AddStringToObject(o, "storageVersionHash", buf_str(&b));
}

static cJSON *resource_json(const struct resource *r)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", r->plural);
    cJSON_AddStringToObject(o, "singularName", r->singular);
    cJSON_AddBoolToObject(o, "namespaced", r->namespaced);
    cJSON_AddStringToObject(o, "kind", r->kind);
    cJSON_AddItemToObject(o, "verbs", verbs_json(r->verbs));
    if (r->short_names)
        cJSON_AddItemToObject(o, "shortNames", strings(r->short_names));
    if (r->categories)
        cJSON_AddItemToObject(o, "categories", strings(r->categories));
    if (r->storage_prefix)
        add_storage_hash(o, r);
    return o;
}

static cJSON *subresource_json(const struct resource *r, const struct subresource *s)
{
    const char *group, *version, *kind;
    subresource_kind(r, s, &group, &version, &kind);
    cleanup_free char *name = mem_printf("%s/%s", r->plural, s->name);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "name", name);
    cJSON_AddStringToObject(o, "singularName", "");
    cJSON_AddBoolToObject(o, "namespaced", r->namespaced);
    if (strcmp(group, r->group) != 0 || strcmp(version, r->version) != 0) {
        cJSON_AddStringToObject(o, "group", group);
        cJSON_AddStringToObject(o, "version", version);
    }
    cJSON_AddStringToObject(o, "kind", kind);
    cJSON_AddItemToObject(o, "verbs", verbs_json(s->verbs));
    return o;
}

cJSON *discovery_resources(const char *group, const char *version)
{
    if (!group_version_served(group, version))
        return NULL;
    cleanup_free char *gv = group_version_text(group, version);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "kind", "APIResourceList");
    if (*group)
        cJSON_AddStringToObject(o, "apiVersion", "v1");
    cJSON_AddStringToObject(o, "groupVersion", gv);
    cJSON *list = cJSON_AddArrayToObject(o, "resources");
    size_t n;
    cleanup_free const struct resource **resources = group_version_resources(group, version, &n);
    for (size_t i = 0; i < n; i++) {
        cJSON_AddItemToArray(list, resource_json(resources[i]));
        for (const struct subresource *s = resources[i]->subresources; s && s->name; s++)
            cJSON_AddItemToArray(list, subresource_json(resources[i], s));
    }
    return o;
}

/* --- aggregated --- */
static cJSON *kind_json(const char *group, const char *version, const char *kind)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "group", group);
    cJSON_AddStringToObject(o, "version", version);
    cJSON_AddStringToObject(o, "kind", kind);
    return o;
}

static cJSON *resource_aggregated(const struct resource *r)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "resource", r->plural);
    cJSON_AddItemToObject(o, "responseKind", kind_json(r->group, r->version, r->kind));
    cJSON_AddStringToObject(o, "scope", r->namespaced ? "Namespaced" : "Cluster");
    cJSON_AddStringToObject(o, "singularResource", r->singular);
    cJSON_AddItemToObject(o, "verbs", verbs_json(r->verbs));
    if (r->short_names)
        cJSON_AddItemToObject(o, "shortNames", strings(r->short_names));
    if (r->categories)
        cJSON_AddItemToObject(o, "categories", strings(r->categories));
    cJSON *subs = NULL;
    for (const struct subresource *s = r->subresources; s && s->name; s++) {
        const char *group, *version, *kind;
        subresource_kind(r, s, &group, &version, &kind);
        cJSON *sub = cJSON_CreateObject();
        cJSON_AddStringToObject(sub, "subresource", s->name);
        cJSON_AddItemToObject(sub, "responseKind", kind_json(group, version, kind));
        cJSON_AddItemToObject(sub, "verbs", verbs_json(s->verbs));
        if (!subs)
            subs = cJSON_AddArrayToObject(o, "subresources");
        cJSON_AddItemToArray(subs, sub);
    }
    return o;
}

static cJSON *version_aggregated(const char *group, const char *version)
{
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "version", version);
    cJSON *list = cJSON_AddArrayToObject(o, "resources");
    size_t n;
    cleanup_free const struct resource **resources = group_version_resources(group, version, &n);
    for (size_t i = 0; i < n; i++)
        cJSON_AddItemToArray(list, resource_aggregated(resources[i]));
    cJSON_AddStringToObject(o, "freshness", "Current");
    return o;
}

cJSON *discovery_aggregated(bool core, const char *version)
{
    cleanup_free char *api_version = mem_printf("apidiscovery.k8s.io/%s", version);
    cJSON *o = cJSON_CreateObject();
    cJSON_AddStringToObject(o, "kind", "APIGroupDiscoveryList");
    cJSON_AddStringToObject(o, "apiVersion", api_version);
    cJSON_AddObjectToObject(o, "metadata");
    cJSON *items = cJSON_AddArrayToObject(o, "items");
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->count; i++) {
        const char *group = all->items[i]->group;
        if (core != !*group || !group_first(all, i))
            continue;
        cJSON *item = cJSON_CreateObject(), *meta = cJSON_AddObjectToObject(item, "metadata");
        if (*group)
            cJSON_AddStringToObject(meta, "name", group);
        cJSON_AddNullToObject(meta, "creationTimestamp");
        cJSON *versions = cJSON_AddArrayToObject(item, "versions");
        for (size_t k = i; k < all->count; k++)
            if (!strcmp(all->items[k]->group, group) && group_version_first(all, k))
                cJSON_AddItemToArray(versions, version_aggregated(group, all->items[k]->version));
        cJSON_AddItemToArray(items, item);
    }
    return o;
}

/* One media range of Accept has parameters in any order; the first range that we can serve wins. */
const char *discovery_aggregated_version(const char *accept)
{
    while (accept && *accept) {
        size_t n = strcspn(accept, ",");
        cleanup_free char *range = mem_strndup(accept, n);
        accept += n + (accept[n] == ',');
        char *save = NULL;
        const char *part = strtok_r(range, "; \t", &save), *type = part ? part : "", *v = NULL;
        bool group = false, as = false;
        while ((part = strtok_r(NULL, "; \t", &save))) {
            group |= !strcmp(part, "g=apidiscovery.k8s.io");
            as |= !strcmp(part, "as=APIGroupDiscoveryList");
            if (!strcmp(part, "v=v2"))
                v = "v2";
            else if (!strcmp(part, "v=v2beta1"))
                v = "v2beta1";
        }
        if (strcmp(type, "application/json") != 0 && strcmp(type, "*/*") != 0)
            continue;
        if (!group && !as)
            return NULL; /* plain JSON is wanted before */
        if (group && as && v)
            return v;
    }
    return NULL;
}

bool discovery_serve(struct api_request *req)
{
    const char *path = req->info.path, *method = httpd_method(req->http);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return false;
    bool core = !strncmp(path, "/api", 4) && (path[4] == '\0' || path[4] == '/');
    bool groups = !strncmp(path, "/apis", 5) && (path[5] == '\0' || path[5] == '/');
    if (!core && !groups)
        return false;
    char group[256] = "", version[64] = "";
    const char *rest = path + (core ? 4 : 5);
    rest += *rest == '/';
    for (int part = core ? 1 : 0; *rest; part++) {
        size_t n = strcspn(rest, "/");
        char *to = part ? version : group;
        if (part > 1 || !n || n >= (part ? sizeof version : sizeof group))
            return false;
        memcpy(to, rest, n);
        to[n] = '\0';
        rest += n + (rest[n] == '/');
    }
    if (groups && !*group && *version)
        return false;
    bool root = !*group && !*version;
    const char *aggregated = root ? discovery_aggregated_version(httpd_header(req->http, "Accept")) : NULL;
    cleanup_json cJSON *o = NULL;
    if (aggregated) {
        o = discovery_aggregated(core, aggregated);
    } else if (root && core) {
        cleanup_free char *address =
            mem_printf("%s:%lld", req->config->advertise_address ? req->config->advertise_address : "",
                       (long long)req->config->secure_port);
        o = discovery_versions(address);
    } else if (root) {
        o = discovery_groups();
    } else if (*version) {
        o = discovery_resources(group, version);
    } else {
        o = discovery_group(group);
    }
    if (!o)
        return false;
    struct buf b = {0};
    json_print(o, &b);
    buf_addc(&b, '\n');
    cleanup_free char *type =
        aggregated
            ? mem_printf("application/json;g=apidiscovery.k8s.io;v=%s;as=APIGroupDiscoveryList", aggregated)
            : mem_strdup("application/json");
    size_t len = b.len;
    reply_document(req, type, buf_take(&b), len, root);
    return true;
}
