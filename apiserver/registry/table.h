/* The Table form of objects (Accept: application/json;as=Table;g=meta.k8s.io;v=v1), written as
 * text:
 *
 *     table_open(&b, r, "v1", revision, continue_token, remaining, true);
 *     for each object: table_row(&b, r, "v1", object, text, len, TABLE_INCLUDE_METADATA, first);
 *     table_close(&b);
 *
 * A watch sends one Table with one row per event; only the first carries columnDefinitions. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "apiserver/resource.h"
#include "common/buf.h"

enum table_include { TABLE_INCLUDE_METADATA, TABLE_INCLUDE_OBJECT, TABLE_INCLUDE_NONE };
/* The query parameter includeObject; NULL or "" is Metadata. False for anything else. */
bool table_parse_include(const char *text, enum table_include *out);

/* meta_version: "v1" or "v1beta1". resource_version and continue_token may be NULL; remaining < 0:
 * not said. */
void table_open(struct buf *b, const struct resource *r, const char *meta_version,
                const char *resource_version, const char *continue_token, int64_t remaining,
                bool with_columns);
/* object: the parsed object; text, len: its JSON as served (used for includeObject=Object; NULL:
 * printed from object). */
void table_row(struct buf *b, const struct resource *r, const char *meta_version,
               const cJSON *object, const char *text, size_t len, enum table_include include,
               bool first);
void table_close(struct buf *b);

/* A whole Table of one object; kind decides whether it is r's own or a Scale. Appends to b. */
void table_one(struct buf *b, const struct resource *r, const char *meta_version,
               const cJSON *object, enum table_include include);
/* {"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/<v>","metadata":{...}} of an object.
 * Appends to b. */
void table_partial_metadata(struct buf *b, const char *meta_version, const cJSON *object);
