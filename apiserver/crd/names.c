#include "apiserver/crd/names.h"
#include <stdlib.h>
#include <string.h>
#include "apiserver/resource.h"
#include "common/json.h"
#include "common/mem.h"

/* Is it one of the resource names (or, with kinds, of the kinds) of these names? */
static bool names_have(const cJSON *names, const char *name, bool kinds)
{
    static const char *const members[2][2] = {{"plural", "singular"}, {"kind", "listKind"}};
    for (int i = 0; i < 2; i++) {
        const char *own = json_map_str(names, members[kinds][i]);
        if (own && !strcmp(own, name))
            return true;
    }
    const cJSON *s;
    cJSON_ArrayForEach(s, json_get(names, "shortNames"))
    {
        if (!kinds && cJSON_IsString(s) && !strcmp(s->valuestring, name))
            return true;
    }
    return false;
}

static bool is_older(const cJSON *a, const cJSON *b)
{
    int order = strcmp(json_str_or(a, "metadata.creationTimestamp", ""),
                       json_str_or(b, "metadata.creationTimestamp", ""));
    return order ? order < 0
                 : strcmp(json_str_or(a, "metadata.name", ""),
                          json_str_or(b, "metadata.name", "")) < 0;
}

static bool is_taken_by_builtin(const char *group, const char *name, bool kinds)
{
    const struct resource_list *all = resource_all();
    for (size_t i = 0; i < all->builtin; i++) {
        const struct resource *r = all->items[i];
        if (strcmp(r->group, group) != 0)
            continue;
        if (kinds ? !strcmp(r->kind, name) : !strcmp(r->plural, name) || !strcmp(r->singular, name))
            return true;
    }
    return false;
}

static bool is_taken(const cJSON *crd, const cJSON *all, const char *name, bool kinds)
{
    const char *group = json_str_or(crd, "spec.group", ""),
               *own = json_str_or(crd, "metadata.name", "");
    if (is_taken_by_builtin(group, name, kinds))
        return true;
    bool mine = names_have(json_path(crd, "status.acceptedNames"), name, kinds);
    const cJSON *other;
    cJSON_ArrayForEach(other, all)
    {
        if (strcmp(json_str_or(other, "spec.group", ""), group) != 0 ||
            !strcmp(json_str_or(other, "metadata.name", ""), own))
            continue;
        bool theirs = names_have(json_path(other, "status.acceptedNames"), name, kinds);
        if (theirs && (!mine || is_older(other, crd)))
            return true;
        bool undecided = !*json_str_or(other, "status.acceptedNames.plural", "");
        if (!mine && undecided && names_have(json_path(other, "spec.names"), name, kinds) &&
            is_older(other, crd))
            return true;
    }
    return false;
}

/* The last one is told, as in Kubernetes. */
static void refuse(struct names_verdict *v, const char *reason, const char *name)
{
    free(v->message);
    v->reason = reason;
    v->message = mem_printf("\"%s\" is already in use", name);
}

static void judge_name(struct names_verdict *v, const cJSON *crd, const cJSON *all,
                       const char *member, const char *reason, bool kinds)
{
    const char *name = json_map_str(v->accepted, member),
               *before = json_map_str(json_path(crd, "status.acceptedNames"), member);
    if (!name || !*name || !is_taken(crd, all, name, kinds))
        return;
    refuse(v, reason, name);
    bool always = !strcmp(member, "plural") || !strcmp(member, "kind");
    json_map_set_str(v->accepted, member, !before && always ? "" : before);
}

static void judge_short_names(struct names_verdict *v, const cJSON *crd, const cJSON *all)
{
    const cJSON *before = json_path(crd, "status.acceptedNames.shortNames"), *s;
    bool free_names = true;
    cJSON_ArrayForEach(s, json_get(v->accepted, "shortNames"))
    {
        if (!cJSON_IsString(s) || !is_taken(crd, all, s->valuestring, false))
            continue;
        refuse(v, "ShortNamesConflict", s->valuestring);
        free_names = false;
    }
    if (!free_names && before)
        json_map_set(v->accepted, "shortNames", json_dup(before));
    else if (!free_names)
        json_remove(v->accepted, "shortNames");
}

struct names_verdict names_judge(const cJSON *crd, const cJSON *all)
{
    struct names_verdict v = {.accepted = json_dup(json_path(crd, "spec.names"))};
    judge_name(&v, crd, all, "plural", "PluralConflict", false);
    judge_name(&v, crd, all, "singular", "SingularConflict", false);
    judge_short_names(&v, crd, all);
    judge_name(&v, crd, all, "kind", "KindConflict", true);
    judge_name(&v, crd, all, "listKind", "ListKindConflict", true);
    return v;
}

void names_verdict_clear(struct names_verdict *v)
{
    free(v->message);
    cJSON_Delete(v->accepted);
}
