/* Structural schemas: pruning, defaulting, validation.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ */
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

static bool flag(const cJSON *schema, const char *name)
{
    return cJSON_IsTrue(json_get(schema, name));
}

#define PRESERVE "x-kubernetes-preserve-unknown-fields"
#define INT_OR_STRING "x-kubernetes-int-or-string"
#define EMBEDDED "x-kubernetes-embedded-resource"

/* The schema of a member that is no property of its own; NULL: there is none. */
static const cJSON *additional(const cJSON *schema)
{
    const cJSON *a = json_get(schema, "additionalProperties");
    return cJSON_IsObject(a) ? a : NULL;
}

/* --- pruning --- */
static bool always_known(const cJSON *schema, const char *name)
{
    return flag(schema, EMBEDDED) &&
           (!strcmp(name, "apiVersion") || !strcmp(name, "kind") || !strcmp(name, "metadata"));
}

void structural_prune(const cJSON *schema, cJSON *value, const char *path, struct strict_errors *strict)
{
    if (cJSON_IsArray(value)) {
        const cJSON *items = json_get(schema, "items");
        int i = 0;
        for (cJSON *v = value->child; v && cJSON_IsObject(items); v = v->next) {
            cleanup_free char *at = mem_printf("%s[%d]", path, i++);
            structural_prune(items, v, at, strict);
        }
        return;
    }
    if (!cJSON_IsObject(value))
        return;
    const cJSON *properties = json_get(schema, "properties"), *more = json_get(schema, "additionalProperties");
    for (cJSON *v = value->child, *next; v; v = next) {
        next = v->next;
        cleanup_free char *at = *path ? mem_printf("%s.%s", path, v->string) : mem_strdup(v->string);
        const cJSON *own = json_get(properties, v->string);
        if (own) {
            structural_prune(own, v, at, strict);
        } else if (cJSON_IsObject(more)) {
            structural_prune(more, v, at, strict);
        } else if (!cJSON_IsTrue(more) && !flag(schema, PRESERVE) && !always_known(schema, v->string)) {
            strict_note(strict, at);
            cJSON_Delete(cJSON_DetachItemViaPointer(value, v));
        }
    }
}

/* --- defaulting --- */
void structural_default(const cJSON *schema, cJSON *value)
{
    if (cJSON_IsArray(value)) {
        const cJSON *items = json_get(schema, "items");
        for (cJSON *v = value->child; v && cJSON_IsObject(items); v = v->next)
            structural_default(items, v);
        return;
    }
    if (!cJSON_IsObject(value))
        return;
    const cJSON *properties = json_get(schema, "properties"), *p, *more = additional(schema);
    cJSON_ArrayForEach(p, properties)
    {
        const cJSON *otherwise = json_get(p, "default");
        cJSON *v = json_get(value, p->string);
        if (otherwise && (!v || (cJSON_IsNull(v) && !flag(p, "nullable")))) {
            json_map_set(value, p->string, json_dup(otherwise));
            v = json_get(value, p->string);
        }
        if (v)
            structural_default(p, v);
    }
    for (cJSON *v = value->child; v && more; v = v->next)
        if (!json_get(properties, v->string))
            structural_default(more, v);
}

/* --- validation --- */
static const char *kind_of(const cJSON *v)
{
    return cJSON_IsString(v)                             ? "string"
           : cJSON_IsBool(v)                             ? "boolean"
           : cJSON_IsArray(v)                            ? "array"
           : cJSON_IsObject(v)                           ? "object"
           : cJSON_IsNull(v)                             ? "null"
           : fmod(v->valuedouble, 1) == 0 ? "integer"
                                                         : "number";
}

static bool has_type(const cJSON *v, const char *type)
{
    const char *is = kind_of(v);
    return !strcmp(is, type) || (!strcmp(type, "number") && !strcmp(is, "integer"));
}

static void check_type(const cJSON *schema, const cJSON *v, const struct field_path *p, struct field_errors *e)
{
    const char *type = json_map_str(schema, "type");
    cleanup_free char *path = field_path_text(p);
    bool either = flag(schema, INT_OR_STRING);
    if (either ? has_type(v, "integer") || has_type(v, "string") : !type || !*type || has_type(v, type))
        return;
    field_invalid_str(e, p, kind_of(v), "%s in body must be of type %s: \"%s\"", path,
                      either ? "integer,string" : type, kind_of(v));
}

/* RE2's classes and groups as POSIX has them. */
static char *posix_pattern(const char *pattern)
{
    struct buf b = {0};
    bool in_class = false;
    for (const char *c = pattern; *c; c++) {
        if (*c == '\\' && c[1]) {
            c++;
            if (*c == 'd')
                buf_adds(&b, in_class ? "0-9" : "[0-9]");
            else if (*c == 'w' && in_class)
                buf_adds(&b, "0-9A-Za-z_");
            else if (in_class)
                buf_addc(&b, *c);
            else
                buf_printf(&b, "\\%c", *c);
            continue;
        }
        in_class = *c == '[' ? true : *c == ']' ? false : in_class;
        buf_addc(&b, *c);
        if (*c == '(' && !strncmp(c + 1, "?:", 2))
            c += 2;
    }
    if (!b.len)
        buf_adds(&b, "");
    return buf_take(&b);
}

static bool matches(const char *pattern, const char *text)
{
    cleanup_free char *posix = posix_pattern(pattern);
    regex_t re;
    if (!posix || regcomp(&re, posix, REG_EXTENDED | REG_NOSUB))
        return true; /* what we cannot read refuses nothing */
    bool ok = !regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    return ok;
}

static void check_string(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    cleanup_free char *path = field_path_text(p);
    const cJSON *min = json_get(schema, "minLength"), *max = json_get(schema, "maxLength");
    const char *pattern = json_map_str(schema, "pattern");
    size_t length = 0; /* in characters */
    for (const char *c = v->valuestring; *c; c++)
        length += (*c & 0xc0) != 0x80;
    if (min && length < min->valuedouble)
        field_invalid_str(e, p, v->valuestring, "%s in body should be at least %.0f chars long", path,
                          min->valuedouble);
    if (max && length > max->valuedouble)
        field_too_long(e, p, (int)max->valuedouble);
    if (pattern && !matches(pattern, v->valuestring))
        field_invalid_str(e, p, v->valuestring, "%s in body should match '%s'", path, pattern);
}

static void check_number(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    cleanup_free char *path = field_path_text(p);
    const cJSON *min = json_get(schema, "minimum"), *max = json_get(schema, "maximum"),
                *step = json_get(schema, "multipleOf");
    bool above = flag(schema, "exclusiveMinimum"), below = flag(schema, "exclusiveMaximum");
    double n = v->valuedouble;
    if (min && (n < min->valuedouble || (above && n == min->valuedouble)))
        field_invalid(e, p, v, "%s in body should be greater than %s%g", path, above ? "" : "or equal to ",
                      min->valuedouble);
    if (max && (n > max->valuedouble || (below && n == max->valuedouble)))
        field_invalid(e, p, v, "%s in body should be less than %s%g", path, below ? "" : "or equal to ",
                      max->valuedouble);
    if (step && step->valuedouble > 0 && fmod(n, step->valuedouble) != 0)
        field_invalid(e, p, v, "%s in body should be a multiple of %g", path, step->valuedouble);
}

static void check_enum(const cJSON *schema, const cJSON *v, const struct field_path *p, struct field_errors *e)
{
    const cJSON *list = json_get(schema, "enum"), *m;
    if (!list)
        return;
    cleanup_buf struct buf all = {0};
    cJSON_ArrayForEach(m, list)
    {
        if (json_equal(m, v))
            return;
        cleanup_free char *text = cJSON_IsString(m) ? mem_strdup(m->valuestring) : json_text(m);
        buf_printf(&all, "%s%s", all.len ? "," : "", text);
    }
    cleanup_free char *bad = cJSON_IsString(v) ? mem_strdup(v->valuestring) : json_text(v);
    field_not_supported(e, p, bad, buf_str(&all));
}

/* Two items with one value (set) or one key (map). */
static bool same_item(const cJSON *a, const cJSON *b, const cJSON *keys)
{
    if (!keys)
        return json_equal(a, b);
    const cJSON *k;
    cJSON_ArrayForEach(k, keys)
    {
        const cJSON *x = json_get(a, cJSON_GetStringValue(k)), *y = json_get(b, cJSON_GetStringValue(k));
        if (!(x == y || (x && y && json_equal(x, y))))
            return false;
    }
    return true;
}

static void check_unique(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    enum { COMPARED_MAX = 2000 };
    const char *type = json_map_str(schema, "x-kubernetes-list-type");
    bool map = type && !strcmp(type, "map");
    if (!type || (!map && strcmp(type, "set") != 0) || cJSON_GetArraySize(v) > COMPARED_MAX)
        return;
    const cJSON *keys = map ? json_get(schema, "x-kubernetes-list-map-keys") : NULL, *a, *b;
    int i = 0;
    cJSON_ArrayForEach(a, v)
    {
        for (b = v->child; b != a; b = b->next)
            if (same_item(a, b, keys)) {
                field_duplicate(e, PATH_INDEX(p, i), a);
                break;
            }
        i++;
    }
}

static void check_array(const cJSON *schema, const cJSON *v, const struct field_path *p,
                        struct field_errors *e)
{
    cleanup_free char *path = field_path_text(p);
    const cJSON *min = json_get(schema, "minItems"), *max = json_get(schema, "maxItems"),
                *items = json_get(schema, "items"), *c;
    int n = cJSON_GetArraySize(v), i = 0;
    if (min && n < min->valuedouble)
        field_invalid_int(e, p, n, "%s in body should have at least %.0f items", path, min->valuedouble);
    if (max && n > max->valuedouble) {
        field_too_many(e, p, n, (int)max->valuedouble);
        return;
    }
    cJSON_ArrayForEach(c, v)
    {
        if (cJSON_IsObject(items))
            structural_validate(items, c, PATH_INDEX(p, i), e);
        i++;
    }
    check_unique(schema, v, p, e);
}

static void check_object(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    const cJSON *required = json_get(schema, "required"), *r, *m,
                *properties = json_get(schema, "properties"), *more = additional(schema);
    const cJSON *min = json_get(schema, "minProperties"), *max = json_get(schema, "maxProperties");
    int n = cJSON_GetArraySize(v);
    cleanup_free char *path = field_path_text(p);
    cJSON_ArrayForEach(r, required)
    {
        const char *name = cJSON_GetStringValue(r);
        if (name && !json_get(v, name))
            field_required(e, p ? PATH_CHILD(p, name) : PATH_ROOT(name), "");
    }
    if (min && n < min->valuedouble)
        field_invalid_int(e, p, n, "%s in body should have at least %.0f properties", path, min->valuedouble);
    if (max && n > max->valuedouble)
        field_too_many(e, p, n, (int)max->valuedouble);
    cJSON_ArrayForEach(m, v)
    {
        const cJSON *own = json_get(properties, m->string);
        const struct field_path at = {p, m->string, NULL, 0}, keyed = {p, NULL, m->string, 0};
        if (own)
            structural_validate(own, m, &at, e);
        else if (more)
            structural_validate(more, m, p ? &keyed : &at, e);
    }
}

static bool is_valid(const cJSON *schema, const cJSON *v, const struct field_path *p)
{
    cleanup_field_errors struct field_errors errors = {0};
    structural_validate(schema, v, p, &errors);
    return errors.count == 0;
}

static void check_combined(const cJSON *schema, const cJSON *v, const struct field_path *p,
                           struct field_errors *e)
{
    const cJSON *s, *any = json_get(schema, "anyOf"), *one = json_get(schema, "oneOf"),
                    *no = json_get(schema, "not");
    cleanup_free char *path = field_path_text(p);
    cJSON_ArrayForEach(s, json_get(schema, "allOf")) structural_validate(s, v, p, e);
    int good = 0;
    cJSON_ArrayForEach(s, any) good += is_valid(s, v, p);
    if (any && !good)
        field_invalid_str(e, p, "", "%s in body must validate at least one schema (anyOf)", path);
    good = 0;
    cJSON_ArrayForEach(s, one) good += is_valid(s, v, p);
    if (one && good != 1)
        field_invalid_str(e, p, "", "%s in body must validate one and only one schema (oneOf)%s", path,
                          good ? ". Found more than one valid alternative" : ". Found none valid");
    if (no && is_valid(no, v, p))
        field_invalid_str(e, p, "", "%s in body must not validate the schema (not)", path);
}

void structural_validate(const cJSON *schema, const cJSON *value, const struct field_path *p,
                         struct field_errors *e)
{
    if (cJSON_IsNull(value) && flag(schema, "nullable"))
        return;
    size_t before = e->count;
    check_type(schema, value, p, e);
    if (e->count != before)
        return;
    check_enum(schema, value, p, e);
    if (cJSON_IsString(value))
        check_string(schema, value, p, e);
    else if (cJSON_IsNumber(value))
        check_number(schema, value, p, e);
    else if (cJSON_IsArray(value))
        check_array(schema, value, p, e);
    else if (cJSON_IsObject(value))
        check_object(schema, value, p, e);
    check_combined(schema, value, p, e);
}
