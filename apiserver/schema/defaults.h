/* Defaulting: what Kubernetes fills in for what was left out. */
#pragma once
#include <cjson/cJSON.h>
#include "apiserver/schema/schema.h"

/* The defaults that the schema itself states (field->default_value), everywhere below object. */
void schema_default(const struct schema_type *t, cJSON *object);

typedef void defaults_fn(cJSON *object);
/* All defaults of one kind (those of the schema too); NULL when the kind has none beyond the schema's.
 * Idempotent. */
defaults_fn *schema_defaults_for(const char *group, const char *version, const char *kind);

void default_pod(cJSON *object);
void default_pod_template(cJSON *template); /* a PodTemplateSpec */
void default_pod_spec(cJSON *spec);
void default_deployment(cJSON *object);
void default_replicaset(cJSON *object);
void default_service(cJSON *object);
void default_endpoints(cJSON *object);
void default_endpointslice(cJSON *object);
void default_namespace(cJSON *object);
void default_node(cJSON *object);
void default_secret(cJSON *object);
