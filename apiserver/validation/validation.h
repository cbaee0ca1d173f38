/* Validation of whole objects after defaulting, in Kubernetes' words. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "apiserver/validation/field_errors.h"

/* old is NULL on create; sub is "" or the subresource's name ("status", "scale", "binding"). */
typedef void validate_fn(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *errors);
/* NULL when a kind has no validation of its own beyond its metadata (validate_object_meta). */
validate_fn *validation_for(const char *group, const char *version, const char *kind);

/* How names of a kind must look. */
enum name_rule { NAME_DNS_SUBDOMAIN, NAME_DNS_LABEL, NAME_DNS1035_LABEL, NAME_PATH_SEGMENT };
/* metadata of any object (path "metadata"), on create and, with old, on update. */
void validate_object_meta(const cJSON *object, const cJSON *old, bool namespaced, enum name_rule rule,
                          struct field_errors *errors);
/* metadata of custom resources and of their definitions: finalizers may have any name. */
void validate_custom_meta(const cJSON *object, const cJSON *old, bool namespaced, struct field_errors *errors);
/* For kinds without a validate_fn: metadata alone. */
void validate_generic(const cJSON *object, const cJSON *old, bool namespaced, struct field_errors *errors);
