/* YAML documents as JSON, as Kubernetes reads them (YAML 1.1, one document). */
#pragma once
#include <cjson/cJSON.h>
#include <stddef.h>
#include "common/error.h"

/* NULL with an error of code 0. Nesting deeper than 1,000 and documents whose aliases make them
 * more than a million values are refused. */
cJSON *yaml_to_json(const char *text, size_t len, struct error **err);
