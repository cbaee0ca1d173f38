#include "apiserver/registry/table.h"
#include <string.h>
#include "apiserver/crd/custom.h"
#include "apiserver/registry/tables.h"
#include "common/json.h"

static const struct resource_column columns_default[] = {
    {"Name", "string", "name", "Name must be unique within a namespace.", 0},
    {"Created At", "date", "", "Time when the object was created.", 0},
    {NULL, NULL, NULL, NULL, 0},
};

bool table_parse_include(const char *text, enum table_include *out)
{
    if (!text || !*text || !strcmp(text, "Metadata"))
        *out = TABLE_INCLUDE_METADATA;
    else if (!strcmp(text, "Object"))
        *out = TABLE_INCLUDE_OBJECT;
    else if (!strcmp(text, "None"))
        *out = TABLE_INCLUDE_NONE;
    else
        return false;
    return true;
}

static void add_string(struct buf *b, const char *s)
{
    json_print_string(s, strlen(s), b);
}

static void open_with_columns(struct buf *b, const struct resource_column *columns,
                              const char *meta_version, const char *resource_version,
                              const char *continue_token, int64_t remaining)
{
    buf_printf(b, "{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":{",
               meta_version);
    if (resource_version) {
        buf_adds(b, "\"resourceVersion\":");
        add_string(b, resource_version);
    }
    if (continue_token && *continue_token) {
        buf_adds(b, ",\"continue\":");
        add_string(b, continue_token);
    }
    if (remaining >= 0)
        buf_printf(b, ",\"remainingItemCount\":%lld", (long long)remaining);
    buf_adds(b, "},\"columnDefinitions\":[");
    for (const struct resource_column *c = columns; c && c->name; c++) {
        buf_adds(b, c == columns ? "{\"name\":" : ",{\"name\":");
        add_string(b, c->name);
        buf_adds(b, ",\"type\":");
        add_string(b, c->type);
        buf_adds(b, ",\"format\":");
        add_string(b, c->format ? c->format : "");
        buf_adds(b, ",\"description\":");
        add_string(b, c->description ? c->description : "");
        buf_printf(b, ",\"priority\":%d}", c->priority);
    }
    buf_adds(b, "],\"rows\":[");
}

void table_open(struct buf *b, const struct resource *r, const char *meta_version,
                const char *resource_version, const char *continue_token, int64_t remaining,
                bool with_columns)
{
    const struct resource_column *columns = r->columns ? r->columns : columns_default;
    open_with_columns(b, with_columns ? columns : NULL, meta_version, resource_version,
                      continue_token, remaining);
}

void table_partial_metadata(struct buf *b, const char *meta_version, const cJSON *object)
{
    buf_printf(
        b, "{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/%s\",\"metadata\":",
        meta_version);
    const cJSON *metadata = json_get(object, "metadata");
    if (metadata)
        json_print(metadata, b);
    else
        buf_adds(b, "{}");
    buf_addc(b, '}');
}

/* kubectl wait and pruned lists look at a completed pod's row condition. */
static void add_conditions(struct buf *b, const struct resource *r, const cJSON *object)
{
    if (strcmp(r->kind, "Pod") || *r->group)
        return;
    const char *phase = json_str_or(object, "status.phase", "");
    if (!strcmp(phase, "Succeeded"))
        buf_adds(
            b,
            ",\"conditions\":[{\"type\":\"Completed\",\"status\":\"True\",\"reason\":\"Succeeded\","
            "\"message\":\"The pod has completed successfully.\"}]");
    else if (!strcmp(phase, "Failed"))
        buf_adds(
            b, ",\"conditions\":[{\"type\":\"Completed\",\"status\":\"True\",\"reason\":\"Failed\","
               "\"message\":\"The pod failed.\"}]");
}

static void add_row(struct buf *b, const struct resource *r, void (*row)(const cJSON *, cJSON *),
                    const char *meta_version, const cJSON *object, const char *text, size_t len,
                    enum table_include include)
{
    cleanup_json cJSON *cells = cJSON_CreateArray();
    if (r->type && (r->type->flags & SCHEMA_IS_CUSTOM) && row == row_default)
        custom_row(r->type, object, cells);
    else
        row(object, cells);
    buf_adds(b, "{\"cells\":");
    json_print(cells, b);
    add_conditions(b, r, object);
    buf_adds(b, ",\"object\":");
    if (include == TABLE_INCLUDE_NONE)
        buf_adds(b, "null");
    else if (include == TABLE_INCLUDE_METADATA)
        table_partial_metadata(b, meta_version, object);
    else if (text)
        buf_add(b, text, len);
    else
        json_print(object, b);
    buf_addc(b, '}');
}

void table_row(struct buf *b, const struct resource *r, const char *meta_version,
               const cJSON *object, const char *text, size_t len, enum table_include include,
               bool first)
{
    if (!first)
        buf_addc(b, ',');
    add_row(b, r, r->row ? r->row : row_default, meta_version, object, text, len, include);
}

void table_close(struct buf *b)
{
    buf_adds(b, "]}\n");
}

void table_one(struct buf *b, const struct resource *r, const char *meta_version,
               const cJSON *object, enum table_include include)
{
    bool scale = !strcmp(json_str_or(object, "kind", ""), "Scale") && strcmp(r->kind, "Scale") != 0;
    const char *version = json_str(object, "metadata.resourceVersion");
    if (scale)
        open_with_columns(b, columns_scale, meta_version, version, NULL, -1);
    else
        table_open(b, r, meta_version, version, NULL, -1, true);
    add_row(b, r,
            scale    ? row_scale
            : r->row ? r->row
                     : row_default,
            meta_version, object, NULL, 0, include);
    table_close(b);
}
