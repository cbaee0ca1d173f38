/* One rule of a role: what it allows, and what it covers. */
#include <string.h>
#include "apiserver/auth/rbac.h"
#include "common/json.h"
#include "common/mem.h"

static bool has(char *const *list, const char *value)
{
    for (; list && *list; list++)
        if (!strcmp(*list, "*") || !strcmp(*list, value))
            return true;
    return false;
}

/* Is `pattern` the resource ("pods"), its subresource ("pods/log"), all ("*") or one subresource of
 * all? ("*" "/scale") */
static bool resource_matches(const char *pattern, const char *resource, const char *subresource)
{
    if (!strcmp(pattern, "*"))
        return true;
    size_t len = strlen(resource);
    if (!*subresource)
        return !strcmp(pattern, resource);
    if (!strncmp(pattern, "*/", 2))
        return !strcmp(pattern + 2, subresource);
    return !strncmp(pattern, resource, len) && pattern[len] == '/' &&
           !strcmp(pattern + len + 1, subresource);
}

static bool any_resource_matches(char *const *list, const char *resource, const char *subresource)
{
    for (; list && *list; list++)
        if (resource_matches(*list, resource, subresource))
            return true;
    return false;
}

static bool url_matches(char *const *list, const char *path)
{
    for (; list && *list; list++) {
        size_t len = strlen(*list);
        if (!strcmp(*list, "*") || !strcmp(*list, path))
            return true;
        if (len && (*list)[len - 1] == '*' && !strncmp(*list, path, len - 1))
            return true;
    }
    return false;
}

static bool name_matches(char *const *list, const char *name)
{
    if (!list || !*list)
        return true;
    for (; *list; list++)
        if (!strcmp(*list, name))
            return true;
    return false;
}

bool rbac_rule_allows(const struct rbac_rule *rule, const struct auth_attributes *a)
{
    if (!has(rule->verbs, a->verb))
        return false;
    if (!a->is_resource)
        return url_matches(rule->urls, a->path);
    return has(rule->groups, a->group) &&
           any_resource_matches(rule->resources, a->resource, a->subresource) &&
           name_matches(rule->names, a->name);
}

static bool resource_covers(char *const *list, const char *wanted)
{
    const char *slash = strchr(wanted, '/');
    for (; list && *list; list++) {
        if (!strcmp(*list, "*") || !strcmp(*list, wanted))
            return true;
        if (slash && !strncmp(*list, "*/", 2) && !strcmp(*list + 2, slash + 1))
            return true;
    }
    return false;
}

bool rbac_rule_covers(const struct rbac_rule *rule, const struct rbac_rule *part)
{
    if (part->verbs && *part->verbs && !has(rule->verbs, *part->verbs))
        return false;
    if (part->urls && *part->urls)
        return url_matches(rule->urls, *part->urls);
    if (!part->groups || !part->resources || !has(rule->groups, *part->groups) ||
        !resource_covers(rule->resources, *part->resources))
        return false;
    if (!rule->names || !*rule->names)
        return true;
    return part->names && *part->names && name_matches(rule->names, *part->names);
}

static char **list_of(const cJSON *array)
{
    int n = cJSON_IsArray(array) ? cJSON_GetArraySize(array) : 0;
    if (!n)
        return NULL;
    char **list = mem_alloc(sizeof *list * ((size_t)n + 1));
    size_t i = 0;
    const cJSON *e;
    cJSON_ArrayForEach(e, array) if (cJSON_IsString(e)) list[i++] = mem_strdup(e->valuestring);
    return list;
}

struct rbac_rule *rbac_rules_parse(const cJSON *rules, size_t *count)
{
    size_t n = cJSON_IsArray(rules) ? (size_t)cJSON_GetArraySize(rules) : 0;
    struct rbac_rule *out = mem_alloc(sizeof *out * (n + 1));
    const cJSON *r;
    *count = 0;
    if (n)
        cJSON_ArrayForEach(r, rules) out[(*count)++] = (struct rbac_rule){
            .verbs = list_of(json_get(r, "verbs")),
            .groups = list_of(json_get(r, "apiGroups")),
            .resources = list_of(json_get(r, "resources")),
            .names = list_of(json_get(r, "resourceNames")),
            .urls = list_of(json_get(r, "nonResourceURLs")),
        };
    return out;
}

static void list_free(char **list)
{
    for (char **e = list; e && *e; e++)
        free(*e);
    free(list);
}

void rbac_rules_free(struct rbac_rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        list_free(rules[i].verbs);
        list_free(rules[i].groups);
        list_free(rules[i].resources);
        list_free(rules[i].names);
        list_free(rules[i].urls);
    }
    free(rules);
}
