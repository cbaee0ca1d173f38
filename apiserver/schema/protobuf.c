#include "apiserver/schema/protobuf.h"

#include <inttypes.h>
#include <string.h>

#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

enum { DEPTH_MAX = 100 };

/* --- the wire format: https://protobuf.dev/programming-guides/encoding/ --- */

struct wire {
    const unsigned char *at, *end;
    bool bad;
};
struct record {
    uint64_t number;
    unsigned type; /* 0 varint, 1 eight bytes, 2 counted bytes, 5 four bytes */
    uint64_t value;
    struct wire bytes;
};

static uint64_t read_varint(struct wire *w)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (w->at == w->end)
            break;
        unsigned char c = *w->at++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return v;
    }
    w->bad = true;
    return 0;
}

static uint64_t read_fixed(struct wire *w, size_t n)
{
    uint64_t v = 0;
    if ((size_t)(w->end - w->at) < n) {
        w->bad = true;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)*w->at++ << (8 * i);
    return v;
}

static bool next_record(struct wire *w, struct record *r)
{
    if (w->bad || w->at == w->end)
        return false;
    uint64_t tag = read_varint(w);
    *r = (struct record){.number = tag >> 3, .type = (unsigned)(tag & 7)};
    switch (r->type) {
    case 0:
        r->value = read_varint(w);
        break;
    case 1:
        r->value = read_fixed(w, 8);
        break;
    case 5:
        r->value = read_fixed(w, 4);
        break;
    case 2: {
        uint64_t n = read_varint(w);
        if (w->bad || n > (uint64_t)(w->end - w->at)) {
            w->bad = true;
            return false;
        }
        r->bytes = (struct wire){w->at, w->at + n, false};
        w->at += n;
        break;
    }
    default:
        w->bad = true;
    }
    return !w->bad && r->number;
}

static char *text_of(const struct wire *w)
{
    return mem_strndup((const char *)w->at, (size_t)(w->end - w->at));
}

static cJSON *string_of(const struct wire *w)
{
    cleanup_free char *s = text_of(w);
    return cJSON_CreateString(s);
}

/* --- values that are messages on the wire and plain in JSON --- */

static cJSON *decode_time(struct wire w, bool micro)
{
    int64_t seconds = 0, nanos = 0;
    if (w.at == w.end)
        return NULL; /* the zero time */
    struct record r;
    while (next_record(&w, &r)) {
        if (r.number == 1)
            seconds = (int64_t)r.value;
        else if (r.number == 2)
            nanos = (int32_t)r.value;
    }
    char text[TIME_TEXT_MAX];
    if (seconds < -62135596800 || seconds > 253402300799)
        return NULL;
    return cJSON_CreateString(micro ? time_format_micro(seconds * 1000000 + nanos / 1000, text)
                                    : time_format(seconds, text));
}

static cJSON *decode_duration(struct wire w)
{
    int64_t ns = 0;
    struct record r;
    while (next_record(&w, &r))
        if (r.number == 1)
            ns = (int64_t)r.value;
    cleanup_free char *text =
        mem_printf("%" PRId64 ".%09" PRId64 "s", ns / 1000000000, (ns < 0 ? -ns : ns) % 1000000000);
    if (ns % 1000000000 == 0)
        *strchr(text, '.') = 's', strchr(text, 's')[1] = 0;
    return cJSON_CreateString(text);
}

static cJSON *decode_int_or_string(struct wire w)
{
    uint64_t type = 0;
    int32_t number = 0;
    cleanup_json cJSON *text = NULL;
    struct record r;
    while (next_record(&w, &r)) {
        if (r.number == 1) {
            type = r.value;
        } else if (r.number == 2) {
            number = (int32_t)r.value;
        } else if (r.number == 3 && r.type == 2) {
            json_cleanup(&text);
            text = string_of(&r.bytes);
        }
    }
    if (type != 1)
        return cJSON_CreateNumber(number);
    cJSON *out = text ? text : cJSON_CreateString("");
    text = NULL;
    return out;
}

/* The counted bytes of field 1, as text or as JSON. */
static cJSON *decode_wrapped(struct wire w, bool json)
{
    struct record r;
    while (next_record(&w, &r)) {
        if (r.number != 1 || r.type != 2)
            continue;
        return json ? json_parse((const char *)r.bytes.at, (size_t)(r.bytes.end - r.bytes.at), NULL)
                    : string_of(&r.bytes);
    }
    return json ? NULL : cJSON_CreateString("0");
}

/* --- messages --- */

static cJSON *decode_message(const struct schema_type *t, struct wire *w, int depth);

static cJSON *decode_number(const struct schema_field *f, uint64_t v)
{
    double d;
    switch (f->value) {
    case SCHEMA_BOOL:
        return cJSON_CreateBool(v != 0);
    case SCHEMA_INT32:
        return cJSON_CreateNumber((double)(int32_t)v);
    case SCHEMA_DOUBLE:
        memcpy(&d, &v, sizeof d);
        return cJSON_CreateNumber(d);
    default: /* beyond 2^53 a double would lose digits: cJSON keeps raw text */
        if ((int64_t)v > 9007199254740992 || (int64_t)v < -9007199254740992) {
            char text[24];
            snprintf(text, sizeof text, "%" PRId64, (int64_t)v);
            return cJSON_CreateRaw(text);
        }
        return cJSON_CreateNumber((double)(int64_t)v);
    }
}

static cJSON *decode_union(const struct schema_field *f, struct wire w, int depth)
{
    /* OrArray {schema 1, list 2}; OrBool {allows 1, schema 2}; OrStrings {schema 1, strings 2}. */
    uint64_t schema_number = f->value == SCHEMA_PROPS_OR_BOOL ? 2 : 1;
    cJSON *out = NULL;
    bool allows = false;
    struct record r;
    while (next_record(&w, &r)) {
        if (r.number == schema_number && r.type == 2) {
            cJSON_Delete(out);
            out = decode_message(f->type, &r.bytes, depth + 1);
        } else if (r.number == 1 && r.type == 0) {
            allows = r.value != 0;
        } else if (r.number == 2 && r.type == 2) {
            if (!cJSON_IsArray(out)) {
                cJSON_Delete(out);
                out = cJSON_CreateArray();
            }
            cJSON *item = f->value == SCHEMA_PROPS_OR_ARRAY
                              ? decode_message(f->type, &r.bytes, depth + 1)
                              : string_of(&r.bytes);
            cJSON_AddItemToArray(out, item);
        }
    }
    return out || f->value != SCHEMA_PROPS_OR_BOOL ? out : cJSON_CreateBool(allows);
}

/* One value, not looking at the field's shape. NULL: nothing to show. */
static cJSON *decode_value(const struct schema_field *f, struct record *r, int depth, bool *bad)
{
    bool number = f->value == SCHEMA_BOOL || f->value == SCHEMA_INT32 || f->value == SCHEMA_INT64 ||
                  f->value == SCHEMA_DOUBLE;
    if (number != (r->type != 2)) {
        *bad = true;
        return NULL;
    }
    if (number)
        return decode_number(f, r->value);
    switch (f->value) {
    case SCHEMA_STRING:
        return string_of(&r->bytes);
    case SCHEMA_BYTES: {
        cleanup_buf struct buf b = {0};
        buf_add_base64(&b, r->bytes.at, (size_t)(r->bytes.end - r->bytes.at));
        return cJSON_CreateString(buf_str(&b));
    }
    case SCHEMA_TIME:
        return decode_time(r->bytes, false);
    case SCHEMA_MICROTIME:
        return decode_time(r->bytes, true);
    case SCHEMA_DURATION:
        return decode_duration(r->bytes);
    case SCHEMA_QUANTITY:
        return decode_wrapped(r->bytes, false);
    case SCHEMA_INT_OR_STRING:
        return decode_int_or_string(r->bytes);
    case SCHEMA_RAW:
    case SCHEMA_ANY:
    case SCHEMA_FIELDS_V1:
        return decode_wrapped(r->bytes, true);
    case SCHEMA_MESSAGE: {
        cJSON *o = decode_message(f->type, &r->bytes, depth + 1);
        *bad |= !o;
        return o;
    }
    default:
        return decode_union(f, r->bytes, depth);
    }
}

static bool is_zero(const cJSON *v)
{
    return cJSON_IsFalse(v) || (cJSON_IsNumber(v) && v->valuedouble == 0) ||
           (cJSON_IsString(v) && !*v->valuestring);
}

static void decode_list_item(cJSON *object, const struct schema_field *f, struct record *r,
                             int depth, bool *bad)
{
    cJSON *list = json_get(object, f->name);
    if (!list) {
        list = cJSON_CreateArray();
        json_map_set(object, f->name, list);
    }
    bool packed = r->type == 2 &&
                  (f->value == SCHEMA_BOOL || f->value == SCHEMA_INT32 || f->value == SCHEMA_INT64);
    while (packed && r->bytes.at < r->bytes.end && !r->bytes.bad)
        cJSON_AddItemToArray(list, decode_number(f, read_varint(&r->bytes)));
    *bad |= r->bytes.bad;
    cJSON *item = packed ? NULL : decode_value(f, r, depth, bad);
    if (item)
        cJSON_AddItemToArray(list, item);
}

/* map<string, T>: a message {key 1, value 2}; a list as value is a message {items 1}. */
static void decode_map_entry(cJSON *object, const struct schema_field *f, struct record *r,
                             int depth, bool *bad)
{
    if (r->type != 2) {
        *bad = true;
        return;
    }
    cJSON *map = json_get(object, f->name);
    if (!map) {
        map = cJSON_CreateObject();
        json_map_set(object, f->name, map);
    }
    cleanup_free char *key = NULL;
    cJSON *value = NULL;
    struct record part;
    while (next_record(&r->bytes, &part)) {
        if (part.number == 1 && part.type == 2) {
            free(key);
            key = text_of(&part.bytes);
        } else if (part.number == 2 && f->shape == SCHEMA_MAP) {
            cJSON_Delete(value);
            value = decode_value(f, &part, depth, bad);
        } else if (part.number == 2 && part.type == 2) {
            if (!value)
                value = cJSON_CreateArray();
            struct record item;
            while (next_record(&part.bytes, &item))
                if (item.number == 1 && item.type == 2)
                    cJSON_AddItemToArray(value, string_of(&item.bytes));
            *bad |= part.bytes.bad;
        }
    }
    *bad |= r->bytes.bad;
    if (!value)
        value = f->value == SCHEMA_MESSAGE ? cJSON_CreateObject() : cJSON_CreateString("");
    json_map_set(map, key ? key : "", value);
}

static void decode_field(cJSON *object, const struct schema_field *f, struct record *r, int depth,
                         bool *bad)
{
    if (f->shape == SCHEMA_LIST) {
        decode_list_item(object, f, r, depth, bad);
        return;
    }
    if (f->shape != SCHEMA_ONE) {
        decode_map_entry(object, f, r, depth, bad);
        return;
    }
    cJSON *v = decode_value(f, r, depth, bad);
    /* Go's messages write zeros where its JSON leaves them out. */
    if (v && is_zero(v) && !(f->flags & SCHEMA_KEEP_ZERO)) {
        cJSON_Delete(v);
        v = NULL;
    }
    if (v)
        json_map_set(object, f->name, v);
}

/* `around`: the numbers of the messages that JSON does not show in which we are. */
static bool decode_members(cJSON *object, const struct schema_type *t, const uint8_t around[2],
                           struct wire *w, int depth)
{
    bool bad = false;
    struct record r;
    while (next_record(w, &r)) {
        const struct schema_field *found = NULL;
        bool inner = false;
        uint8_t deeper[2] = {around[0], around[1]};
        if (!around[0])
            deeper[0] = (uint8_t)r.number;
        else
            deeper[1] = (uint8_t)r.number;
        for (uint16_t i = 0; i < t->field_count && !found; i++) {
            const struct schema_field *f = &t->fields[i];
            if (f->number == r.number && f->inlined[0] == around[0] && f->inlined[1] == around[1])
                found = f;
            inner |= r.number < 256 && !around[1] && f->inlined[0] == deeper[0] &&
                     (!deeper[1] || f->inlined[1] == deeper[1]);
        }
        if (found)
            decode_field(object, found, &r, depth, &bad);
        else if (inner && r.type == 2)
            bad |= !decode_members(object, t, deeper, &r.bytes, depth);
        if (bad)
            return false;
    }
    return !w->bad;
}

static cJSON *decode_message(const struct schema_type *t, struct wire *w, int depth)
{
    static const uint8_t outermost[2] = {0, 0};
    if (depth > DEPTH_MAX)
        return NULL;
    cleanup_json cJSON *object = cJSON_CreateObject();
    if (!decode_members(object, t, outermost, w, depth))
        return NULL;
    cJSON *out = object;
    object = NULL;
    return out;
}

/* --- the envelope --- */

static void bad_request(struct error **err, const char *what)
{
    error_set(err, 400, "BadRequest", "unable to decode the protobuf body: %s", what);
}

cJSON *protobuf_decode(const void *body, size_t len, struct error **err)
{
    static const unsigned char magic[4] = {'k', '8', 's', 0};
    if (len < 4 || memcmp(body, magic, 4) != 0) {
        bad_request(err, "provided data does not appear to be a protobuf message, expected prefix "
                         "[107 56 115 0]");
        return NULL;
    }
    struct wire w = {(const unsigned char *)body + 4, (const unsigned char *)body + len, false};
    struct wire raw = {0};
    cleanup_free char *api_version = NULL, *kind = NULL;
    struct record r;
    while (next_record(&w, &r)) {
        if (r.number == 2 && r.type == 2) {
            raw = r.bytes;
        } else if (r.number == 1 && r.type == 2) {
            struct record m;
            while (next_record(&r.bytes, &m)) {
                if (m.type != 2 || m.number > 2 || m.number < 1)
                    continue;
                char **to = m.number == 1 ? &api_version : &kind;
                free(*to);
                *to = text_of(&m.bytes);
            }
        }
    }
    if (w.bad) {
        bad_request(err, "the envelope is malformed");
        return NULL;
    }
    const struct schema_type *t =
        schema_find_api_version(api_version ? api_version : "", kind ? kind : "");
    if (!t) {
        error_set(err, 400, "BadRequest", "no kind \"%s\" is registered for version \"%s\"",
                  kind ? kind : "", api_version ? api_version : "");
        return NULL;
    }
    cJSON *object = decode_message(t, &raw, 0);
    if (!object) {
        bad_request(err, "the message is malformed");
        return NULL;
    }
    json_map_set_str(object, "apiVersion", api_version);
    json_map_set_str(object, "kind", kind);
    return object;
}
