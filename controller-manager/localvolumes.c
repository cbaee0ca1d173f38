#include "controller-manager/localvolumes.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/volumes.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

#define HOSTNAME_LABEL "kubernetes.io/hostname"

void index_pod_claims(const cJSON *pod, void (*add)(void *ctx, const char *value), void *ctx)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        cleanup_free char *claim = pod_volume_claim(pod, v, NULL);
        cleanup_free char *key = claim ? mem_printf("%s/%s", meta_ns(pod), claim) : NULL;
        if (key)
            add(ctx, key);
    }
}

/* --- where --- */

static bool node_usable(const cJSON *node, const cJSON *class)
{
    const cJSON *topologies = json_get(class, "allowedTopologies"), *t, *e, *v;
    bool allowed = !cJSON_GetArraySize(topologies);
    cJSON_ArrayForEach(t, topologies)
    {
        bool all = true;
        cJSON_ArrayForEach(e, json_get(t, "matchLabelExpressions"))
        {
            const char *have = json_map_str(meta_labels(node), json_str_or(e, "key", ""));
            bool found = false;
            cJSON_ArrayForEach(v, json_get(e, "values"))
            {
                found = found || (have && cJSON_IsString(v) && strcmp(v->valuestring, have) == 0);
            }
            all = all && found;
        }
        allowed = allowed || all;
    }
    return allowed && condition_is(node, "Ready", "True") &&
           !json_bool(node, "spec.unschedulable", false);
}

static size_t volumes_on(const struct kube_object_list *volumes, const struct kube_object *node)
{
    size_t n = 0;
    for (size_t i = 0; i < volumes->count; i++)
        n += json_path(volumes->items[i]->json, "spec.nodeAffinity") &&
             volume_fits_node(volumes->items[i]->json, meta_labels(node->json), node->name);
    return n;
}

/* Nobody waits for a pod: the usable node with the fewest volumes. */
static struct kube_object *any_node(struct informer *nodes, struct informer *volumes,
                                    const cJSON *class)
{
    cleanup_objects struct kube_object_list list = {0}, made = {0};
    informer_list(nodes, &list);
    informer_list(volumes, &made);
    struct kube_object *best = NULL;
    size_t fewest = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (!node_usable(list.items[i]->json, class))
            continue;
        size_t n = volumes_on(&made, list.items[i]);
        if (!best || n < fewest) {
            best = list.items[i];
            fewest = n;
        }
    }
    return kube_object_ref(best);
}

/* The pod must be scheduled anew: its node cannot be had. */
static bool unselect_node(struct kube_client *client, struct recorder *recorder, cJSON **claim,
                          const char *node, struct error **err)
{
    recorder_event(recorder, *claim, "Warning", "ProvisioningFailed",
                   "failed to get target node: node \"%s\" not found", node);
    cleanup_json cJSON *changed = json_dup(*claim);
    map_remove(json_path(changed, "metadata.annotations"), CLAIM_SELECTED_NODE);
    cJSON *answer = update_object(client, "v1", "persistentvolumeclaims", changed, err);
    if (!answer)
        return false;
    cJSON_Delete(*claim);
    *claim = answer;
    return true;
}

/* --- what --- */

static cJSON *volume_for(const cJSON *claim, const cJSON *class, const struct kube_object *node)
{
    cJSON *v = cJSON_CreateObject();
    cleanup_free char *name = mem_printf("pvc-%s", meta_uid(claim));
    cleanup_free char *path = mem_printf(LOCAL_VOLUMES_DIR "/%s", name);
    json_set_str(v, "apiVersion", "v1");
    json_set_str(v, "kind", "PersistentVolume");
    json_set_str(v, "metadata.name", name);
    meta_set_annotation(v, VOLUME_PROVISIONED_BY, LOCAL_PROVISIONER);
    json_set_str(v, "spec.capacity.storage",
                 json_str_or(claim, "spec.resources.requests.storage", "0"));
    json_set(v, "spec.accessModes", json_dup(json_path(claim, "spec.accessModes")));
    json_set_str(v, "spec.persistentVolumeReclaimPolicy",
                 json_str_or(class, "reclaimPolicy", "Delete"));
    json_set_str(v, "spec.storageClassName", meta_name(class));
    json_set_str(v, "spec.volumeMode", "Filesystem");
    json_set_str(v, "spec.local.path", path);
    cJSON *ref = json_ensure_object(v, "spec.claimRef");
    json_set_str(ref, "kind", "PersistentVolumeClaim");
    json_set_str(ref, "apiVersion", "v1");
    json_set_str(ref, "namespace", meta_ns(claim));
    json_set_str(ref, "name", meta_name(claim));
    json_set_str(ref, "uid", meta_uid(claim));
    json_set_str(ref, "resourceVersion", json_str(claim, "metadata.resourceVersion"));
    cJSON *term = cJSON_CreateObject(), *expression = cJSON_CreateObject();
    const char *label = json_map_str(meta_labels(node->json), HOSTNAME_LABEL);
    json_map_set_str(expression, "key", HOSTNAME_LABEL);
    json_map_set_str(expression, "operator", "In");
    cJSON_AddItemToArray(json_ensure_array(expression, "values"),
                         cJSON_CreateString(label ? label : node->name));
    cJSON_AddItemToArray(json_ensure_array(term, "matchExpressions"), expression);
    cJSON_AddItemToArray(json_ensure_array(v, "spec.nodeAffinity.required.nodeSelectorTerms"),
                         term);
    return v;
}

bool local_volume_provision(struct kube_client *client, struct recorder *recorder,
                            struct informer *nodes, struct informer *volumes, cJSON **claim,
                            const cJSON *class, struct error **err)
{
    const char *refused = NULL;
    if (strcmp(json_str_or(*claim, "spec.volumeMode", "Filesystem"), "Filesystem") != 0)
        refused = "block volumes are not supported";
    else if (json_path(*claim, "spec.selector"))
        refused = "claim.Spec.Selector is not supported";
    else if (json_path(*claim, "spec.dataSource"))
        refused = "data sources are not supported";
    const char *selected = meta_annotation(*claim, CLAIM_SELECTED_NODE);
    cleanup_object struct kube_object *node =
        selected ? informer_get(nodes, selected) : any_node(nodes, volumes, class);
    if (selected && !node)
        return unselect_node(client, recorder, claim, selected, err);
    if (!node)
        refused = "no node is ready for it";
    if (refused) {
        recorder_event(recorder, *claim, "Warning", "ProvisioningFailed",
                       "failed to provision volume with StorageClass \"%s\": %s", meta_name(class),
                       refused);
        return true;
    }
    cleanup_json cJSON *volume = volume_for(*claim, class, node);
    cleanup_error struct error *e = NULL;
    cleanup_free char *path = kube_path_new("v1", "persistentvolumes", NULL, NULL, NULL);
    cleanup_json cJSON *made = kube_create(client, path, volume, &e);
    if (made)
        recorder_event(recorder, *claim, "Normal", "ProvisioningSucceeded",
                       "Successfully provisioned volume %s using %s", meta_name(volume),
                       LOCAL_PROVISIONER);
    if (made || kube_error_is(e, "AlreadyExists"))
        return true; /* the watch brings it, and the claim is bound */
    recorder_event(recorder, *claim, "Warning", "ProvisioningFailed",
                   "failed to provision volume with StorageClass \"%s\": %s", meta_name(class),
                   error_message(e));
    error_move(err, e);
    e = NULL;
    return false;
}

bool local_volume_grow(struct kube_client *client, struct recorder *recorder, cJSON **volume,
                       const cJSON *claim, const cJSON *class, struct error **err)
{
    const char *provisioner = meta_annotation(*volume, VOLUME_PROVISIONED_BY);
    struct quantity has = {0}, wants = {0};
    const char *size = json_str_or(claim, "spec.resources.requests.storage", "0");
    quantity_parse(json_str_or(*volume, "spec.capacity.storage", "0"), &has);
    quantity_parse(size, &wants);
    if (wants.nano <= has.nano || !provisioner || strcmp(provisioner, LOCAL_PROVISIONER) != 0 ||
        !json_bool(class, "allowVolumeExpansion", false))
        return true;
    recorder_event(recorder, claim, "Normal", "Resizing", "External resizer is resizing volume %s",
                   meta_name(*volume));
    cleanup_json cJSON *changed = json_dup(*volume);
    json_set_str(changed, "spec.capacity.storage", size);
    cJSON *answer = update_object(client, "v1", "persistentvolumes", changed, err);
    if (!answer)
        return false;
    cJSON_Delete(*volume);
    *volume = answer;
    recorder_event(recorder, claim, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded");
    return true;
}

bool local_volume_released(struct informer *nodes, const cJSON *volume)
{
    cleanup_free char *name = mem_printf(LOCAL_VOLUME_IN_USE "%s", meta_name(volume));
    cleanup_objects struct kube_object_list list = {0};
    informer_list(nodes, &list);
    for (size_t i = 0; i < list.count; i++) {
        const cJSON *v;
        cJSON_ArrayForEach(v, json_path(list.items[i]->json, "status.volumesInUse"))
        {
            if (cJSON_IsString(v) && strcmp(v->valuestring, name) == 0)
                return false;
        }
    }
    return true;
}
