/* Schemas of types. */
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "apiserver/openapi/document.h"
#include "common/json.h"
#include "common/mem.h"

/* Scalars with a definition of their own. Meanings of "format" as Kubernetes publishes them. */
static const struct {
    int special;
    const char *name, *body;
} specials[] = {
    {SCHEMA_TIME, "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
     "{\"type\":\"string\",\"format\":\"date-time\"}"},
    {SCHEMA_MICROTIME, "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
     "{\"type\":\"string\",\"format\":\"date-time\"}"},
    {SCHEMA_DURATION, "io.k8s.apimachinery.pkg.apis.meta.v1.Duration", "{\"type\":\"string\"}"},
    {SCHEMA_QUANTITY, "io.k8s.apimachinery.pkg.api.resource.Quantity", NULL},
    {SCHEMA_INT_OR_STRING, "io.k8s.apimachinery.pkg.util.intstr.IntOrString", NULL},
    {SCHEMA_RAW, "io.k8s.apimachinery.pkg.runtime.RawExtension", "{\"type\":\"object\"}"},
    {SCHEMA_FIELDS_V1, "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "{\"type\":\"object\"}"},
    {SCHEMA_ANY, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "{}"},
    {SCHEMA_PROPS_OR_ARRAY, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
     "{}"},
    {SCHEMA_PROPS_OR_BOOL, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
     "{}"},
    {SCHEMA_PROPS_OR_STRINGS,
     "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", "{}"},
    {SPECIAL_PATCH, "io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "{\"type\":\"object\"}"},
};

static void add_ref(struct document *d, const char *name)
{
    cleanup_free char *ref = mem_printf("%s%s", d->v2 ? "#/definitions/" : "#/components/schemas/", name);
    json_begin(&d->w, '{');
    json_member(&d->w, "$ref", ref);
    json_end(&d->w, '}');
}

void document_add_special_ref(struct document *d, int special)
{
    d->specials |= 1u << special;
    for (size_t i = 0; i < ARRAY_LEN(specials); i++)
        if (specials[i].special == special)
            add_ref(d, specials[i].name);
}

void document_add_ref(struct document *d, const struct schema_type *t)
{
    cleanup_free char *name = mem_printf("%s.%s", t->package, t->name);
    if (!key_index_get(&d->known, name, 0)) {
        key_index_set(&d->known, name, 1);
        if ((d->type_count & (d->type_count - 1)) == 0)
            d->types = mem_realloc(d->types, sizeof *d->types * (d->type_count ? d->type_count * 2 : 1));
        d->types[d->type_count++] = t;
    }
    add_ref(d, name);
}

void document_add_gvk(struct document *d, const char *group, const char *version, const char *kind)
{
    json_begin(&d->w, '{');
    json_member(&d->w, "group", group);
    json_member(&d->w, "kind", kind);
    json_member(&d->w, "version", version);
    json_end(&d->w, '}');
}

static void add_plain(struct document *d, const char *type, const char *format)
{
    json_begin(&d->w, '{');
    json_member(&d->w, "type", type);
    json_member(&d->w, "format", format);
    json_end(&d->w, '}');
}

/* The schema of one value of a field. */
static void add_value(struct document *d, const struct schema_field *f)
{
    switch ((enum schema_value)f->value) {
    case SCHEMA_STRING:
        add_plain(d, "string", NULL);
        break;
    case SCHEMA_BOOL:
        add_plain(d, "boolean", NULL);
        break;
    case SCHEMA_INT32:
        add_plain(d, "integer", "int32");
        break;
    case SCHEMA_INT64:
        add_plain(d, "integer", "int64");
        break;
    case SCHEMA_DOUBLE:
        add_plain(d, "number", "double");
        break;
    case SCHEMA_BYTES:
        add_plain(d, "string", "byte");
        break;
    case SCHEMA_MESSAGE:
        document_add_ref(d, f->type);
        break;
    default:
        document_add_special_ref(d, f->value);
        break;
    }
}

static bool is_ref(const struct schema_field *f)
{
    return f->value > SCHEMA_BYTES;
}

static void add_list(struct document *d, const struct schema_field *f)
{
    json_member(&d->w, "type", "array");
    json_key(&d->w, "items");
    add_value(d, f);
}

static void add_field(struct document *d, const struct schema_field *f)
{
    static const char *const list_types[] = {
        [SCHEMA_LIST_ATOMIC] = "atomic", [SCHEMA_LIST_SET] = "set", [SCHEMA_LIST_MAP] = "map"};
    struct json_writer *w = &d->w;
    bool plain_ref = f->shape == SCHEMA_ONE && is_ref(f);
    if (plain_ref && !f->description && !f->default_value && f->list_type != SCHEMA_MAP_ATOMIC && !f->patch) {
        add_value(d, f);
        return;
    }
    json_begin(w, '{');
    json_member(w, "description", f->description);
    if (f->default_value) {
        json_key(w, "default");
        if (strchr("\"-0123456789tf", f->default_value[0]))
            json_bare(w, f->default_value);
        else
            json_string(w, f->default_value);
    }
    switch ((enum schema_shape)f->shape) {
    case SCHEMA_ONE:
        if (is_ref(f) && d->v2) {
            json_key(w, "$ref");
            size_t at = w->out->len; /* {"$ref":"..."} without what is around the text */
            add_value(d, f);
            cleanup_free char *text = mem_strndup(w->out->data + at + strlen("{\"$ref\":"),
                                                  w->out->len - at - strlen("{\"$ref\":") - 1);
            w->out->len = at;
            buf_adds(w->out, text);
            w->comma = true;
        } else if (is_ref(f)) {
            json_key(w, "allOf");
            json_begin(w, '[');
            add_value(d, f);
            json_end(w, ']');
        } else {
            static const char *const types[] = {
                [SCHEMA_STRING] = "string", [SCHEMA_BOOL] = "boolean",  [SCHEMA_INT32] = "integer",
                [SCHEMA_INT64] = "integer", [SCHEMA_DOUBLE] = "number", [SCHEMA_BYTES] = "string"};
            static const char *const formats[] = {[SCHEMA_INT32] = "int32",
                                                  [SCHEMA_INT64] = "int64",
                                                  [SCHEMA_DOUBLE] = "double",
                                                  [SCHEMA_BYTES] = "byte"};
            json_member(w, "type", types[f->value]);
            json_member(w, "format", formats[f->value]);
        }
        break;
    case SCHEMA_LIST:
        add_list(d, f);
        if (f->list_keys) {
            json_key(w, "x-kubernetes-list-map-keys");
            json_begin(w, '[');
            for (const char *k = f->list_keys; *k;) {
                size_t n = strcspn(k, ",");
                cleanup_free char *key = mem_strndup(k, n);
                json_string(w, key);
                k += n + (k[n] == ',');
            }
            json_end(w, ']');
        }
        if (f->list_type != SCHEMA_LIST_UNSET && f->list_type != SCHEMA_MAP_ATOMIC)
            json_member(w, "x-kubernetes-list-type", list_types[f->list_type]);
        break;
    case SCHEMA_MAP:
    case SCHEMA_MAP_OF_LISTS:
        json_member(w, "type", "object");
        json_key(w, "additionalProperties");
        if (f->shape == SCHEMA_MAP) {
            add_value(d, f);
        } else {
            json_begin(w, '{');
            add_list(d, f);
            json_end(w, '}');
        }
        break;
    }
    if (f->list_type == SCHEMA_MAP_ATOMIC)
        json_member(w, "x-kubernetes-map-type", "atomic");
    json_member(w, "x-kubernetes-patch-merge-key", f->merge_key);
    if (f->patch) {
        static const struct {
            unsigned bit;
            const char *name;
        } strategies[] = {{SCHEMA_PATCH_MERGE, "merge"},
                          {SCHEMA_PATCH_RETAIN_KEYS, "retainKeys"},
                          {SCHEMA_PATCH_REPLACE, "replace"}};
        cleanup_buf struct buf text = {0};
        for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
            if (f->patch & strategies[i].bit)
                buf_printf(&text, "%s%s", text.len ? "," : "", strategies[i].name);
        json_member(w, "x-kubernetes-patch-strategy", buf_str(&text));
    }
    json_end(w, '}');
}

static void add_meta_property(struct document *d, const char *name, const char *description)
{
    json_key(&d->w, name);
    json_begin(&d->w, '{');
    json_member(&d->w, "description", description);
    json_member(&d->w, "type", "string");
    json_end(&d->w, '}');
}

#define API_VERSION_TEXT "Group and version of this representation of the object."
#define KIND_TEXT        "Kind of the object: which REST resource it represents."

static void add_root_properties(struct document *d)
{
    static const struct schema_field metadata = {
        .name = "metadata", .description = "Metadata of the object.", .value = SCHEMA_MESSAGE};
    struct schema_field f = metadata;
    f.type = schema_find_type("meta.k8s.io", "v1", "ObjectMeta");
    add_meta_property(d, "apiVersion", API_VERSION_TEXT);
    add_meta_property(d, "kind", KIND_TEXT);
    json_key(&d->w, f.name);
    add_field(d, &f);
}

/* --- custom types: as their definition says it --- */
/* OpenAPI v2 can not say these; Kubernetes leaves them out there. */
static bool is_v3_only(const char *member)
{
    static const char *const members[] = {"nullable", "allOf", "anyOf", "oneOf", "not"};
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (!strcmp(members[i], member))
            return true;
    return false;
}

static void add_raw(struct document *d, const cJSON *schema);

static void add_raw_members(struct document *d, const cJSON *schema, const struct schema_type *root)
{
    struct json_writer *w = &d->w;
    bool any = d->v2 && (cJSON_IsTrue(json_get(schema, "nullable")) ||
                         cJSON_IsTrue(json_get(schema, "x-kubernetes-preserve-unknown-fields")));
    const cJSON *m, *p;
    cJSON_ArrayForEach(m, schema)
    {
        if (d->v2 && is_v3_only(m->string))
            continue;
        /* What may be anything has no type there. */
        if (any && !root && (!strcmp(m->string, "type") || !strcmp(m->string, "properties") || !strcmp(m->string, "items")))
            continue;
        if (!strcmp(m->string, "properties")) {
            json_key(w, "properties");
            json_begin(w, '{');
            if (root)
                add_root_properties(d);
            cJSON_ArrayForEach(p, m)
            {
                if (root && (!strcmp(p->string, "apiVersion") || !strcmp(p->string, "kind") || !strcmp(p->string, "metadata")))
                    continue;
                json_key(w, p->string);
                add_raw(d, p);
            }
            json_end(w, '}');
        } else if ((!strcmp(m->string, "items") || !strcmp(m->string, "additionalProperties")) && cJSON_IsObject(m)) {
            json_key(w, m->string);
            add_raw(d, m);
        } else {
            cleanup_free char *text = json_text(m);
            json_key(w, m->string);
            json_bare(w, text);
        }
    }
}

static void add_raw(struct document *d, const cJSON *schema)
{
    json_begin(&d->w, '{');
    add_raw_members(d, schema, NULL);
    json_end(&d->w, '}');
}

static void add_custom(struct document *d, const struct schema_type *t)
{
    struct json_writer *w = &d->w;
    const cJSON *schema = custom_schema(t);
    json_begin(w, '{');
    add_raw_members(d, schema, t);
    if (!json_get(schema, "properties")) {
        json_key(w, "properties");
        json_begin(w, '{');
        add_root_properties(d);
        json_end(w, '}');
    }
    json_key(w, "x-kubernetes-group-version-kind");
    json_begin(w, '[');
    document_add_gvk(d, t->group, t->version, t->name);
    json_end(w, ']');
    json_end(w, '}');
}

static void add_type(struct document *d, const struct schema_type *t)
{
    if (t->flags & SCHEMA_IS_CUSTOM) {
        add_custom(d, t);
        return;
    }
    struct json_writer *w = &d->w;
    bool kind = t->flags & SCHEMA_IS_KIND, required = false;
    json_begin(w, '{');
    json_member(w, "description", t->description);
    json_member(w, "type", "object");
    for (uint16_t i = 0; i < t->field_count; i++) {
        if (!(t->fields[i].flags & SCHEMA_REQUIRED))
            continue;
        if (!required) {
            json_key(w, "required");
            json_begin(w, '[');
        }
        required = true;
        json_string(w, t->fields[i].name);
    }
    if (required)
        json_end(w, ']');
    if (kind || t->field_count) {
        json_key(w, "properties");
        json_begin(w, '{');
        if (kind)
            add_meta_property(d, "apiVersion", API_VERSION_TEXT);
        for (uint16_t i = 0; i < t->field_count; i++) {
            json_key(w, t->fields[i].name);
            add_field(d, &t->fields[i]);
        }
        if (kind)
            add_meta_property(d, "kind", KIND_TEXT);
        json_end(w, '}');
    }
    if (kind) {
        json_key(w, "x-kubernetes-group-version-kind");
        json_begin(w, '[');
        document_add_gvk(d, strcmp(t->group, "meta.k8s.io") ? t->group : "", t->version, t->name);
        json_end(w, ']');
    }
    json_end(w, '}');
}

void document_add_schemas(struct document *d)
{
    while (d->written < d->type_count) {
        const struct schema_type *t = d->types[d->written++];
        cleanup_free char *name = mem_printf("%s.%s", t->package, t->name);
        json_key(&d->w, name);
        add_type(d, t);
    }
    for (size_t i = 0; i < ARRAY_LEN(specials); i++) {
        if (!(d->specials & 1u << specials[i].special))
            continue;
        json_key(&d->w, specials[i].name);
        if (specials[i].body)
            json_bare(&d->w, specials[i].body);
        else if (specials[i].special == SCHEMA_QUANTITY)
            json_bare(&d->w, d->v2 ? "{\"type\":\"string\"}"
                                   : "{\"oneOf\":[{\"type\":\"string\"},{\"type\":\"number\"}]}");
        else
            json_bare(&d->w, d->v2 ? "{\"type\":\"string\",\"format\":\"int-or-string\"}"
                                   : "{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"format\":"
                                     "\"int-or-string\"}");
    }
}
