/* The patches of the Kubernetes API: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch
 * (driven by the schema). */
#pragma once
#include <cjson/cJSON.h>
#include "apiserver/schema/schema.h"
#include "common/error.h"

enum patch_kind { PATCH_JSON, PATCH_MERGE, PATCH_STRATEGIC };
/* By Content-Type, parameters ignored; false, with 415 UnsupportedMediaType, for others. */
bool patch_kind_parse(const char *content_type, enum patch_kind *out, struct error **err);
/* Returns the patched document, owned by the caller; target and patch are left alone. type is needed by
 * PATCH_STRATEGIC only. The result is to be decoded (schema_decode) like a request's body. Errors: 400
 * BadRequest for a malformed patch, 422 Invalid for one that does not apply (a missing path, a failed test).
 */
cJSON *patch_apply(enum patch_kind kind, const struct schema_type *type, const cJSON *target,
                   const cJSON *patch, struct error **err);
/* The same for the bytes of a request. */
cJSON *patch_apply_text(enum patch_kind kind, const struct schema_type *type, const cJSON *target,
                        const char *patch, size_t len, struct error **err);
/* How a patched document that does not decode is refused: 422 ' "" is invalid: patch: Invalid value:
 * "<shown>": <why>'. why is the error of schema_decode or the text of strict errors. */
void patch_error_invalid(struct error **err, const char *shown, const char *why);
/* What Kubernetes shows there: the patched document, or for a strategic merge patch the patch itself as Go
 * prints a map ("map[spec:map[replicas:x]]"). Caller frees. */
char *patch_shown(enum patch_kind kind, const cJSON *patched, const char *patch, size_t len);
