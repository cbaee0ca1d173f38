/* metadata of all objects, labels, selectors. */
#include <stdlib.h>
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

enum { ANNOTATIONS_MAX = 256 * 1024 };

const char *text_of(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(json_get(o, name));
    return s ? s : "";
}

void check_name(const char *name, const char *(*check)(const char *), const struct field_path *p,
                struct field_errors *e)
{
    if (!*name) {
        field_required(e, p, "");
        return;
    }
    const char *why = check(name);
    if (why)
        field_invalid_str(e, p, name, "%s", why);
}

void check_non_negative(const cJSON *o, const char *name, const struct field_path *p, struct field_errors *e)
{
    int64_t n = json_int(o, name, 0);
    if (n < 0)
        field_invalid_int(e, PATH_CHILD(p, name), n, NEGATIVE);
}

void check_int_or_port_name(const cJSON *v, const struct field_path *p, struct field_errors *e)
{
    if (cJSON_IsString(v)) {
        const char *why = name_port(v->valuestring);
        if (why)
            field_invalid_str(e, p, v->valuestring, "%s", why);
        return;
    }
    int64_t n = cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
    if (n < 1 || n > 65535)
        field_invalid_int(e, p, n, NOT_A_PORT);
}

void check_immutable(const cJSON *now, const cJSON *old, const char *name, const struct field_path *p,
                     struct field_errors *e)
{
    const cJSON *a = json_get(now, name), *b = json_get(old, name);
    if (!(a == b || json_equal(a, b)))
        field_invalid(e, PATH_CHILD(p, name), a, IMMUTABLE);
}

void check_labels(const cJSON *labels, const struct field_path *p, struct field_errors *e)
{
    EACH (l, labels) {
        const char *why = name_qualified(l->string);
        if (why)
            field_invalid_str(e, p, l->string, "%s", why);
        why = cJSON_IsString(l) ? name_label_value(l->valuestring) : NULL;
        if (why)
            field_invalid_str(e, p, l->valuestring, "%s", why);
    }
}

void check_annotations(const cJSON *annotations, const struct field_path *p, struct field_errors *e)
{
    size_t total = 0;
    EACH (a, annotations) {
        cleanup_free char *lower = mem_strdup(a->string);
        for (char *c = lower; *c; c++)
            if (*c >= 'A' && *c <= 'Z')
                *c = (char)(*c + 32);
        const char *why = name_qualified(lower);
        if (why)
            field_invalid_str(e, p, a->string, "%s", why);
        total += strlen(a->string) + (cJSON_IsString(a) ? strlen(a->valuestring) : 0);
    }
    if (total > ANNOTATIONS_MAX)
        field_too_long(e, p, ANNOTATIONS_MAX);
}

void check_label_selector(const cJSON *selector, const struct field_path *p, struct field_errors *e)
{
    check_labels(json_get(selector, "matchLabels"), PATH_CHILD(p, "matchLabels"), e);
    int i = 0;
    EACH (x, json_get(selector, "matchExpressions")) {
        const struct field_path list = {p, "matchExpressions", NULL, 0}, at = {&list, NULL, NULL, i++};
        const char *op = text_of(x, "operator"), *key = text_of(x, "key");
        const cJSON *values = json_get(x, "values");
        bool has_values = values && values->child;
        if (!strcmp(op, "In") || !strcmp(op, "NotIn")) {
            if (!has_values)
                field_required(e, PATH_CHILD(&at, "values"),
                               "must be specified when `operator` is 'In' or 'NotIn'");
        } else if (!strcmp(op, "Exists") || !strcmp(op, "DoesNotExist")) {
            if (has_values)
                field_forbidden(e, PATH_CHILD(&at, "values"),
                                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        } else {
            field_invalid_str(e, PATH_CHILD(&at, "operator"), op, "not a valid selector operator");
        }
        const char *why = name_qualified(key);
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "key"), key, "%s", why);
        int k = 0;
        EACH (v, values) {
            const struct field_path values_path = {&at, "values", NULL, 0};
            why = cJSON_IsString(v) ? name_label_value(v->valuestring) : NULL;
            if (why)
                field_invalid_str(e, PATH_INDEX(&values_path, k), v->valuestring, "%s", why);
            k++;
        }
    }
}

static void check_owners(const cJSON *owners, const struct field_path *p, struct field_errors *e)
{
    static const char *const required[] = {"kind", "name", "uid"};
    const char *controller = NULL;
    int i = 0;
    EACH (o, owners) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *version = text_of(o, "apiVersion");
        if (!*version)
            field_invalid_str(e, PATH_CHILD(&at, "apiVersion"), version, "version must not be empty");
        for (size_t k = 0; k < ARRAY_LEN(required); k++)
            if (!*text_of(o, required[k]))
                field_invalid_str(e, PATH_CHILD(&at, required[k]), "", "must not be empty");
        if (!strcmp(version, "v1") && !strcmp(text_of(o, "kind"), "Event"))
            field_invalid_str(e, &at, "/v1, Kind=Event", "/v1, Kind=Event is disallowed from being an owner");
        if (!json_bool(o, "controller", false))
            continue;
        if (controller)
            field_invalid(e, p, owners,
                          "Only one reference can have Controller set to true. Found \"true\" in references "
                          "for %s and %s",
                          controller, text_of(o, "name"));
        controller = text_of(o, "name");
    }
}

static void check_finalizers(const cJSON *finalizers, bool any, const struct field_path *p, struct field_errors *e)
{
    bool orphan = false, foreground = false;
    int i = 0;
    EACH (f, finalizers) {
        const char *s = cJSON_IsString(f) ? f->valuestring : "";
        const char *why = name_qualified(s);
        if (why)
            field_invalid_str(e, p, s, "%s", why);
        else if (!any && !strchr(s, '/') && !one_of(s, "kubernetes,orphan,foregroundDeletion"))
            field_invalid_str(e, PATH_INDEX(p, i), s,
                              "name is neither a standard finalizer name nor is it fully qualified");
        orphan |= !strcmp(s, "orphan");
        foreground |= !strcmp(s, "foregroundDeletion");
        i++;
    }
    if (orphan && foreground)
        field_invalid(e, p, finalizers, "finalizer orphan and foregroundDeletion cannot be both set");
}

static void check_meta_update(const cJSON *now, const cJSON *old, const struct field_path *p,
                              struct field_errors *e)
{
    static const char *const fixed[] = {
        "name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(now, old, fixed[i], p, e);
    if (json_int(now, "generation", 0) < json_int(old, "generation", 0))
        field_invalid_int(e, PATH_CHILD(p, "generation"), json_int(now, "generation", 0),
                          "must not be decremented");
    if (!json_get(old, "deletionTimestamp"))
        return;
    cleanup_buf struct buf added = {0};
    cleanup_key_index struct key_index before = {0};
    EACH (f, json_get(old, "finalizers")) {
        if (cJSON_IsString(f))
            key_index_set(&before, f->valuestring, 1);
    }
    EACH (f, json_get(now, "finalizers")) {
        if (cJSON_IsString(f) && !key_index_get(&before, f->valuestring, 0))
            buf_printf(&added, "%s\"%s\"", added.len ? ", " : "", f->valuestring);
    }
    if (added.len)
        field_forbidden(e, PATH_CHILD(p, "finalizers"),
                        "no new finalizers can be added if the object is being deleted, found new finalizers "
                        "[]string{%s}",
                        buf_str(&added));
}

static void check_meta(const cJSON *object, const cJSON *old, bool namespaced, enum name_rule rule,
                       bool any_finalizer, struct field_errors *e)
{
    const struct field_path *p = PATH_ROOT("metadata");
    const cJSON *meta = json_get(object, "metadata");
    const char *name = text_of(meta, "name"), *prefix = text_of(meta, "generateName"),
               *ns = text_of(meta, "namespace");
    const char *why = *prefix ? name_by_rule(rule, prefix, true) : NULL;
    if (why)
        field_invalid_str(e, PATH_CHILD(p, "generateName"), prefix, "%s", why);
    if (!*name) {
        field_required(e, PATH_CHILD(p, "name"), "name or generateName is required");
    } else if ((why = name_by_rule(rule, name, false))) {
        field_invalid_str(e, PATH_CHILD(p, "name"), name, "%s", why);
    }
    if (namespaced)
        check_name(ns, name_dns_label, PATH_CHILD(p, "namespace"), e);
    else if (*ns)
        field_forbidden(e, PATH_CHILD(p, "namespace"), "not allowed on this type");
    check_non_negative(meta, "generation", p, e);
    check_labels(json_get(meta, "labels"), PATH_CHILD(p, "labels"), e);
    check_annotations(json_get(meta, "annotations"), PATH_CHILD(p, "annotations"), e);
    check_owners(json_get(meta, "ownerReferences"), PATH_CHILD(p, "ownerReferences"), e);
    check_finalizers(json_get(meta, "finalizers"), any_finalizer, PATH_CHILD(p, "finalizers"), e);
    if (old)
        check_meta_update(meta, json_get(old, "metadata"), p, e);
}

void validate_object_meta(const cJSON *object, const cJSON *old, bool namespaced, enum name_rule rule,
                          struct field_errors *e)
{
    check_meta(object, old, namespaced, rule, false, e);
}

void validate_custom_meta(const cJSON *object, const cJSON *old, bool namespaced, struct field_errors *errors)
{
    check_meta(object, old, namespaced, NAME_DNS_SUBDOMAIN, true, errors);
}

void validate_generic(const cJSON *object, const cJSON *old, bool namespaced, struct field_errors *errors)
{
    validate_object_meta(object, old, namespaced, NAME_PATH_SEGMENT, errors);
}
