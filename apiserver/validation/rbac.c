/* Roles and their bindings. */
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/json.h"

#define GROUP "rbac.authorization.k8s.io"

static void check_rule(const cJSON *rule, bool namespaced, const struct field_path *p, struct field_errors *e)
{
    const cJSON *urls = json_get(rule, "nonResourceURLs");
    if (cJSON_GetArraySize(json_get(rule, "verbs")) == 0)
        field_required(e, PATH_CHILD(p, "verbs"), "verbs must contain at least one value");
    if (cJSON_GetArraySize(urls) > 0) {
        if (namespaced)
            field_invalid(e, PATH_CHILD(p, "nonResourceURLs"), urls,
                          "namespaced rules cannot apply to non-resource URLs");
        if (cJSON_GetArraySize(json_get(rule, "apiGroups")) > 0 ||
            cJSON_GetArraySize(json_get(rule, "resources")) > 0 ||
            cJSON_GetArraySize(json_get(rule, "resourceNames")) > 0)
            field_invalid(e, PATH_CHILD(p, "nonResourceURLs"), urls,
                          "rules cannot apply to both regular resources and non-resource URLs");
        return;
    }
    if (cJSON_GetArraySize(json_get(rule, "apiGroups")) == 0)
        field_required(e, PATH_CHILD(p, "apiGroups"), "resource rules must supply at least one api group");
    if (cJSON_GetArraySize(json_get(rule, "resources")) == 0)
        field_required(e, PATH_CHILD(p, "resources"), "resource rules must supply at least one resource");
}

static void check_rules(const cJSON *role, bool namespaced, struct field_errors *e)
{
    int i = 0;
    EACH (rule, json_get(role, "rules"))
        check_rule(rule, namespaced, PATH_INDEX(PATH_ROOT("rules"), i++), e);
}

void validate_role(const cJSON *role, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(role, old, true, NAME_PATH_SEGMENT, e);
    check_rules(role, true, e);
}

void validate_clusterrole(const cJSON *role, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(role, old, false, NAME_PATH_SEGMENT, e);
    check_rules(role, false, e);
    const cJSON *aggregation = json_get(role, "aggregationRule"),
                *selectors = json_get(aggregation, "clusterRoleSelectors");
    const struct field_path *p = PATH_CHILD(PATH_ROOT("aggregationRule"), "clusterRoleSelectors");
    if (!aggregation)
        return;
    if (cJSON_GetArraySize(selectors) == 0)
        field_required(e, p, "at least one clusterRoleSelector required if aggregationRule is non-nil");
    int i = 0;
    EACH (s, selectors)
        check_label_selector(s, PATH_INDEX(p, i++), e);
}

static void check_subject(const cJSON *s, bool namespaced, const struct field_path *p, struct field_errors *e)
{
    const char *kind = text_of(s, "kind"), *name = text_of(s, "name"), *group = text_of(s, "apiGroup");
    if (!*name)
        field_required(e, PATH_CHILD(p, "name"), "");
    if (!strcmp(kind, "ServiceAccount")) {
        const char *wrong = *name ? name_dns_subdomain(name) : NULL;
        if (wrong)
            field_invalid_str(e, PATH_CHILD(p, "name"), name, "%s", wrong);
        if (*group)
            field_not_supported(e, PATH_CHILD(p, "apiGroup"), group, "\"\"");
        if (!namespaced && !*text_of(s, "namespace"))
            field_required(e, PATH_CHILD(p, "namespace"), "");
    } else if (!strcmp(kind, "User") || !strcmp(kind, "Group")) {
        if (strcmp(group, GROUP) != 0)
            field_not_supported(e, PATH_CHILD(p, "apiGroup"), group, GROUP);
    } else {
        field_not_supported(e, PATH_CHILD(p, "kind"), kind, "ServiceAccount,User,Group");
    }
}

static void check_binding(const cJSON *b, const cJSON *old, bool namespaced, struct field_errors *e)
{
    validate_object_meta(b, old, namespaced, NAME_PATH_SEGMENT, e);
    const cJSON *ref = json_get(b, "roleRef");
    const struct field_path *p = PATH_ROOT("roleRef");
    const char *group = text_of(ref, "apiGroup"), *kind = text_of(ref, "kind"), *name = text_of(ref, "name");
    if (strcmp(group, GROUP) != 0)
        field_not_supported(e, PATH_CHILD(p, "apiGroup"), group, GROUP);
    if (strcmp(kind, "ClusterRole") != 0 && (!namespaced || strcmp(kind, "Role") != 0))
        field_not_supported(e, PATH_CHILD(p, "kind"), kind, namespaced ? "Role,ClusterRole" : "ClusterRole");
    const char *wrong = *name ? name_path_segment(name) : NULL;
    if (!*name)
        field_required(e, PATH_CHILD(p, "name"), "");
    else if (wrong)
        field_invalid_str(e, PATH_CHILD(p, "name"), name, "%s", wrong);
    int i = 0;
    EACH (s, json_get(b, "subjects"))
        check_subject(s, namespaced, PATH_INDEX(PATH_ROOT("subjects"), i++), e);
    if (old && !json_equal(ref, json_get(old, "roleRef")))
        field_invalid(e, p, ref, "cannot change roleRef");
}

void validate_rolebinding(const cJSON *b, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    check_binding(b, old, true, e);
}

void validate_clusterrolebinding(const cJSON *b, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    check_binding(b, old, false, e);
}
