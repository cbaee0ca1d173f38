/* Volumes that are claims: what stands behind them, as the API has it. */
#include "common/json.h"
#include "common/mem.h"
#include "common/volumes.h"
#include "kubelet/volume/volume.h"
#include <string.h>

#define STEADY_MS 600000 /* what a bound claim is bound to does not change */

bool volume_is_claim(const cJSON *volume)
{
    return json_get(volume, "persistentVolumeClaim") || json_get(volume, "ephemeral");
}

static struct kube_object *bound_claim(const struct volume_node *n, const cJSON *pod, const cJSON *volume, int64_t max_age_ms,
                                       struct error **err)
{
    bool ephemeral;
    cleanup_free char *name = pod_volume_claim(pod, volume, &ephemeral);
    const char *ns = json_str_or(pod, "metadata.namespace", "");
    cleanup_error struct error *failure = NULL;
    struct kube_object *claim = object_cache_get(n->objects, "persistentvolumeclaims", ns, name, max_age_ms, &failure);
    if (!claim)
        error_setf(err, "error processing PVC %s/%s: failed to fetch PVC from API server: %s", ns, name, error_message(failure));
    else if (ephemeral && !claim_is_of_pod(claim->json, pod))
        error_setf(err, "error processing PVC %s/%s: PVC was not created for pod %s/%s (pod is not owner)", ns, name, ns,
                   json_str_or(pod, "metadata.name", ""));
    else if (json_str(claim->json, "metadata.deletionTimestamp") && max_age_ms < STEADY_MS)
        error_setf(err, "error processing PVC %s/%s: PVC is being deleted", ns, name);
    else if (!claim_is_bound(claim->json) || strcmp(json_str_or(claim->json, "status.phase", ""), "Bound") != 0)
        error_setf(err, "error processing PVC %s/%s: PVC is not bound", ns, name);
    else
        return claim;
    kube_object_unref(claim);
    return NULL;
}

cJSON *volume_resolve(const struct volume_node *n, const cJSON *pod, const cJSON *volume, bool fresh, struct error **err)
{
    if (!volume_is_claim(volume))
        return json_dup(volume);
    int64_t age = fresh ? 1000 : STEADY_MS;
    cleanup_object struct kube_object *claim = bound_claim(n, pod, volume, age, err);
    if (!claim)
        return NULL;
    const char *name = json_str_or(claim->json, "spec.volumeName", "");
    cleanup_error struct error *failure = NULL;
    cleanup_object struct kube_object *pv = object_cache_get(n->objects, "persistentvolumes", NULL, name, age, &failure);
    if (!pv) {
        error_setf(err, "error processing PVC %s: failed to fetch PV %s from API server: %s", claim->key, name,
                   error_message(failure));
        return NULL;
    }
    if (!volume_is_bound_to(pv->json, claim->json)) {
        error_setf(err, "error processing PVC %s: PV %s is bound to another claim", claim->key, name);
        return NULL;
    }
    if (strcmp(json_str_or(pv->json, "spec.volumeMode", "Filesystem"), "Filesystem") != 0) {
        error_setf(err, "volume %s has volumeMode %s, but is specified in volumeMounts", json_str_or(volume, "name", ""),
                   json_str(pv->json, "spec.volumeMode"));
        return NULL;
    }
    static const char *const sources[] = {"hostPath", "local", "csi"};
    cJSON *out = cJSON_CreateObject();
    json_set_str(out, "name", json_str_or(volume, "name", ""));
    json_set_str(out, VOLUME_PV, pv->name);
    json_set_bool(out, VOLUME_READONLY, json_bool(volume, "persistentVolumeClaim.readOnly", false));
    const char *provisioner = json_map_str(json_path(pv->json, "metadata.annotations"), VOLUME_PROVISIONED_BY);
    json_set_bool(out, VOLUME_OURS, provisioner && strcmp(provisioner, LOCAL_PROVISIONER) == 0);
    json_set(out, VOLUME_ACCESS_MODES, json_dup(json_path(pv->json, "spec.accessModes")));
    if (json_path(pv->json, "spec.mountOptions"))
        json_set(out, VOLUME_MOUNT_OPTIONS, json_dup(json_path(pv->json, "spec.mountOptions")));
    for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
        const cJSON *source = json_get(json_get(pv->json, "spec"), sources[i]);
        if (source)
            json_set(out, sources[i], json_dup(source));
    }
    return out;
}
