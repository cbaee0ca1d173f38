/* Structural schemas: validation, in the words of kube-openapi's validator. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

#define INT_OR_STRING "x-kubernetes-int-or-string"

/* A list longer than this is not searched for equal items: that takes the square of its length. */
enum { COMPARED_MAX = 2000 };

static bool flag(const cJSON *schema, const char *name)
{
    return cJSON_IsTrue(json_get(schema, name));
}

static const char *kind_of(const cJSON *v)
{
    if (cJSON_IsNumber(v))
        return fmod(v->valuedouble, 1) == 0 ? "integer" : "number";
    return cJSON_IsString(v)   ? "string"
           : cJSON_IsBool(v)   ? "boolean"
           : cJSON_IsArray(v)  ? "array"
           : cJSON_IsObject(v) ? "object"
                               : "null";
}

static bool has_type(const cJSON *v, const char *type)
{
    const char *is = kind_of(v);
    return !strcmp(is, type) || (!strcmp(type, "number") && !strcmp(is, "integer"));
}

static void check_type(const cJSON *schema, const cJSON *v, const struct field_path *p,
                       struct field_errors *e)
{
    const char *type = json_map_str(schema, "type");
    bool either = flag(schema, INT_OR_STRING);
    if (either ? has_type(v, "integer") || has_type(v, "string")
               : !type || !*type || has_type(v, type))
        return;
    cleanup_free char *path = field_path_text(p);
    field_invalid_str(e, p, kind_of(v), "%s in body must be of type %s: \"%s\"", path,
                      either ? "integer,string" : type, kind_of(v));
}

static void check_string(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    const cJSON *min = json_get(schema, "minLength"), *max = json_get(schema, "maxLength");
    const char *pattern = json_map_str(schema, "pattern"), *format = json_map_str(schema, "format");
    if (!min && !max && !pattern && !format)
        return;
    cleanup_free char *path = field_path_text(p);
    size_t length = 0; /* in characters */
    for (const char *c = v->valuestring; *c; c++)
        length += (*c & 0xc0) != 0x80;
    if (max && length > max->valuedouble)
        field_too_long(e, p, (int)max->valuedouble);
    if (min && length < min->valuedouble)
        field_invalid_str(e, p, v->valuestring, "%s in body should be at least %.0f chars long",
                          path, min->valuedouble);
    if (pattern && !pattern_matches(pattern, v->valuestring))
        field_invalid_str(e, p, v->valuestring, "%s in body should match '%s'", path, pattern);
    if (format && !format_matches(format, v->valuestring))
        field_invalid_str(e, p, v->valuestring, "%s in body must be of type %s: \"%s\"", path,
                          format, v->valuestring);
}

/* Go prints a bound like this. */
static void bound(char out[32], double n)
{
    if (fabs(n) < 1e21 && fmod(n, 1) == 0)
        snprintf(out, 32, "%.0f", n);
    else
        snprintf(out, 32, "%g", n);
}

static void check_number(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    const cJSON *min = json_get(schema, "minimum"), *max = json_get(schema, "maximum"),
                *step = json_get(schema, "multipleOf");
    const char *format = json_map_str(schema, "format");
    bool above = flag(schema, "exclusiveMinimum"), below = flag(schema, "exclusiveMaximum");
    bool int32 = format && !strcmp(format, "int32");
    double n = v->valuedouble;
    char text[32];
    if (!min && !max && !step && !int32)
        return;
    cleanup_free char *path = field_path_text(p);
    if (step && step->valuedouble > 0 && fmod(n, step->valuedouble) != 0) {
        bound(text, step->valuedouble);
        field_invalid(e, p, v, "%s in body should be a multiple of %s", path, text);
    }
    if (max && (n > max->valuedouble || (below && n == max->valuedouble))) {
        bound(text, max->valuedouble);
        field_invalid(e, p, v, "%s in body should be less than %s%s", path,
                      below ? "" : "or equal to ", text);
    }
    if (min && (n < min->valuedouble || (above && n == min->valuedouble))) {
        bound(text, min->valuedouble);
        field_invalid(e, p, v, "%s in body should be greater than %s%s", path,
                      above ? "" : "or equal to ", text);
    }
    if (int32 && (n < INT32_MIN || n > INT32_MAX))
        field_invalid(e, p, v, "Checked value must be of type integer with format int32");
}

static void check_enum(const cJSON *schema, const cJSON *v, const struct field_path *p,
                       struct field_errors *e)
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

/* --- lists --- */
/* Two items with one value (set; keys NULL) or with the same keys (map). */
static bool same_item(const cJSON *a, const cJSON *b, const cJSON *keys)
{
    if (!keys)
        return json_equal(a, b);
    const cJSON *k;
    cJSON_ArrayForEach(k, keys)
    {
        const char *name = cJSON_IsString(k) ? k->valuestring : "";
        const cJSON *x = json_get(a, name), *y = json_get(b, name);
        if (!(x == y || (x && y && json_equal(x, y))))
            return false;
    }
    return true;
}

/* How the keys of an item are shown: map[string]interface {}{"a":1}. */
static void duplicate(const cJSON *item, const cJSON *keys, const struct field_path *p,
                      struct field_errors *e)
{
    if (!keys) {
        field_duplicate(e, p, item);
        return;
    }
    cleanup_json cJSON *shown = cJSON_CreateObject();
    const cJSON *k;
    cJSON_ArrayForEach(k, keys)
    {
        const cJSON *v = cJSON_IsString(k) ? json_get(item, k->valuestring) : NULL;
        if (v)
            json_map_set(shown, k->valuestring, json_dup(v));
    }
    field_duplicate(e, p, shown);
}

static void check_unique(const cJSON *schema, const cJSON *v, const struct field_path *p,
                         struct field_errors *e)
{
    const char *type = json_map_str(schema, "x-kubernetes-list-type");
    bool map = type && !strcmp(type, "map");
    if (!type || (!map && strcmp(type, "set") != 0) || cJSON_GetArraySize(v) > COMPARED_MAX)
        return;
    const cJSON *keys = map ? json_get(schema, "x-kubernetes-list-map-keys") : NULL, *a, *b;
    int i = 0;
    cJSON_ArrayForEach(a, v)
    {
        for (b = v->child; b != a && !same_item(a, b, keys); b = b->next)
            ;
        if (b != a)
            duplicate(a, keys, PATH_INDEX(p, i), e);
        i++;
    }
}

/* The item of the old list that an item of a map-like list is a new state of. */
static const cJSON *counterpart(const cJSON *schema, const cJSON *old, const cJSON *item)
{
    const cJSON *keys = json_get(schema, "x-kubernetes-list-map-keys"), *o;
    const char *type = json_map_str(schema, "x-kubernetes-list-type");
    if (!type || strcmp(type, "map") != 0 || !keys || cJSON_GetArraySize(old) > COMPARED_MAX)
        return NULL;
    cJSON_ArrayForEach(o, old)
    {
        if (same_item(o, item, keys))
            return o;
    }
    return NULL;
}

static void check_array(const cJSON *schema, const cJSON *v, const cJSON *old,
                        const struct field_path *p, struct field_errors *e)
{
    const cJSON *min = json_get(schema, "minItems"), *max = json_get(schema, "maxItems"),
                *items = json_get(schema, "items"), *c;
    int n = cJSON_GetArraySize(v), i = 0;
    if (max && n > max->valuedouble) {
        field_too_many(e, p, n, (int)max->valuedouble);
        return;
    }
    if (min && n < min->valuedouble) {
        cleanup_free char *path = field_path_text(p);
        field_invalid_int(e, p, n, "%s in body should have at least %.0f items", path,
                          min->valuedouble);
    }
    cJSON_ArrayForEach(c, v)
    {
        if (cJSON_IsObject(items))
            structural_validate(items, c, old ? counterpart(schema, old, c) : NULL,
                                PATH_INDEX(p, i), e);
        i++;
    }
    check_unique(schema, v, p, e);
}

/* --- objects --- */
static void check_object(const cJSON *schema, const cJSON *v, const cJSON *old,
                         const struct field_path *p, struct field_errors *e)
{
    const cJSON *required = json_get(schema, "required"),
                *properties = json_get(schema, "properties"),
                *more = json_get(schema, "additionalProperties"),
                *min = json_get(schema, "minProperties"), *max = json_get(schema, "maxProperties"),
                *r, *m;
    static const char *const embedded[] = {"apiVersion", "kind"};
    int n = cJSON_GetArraySize(v);
    if (max && n > max->valuedouble)
        field_too_many(e, p, n, (int)max->valuedouble);
    if (min && n < min->valuedouble) {
        cleanup_free char *path = field_path_text(p);
        field_invalid_int(e, p, n, "%s in body should have at least %.0f properties", path,
                          min->valuedouble);
    }
    for (size_t i = 0; flag(schema, "x-kubernetes-embedded-resource") && i < ARRAY_LEN(embedded); i++) {
        const char *text = json_map_str(v, embedded[i]);
        const struct field_path at = {p, embedded[i], NULL, 0};
        if (!text || !*text)
            field_required(e, &at, "must not be empty");
    }
    cJSON_ArrayForEach(r, required)
    {
        const char *name = cJSON_GetStringValue(r);
        const struct field_path at = {p, name, NULL, 0};
        if (name && !json_get(v, name))
            field_required(e, &at, "");
    }
    cJSON_ArrayForEach(m, v)
    {
        const cJSON *own = json_get(properties, m->string), *before = json_get(old, m->string);
        const struct field_path at = {p, m->string, NULL, 0};
        if (own)
            structural_validate(own, m, before, &at, e);
        else if (cJSON_IsObject(more))
            structural_validate(more, m, before, &at, e);
    }
}

/* --- allOf, anyOf, oneOf, not --- */
static void move_errors(struct field_errors *from, struct field_errors *to)
{
    for (size_t i = 0; i < from->count; i++) {
        if ((to->count & (to->count - 1)) == 0)
            to->items = mem_realloc(to->items, sizeof *to->items * (to->count ? to->count * 2 : 1));
        to->items[to->count++] = from->items[i];
    }
    from->count = 0;
}

/* How many of the alternatives fit; the errors of the one that comes nearest in *best. */
static int alternatives(const cJSON *list, const cJSON *v, const struct field_path *p,
                        struct field_errors *best)
{
    const cJSON *s;
    int good = 0;
    cJSON_ArrayForEach(s, list)
    {
        struct field_errors errors = {0};
        structural_validate(s, v, NULL, p, &errors);
        good += errors.count == 0;
        if (s == list->child || errors.count < best->count) {
            struct field_errors worse = *best;
            *best = errors;
            errors = worse;
        }
        field_errors_clear(&errors);
    }
    return good;
}

static void check_combined(const cJSON *schema, const cJSON *v, const struct field_path *p,
                           struct field_errors *e)
{
    const cJSON *s, *all = json_get(schema, "allOf"), *any = json_get(schema, "anyOf"),
                    *one = json_get(schema, "oneOf"), *no = json_get(schema, "not");
    if (!all && !any && !one && !no)
        return;
    /* These errors belong to no field: Go prints the path of none. */
    const struct field_path *none = PATH_ROOT("<nil>");
    cleanup_free char *path = field_path_text(p);
    if (any) {
        cleanup_field_errors struct field_errors best = {0};
        if (!alternatives(any, v, p, &best)) {
            field_invalid_str(e, none, "", "\"%s\" must validate at least one schema (anyOf)",
                              path);
            move_errors(&best, e);
        }
    }
    if (one) {
        cleanup_field_errors struct field_errors best = {0};
        int good = alternatives(one, v, p, &best);
        if (!good) {
            field_invalid_str(
                e, none, "",
                "\"%s\" must validate one and only one schema (oneOf). Found none valid", path);
            move_errors(&best, e);
        } else if (good > 1) {
            field_invalid_str(
                e, none, "",
                "\"%s\" must validate one and only one schema (oneOf). Found %d valid alternatives",
                path, good);
        }
    }
    size_t before = e->count;
    cJSON_ArrayForEach(s, all) structural_validate(s, v, NULL, p, e);
    if (e->count != before)
        field_invalid_str(e, none, "", "\"%s\" must validate all the schemas (allOf)", path);
    if (no) {
        cleanup_field_errors struct field_errors errors = {0};
        structural_validate(no, v, NULL, p, &errors);
        if (!errors.count)
            field_invalid_str(e, none, "", "\"%s\" must not validate the schema (not)", path);
    }
}

void structural_validate(const cJSON *schema, const cJSON *value, const cJSON *old,
                         const struct field_path *p, struct field_errors *e)
{
    if (cJSON_IsNull(value) && flag(schema, "nullable"))
        return;
    if (old && json_equal(value, old))
        return; /* what was there before a schema became stricter may stay */
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
        check_array(schema, value, old, p, e);
    else if (cJSON_IsObject(value))
        check_object(schema, value, old, p, e);
    check_combined(schema, value, p, e);
}
