/* From a CustomResourceDefinition to descriptors and schema nodes. */
#include "apiserver/crd/custom.h"
#include <stdlib.h>
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

struct custom_type {
    struct schema_type type; /* first: a schema_type with SCHEMA_IS_CUSTOM is one of these */
    cJSON *definition;       /* shared by all versions */
    const cJSON *schema;     /* openAPIV3Schema, within it */
    const cJSON *columns;    /* additionalPrinterColumns, or NULL */
    bool has_status;
    struct schema_type list; /* of its objects */
};

static const struct custom_type *custom_of(const struct schema_type *t)
{
    return (const struct custom_type *)(const void *)t;
}

const cJSON *custom_schema(const struct schema_type *t)
{
    return custom_of(t)->schema;
}

const struct schema_type *custom_list_type(const struct schema_type *t)
{
    return &custom_of(t)->list;
}

/* --- schema nodes: what server-side apply looks at --- */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct schema_field *)a)->name, ((const struct schema_field *)b)->name);
}

struct place {
    const char *group, *version, *package;
};

static const struct schema_type *object_type(const struct place *at, const cJSON *schema,
                                             char *name);

static bool is_type(const cJSON *schema, const char *type)
{
    const char *is = json_map_str(schema, "type");
    return is && !strcmp(is, type);
}

static uint8_t scalar_value(const cJSON *schema)
{
    if (cJSON_IsTrue(json_get(schema, "x-kubernetes-int-or-string")))
        return SCHEMA_INT_OR_STRING;
    const char *format = json_map_str(schema, "format");
    if (is_type(schema, "string"))
        return SCHEMA_STRING;
    if (is_type(schema, "boolean"))
        return SCHEMA_BOOL;
    if (is_type(schema, "number"))
        return SCHEMA_DOUBLE;
    if (is_type(schema, "integer"))
        return format && !strcmp(format, "int32") ? SCHEMA_INT32 : SCHEMA_INT64;
    return SCHEMA_ANY;
}

static bool keeps_unknown(const cJSON *schema)
{
    return cJSON_IsTrue(json_get(schema, "x-kubernetes-preserve-unknown-fields"));
}

/* One value: a scalar, an object with properties, or anything. */
static void set_value(struct schema_field *f, const struct place *at, const cJSON *schema,
                      const char *parent)
{
    const cJSON *properties = json_get(schema, "properties");
    bool embedded = cJSON_IsTrue(json_get(schema, "x-kubernetes-embedded-resource"));
    if (is_type(schema, "object") && (embedded || (properties && properties->child))) {
        f->value = SCHEMA_MESSAGE;
        f->type = object_type(at, schema, mem_printf("%s.%s", parent, f->name));
    } else {
        f->value = scalar_value(schema);
    }
    if (f->value != SCHEMA_MESSAGE && keeps_unknown(schema))
        f->flags |= SCHEMA_DEDUCED;
}

static char *joined(const cJSON *list)
{
    struct buf b = {0};
    const cJSON *k;
    cJSON_ArrayForEach(k, list)
        buf_printf(&b, "%s%s", b.len ? "," : "", cJSON_IsString(k) ? k->valuestring : "");
    return b.len ? buf_take(&b) : NULL;
}

static void set_field(struct schema_field *f, const struct place *at, const cJSON *schema,
                      const char *parent)
{
    f->name = schema->string;
    f->description = json_map_str(schema, "description");
    f->flags = SCHEMA_KEEP_ZERO;
    const cJSON *items = json_get(schema, "items"),
                *more = json_get(schema, "additionalProperties");
    const char *list = json_map_str(schema, "x-kubernetes-list-type"),
               *map = json_map_str(schema, "x-kubernetes-map-type");
    const cJSON *otherwise = json_get(schema, "default");
    f->default_value = otherwise ? json_text(otherwise) : NULL; /* counts for keys of lists */
    bool plain_items = cJSON_IsObject(items) && !is_type(items, "array") &&
                       !json_get(items, "additionalProperties");
    bool plain_more =
        cJSON_IsObject(more) && !is_type(more, "array") && !json_get(more, "additionalProperties");
    if (is_type(schema, "array") && plain_items) {
        f->shape = SCHEMA_LIST;
        f->list_type = !list                  ? SCHEMA_LIST_ATOMIC
                       : !strcmp(list, "set") ? SCHEMA_LIST_SET
                       : !strcmp(list, "map") ? SCHEMA_LIST_MAP
                                              : SCHEMA_LIST_ATOMIC;
        f->list_keys = joined(json_get(schema, "x-kubernetes-list-map-keys"));
        set_value(f, at, items, parent);
    } else if (is_type(schema, "array")) {
        f->value = SCHEMA_ANY;
    } else if (is_type(schema, "object") && more && !cJSON_IsFalse(more)) {
        f->shape = SCHEMA_MAP;
        if (plain_more)
            set_value(f, at, more, parent);
        else
            f->value = SCHEMA_ANY;
    } else {
        set_value(f, at, schema, parent);
    }
    if (map && !strcmp(map, "atomic"))
        f->list_type = SCHEMA_MAP_ATOMIC;
}

static bool is_kinds_own(const char *name)
{
    return !strcmp(name, "metadata") || !strcmp(name, "kind") || !strcmp(name, "apiVersion");
}

/* kind: the root, or an embedded object: with Kubernetes' own metadata. */
static void add_fields(struct schema_type *t, const struct place *at, const cJSON *schema, bool kind)
{
    const cJSON *properties = json_get(schema, "properties"), *p, *r;
    struct schema_field *fields =
        mem_alloc(sizeof *fields * (size_t)(cJSON_GetArraySize(properties) + 1));
    uint16_t n = 0;
    if (kind)
        fields[n++] =
            (struct schema_field){.name = "metadata",
                                  .type = schema_find_type("meta.k8s.io", "v1", "ObjectMeta"),
                                  .description = "Metadata of the object.",
                                  .value = SCHEMA_MESSAGE,
                                  .flags = SCHEMA_VALUE};
    cJSON_ArrayForEach(p, properties)
    {
        if (n == UINT16_MAX || (kind && is_kinds_own(p->string)))
            continue;
        struct schema_field *f = &fields[n++];
        *f = (struct schema_field){0};
        set_field(f, at, p, t->name);
        cJSON_ArrayForEach(r, json_get(schema, "required"))
        {
            if (cJSON_IsString(r) && !strcmp(r->valuestring, p->string))
                f->flags |= SCHEMA_REQUIRED;
        }
    }
    qsort(fields, n, sizeof *fields, by_name);
    t->fields = fields;
    t->field_count = n;
}

/* Takes name. */
static const struct schema_type *object_type(const struct place *at, const cJSON *schema,
                                             char *name)
{
    struct schema_type *t = mem_alloc(sizeof *t);
    *t = (struct schema_type){.group = at->group,
                              .version = at->version,
                              .package = at->package,
                              .name = name,
                              .description = json_map_str(schema, "description"),
                              .flags = SCHEMA_PRESERVE_UNKNOWN |
                                       (keeps_unknown(schema) ? SCHEMA_UNKNOWN_DEDUCED : 0)};
    bool embedded = cJSON_IsTrue(json_get(schema, "x-kubernetes-embedded-resource"));
    if (embedded)
        t->flags |= SCHEMA_IS_KIND;
    add_fields(t, at, schema, embedded);
    return t;
}

/* "com.example.stable.v1" of stable.example.com/v1. */
static char *package_of(const char *group, const char *version)
{
    struct buf b = {0};
    for (const char *end = group + strlen(group); end > group;) {
        const char *start = end;
        while (start > group && start[-1] != '.')
            start--;
        buf_printf(&b, "%.*s.", (int)(end - start), start);
        end = start > group ? start - 1 : group;
    }
    buf_adds(&b, version);
    return buf_take(&b);
}

static void set_list_type(struct custom_type *c, const char *kind)
{
    struct schema_field *fields = mem_alloc(2 * sizeof *fields);
    fields[0] = (struct schema_field){.name = "items",
                                      .type = &c->type,
                                      .description = "The objects.",
                                      .value = SCHEMA_MESSAGE,
                                      .shape = SCHEMA_LIST,
                                      .flags = SCHEMA_REQUIRED};
    fields[1] = (struct schema_field){.name = "metadata",
                                      .type = schema_find_type("meta.k8s.io", "v1", "ListMeta"),
                                      .description = "Metadata of the list.",
                                      .value = SCHEMA_MESSAGE};
    c->list = (struct schema_type){.group = c->type.group,
                                   .version = c->type.version,
                                   .package = c->type.package,
                                   .name = kind ? kind : mem_printf("%sList", c->type.name),
                                   .fields = fields,
                                   .field_count = 2,
                                   .flags = SCHEMA_IS_KIND | SCHEMA_IS_LIST};
}

static struct custom_type *type_new(cJSON *definition, const cJSON *version, const char *group)
{
    struct custom_type *c = mem_alloc(sizeof *c);
    struct place at = {group, json_str(version, "name"),
                       package_of(group, json_str(version, "name"))};
    c->definition = definition;
    c->schema = json_path(version, "schema.openAPIV3Schema");
    c->columns = json_get(version, "additionalPrinterColumns");
    c->has_status = json_path(version, "subresources.status") != NULL;
    c->type =
        (struct schema_type){.group = group,
                             .version = at.version,
                             .package = at.package,
                             .name = json_str(definition, "spec.names.kind"),
                             .description = json_map_str(c->schema, "description"),
                             .flags = SCHEMA_IS_KIND | SCHEMA_PRESERVE_UNKNOWN | SCHEMA_IS_CUSTOM |
                                      (keeps_unknown(c->schema) ? SCHEMA_UNKNOWN_DEDUCED : 0)};
    add_fields(&c->type, &at, c->schema, true);
    set_list_type(c, json_str(definition, "spec.names.listKind"));
    return c;
}

/* --- descriptors --- */
static const char *const *strings(const cJSON *list)
{
    int n = cJSON_GetArraySize(list), i = 0;
    if (!n)
        return NULL;
    const char **out = mem_alloc(sizeof *out * (size_t)(n + 1));
    const cJSON *s;
    cJSON_ArrayForEach(s, list) if (cJSON_IsString(s)) out[i++] = s->valuestring;
    out[i] = NULL;
    return out;
}

static const struct resource_column *columns(const cJSON *list)
{
    int n = cJSON_GetArraySize(list), i = 0;
    struct resource_column *out = mem_alloc(sizeof *out * (size_t)(n + 3));
    out[i++] = (struct resource_column){"Name", "string", "name",
                                        "Name must be unique within a namespace.", 0};
    const cJSON *c;
    cJSON_ArrayForEach(c, list)
    {
        const char *type = json_str_or(c, "type", "string");
        out[i++] = (struct resource_column){
            json_str_or(c, "name", ""), !strcmp(type, "date") ? "string" : type,
            json_str_or(c, "format", ""), json_str_or(c, "description", ""),
            (int)json_int(c, "priority", 0)};
    }
    if (!n)
        out[i++] =
            (struct resource_column){"Age", "string", "", "Time since the object was created.", 0};
    out[i] = (struct resource_column){0};
    return out;
}

static const struct subresource *subresources(const cJSON *version)
{
    static const unsigned verbs = VERB_GET | VERB_UPDATE | VERB_PATCH;
    struct subresource *out = mem_alloc(3 * sizeof *out), *s = out;
    if (json_path(version, "subresources.scale"))
        *s++ = (struct subresource){"scale", "autoscaling", "v1", "Scale", verbs};
    if (json_path(version, "subresources.status"))
        *s++ = (struct subresource){"status", NULL, NULL, NULL, verbs};
    *s = (struct subresource){0};
    return out;
}

static bool no_status_at_first(cJSON *object, const cJSON *old, const char *sub, struct error **err)
{
    (void)sub;
    (void)err;
    if (!old)
        json_remove(object, "status");
    return true;
}

static const char *plain_path(const cJSON *version, const char *member)
{
    const char *path = json_str(json_path(version, "subresources.scale"), member);
    return path && *path == '.' ? path + 1 : path;
}

static struct resource *describe(cJSON *definition, const cJSON *version, bool deleting)
{
    struct resource *r = mem_alloc(sizeof *r);
    const cJSON *spec = json_get(definition, "spec"), *names = json_get(spec, "names");
    const char *group = json_str(spec, "group");
    struct custom_type *t = type_new(definition, version, group);
    *r = (struct resource){
        .group = group,
        .version = json_str(version, "name"),
        .kind = json_str(names, "kind"),
        .list_kind = t->list.name,
        .plural = json_str(names, "plural"),
        .singular = json_str_or(names, "singular", ""),
        .short_names = strings(json_get(names, "shortNames")),
        .categories = strings(json_get(names, "categories")),
        .namespaced = !strcmp(json_str_or(spec, "scope", ""), "Namespaced"),
        .verbs = deleting ? VERBS_ALL & ~(unsigned)VERB_CREATE : VERBS_ALL,
        .subresources = subresources(version),
        .storage_prefix = mem_printf("%s/%s", group, json_str(names, "plural")),
        .type = &t->type,
        .columns = columns(t->columns),
        .has_status = t->has_status,
        .generation = true,
        .scale_spec = plain_path(version, "specReplicasPath"),
        .scale_status = plain_path(version, "statusReplicasPath"),
        .scale_selector = plain_path(version, "labelSelectorPath"),
        .prepare = t->has_status ? no_status_at_first : NULL,
    };
    if (json_bool(version, "deprecated", false)) {
        const char *why = json_str(version, "deprecationWarning");
        r->deprecation =
            why ? why : mem_printf("%s/%s %s is deprecated", group, r->version, r->kind);
    }
    return r;
}

static bool is_or_below(const char *group, const char *domain)
{
    size_t n = strlen(group), d = strlen(domain);
    return n >= d && !strcmp(group + n - d, domain) && (n == d || group[n - d - 1] == '.');
}

bool custom_is_protected_group(const char *group)
{
    return is_or_below(group, "k8s.io") || is_or_below(group, "kubernetes.io");
}

/* 0 for "v1", 1 for "v1beta1", 2 for "v1alpha1", 3 for what is none of these; its numbers in *major
 * and *minor. */
static int stability(const char *version, long *major, long *minor)
{
    *major = *minor = 0;
    if (*version != 'v' || version[1] < '0' || version[1] > '9')
        return 3;
    char *end;
    *major = strtol(version + 1, &end, 10);
    if (!*end)
        return 0;
    bool beta = !strncmp(end, "beta", 4);
    if (!beta && strncmp(end, "alpha", 5) != 0)
        return 3;
    const char *digits = end + (beta ? 4 : 5);
    if (*digits < '0' || *digits > '9')
        return 3;
    *minor = strtol(digits, &end, 10);
    return *end ? 3 : beta ? 1 : 2;
}

int custom_compare_versions(const char *a, const char *b)
{
    long major_a, minor_a, major_b, minor_b;
    int kind = stability(a, &major_a, &minor_a), order = kind - stability(b, &major_b, &minor_b);
    if (!order && kind == 3)
        return strcmp(a, b);
    if (!order)
        order = (major_a < major_b) - (major_a > major_b);
    if (!order)
        order = (minor_a < minor_b) - (minor_a > minor_b);
    return order ? order : strcmp(a, b);
}

/* Only the thread that follows the definitions builds. */
static const struct custom *last_built;

const struct custom *custom_build(const cJSON *crd, bool deleting)
{
    cJSON *definition = json_dup(crd); /* strings of the descriptors lie in it */
    const cJSON *versions = json_path(definition, "spec.versions"), *v;
    size_t n = (size_t)cJSON_GetArraySize(versions);
    struct custom *out = mem_alloc(sizeof *out + n * sizeof *out->served);
    *out = (struct custom){.before = last_built};
    last_built = out;
    cleanup_free struct resource **all = mem_alloc(sizeof *all * (n + 1));
    size_t count = 0;
    cJSON_ArrayForEach(v, versions)
    {
        bool is_stored = json_bool(v, "storage", false), served = json_bool(v, "served", false);
        if (!is_stored && !served)
            continue;
        struct resource *r = all[count++] = describe(definition, v, deleting);
        if (is_stored)
            out->stored = r;
        if (served)
            out->served[out->count++] = r;
    }
    /* Objects may lie there as another version or an earlier schema left them. */
    bool varied = n > 1 || json_int(definition, "metadata.generation", 1) > 1;
    for (size_t i = 0; i < count && varied; i++) {
        all[i]->from_stored = all[i]->to_stored = custom_as;
        if (all[i] != out->stored)
            all[i]->stored_as = out->stored;
    }
    return out;
}

/* --- the pipeline's part --- */
/* All but metadata, kind and apiVersion, which are Kubernetes' own. */
static void prune(const struct custom_type *c, cJSON *object, struct strict_errors *strict)
{
    if (keeps_unknown(c->schema))
        return;
    const cJSON *properties = json_get(c->schema, "properties");
    for (cJSON *v = object->child, *next; v; v = next) {
        next = v->next;
        if (!strcmp(v->string, "metadata") || !strcmp(v->string, "kind") ||
            !strcmp(v->string, "apiVersion"))
            continue;
        const cJSON *own = json_get(properties, v->string);
        if (own) {
            structural_prune(own, v, v->string, strict);
            continue;
        }
        strict_note(strict, "unknown", v->string);
        cJSON_Delete(cJSON_DetachItemViaPointer(object, v));
    }
}

cJSON *custom_as(const struct resource *r, const cJSON *object)
{
    cJSON *o = json_dup(object);
    cleanup_free char *version = mem_printf("%s/%s", r->group, r->version);
    json_map_set_str(o, "apiVersion", version);
    prune(custom_of(r->type), o, NULL);
    structural_default(custom_of(r->type)->schema, o);
    return o;
}

bool custom_decode(const struct schema_type *t, cJSON *object, struct strict_errors *strict,
                   struct error **err)
{
    const struct custom_type *c = custom_of(t);
    strict_drop_duplicates(object, strict);
    /* Metadata is Kubernetes' own; the rest stays for pruning. */
    const struct schema_field metadata = {.name = "metadata",
                                          .type =
                                              schema_find_type("meta.k8s.io", "v1", "ObjectMeta"),
                                          .value = SCHEMA_MESSAGE,
                                          .flags = SCHEMA_VALUE};
    const struct schema_type meta_only = {.group = t->group,
                                          .version = t->version,
                                          .package = t->package,
                                          .name = t->name,
                                          .fields = &metadata,
                                          .field_count = 1,
                                          .flags = SCHEMA_IS_KIND | SCHEMA_PRESERVE_UNKNOWN};
    if (!schema_decode(&meta_only, object, strict, err))
        return false;
    prune(c, object, strict);
    return true;
}

void custom_default(const struct schema_type *t, cJSON *object)
{
    structural_default(custom_of(t)->schema, object);
}

void custom_validate(const struct schema_type *t, const cJSON *object, const cJSON *old,
                     const char *sub, struct field_errors *errors)
{
    (void)sub;
    structural_validate(custom_of(t)->schema, object, old, NULL, errors);
}

/* A value that is not of the column's type has an empty cell. */
static void add_cell(cJSON *cells, const cJSON *object, const cJSON *column)
{
    const char *type = json_str_or(column, "type", "string");
    const cJSON *v = jsonpath_find(object, json_str_or(column, "jsonPath", ""));
    if (!v || cJSON_IsNull(v)) {
        cJSON_AddItemToArray(cells, cJSON_CreateNull());
    } else if (!strcmp(type, "string")) {
        cleanup_free char *text = cJSON_IsString(v) ? mem_strdup(v->valuestring) : json_text(v);
        cell_str(cells, text);
    } else if (!strcmp(type, "date")) {
        cell_age(cells, cJSON_GetStringValue(v));
    } else if (!strcmp(type, "boolean") ? cJSON_IsBool(v) : cJSON_IsNumber(v)) {
        cJSON_AddItemToArray(cells, json_dup(v));
    } else {
        cJSON_AddItemToArray(cells, cJSON_CreateNull());
    }
}

void custom_row(const struct schema_type *t, const cJSON *object, cJSON *cells)
{
    const cJSON *list = custom_of(t)->columns, *c;
    cell_name(cells, object);
    cJSON_ArrayForEach(c, list) add_cell(cells, object, c);
    if (!cJSON_GetArraySize(list))
        cell_created(cells, object);
}
