/* Server-side apply: a byte that chooses the kind, the object that is there (made by an apply of
 * its own), a line feed, what is applied to it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/apply/managed.h"
#include "apiserver/schema/decode.h"
#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static cJSON *decoded(const struct schema_type *t, const char *text, size_t len)
{
    cJSON *o = json_parse(text, len, NULL);
    struct error *err = NULL;
    if (cJSON_IsObject(o) && schema_decode(t, o, NULL, &err))
        return o;
    error_free(err);
    cJSON_Delete(o);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size > 2 ? memchr(data + 1, '\n', size - 1) : NULL;
    if (!line)
        return 0;
    static const char *const kinds[][2] = {
        {"v1", "Pod"}, {"apps/v1", "Deployment"}, {"v1", "Service"}, {"v1", "Node"}};
    const char *const *k = kinds[data[0] & 3];
    const struct schema_type *t = schema_find_api_version(k[0], k[1]);
    const struct field_manager
        first = {.name = "a", .api_version = k[0], .subresource = "", .has_status = true},
        second = {.name = "b", .api_version = k[0], .subresource = "", .has_status = true};
    cleanup_json cJSON *there = decoded(t, (const char *)data + 1, (size_t)(line - data) - 1),
                       *applied =
                           decoded(t, (const char *)line + 1, size - (size_t)(line + 1 - data));
    if (!there || !applied)
        return 0;
    cleanup_error struct error *err = NULL, *conflict = NULL;
    cleanup_json cJSON *live = managed_apply(t, NULL, there, &first, false, &err);
    cleanup_json cJSON *merged =
        live ? managed_apply(t, live, applied, &second, data[0] & 4, &conflict) : NULL;
    if ((!live && !err) || (live && !merged && !conflict))
        abort();
    return 0;
}
