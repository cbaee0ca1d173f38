/* Custom resources: descriptors and schema nodes made at run time from a CustomResourceDefinition.
 *
 * A custom_type lives as long as the process: requests and watches hold descriptors without
 * counting, and definitions change rarely. */
#pragma once
#include <cjson/cJSON.h>
#include "apiserver/resource.h"
#include "apiserver/schema/decode.h"
#include "apiserver/schema/schema.h"
#include "apiserver/validation/field_errors.h"

/* What a definition brings about. Never freed. */
struct custom {
    const struct custom *before; /* all that were ever built */
    size_t count;
    const struct resource *stored;   /* whose form is stored; NULL: the definition has none */
    const struct resource *served[]; /* of all served versions */
};
/* deleting: nothing new may be made. */
const struct custom *custom_build(const cJSON *crd, bool deleting);
/* Kubernetes' order of versions: v2, v1, v1beta2, v1beta1, v1alpha1, others by name. < 0: a comes
 * first. */
int custom_compare_versions(const char *a, const char *b);

/* k8s.io, kubernetes.io and what is below them: definitions there say who approved of them. */
bool custom_is_protected_group(const char *group);

/* --- what OpenAPI shows --- */
/* openAPIV3Schema. */
const cJSON *custom_schema(const struct schema_type *t);
const struct schema_type *custom_list_type(const struct schema_type *t);

/* --- what the request pipeline does with a custom type (type->flags & SCHEMA_IS_CUSTOM) --- */
/* Drops what the definition does not know, noting it in strict (may be NULL). False on metadata
 * that is none. */
bool custom_decode(const struct schema_type *t, cJSON *object, struct strict_errors *strict,
                   struct error **err);
void custom_default(const struct schema_type *t, cJSON *object);
void custom_validate(const struct schema_type *t, const cJSON *object, const cJSON *old,
                     const char *sub, struct field_errors *errors);
void custom_row(const struct schema_type *t, const cJSON *object, cJSON *cells);
/* The object as r's version shows it (conversion None): with its apiVersion, without what the
 * definition does not know (any more), with the defaults that it has (by now). A new object. */
cJSON *custom_as(const struct resource *r, const cJSON *object);

/* --- structural.c, structural_validate.c: one structural schema --- */
void structural_prune(const cJSON *schema, cJSON *value, const char *path,
                      struct strict_errors *strict);
void structural_default(const cJSON *schema, cJSON *value);
/* old: the value that this one replaces, or NULL. What was wrong before may stay wrong. p: NULL at
 * the root. */
void structural_validate(const cJSON *schema, const cJSON *value, const cJSON *old,
                         const struct field_path *p, struct field_errors *errors);

/* --- formats.c --- */
#define PATTERN_ERROR_MAX 120
bool pattern_compiles(const char *pattern, char why[PATTERN_ERROR_MAX]);
/* True also when the pattern is none. */
bool pattern_matches(const char *pattern, const char *text);
/* True also when the format is unknown. */
bool format_matches(const char *format, const char *text);

/* --- jsonpath.c: the simple paths of printer columns and of scale: .a.b, ['a'], [0], [*],
 * [?(@.a=="b")] --- */
/* The first value; NULL when there is none. */
const cJSON *jsonpath_find(const cJSON *object, const char *path);
