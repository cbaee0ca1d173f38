/* Structural schemas: pruning and defaulting.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
 */
#include <string.h>
#include "apiserver/crd/custom.h"
#include "common/json.h"
#include "common/mem.h"

static bool flag(const cJSON *schema, const char *name)
{
    return cJSON_IsTrue(json_get(schema, name));
}

#define PRESERVE      "x-kubernetes-preserve-unknown-fields"
#define INT_OR_STRING "x-kubernetes-int-or-string"
#define EMBEDDED      "x-kubernetes-embedded-resource"

/* The schema of a member that is no property of its own; NULL: there is none. */
static const cJSON *additional(const cJSON *schema)
{
    const cJSON *a = json_get(schema, "additionalProperties");
    return cJSON_IsObject(a) ? a : NULL;
}

/* --- pruning --- */
static bool always_known(const cJSON *schema, const char *name)
{
    return flag(schema, EMBEDDED) &&
           (!strcmp(name, "apiVersion") || !strcmp(name, "kind") || !strcmp(name, "metadata"));
}

/* The metadata of an embedded object is Kubernetes' own. */
static void prune_metadata(cJSON *metadata, const char *path, struct strict_errors *strict)
{
    const struct schema_type *t = schema_find_type("meta.k8s.io", "v1", "ObjectMeta");
    for (cJSON *v = metadata->child, *next; v; v = next) {
        next = v->next;
        if (schema_field(t, v->string))
            continue;
        cleanup_free char *at = mem_printf("%s.%s", path, v->string);
        strict_note(strict, "unknown", at);
        cJSON_Delete(cJSON_DetachItemViaPointer(metadata, v));
    }
}

void structural_prune(const cJSON *schema, cJSON *value, const char *path,
                      struct strict_errors *strict)
{
    if (cJSON_IsArray(value)) {
        const cJSON *items = json_get(schema, "items");
        int i = 0;
        for (cJSON *v = value->child; v && cJSON_IsObject(items); v = v->next) {
            cleanup_free char *at = mem_printf("%s[%d]", path, i++);
            structural_prune(items, v, at, strict);
        }
        return;
    }
    if (!cJSON_IsObject(value))
        return;
    const cJSON *properties = json_get(schema, "properties"),
                *more = json_get(schema, "additionalProperties");
    for (cJSON *v = value->child, *next; v; v = next) {
        next = v->next;
        cleanup_free char *at =
            *path ? mem_printf("%s.%s", path, v->string) : mem_strdup(v->string);
        const cJSON *own = json_get(properties, v->string);
        if (flag(schema, EMBEDDED) && !strcmp(v->string, "metadata") && cJSON_IsObject(v)) {
            prune_metadata(v, at, strict);
        } else if (own) {
            structural_prune(own, v, at, strict);
        } else if (cJSON_IsObject(more)) {
            structural_prune(more, v, at, strict);
        } else if (!cJSON_IsTrue(more) && !flag(schema, PRESERVE) &&
                   !always_known(schema, v->string)) {
            strict_note(strict, "unknown", at);
            cJSON_Delete(cJSON_DetachItemViaPointer(value, v));
        }
    }
}

/* --- defaulting --- */
void structural_default(const cJSON *schema, cJSON *value)
{
    if (cJSON_IsArray(value)) {
        const cJSON *items = json_get(schema, "items");
        for (cJSON *v = value->child; v && cJSON_IsObject(items); v = v->next)
            structural_default(items, v);
        return;
    }
    if (!cJSON_IsObject(value))
        return;
    const cJSON *properties = json_get(schema, "properties"), *p, *more = additional(schema);
    cJSON_ArrayForEach(p, properties)
    {
        const cJSON *otherwise = json_get(p, "default");
        cJSON *v = json_get(value, p->string);
        if (otherwise && (!v || (cJSON_IsNull(v) && !flag(p, "nullable")))) {
            json_map_set(value, p->string, json_dup(otherwise));
            v = json_get(value, p->string);
        }
        if (v)
            structural_default(p, v);
    }
    for (cJSON *v = value->child; v && more; v = v->next)
        if (!json_get(properties, v->string))
            structural_default(more, v);
}
