/* YAML documents as JSON, as Kubernetes reads them (YAML 1.1, one document). */
#pragma once
#include <cjson/cJSON.h>
#include <stddef.h>
#include "common/buf.h"
#include "common/error.h"

/* NULL with an error of code 0. Nesting deeper than 1,000 and documents whose aliases make them
 * more than a million values are refused. */
cJSON *yaml_to_json(const char *text, size_t len, struct error **err);
/* The same, but of keys that come twice in a map the last stays, and each of the others is noted in
 * duplicates: "\n  line 9: key "foo" already set in map". */
cJSON *yaml_to_json_noting(const char *text, size_t len, struct buf *duplicates, struct error **err);

/* What a plain scalar means: null, a boolean, a number or a string. The caller's. */
cJSON *yaml_plain_scalar(const char *text);

/* Appends a document as Kubernetes prints it: members in alphabetical order, strings quoted only
 * where YAML 1.1 would take them for something else. */
void yaml_print(const cJSON *value, struct buf *out);
