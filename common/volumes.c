#include "common/volumes.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/node_selector.h"
#include "common/quantity.h"
#include "common/selector.h"

static const char *annotation(const cJSON *o, const char *key)
{
    return json_map_str(json_path(o, "metadata.annotations"), key);
}

const char *volume_class(const cJSON *o, bool *given)
{
    const char *beta = annotation(o, "volume.beta.kubernetes.io/storage-class");
    const char *class = beta ? beta : json_str(o, "spec.storageClassName");
    if (given)
        *given = class != NULL;
    return class ? class : "";
}

bool claim_is_bound(const cJSON *claim)
{
    return *json_str_or(claim, "spec.volumeName", "") && annotation(claim, CLAIM_BIND_COMPLETED) != NULL;
}

bool volume_names_claim(const cJSON *volume, const cJSON *claim)
{
    const cJSON *ref = json_path(volume, "spec.claimRef");
    const char *uid = json_str_or(ref, "uid", "");
    return ref && strcmp(json_str_or(ref, "name", ""), json_str_or(claim, "metadata.name", "")) == 0 &&
           strcmp(json_str_or(ref, "namespace", ""), json_str_or(claim, "metadata.namespace", "")) == 0 &&
           (!*uid || strcmp(uid, json_str_or(claim, "metadata.uid", "")) == 0);
}

bool volume_is_bound_to(const cJSON *volume, const cJSON *claim)
{
    return volume_names_claim(volume, claim) && *json_str_or(volume, "spec.claimRef.uid", "");
}

const char *volume_mismatch(const cJSON *volume, const cJSON *claim)
{
    struct quantity has = {0}, wants = {0};
    quantity_parse(json_str_or(volume, "spec.capacity.storage", "0"), &has);
    quantity_parse(json_str_or(claim, "spec.resources.requests.storage", "0"), &wants);
    if (has.nano < wants.nano)
        return "requested PV is too small";
    if (strcmp(volume_class(volume, NULL), volume_class(claim, NULL)) != 0)
        return "storageClassName does not match";
    if (strcmp(json_str_or(volume, "spec.volumeMode", "Filesystem"), json_str_or(claim, "spec.volumeMode", "Filesystem")) != 0)
        return "incompatible volumeMode";
    const cJSON *m;
    cJSON_ArrayForEach(m, json_path(claim, "spec.accessModes"))
    {
        if (cJSON_IsString(m) && !json_has_str(json_path(volume, "spec.accessModes"), m->valuestring))
            return "incompatible accessMode";
    }
    return NULL;
}

struct kube_object *volume_best(const struct kube_object_list *volumes, const cJSON *claim, bool delayed,
                                bool (*usable)(void *ctx, const struct kube_object *volume), void *ctx)
{
    struct kube_object *best = NULL;
    struct quantity best_size = {0};
    const cJSON *selector_json = json_path(claim, "spec.selector");
    struct label_selector *selector = selector_json ? label_selector_from_json(selector_json, NULL) : NULL;
    for (size_t i = 0; i < volumes->count; i++) {
        struct kube_object *v = volumes->items[i];
        const char *phase = json_str_or(v->json, "status.phase", "");
        if (json_str(v->json, "metadata.deletionTimestamp") || volume_mismatch(v->json, claim) ||
            (usable && !usable(ctx, v)))
            continue;
        if (json_path(v->json, "spec.claimRef")) {
            if (!volume_names_claim(v->json, claim))
                continue;
            best = v; /* made for this claim */
            break;
        }
        if (delayed || strcmp(phase, "Available") != 0 || (selector_json && !selector))
            continue;
        if (selector && !label_selector_matches(selector, json_path(v->json, "metadata.labels")))
            continue;
        struct quantity size = {0};
        quantity_parse(json_str_or(v->json, "spec.capacity.storage", "0"), &size);
        if (!best || size.nano < best_size.nano || (size.nano == best_size.nano && strcmp(v->name, best->name) < 0)) {
            best = v;
            best_size = size;
        }
    }
    label_selector_free(selector);
    return best;
}

bool volume_fits_node(const cJSON *volume, const cJSON *labels, const char *name)
{
    return node_selector_matches(json_path(volume, "spec.nodeAffinity.required"), labels, name);
}

/* --- of pods --- */

char *pod_volume_claim(const cJSON *pod, const cJSON *volume, bool *ephemeral)
{
    if (ephemeral)
        *ephemeral = false;
    const char *name = json_str(volume, "persistentVolumeClaim.claimName");
    if (name)
        return mem_strdup(name);
    if (!json_get(volume, "ephemeral"))
        return NULL;
    if (ephemeral)
        *ephemeral = true;
    return mem_printf("%s-%s", json_str_or(pod, "metadata.name", ""), json_str_or(volume, "name", ""));
}

bool claim_is_of_pod(const cJSON *claim, const cJSON *pod)
{
    const cJSON *ref;
    cJSON_ArrayForEach(ref, json_path(claim, "metadata.ownerReferences"))
    {
        if (json_bool(ref, "controller", false) &&
            strcmp(json_str_or(ref, "uid", ""), json_str_or(pod, "metadata.uid", "-")) == 0)
            return true;
    }
    return false;
}
