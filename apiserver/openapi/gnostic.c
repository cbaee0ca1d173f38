/* The messages of github.com/google/gnostic/openapiv2/OpenAPIv2.proto, as far as our documents use them. A
 * nested message is written into a buffer of its own first, since its length stands before it. */
#include "apiserver/openapi/gnostic.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

typedef void encoder(const cJSON *o, struct buf *out);

static void add_varint(struct buf *b, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        buf_addc(b, (char)(v | 0x80));
    buf_addc(b, (char)v);
}

static void add_bytes(struct buf *b, int number, const void *p, size_t n)
{
    add_varint(b, (uint64_t)number << 3 | 2);
    add_varint(b, n);
    buf_add(b, p, n);
}

static void add_text(struct buf *b, int number, const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(json_get(o, name));
    if (s)
        add_bytes(b, number, s, strlen(s));
}

static void add_bool(struct buf *b, int number, const cJSON *o, const char *name)
{
    if (json_bool(o, name, false)) {
        add_varint(b, (uint64_t)number << 3);
        add_varint(b, 1);
    }
}

static void add_texts(struct buf *b, int number, const cJSON *list)
{
    for (const cJSON *v = list ? list->child : NULL; v; v = v->next)
        if (cJSON_IsString(v))
            add_bytes(b, number, v->valuestring, strlen(v->valuestring));
}

static void add_message(struct buf *b, int number, const cJSON *o, encoder *encode)
{
    if (!o)
        return;
    cleanup_buf struct buf m = {0};
    encode(o, &m);
    add_bytes(b, number, buf_str(&m), m.len);
}

/* {name = 1, value = 2}: how gnostic writes an entry of a map. */
static void add_named(struct buf *b, int number, const cJSON *value, encoder *encode)
{
    cleanup_buf struct buf m = {0};
    add_bytes(&m, 1, value->string, strlen(value->string));
    add_message(&m, 2, value, encode);
    add_bytes(b, number, buf_str(&m), m.len);
}

static void add_all_named(struct buf *b, int number, const cJSON *object, encoder *encode)
{
    for (const cJSON *v = object ? object->child : NULL; v; v = v->next)
        add_named(b, number, v, encode);
}

/* Any: the value as YAML, of which JSON is a part. */
static void encode_any(const cJSON *o, struct buf *out)
{
    cleanup_buf struct buf text = {0};
    json_print(o, &text);
    buf_addc(&text, '\n');
    add_bytes(out, 2, buf_str(&text), text.len);
}

static void add_extensions(struct buf *b, int number, const cJSON *o)
{
    for (const cJSON *v = o->child; v; v = v->next)
        if (!strncmp(v->string, "x-", 2))
            add_named(b, number, v, encode_any);
}

static void encode_schema(const cJSON *o, struct buf *out);

static void
encode_wrapped_schema(const cJSON *o,
                      struct buf *out) /* ItemsItem, AdditionalPropertiesItem, SchemaItem: schema = 1 */
{
    add_message(out, 1, o, encode_schema);
}

static void encode_properties(const cJSON *o, struct buf *out)
{
    add_all_named(out, 1, o, encode_schema);
}

static void encode_type(const cJSON *o, struct buf *out) /* TypeItem */
{
    if (cJSON_IsString(o))
        add_bytes(out, 1, o->valuestring, strlen(o->valuestring));
}

static void encode_schema(const cJSON *o, struct buf *out)
{
    add_text(out, 1, o, "$ref");
    add_text(out, 2, o, "format");
    add_text(out, 4, o, "description");
    add_message(out, 5, json_get(o, "default"), encode_any);
    add_texts(out, 19, json_get(o, "required"));
    add_message(out, 21, json_get(o, "additionalProperties"), encode_wrapped_schema);
    add_message(out, 22, json_get(o, "type"), encode_type);
    add_message(out, 23, json_get(o, "items"), encode_wrapped_schema);
    add_message(out, 25, json_get(o, "properties"), encode_properties);
    add_extensions(out, 31, o);
}

static void encode_body_parameter(const cJSON *o, struct buf *out)
{
    add_text(out, 1, o, "description");
    add_text(out, 2, o, "name");
    add_text(out, 3, o, "in");
    add_bool(out, 4, o, "required");
    add_message(out, 5, json_get(o, "schema"), encode_schema);
}

static void encode_query_parameter(const cJSON *o, struct buf *out)
{
    add_bool(out, 1, o, "required");
    add_text(out, 2, o, "in");
    add_text(out, 3, o, "description");
    add_text(out, 4, o, "name");
    add_text(out, 6, o, "type");
}

static void encode_path_parameter(const cJSON *o, struct buf *out)
{
    add_bool(out, 1, o, "required");
    add_text(out, 2, o, "in");
    add_text(out, 3, o, "description");
    add_text(out, 4, o, "name");
    add_text(out, 5, o, "type");
}

static void encode_non_body_parameter(const cJSON *o, struct buf *out)
{
    bool path = !strcmp(json_str_or(o, "in", ""), "path");
    add_message(out, path ? 4 : 3, o, path ? encode_path_parameter : encode_query_parameter);
}

static void encode_parameter(const cJSON *o, struct buf *out)
{
    bool body = !strcmp(json_str_or(o, "in", ""), "body");
    add_message(out, body ? 1 : 2, o, body ? encode_body_parameter : encode_non_body_parameter);
}

static void encode_parameters_item(const cJSON *o, struct buf *out)
{
    add_message(out, 1, o, encode_parameter);
}

static void encode_response(const cJSON *o, struct buf *out)
{
    add_text(out, 1, o, "description");
    add_message(out, 2, json_get(o, "schema"), encode_wrapped_schema);
}

static void encode_response_value(const cJSON *o, struct buf *out)
{
    add_message(out, 1, o, encode_response);
}

static void encode_responses(const cJSON *o, struct buf *out)
{
    add_all_named(out, 1, o, encode_response_value);
}

static void add_parameters(struct buf *out, int number, const cJSON *list)
{
    for (const cJSON *p = list ? list->child : NULL; p; p = p->next)
        add_message(out, number, p, encode_parameters_item);
}

static void encode_operation(const cJSON *o, struct buf *out)
{
    add_texts(out, 1, json_get(o, "tags"));
    add_text(out, 3, o, "description");
    add_text(out, 5, o, "operationId");
    add_texts(out, 6, json_get(o, "produces"));
    add_texts(out, 7, json_get(o, "consumes"));
    add_parameters(out, 8, json_get(o, "parameters"));
    add_message(out, 9, json_get(o, "responses"), encode_responses);
    add_extensions(out, 13, o);
}

static void encode_path_item(const cJSON *o, struct buf *out)
{
    static const struct {
        int number;
        const char *method;
    } methods[] = {{2, "get"}, {3, "put"}, {4, "post"}, {5, "delete"}, {8, "patch"}};
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        add_message(out, methods[i].number, json_get(o, methods[i].method), encode_operation);
    add_parameters(out, 9, json_get(o, "parameters"));
}

static void encode_paths(const cJSON *o, struct buf *out)
{
    add_all_named(out, 2, o, encode_path_item);
}

static void encode_info(const cJSON *o, struct buf *out)
{
    add_text(out, 1, o, "title");
    add_text(out, 2, o, "version");
}

void gnostic_encode(const char *json, size_t len, struct buf *out)
{
    cleanup_json cJSON *o = json_parse(json, len, NULL);
    add_text(out, 1, o, "swagger");
    add_message(out, 2, json_get(o, "info"), encode_info);
    add_message(out, 8, json_get(o, "paths"), encode_paths);
    add_message(out, 9, json_get(o, "definitions"), encode_properties);
}
