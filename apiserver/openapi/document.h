/* OpenAPI documents, made from the schema and the resources when they are asked for. Inside
 * apiserver/openapi/. */
#pragma once
#include <stdbool.h>
#include "apiserver/openapi/json_writer.h"
#include "apiserver/patch/key_index.h"
#include "apiserver/resource.h"
#include "apiserver/schema/schema.h"

struct document {
    struct json_writer w;
    bool v2; /* Swagger 2.0, else OpenAPI 3.0 */
    /* Types that the document refers to, in the order of their first mention; those from `written` on are yet
     * to be defined. */
    const struct schema_type **types;
    size_t type_count, written;
    struct key_index known;
    unsigned specials; /* bits by enum schema_value of scalars that have a definition of their own, and the
                          two below */
};
enum { SPECIAL_PATCH = 30 };

/* The document of one group and version (v3) or of all (v2, group NULL). Appends to out. */
void openapi_document(struct buf *out, bool v2, const char *group, const char *version);

/* --- between document.c, schemas.c and paths.c --- */
void document_add_ref(struct document *d, const struct schema_type *t); /* {"$ref": ...} */
void document_add_special_ref(struct document *d, int special);
void document_add_schemas(struct document *d); /* all that is referred to, members of an open object */
void document_add_paths(struct document *d, const char *group, const char *version);
void document_add_gvk(struct document *d, const char *group, const char *version,
                      const char *kind); /* {group, kind, version} */
void document_free(struct document *d);
