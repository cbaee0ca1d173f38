/* From the body of a request to an object of the kind that the path asks for. */
#include "apiserver/schema/decode.h"
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/json_syntax.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

bool field_validation_parse(const char *text, enum field_validation *out)
{
    if (!text || !*text || !strcmp(text, "Warn"))
        *out = FIELD_VALIDATION_WARN;
    else if (!strcmp(text, "Ignore"))
        *out = FIELD_VALIDATION_IGNORE;
    else if (!strcmp(text, "Strict"))
        *out = FIELD_VALIDATION_STRICT;
    else
        return false;
    return true;
}

static void bad_request(struct error **err, const char *kind, const struct schema_type *t, const char *why)
{
    error_set(err, 400, "BadRequest", "%s in version \"%s\" cannot be handled as a %s: %s", kind, t->version,
              t->name, why);
}

/* The beginning of a body that could not be read, as it is shown: as text when it looks like JSON, else in
 * hex. */
static void add_summary(struct buf *b, const char *body, size_t len)
{
    enum { SHOWN = 30 };
    size_t n = len < SHOWN ? len : SHOWN;
    if (!len)
        buf_adds(b, "<empty>");
    else if (body[0] == '{')
        buf_add(b, body, n);
    else
        for (size_t i = 0; i < n; i++)
            buf_printf(b, "%02x", (unsigned char)body[i]);
    if (len > SHOWN)
        buf_adds(b, " ...");
}

static void unrecognized(struct error **err, const struct schema_type *t, const char *why, const char *body,
                         size_t len)
{
    cleanup_buf struct buf summary = {0};
    add_summary(&summary, body, len);
    error_set(err, 400, "BadRequest",
              "the object provided is unrecognized (must be of type %s): couldn't get version/kind; json "
              "parse error: %s (%s)",
              t->name, why, buf_str(&summary));
}

#define GO_TYPE_META                                                                                         \
    "struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string "                         \
    "\"json:\\\"kind,omitempty\\\"\" }"

/* apiVersion and kind of the document must be those of t, or absent: then they are set. body is for messages
 * only. */
static bool check_kind(const struct schema_type *t, cJSON *o, const char *body, size_t len,
                       struct error **err)
{
    if (!cJSON_IsObject(o)) {
        const char *what = cJSON_IsArray(o)    ? "array"
                           : cJSON_IsString(o) ? "string"
                           : cJSON_IsNumber(o) ? "number"
                                               : "bool";
        cleanup_free char *why =
            mem_printf("json: cannot unmarshal %s into Go value of type " GO_TYPE_META, what);
        unrecognized(err, t, why, body, len);
        return false;
    }
    static const char *const names[] = {"apiVersion", "kind"};
    for (int i = 0; i < 2; i++) {
        cJSON *v = json_get(o, names[i]);
        if (!v || cJSON_IsString(v) || cJSON_IsNull(v))
            continue;
        const char *what = cJSON_IsArray(v)    ? "array"
                           : cJSON_IsObject(v) ? "object"
                           : cJSON_IsNumber(v) ? "number"
                                               : "bool";
        cleanup_free char *why =
            mem_printf("json: cannot unmarshal %s into Go struct field .%s of type string", what, names[i]);
        unrecognized(err, t, why, body, len);
        return false;
    }
    bool meta = !strcmp(t->group, "meta.k8s.io");
    cleanup_free char *want = mem_printf("%s%s%s", t->group, *t->group ? "/" : "", t->version);
    const char *kind = json_str_or(o, "kind", ""), *version = json_str_or(o, "apiVersion", "");
    if (*kind && strcmp(kind, t->name)) {
        const struct schema_type *other = *version ? schema_find_api_version(version, kind) : NULL;
        cleanup_free char *why =
            other ? mem_printf("converting (%s.%s) to (%s.%s): unknown conversion", other->version,
                               other->name, *t->group ? t->group : "core", t->name)
                  : mem_printf("no kind \"%.200s\" is registered for version \"%.200s\" in scheme "
                               "\"pkg/api/legacyscheme/scheme.go:30\"",
                               kind, *version ? version : want);
        bad_request(err, kind, t, why);
        return false;
    }
    /* DeleteOptions and its like come under every group's version. */
    if (*version && strcmp(version, want) && !meta) {
        error_set(err, 400, "BadRequest",
                  "the API version in the data (%.200s) does not match the expected API version (%s)",
                  version, want);
        return false;
    }
    if (!*kind)
        json_map_set_str(o, "kind", t->name);
    if (!*version)
        json_map_set_str(o, "apiVersion", meta ? "v1" : want);
    return true;
}

static bool decode_checked(const struct schema_type *t, cJSON *o, enum field_validation fv,
                           void (*warn)(void *, const char *), void *ctx, struct error **err)
{
    cleanup_strict_errors struct strict_errors strict = {0};
    cleanup_error struct error *e = NULL;
    if (!schema_decode(t, o, fv == FIELD_VALIDATION_IGNORE ? NULL : &strict, &e)) {
        bad_request(err, t->name, t, error_message(e));
        return false;
    }
    if (strict.count && fv == FIELD_VALIDATION_STRICT) {
        cleanup_free char *text = strict_errors_text(&strict);
        bad_request(err, t->name, t, text);
        return false;
    }
    for (size_t i = 0; warn && i < strict.count; i++)
        warn(ctx, strict.items[i]);
    return true;
}

bool schema_decode_object(const struct schema_type *t, cJSON *object, enum field_validation fv,
                          void (*warn)(void *, const char *), void *ctx, struct error **err)
{
    cleanup_free char *text = cJSON_IsObject(object) ? NULL : json_text(object);
    return check_kind(t, object, text ? text : "", text ? strlen(text) : 0, err) &&
           decode_checked(t, object, fv, warn, ctx, err);
}

cJSON *schema_decode_body(const struct schema_type *t, const char *body, size_t len, enum field_validation fv,
                          void (*warn)(void *, const char *), void *ctx, struct error **err)
{
    cleanup_error struct error *e = NULL;
    cleanup_free char *syntax = json_syntax_error(body, len);
    cJSON *o = syntax ? NULL : json_parse(body, len, &e);
    if (!o) {
        unrecognized(err, t, syntax ? syntax : error_message(e), body ? body : "", len);
        return NULL;
    }
    if (cJSON_IsNull(o)) /* Go reads it as an empty struct */
        o->type = cJSON_Object;
    if (!check_kind(t, o, body, len, err) || !decode_checked(t, o, fv, warn, ctx, err)) {
        cJSON_Delete(o);
        return NULL;
    }
    return o;
}
