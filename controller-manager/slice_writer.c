#include "controller-manager/slice_writer.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/service_pods.h"

#define API "discovery.k8s.io/v1"

static bool written(struct slice_writer *w, cJSON *answer_taken, struct error *e_taken,
                    const char *verb, struct error **err)
{
    cleanup_json cJSON *answer = answer_taken;
    cleanup_error struct error *e = e_taken;
    if (answer) {
        expectations_wrote(w->expectations, w->key, meta_version(answer));
        return true;
    }
    if (refused_by_namespace_end(e) ||
        (strcmp(verb, "delete") == 0 && kube_error_is(e, "NotFound")))
        return true;
    error_move(err, e);
    e = NULL;
    error_wrap(err, "failed to %s EndpointSlice for Service %s/%s", verb, w->ns, w->service);
    return false;
}

static bool create_slice(struct slice_writer *w, const struct slice_change *ch, struct error **err)
{
    cleanup_json cJSON *slice = cJSON_CreateObject();
    json_map_set_str(slice, "apiVersion", API);
    json_map_set_str(slice, "kind", "EndpointSlice");
    cleanup_free char *prefix = mem_printf("%s-", w->service);
    json_set_str(slice, "metadata.generateName", prefix);
    json_set_str(slice, "metadata.namespace", w->ns);
    json_set(slice, "metadata.labels", json_dup(w->labels));
    if (w->trigger)
        meta_set_annotation(slice, TRIGGER_TIME_ANNOTATION, w->trigger);
    cJSON_AddItemToArray(json_ensure_array(slice, "metadata.ownerReferences"), json_dup(w->owner));
    json_map_set_str(slice, "addressType", w->family);
    json_map_set(slice, "endpoints", json_dup(ch->endpoints));
    json_map_set(slice, "ports", json_dup(ch->ports));
    cleanup_free char *path = kube_path_new(API, "endpointslices", w->ns, NULL, NULL);
    struct error *e = NULL;
    cJSON *answer = kube_create(w->client, path, slice, &e);
    return written(w, answer, e, "create", err);
}

static bool update_slice(struct slice_writer *w, const struct slice_change *ch, struct error **err)
{
    cleanup_json cJSON *slice = json_dup(ch->old);
    json_set(slice, "metadata.labels", json_dup(w->labels));
    if (w->trigger)
        meta_set_annotation(slice, TRIGGER_TIME_ANNOTATION, w->trigger);
    else
        map_remove(json_path(slice, "metadata.annotations"), TRIGGER_TIME_ANNOTATION);
    if (ch->endpoints) {
        json_map_set(slice, "endpoints", json_dup(ch->endpoints));
        json_map_set(slice, "ports", json_dup(ch->ports));
    }
    struct error *e = NULL;
    cJSON *answer = update_object(w->client, API, "endpointslices", slice, &e);
    return written(w, answer, e, "update", err);
}

bool slice_delete(struct slice_writer *w, const cJSON *slice, struct error **err)
{
    cleanup_free char *path =
        kube_path_new(API, "endpointslices", meta_ns(slice), meta_name(slice), NULL);
    cleanup_free char *key = mem_printf("%s/%s", meta_ns(slice), meta_name(slice));
    struct error *e = NULL;
    if (kube_delete(w->client, path, meta_uid(slice), -1, NULL, &e)) {
        expectations_deleted(w->expectations, w->key, key, meta_uid(slice));
        return true;
    }
    return written(w, NULL, e, "delete", err);
}

static bool apply_change(struct slice_writer *w, const struct slice_change *ch, struct error **err)
{
    switch (ch->action) {
    case SLICE_CREATE:
        return create_slice(w, ch, err);
    case SLICE_UPDATE:
        return update_slice(w, ch, err);
    case SLICE_DELETE:
        return slice_delete(w, ch->old, err);
    case SLICE_KEEP:
        break;
    }
    if (!ch->old || json_equal(meta_labels(ch->old), w->labels))
        return true;
    return update_slice(w, ch, err); /* the Service's labels have changed */
}

bool slices_write(struct slice_writer *w, const struct kube_object_list *slices,
                  struct slice_endpoint *wanted, size_t count, struct error **err)
{
    cleanup_free const cJSON **existing = mem_alloc((slices->count + 1) * sizeof(*existing));
    size_t existing_count = 0;
    for (size_t i = 0; i < slices->count; i++)
        if (strcmp(json_str_or(slices->items[i]->json, "addressType", ""), w->family) == 0 &&
            !meta_deleting(slices->items[i]->json))
            existing[existing_count++] = slices->items[i]->json;
    cleanup_slice_plan struct slice_plan plan =
        slices_plan(existing, existing_count, wanted, count);
    bool ok = true;
    for (size_t i = 0; ok && i < plan.count; i++)
        ok = apply_change(w, &plan.changes[i], err);
    for (size_t i = 0; i < count; i++) {
        cJSON_Delete(wanted[i].endpoint);
        cJSON_Delete(wanted[i].ports);
    }
    return ok;
}
