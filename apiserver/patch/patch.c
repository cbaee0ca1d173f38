/* Which patch it is, and what is common to all. */
#include "apiserver/patch/patch.h"
#include <stdlib.h>
#include <string.h>
#include "apiserver/patch/kinds.h"
#include "apiserver/schema/json_syntax.h"
#include "apiserver/validation/field_errors.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

static const struct {
    const char *content_type;
    enum patch_kind kind;
} types[] = {
    {"application/json-patch+json", PATCH_JSON},
    {"application/merge-patch+json", PATCH_MERGE},
    {"application/strategic-merge-patch+json", PATCH_STRATEGIC},
};

bool patch_kind_parse(const char *content_type, enum patch_kind *out, struct error **err)
{
    size_t n = content_type ? strcspn(content_type, "; ") : 0;
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (n == strlen(types[i].content_type) && !strncasecmp(content_type, types[i].content_type, n)) {
            *out = types[i].kind;
            return true;
        }
    }
    error_set(err, 415, "UnsupportedMediaType",
              "the body of the request was in an unknown format - accepted media types include: "
              "application/json-patch+json, "
              "application/merge-patch+json, application/strategic-merge-patch+json, "
              "application/apply-patch+yaml");
    return false;
}

void patch_error_unprocessable(struct error **err)
{
    error_set(err, 422, "Invalid", "the server rejected our request due to an error in our request");
    if (err && *err && !(*err)->details)
        (*err)->details = mem_strdup("{}");
}

void patch_error_invalid(struct error **err, const char *shown, const char *why)
{
    cleanup_field_errors struct field_errors e = {0};
    field_invalid_str(&e, PATH_ROOT("patch"), shown, "%s", why);
    field_errors_check(&e, "", "", "", err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

/* Go's %+v: "map[a:1 b:[x y]]", keys in order. */
static void add_go_value(const cJSON *v, struct buf *b)
{
    if (cJSON_IsString(v)) {
        buf_adds(b, v->valuestring);
    } else if (cJSON_IsNull(v)) {
        buf_adds(b, "<nil>");
    } else if (cJSON_IsArray(v)) {
        buf_addc(b, '[');
        for (const cJSON *c = v->child; c; c = c->next) {
            if (c != v->child)
                buf_addc(b, ' ');
            add_go_value(c, b);
        }
        buf_addc(b, ']');
    } else if (cJSON_IsObject(v)) {
        int n = cJSON_GetArraySize(v), i = 0;
        cleanup_free const cJSON **sorted = mem_alloc(sizeof *sorted * (size_t)(n + 1));
        for (const cJSON *c = v->child; c; c = c->next)
            sorted[i++] = c;
        qsort(sorted, (size_t)n, sizeof *sorted, by_name);
        buf_adds(b, "map[");
        for (i = 0; i < n; i++) {
            buf_printf(b, "%s%s:", i ? " " : "", sorted[i]->string);
            add_go_value(sorted[i], b);
        }
        buf_addc(b, ']');
    } else {
        json_print(v, b);
    }
}

char *patch_shown(enum patch_kind kind, const cJSON *patched, const char *patch, size_t len)
{
    cleanup_json cJSON *p = kind == PATCH_STRATEGIC ? json_parse(patch, len, NULL) : NULL;
    struct buf b = {0};
    if (p)
        add_go_value(p, &b);
    else
        json_print(patched, &b);
    return buf_take(&b);
}

cJSON *patch_apply(enum patch_kind kind, const struct schema_type *type, const cJSON *target,
                   const cJSON *patch, struct error **err)
{
    if (kind == PATCH_JSON)
        return json_patch_apply(json_dup(target), patch, err);
    if (!cJSON_IsObject(patch)) {
        const char *what = cJSON_IsArray(patch)    ? "array"
                           : cJSON_IsString(patch) ? "string"
                           : cJSON_IsNumber(patch) ? "number"
                                                   : "bool";
        error_set(err, 400, "BadRequest",
                  "error decoding patch: json: cannot unmarshal %s into Go value of type "
                  "map[string]interface {}",
                  what);
        return NULL;
    }
    if (kind == PATCH_MERGE)
        return merge_patch_apply(json_dup(target), patch);
    return strategic_patch_apply(type, json_dup(target), patch, err);
}

cJSON *patch_apply_text(enum patch_kind kind, const struct schema_type *type, const cJSON *target,
                        const char *patch, size_t len, struct error **err)
{
    cleanup_error struct error *e = NULL;
    cleanup_free char *syntax = json_syntax_error(patch, len);
    cleanup_json cJSON *p = syntax ? NULL : json_parse(patch, len, &e);
    if (!p) {
        error_set(err, 400, "BadRequest", "error decoding patch: %s",
                  syntax ? syntax : error_message(e));
        return NULL;
    }
    return patch_apply(kind, type, target, p, err);
}
