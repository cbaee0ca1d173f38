#include "apiserver/auth/rbac.h"
#include <string.h>
#include "common/mem.h"

/* Set once by rbac_start, constant afterwards. */
static struct rbac_role *roles;
static size_t role_count;
static struct rbac_binding *bindings;
static size_t binding_count;

static char **split(const char *text, bool empty_is_element)
{
    if (!*text && !empty_is_element)
        return NULL;
    size_t n = 1;
    for (const char *p = text; *p; p++)
        n += *p == ',';
    char **list = mem_alloc(sizeof *list * (n + 1));
    for (size_t i = 0; i < n; i++) {
        size_t len = strcspn(text, ",");
        list[i] = mem_strndup(text, len);
        text += len + 1;
    }
    return list;
}

static const struct rbac_role *find_role(const char *name)
{
    for (size_t i = 0; i < role_count; i++)
        if (!strcmp(roles[i].name, name))
            return &roles[i];
    return NULL;
}

static void build_role(struct rbac_role *role, const struct rbac_role_text *text)
{
    role->name = mem_strdup(text->name);
    while (text->rules[role->count].verbs)
        role->count++;
    role->rules = mem_alloc(sizeof *role->rules * (role->count + 1));
    for (size_t i = 0; i < role->count; i++) {
        const struct rbac_rule_text *t = &text->rules[i];
        role->rules[i] = (struct rbac_rule){
            .verbs = split(t->verbs, false),
            .groups = split(t->groups, *t->resources != 0),
            .resources = split(t->resources, false),
            .names = split(t->names, false),
            .urls = split(t->urls, false),
        };
    }
}

void rbac_start(void)
{
    if (roles)
        return;
    size_t n = 0;
    while (policy_roles[n].name)
        n++;
    roles = mem_alloc(sizeof *roles * n);
    for (; role_count < n; role_count++)
        build_role(&roles[role_count], &policy_roles[role_count]);
    n = 0;
    while (policy_bindings[n].role)
        n++;
    bindings = mem_alloc(sizeof *bindings * n);
    for (; binding_count < n; binding_count++) {
        const struct rbac_binding_text *t = &policy_bindings[binding_count];
        bindings[binding_count] = (struct rbac_binding){
            .user = mem_strdup(t->user),
            .group = mem_strdup(t->group),
            .ns = mem_strdup(t->ns),
            .role = find_role(t->role),
        };
    }
}

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
    if (!list)
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

static bool binding_applies(const struct rbac_binding *b, const struct api_user *u, const char *ns)
{
    if (!b->role || (b->ns && strcmp(b->ns, ns) != 0))
        return false;
    return b->user ? !strcmp(b->user, u->name) : b->group && api_user_in_group(u, b->group);
}

void rbac_visit_rules(const struct api_user *u, const char *ns,
                      void (*visit)(void *ctx, const struct rbac_rule *rule), void *ctx)
{
    for (size_t i = 0; i < binding_count; i++)
        if (binding_applies(&bindings[i], u, ns))
            for (size_t k = 0; k < bindings[i].role->count; k++)
                visit(ctx, &bindings[i].role->rules[k]);
}

bool rbac_allowed(const struct auth_attributes *a)
{
    for (size_t i = 0; i < binding_count; i++) {
        if (!binding_applies(&bindings[i], a->user, a->is_resource ? a->ns : ""))
            continue;
        for (size_t k = 0; k < bindings[i].role->count; k++)
            if (rbac_rule_allows(&bindings[i].role->rules[k], a))
                return true;
    }
    return false;
}
