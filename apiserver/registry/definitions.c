/* Strategy of CustomResourceDefinitions; what they bring about is in apiserver/crd. */
#include "apiserver/registry/strategy.h"
#include <string.h>
#include "common/json.h"

/* A new one is not accepted yet, and is not gone before its objects are. */
bool definition_prepare(cJSON *crd, const cJSON *old, const char *sub, struct error **err)
{
    static const char finalizer[] = "customresourcecleanup.apiextensions.k8s.io";
    (void)sub;
    (void)err;
    if (old)
        return true;
    cJSON *status = cJSON_CreateObject(), *names = cJSON_AddObjectToObject(status, "acceptedNames");
    json_map_set_str(names, "kind", "");
    json_map_set_str(names, "plural", "");
    cJSON_AddArrayToObject(status, "conditions");
    cJSON_AddArrayToObject(status, "storedVersions");
    json_map_set(crd, "status", status);
    cJSON *list = json_ensure_array(crd, "metadata.finalizers"), *f;
    cJSON_ArrayForEach(f, list)
    {
        if (cJSON_IsString(f) && !strcmp(f->valuestring, finalizer))
            return true;
    }
    cJSON_AddItemToArray(list, cJSON_CreateString(finalizer));
    return true;
}
