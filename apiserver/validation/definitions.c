/* CustomResourceDefinitions and their structural schemas. */
#include <string.h>
#include "apiserver/crd/custom.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

#define SPEC PATH_ROOT("spec")

#define APPROVAL "api-approved.kubernetes.io"

static bool flag(const cJSON *schema, const char *name)
{
    return cJSON_IsTrue(json_get(schema, name));
}

/* --- a structural schema --- */
enum place { AT_ROOT, AT_FIELD, AT_ITEMS, IN_LOGIC };

static void check_schema(const cJSON *schema, enum place place, const struct field_path *p,
                         struct field_errors *e);

static const struct {
    const char *member, *detail;
} forbidden[] = {
    {"$ref", "$ref is not supported"},
    {"definitions", "definitions is not supported"},
    {"dependencies", "dependencies is not supported"},
    {"patternProperties", "patternProperties is not supported"},
    {"additionalItems", "additionalItems is not supported"},
    {"id", "id is not supported"},
    {"$schema", "$schema is not supported"},
};
/* What belongs outside of allOf, anyOf, oneOf and not. */
static const char *const outside_logic[] = {
    "type", "default", "description", "title", "additionalProperties", "nullable"};

static void check_forbidden(const cJSON *schema, enum place place, const struct field_path *p,
                            struct field_errors *e)
{
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        if (json_get(schema, forbidden[i].member))
            field_forbidden(e, PATH_CHILD(p, forbidden[i].member), "%s", forbidden[i].detail);
    if (flag(schema, "uniqueItems"))
        field_forbidden(
            e, PATH_CHILD(p, "uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic");
    const cJSON *more = json_get(schema, "additionalProperties");
    if (more && json_get(schema, "properties"))
        field_forbidden(e, PATH_CHILD(p, "additionalProperties"),
                        "additionalProperties and properties are mutual exclusive");
    if (cJSON_IsFalse(more))
        field_forbidden(e, PATH_CHILD(p, "additionalProperties"),
                        "additionalProperties cannot be set to false");
    bool either = flag(schema, "x-kubernetes-int-or-string");
    for (size_t i = 0; place == IN_LOGIC && i < ARRAY_LEN(outside_logic); i++)
        if (json_get(schema, outside_logic[i]) && !(either && !strcmp(outside_logic[i], "type")))
            field_forbidden(e, PATH_CHILD(p, outside_logic[i]), "must be empty to be structural");
}

static void check_type(const cJSON *schema, enum place place, const struct field_path *p,
                       struct field_errors *e)
{
    const char *type = text_of(schema, "type");
    bool either = flag(schema, "x-kubernetes-int-or-string"),
         any = flag(schema, "x-kubernetes-preserve-unknown-fields");
    const struct field_path at = {p, "type", NULL, 0};
    if (place == IN_LOGIC)
        return;
    if (either && *type)
        field_forbidden(e, &at, "must be empty if x-kubernetes-int-or-string is true");
    else if (!*type && place == AT_ROOT)
        field_required(e, &at, "must not be empty at the root");
    else if (!*type && !either && !any)
        field_required(e, &at,
                       place == AT_ITEMS ? "must not be empty for specified array items"
                                         : "must not be empty for specified object fields");
    else if (*type && place == AT_ROOT && strcmp(type, "object") != 0)
        field_invalid_str(e, &at, type, "must be object at the root");
    else if (*type && !one_of(type, "array,boolean,integer,number,object,string"))
        field_not_supported(e, &at, type, "array,boolean,integer,number,object,string");
    if (flag(schema, "x-kubernetes-embedded-resource") && strcmp(type, "object") != 0)
        field_invalid_str(e, &at, type, "must be object if x-kubernetes-embedded-resource is true");
    if (any && *type && strcmp(type, "object") != 0)
        field_invalid_str(e, &at, type,
                          "must be object if x-kubernetes-preserve-unknown-fields is true");
    if (!strcmp(type, "array") && !json_get(schema, "items"))
        field_required(e, PATH_CHILD(p, "items"), "must be specified");
}

static void check_map_keys(const cJSON *schema, const struct field_path *p, struct field_errors *e)
{
    const cJSON *keys = json_get(schema, "x-kubernetes-list-map-keys"),
                *items = json_get(schema, "items"), *properties = json_get(items, "properties"),
                *required;
    const struct field_path at = {p, "x-kubernetes-list-map-keys", NULL, 0},
                            item = {p, "items", NULL, 0};
    if (!cJSON_GetArraySize(keys)) {
        field_required(e, &at, "must not be empty if x-kubernetes-list-type is map");
        return;
    }
    int i = 0;
    EACH(key, keys)
    {
        const char *name = cJSON_IsString(key) ? key->valuestring : "";
        const cJSON *property = json_get(properties, name);
        if (!property) {
            field_invalid(e, PATH_INDEX(&at, i), key,
                          "entries must all be names of item properties");
        } else {
            cJSON_ArrayForEach(
                required,
                json_get(items, "required")) if (cJSON_IsString(required) &&
                                                 !strcmp(required->valuestring, name)) break;
            const struct field_path list = {&item, "properties", NULL, 0},
                                    own = {&list, NULL, name, 0};
            if (!required && !json_get(property, "default"))
                field_required(e, PATH_CHILD(&own, "default"),
                               "this property is in x-kubernetes-list-map-keys, so it must have a "
                               "default or be a "
                               "required property");
            if (!one_of(text_of(property, "type"), "string,integer,number,boolean") &&
                !flag(property, "x-kubernetes-int-or-string"))
                field_invalid_str(
                    e, PATH_CHILD(&own, "type"), text_of(property, "type"),
                    "must be a scalar type if parent array's x-kubernetes-list-type is map");
        }
        for (const cJSON *before = keys->child; before != key; before = before->next)
            if (json_equal(before, key)) {
                field_duplicate(e, PATH_INDEX(&at, i), key);
                break;
            }
        i++;
    }
}

static void check_topology(const cJSON *schema, const struct field_path *p, struct field_errors *e)
{
    const char *list = json_map_str(schema, "x-kubernetes-list-type"),
               *map = json_map_str(schema, "x-kubernetes-map-type"),
               *type = text_of(schema, "type");
    const cJSON *items = json_get(schema, "items");
    const struct field_path at = {p, "type", NULL, 0};
    if (list && !one_of(list, "atomic,map,set"))
        field_not_supported(e, PATH_CHILD(p, "x-kubernetes-list-type"), list, "atomic,map,set");
    else if (list && strcmp(type, "array") != 0)
        field_invalid_str(e, &at, type, "must be array if x-kubernetes-list-type is specified");
    else if (list && !strcmp(list, "map")) {
        if (items && strcmp(text_of(items, "type"), "object") != 0)
            field_invalid_str(e, PATH_CHILD(PATH_CHILD(p, "items"), "type"), text_of(items, "type"),
                              "must be object if parent array's x-kubernetes-list-type is map");
        check_map_keys(schema, p, e);
    } else if (json_get(schema, "x-kubernetes-list-map-keys")) {
        field_required(e, PATH_CHILD(p, "x-kubernetes-list-type"),
                       "must be map if x-kubernetes-list-map-keys is non-empty");
    }
    if (map && !one_of(map, "atomic,granular"))
        field_not_supported(e, PATH_CHILD(p, "x-kubernetes-map-type"), map, "atomic,granular");
    else if (map && strcmp(type, "object") != 0)
        field_invalid_str(e, &at, type, "must be object if x-kubernetes-map-type is specified");
}

static void check_default(const cJSON *schema, enum place place, const struct field_path *p,
                          struct field_errors *e)
{
    const cJSON *value = json_get(schema, "default");
    const struct field_path at = {p, "default", NULL, 0};
    if (!value || place == IN_LOGIC)
        return;
    cleanup_json cJSON *pruned = json_dup(value);
    structural_prune(schema, pruned, "", NULL);
    if (!json_equal(pruned, value))
        field_invalid(e, &at, value, "must not have unknown fields");
    structural_default(schema, pruned);
    structural_validate(schema, pruned, NULL, &at, e);
}

static void check_values(const cJSON *schema, const struct field_path *p, struct field_errors *e)
{
    static const char *const sizes[][2] = {
        {"minLength", "maxLength"}, {"minItems", "maxItems"}, {"minProperties", "maxProperties"}};
    char why[PATTERN_ERROR_MAX];
    const char *pattern = json_map_str(schema, "pattern");
    if (pattern && !pattern_compiles(pattern, why))
        field_invalid_str(e, PATH_CHILD(p, "pattern"), pattern,
                          "must be a valid regular expression, but isn't: %s", why);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t k = 0; k < 2; k++)
            check_non_negative(schema, sizes[i][k], p, e);
    if (json_get(schema, "multipleOf") && json_get(schema, "multipleOf")->valuedouble <= 0)
        field_invalid(e, PATH_CHILD(p, "multipleOf"), json_get(schema, "multipleOf"),
                      "must be greater than 0");
}

static void check_children(const cJSON *schema, enum place place, const struct field_path *p,
                           struct field_errors *e)
{
    static const char *const logic[] = {"allOf", "anyOf", "oneOf"};
    const struct field_path properties = {p, "properties", NULL, 0};
    enum place inner = place == IN_LOGIC ? IN_LOGIC : AT_FIELD;
    EACH(property, json_get(schema, "properties"))
    {
        const struct field_path at = {&properties, NULL, property->string, 0};
        /* Of metadata only the name may be restricted. */
        if (place == AT_ROOT && !strcmp(property->string, "metadata")) {
            EACH(m, property)
            if (!one_of(m->string, "type,properties,description"))
                field_forbidden(e, &at,
                                "must not specify anything other than name and generateName, but "
                                "metadata is implicitly specified");
            continue;
        }
        check_schema(property, inner, &at, e);
    }
    const cJSON *more = json_get(schema, "additionalProperties"),
                *items = json_get(schema, "items");
    if (cJSON_IsObject(more))
        check_schema(more, inner, PATH_CHILD(p, "additionalProperties"), e);
    if (cJSON_IsArray(items))
        field_forbidden(e, PATH_CHILD(p, "items"),
                        "items must be a schema object and not an array");
    else if (items)
        check_schema(items, place == IN_LOGIC ? IN_LOGIC : AT_ITEMS, PATH_CHILD(p, "items"), e);
    for (size_t i = 0; i < ARRAY_LEN(logic); i++) {
        const struct field_path list = {p, logic[i], NULL, 0};
        int k = 0;
        EACH(s, json_get(schema, logic[i]))
        check_schema(s, IN_LOGIC, PATH_INDEX(&list, k++), e);
    }
    if (json_get(schema, "not"))
        check_schema(json_get(schema, "not"), IN_LOGIC, PATH_CHILD(p, "not"), e);
}

static void check_schema(const cJSON *schema, enum place place, const struct field_path *p,
                         struct field_errors *e)
{
    size_t before = e->count;
    check_forbidden(schema, place, p, e);
    check_type(schema, place, p, e);
    check_topology(schema, p, e);
    check_values(schema, p, e);
    check_children(schema, place, p, e);
    if (e->count == before) /* only what is sound can judge a value */
        check_default(schema, place, p, e);
}

/* --- versions --- */
static void check_columns(const cJSON *columns, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH(c, columns)
    {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *type = text_of(c, "type"), *path = text_of(c, "jsonPath");
        if (!*text_of(c, "name"))
            field_required(e, PATH_CHILD(&at, "name"), "");
        if (!*type)
            field_required(e, PATH_CHILD(&at, "type"),
                           "must be one of boolean,date,integer,number,string");
        else if (!one_of(type, "integer,number,string,boolean,date"))
            field_invalid_str(e, PATH_CHILD(&at, "type"), type,
                              "must be one of boolean,date,integer,number,string");
        if (!*path)
            field_required(e, PATH_CHILD(&at, "jsonPath"), "");
        else if (*path != '.')
            field_invalid_str(e, PATH_CHILD(&at, "jsonPath"), path,
                              "is invalid: must be a simple json path with leading .");
    }
}

static void check_scale_path(const cJSON *scale, const char *member, const char *below,
                             bool required, const struct field_path *p, struct field_errors *e)
{
    const char *path = text_of(scale, member);
    size_t n = strlen(below);
    if (!*path) {
        if (required)
            field_required(e, PATH_CHILD(p, member), "");
        return;
    }
    bool ok = !strncmp(path, below, n);
    if (!strcmp(member, "labelSelectorPath"))
        ok |= !strncmp(path, ".spec.", 6);
    if (!ok)
        field_invalid_str(e, PATH_CHILD(p, member), path,
                          strcmp(member, "labelSelectorPath")
                              ? "should be a json path under %.*s"
                              : "should be a json path under either .spec or %.*s",
                          (int)n - 1, below);
}

static void check_version(const cJSON *v, const struct field_path *p, struct field_errors *e)
{
    const cJSON *root = json_path(v, "schema.openAPIV3Schema"),
                *scale = json_path(v, "subresources.scale");
    const struct field_path schema = {p, "schema", NULL, 0}, sub = {p, "subresources", NULL, 0};
    check_name(text_of(v, "name"), name_dns1035_label, PATH_CHILD(p, "name"), e);
    if (root)
        check_schema(root, AT_ROOT, PATH_CHILD(&schema, "openAPIV3Schema"), e);
    else
        field_required(e, PATH_CHILD(&schema, "openAPIV3Schema"), "schemas are required");
    check_columns(json_get(v, "additionalPrinterColumns"),
                  PATH_CHILD(p, "additionalPrinterColumns"), e);
    if (*text_of(v, "deprecationWarning") && !json_bool(v, "deprecated", false))
        field_invalid_str(e, PATH_CHILD(p, "deprecationWarning"), text_of(v, "deprecationWarning"),
                          "can only be set for deprecated versions");
    if (!scale)
        return;
    const struct field_path at = {&sub, "scale", NULL, 0};
    check_scale_path(scale, "specReplicasPath", ".spec.", true, &at, e);
    check_scale_path(scale, "statusReplicasPath", ".status.", true, &at, e);
    check_scale_path(scale, "labelSelectorPath", ".status.", false, &at, e);
}

static void check_versions(const cJSON *versions, struct field_errors *e)
{
    const struct field_path list = {SPEC, "versions", NULL, 0};
    int i = 0, stored = 0;
    bool unique = true;
    EACH(v, versions)
    {
        for (const cJSON *before = versions->child; before != v; before = before->next)
            unique &= strcmp(text_of(before, "name"), text_of(v, "name")) != 0;
        stored += json_bool(v, "storage", false);
        check_version(v, PATH_INDEX(&list, i++), e);
    }
    if (!unique)
        field_invalid(e, &list, versions, "must contain unique version names");
    if (stored != 1)
        field_invalid(e, &list, versions,
                      "must have exactly one version marked as storage version");
}

static void check_stored_versions(const cJSON *object, struct field_errors *e)
{
    const struct field_path list = {PATH_ROOT("status"), "storedVersions", NULL, 0};
    const cJSON *versions = json_path(object, "spec.versions"),
                *stored = json_path(object, "status.storedVersions"), *v;
    int i = 0;
    EACH(s, stored)
    {
        const char *name = cJSON_IsString(s) ? s->valuestring : "";
        cJSON_ArrayForEach(v, versions) if (!strcmp(text_of(v, "name"), name)) break;
        if (!v)
            field_invalid_str(e, PATH_INDEX(&list, i), name, "must appear in spec.versions");
        i++;
    }
    cJSON_ArrayForEach(v, versions)
    {
        if (!json_bool(v, "storage", false))
            continue;
        const cJSON *s;
        cJSON_ArrayForEach(s, stored) if (cJSON_IsString(s) &&
                                          !strcmp(s->valuestring, text_of(v, "name"))) break;
        if (!s)
            field_invalid(e, &list, stored, "must have the storage version %s", text_of(v, "name"));
    }
}

/* --- the definition --- */
static void check_names(const cJSON *names, struct field_errors *e)
{
    const struct field_path at = {SPEC, "names", NULL, 0}, shorts = {&at, "shortNames", NULL, 0},
                            categories = {&at, "categories", NULL, 0};
    const char *kind = text_of(names, "kind"), *list = text_of(names, "listKind");
    check_name(text_of(names, "plural"), name_dns1035_label, PATH_CHILD(&at, "plural"), e);
    check_name(text_of(names, "singular"), name_dns1035_label, PATH_CHILD(&at, "singular"), e);
    if (!*kind) {
        field_required(e, PATH_CHILD(&at, "kind"), "");
    } else {
        cleanup_free char *lower = mem_strdup(kind);
        for (char *c = lower; *c; c++)
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c;
        const char *why = name_dns1035_label(lower);
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "kind"), kind,
                              "may have mixed case, but should otherwise match: %s", why);
        if (!strcmp(kind, list))
            field_invalid_str(e, PATH_CHILD(&at, "listKind"), list,
                              "kind and listKind may not be the same");
    }
    int i = 0;
    EACH(s, json_get(names, "shortNames"))
    check_name(cJSON_IsString(s) ? s->valuestring : "", name_dns1035_label,
               PATH_INDEX(&shorts, i++), e);
    i = 0;
    EACH(s, json_get(names, "categories"))
    check_name(cJSON_IsString(s) ? s->valuestring : "", name_dns1035_label,
               PATH_INDEX(&categories, i++), e);
}

static void check_approval(const cJSON *object, const char *group, struct field_errors *e)
{
    const struct field_path annotations = {PATH_ROOT("metadata"), "annotations", NULL, 0};
    const char *approval = json_map_str(json_path(object, "metadata.annotations"), APPROVAL);
    if (!custom_is_protected_group(group))
        return;
    if (!approval || !*approval)
        field_required(e, PATH_KEY(&annotations, APPROVAL),
                       "protected groups must have approval annotation \"" APPROVAL
                       "\", see https://github.com/kubernetes/enhancements/pull/1111");
    else if (strncmp(approval, "unapproved", 10) != 0 && !strstr(approval, "://"))
        field_invalid_str(e, PATH_KEY(&annotations, APPROVAL), approval,
                          "protected groups must have approval annotation \"" APPROVAL
                          "\" with either a URL or a reason starting with \"unapproved\", see "
                          "https://github.com/kubernetes/enhancements/pull/1111");
}

static void check_conversion(const cJSON *conversion, struct field_errors *e)
{
    const struct field_path at = {SPEC, "conversion", NULL, 0};
    const char *strategy = text_of(conversion, "strategy");
    if (*strategy && !one_of(strategy, "None,Webhook"))
        field_not_supported(e, PATH_CHILD(&at, "strategy"), strategy, "None,Webhook");
    else if (!strcmp(strategy, "Webhook") && !json_path(conversion, "webhook.clientConfig"))
        field_required(e, PATH_CHILD(PATH_CHILD(&at, "webhook"), "clientConfig"),
                       "required when strategy is set to Webhook");
    else if (!strcmp(strategy, "None") && json_get(conversion, "webhook"))
        field_forbidden(e, PATH_CHILD(&at, "webhook"),
                        "should not be set when strategy is not set to Webhook");
}

static bool is_established(const cJSON *object)
{
    EACH(c, json_path(object, "status.conditions"))
    if (!strcmp(text_of(c, "type"), "Established"))
        return !strcmp(text_of(c, "status"), "True");
    return false;
}

void validate_customresourcedefinition(const cJSON *object, const cJSON *old, const char *sub,
                                       struct field_errors *e)
{
    validate_custom_meta(object, old, false, e);
    if (old)
        check_stored_versions(object, e);
    if (!strcmp(sub, "status"))
        return;
    const cJSON *spec = json_get(object, "spec"), *names = json_get(spec, "names");
    const char *group = text_of(spec, "group"), *plural = text_of(names, "plural"),
               *scope = text_of(spec, "scope"), *name = json_str_or(object, "metadata.name", "");
    cleanup_free char *wanted = mem_printf("%s.%s", plural, group);
    if (strcmp(name, wanted) != 0)
        field_invalid_str(e, PATH_CHILD(PATH_ROOT("metadata"), "name"), name,
                          "must be spec.names.plural+\".\"+spec.group");
    check_approval(object, group, e);
    if (!*group)
        field_required(e, PATH_CHILD(SPEC, "group"), "");
    else if (name_dns_subdomain(group))
        field_invalid_str(e, PATH_CHILD(SPEC, "group"), group, "%s", name_dns_subdomain(group));
    else if (!strchr(group, '.'))
        field_invalid_str(e, PATH_CHILD(SPEC, "group"), group,
                          "should be a domain with at least one dot");
    if (!*scope)
        field_required(e, PATH_CHILD(SPEC, "scope"), "");
    else if (!one_of(scope, "Cluster,Namespaced"))
        field_not_supported(e, PATH_CHILD(SPEC, "scope"), scope, "Cluster,Namespaced");
    check_versions(json_get(spec, "versions"), e);
    if (json_bool(spec, "preserveUnknownFields", false))
        field_invalid(e, PATH_CHILD(SPEC, "preserveUnknownFields"),
                      json_get(spec, "preserveUnknownFields"),
                      "must be false in order to use defaults in the schema");
    check_names(names, e);
    check_conversion(json_get(spec, "conversion"), e);
    if (!old || !is_established(old))
        return;
    const cJSON *before = json_get(old, "spec");
    const struct field_path at = {SPEC, "names", NULL, 0};
    check_immutable(spec, before, "group", SPEC, e);
    check_immutable(spec, before, "scope", SPEC, e);
    check_immutable(names, json_get(before, "names"), "plural", &at, e);
    check_immutable(names, json_get(before, "names"), "kind", &at, e);
}
