/* Patches: a byte that chooses kind and type, the target, a line feed, the patch. What comes out is decoded.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/patch/patch.h"
#include "apiserver/schema/decode.h"
#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size > 2 ? memchr(data + 1, '\n', size - 1) : NULL;
    if (!line)
        return 0;
    static const char *const kinds[][2] = {
        {"v1", "Pod"}, {"apps/v1", "Deployment"}, {"v1", "Service"}, {"v1", "Node"}};
    const char *const *k = kinds[data[0] >> 2 & 3];
    const struct schema_type *t = schema_find_api_version(k[0], k[1]);
    cleanup_json cJSON *target = json_parse((const char *)data + 1, (size_t)(line - data) - 1, NULL);
    if (!cJSON_IsObject(target))
        return 0;
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *got = patch_apply_text(data[0] % 3, t, target, (const char *)line + 1,
                                               size - (size_t)(line + 1 - data), &err);
    if (!got && !err)
        abort();
    if (!got)
        return 0;
    cleanup_strict_errors struct strict_errors strict = {0};
    cleanup_error struct error *why = NULL;
    schema_decode(t, got, &strict, &why);
    cleanup_error struct error *invalid = NULL;
    char *shown = patch_shown(data[0] % 3, got, (const char *)line + 1, size - (size_t)(line + 1 - data));
    patch_error_invalid(&invalid, shown, error_message(why));
    free(shown);
    return 0;
}
