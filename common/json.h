/* Small additions to cJSON. Paths are dotted ("spec.template.metadata"); keys that contain dots
 * (labels, annotations) are reached by getting the map first. None of the getters takes ownership;
 * every getter accepts NULL and wrong types and then answers "absent". */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

/* Parses exactly one document; the error says where. Nesting deeper than 1,000 is refused.
 * The result is the caller's: cJSON_Delete or cleanup_json. */
cJSON *json_parse(const char *text, size_t len, struct error **err);
/* Case-sensitive member of an object; NULL if o is no object or lacks it. (cJSON_GetObjectItem is
 * case-insensitive: do not use it.) */
cJSON *json_get(const cJSON *o, const char *key);
cJSON *json_path(const cJSON *o, const char *dotted);
/* String at a dotted path; NULL when absent or no string. */
const char *json_str(const cJSON *o, const char *dotted);
/* The same, with a default. */
const char *json_str_or(const cJSON *o, const char *dotted, const char *otherwise);
int64_t json_int(const cJSON *o, const char *dotted, int64_t otherwise);
bool json_bool(const cJSON *o, const char *dotted, bool otherwise);
/* Member of a map whose keys may have dots; NULL when absent or no string. */
const char *json_map_str(const cJSON *map, const char *key);

/* Setters make missing objects on the way and replace what is there. The item's ownership passes to
 * the tree. json_set_* with NULL string removes. */
void json_set(cJSON *o, const char *dotted, cJSON *item);
void json_set_str(cJSON *o, const char *dotted, const char *value);
void json_set_int(cJSON *o, const char *dotted, int64_t value);
void json_set_bool(cJSON *o, const char *dotted, bool value);
void json_remove(cJSON *o, const char *dotted);
/* Sets one member of an object, key taken literally (dots allowed). */
void json_map_set(cJSON *map, const char *key, cJSON *item);
void json_map_set_str(cJSON *map, const char *key, const char *value);
/* The object at a dotted path, made if absent (or if it is null). */
cJSON *json_ensure_object(cJSON *o, const char *dotted);
cJSON *json_ensure_array(cJSON *o, const char *dotted);

/* Is one of an array's members this string? */
bool json_has_str(const cJSON *array, const char *text);
/* Drops the members of an object that are not named; names ends with NULL. Others than objects stay. */
void json_keep_only(cJSON *o, const char *const *names);
/* Semantic equality: members in any order; absent and null differ. NULL equals NULL only. */
bool json_equal(const cJSON *a, const cJSON *b);
cJSON *json_dup(const cJSON *o);
/* Compact text; integers up to 2^53 are printed exactly. Appends to b. */
void json_print(const cJSON *o, struct buf *b);
/* Compact text, caller frees. */
char *json_text(const cJSON *o);
/* Appends s as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD. */
void json_print_string(const char *s, size_t len, struct buf *b);

void json_cleanup(cJSON **o);
#define cleanup_json __attribute__((cleanup(json_cleanup)))
