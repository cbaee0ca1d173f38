/* From JSON to protobuf, driven by the schema table. */
#include <stdlib.h>
#include <string.h>

#include "apiserver/schema/protobuf.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2 };
#define WIRE_MAGIC "k8s" /* and its NUL: four bytes */

static void wire_put_varint(struct buf *b, uint64_t v)
{
    unsigned char text[10];
    size_t n = 0;
    do {
        text[n++] = (unsigned char)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
        v >>= 7;
    } while (v);
    buf_add(b, text, n);
}

static void wire_put_tag(struct buf *b, uint32_t number, unsigned type)
{
    wire_put_varint(b, (uint64_t)number << 3 | type);
}

static void wire_put_int(struct buf *b, uint32_t number, int64_t v)
{
    wire_put_tag(b, number, WIRE_VARINT);
    wire_put_varint(b, (uint64_t)v);
}

static void wire_put_bytes(struct buf *b, uint32_t number, const void *p, size_t n)
{
    wire_put_tag(b, number, WIRE_BYTES);
    wire_put_varint(b, n);
    buf_add(b, p, n);
}

static void encode_message(const struct schema_type *t, const cJSON *object, const uint8_t *inlined,
                           unsigned depth, struct buf *out);

static void put_time(uint32_t number, const cJSON *v, struct buf *out)
{
    int64_t micros;
    cleanup_buf struct buf b = {0};
    if (cJSON_IsString(v) && time_parse(v->valuestring, &micros)) {
        int64_t seconds = micros / 1000000 - (micros % 1000000 < 0);
        wire_put_int(&b, 1, seconds);
        wire_put_int(&b, 2, (micros - seconds * 1000000) * 1000);
    }
    wire_put_bytes(out, number, buf_str(&b), b.len);
}

/* Go's duration text: a sign, then numbers with units. */
static int64_t duration_nanos(const char *s)
{
    static const struct {
        const char *unit;
        double nanos;
    } units[] = {{"ns", 1},  {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"ms", 1e6},
                 {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    double total = 0;
    bool negative = *s == '-';
    if (negative || *s == '+')
        s++;
    while (*s) {
        char *end;
        double n = strtod(s, &end);
        if (end == s)
            break;
        size_t i = 0;
        while (i < ARRAY_LEN(units) && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0)
            i++;
        if (i == ARRAY_LEN(units))
            break;
        total += n * units[i].nanos;
        s = end + strlen(units[i].unit);
    }
    return (int64_t)(negative ? -total : total);
}

static void put_int_or_string(uint32_t number, const cJSON *v, struct buf *out)
{
    cleanup_buf struct buf b = {0};
    wire_put_int(&b, 1, cJSON_IsString(v));
    wire_put_int(&b, 2, cJSON_IsNumber(v) ? v->valueint : 0);
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    wire_put_bytes(&b, 3, text, strlen(text));
    wire_put_bytes(out, number, b.data, b.len);
}

/* A message with one field of bytes. */
static void put_wrapped(uint32_t number, const void *p, size_t n, struct buf *out)
{
    cleanup_buf struct buf b = {0};
    wire_put_bytes(&b, 1, p, n);
    wire_put_bytes(out, number, b.data, b.len);
}

static void put_submessage(const struct schema_type *t, uint32_t number, const cJSON *v,
                           struct buf *out)
{
    cleanup_buf struct buf b = {0};
    encode_message(t, v, NULL, 0, &b);
    wire_put_bytes(out, number, buf_str(&b), b.len);
}

static void put_props(const struct schema_field *f, uint32_t number, const cJSON *v,
                      struct buf *out)
{
    cleanup_buf struct buf b = {0};
    if (f->value == SCHEMA_PROPS_OR_BOOL)
        wire_put_int(&b, 1, cJSON_IsObject(v) || cJSON_IsTrue(v));
    if (cJSON_IsObject(v))
        put_submessage(f->type, f->value == SCHEMA_PROPS_OR_BOOL ? 2 : 1, v, &b);
    for (const cJSON *item = cJSON_IsArray(v) ? v->child : NULL; item; item = item->next) {
        if (f->value == SCHEMA_PROPS_OR_ARRAY)
            put_submessage(f->type, 2, item, &b);
        else if (cJSON_IsString(item))
            wire_put_bytes(&b, 2, item->valuestring, strlen(item->valuestring));
    }
    wire_put_bytes(out, number, buf_str(&b), b.len);
}

/* What a double cannot hold was kept as text. */
static int64_t whole_number(const cJSON *v)
{
    if (cJSON_IsRaw(v))
        return strtoll(v->valuestring, NULL, 10);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

static void put_value(const struct schema_field *f, uint32_t number, const cJSON *v,
                      struct buf *out)
{
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    cleanup_buf struct buf b = {0};
    switch ((enum schema_value)f->value) {
    case SCHEMA_STRING:
        wire_put_bytes(out, number, text, strlen(text));
        break;
    case SCHEMA_BOOL:
        wire_put_int(out, number, cJSON_IsTrue(v));
        break;
    case SCHEMA_INT32:
    case SCHEMA_INT64:
        wire_put_int(out, number, whole_number(v));
        break;
    case SCHEMA_DOUBLE: {
        double d = cJSON_IsNumber(v) ? v->valuedouble : 0;
        wire_put_tag(out, number, WIRE_FIXED64);
        buf_add(out, &d, sizeof(d));
        break;
    }
    case SCHEMA_BYTES:
        buf_add_base64_decoded(&b, text, strlen(text));
        wire_put_bytes(out, number, buf_str(&b), b.len);
        break;
    case SCHEMA_TIME:
    case SCHEMA_MICROTIME:
        put_time(number, v, out);
        break;
    case SCHEMA_DURATION:
        wire_put_int(&b, 1, duration_nanos(text));
        wire_put_bytes(out, number, b.data, b.len);
        break;
    case SCHEMA_QUANTITY:
        if (!cJSON_IsString(v)) {
            json_print(v, &b);
            text = buf_str(&b);
        }
        put_wrapped(number, text, strlen(text), out);
        break;
    case SCHEMA_INT_OR_STRING:
        put_int_or_string(number, v, out);
        break;
    case SCHEMA_RAW:
    case SCHEMA_ANY:
    case SCHEMA_FIELDS_V1:
        json_print(v, &b);
        put_wrapped(number, b.data, b.len, out);
        break;
    case SCHEMA_MESSAGE:
        put_submessage(f->type, number, v, out);
        break;
    case SCHEMA_PROPS_OR_ARRAY:
    case SCHEMA_PROPS_OR_BOOL:
    case SCHEMA_PROPS_OR_STRINGS:
        put_props(f, number, v, out);
        break;
    }
}

static void put_entry(const struct schema_field *f, const cJSON *v, struct buf *out)
{
    cleanup_buf struct buf b = {0};
    wire_put_bytes(&b, 1, v->string, strlen(v->string));
    if (f->shape == SCHEMA_MAP_OF_LISTS) {
        cleanup_buf struct buf list = {0};
        for (const cJSON *item = v->child; item; item = item->next)
            put_value(f, 1, item, &list);
        wire_put_bytes(&b, 2, buf_str(&list), list.len);
    } else {
        put_value(f, 2, v, &b);
    }
    wire_put_bytes(out, f->number, b.data, b.len);
}

/* The fields of `object` that stand `depth` hidden messages deep, then those deeper. */
static void encode_message(const struct schema_type *t, const cJSON *object, const uint8_t *inlined,
                           unsigned depth, struct buf *out)
{
    uint8_t done[16];
    size_t done_count = 0;
    for (uint16_t i = 0; i < t->field_count; i++) {
        const struct schema_field *f = &t->fields[i];
        if (depth && memcmp(f->inlined, inlined, depth) != 0)
            continue;
        uint8_t deeper = depth < ARRAY_LEN(f->inlined) ? f->inlined[depth] : 0;
        if (deeper) {
            if (done_count == ARRAY_LEN(done) || memchr(done, deeper, done_count))
                continue;
            done[done_count++] = deeper;
            uint8_t path[ARRAY_LEN(f->inlined)] = {0};
            if (depth)
                memcpy(path, inlined, depth);
            path[depth] = deeper;
            cleanup_buf struct buf b = {0};
            encode_message(t, object, path, depth + 1, &b);
            wire_put_bytes(out, deeper, buf_str(&b), b.len);
            continue;
        }
        const cJSON *v = json_get(object, f->name);
        if (!v || cJSON_IsNull(v))
            continue;
        if (f->shape == SCHEMA_ONE) {
            put_value(f, f->number, v, out);
            continue;
        }
        for (const cJSON *item = v->child; item; item = item->next) {
            if (f->shape == SCHEMA_LIST)
                put_value(f, f->number, item, out);
            else
                put_entry(f, item, out);
        }
    }
}

/* Magic and runtime.Unknown around a message. */
static void put_envelope(const char *api_version, const char *kind, const struct buf *message,
                         struct buf *out)
{
    cleanup_buf struct buf meta = {0};
    wire_put_bytes(&meta, 1, api_version, strlen(api_version));
    wire_put_bytes(&meta, 2, kind, strlen(kind));
    buf_reserve(out, meta.len + message->len + 32);
    buf_add(out, WIRE_MAGIC, 4);
    wire_put_bytes(out, 1, meta.data, meta.len);
    wire_put_bytes(out, 2, buf_str(message), message->len);
    wire_put_bytes(out, 3, "", 0);
    wire_put_bytes(out, 4, "", 0);
}

bool protobuf_encode(const cJSON *object, struct buf *out)
{
    const char *api_version = json_str_or(object, "apiVersion", ""),
               *kind = json_str_or(object, "kind", "");
    const struct schema_type *t = schema_find_api_version(api_version, kind);
    if (!t)
        return false;
    cleanup_buf struct buf message = {0};
    encode_message(t, object, NULL, 0, &message);
    put_envelope(api_version, kind, &message, out);
    return true;
}

bool protobuf_list_open(struct protobuf_list *l, const cJSON *list)
{
    *l = (struct protobuf_list){.api_version = mem_strdup(json_str_or(list, "apiVersion", "")),
                                .kind = mem_strdup(json_str_or(list, "kind", ""))};
    const struct schema_type *t = schema_find_api_version(l->api_version, l->kind);
    l->items = t ? schema_field(t, "items") : NULL;
    if (!l->items || !l->items->type) {
        protobuf_list_clear(l);
        return false;
    }
    encode_message(t, list, NULL, 0, &l->message);
    return true;
}

void protobuf_list_add(struct protobuf_list *l, const cJSON *item)
{
    put_submessage(l->items->type, l->items->number, item, &l->message);
}

void protobuf_list_close(struct protobuf_list *l, struct buf *out)
{
    put_envelope(l->api_version, l->kind, &l->message, out);
    protobuf_list_clear(l);
}

void protobuf_list_clear(struct protobuf_list *l)
{
    free(l->api_version);
    free(l->kind);
    buf_free(&l->message);
    *l = (struct protobuf_list){0};
}

bool protobuf_encode_watch_event(const char *type, const cJSON *object, struct buf *out)
{
    cleanup_buf struct buf encoded = {0}, event = {0};
    if (!protobuf_encode(object, &encoded))
        return false;
    /* WatchEvent: type = 1, object = 2 {raw = 1}. The object has its envelope, the event has none.
     */
    wire_put_bytes(&event, 1, type, strlen(type));
    put_wrapped(2, encoded.data, encoded.len, &event);
    unsigned char length[4] = {(unsigned char)(event.len >> 24), (unsigned char)(event.len >> 16),
                               (unsigned char)(event.len >> 8), (unsigned char)event.len};
    buf_add(out, length, sizeof(length));
    buf_add(out, event.data, event.len);
    return true;
}
