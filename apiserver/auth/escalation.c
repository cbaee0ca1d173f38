/* Nobody can give rights that he does not hold himself, unless he may "escalate" roles or "bind"
 * this one.
 * https://kubernetes.io/docs/reference/access-authn-authz/rbac/#privilege-escalation-prevention-and-bootstrapping
 */
#include <string.h>
#include "apiserver/auth/rbac.h"
#include "common/json.h"
#include "common/mem.h"

#define GROUP "rbac.authorization.k8s.io"

/* One thing out of a rule, and whether the user holds it. */
struct part {
    struct rbac_rule rule; /* borrowed strings */
    char *lists[4][2];
    bool held;
};
struct parts {
    struct part *items;
    size_t count;
};

static void add_part(struct parts *p, char *verb, char *group, char *resource, char *name,
                     char *url)
{
    p->items = mem_realloc(p->items, (p->count + 1) * sizeof *p->items);
    struct part *part = &p->items[p->count++];
    *part = (struct part){0};
    part->lists[0][0] = verb;
    part->lists[1][0] = url ? url : group;
    part->lists[2][0] = resource;
    part->lists[3][0] = name;
}

/* Lists point into the item itself, so they are set once the array does not move any more. */
static void settle(struct parts *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct part *t = &p->items[i];
        t->rule.verbs = t->lists[0];
        if (t->lists[2][0]) {
            t->rule.groups = t->lists[1];
            t->rule.resources = t->lists[2];
            t->rule.names = t->lists[3][0] ? t->lists[3] : NULL;
        } else {
            t->rule.urls = t->lists[1];
        }
    }
}

static void break_down(struct parts *p, const struct rbac_rule *rule)
{
    for (char **v = rule->verbs; v && *v; v++) {
        for (char **u = rule->urls; u && *u; u++)
            add_part(p, *v, NULL, NULL, NULL, *u);
        for (char **g = rule->groups; g && *g; g++)
            for (char **r = rule->resources; r && *r; r++) {
                for (char **n = rule->names; n && *n; n++)
                    add_part(p, *v, *g, *r, *n, NULL);
                if (!rule->names || !*rule->names)
                    add_part(p, *v, *g, *r, NULL, NULL);
            }
    }
}

static void hold(void *ctx, const struct rbac_rule *rule)
{
    struct parts *p = ctx;
    for (size_t i = 0; i < p->count; i++)
        if (!p->items[i].held)
            p->items[i].held = rbac_rule_covers(rule, &p->items[i].rule);
}

/* --- the message --- */

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static void quoted(struct buf *b, const char *label, const char *value, bool *first)
{
    if (!value)
        return;
    buf_printf(b, "%s%s:[\"%s\"]", *first ? "" : ", ", label, value);
    *first = false;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The missing parts; those that differ in their verbs alone are one. Sorted lines. */
static char *missing_text(struct parts *p)
{
    cleanup_free char **lines = mem_alloc(sizeof *lines * (p->count + 1));
    size_t n = 0;
    for (size_t i = 0; i < p->count; i++) {
        struct part *t = &p->items[i];
        if (t->held)
            continue;
        struct buf b = {0};
        bool first = true;
        buf_addc(&b, '{');
        if (t->lists[2][0]) {
            quoted(&b, "APIGroups", t->lists[1][0], &first);
            quoted(&b, "Resources", t->lists[2][0], &first);
            quoted(&b, "ResourceNames", t->lists[3][0], &first);
        } else {
            quoted(&b, "NonResourceURLs", t->lists[1][0], &first);
        }
        buf_printf(&b, "%sVerbs:[", first ? "" : ", ");
        bool first_verb = true;
        for (size_t k = i; k < p->count; k++) {
            struct part *o = &p->items[k];
            if (o->held || !same(o->lists[1][0], t->lists[1][0]) ||
                !same(o->lists[2][0], t->lists[2][0]) || !same(o->lists[3][0], t->lists[3][0]))
                continue;
            buf_printf(&b, "%s\"%s\"", first_verb ? "" : " ", o->lists[0][0]);
            first_verb = false;
            if (k != i)
                o->held = true; /* told */
        }
        buf_adds(&b, "]}");
        lines[n++] = buf_take(&b);
    }
    qsort(lines, n, sizeof *lines, compare_text);
    struct buf all = {0};
    for (size_t i = 0; i < n; i++) {
        buf_printf(&all, "%s%s", i ? "\n" : "", lines[i]);
        free(lines[i]);
    }
    return buf_take(&all);
}

static void refuse(struct api_request *req, const char *name, struct parts *missing,
                   struct error **err)
{
    struct buf groups = {0};
    for (char **g = req->user.groups; g && *g; g++)
        buf_printf(&groups, "%s\"%s\"", g == req->user.groups ? "" : " ", *g);
    cleanup_free char *list = buf_take(&groups), *lines = missing_text(missing);
    cleanup_free char *why =
        mem_printf("user \"%s\" (groups=[%s]) is attempting to grant RBAC permissions not "
                   "currently held:\n%s",
                   req->user.name, list, lines);
    api_error_forbidden(err, req->resource, name, why);
}

static bool holds_all(struct api_request *req, const char *name, const cJSON *rules, const char *ns,
                      struct error **err)
{
    size_t count;
    struct rbac_rule *list = rbac_rules_parse(rules, &count);
    struct parts parts = {0};
    for (size_t i = 0; i < count; i++)
        break_down(&parts, &list[i]);
    settle(&parts);
    rbac_visit_rules(&req->user, ns, hold, &parts);
    bool all = true;
    for (size_t i = 0; i < parts.count; i++)
        all &= parts.items[i].held;
    if (!all)
        refuse(req, name, &parts, err);
    free(parts.items);
    rbac_rules_free(list, count);
    return all;
}

static bool may(struct api_request *req, const char *verb, const char *resource, const char *ns,
                const char *name)
{
    struct auth_attributes a = {
        .user = &req->user,
        .verb = verb,
        .is_resource = true,
        .group = GROUP,
        .version = "v1",
        .resource = resource,
        .subresource = "",
        .ns = ns,
        .name = name,
        .path = "",
    };
    cleanup_buf struct buf reason = {0};
    return auth_allowed(&a, &reason);
}

static bool check_role(struct api_request *req, const cJSON *object, const cJSON *old,
                       struct error **err)
{
    const char *name = json_str_or(object, "metadata.name", "");
    const char *ns = req->resource->namespaced ? req->info.ns : "";
    if (may(req, "escalate", req->resource->plural, ns, name))
        return true;
    const cJSON *aggregation = json_get(object, "aggregationRule");
    /* Whoever may change what is gathered may gather everything. */
    if (aggregation && !json_equal(aggregation, json_get(old, "aggregationRule"))) {
        static const char everything[] =
            "[{\"verbs\":[\"*\"],\"apiGroups\":[\"*\"],\"resources\":[\"*\"]},"
            "{\"verbs\":[\"*\"],\"nonResourceURLs\":[\"*\"]}]";
        cleanup_json cJSON *all = json_parse(everything, sizeof everything - 1, NULL);
        if (!holds_all(req, name, all, ns, err)) {
            error_wrap(err, "must have cluster-admin privileges to use an aggregationRule");
            return false;
        }
    }
    if (old && json_equal(json_get(object, "rules"), json_get(old, "rules")))
        return true;
    return holds_all(req, name, json_get(object, "rules"), ns, err);
}

static bool check_binding(struct api_request *req, const cJSON *object, const cJSON *old,
                          struct error **err)
{
    if (old && json_equal(json_get(object, "roleRef"), json_get(old, "roleRef")) &&
        json_equal(json_get(object, "subjects"), json_get(old, "subjects")))
        return true;
    const char *role = json_str_or(object, "roleRef.name", "");
    bool cluster = strcmp(json_str_or(object, "roleRef.kind", ""), "Role") != 0;
    const char *ns = req->resource->namespaced ? req->info.ns : "";
    const char *plural = cluster ? "clusterroles" : "roles";
    if (may(req, "bind", plural, ns, role))
        return true;
    const struct resource *r = resource_find(GROUP, "v1", plural);
    cleanup_stored struct stored *s = storage_get(req->storage, r, cluster ? "" : ns, role, err);
    if (!s)
        return false;
    cleanup_json cJSON *json = json_parse(s->json, s->len, err);
    return json && holds_all(req, json_str_or(object, "metadata.name", ""), json_get(json, "rules"),
                             ns, err);
}

bool rbac_check_escalation(struct api_request *req, const cJSON *object, const cJSON *old,
                           struct error **err)
{
    const struct resource *r = req->resource;
    if (strcmp(r->group, GROUP) != 0 || api_user_in_group(&req->user, GROUP_MASTERS))
        return true;
    if (!strcmp(r->kind, "Role") || !strcmp(r->kind, "ClusterRole"))
        return check_role(req, object, old, err);
    return check_binding(req, object, old, err);
}
