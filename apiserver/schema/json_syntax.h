/* Is a text JSON, and if not, what would Go's encoding/json say about it? cJSON reads more than JSON and says less. */
#pragma once
#include <stddef.h>

#define JSON_DEPTH_MAX 1000 /* as common/json.h reads */
/* NULL when the text is one JSON value; else "invalid character 'x' looking for beginning of value",
 * "unexpected end of JSON input", "exceeded max depth" (caller frees). */
char *json_syntax_error(const char *text, size_t len);
