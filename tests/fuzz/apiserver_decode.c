/* The way of a request's body: parse, decode against a kind, default, validate (as a create and as an update
 * of itself). The first byte chooses the kind. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "apiserver/schema/decode.h"
#include "apiserver/schema/defaults.h"
#include "apiserver/validation/validation.h"
#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void nothing(void *ctx, const char *text)
{
    (void)ctx, (void)text;
}

static const struct schema_type *nth_kind(size_t n)
{
    size_t kinds = 0;
    for (size_t i = 0; i < schema_type_count(); i++)
        kinds += (schema_type_at(i)->flags & SCHEMA_IS_KIND) != 0;
    n %= kinds;
    for (size_t i = 0;; i++)
        if ((schema_type_at(i)->flags & SCHEMA_IS_KIND) && n-- == 0)
            return schema_type_at(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct schema_type *t = nth_kind(data[0]);
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *o =
        schema_decode_body(t, (const char *)data + 1, size - 1, data[0] % 3, nothing, NULL, &err);
    if (!o) {
        if (!err)
            abort();
        return 0;
    }
    defaults_fn *fn = schema_defaults_for(t->group, t->version, t->name);
    if (fn)
        fn(o);
    schema_default(t, o);
    validate_fn *validate = validation_for(t->group, t->version, t->name);
    const char *const subs[] = {"", "status"};
    for (int i = 0; i < 4; i++) {
        cleanup_field_errors struct field_errors errors = {0};
        cleanup_error struct error *invalid = NULL;
        cleanup_json cJSON *old = i & 1 ? json_dup(o) : NULL;
        if (validate)
            validate(o, old, subs[i >> 1], &errors);
        else
            validate_generic(o, old, true, &errors);
        field_errors_check(&errors, t->group, t->name, "x", &invalid);
    }
    return 0;
}
