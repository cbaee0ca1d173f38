/* Strategy of CustomResourceDefinitions; what they bring about is in apiserver/crd. */
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "common/json.h"
#include "common/timefmt.h"

#define FINALIZER "customresourcecleanup.apiextensions.k8s.io"

/* Which versions objects may have been stored as. */
static void note_stored_version(cJSON *crd)
{
    cJSON *known = json_ensure_array(crd, "status.storedVersions"), *k;
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(crd, "spec.versions"))
    {
        const char *name = json_map_str(v, "name");
        if (!name || !json_bool(v, "storage", false))
            continue;
        cJSON_ArrayForEach(k, known) if (cJSON_IsString(k) && !strcmp(k->valuestring, name)) break;
        if (!k)
            cJSON_AddItemToArray(known, cJSON_CreateString(name));
    }
}

/* A new one is not accepted yet. */
bool definition_prepare(cJSON *crd, const cJSON *old, const char *sub, struct error **err)
{
    (void)err;
    if (!old) {
        cJSON *status = cJSON_CreateObject(),
              *names = cJSON_AddObjectToObject(status, "acceptedNames");
        json_map_set_str(names, "kind", "");
        json_map_set_str(names, "plural", "");
        cJSON_AddNullToObject(status, "conditions");
        cJSON_AddArrayToObject(status, "storedVersions");
        json_map_set(crd, "status", status);
    }
    if (!*sub)
        note_stored_version(crd);
    return true;
}

/* It is not gone before its objects are. */
void definition_begin_deletion(cJSON *crd)
{
    cJSON *list = json_ensure_array(crd, "metadata.finalizers"), *f;
    cJSON_ArrayForEach(f, list) if (cJSON_IsString(f) && !strcmp(f->valuestring, FINALIZER)) return;
    cJSON_AddItemToArray(list, cJSON_CreateString(FINALIZER));
    char now[TIME_TEXT_MAX];
    cJSON *conditions = json_ensure_array(crd, "status.conditions"), *c = cJSON_CreateObject();
    json_map_set_str(c, "lastTransitionTime", time_format(time_now_seconds(), now));
    json_map_set_str(
        c, "message",
        "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon");
    json_map_set_str(c, "reason", "InstanceDeletionPending");
    json_map_set_str(c, "status", "True");
    json_map_set_str(c, "type", "Terminating");
    cJSON_AddItemToArray(conditions, c);
}
