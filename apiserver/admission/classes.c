/* DefaultStorageClass, DefaultIngressClass, RuntimeClass, PersistentVolumeClaimResize,
 * StorageObjectInUseProtection: what a class says of those that name it, or name none. */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

/* --- the default of several classes --- */

struct search {
    const char *const *annotations; /* one of them says "true" */
    cJSON *best;
};

/* The newest one; of two of the same age, the first by name. */
static bool is_better(const cJSON *a, const cJSON *b)
{
    int age = strcmp(json_str_or(a, "metadata.creationTimestamp", ""),
                     json_str_or(b, "metadata.creationTimestamp", ""));
    return age ? age > 0
               : strcmp(json_str_or(a, "metadata.name", ""), json_str_or(b, "metadata.name", "")) <
                     0;
}

static bool look(void *ctx, const cJSON *class)
{
    struct search *s = ctx;
    const cJSON *annotations = json_path(class, "metadata.annotations");
    for (const char *const *a = s->annotations; *a; a++) {
        const char *value = json_map_str(annotations, *a);
        if (!value || strcmp(value, "true") != 0)
            continue;
        if (!s->best || is_better(class, s->best)) {
            json_cleanup(&s->best);
            s->best = json_dup(class);
        }
        break;
    }
    return true;
}

static void set_default(struct write *w, cJSON *object, const char *path, const char *group,
                        const char *plural, const char *const *annotations)
{
    struct search s = {.annotations = annotations};
    admission_each(w->req->storage, group, plural, "", look, &s);
    if (s.best)
        json_set_str(object, path, json_str(s.best, "metadata.name"));
    json_cleanup(&s.best);
}

static bool has_annotation(const cJSON *object, const char *key)
{
    return json_map_str(json_path(object, "metadata.annotations"), key) != NULL;
}

static void default_storage_class(struct write *w, cJSON *claim)
{
    static const char *const annotations[] = {"storageclass.kubernetes.io/is-default-class",
                                              "storageclass.beta.kubernetes.io/is-default-class",
                                              NULL};
    /* "" is a choice, too: none. */
    if (!json_path(claim, "spec.storageClassName") &&
        !has_annotation(claim, "volume.beta.kubernetes.io/storage-class"))
        set_default(w, claim, "spec.storageClassName", "storage.k8s.io", "storageclasses",
                    annotations);
}

static void default_ingress_class(struct write *w, cJSON *ingress)
{
    static const char *const annotations[] = {"ingressclass.kubernetes.io/is-default-class", NULL};
    if (!json_path(ingress, "spec.ingressClassName") &&
        !has_annotation(ingress, "kubernetes.io/ingress.class"))
        set_default(w, ingress, "spec.ingressClassName", "networking.k8s.io", "ingressclasses",
                    annotations);
}

/* --- StorageObjectInUseProtection: its controllers take the finalizer away --- */

static void protect(cJSON *object, const char *finalizer)
{
    cJSON *list = json_ensure_array(object, "metadata.finalizers");
    const cJSON *f;
    cJSON_ArrayForEach(f, list)
    {
        if (cJSON_IsString(f) && !strcmp(f->valuestring, finalizer))
            return;
    }
    cJSON_AddItemToArray(list, cJSON_CreateString(finalizer));
}

/* --- RuntimeClass --- */

static bool refuse(struct write *w, const cJSON *object, struct error **err, char *why_taken)
{
    api_error_forbidden(err, w->r, json_str_or(object, "metadata.name", ""), why_taken);
    free(why_taken);
    return false;
}

static bool merge_selector(struct write *w, cJSON *pod, const cJSON *class, struct error **err)
{
    const cJSON *wanted;
    cJSON_ArrayForEach(wanted, json_path(class, "scheduling.nodeSelector"))
    {
        const char *has = json_map_str(json_path(pod, "spec.nodeSelector"), wanted->string);
        if (has && strcmp(has, cJSON_GetStringValue(wanted)) != 0)
            return refuse(w, pod, err,
                          mem_printf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; "
                                     "pod.spec.nodeSelector[%s] = %s",
                                     wanted->string, cJSON_GetStringValue(wanted), wanted->string,
                                     has));
        json_map_set(json_ensure_object(pod, "spec.nodeSelector"), wanted->string,
                     json_dup(wanted));
    }
    return true;
}

static void merge_tolerations(cJSON *pod, const cJSON *class)
{
    const cJSON *wanted, *has;
    cJSON_ArrayForEach(wanted, json_path(class, "scheduling.tolerations"))
    {
        cJSON *list = json_ensure_array(pod, "spec.tolerations");
        bool present = false;
        cJSON_ArrayForEach(has, list)
        {
            present |= json_equal(has, wanted);
        }
        if (!present)
            cJSON_AddItemToArray(list, json_dup(wanted));
    }
}

static bool runtime_class(struct write *w, cJSON *pod, struct error **err)
{
    const char *name = json_str_or(pod, "spec.runtimeClassName", "");
    const cJSON *said = json_path(pod, "spec.overhead");
    cleanup_json cJSON *class = NULL;
    if (*name) {
        struct error *why = NULL;
        cleanup_stored struct stored *s = storage_get(
            w->req->storage, resource_find("node.k8s.io", "v1", "runtimeclasses"), "", name, &why);
        class = s ? json_parse(s->json, s->len, NULL) : NULL;
        bool missing = why && why->code == 404;
        if (why && !missing) {
            error_move(err, why);
            return false;
        }
        error_free(why);
        if (!class)
            return refuse(w, pod, err,
                          mem_printf("pod rejected: RuntimeClass \"%s\" not found", name));
        if (!merge_selector(w, pod, class, err))
            return false;
        merge_tolerations(pod, class);
    }
    const cJSON *overhead = json_path(class, "overhead.podFixed");
    if (said && said->child && !json_equal(said, overhead))
        return refuse(w, pod, err,
                      mem_strdup(overhead
                                     ? "pod rejected: Pod's Overhead doesn't match RuntimeClass's "
                                       "defined Overhead"
                                     : "pod rejected: Pod Overhead set without corresponding "
                                       "RuntimeClass defined Overhead"));
    if (overhead && overhead->child)
        json_set(pod, "spec.overhead", json_dup(overhead));
    return true;
}

/* --- PersistentVolumeClaimResize --- */

static int64_t size_of(const cJSON *claim)
{
    return quantity_text_value(json_str(claim, "spec.resources.requests.storage"));
}

bool claim_resize_admit(struct write *w, const cJSON *claim, const cJSON *old, struct error **err)
{
    if (!write_is(w->r, "", "PersistentVolumeClaim") || *w->sub || size_of(claim) <= size_of(old))
        return true;
    if (strcmp(json_str_or(old, "status.phase", ""), "Bound") != 0)
        return refuse(w, claim, err,
                      mem_strdup("Only bound persistent volume claims can be expanded"));
    const char *name = json_str_or(old, "spec.storageClassName", "");
    cleanup_stored struct stored *s =
        *name ? storage_get(w->req->storage,
                            resource_find("storage.k8s.io", "v1", "storageclasses"), "", name, NULL)
              : NULL;
    cleanup_json cJSON *class = s ? json_parse(s->json, s->len, NULL) : NULL;
    if (json_bool(class, "allowVolumeExpansion", false))
        return true;
    return refuse(w, claim, err,
                  mem_strdup("only dynamically provisioned pvc can be resized and the storageclass "
                             "that provisions the pvc must support resize"));
}

bool classes_admit(struct write *w, cJSON *object, struct error **err)
{
    if (write_is(w->r, "", "PersistentVolumeClaim")) {
        default_storage_class(w, object);
        protect(object, "kubernetes.io/pvc-protection");
    } else if (write_is(w->r, "", "PersistentVolume")) {
        protect(object, "kubernetes.io/pv-protection");
    } else if (write_is(w->r, "networking.k8s.io", "Ingress")) {
        default_ingress_class(w, object);
    } else if (write_is(w->r, "", "Pod")) {
        return runtime_class(w, object, err);
    }
    return true;
}
