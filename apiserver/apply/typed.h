/* Objects seen through their schema: which fields they have, how two differ, how one is merged into
 * another. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "apiserver/apply/fieldset.h"
#include "apiserver/schema/schema.h"
#include "common/error.h"

/* Does an applied document follow its schema? False with 500 and structured-merge-diff's text: fields that are not
 * declared, values of another type, list items with one key. */
bool typed_check(const struct schema_type *type, const cJSON *object, struct error **err);
/* All fields of an object. */
struct fieldset *typed_fields(const struct schema_type *type, const cJSON *object);
/* What a kind has before anything is said about it: the structs and lists that Go always writes. */
cJSON *typed_empty(const struct schema_type *type);
/* Takes out of a decoded document what was not in the document as it was sent (structs that
 * decoding adds). */
void typed_keep_said(cJSON *decoded, const cJSON *said);
struct comparison {
    struct fieldset *added, *modified, *removed;
};
void typed_compare(const struct schema_type *type, const cJSON *before, const cJSON *after,
                   struct comparison *out);
void comparison_clear(struct comparison *c);
/* What is said in `applied` over what is in `live`; a new document. */
cJSON *typed_merge(const struct schema_type *type, const cJSON *live, const cJSON *applied);
/* Takes the members of the set out of the object. */
void typed_remove(const struct schema_type *type, cJSON *object, const struct fieldset *set);
