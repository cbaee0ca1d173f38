#include "controller-manager/discovery.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

static bool has_verb(const cJSON *resource, const char *verb)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, json_get(resource, "verbs")) if (cJSON_IsString(v) &&
                                                           strcmp(v->valuestring, verb) ==
                                                               0) return true;
    return false;
}

static void add_resources(struct api_resources *out, const char *api_version, const cJSON *list)
{
    const cJSON *r;
    cJSON_ArrayForEach(r, json_get(list, "resources"))
    {
        const char *name = json_str_or(r, "name", ""), *kind = json_str_or(r, "kind", "");
        if (!*name || !*kind || strchr(name, '/'))
            continue;
        out->items = mem_realloc(out->items, (out->count + 1) * sizeof(*out->items));
        const char *slash = strchr(api_version, '/');
        out->items[out->count++] = (struct api_resource){
            .api_version = mem_strdup(api_version),
            .kind = mem_strdup(kind),
            .resource = mem_strdup(name),
            .group =
                slash ? mem_strndup(api_version, (size_t)(slash - api_version)) : mem_strdup(""),
            .namespaced = json_bool(r, "namespaced", false),
            .can_delete = has_verb(r, "delete"),
            .can_delete_collection = has_verb(r, "deletecollection"),
            .can_list = has_verb(r, "list"),
            .can_watch = has_verb(r, "watch")};
    }
}

static void ask_group(struct kube_client *client, const char *api_version,
                      struct api_resources *out)
{
    cleanup_free char *path =
        mem_printf("/%s/%s", strchr(api_version, '/') ? "apis" : "api", api_version);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *list = kube_get(client, path, &e);
    if (list) {
        add_resources(out, api_version, list);
        return;
    }
    out->failed_count++;
    error_wrap(&e, "%s", api_version);
    error_move(out->failed ? NULL : &out->failed, e);
    e = NULL;
}

bool discover_resources(struct kube_client *client, struct api_resources *out, struct error **err)
{
    *out = (struct api_resources){0};
    cleanup_json cJSON *groups = kube_get(client, "/apis", err);
    if (!groups)
        return false;
    ask_group(client, "v1", out);
    const cJSON *g;
    cJSON_ArrayForEach(g, json_get(groups, "groups"))
    {
        const char *preferred = json_str(g, "preferredVersion.groupVersion");
        if (preferred)
            ask_group(client, preferred, out);
    }
    if (!out->count) {
        error_move(err, out->failed);
        out->failed = NULL;
        return false;
    }
    return true;
}

void api_resources_clear(struct api_resources *r)
{
    for (size_t i = 0; i < r->count; i++) {
        free(r->items[i].api_version);
        free(r->items[i].kind);
        free(r->items[i].resource);
        free(r->items[i].group);
    }
    free(r->items);
    error_free(r->failed);
    *r = (struct api_resources){0};
}

const struct api_resource *api_resource_of_kind(const struct api_resources *r,
                                                const char *api_version, const char *kind)
{
    const char *slash = strchr(api_version, '/');
    size_t n = slash ? (size_t)(slash - api_version) : 0;
    const struct api_resource *same_group = NULL;
    for (size_t i = 0; i < r->count; i++) {
        const struct api_resource *x = &r->items[i];
        if (strcmp(x->kind, kind) != 0)
            continue;
        if (strcmp(x->api_version, api_version) == 0)
            return x;
        if (strlen(x->group) == n && strncmp(x->group, api_version, n) == 0 && !same_group)
            same_group = x;
    }
    return same_group;
}
