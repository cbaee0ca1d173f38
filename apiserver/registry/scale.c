/* The subresource scale: autoscaling/v1's view of Deployments and ReplicaSets. */
#include <string.h>
#include "apiserver/patch/patch.h"
#include "apiserver/registry/registry.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/selector.h"

static cJSON *scale_of(const struct resource *r, const cJSON *object)
{
    cJSON *scale = cJSON_CreateObject();
    json_map_set_str(scale, "kind", "Scale");
    json_map_set_str(scale, "apiVersion", "autoscaling/v1");
    cJSON *meta = cJSON_AddObjectToObject(scale, "metadata");
    static const char *const copied[] = {"name", "namespace", "uid", "resourceVersion",
                                         "creationTimestamp"};
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        const cJSON *v = json_get(json_get(object, "metadata"), copied[i]);
        if (v)
            json_map_set(meta, copied[i], json_dup(v));
    }
    cJSON *spec = cJSON_AddObjectToObject(scale, "spec");
    int64_t replicas = json_int(object, r->scale_spec ? r->scale_spec : "spec.replicas", 0);
    if (replicas)
        json_set_int(spec, "replicas", replicas);
    cJSON *status = cJSON_AddObjectToObject(scale, "status");
    json_set_int(status, "replicas",
                 json_int(object, r->scale_status ? r->scale_status : "status.replicas", 0));
    if (r->scale_selector && json_str(object, r->scale_selector)) {
        json_map_set_str(status, "selector", json_str(object, r->scale_selector));
        return scale;
    }
    if (r->scale_spec)
        return scale;
    /* A ReplicationController's selector is a plain map of labels. */
    const cJSON *given = json_path(object, "spec.selector");
    cleanup_json cJSON *wrapped = NULL;
    if (given && !strcmp(json_str_or(object, "kind", ""), "ReplicationController")) {
        wrapped = cJSON_CreateObject();
        json_map_set(wrapped, "matchLabels", json_dup(given));
        given = wrapped;
    }
    struct label_selector *selector = label_selector_from_json(given, NULL);
    if (selector) {
        cleanup_free char *text = label_selector_text(selector);
        json_map_set_str(status, "selector", text);
        label_selector_free(selector);
    }
    return scale;
}

struct scaling {
    const cJSON *put; /* the body of a PUT; NULL for a PATCH */
};

static cJSON *make_scaled(struct update *u, const cJSON *current, struct error **err)
{
    const struct scaling *s = u->userdata;
    cleanup_json cJSON *view = scale_of(u->w->r, current);
    cleanup_json cJSON *scale =
        s->put ? json_dup(s->put)
               : update_patched(u->w, schema_find("autoscaling", "v1", "Scale"), view, err);
    if (!scale)
        return NULL;
    const char *name = json_str_or(scale, "metadata.name", "");
    if (strcmp(name, u->w->name) != 0) {
        api_error_bad_request(err,
                              "the name of the object (%s) does not match the name on the URL (%s)",
                              name, u->w->name);
        return NULL;
    }
    int64_t replicas = json_int(scale, "spec.replicas", 0);
    if (replicas < 0) {
        cleanup_field_errors struct field_errors errors = {0};
        field_invalid_int(&errors, PATH_CHILD(PATH_ROOT("spec"), "replicas"), replicas,
                          "must be greater than or equal to 0");
        field_errors_check(&errors, "autoscaling", "Scale", u->w->name, err);
        return NULL;
    }
    cJSON *object = json_dup(current);
    const char *uid = json_str(scale, "metadata.uid"),
               *version = json_str(scale, "metadata.resourceVersion");
    if (uid && *uid)
        json_set_str(object, "metadata.uid", uid);
    json_set_str(object, "metadata.resourceVersion", version && *version ? version : NULL);
    const char *path = u->w->r->scale_spec;
    json_set_int(object, path ? path : "spec.replicas", replicas);
    return object;
}

cJSON *scale_applied(const struct write *w, const cJSON *scale)
{
    cJSON *object = cJSON_CreateObject();
    cleanup_free char *version =
        mem_printf("%s%s%s", w->r->group, *w->r->group ? "/" : "", w->r->version);
    json_map_set_str(object, "apiVersion", version);
    json_map_set_str(object, "kind", w->r->kind);
    json_set_str(object, "metadata.name", w->name);
    if (w->r->namespaced)
        json_set_str(object, "metadata.namespace", w->ns);
    const char *path = w->r->scale_spec;
    if (json_path(scale, "spec.replicas"))
        json_set_int(object, path ? path : "spec.replicas", json_int(scale, "spec.replicas", 0));
    return object;
}

static void reply(struct write *w, const cJSON *object)
{
    cleanup_json cJSON *scale = scale_of(w->r, object);
    api_reply_json(w->req, 200, scale);
}

void scale_reply(struct write *w, const struct stored *s, const cJSON *otherwise)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *object = s ? json_parse(s->json, s->len, &err) : NULL;
    if (err)
        api_reply_error(w->req, err);
    else
        reply(w, object ? object : otherwise);
}

void scale_handle(struct write *w)
{
    cleanup_error struct error *err = NULL;
    const char *verb = w->req->info.verb;
    if (!strcmp(verb, "get")) {
        cleanup_stored struct stored *s =
            storage_get(w->req->storage, w->stored, w->ns, w->name, &err);
        cleanup_json cJSON *object = s ? json_parse(s->json, s->len, &err) : NULL;
        if (object)
            reply(w, object);
        else
            api_reply_error(w->req, err);
        return;
    }
    if (!strcmp(verb, "patch") && write_is_apply(w)) {
        write_apply(w);
        return;
    }
    struct scaling scaling = {0};
    cleanup_json cJSON *body = NULL;
    if (!strcmp(verb, "update")) {
        body = write_decode(w, schema_find("autoscaling", "v1", "Scale"), &err);
        if (!body) {
            api_reply_error(w->req, err);
            return;
        }
        scaling.put = body;
    }
    struct update u = {.w = w, .make = make_scaled, .userdata = &scaling, .sub = ""};
    cleanup_stored struct stored *s = update_run(&u, &err);
    if (err)
        api_reply_error(w->req, err);
    else
        scale_reply(w, s, u.result);
    update_clear(&u);
}
