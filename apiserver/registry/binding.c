/* pods/binding: a scheduler gives a pod to a node. */
#include <string.h>
#include "apiserver/registry/conditions.h"
#include "apiserver/registry/registry.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"

static const struct resource *pods(void)
{
    return resource_find("", "v1", "pods");
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
    condition_set(pod, "PodScheduled", "True", NULL, NULL);
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
        write_reply_created(w);
}
