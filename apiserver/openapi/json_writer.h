/* Writes JSON as a stream: an OpenAPI document is too large to be built as a tree first. Inside
 * apiserver/openapi/. */
#pragma once
#include <stdbool.h>
#include "common/buf.h"

struct json_writer {
    struct buf *out;
    bool comma; /* is one due before the next member or element? */
};
void json_begin(struct json_writer *w, char bracket); /* '{' or '[' */
void json_end(struct json_writer *w, char bracket);   /* '}' or ']' */
void json_key(struct json_writer *w, const char *key);
void json_string(struct json_writer *w, const char *value);
void json_bare(struct json_writer *w, const char *value); /* numbers, true, text that is JSON already */
/* key and value; nothing when value is NULL. */
void json_member(struct json_writer *w, const char *key, const char *value);
