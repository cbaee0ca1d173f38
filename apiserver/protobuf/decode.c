#include <inttypes.h>
#include <string.h>
#include "apiserver/protobuf/protobuf.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

/* https://protobuf.dev/programming-guides/encoding/ */
enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { DEPTH_MAX = 100 };

struct reader {
    const unsigned char *at, *end;
};
struct value {
    unsigned number;
    enum wire wire;
    uint64_t integer;    /* varint and fixed */
    struct reader bytes; /* length-delimited */
};

static bool read_varint(struct reader *r, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        unsigned char byte = *r->at++;
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool read_fixed(struct reader *r, size_t n, uint64_t *out)
{
    if ((size_t)(r->end - r->at) < n)
        return false;
    *out = 0;
    for (size_t i = 0; i < n; i++)
        *out |= (uint64_t)r->at[i] << 8 * i;
    r->at += n;
    return true;
}

/* False when malformed; the end is seen before. */
static bool read_value(struct reader *r, struct value *v)
{
    uint64_t tag, len;
    if (!read_varint(r, &tag) || tag >> 3 == 0 || tag >> 3 > 536870911)
        return false;
    *v = (struct value){.number = (unsigned)(tag >> 3), .wire = (enum wire)(tag & 7)};
    switch (v->wire) {
    case WIRE_VARINT:
        return read_varint(r, &v->integer);
    case WIRE_FIXED64:
        return read_fixed(r, 8, &v->integer);
    case WIRE_FIXED32:
        return read_fixed(r, 4, &v->integer);
    case WIRE_BYTES:
        if (!read_varint(r, &len) || len > (uint64_t)(r->end - r->at))
            return false;
        v->bytes = (struct reader){r->at, r->at + len};
        r->at += len;
        return true;
    }
    return false;
}

static size_t left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

/* --- values --- */

static cJSON *string_json(const struct reader *r)
{
    if (memchr(r->at, 0, left(r)))
        return NULL;
    cleanup_free char *text = mem_strndup((const char *)r->at, left(r));
    return cJSON_CreateString(text);
}

static cJSON *base64_json(const struct reader *r)
{
    cleanup_buf struct buf b = {0};
    buf_add_base64(&b, r->at, left(r));
    return cJSON_CreateString(buf_str(&b));
}

/* Integers beyond 2^53 keep their digits. */
static cJSON *integer_json(int64_t v)
{
    if (v > -(INT64_C(1) << 53) && v < INT64_C(1) << 53)
        return cJSON_CreateNumber((double)v);
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, v);
    return cJSON_CreateRaw(text);
}

/* The small messages that stand for one value: their fields by number. */
struct small {
    uint64_t integer[4];
    struct reader bytes[4];
};

static bool read_small(struct reader r, struct small *s)
{
    *s = (struct small){0};
    while (r.at < r.end) {
        struct value v;
        if (!read_value(&r, &v))
            return false;
        if (v.number > 3)
            continue;
        s->integer[v.number] = v.integer;
        s->bytes[v.number] = v.bytes;
    }
    return true;
}

/* The zero time is written as an empty message, and as null in JSON. */
static cJSON *time_json(const struct small *s, bool micro)
{
    int64_t seconds = (int64_t)s->integer[1];
    int32_t nanos = (int32_t)s->integer[2];
    if (!seconds && !nanos)
        return cJSON_CreateNull();
    if (seconds < INT64_C(-62135596800) || seconds > INT64_C(253402300799) || nanos < 0 || nanos > 999999999)
        return NULL;
    char text[TIME_TEXT_MAX];
    return cJSON_CreateString(micro ? time_format_micro(seconds * 1000000 + nanos / 1000, text) : time_format(seconds, text));
}

static cJSON *embedded_json(const struct reader *r)
{
    if (!left(r))
        return cJSON_CreateNull();
    return json_parse((const char *)r->at, left(r), NULL);
}

static bool read_message(const struct schema_type *t, struct reader r, const uint8_t *prefix, int prefix_len, int depth,
                         cJSON *out);

static cJSON *message_json(const struct schema_type *t, struct reader r, int depth)
{
    cJSON *o = cJSON_CreateObject();
    if (read_message(t, r, NULL, 0, depth + 1, o))
        return o;
    cJSON_Delete(o);
    return NULL;
}

/* JSONSchemaProps' unions: 1 is a schema (or a flag), 2 what it may be instead. */
static cJSON *union_json(const struct schema_field *f, struct reader r, int depth)
{
    cJSON *list = NULL, *other = NULL;
    bool allows = false, ok = true;
    while (ok && r.at < r.end) {
        struct value v;
        ok = read_value(&r, &v);
        if (!ok)
            break;
        bool schema = f->value == SCHEMA_PROPS_OR_BOOL ? v.number == 2 : v.number == 1;
        if (v.wire == WIRE_VARINT && v.number == 1) {
            allows = v.integer != 0;
        } else if (v.wire == WIRE_BYTES && schema) {
            cJSON_Delete(other);
            other = message_json(f->type, v.bytes, depth);
            ok = other != NULL;
        } else if (v.wire == WIRE_BYTES && v.number == 2) {
            cJSON *item = f->value == SCHEMA_PROPS_OR_STRINGS ? string_json(&v.bytes) : message_json(f->type, v.bytes, depth);
            if (!list)
                list = cJSON_CreateArray();
            ok = item && cJSON_AddItemToArray(list, item);
        }
    }
    if (ok && f->value == SCHEMA_PROPS_OR_BOOL && !other)
        other = cJSON_CreateBool(allows);
    cJSON *out = other ? other : list;
    if (ok && out) {
        if (out == other)
            cJSON_Delete(list);
        return out;
    }
    cJSON_Delete(list);
    cJSON_Delete(other);
    return ok ? cJSON_CreateNull() : NULL;
}

/* One value of a field, without its shape; NULL when malformed. */
static cJSON *value_json(const struct schema_field *f, const struct value *v, int depth)
{
    struct small s;
    bool bytes = v->wire == WIRE_BYTES;
    switch ((enum schema_value)f->value) {
    case SCHEMA_BOOL:
        return v->wire == WIRE_VARINT ? cJSON_CreateBool(v->integer != 0) : NULL;
    case SCHEMA_INT32:
        return v->wire == WIRE_VARINT ? cJSON_CreateNumber((double)(int32_t)v->integer) : NULL;
    case SCHEMA_INT64:
        return v->wire == WIRE_VARINT ? integer_json((int64_t)v->integer) : NULL;
    case SCHEMA_DOUBLE: {
        double d;
        if (v->wire != WIRE_FIXED64)
            return NULL;
        memcpy(&d, &v->integer, sizeof d);
        return d - d == 0 ? cJSON_CreateNumber(d) : NULL;
    }
    case SCHEMA_STRING:
        return bytes ? string_json(&v->bytes) : NULL;
    case SCHEMA_BYTES:
        return bytes ? base64_json(&v->bytes) : NULL;
    case SCHEMA_MESSAGE:
        return bytes ? message_json(f->type, v->bytes, depth) : NULL;
    case SCHEMA_PROPS_OR_ARRAY:
    case SCHEMA_PROPS_OR_BOOL:
    case SCHEMA_PROPS_OR_STRINGS:
        return bytes ? union_json(f, v->bytes, depth) : NULL;
    default:
        break;
    }
    if (!bytes || !read_small(v->bytes, &s))
        return NULL;
    switch ((enum schema_value)f->value) {
    case SCHEMA_TIME:
    case SCHEMA_MICROTIME:
        return time_json(&s, f->value == SCHEMA_MICROTIME);
    case SCHEMA_QUANTITY:
        return string_json(&s.bytes[1]);
    case SCHEMA_INT_OR_STRING:
        return s.integer[1] == 1 ? string_json(&s.bytes[3]) : cJSON_CreateNumber((double)(int32_t)s.integer[2]);
    case SCHEMA_DURATION: {
        char text[40];
        snprintf(text, sizeof text, "%.9gs", (double)(int64_t)s.integer[1] / 1e9);
        return cJSON_CreateString(text);
    }
    default: /* RAW, ANY, FIELDS_V1: JSON in bytes */
        return embedded_json(&s.bytes[1]);
    }
}

/* --- fields --- */

static bool add_packed(const struct schema_field *f, struct reader r, cJSON *list)
{
    while (r.at < r.end) {
        struct value v = {.wire = f->value == SCHEMA_DOUBLE ? WIRE_FIXED64 : WIRE_VARINT};
        bool ok = f->value == SCHEMA_DOUBLE ? read_fixed(&r, 8, &v.integer) : read_varint(&r, &v.integer);
        cJSON *item = ok ? value_json(f, &v, 0) : NULL;
        if (!item)
            return false;
        cJSON_AddItemToArray(list, item);
    }
    return true;
}

static bool is_number(const struct schema_field *f)
{
    return f->value == SCHEMA_BOOL || f->value == SCHEMA_INT32 || f->value == SCHEMA_INT64 || f->value == SCHEMA_DOUBLE;
}

/* Lists as map values are wrapped in a message whose field 1 is repeated (authentication's ExtraValue). */
static cJSON *wrapped_list(const struct schema_field *f, struct reader r, int depth)
{
    cJSON *list = cJSON_CreateArray();
    while (r.at < r.end) {
        struct value v;
        cJSON *item = read_value(&r, &v) && v.number == 1 ? value_json(f, &v, depth) : NULL;
        if (!item) {
            cJSON_Delete(list);
            return NULL;
        }
        cJSON_AddItemToArray(list, item);
    }
    return list;
}

static bool add_map_entry(const struct schema_field *f, struct reader r, int depth, cJSON *map)
{
    cleanup_free char *key = mem_strdup("");
    cleanup_json cJSON *item = NULL;
    while (r.at < r.end) {
        struct value v;
        if (!read_value(&r, &v))
            return false;
        if (v.number == 1 && v.wire == WIRE_BYTES) {
            if (memchr(v.bytes.at, 0, left(&v.bytes)))
                return false;
            free(key);
            key = mem_strndup((const char *)v.bytes.at, left(&v.bytes));
        } else if (v.number == 2) {
            json_cleanup(&item);
            item = f->shape == SCHEMA_MAP ? value_json(f, &v, depth)
                   : v.wire == WIRE_BYTES ? wrapped_list(f, v.bytes, depth)
                                          : NULL;
            if (!item)
                return false;
        }
    }
    if (!item) { /* the empty value is left out */
        struct value empty = {.wire = is_number(f) ? f->value == SCHEMA_DOUBLE ? WIRE_FIXED64 : WIRE_VARINT : WIRE_BYTES,
                              .bytes = {(const unsigned char *)"", (const unsigned char *)""}};
        item = f->shape == SCHEMA_MAP ? value_json(f, &empty, depth) : cJSON_CreateArray();
    }
    if (!item)
        return false;
    json_map_set(map, key, item);
    item = NULL;
    return true;
}

static bool add_field(const struct schema_field *f, const struct value *v, int depth, cJSON *out)
{
    if (f->shape == SCHEMA_MAP || f->shape == SCHEMA_MAP_OF_LISTS)
        return v->wire == WIRE_BYTES && add_map_entry(f, v->bytes, depth, json_ensure_object(out, f->name));
    if (f->shape == SCHEMA_LIST) {
        cJSON *list = json_ensure_array(out, f->name);
        if (v->wire == WIRE_BYTES && is_number(f))
            return add_packed(f, v->bytes, list);
        cJSON *item = value_json(f, v, depth);
        return item && cJSON_AddItemToArray(list, item);
    }
    cJSON *item = value_json(f, v, depth);
    if (!item)
        return false;
    json_map_set(out, f->name, item);
    return true;
}

static int inlined_depth(const struct schema_field *f)
{
    return f->inlined[0] == 0 ? 0 : f->inlined[1] == 0 ? 1 : 2;
}

static bool below(const struct schema_field *f, const uint8_t *prefix, int len)
{
    return inlined_depth(f) >= len && !memcmp(f->inlined, prefix, (size_t)len);
}

/* The field with this number below the messages of prefix; *inlined: a message around fields that JSON does not show. */
static const struct schema_field *find_field(const struct schema_type *t, unsigned number, const uint8_t *prefix, int len,
                                             bool *inlined)
{
    static const uint8_t none[2];
    if (!prefix)
        prefix = none;
    *inlined = false;
    for (size_t i = 0; i < t->field_count; i++) {
        const struct schema_field *f = &t->fields[i];
        if (!below(f, prefix, len))
            continue;
        int depth = inlined_depth(f);
        if (depth == len && f->number == number)
            return f;
        *inlined |= depth > len && f->inlined[len] == number;
    }
    return NULL;
}

static bool read_message(const struct schema_type *t, struct reader r, const uint8_t *prefix, int prefix_len, int depth,
                         cJSON *out)
{
    if (!t || depth > DEPTH_MAX)
        return false;
    while (r.at < r.end) {
        struct value v;
        if (!read_value(&r, &v))
            return false;
        bool inlined;
        const struct schema_field *f = find_field(t, v.number, prefix, prefix_len, &inlined);
        if (f) {
            if (!add_field(f, &v, depth, out))
                return false;
        } else if (inlined && v.wire == WIRE_BYTES && prefix_len < 2) {
            uint8_t longer[2] = {prefix_len ? prefix[0] : 0, 0};
            longer[prefix_len] = (uint8_t)v.number;
            if (!read_message(t, v.bytes, longer, prefix_len + 1, depth, out))
                return false;
        }
    }
    return true;
}

/* --- the envelope --- */

static bool read_envelope(struct reader r, cJSON *out, struct reader *raw)
{
    *raw = (struct reader){r.end, r.end};
    while (r.at < r.end) {
        struct value v;
        if (!read_value(&r, &v))
            return false;
        if (v.number == 2 && v.wire == WIRE_BYTES) {
            *raw = v.bytes;
        } else if (v.number == 1 && v.wire == WIRE_BYTES) {
            struct small meta;
            if (!read_small(v.bytes, &meta))
                return false;
            static const char *const names[] = {NULL, "apiVersion", "kind"};
            for (int i = 1; i <= 2; i++) {
                cJSON *text = meta.bytes[i].at ? string_json(&meta.bytes[i]) : NULL;
                if (text && *text->valuestring)
                    json_map_set(out, names[i], text);
                else
                    cJSON_Delete(text);
            }
        }
    }
    return true;
}

cJSON *protobuf_decode(const struct schema_type *type, const void *data, size_t len, struct error **err)
{
    struct reader r = {data, (const unsigned char *)data + len}, raw;
    cleanup_json cJSON *out = cJSON_CreateObject();
    if (len < 4 || memcmp(data, "k8s\0", 4) != 0) {
        error_set(err, 400, "BadRequest",
                  "the object provided is unrecognized (must be of type %s): provided data does not appear to be a protobuf message, "
                  "expected prefix [107 56 115 0]",
                  type->name);
        return NULL;
    }
    r.at += 4;
    if (!read_envelope(r, out, &raw) || !read_message(type, raw, NULL, 0, 0, out)) {
        error_set(err, 400, "BadRequest", "%s in version \"%s\" cannot be handled as a %s: proto: illegal wireType or unexpected EOF",
                  type->name, type->version, type->name);
        return NULL;
    }
    cJSON *result = out;
    out = NULL;
    return result;
}
