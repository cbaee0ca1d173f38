/* From JSON to YAML, by libyaml's emitter. */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "common/yaml.h"
#include "common/json.h"
#include "common/mem.h"

static void emit(yaml_emitter_t *e, yaml_event_t *event, int made)
{
    if (!made || !yaml_emitter_emit(e, event))
        abort(); /* out of memory: nothing else can fail, the events are ours */
}

static void emit_scalar(yaml_emitter_t *e, const char *text, size_t len, yaml_scalar_style_t style)
{
    yaml_event_t event;
    emit(e, &event,
         yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)len, 1, 1,
                                      style));
}

static void emit_string(yaml_emitter_t *e, const char *text)
{
    size_t len = strlen(text);
    yaml_scalar_style_t style = YAML_ANY_SCALAR_STYLE;
    if (strchr(text, '\n')) {
        style = YAML_LITERAL_SCALAR_STYLE;
    } else {
        cleanup_json cJSON *read = yaml_plain_scalar(text);
        if (!cJSON_IsString(read))
            style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    }
    emit_scalar(e, text, len, style);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static void emit_value(yaml_emitter_t *e, const cJSON *v);

static void emit_map(yaml_emitter_t *e, const cJSON *map)
{
    size_t n = (size_t)cJSON_GetArraySize(map), i = 0;
    cleanup_free const cJSON **members = mem_alloc((n + 1) * sizeof *members);
    for (const cJSON *m = map->child; m; m = m->next)
        members[i++] = m;
    qsort(members, n, sizeof *members, by_name);
    yaml_event_t event;
    emit(e, &event,
         yaml_mapping_start_event_initialize(
             &event, NULL, NULL, 1, n ? YAML_BLOCK_MAPPING_STYLE : YAML_FLOW_MAPPING_STYLE));
    for (i = 0; i < n; i++) {
        emit_string(e, members[i]->string);
        emit_value(e, members[i]);
    }
    emit(e, &event, yaml_mapping_end_event_initialize(&event));
}

static void emit_list(yaml_emitter_t *e, const cJSON *list)
{
    yaml_event_t event;
    emit(e, &event,
         yaml_sequence_start_event_initialize(&event, NULL, NULL, 1,
                                              list->child ? YAML_BLOCK_SEQUENCE_STYLE
                                                          : YAML_FLOW_SEQUENCE_STYLE));
    for (const cJSON *item = list->child; item; item = item->next)
        emit_value(e, item);
    emit(e, &event, yaml_sequence_end_event_initialize(&event));
}

static void emit_value(yaml_emitter_t *e, const cJSON *v)
{
    if (cJSON_IsObject(v)) {
        emit_map(e, v);
    } else if (cJSON_IsArray(v)) {
        emit_list(e, v);
    } else if (cJSON_IsString(v)) {
        emit_string(e, v->valuestring);
    } else { /* null, booleans and numbers read the same */
        cleanup_free char *text = json_text(v);
        emit_scalar(e, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
    }
}

static int on_write(void *out, unsigned char *text, size_t len)
{
    buf_add(out, text, len);
    return 1;
}

void yaml_print(const cJSON *value, struct buf *out)
{
    yaml_emitter_t e;
    yaml_event_t event;
    if (!yaml_emitter_initialize(&e))
        abort();
    yaml_emitter_set_output(&e, on_write, out);
    yaml_emitter_set_unicode(&e, 1);
    yaml_emitter_set_width(&e, -1);
    emit(&e, &event, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING));
    emit(&e, &event, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1));
    emit_value(&e, value);
    emit(&e, &event, yaml_document_end_event_initialize(&event, 1));
    emit(&e, &event, yaml_stream_end_event_initialize(&event));
    yaml_emitter_delete(&e);
}
