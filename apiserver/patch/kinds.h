/* The three kinds of patches, each in a file of its own. Inside apiserver/patch/. */
#pragma once
#include <cjson/cJSON.h>
#include "apiserver/schema/schema.h"
#include "common/error.h"

/* Each changes doc in place or gives a new one; doc is taken, also on failure. NULL on failure. */
cJSON *json_patch_apply(cJSON *doc, const cJSON *patch, struct error **err);
cJSON *merge_patch_apply(cJSON *doc, const cJSON *patch);
cJSON *strategic_patch_apply(const struct schema_type *type, cJSON *doc, const cJSON *patch,
                             struct error **err);
/* 422 as Kubernetes answers to a patch that is well-formed but does not apply. */
void patch_error_unprocessable(struct error **err);
