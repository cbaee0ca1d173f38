/* Priority: a pod's class becomes its number.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/ */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "common/json.h"
#include "common/mem.h"

#define GROUP "scheduling.k8s.io"

static const struct {
    const char *name, *description;
    int64_t value;
} system_classes[] = {
    {"system-cluster-critical",
     "Used for system critical pods that must run in the cluster, but can be moved to another node "
     "if necessary.",
     2000000000},
    {"system-node-critical",
     "Used for system critical pods that must not be moved from their current node.", 2000001000},
};

static const struct resource *classes(void)
{
    return resource_find(GROUP, "v1", "priorityclasses");
}

bool priority_bootstrap(struct storage *storage, struct error **err)
{
    for (size_t i = 0; i < ARRAY_LEN(system_classes); i++) {
        struct error *why = NULL;
        cleanup_stored struct stored *have =
            storage_get(storage, classes(), "", system_classes[i].name, &why);
        if (have)
            continue;
        if (why && why->code != 404) {
            error_move(err, why);
            return false;
        }
        error_free(why);
        why = NULL;
        char uid[37], now[64];
        meta_uuid(uid);
        meta_now(now);
        cleanup_json cJSON *o = cJSON_CreateObject();
        json_map_set_str(o, "kind", "PriorityClass");
        json_map_set_str(o, "apiVersion", GROUP "/v1");
        json_set_str(o, "metadata.name", system_classes[i].name);
        json_set_str(o, "metadata.uid", uid);
        json_set_str(o, "metadata.creationTimestamp", now);
        json_set_int(o, "metadata.generation", 1);
        json_set_int(o, "value", system_classes[i].value);
        json_map_set_str(o, "description", system_classes[i].description);
        json_map_set_str(o, "preemptionPolicy", "PreemptLowerPriority");
        struct stored *s = storage_create(storage, classes(), o, NULL, 0, &why);
        stored_unref(s);
        if (!s && why && why->code != 409) {
            error_move(err, why);
            return false;
        }
        error_free(why);
    }
    return true;
}

struct found {
    const char *name; /* NULL: the default class */
    cJSON *class;
};

/* Of several defaults, the one with the lowest value. */
static bool look(void *ctx, const cJSON *class)
{
    struct found *f = ctx;
    bool wanted = f->name ? !strcmp(json_str_or(class, "metadata.name", ""), f->name)
                          : json_bool(class, "globalDefault", false);
    if (!wanted || (f->class && json_int(f->class, "value", 0) <= json_int(class, "value", 0)))
        return true;
    cJSON_Delete(f->class);
    f->class = json_dup(class);
    return !f->name;
}

bool priority_admit_pod(struct write *w, cJSON *pod, struct error **err)
{
    const char *name = json_str_or(pod, "metadata.name", ""),
               *class_name = json_str_or(pod, "spec.priorityClassName", "");
    struct found f = {.name = *class_name ? class_name : NULL};
    if (f.name) {
        cleanup_stored struct stored *s = storage_get(w->req->storage, classes(), "", f.name, NULL);
        f.class = s ? json_parse(s->json, s->len, NULL) : NULL;
    } else {
        admission_each(w->req->storage, GROUP, "priorityclasses", "", look, &f);
    }
    cleanup_json cJSON *class = f.class;
    if (!class && f.name) {
        cleanup_free char *why = mem_printf("no PriorityClass with name %s was found", class_name);
        api_error_forbidden(err, w->r, name, why);
        return false;
    }
    int64_t value = json_int(class, "value", 0);
    const char *policy = json_str_or(class, "preemptionPolicy", "PreemptLowerPriority");
    if (cJSON_IsNumber(json_path(pod, "spec.priority")) &&
        json_int(pod, "spec.priority", 0) != value) {
        cleanup_free char *why = mem_printf(
            "the integer value of priority (%lld) must not be provided in pod spec; priority "
            "admission controller computed %lld from the given PriorityClass name",
            (long long)json_int(pod, "spec.priority", 0), (long long)value);
        api_error_forbidden(err, w->r, name, why);
        return false;
    }
    const char *asked = json_str_or(pod, "spec.preemptionPolicy", policy);
    if (strcmp(asked, policy) != 0) {
        cleanup_free char *why = mem_printf(
            "the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority "
            "admission controller computed %s from the given PriorityClass name",
            asked, policy);
        api_error_forbidden(err, w->r, name, why);
        return false;
    }
    json_set_int(pod, "spec.priority", value);
    json_set_str(pod, "spec.preemptionPolicy", policy);
    if (!f.name && class)
        json_set_str(pod, "spec.priorityClassName", json_str(class, "metadata.name"));
    return true;
}

bool priority_admit_class(struct write *w, const cJSON *object, struct error **err)
{
    if (!write_is(w->r, GROUP, "PriorityClass") || !json_bool(object, "globalDefault", false))
        return true;
    struct found f = {0};
    admission_each(w->req->storage, GROUP, "priorityclasses", "", look, &f);
    cleanup_json cJSON *other = f.class;
    const char *name = json_str_or(object, "metadata.name", "");
    if (!other || !strcmp(json_str_or(other, "metadata.name", ""), name))
        return true;
    cleanup_free char *why =
        mem_printf("PriorityClass %s is already marked as default. Only one default can exist",
                   json_str(other, "metadata.name"));
    api_error_forbidden(err, w->r, name, why);
    return false;
}
