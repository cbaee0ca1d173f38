/* Where writes enter, and what all of them share. */
#include <string.h>
#include <strings.h>
#include "apiserver/auth/token.h"
#include "apiserver/crd/controller.h"
#include "apiserver/crd/custom.h"
#include "apiserver/patch/patch.h"
#include "apiserver/registry/proxy.h"
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "apiserver/schema/defaults.h"
#include "apiserver/schema/protobuf.h"
#include "apiserver/schema/schema.h"
#include "apiserver/validation/validation.h"
#include "common/yaml.h"
#include "common/json.h"
#include "common/mem.h"

bool write_is(const struct resource *r, const char *group, const char *kind)
{
    return !strcmp(r->kind, kind) && !strcmp(r->group, group);
}

static bool is_media_type(const char *content_type, const char *type)
{
    size_t len = strlen(type);
    return !strncasecmp(content_type, type, len) &&
           (!content_type[len] || strchr("; \t", content_type[len]));
}

cJSON *write_parse_yaml(const char *body, size_t len, struct buf *duplicates, struct error **err)
{
    struct error *why = NULL;
    cJSON *object = yaml_to_json_noting(body, len, duplicates, &why);
    if (object && cJSON_IsObject(object))
        return object;
    api_error_bad_request(err, "error decoding YAML: %s",
                          why ? error_message(why) : "the document is no object");
    error_free(why);
    cJSON_Delete(object);
    return NULL;
}

bool write_judge_yaml(struct write *w, const struct buf *duplicates, const char *before,
                      struct error **err)
{
    if (!duplicates->len || w->field_validation == FIELD_VALIDATION_IGNORE)
        return true;
    if (w->field_validation == FIELD_VALIDATION_STRICT) {
        api_error_bad_request(err, "%syaml: unmarshal errors:%s", before, duplicates->data);
        return false;
    }
    cleanup_free char *text = mem_printf("yaml: unmarshal errors:%s", duplicates->data);
    for (char *c = text; *c; c++)
        *c = *c == '\n' ? ' ' : *c;
    api_warn(w->req, text);
    return true;
}

/* A body in protobuf has become JSON before it comes here; an empty one has not. */
cJSON *write_decode(struct write *w, const struct schema_type *type, struct error **err)
{
    const char *content_type = httpd_header(w->req->http, "Content-Type");
    size_t len = 0;
    const char *body = httpd_body(w->req->http, &len);
    if (!len || !content_type || !*content_type ||
        is_media_type(content_type, "application/json") || is_media_type(content_type, "*/*"))
        return schema_decode_body(type, body, len, w->field_validation, api_warn_fn, w->req, err);
    cJSON *object = NULL;
    cleanup_buf struct buf duplicates = {0};
    if (is_media_type(content_type, "application/yaml"))
        object = write_parse_yaml(body, len, &duplicates, err);
    else
        error_set(err, 415, "UnsupportedMediaType",
                  "the body of the request was in an unknown format - accepted media types "
                  "include: application/json, "
                  "application/yaml, " PROTOBUF_MEDIA_TYPE);
    cleanup_free char *before = mem_printf("%s in version \"%s\" cannot be handled as a %s: strict decoding error: ",
                                           type->name, type->version, type->name);
    if (object && write_judge_yaml(w, &duplicates, before, err) &&
        schema_decode_object(type, object, w->field_validation, api_warn_fn, w->req, err))
        return object;
    cJSON_Delete(object);
    return NULL;
}

bool write_decode_patched(struct write *w, const struct schema_type *type, cJSON *object,
                          const char *strategic, size_t len, struct error **err)
{
    cleanup_strict_errors struct strict_errors strict = {0};
    cleanup_error struct error *why = NULL;
    cleanup_json cJSON *as_patched = strategic ? NULL : json_dup(object);
    size_t patch_len = 0;
    const char *patch = httpd_body(w->req->http, &patch_len);
    cleanup_json cJSON *said = w->field_validation == FIELD_VALIDATION_IGNORE
                                   ? NULL
                                   : json_parse(patch, patch_len, NULL);
    if (said)
        strict_drop_duplicates(said, &strict);
    if (!schema_decode(type, object, &strict, &why)) {
        cleanup_free char *shown =
            patch_shown(strategic ? PATCH_STRATEGIC : PATCH_JSON, as_patched, strategic, len);
        patch_error_invalid(err, shown, error_message(why));
        return false;
    }
    if (strict.count == 0 || w->field_validation == FIELD_VALIDATION_IGNORE)
        return true;
    if (w->field_validation == FIELD_VALIDATION_WARN) {
        for (size_t i = 0; i < strict.count; i++)
            api_warn(w->req, strict.items[i]);
        return true;
    }
    cleanup_free char *text = strict_errors_text(&strict);
    cleanup_free char *shown =
        patch_shown(strategic ? PATCH_STRATEGIC : PATCH_JSON, as_patched, strategic, len);
    patch_error_invalid(err, shown, text);
    return false;
}

void write_default(const struct resource *r, cJSON *object)
{
    defaults_fn *fn = schema_defaults_for(r->group, r->version, r->kind);
    if (r->type && (r->type->flags & SCHEMA_IS_CUSTOM))
        custom_default(r->type, object);
    else if (fn)
        fn(object);
    else if (r->type)
        schema_default(r->type, object);
    if (r->set_defaults)
        r->set_defaults(object);
}

bool write_validate(const struct resource *r, const cJSON *object, const cJSON *old,
                    const char *sub, struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    validate_fn *fn = validation_for(r->group, r->version, r->kind);
    bool custom = r->type && (r->type->flags & SCHEMA_IS_CUSTOM);
    if (custom) {
        validate_custom_meta(object, old, r->namespaced, &errors);
        custom_validate(r->type, object, old, sub, &errors);
    } else if (fn) {
        fn(object, old, sub, &errors);
    } else {
        validate_generic(object, old, r->namespaced, &errors);
    }
    if (r->validate)
        r->validate(object, old, sub, &errors);
    return field_errors_check(&errors, r->group, r->kind, json_str_or(object, "metadata.name", ""),
                              err);
}

cJSON *write_view(const struct write *w, const struct stored *s)
{
    cJSON *json = json_parse(s->json, s->len, NULL);
    if (!json || !w->r->from_stored)
        return json;
    cJSON *view = w->r->from_stored(w->r, json);
    cJSON_Delete(json);
    return view;
}

/* Status "Success" alone, as bindings and evictions are answered. */
void write_reply_created(struct write *w)
{
    cleanup_json cJSON *status = cJSON_CreateObject();
    json_map_set_str(status, "kind", "Status");
    json_map_set_str(status, "apiVersion", "v1");
    cJSON_AddItemToObject(status, "metadata", cJSON_CreateObject());
    json_map_set_str(status, "status", "Success");
    json_set_int(status, "code", 201);
    api_reply_json(w->req, 201, status);
}

void write_reply_stored(struct write *w, int status, struct stored *s)
{
    if (!w->r->from_stored) {
        api_reply_stored(w->req, status, s);
        return;
    }
    cleanup_json cJSON *view = write_view(w, s);
    api_reply_json(w->req, status, view);
}

bool write_check_options(const struct write *w, const struct field_errors *errors, struct error **err)
{
    const char *verb = w->req->info.verb;
    return field_errors_check(errors, "meta.k8s.io",
                              !strcmp(verb, "create")   ? "CreateOptions"
                              : !strcmp(verb, "update") ? "UpdateOptions"
                              : !strcmp(verb, "patch")  ? "PatchOptions"
                                                        : "DeleteOptions",
                              "", err);
}

static bool parse_options(struct write *w, struct error **err)
{
    const char *dry_run[4];
    size_t n = httpd_query_all(w->req->http, "dryRun", dry_run, ARRAY_LEN(dry_run));
    for (size_t i = 0; i < n && i < ARRAY_LEN(dry_run); i++) {
        if (!strcmp(dry_run[i], "All")) {
            w->dry_run = true;
        } else if (*dry_run[i]) {
            cleanup_field_errors struct field_errors errors = {0};
            field_not_supported(&errors, PATH_ROOT("dryRun"), dry_run[i], "All");
            return write_check_options(w, &errors, err);
        }
    }
    if (!strcmp(w->req->info.verb, "patch") && !write_is_apply(w) &&
        httpd_query(w->req->http, "force")) {
        cleanup_field_errors struct field_errors errors = {0};
        field_forbidden(&errors, PATH_ROOT("force"), "may not be specified for non-apply patch");
        return write_check_options(w, &errors, err);
    }
    const char *field_validation = httpd_query(w->req->http, "fieldValidation");
    if (field_validation_parse(field_validation, &w->field_validation))
        return true;
    cleanup_field_errors struct field_errors errors = {0};
    field_not_supported(&errors, PATH_ROOT("fieldValidation"), field_validation,
                        ",Ignore,Strict,Warn");
    return write_check_options(w, &errors, err);
}

static void review(struct write *w)
{
    cleanup_error struct error *err = NULL;
    if (w->req->accept.form != FORM_OBJECT)
        error_set(&err, 406, "NotAcceptable",
                  "only the following media types are accepted: application/json, "
                  "application/yaml, " PROTOBUF_MEDIA_TYPE);
    cleanup_json cJSON *object =
        !err && w->r->type ? write_decode(w, w->r->type, &err) : NULL;
    if (!object || !access_review(w->req, object, &err))
        api_reply_error(w->req, err);
    else
        api_reply_json(w->req, 201, object);
}

/* serviceaccounts/token: answered, never stored. */
static void give_token(struct write *w)
{
    cleanup_error struct error *err = NULL;
    const struct schema_type *type = schema_find("authentication.k8s.io", "v1", "TokenRequest");
    cleanup_json cJSON *object = write_decode(w, type, &err);
    if (!object || !token_request(w->req, object, &err))
        api_reply_error(w->req, err);
    else
        api_reply_json(w->req, 201, object);
}

/* Subresources that show the whole object and change a part of it. */
static bool changes_whole(const char *sub)
{
    return !strcmp(sub, "status") || !strcmp(sub, "approval") || pod_part_handles(sub);
}

static bool handle_subresource(struct write *w, const char *verb)
{
    if (!strcmp(w->sub, "scale"))
        scale_handle(w);
    else if (!strcmp(w->sub, "binding") && !strcmp(verb, "create"))
        pod_bind(w);
    else if (!strcmp(w->sub, "eviction") && !strcmp(verb, "create"))
        pod_evict(w);
    else if (!strcmp(w->sub, "token") && !strcmp(verb, "create"))
        give_token(w);
    else if (!strcmp(w->sub, "log") && !strcmp(verb, "get"))
        pod_log(w);
    else if (pod_stream_handles(w->sub))
        pod_stream(w);
    else if (!strcmp(w->sub, "finalize") && !strcmp(verb, "update"))
        namespace_finalize(w);
    else if (changes_whole(w->sub) && !strcmp(verb, "update"))
        write_update(w);
    else if (changes_whole(w->sub) && !strcmp(verb, "patch"))
        write_patch(w);
    else
        return false;
    return true;
}

static bool handle_resource(struct write *w, const char *verb)
{
    if (w->r->read && (!strcmp(verb, "get") || !strcmp(verb, "list")))
        w->r->read(w);
    else if (!strcmp(verb, "create")) {
        if (access_review_handles(w->r))
            review(w);
        else if (write_is(w->r, "", "Binding"))
            pod_bind(w);
        else
            write_create(w);
    } else if (!strcmp(verb, "update")) {
        write_update(w);
    } else if (!strcmp(verb, "patch")) {
        write_patch(w);
    } else if (!strcmp(verb, "delete")) {
        write_delete(w);
    } else if (!strcmp(verb, "deletecollection")) {
        write_delete_collection(w);
    } else {
        return false;
    }
    return true;
}

void registry_handle_write(struct api_request *req)
{
    struct write w = {
        .req = req,
        .r = req->resource,
        .stored = resource_stored(req->resource),
        .ns = req->info.ns,
        .name = req->info.name,
        .sub = req->info.subresource,
    };
    /* Below /api/v1/namespaces/x/... the namespace is x; /api/v1/namespaces/x itself is
     * cluster-scoped. */
    if (!w.r->namespaced)
        w.ns = "";
    const char *verb = req->info.verb;
    cleanup_error struct error *err = NULL;
    if (!strcmp(w.sub, "proxy")) { /* its parameters are not for us */
        proxy_handle(&w);
        return;
    }
    if (!parse_options(&w, &err)) {
        api_reply_error(req, err);
        return;
    }
    if (*w.sub ? handle_subresource(&w, verb) : handle_resource(&w, verb))
        return;
    api_error_method_not_allowed(&err);
    api_reply_error(req, err);
}

bool registry_start(const struct api_config *config, struct storage *storage, struct error **err)
{
    return services_start(config, err) && bootstrap_start(config, storage, err) &&
           crd_start(storage, err);
}
