/* Look-ups in the schema tables. */
#include "apiserver/schema/schema.h"
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/table.h"

size_t schema_type_count(void)
{
    return schema_types_count;
}

const struct schema_type *schema_type_at(size_t i)
{
    return i < schema_types_count ? &schema_types[i] : NULL;
}

struct key {
    const char *group, *version, *name;
};

static int compare_type(const void *key, const void *element)
{
    const struct key *k = key;
    const struct schema_type *t = element;
    int c = strcmp(k->group, t->group);
    if (!c)
        c = strcmp(k->version, t->version);
    return c ? c : strcmp(k->name, t->name);
}

const struct schema_type *schema_find_type(const char *group, const char *version, const char *name)
{
    struct key k = {group, version, name};
    return bsearch(&k, schema_types, schema_types_count, sizeof *schema_types, compare_type);
}

const struct schema_type *schema_find(const char *group, const char *version, const char *kind)
{
    const struct schema_type *t = schema_find_type(group, version, kind);
    if (!t)
        t = schema_find_type("meta.k8s.io", "v1", kind);
    return t && (t->flags & SCHEMA_IS_KIND) ? t : NULL;
}

const struct schema_type *schema_find_api_version(const char *api_version, const char *kind)
{
    const char *slash = strchr(api_version, '/');
    if (!slash)
        return schema_find("", api_version, kind);
    char group[128];
    size_t n = (size_t)(slash - api_version);
    if (n >= sizeof group)
        return NULL;
    memcpy(group, api_version, n);
    group[n] = '\0';
    return schema_find(group, slash + 1, kind);
}

static int compare_field(const void *key, const void *element)
{
    return strcmp(key, ((const struct schema_field *)element)->name);
}

const struct schema_field *schema_field(const struct schema_type *t, const char *json_name)
{
    if (!t || !json_name || !t->field_count)
        return NULL;
    return bsearch(json_name, t->fields, t->field_count, sizeof *t->fields, compare_field);
}
