/* Volumes and claims in use do not go: their finalizer is taken away only when nobody uses them.
 * https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
 */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "controller-manager/controller.h"
#include "controller-manager/localvolumes.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

#define PVC_FINALIZER "kubernetes.io/pvc-protection"
#define PV_FINALIZER  "kubernetes.io/pv-protection"
#define CLAIM_INDEX   "claim"

struct protection {
    struct informer *objects, *pods;
};

/* Writes the finalizer, or its absence, on the version that is known. */
static bool set_finalizer(struct controller *c, const cJSON *object, const char *resource,
                          const char *finalizer, bool wanted, struct error **err)
{
    cleanup_json cJSON *updated = json_dup(object);
    cJSON *list = json_ensure_array(updated, "metadata.finalizers"), *f = list->child;
    while (f) {
        cJSON *next = f->next;
        if (cJSON_IsString(f) && !strcmp(f->valuestring, finalizer))
            cJSON_Delete(cJSON_DetachItemViaPointer(list, f));
        f = next;
    }
    if (wanted)
        cJSON_AddItemToArray(list, cJSON_CreateString(finalizer));
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = update_object(c->client, "v1", resource, updated, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

/* --- claims --- */

struct asked {
    const char *key;
    bool found;
};

static void compare_key(void *ctx, const char *key)
{
    struct asked *a = ctx;
    a->found |= !strcmp(a->key, key);
}

/* Only pods that have a node: to others no kubelet gives a claim that is going. */
static bool keeps(const cJSON *pod)
{
    bool shut_down =
        meta_deleting(pod) && json_int(pod, "metadata.deletionGracePeriodSeconds", 0) == 0;
    return *json_str_or(pod, "spec.nodeName", "") && !shut_down;
}

/* The cache says no: does the API as well? */
static bool used_for_sure(struct controller *c, const struct kube_object *claim, bool *used,
                          struct error **err)
{
    cleanup_free char *path = kube_path_new("v1", "pods", claim->ns, NULL, NULL);
    cleanup_json cJSON *list = kube_get(c->client, path, err);
    const cJSON *pod;
    struct asked asked = {.key = claim->key};
    cJSON_ArrayForEach(pod, json_get(list, "items"))
    {
        if (keeps(pod))
            index_pod_claims(pod, compare_key, &asked);
    }
    *used = asked.found;
    return list != NULL;
}

static bool reconcile_claim(struct controller *c, const char *key, struct error **err)
{
    struct protection *p = c->state;
    cleanup_object struct kube_object *claim = informer_get(p->objects, key);
    if (!claim)
        return true;
    bool has = meta_has_finalizer(claim->json, PVC_FINALIZER), going = meta_deleting(claim->json);
    if (has == !going)
        return true;
    if (!going)
        return set_finalizer(c, claim->json, "persistentvolumeclaims", PVC_FINALIZER, true, err);
    cleanup_objects struct kube_object_list users = {0};
    informer_by_index(p->pods, CLAIM_INDEX, key, &users);
    bool used = false;
    for (size_t i = 0; i < users.count && !used; i++)
        used = keeps(users.items[i]->json);
    if (!used && !used_for_sure(c, claim, &used, err))
        return false;
    if (used) {
        log_debug(2, "A claim that is to go is in use", "claim", key);
        return true; /* the pod's end brings us back */
    }
    return set_finalizer(c, claim->json, "persistentvolumeclaims", PVC_FINALIZER, false, err);
}

static void enqueue(void *ctx, const char *key)
{
    struct controller *c = ctx;
    workqueue_add(c->queue, key);
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    if (event == INFORMER_DELETED || (new_object && meta_deleting(new_object->json)))
        index_pod_claims((new_object ? new_object : old)->json, enqueue, userdata);
}

static void setup_claims(struct controller *c)
{
    struct protection *p = mem_alloc(sizeof *p);
    c->state = p;
    p->objects = manager_informer(c->manager, "v1", "persistentvolumeclaims");
    p->pods = manager_informer(c->manager, "v1", "pods");
    manager_index(c->manager, p->pods, CLAIM_INDEX, index_pod_claims);
    informer_add_handler(p->objects, controller_enqueue_object, c);
    informer_add_handler(p->pods, on_pod, c);
}

/* --- volumes --- */

static bool reconcile_volume(struct controller *c, const char *key, struct error **err)
{
    struct protection *p = c->state;
    cleanup_object struct kube_object *volume = informer_get(p->objects, key);
    if (!volume)
        return true;
    bool has = meta_has_finalizer(volume->json, PV_FINALIZER), going = meta_deleting(volume->json);
    if (has == !going || (going && !strcmp(json_str_or(volume->json, "status.phase", ""), "Bound")))
        return true;
    return set_finalizer(c, volume->json, "persistentvolumes", PV_FINALIZER, !going, err);
}

static void setup_volumes(struct controller *c)
{
    struct protection *p = mem_alloc(sizeof *p);
    c->state = p;
    p->objects = manager_informer(c->manager, "v1", "persistentvolumes");
    informer_add_handler(p->objects, controller_enqueue_object, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type pvc_protection_controller = {
    .name = "persistentvolumeclaim-protection-controller",
    .queue = "pvcprotection",
    .workers = 1,
    .setup = setup_claims,
    .reconcile = reconcile_claim,
    .free_state = free_state};
const struct controller_type pv_protection_controller = {
    .name = "persistentvolume-protection-controller",
    .queue = "pvprotection",
    .workers = 1,
    .setup = setup_volumes,
    .reconcile = reconcile_volume,
    .free_state = free_state};
