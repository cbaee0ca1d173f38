/* Makes the claims of pods' ephemeral volumes, which are the pods' own and go with them.
 * https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/volumes.h"
#include "controller-manager/controller.h"
#include "controller-manager/localvolumes.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

struct ephemeral {
    struct informer *pods, *claims;
    struct recorder *recorder;
};

static cJSON *claim_of_template(const cJSON *pod, const char *name, const cJSON *template)
{
    cJSON *claim = cJSON_CreateObject();
    json_set_str(claim, "apiVersion", "v1");
    json_set_str(claim, "kind", "PersistentVolumeClaim");
    json_set_str(claim, "metadata.name", name);
    json_set_str(claim, "metadata.namespace", meta_ns(pod));
    static const char *const maps[] = {"metadata.labels", "metadata.annotations"};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++)
        if (json_path(template, maps[i]))
            json_set(claim, maps[i], json_dup(json_path(template, maps[i])));
    cJSON_AddItemToArray(json_ensure_array(claim, "metadata.ownerReferences"),
                         controller_ref_new("v1", "Pod", pod));
    json_set(claim, "spec", json_dup(json_get(template, "spec")));
    return claim;
}

static bool reconcile_pod(struct controller *c, const char *key, struct error **err)
{
    struct ephemeral *s = c->state;
    cleanup_object struct kube_object *pod = informer_get(s->pods, key);
    if (!pod || meta_deleting(pod->json))
        return true;
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(pod->json, "spec.volumes"))
    {
        bool ephemeral;
        cleanup_free char *name = pod_volume_claim(pod->json, v, &ephemeral);
        if (!name || !ephemeral)
            continue;
        cleanup_object struct kube_object *claim = informer_get_ns(s->claims, pod->ns, name);
        cleanup_error struct error *e = NULL;
        if (!claim) {
            cleanup_json cJSON *wanted =
                claim_of_template(pod->json, name, json_path(v, "ephemeral.volumeClaimTemplate"));
            cleanup_free char *path =
                kube_path_new("v1", "persistentvolumeclaims", pod->ns, NULL, NULL);
            cleanup_json cJSON *made = kube_create(c->client, path, wanted, &e);
            if (made || refused_by_namespace_end(e))
                continue;
            recorder_event(s->recorder, pod->json, "Warning", "FailedToCreatePVC",
                           "ephemeral volume %s: create PVC %s: %s", json_str_or(v, "name", ""),
                           name, error_message(e));
            error_move(err, e);
            e = NULL;
            return false;
        }
        if (!claim_is_of_pod(claim->json, pod->json)) {
            error_setf(err, "PVC \"%s\" was not created for pod \"%s\" (pod is not owner)",
                       claim->key, pod->key);
            return false;
        }
    }
    return true;
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    (void)old;
    struct controller *c = userdata;
    const cJSON *v;
    if (event != INFORMER_ADDED)
        return;
    cJSON_ArrayForEach(v, json_path(new_object->json, "spec.volumes"))
    {
        if (json_get(v, "ephemeral"))
            workqueue_add(c->queue, new_object->key);
    }
}

static void on_claim_gone(void *userdata, enum informer_event event, const struct kube_object *old,
                          const struct kube_object *new_object)
{
    (void)new_object;
    struct controller *c = userdata;
    const cJSON *ref = event == INFORMER_DELETED ? controller_ref(old->json) : NULL;
    if (!ref || strcmp(json_str_or(ref, "kind", ""), "Pod") != 0)
        return;
    cleanup_free char *key = mem_printf("%s/%s", old->ns, json_str_or(ref, "name", ""));
    workqueue_add(c->queue, key);
}

static void setup_ephemeral(struct controller *c)
{
    struct ephemeral *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->recorder = manager_recorder(c->manager, "ephemeral_volume");
    s->pods = manager_informer(c->manager, "v1", "pods");
    s->claims = manager_informer(c->manager, "v1", "persistentvolumeclaims");
    informer_add_handler(s->pods, on_pod, c);
    informer_add_handler(s->claims, on_claim_gone, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type ephemeral_volume_controller = {.name = "ephemeral-volume-controller",
                                                            .queue = "ephemeral_volume",
                                                            .workers = 1,
                                                            .setup = setup_ephemeral,
                                                            .reconcile = reconcile_pod,
                                                            .free_state = free_state};
