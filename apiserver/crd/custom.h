/* Custom resources: descriptors and schema nodes made at run time from a CustomResourceDefinition.
 *
 * A custom_type lives as long as the process: requests and watches hold descriptors without counting, and
 * definitions change rarely. */
#pragma once
#include <cjson/cJSON.h>
#include "apiserver/resource.h"
#include "apiserver/schema/decode.h"
#include "apiserver/schema/schema.h"
#include "apiserver/validation/field_errors.h"

/* The resources of all served versions of a definition, the stored one first; *count of them. Never freed.
 * deleting: nothing new may be made. */
struct resource **custom_build(const cJSON *crd, bool deleting, size_t *count);

/* --- what the request pipeline does with a custom type (type->flags & SCHEMA_IS_CUSTOM) --- */
/* Drops what the definition does not know, noting it in strict (may be NULL). False on metadata that is none. */
bool custom_decode(const struct schema_type *t, cJSON *object, struct strict_errors *strict,
                   struct error **err);
void custom_default(const struct schema_type *t, cJSON *object);
void custom_validate(const struct schema_type *t, const cJSON *object, const cJSON *old, const char *sub,
                     struct field_errors *errors);
void custom_row(const struct schema_type *t, const cJSON *object, cJSON *cells);
/* The object as another version of its group shows it (conversion None). A new object. */
cJSON *custom_as(const struct resource *r, const cJSON *object);

/* --- structural.c: one structural schema --- */
void structural_prune(const cJSON *schema, cJSON *value, const char *path, struct strict_errors *strict);
void structural_default(const cJSON *schema, cJSON *value);
void structural_validate(const cJSON *schema, const cJSON *value, const struct field_path *p,
                         struct field_errors *errors);
void strict_note(struct strict_errors *strict, const char *path);

/* --- jsonpath.c: the simple paths of printer columns and of scale: .a.b, ['a'], [0], [*], [?(@.a=="b")] --- */
/* The first value; NULL when there is none. */
const cJSON *jsonpath_find(const cJSON *object, const char *path);
