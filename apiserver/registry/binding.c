/* pods/binding: a scheduler gives a pod to a node. pods/eviction: a deletion that may be refused.
 */
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static const struct resource *pods(void)
{
    return resource_find("", "v1", "pods");
}

/* Status "Success" alone, as these two answer. */
static void reply_created(struct write *w)
{
    cleanup_json cJSON *status = cJSON_CreateObject();
    json_map_set_str(status, "kind", "Status");
    json_map_set_str(status, "apiVersion", "v1");
    cJSON_AddItemToObject(status, "metadata", cJSON_CreateObject());
    json_map_set_str(status, "status", "Success");
    json_set_int(status, "code", 201);
    api_reply_json(w->req, 201, status);
}

static void set_condition(cJSON *pod, const char *type, const char *reason, const char *message)
{
    cJSON *list = json_ensure_array(pod, "status.conditions"), *c;
    cJSON_ArrayForEach(c, list) if (!strcmp(json_str_or(c, "type", ""), type)) break;
    if (!c) {
        c = cJSON_CreateObject();
        json_map_set_str(c, "type", type);
        cJSON_AddItemToArray(list, c);
    }
    if (strcmp(json_str_or(c, "status", ""), "True") != 0 || !json_get(c, "lastTransitionTime")) {
        char now[TIME_TEXT_MAX];
        meta_now(now);
        json_map_set_str(c, "lastTransitionTime", now);
    }
    json_map_set_str(c, "status", "True");
    json_set_str(c, "reason", reason);
    json_set_str(c, "message", message);
}

struct bind {
    const cJSON *binding;
    const char *node, *name;
    bool dry_run;
};

static bool refuse(const struct bind *b, struct error **err, char *why_taken)
{
    error_set(err, 409, "Conflict", "Operation cannot be fulfilled on pods/binding \"%s\": %s",
              b->name, why_taken);
    if (err && *err) {
        cleanup_json cJSON *details = cJSON_CreateObject();
        json_map_set_str(details, "name", b->name);
        json_map_set_str(details, "kind", "pods/binding");
        (*err)->details = json_text(details);
    }
    free(why_taken);
    return false;
}

static bool may_bind(const struct bind *b, const cJSON *pod, struct error **err)
{
    const char *uid = json_str_or(b->binding, "metadata.uid", ""),
               *own = json_str_or(pod, "metadata.uid", "");
    const char *node = json_str_or(pod, "spec.nodeName", "");
    if (*uid && strcmp(uid, own) != 0)
        return refuse(
            b, err,
            mem_printf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid,
                       own));
    if (meta_deleting(pod))
        return refuse(b, err,
                      mem_printf("pod %s is being deleted, cannot be assigned to a host", b->name));
    if (*node)
        return refuse(b, err,
                      mem_printf("pod %s is already assigned to node \"%s\"", b->name, node));
    if (cJSON_GetArraySize(json_path(pod, "spec.schedulingGates")))
        return refuse(b, err, mem_printf("pod %s has non-empty .spec.schedulingGates", b->name));
    return true;
}

static cJSON *bind_change(void *userdata, cJSON *current, const struct stored *stored,
                          struct error **err)
{
    (void)stored;
    struct bind *b = userdata;
    if (!may_bind(b, current, err))
        return NULL;
    cJSON *pod = json_dup(current);
    json_set_str(pod, "spec.nodeName", b->node);
    static const char *const maps[] = {"metadata.annotations", "metadata.labels"};
    for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, json_path(b->binding, maps[i]))
            json_map_set(json_ensure_object(pod, maps[i]), item->string, json_dup(item));
    }
    set_condition(pod, "PodScheduled", NULL, NULL);
    return pod;
}

static bool check_binding(const cJSON *binding, const char *name, struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    const char *kind = json_str_or(binding, "target.kind", "");
    const struct field_path *target = PATH_ROOT("target");
    if (*kind && strcmp(kind, "Node") != 0)
        field_not_supported(&errors, PATH_CHILD(target, "kind"), kind, "Node,<empty>");
    if (!*json_str_or(binding, "target.name", ""))
        field_required(&errors, PATH_CHILD(target, "name"), "");
    return field_errors_check(&errors, "", "Binding", name, err);
}

void pod_bind(struct write *w)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *binding = write_decode(w, schema_find("", "v1", "Binding"), &err);
    const char *in_body = json_str_or(binding, "metadata.name", "");
    const char *name = *w->sub ? w->name : in_body;
    if (binding && *w->sub && *in_body && strcmp(in_body, w->name) != 0)
        api_error_bad_request(&err, "name in URL does not match name in Binding object");
    if (!binding || err || !meta_check_namespace(w, binding, &err) ||
        !check_binding(binding, name, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    struct bind b = {.binding = binding, .name = name, .node = json_str(binding, "target.name")};
    if (w->dry_run) {
        cleanup_stored struct stored *s = storage_get(w->req->storage, pods(), w->ns, name, &err);
        cleanup_json cJSON *pod = s ? json_parse(s->json, s->len, &err) : NULL;
        if (pod)
            may_bind(&b, pod, &err);
    } else {
        struct storage_update u = {.change = bind_change, .userdata = &b};
        stored_unref(storage_update(w->req->storage, pods(), w->ns, name, &u, &err));
    }
    if (err)
        api_reply_error(w->req, err);
    else
        reply_created(w);
}

/* --- eviction --- */

static cJSON *disrupt(void *userdata, cJSON *current, const struct stored *stored,
                      struct error **err)
{
    (void)stored;
    if (!admission_node_pod(userdata, current, err))
        return NULL;
    if (meta_deleting(current))
        return NULL;
    cJSON *pod = json_dup(current);
    set_condition(pod, "DisruptionTarget", "EvictionByEvictionAPI", "Eviction API: evicting");
    return pod;
}

void pod_evict(struct write *w)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *eviction = write_decode(w, schema_find("policy", "v1", "Eviction"), &err);
    const char *in_body = json_str_or(eviction, "metadata.name", "");
    struct delete_options options = {.orphan_dependents = -1};
    if (eviction && *in_body && strcmp(in_body, w->name) != 0)
        api_error_bad_request(&err, "name in URL does not match name in Eviction object");
    if (!eviction || err ||
        !delete_options_from_json(json_get(eviction, "deleteOptions"), &options, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    /* Whoever looks at the dying pod sees why it dies. */
    if (!w->dry_run && !options.dry_run) {
        struct storage_update u = {.change = disrupt, .userdata = w};
        stored_unref(storage_update(w->req->storage, w->stored, w->ns, w->name, &u, &err));
    }
    enum delete_outcome outcome;
    cleanup_json cJSON *last = NULL;
    if (!err)
        delete_object(w, &options, &outcome, &last, &err);
    delete_options_clear(&options);
    if (err)
        api_reply_error(w->req, err);
    else
        reply_created(w);
}
