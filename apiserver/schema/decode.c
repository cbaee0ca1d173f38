/* Decoding of documents against their types. Mirrors what encoding/json (in Kubernetes' variant) does with Go
 * structs: https://pkg.go.dev/sigs.k8s.io/json */
#include "apiserver/schema/decode.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/timefmt.h"

#define STRICT_MAX 100

/* Where the decoder is: a chain on the stack from the innermost step outwards. */
struct step {
    const struct step *parent;
    const char *name; /* a struct's field or a map's key; NULL: an index */
    int index;
    bool key; /* name is a map's key: shown by strict errors only */
};
struct decoder {
    struct strict_errors *strict;
    struct error **err;
};

void strict_errors_clear(struct strict_errors *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->items[i]);
    free(s->items);
    *s = (struct strict_errors){0};
}

char *strict_errors_text(const struct strict_errors *s)
{
    struct buf b = {0};
    buf_adds(&b, "strict decoding error: ");
    for (size_t i = 0; i < s->count; i++) {
        if (i)
            buf_adds(&b, ", ");
        buf_adds(&b, s->items[i]);
    }
    return buf_take(&b);
}

/* "spec.containers[0].name" for strict errors, "spec.containers.name" for type errors. */
static void add_path(const struct step *s, bool strict, struct buf *b)
{
    if (!s)
        return;
    add_path(s->parent, strict, b);
    if (s->name) {
        if (s->key && !strict)
            return;
        if (b->len)
            buf_addc(b, '.');
        buf_adds(b, s->name);
    } else if (strict) {
        buf_printf(b, "[%d]", s->index);
    }
}

static void note(struct decoder *d, const char *what, const struct step *at)
{
    struct strict_errors *s = d->strict;
    if (!s || s->count >= STRICT_MAX)
        return;
    struct buf b = {0};
    cleanup_buf struct buf path = {0};
    add_path(at, true, &path);
    buf_printf(&b, "%s field \"%s\"", what, buf_str(&path));
    s->items = mem_realloc(s->items, sizeof *s->items * (s->count + 1));
    s->items[s->count++] = buf_take(&b);
}

/* --- type errors --- */
static const char *json_kind(const cJSON *v)
{
    switch (v->type & 0xff) {
    case cJSON_String:
        return "string";
    case cJSON_Number:
        return "number";
    case cJSON_Array:
        return "array";
    case cJSON_Object:
        return "object";
    default:
        return "bool";
    }
}

static void add_go_value_type(const struct schema_field *f, struct buf *b)
{
    static const char *const plain[] = {
        [SCHEMA_STRING] = "string",
        [SCHEMA_BOOL] = "bool",
        [SCHEMA_INT32] = "int32",
        [SCHEMA_INT64] = "int64",
        [SCHEMA_DOUBLE] = "float64",
        [SCHEMA_BYTES] = "[]uint8",
        [SCHEMA_QUANTITY] = "resource.Quantity",
        [SCHEMA_TIME] = "v1.Time",
        [SCHEMA_MICROTIME] = "v1.MicroTime",
        [SCHEMA_DURATION] = "v1.Duration",
        [SCHEMA_INT_OR_STRING] = "intstr.IntOrString",
        [SCHEMA_RAW] = "runtime.RawExtension",
        [SCHEMA_FIELDS_V1] = "v1.FieldsV1",
        [SCHEMA_ANY] = "v1.JSON",
    };
    if (f->go_type)
        buf_adds(b, f->go_type);
    else if (f->type)
        buf_printf(b, "%s.%s", f->type->version, f->type->name);
    else
        buf_adds(b, plain[f->value]);
}

/* whole: the field's own type, else that of one element. */
static bool mismatch(struct decoder *d, const struct schema_type *owner, const struct schema_field *f,
                     bool whole, const cJSON *v, const struct step *at)
{
    cleanup_buf struct buf path = {0}, type = {0}, value = {0};
    add_path(at, false, &path);
    if (whole && f->shape == SCHEMA_LIST)
        buf_adds(&type, "[]");
    if (whole && f->shape == SCHEMA_MAP && f->value == SCHEMA_QUANTITY)
        buf_adds(&type, "v1.ResourceList");
    else {
        if (whole && f->shape == SCHEMA_MAP)
            buf_adds(&type, "map[string]");
        if (whole && f->shape == SCHEMA_MAP_OF_LISTS)
            buf_adds(&type, "map[string][]");
        add_go_value_type(f, &type);
    }
    buf_adds(&value, json_kind(v));
    if (cJSON_IsNumber(v) && (whole ? f->shape == SCHEMA_ONE : true) &&
        (f->value == SCHEMA_INT32 || f->value == SCHEMA_INT64)) {
        buf_addc(&value, ' ');
        json_print(v, &value);
    }
    error_setf(d->err, "json: cannot unmarshal %s into Go struct field %s.%s of type %s", buf_str(&value),
               owner->name, buf_str(&path), buf_str(&type));
    return false;
}

/* A type that decodes itself does not know which field it is. */
static bool mismatch_value(struct decoder *d, const cJSON *v, const char *go_type)
{
    cleanup_buf struct buf value = {0};
    buf_adds(&value, json_kind(v));
    if (cJSON_IsNumber(v) && !strncmp(go_type, "int", 3)) {
        buf_addc(&value, ' ');
        json_print(v, &value);
    }
    error_setf(d->err, "json: cannot unmarshal %s into Go value of type %s", buf_str(&value), go_type);
    return false;
}

static bool is_integer(const cJSON *v, double min, double max)
{
    return cJSON_IsNumber(v) && v->valuedouble >= min && v->valuedouble <= max &&
           v->valuedouble == floor(v->valuedouble);
}

static void set_string(cJSON *v, const char *text)
{
    if (cJSON_IsString(v) && !strcmp(v->valuestring, text))
        return;
    char *copy = mem_strdup(text);
    if (cJSON_IsString(v))
        cJSON_free(v->valuestring);
    v->type = cJSON_String | (v->type & cJSON_StringIsConst);
    v->valuestring = copy;
}

/* --- values --- */
static bool decode_quantity(struct decoder *d, cJSON *v)
{
    char number[64];
    const char *text = v->valuestring;
    if (cJSON_IsNumber(v)) {
        cleanup_buf struct buf b = {0};
        json_print(v, &b);
        if (b.len >= sizeof number)
            return mismatch_value(d, v, "resource.Quantity");
        text = strcpy(number, buf_str(&b));
    } else if (!cJSON_IsString(v)) {
        error_setf(
            d->err,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
        return false;
    }
    if (!*text)
        text = "0";
    struct quantity q;
    if (!quantity_parse(text, &q)) {
        const char *s = text + strspn(text, "+-");
        size_t digits = strspn(s, "0123456789.");
        size_t suffix = strspn(s + digits, "eEinumkKMGTP");
        const char *rest = s + digits + suffix;
        rest += strspn(rest, "+-");
        rest += strspn(rest, "0123456789");
        error_setf(d->err, digits && !*rest && suffix ? "unable to parse quantity's suffix"
                                                      : "quantities must match the regular expression "
                                                        "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'");
        return false;
    }
    char out[QUANTITY_TEXT_MAX];
    set_string(v, quantity_print(q, out));
    return true;
}

static bool decode_time(struct decoder *d, cJSON *v, bool micro)
{
    if (!cJSON_IsString(v))
        return mismatch_value(d, v, "string");
    int64_t us;
    if (!time_parse(v->valuestring, &us)) {
        const char *layout = micro ? "2006-01-02T15:04:05.000000Z07:00" : "2006-01-02T15:04:05Z07:00";
        error_setf(d->err, "parsing time \"%.60s\" as \"%s\": cannot parse \"%.60s\" as \"2006\"",
                   v->valuestring, layout, v->valuestring);
        return false;
    }
    char out[TIME_TEXT_MAX];
    int64_t seconds = us / 1000000 - (us % 1000000 < 0 ? 1 : 0);
    set_string(v, micro ? time_format_micro(us, out) : time_format(seconds, out));
    return true;
}

static bool decode_bytes(struct decoder *d, cJSON *v)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *s = v->valuestring;
    char *w = v->valuestring; /* line ends are dropped, as Go does */
    size_t n = 0, pad = 0;
    for (size_t i = 0; s[i]; i++) {
        if (s[i] == '\r' || s[i] == '\n')
            continue;
        bool ok = s[i] == '=' ? (n % 4 >= 2 && pad < 2) : !pad && strchr(alphabet, s[i]);
        if (!ok) {
            error_setf(d->err, "illegal base64 data at input byte %zu", i);
            return false;
        }
        pad += s[i] == '=';
        n++;
        *w++ = s[i];
    }
    *w = '\0';
    if (n % 4) {
        error_setf(d->err, "illegal base64 data at input byte %zu", n - n % 4);
        return false;
    }
    return true;
}

static bool decode_message(struct decoder *d, const struct schema_type *t, cJSON *o, const struct step *at);

/* One value (a field of shape ONE, or one element). */
static bool decode_value(struct decoder *d, const struct schema_type *owner, const struct schema_field *f,
                         cJSON *v, const struct step *at)
{
    switch ((enum schema_value)f->value) {
    case SCHEMA_STRING:
        return cJSON_IsString(v) || mismatch(d, owner, f, false, v, at);
    case SCHEMA_BOOL:
        return cJSON_IsBool(v) || mismatch(d, owner, f, false, v, at);
    case SCHEMA_INT32:
        return is_integer(v, INT32_MIN, INT32_MAX) || mismatch(d, owner, f, false, v, at);
    case SCHEMA_INT64:
        return is_integer(v, -0x1p63, 0x1p63) || mismatch(d, owner, f, false, v, at);
    case SCHEMA_DOUBLE:
        return cJSON_IsNumber(v) || mismatch(d, owner, f, false, v, at);
    case SCHEMA_BYTES:
        return cJSON_IsString(v) ? decode_bytes(d, v) : mismatch(d, owner, f, false, v, at);
    case SCHEMA_TIME:
        return decode_time(d, v, false);
    case SCHEMA_MICROTIME:
        return decode_time(d, v, true);
    case SCHEMA_DURATION:
        return cJSON_IsString(v) || mismatch_value(d, v, "string");
    case SCHEMA_QUANTITY:
        return decode_quantity(d, v);
    case SCHEMA_INT_OR_STRING:
        return cJSON_IsString(v) || is_integer(v, INT32_MIN, INT32_MAX) || mismatch_value(d, v, "int32");
    case SCHEMA_RAW:
    case SCHEMA_ANY:
    case SCHEMA_FIELDS_V1:
        return true;
    case SCHEMA_MESSAGE:
        return cJSON_IsObject(v) ? decode_message(d, f->type, v, at) : mismatch(d, owner, f, false, v, at);
    case SCHEMA_PROPS_OR_BOOL:
        if (cJSON_IsBool(v))
            return true;
        break;
    case SCHEMA_PROPS_OR_ARRAY:
        if (cJSON_IsArray(v)) {
            int i = 0;
            for (cJSON *c = v->child; c; c = c->next) {
                struct step s = {at, NULL, i++, false};
                if (!cJSON_IsObject(c))
                    return mismatch(d, owner, f, false, c, at);
                if (!decode_message(d, f->type, c, &s))
                    return false;
            }
            return true;
        }
        break;
    case SCHEMA_PROPS_OR_STRINGS:
        if (cJSON_IsArray(v)) {
            for (cJSON *c = v->child; c; c = c->next)
                if (!cJSON_IsString(c))
                    return mismatch(d, owner, f, false, c, at);
            return true;
        }
        break;
    }
    return cJSON_IsObject(v) ? decode_message(d, f->type, v, at) : mismatch(d, owner, f, false, v, at);
}

/* What Go's zero value of an element looks like in JSON: a null in a list or map becomes it. */
static void null_to_zero(cJSON *v, const struct schema_field *f)
{
    switch ((enum schema_value)f->value) {
    case SCHEMA_BOOL:
        v->type = cJSON_False;
        break;
    case SCHEMA_INT32:
    case SCHEMA_INT64:
    case SCHEMA_DOUBLE:
    case SCHEMA_INT_OR_STRING:
        v->type = cJSON_Number;
        v->valuedouble = v->valueint = 0;
        break;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
    case SCHEMA_DURATION:
        set_string(v, "");
        break;
    case SCHEMA_QUANTITY:
        set_string(v, "0");
        break;
    case SCHEMA_MESSAGE:
    case SCHEMA_RAW:
        v->type = cJSON_Object;
        break;
    default:
        break;
    }
}

static bool decode_list(struct decoder *d, const struct schema_type *owner, const struct schema_field *f,
                        cJSON *v, const struct step *at)
{
    int i = 0;
    for (cJSON *c = v->child; c; c = c->next) {
        struct step s = {at, NULL, i++, false};
        if (cJSON_IsNull(c))
            null_to_zero(c, f);
        else if (!decode_value(d, owner, f, c, &s))
            return false;
    }
    return true;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

/* Of members with one name the last stays. Sorts, since a map may have very many. */
static void drop_duplicate_keys(struct decoder *d, cJSON *o, const struct step *at)
{
    int n = cJSON_GetArraySize(o);
    if (n < 2)
        return;
    struct item {
        cJSON *v;
        int order;
    };
    cleanup_free struct item *items = mem_alloc(sizeof *items * (size_t)n);
    int i = 0;
    for (cJSON *c = o->child; c; c = c->next, i++)
        items[i] = (struct item){c, i};
    qsort(items, (size_t)n, sizeof *items, by_key);
    for (int from = 0; from < n;) {
        int to = from + 1, last = from;
        while (to < n && !strcmp(items[from].v->string, items[to].v->string)) {
            if (items[to].order > items[last].order)
                last = to;
            to++;
        }
        if (to - from > 1) {
            struct step s = {at, items[last].v->string, 0, true};
            note(d, "duplicate", &s);
            for (int k = from; k < to; k++)
                if (k != last)
                    cJSON_Delete(cJSON_DetachItemViaPointer(o, items[k].v));
        }
        from = to;
    }
}

static bool decode_map(struct decoder *d, const struct schema_type *owner, const struct schema_field *f,
                       cJSON *v, const struct step *at)
{
    drop_duplicate_keys(d, v, at);
    for (cJSON *c = v->child, *next; c; c = next) {
        next = c->next;
        struct step s = {at, c->string, 0, true};
        if (f->shape == SCHEMA_MAP_OF_LISTS) {
            if (cJSON_IsNull(c))
                cJSON_Delete(cJSON_DetachItemViaPointer(v, c));
            else if (!cJSON_IsArray(c))
                return mismatch(d, owner, f, true, c, at);
            else if (!decode_list(d, owner, f, c, &s))
                return false;
        } else if (cJSON_IsNull(c)) {
            null_to_zero(c, f);
        } else if (!decode_value(d, owner, f, c, &s)) {
            return false;
        }
    }
    return true;
}

/* Would Go leave this field out (omitempty)? */
static bool is_omitted(const struct schema_field *f, const cJSON *v)
{
    if (f->flags & SCHEMA_REQUIRED)
        return false;
    if (f->shape != SCHEMA_ONE)
        return !v->child;
    if (f->flags & SCHEMA_KEEP_ZERO)
        return false;
    switch ((enum schema_value)f->value) {
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        return cJSON_IsString(v) && !*v->valuestring;
    case SCHEMA_BOOL:
        return cJSON_IsFalse(v);
    case SCHEMA_INT32:
    case SCHEMA_INT64:
        return cJSON_IsNumber(v) && v->valuedouble == 0;
    default:
        return false;
    }
}

static bool decode_field(struct decoder *d, const struct schema_type *t, const struct schema_field *f,
                         cJSON *v, const struct step *at)
{
    switch ((enum schema_shape)f->shape) {
    case SCHEMA_LIST:
        return cJSON_IsArray(v) ? decode_list(d, t, f, v, at) : mismatch(d, t, f, true, v, at);
    case SCHEMA_MAP:
    case SCHEMA_MAP_OF_LISTS:
        return cJSON_IsObject(v) ? decode_map(d, t, f, v, at) : mismatch(d, t, f, true, v, at);
    default:
        return decode_value(d, t, f, v, at);
    }
}

static void add_value_structs(const struct schema_type *t, cJSON *o)
{
    for (uint16_t i = 0; i < t->field_count; i++) {
        const struct schema_field *f = &t->fields[i];
        if (!(f->flags & SCHEMA_VALUE) || json_get(o, f->name))
            continue;
        cJSON *empty = cJSON_CreateObject();
        add_value_structs(f->type, empty);
        cJSON_AddItemToObject(o, f->name, empty);
    }
}

static bool decode_message(struct decoder *d, const struct schema_type *t, cJSON *o, const struct step *at)
{
    uint64_t seen = 0; /* by the field's index (mkschema refuses types with more than 62); two more for
                          apiVersion, kind */
    for (cJSON *v = o->child, *next; v; v = next) {
        next = v->next;
        struct step s = {at, v->string, 0, false};
        const struct schema_field *f = schema_field(t, v->string);
        int slot = f ? (int)(f - t->fields) : v->string[0] == 'k' ? 62 : 63;
        if (!f && !((t->flags & SCHEMA_IS_KIND) &&
                    (!strcmp(v->string, "apiVersion") || !strcmp(v->string, "kind")))) {
            if (t->flags & SCHEMA_PRESERVE_UNKNOWN)
                continue;
            note(d, "unknown", &s);
            cJSON_Delete(cJSON_DetachItemViaPointer(o, v));
            continue;
        }
        if (seen & (uint64_t)1 << slot) {
            note(d, "duplicate", &s);
            cJSON *earlier = json_get(o, v->string); /* gone already if it was null or empty */
            if (earlier != v)
                cJSON_Delete(cJSON_DetachItemViaPointer(o, earlier));
        }
        seen |= (uint64_t)1 << slot;
        static const struct schema_field string_field = {.value = SCHEMA_STRING, .shape = SCHEMA_ONE};
        if (!cJSON_IsNull(v) && !decode_field(d, t, f ? f : &string_field, v, &s))
            return false;
        if (cJSON_IsNull(v) || is_omitted(f ? f : &string_field, v))
            cJSON_Delete(cJSON_DetachItemViaPointer(o, v));
    }
    add_value_structs(t, o);
    return true;
}

void strict_note(struct strict_errors *s, const char *what, const char *path)
{
    if (!s || s->count >= STRICT_MAX)
        return;
    s->items = mem_realloc(s->items, sizeof *s->items * (s->count + 1));
    s->items[s->count++] = mem_printf("%s field \"%s\"", what, path);
}

bool schema_decode(const struct schema_type *t, cJSON *object, struct strict_errors *strict,
                   struct error **err)
{
    if ((t->flags & SCHEMA_IS_CUSTOM) && cJSON_IsObject(object))
        return custom_decode(t, object, strict, err);
    struct decoder d = {strict, err};
    if (!cJSON_IsObject(object)) {
        error_setf(err, "json: cannot unmarshal %s into Go value of type %s.%s",
                   cJSON_IsNull(object) ? "null" : json_kind(object), t->version, t->name);
        return false;
    }
    return decode_message(&d, t, object, NULL);
}
