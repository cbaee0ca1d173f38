/* Decoding of a document against its type, as Kubernetes' (Go's) decoder does: wrong types are errors,
 * unknown and duplicate fields are noted and dropped, nulls and empty optional values vanish, quantities
 * become canonical. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "apiserver/schema/schema.h"
#include "common/error.h"

/* What ?fieldValidation= asks for. */
enum field_validation { FIELD_VALIDATION_WARN, FIELD_VALIDATION_IGNORE, FIELD_VALIDATION_STRICT };
/* "" and NULL are the default (Warn). False for other texts. */
bool field_validation_parse(const char *text, enum field_validation *out);

/* What strict decoding minds: 'unknown field "spec.foo"', 'duplicate field "spec.replicas"'. At most 100 are
 * kept. */
struct strict_errors {
    char **items;
    size_t count;
};
void strict_errors_clear(struct strict_errors *s);
#define cleanup_strict_errors __attribute__((cleanup(strict_errors_clear)))
/* "strict decoding error: unknown field "a", unknown field "b"", caller frees. */
char *strict_errors_text(const struct strict_errors *s);

/* what: "unknown" or "duplicate". strict may be NULL. */
void strict_note(struct strict_errors *strict, const char *what, const char *path);
/* Of members with one name the last stays, the others are noted. strict may be NULL. */
void strict_drop_duplicates(cJSON *value, struct strict_errors *strict);

/* Changes object in place. strict may be NULL. False on a type mismatch, with Go's text alone:
 * "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32" (code 0);
 * the object is then half decoded. */
bool schema_decode(const struct schema_type *t, cJSON *object, struct strict_errors *strict,
                   struct error **err);

/* The whole way of a request's body: parses, checks apiVersion and kind against t (kind may be absent in the
 * body: then it is set), decodes, and judges strict errors by fv: Strict fails, Warn calls warn(ctx, text)
 * for each. Errors are 400 BadRequest with Kubernetes' text. */
cJSON *schema_decode_body(const struct schema_type *t, const char *body, size_t len, enum field_validation fv,
                          void (*warn)(void *ctx, const char *text), void *ctx, struct error **err);
/* The same for a document that is parsed already; consumes nothing, changes object in place. */
bool schema_decode_object(const struct schema_type *t, cJSON *object, enum field_validation fv,
                          void (*warn)(void *ctx, const char *text), void *ctx, struct error **err);
