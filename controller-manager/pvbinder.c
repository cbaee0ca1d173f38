/* Binds PersistentVolumeClaims to PersistentVolumes, has volumes provisioned, and reclaims those
 * whose claim is gone. One worker does all of it: two claims never look at the same free volume at
 * the same time.
 * https://kubernetes.io/docs/concepts/storage/persistent-volumes/#lifecycle-of-a-volume-and-claim
 */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/volumes.h"
#include "controller-manager/controller.h"
#include "controller-manager/localvolumes.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

enum {
    LOOK_AGAIN_MS = 15000
}; /* Kubernetes' --pvclaimbinder-sync-period: tells again why a claim waits */

struct binder {
    struct informer *claims, *volumes, *classes, *nodes, *pods;
    struct recorder *recorder;
};

#define CLAIM_KEY  "claim/"
#define VOLUME_KEY "volume/"

static void enqueue(struct controller *c, const char *kind, const char *key)
{
    cleanup_free char *text = mem_printf("%s%s", kind, key);
    workqueue_add(c->queue, text);
}

/* Replaces an object by what the API made of it. */
static bool store(cJSON **object, cJSON *answer)
{
    if (!answer)
        return false;
    cJSON_Delete(*object);
    *object = answer;
    return true;
}

static const char *claim_phase(const cJSON *o)
{
    return json_str_or(o, "status.phase", "");
}

/* --- phases --- */

static bool set_claim_status(struct controller *c, cJSON **claim, const char *phase,
                             const cJSON *volume, struct error **err)
{
    cleanup_json cJSON *changed = json_dup(*claim);
    json_set_str(changed, "status.phase", phase);
    if (volume) {
        json_set(changed, "status.accessModes", json_dup(json_path(volume, "spec.accessModes")));
        /* A claim that grows keeps its old size until the volume has grown. */
        json_set(changed, "status.capacity", json_dup(json_path(volume, "spec.capacity")));
    } else {
        json_remove(changed, "status.accessModes");
        json_remove(changed, "status.capacity");
    }
    return json_equal(changed, *claim) ||
           store(claim, update_status(c->client, "v1", "persistentvolumeclaims", changed, err));
}

static bool set_volume_phase(struct controller *c, cJSON **volume, const char *phase,
                             const char *message, struct error **err)
{
    if (strcmp(claim_phase(*volume), phase) == 0 &&
        strcmp(json_str_or(*volume, "status.message", ""), message) == 0)
        return true;
    cleanup_json cJSON *changed = json_dup(*volume);
    if (strcmp(claim_phase(*volume), phase) != 0) {
        char now[40];
        json_set_str(changed, "status.lastPhaseTransitionTime", time_now_text(now));
    }
    json_set_str(changed, "status.phase", phase);
    json_set_str(changed, "status.message", *message ? message : NULL);
    return store(volume, update_status(c->client, "v1", "persistentvolumes", changed, err));
}

/* --- binding: the volume names the claim first, so that a crash half-way is found and finished ---
 */

static bool name_claim(struct controller *c, cJSON **volume, const cJSON *claim, struct error **err)
{
    if (volume_is_bound_to(*volume, claim))
        return true;
    cleanup_json cJSON *changed = json_dup(*volume);
    if (!json_path(changed, "spec.claimRef"))
        meta_set_annotation(changed, BOUND_BY_CONTROLLER, "yes");
    cJSON *ref = cJSON_CreateObject();
    json_set_str(ref, "kind", "PersistentVolumeClaim");
    json_set_str(ref, "namespace", meta_ns(claim));
    json_set_str(ref, "name", meta_name(claim));
    json_set_str(ref, "uid", meta_uid(claim));
    json_set_str(ref, "apiVersion", "v1");
    json_set_str(ref, "resourceVersion", json_str(claim, "metadata.resourceVersion"));
    json_set(changed, "spec.claimRef", ref);
    return store(volume, update_object(c->client, "v1", "persistentvolumes", changed, err));
}

static bool name_volume(struct controller *c, cJSON **claim, const cJSON *volume,
                        struct error **err)
{
    bool named = *json_str_or(*claim, "spec.volumeName", "") != 0;
    if (named && claim_is_bound(*claim))
        return true;
    cleanup_json cJSON *changed = json_dup(*claim);
    if (!named) {
        json_set_str(changed, "spec.volumeName", meta_name(volume));
        meta_set_annotation(changed, BOUND_BY_CONTROLLER, "yes");
    }
    meta_set_annotation(changed, CLAIM_BIND_COMPLETED, "yes");
    return store(claim, update_object(c->client, "v1", "persistentvolumeclaims", changed, err));
}

static bool bind(struct controller *c, cJSON **volume, cJSON **claim, struct error **err)
{
    return name_claim(c, volume, *claim, err) && set_volume_phase(c, volume, "Bound", "", err) &&
           name_volume(c, claim, *volume, err) && set_claim_status(c, claim, "Bound", *volume, err);
}

/* --- claims without a volume --- */

static struct kube_object *class_of(struct binder *s, const cJSON *claim)
{
    const char *name = volume_class(claim, NULL);
    return *name ? informer_get(s->classes, name) : NULL;
}

static bool class_is_default(const cJSON *class)
{
    const char *a = meta_annotation(class, CLASS_IS_DEFAULT);
    const char *beta = meta_annotation(class, "storageclass.beta.kubernetes.io/is-default-class");
    return (a && strcmp(a, "true") == 0) || (beta && strcmp(beta, "true") == 0);
}

/* A claim made before there was a default class gets it now; of several, the newest. */
static bool give_default_class(struct controller *c, cJSON **claim, struct error **err)
{
    struct binder *s = c->state;
    cleanup_objects struct kube_object_list classes = {0};
    informer_list(s->classes, &classes);
    const struct kube_object *best = NULL;
    for (size_t i = 0; i < classes.count; i++) {
        const struct kube_object *o = classes.items[i];
        if (!class_is_default(o->json))
            continue;
        int64_t newer = best ? meta_created(o->json) - meta_created(best->json) : 1;
        if (newer > 0 || (newer == 0 && strcmp(o->name, best->name) < 0))
            best = o;
    }
    if (!best)
        return true;
    cleanup_json cJSON *changed = json_dup(*claim);
    json_set_str(changed, "spec.storageClassName", best->name);
    return store(claim, update_object(c->client, "v1", "persistentvolumeclaims", changed, err));
}

/* A pod that uses the claim and is not scheduled yet: its name, caller frees. */
static char *waiting_pod(struct binder *s, const cJSON *claim)
{
    cleanup_free char *key = mem_printf("%s/%s", meta_ns(claim), meta_name(claim));
    cleanup_objects struct kube_object_list pods = {0};
    informer_by_index(s->pods, "claim", key, &pods);
    for (size_t i = 0; i < pods.count; i++)
        if (!*json_str_or(pods.items[i]->json, "spec.nodeName", ""))
            return mem_strdup(pods.items[i]->name);
    return NULL;
}

static bool provision(struct controller *c, cJSON **claim, const cJSON *class,
                      const char *class_name, struct error **err)
{
    struct binder *s = c->state;
    if (!class) {
        recorder_event(s->recorder, *claim, "Warning", "ProvisioningFailed",
                       "storageclass.storage.k8s.io \"%s\" not found", class_name);
        return true;
    }
    const char *provisioner = json_str_or(class, "provisioner", "");
    if (strcmp(provisioner, "kubernetes.io/no-provisioner") == 0) {
        recorder_event(s->recorder, *claim, "Warning", "ProvisioningFailed",
                       "no volume plugin matched name: kubernetes.io/no-provisioner");
        return true;
    }
    const char *told = meta_annotation(*claim, CLAIM_PROVISIONER);
    if (!told || strcmp(told, provisioner) != 0) {
        cleanup_json cJSON *changed = json_dup(*claim);
        meta_set_annotation(changed, CLAIM_PROVISIONER, provisioner);
        meta_set_annotation(changed, "volume.beta.kubernetes.io/storage-provisioner", provisioner);
        if (!store(claim, update_object(c->client, "v1", "persistentvolumeclaims", changed, err)))
            return false;
    }
    if (strcmp(provisioner, LOCAL_PROVISIONER) != 0) {
        recorder_event(s->recorder, *claim, "Normal", "ExternalProvisioning",
                       "Waiting for a volume to be created either by the external provisioner '%s' "
                       "or manually by the "
                       "system administrator. If volume creation is delayed, please verify that "
                       "the provisioner is "
                       "running and correctly registered.",
                       provisioner);
        return true;
    }
    return local_volume_provision(c->client, s->recorder, s->nodes, s->volumes, claim, class, err);
}

static bool sync_unbound(struct controller *c, cJSON **claim, struct error **err)
{
    struct binder *s = c->state;
    bool given;
    volume_class(*claim, &given);
    if (!given && !give_default_class(c, claim, err))
        return false;
    const char *class_name = volume_class(*claim, NULL);
    cleanup_object struct kube_object *class = class_of(s, *claim);
    bool delayed = class && strcmp(json_str_or(class->json, "volumeBindingMode", ""),
                                   "WaitForFirstConsumer") == 0;
    cleanup_objects struct kube_object_list volumes = {0};
    informer_list(s->volumes, &volumes);
    struct kube_object *best = volume_best(&volumes, *claim, delayed, NULL, NULL);
    if (best) {
        cleanup_json cJSON *volume = json_dup(best->json);
        return bind(c, &volume, claim, err);
    }
    if (delayed && !meta_annotation(*claim, CLAIM_SELECTED_NODE)) {
        cleanup_free char *pod = waiting_pod(s, *claim);
        if (pod)
            recorder_event(s->recorder, *claim, "Normal", "WaitForPodScheduled",
                           "waiting for pod %s to be scheduled", pod);
        else
            recorder_event(s->recorder, *claim, "Normal", "WaitForFirstConsumer",
                           "waiting for first consumer to be created before binding");
    } else if (*class_name) {
        if (!provision(c, claim, class ? class->json : NULL, class_name, err))
            return false;
    } else {
        recorder_event(
            s->recorder, *claim, "Normal", "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set");
    }
    return set_claim_status(c, claim, "Pending", NULL, err);
}

/* The claim wants a certain volume. */
static bool sync_named(struct controller *c, cJSON **claim, struct error **err)
{
    struct binder *s = c->state;
    const char *name = json_str_or(*claim, "spec.volumeName", "");
    cleanup_object struct kube_object *cached = informer_get(s->volumes, name);
    if (!cached)
        return set_claim_status(c, claim, "Pending", NULL, err); /* it may come yet */
    cleanup_json cJSON *volume = json_dup(cached->json);
    if (!json_path(volume, "spec.claimRef")) {
        const char *why = volume_mismatch(volume, *claim);
        if (!why)
            return bind(c, &volume, claim, err);
        recorder_event(s->recorder, *claim, "Warning", "VolumeMismatch",
                       "Cannot bind to requested volume \"%s\": %s", name, why);
    } else if (volume_names_claim(volume, *claim)) {
        return bind(c, &volume, claim, err);
    } else {
        recorder_event(s->recorder, *claim, "Warning", "FailedBinding",
                       "volume \"%s\" already bound to a different claim.", name);
    }
    return set_claim_status(c, claim, "Pending", NULL, err);
}

/* --- bound claims --- */

static bool lose(struct controller *c, cJSON **claim, const char *reason, const char *message,
                 struct error **err)
{
    struct binder *s = c->state;
    if (strcmp(claim_phase(*claim), "Lost") != 0)
        recorder_event(s->recorder, *claim, "Warning", reason, "%s", message);
    return set_claim_status(c, claim, "Lost", NULL, err);
}

static bool sync_bound(struct controller *c, cJSON **claim, struct error **err)
{
    struct binder *s = c->state;
    const char *name = json_str_or(*claim, "spec.volumeName", "");
    if (!*name)
        return lose(
            c, claim, "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!", err);
    cleanup_object struct kube_object *cached = informer_get(s->volumes, name);
    if (!cached)
        return lose(c, claim, "ClaimLost",
                    "Bound claim has lost its PersistentVolume. Data on the volume is lost!", err);
    cleanup_json cJSON *volume = json_dup(cached->json);
    if (json_path(volume, "spec.claimRef") && !volume_names_claim(volume, *claim))
        return lose(c, claim, "ClaimMisbound",
                    "Two claims are bound to the same volume, this one is bound incorrectly", err);
    cleanup_object struct kube_object *class = class_of(s, *claim);
    return local_volume_grow(c->client, s->recorder, &volume, *claim, class ? class->json : NULL,
                             err) &&
           bind(c, &volume, claim, err);
}

static bool sync_claim(struct controller *c, const char *key, struct error **err)
{
    struct binder *s = c->state;
    cleanup_object struct kube_object *cached = informer_get(s->claims, key);
    if (!cached)
        return true;
    cleanup_json cJSON *claim = json_dup(cached->json);
    if (meta_annotation(claim, CLAIM_BIND_COMPLETED))
        return sync_bound(c, &claim, err);
    if (meta_deleting(claim))
        return true; /* nothing begins any more */
    bool ok = *json_str_or(claim, "spec.volumeName", "") ? sync_named(c, &claim, err)
                                                         : sync_unbound(c, &claim, err);
    if (ok && !claim_is_bound(claim)) {
        cleanup_free char *again = mem_printf(CLAIM_KEY "%s", key);
        workqueue_add_after(c->queue, again, LOOK_AGAIN_MS);
    }
    return ok;
}

/* --- volumes --- */

static bool reclaim(struct controller *c, cJSON **volume, struct error **err)
{
    struct binder *s = c->state;
    if (strcmp(json_str_or(*volume, "spec.persistentVolumeReclaimPolicy", "Retain"), "Delete") !=
            0 ||
        meta_deleting(*volume))
        return true; /* its data is the administrator's business */
    const char *provisioner = meta_annotation(*volume, VOLUME_PROVISIONED_BY);
    if (provisioner && strcmp(provisioner, LOCAL_PROVISIONER) == 0) {
        if (!local_volume_released(s->nodes, *volume))
            return true; /* its node removes the directory first; we hear of that */
        log_info("Deleting a released volume", "volume", meta_name(*volume));
        cleanup_free char *path =
            kube_path_new("v1", "persistentvolumes", NULL, meta_name(*volume), NULL);
        cleanup_error struct error *e = NULL;
        if (kube_delete(c->client, path, meta_uid(*volume), -1, NULL, &e) ||
            kube_error_is(e, "NotFound"))
            return true;
        error_move(err, e);
        e = NULL;
        return false;
    }
    if (provisioner)
        return true; /* its own provisioner does that */
    cleanup_free char *message =
        mem_printf("error getting deleter volume plugin for volume \"%s\": no deletable volume "
                   "plugin matched",
                   meta_name(*volume));
    if (strcmp(claim_phase(*volume), "Failed") != 0)
        recorder_event(s->recorder, *volume, "Warning", "VolumeFailedDelete", "%s", message);
    return set_volume_phase(c, volume, "Failed", message, err);
}

/* The claim as the API has it now: a volume must not be given up because a cache is late. *known
 * false: cannot tell. */
static cJSON *live_claim(struct controller *c, const cJSON *ref, bool *known, struct error **err)
{
    cleanup_free char *path =
        kube_path_new("v1", "persistentvolumeclaims", json_str_or(ref, "namespace", ""),
                      json_str_or(ref, "name", ""), NULL);
    cleanup_error struct error *e = NULL;
    cJSON *claim = kube_get(c->client, path, &e);
    *known = claim || kube_error_is(e, "NotFound");
    if (!*known) {
        error_move(err, e);
        e = NULL;
    }
    return claim;
}

static bool sync_volume(struct controller *c, const char *name, struct error **err)
{
    struct binder *s = c->state;
    cleanup_object struct kube_object *cached = informer_get(s->volumes, name);
    if (!cached)
        return true;
    cleanup_json cJSON *volume = json_dup(cached->json);
    const cJSON *ref = json_path(volume, "spec.claimRef");
    const char *uid = json_str_or(ref, "uid", "");
    if (!ref || !*uid)
        return set_volume_phase(c, &volume, "Available", "", err);
    cleanup_free char *key =
        mem_printf("%s/%s", json_str_or(ref, "namespace", ""), json_str_or(ref, "name", ""));
    cleanup_object struct kube_object *claim_object = informer_get(s->claims, key);
    cleanup_json cJSON *claim = claim_object ? json_dup(claim_object->json) : NULL;
    if (!claim || strcmp(meta_uid(claim), uid) != 0) {
        bool known;
        cJSON_Delete(claim);
        claim = live_claim(c, ref, &known, err);
        if (!known)
            return false;
    }
    if (!claim || strcmp(meta_uid(claim), uid) != 0) {
        const char *phase = claim_phase(volume);
        if (strcmp(phase, "Released") != 0 && strcmp(phase, "Failed") != 0 &&
            !set_volume_phase(c, &volume, "Released", "", err))
            return false;
        return reclaim(c, &volume, err);
    }
    const char *wanted = json_str_or(claim, "spec.volumeName", "");
    if (!*wanted) { /* half-way: the claim's side is missing */
        enqueue(c, CLAIM_KEY, key);
        return true;
    }
    if (strcmp(wanted, name) == 0)
        return set_volume_phase(c, &volume, "Bound", "", err);
    /* The claim got another volume. What was made for it goes, what we had chosen for it is free
     * again. */
    const char *provisioner = meta_annotation(volume, VOLUME_PROVISIONED_BY);
    if (provisioner &&
        strcmp(json_str_or(volume, "spec.persistentVolumeReclaimPolicy", ""), "Delete") == 0)
        return set_volume_phase(c, &volume, "Released", "", err) && reclaim(c, &volume, err);
    cleanup_json cJSON *changed = json_dup(volume);
    if (meta_annotation(volume, BOUND_BY_CONTROLLER)) {
        json_remove(changed, "spec.claimRef");
        map_remove(json_path(changed, "metadata.annotations"), BOUND_BY_CONTROLLER);
    } else {
        json_remove(changed, "spec.claimRef.uid");
    }
    return store(&volume, update_object(c->client, "v1", "persistentvolumes", changed, err)) &&
           set_volume_phase(c, &volume, "Available", "", err);
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    if (strncmp(key, CLAIM_KEY, strlen(CLAIM_KEY)) == 0)
        return sync_claim(c, key + strlen(CLAIM_KEY), err);
    return sync_volume(c, key + strlen(VOLUME_KEY), err);
}

/* --- what happens --- */

static void look_at_pending(struct controller *c)
{
    struct binder *s = c->state;
    cleanup_objects struct kube_object_list claims = {0};
    informer_list(s->claims, &claims);
    for (size_t i = 0; i < claims.count; i++)
        if (!claim_is_bound(claims.items[i]->json))
            enqueue(c, CLAIM_KEY, claims.items[i]->key);
}

static void on_claim(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    struct controller *c = userdata;
    const struct kube_object *o = new_object ? new_object : old;
    const char *volume = json_str_or(o->json, "spec.volumeName", "");
    enqueue(c, CLAIM_KEY, o->key);
    if (*volume && event != INFORMER_ADDED)
        enqueue(c, VOLUME_KEY, volume);
}

static void on_volume(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *new_object)
{
    struct controller *c = userdata;
    const struct kube_object *o = new_object ? new_object : old;
    enqueue(c, VOLUME_KEY, o->key);
    const cJSON *ref = json_path(o->json, "spec.claimRef");
    if (ref && *json_str_or(ref, "name", "")) {
        cleanup_free char *key =
            mem_printf("%s/%s", json_str_or(ref, "namespace", ""), json_str_or(ref, "name", ""));
        enqueue(c, CLAIM_KEY, key);
    } else if (event != INFORMER_DELETED && strcmp(claim_phase(o->json), "Available") == 0) {
        look_at_pending(c);
    }
}

static void on_class(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    (void)old, (void)new_object;
    if (event != INFORMER_DELETED)
        look_at_pending(userdata);
}

/* A node tells that it removed a directory, or is gone with all of them. */
static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct binder *s = c->state;
    if (event == INFORMER_ADDED || (event == INFORMER_UPDATED &&
                                    json_equal(json_path(old->json, "status.volumesInUse"),
                                               json_path(new_object->json, "status.volumesInUse"))))
        return;
    cleanup_objects struct kube_object_list volumes = {0};
    informer_list(s->volumes, &volumes);
    for (size_t i = 0; i < volumes.count; i++)
        if (strcmp(claim_phase(volumes.items[i]->json), "Released") == 0)
            enqueue(c, VOLUME_KEY, volumes.items[i]->key);
}

static void setup(struct controller *c)
{
    struct binder *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->recorder = manager_recorder(c->manager, "persistentvolume-controller");
    s->claims = manager_informer(c->manager, "v1", "persistentvolumeclaims");
    s->volumes = manager_informer(c->manager, "v1", "persistentvolumes");
    s->classes = manager_informer(c->manager, "storage.k8s.io/v1", "storageclasses");
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    s->pods = manager_informer(c->manager, "v1", "pods");
    manager_index(c->manager, s->pods, "claim", index_pod_claims);
    informer_add_handler(s->claims, on_claim, c);
    informer_add_handler(s->volumes, on_volume, c);
    informer_add_handler(s->classes, on_class, c);
    informer_add_handler(s->nodes, on_node, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type persistent_volume_binder = {.name =
                                                             "persistentvolume-binder-controller",
                                                         .queue = "volumes",
                                                         .workers = 1,
                                                         .setup = setup,
                                                         .reconcile = reconcile,
                                                         .free_state = free_state};
