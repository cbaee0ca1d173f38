/* Custom resources: a definition's schema, a line feed, an object. A schema that validation accepts
 * is pruned by, defaulted by and validated against; so are its printer columns' paths. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "apiserver/validation/validation.h"
#include "common/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char around[] =
        "{\"metadata\":{\"name\":\"xs.e.org\"},\"spec\":{\"group\":\"e.org\",\"scope\":\"Cluster\","
        "\"names\":{\"plural\":\"xs\",\"singular\":\"x\",\"kind\":\"X\",\"listKind\":\"XList\"},"
        "\"versions\":[{\"name\":\"v1\",\"served\":true,\"storage\":true,\"schema\":{}}]}}";
    const uint8_t *line = memchr(data, '\n', size);
    if (!line)
        return 0;
    cleanup_json cJSON *crd = json_parse(around, sizeof around - 1, NULL);
    cJSON *schema = json_parse((const char *)data, (size_t)(line - data), NULL);
    if (!schema)
        return 0;
    json_set(json_path(crd, "spec.versions")->child, "schema.openAPIV3Schema", schema);
    cleanup_json cJSON *object =
        json_parse((const char *)line + 1, size - (size_t)(line + 1 - data), NULL);
    if (!object)
        return 0;
    cleanup_field_errors struct field_errors bad = {0};
    validation_for("apiextensions.k8s.io", "v1", "CustomResourceDefinition")(crd, NULL, "", &bad);
    cleanup_json cJSON *before = json_dup(object);
    cleanup_strict_errors struct strict_errors strict = {0};
    structural_prune(schema, object, "", &strict);
    structural_default(schema, object);
    if (!bad.count) { /* both settle */
        cleanup_json cJSON *once = json_dup(object);
        structural_prune(schema, object, "", NULL);
        structural_default(schema, object);
        if (!json_equal(once, object))
            abort();
    }
    cleanup_field_errors struct field_errors errors = {0};
    structural_validate(schema, object, NULL, NULL, &errors);
    structural_validate(schema, object, before, NULL, &errors);
    jsonpath_find(object, cJSON_IsString(json_get(object, "path"))
                              ? json_get(object, "path")->valuestring
                              : ".a[0].b");
    return 0;
}
