#include "controller-manager/requests.h"
#include <string.h>
#include <time.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/objects.h"

cJSON *update_status(struct kube_client *c, const char *api_version, const char *resource,
                     const cJSON *object, struct error **err)
{
    const char *ns = meta_ns(object);
    cleanup_free char *path =
        kube_path_new(api_version, resource, *ns ? ns : NULL, meta_name(object), "status");
    return kube_update(c, path, object, err);
}

cJSON *update_object(struct kube_client *c, const char *api_version, const char *resource,
                     const cJSON *object, struct error **err)
{
    const char *ns = meta_ns(object);
    cleanup_free char *path =
        kube_path_new(api_version, resource, *ns ? ns : NULL, meta_name(object), NULL);
    return kube_update(c, path, object, err);
}

bool refused_by_namespace_end(const struct error *e)
{
    return e && ((e->details && strstr(e->details, "NamespaceTerminating")) ||
                 strstr(e->message, "because it is being terminated"));
}

/* Nobody knows whether the write was done. */
static bool outcome_unknown(const struct error *e)
{
    return e && (e->code == 0 || e->code == 500 || e->code == 503 || e->code == 504);
}

cJSON *create_pod(struct kube_client *c, cJSON *pod, struct error **err)
{
    enum { ATTEMPTS = 5 };
    cleanup_free char *collection = kube_path_new("v1", "pods", meta_ns(pod), NULL, NULL);
    bool maybe_created = false;
    for (int attempt = 0;; attempt++) {
        if (!maybe_created) {
            cleanup_free char *name = name_generate(json_str_or(pod, "metadata.generateName", ""));
            json_set_str(pod, "metadata.name", name);
        }
        cleanup_error struct error *e = NULL;
        cJSON *created = kube_create(c, collection, pod, &e);
        if (created)
            return created;
        if (kube_error_is(e, "AlreadyExists") && attempt < ATTEMPTS) {
            if (!maybe_created)
                continue; /* a random name met another one */
            cleanup_free char *path =
                kube_path_new("v1", "pods", meta_ns(pod), meta_name(pod), NULL);
            cleanup_error struct error *get_error = NULL;
            cleanup_json cJSON *existing = kube_get(c, path, &get_error);
            const char *theirs = controller_uid(existing), *ours = controller_uid(pod);
            if (existing && theirs && ours && strcmp(theirs, ours) == 0)
                return json_dup(existing);
            maybe_created = !existing && outcome_unknown(get_error);
            continue;
        }
        if (!outcome_unknown(e) || attempt == ATTEMPTS) {
            error_move(err, e);
            e = NULL;
            return NULL;
        }
        maybe_created = true;
        int ms = 20 << attempt;
        nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
    }
}

bool patch_pod_condition(struct kube_client *c, const cJSON *pod, const char *phase,
                         const char *type, const char *status, const char *reason,
                         const char *message, struct error **err)
{
    const cJSON *old = json_path(pod, "status.conditions");
    cJSON *conditions = cJSON_IsArray(old) ? json_dup(old) : cJSON_CreateArray();
    bool changed = condition_set(conditions, type, status, reason, message);
    if (phase && strcmp(pod_phase(pod), phase) != 0)
        changed = true;
    if (!changed) {
        cJSON_Delete(conditions);
        return true;
    }
    json_set_int(condition_find(conditions, type), "observedGeneration", meta_generation(pod));
    if (!meta_generation(pod))
        json_remove(condition_find(conditions, type), "observedGeneration");
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", meta_uid(pod));
    json_set_str(patch, "metadata.resourceVersion", json_str(pod, "metadata.resourceVersion"));
    json_set(patch, "status.conditions", conditions);
    if (phase)
        json_set_str(patch, "status.phase", phase);
    cleanup_free char *path = kube_path_new("v1", "pods", meta_ns(pod), meta_name(pod), "status");
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_merge_patch(c, path, patch, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

bool delete_pod(struct kube_client *c, const cJSON *pod, int64_t grace_seconds, struct error **err)
{
    cleanup_free char *path = kube_path_new("v1", "pods", meta_ns(pod), meta_name(pod), NULL);
    cleanup_error struct error *e = NULL;
    if (kube_delete(c, path, meta_uid(pod), grace_seconds, NULL, &e) ||
        kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}
