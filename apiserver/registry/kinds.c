/* Strategies of the kinds that need little. */
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "common/buf.h"
#include "common/json.h"

const char *node_field_default(const char *path)
{
    return !strcmp(path, "spec.unschedulable") ? "false" : "";
}

const char *replicaset_field_default(const char *path)
{
    return !strcmp(path, "status.replicas") ? "0" : "";
}

/* Their controllers alone fill the status in. */
static bool empty_status(cJSON *object, const cJSON *old)
{
    if (!old)
        json_map_set(object, "status", cJSON_CreateObject());
    return true;
}

bool deployment_prepare(cJSON *deployment, const cJSON *old, const char *sub, struct error **err)
{
    (void)sub;
    (void)err;
    return empty_status(deployment, old);
}

bool replicaset_prepare(cJSON *replicaset, const cJSON *old, const char *sub, struct error **err)
{
    (void)sub;
    (void)err;
    if (!old) {
        empty_status(replicaset, old);
        json_set_int(replicaset, "status.replicas", 0);
    }
    return true;
}

bool namespace_prepare(cJSON *ns, const cJSON *old, const char *sub, struct error **err)
{
    (void)err;
    if (!old) {
        cJSON *status = cJSON_CreateObject();
        json_map_set_str(status, "phase", "Active");
        json_map_set(ns, "status", status);
        const cJSON *f;
        cJSON_ArrayForEach(
            f, json_path(ns, "spec.finalizers")) if (cJSON_IsString(f) &&
                                                     !strcmp(f->valuestring, "kubernetes")) break;
        if (!f)
            cJSON_AddItemToArray(json_ensure_array(ns, "spec.finalizers"),
                                 cJSON_CreateString("kubernetes"));
    } else if (!*sub) {
        /* Only /finalize may change them. */
        const cJSON *finalizers = json_path(old, "spec.finalizers");
        if (finalizers)
            json_set(ns, "spec.finalizers", json_dup(finalizers));
        else
            json_remove(ns, "spec.finalizers");
    }
    json_map_set_str(json_ensure_object(ns, "metadata.labels"), "kubernetes.io/metadata.name",
                     json_str(ns, "metadata.name"));
    return true;
}

/* stringData is for writing only: it goes into data. */
bool secret_prepare(cJSON *secret, const cJSON *old, const char *sub, struct error **err)
{
    (void)old;
    (void)sub;
    (void)err;
    const cJSON *text;
    cJSON_ArrayForEach(text, json_get(secret, "stringData"))
    {
        if (!cJSON_IsString(text))
            continue;
        cleanup_buf struct buf b = {0};
        buf_add_base64(&b, text->valuestring, strlen(text->valuestring));
        json_map_set_str(json_ensure_object(secret, "data"), text->string, buf_str(&b));
    }
    json_remove(secret, "stringData");
    return true;
}
