/* Who writes, and server-side apply.
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/ */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "apiserver/apply/managed.h"
#include "apiserver/apply/typed.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"

enum { MANAGER_MAX = 128 };
#define APPLY_CONTENT_TYPE "application/apply-patch+yaml"

bool write_is_apply(struct write *w)
{
    const char *type = httpd_header(w->req->http, "Content-Type");
    size_t len = sizeof APPLY_CONTENT_TYPE - 1;
    return type && !strncasecmp(type, APPLY_CONTENT_TYPE, len) &&
           (!type[len] || strchr("; \t", type[len]));
}

static const struct field_path manager_path = {NULL, "fieldManager", NULL, 0};

/* 422 for a name that none may have. */
static bool check_manager(const struct write *w, const char *name, struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    if (strlen(name) > MANAGER_MAX)
        field_too_long(&errors, &manager_path, MANAGER_MAX);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) {
            field_invalid_str(&errors, &manager_path, name, "invalid character U+%04X (at position %d)",
                              (unsigned char)*c, (int)(c - name));
            break;
        }
    return write_check_options(w, &errors, err);
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return false;
    return true;
}

bool write_manager(struct write *w, struct field_manager *out, char buffer[MANAGER_BUFFER],
                   struct error **err)
{
    const char *given = httpd_query(w->req->http, "fieldManager"),
               *agent = httpd_header(w->req->http, "User-Agent");
    char *name = buffer, *api_version = buffer + MANAGER_MAX + 1;
    if (given && *given) {
        if (!check_manager(w, given, err))
            return false;
        snprintf(name, MANAGER_MAX + 1, "%s", given);
    } else {
        size_t len = agent ? strcspn(agent, "/") : 0;
        snprintf(name, MANAGER_MAX + 1, "%.*s", (int)(len > MANAGER_MAX ? MANAGER_MAX : len),
                 agent ? agent : "");
        if (!*name || !printable(name))
            snprintf(name, MANAGER_MAX + 1, "unknown");
    }
    snprintf(api_version, MANAGER_BUFFER - MANAGER_MAX - 1, "%s%s%s", w->r->group,
             *w->r->group ? "/" : "", w->r->version);
    *out = (struct field_manager){.name = name,
                                  .api_version = api_version,
                                  .subresource = w->sub,
                                  .has_status = w->r->has_status};
    return true;
}

/* Merged, and with the structs that Go always writes, so that later writes don't seem to add them.
 */
static cJSON *merged(struct write *w, const cJSON *live, const cJSON *applied,
                     const struct field_manager *who, bool force, struct error **err)
{
    cleanup_json cJSON *object = managed_apply(w->r->type, live, applied, who, force, err);
    if (!object || !schema_decode(w->r->type, object, NULL, err))
        return NULL;
    cJSON *out = object;
    object = NULL;
    return out;
}

struct application {
    const cJSON *applied;
    const struct field_manager *who;
    bool force;
};

static cJSON *make_applied(struct update *u, const cJSON *current, struct error **err)
{
    const struct application *a = u->userdata;
    const char *uid = json_str_or(a->applied, "metadata.uid", "");
    if (*uid && strcmp(uid, json_str_or(current, "metadata.uid", "")) != 0) {
        cleanup_free char *why =
            mem_printf("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid,
                       json_str_or(current, "metadata.uid", ""));
        api_error_conflict(err, u->w->r, u->w->name, why);
        return NULL;
    }
    return merged(u->w, current, a->applied, a->who, a->force, err);
}

static bool check_version(const cJSON *applied, const struct schema_type *type, struct error **err)
{
    cleanup_free char *expected =
        mem_printf("%s%s%s", type->group, *type->group ? "/" : "", type->version);
    const char *version = json_str_or(applied, "apiVersion", "");
    if (!strcmp(version, expected))
        return true;
    api_error_bad_request(err,
                          "Incorrect version specified in apply patch. Specified patch version: "
                          "%s, expected: %s",
                          version, expected);
    return false;
}

static cJSON *read_applied(struct write *w, const struct schema_type *type, struct error **err)
{
    size_t len = 0;
    const char *body = httpd_body(w->req->http, &len);
    cleanup_json cJSON *applied = json_parse(body, len, NULL);
    cleanup_buf struct buf duplicates = {0};
    cleanup_strict_errors struct strict_errors twice = {0};
    if (cJSON_IsObject(applied))
        strict_drop_duplicates(applied, &twice);
    if (!cJSON_IsObject(applied) || twice.count) { /* which tells the lines, of JSON too */
        json_cleanup(&applied);
        applied = write_parse_yaml(body, len, &duplicates, err);
    }
    if (!applied || !write_judge_yaml(w, &duplicates,
                                      "error strict decoding YAML: error converting YAML to JSON: ",
                                      err))
        return NULL;
    if (!json_str(applied, "kind") || !json_str(applied, "apiVersion")) {
        api_error_bad_request(err,
                              "couldn't get version/kind; json parse error: Object '%s' is missing",
                              json_str(applied, "kind") ? "apiVersion" : "Kind");
        return NULL;
    }
    if (json_path(applied, "metadata.managedFields")) {
        api_error_bad_request(err, "metadata.managedFields must be nil");
        return NULL;
    }
    cleanup_json cJSON *said = json_dup(applied);
    if (!check_version(applied, type, err))
        return NULL;
    if (!json_str(said, "metadata.namespace") && w->r->namespaced)
        json_set_str(said, "metadata.namespace", w->ns);
    if (!typed_check(type, said, err) || !schema_decode_object(type, applied, w->field_validation, api_warn_fn, w->req, err))
        return NULL;
    /* Who says nothing of a struct does not own it, though decoding gives every object one. */
    typed_keep_said(applied, said);
    if (!json_str(applied, "metadata.name"))
        json_set_str(applied, "metadata.name", w->name);
    if (!meta_check_namespace(w, applied, err) || !meta_check_name(w, applied, err))
        return NULL;
    cJSON *out = applied;
    applied = NULL;
    return out;
}

static void create_applied(struct write *w, const struct application *a)
{
    cleanup_error struct error *err = NULL;
    cJSON *object = NULL;
    if (*json_str_or(a->applied, "metadata.uid", ""))
        api_error_not_found(&err, w->r, w->name);
    else if (write_may_create(w, &err))
        object = merged(w, NULL, a->applied, a->who, a->force, &err);
    if (object) {
        w->applied = true;
        write_create_object(w, object);
    } else {
        api_reply_error(w->req, err);
    }
}

void write_apply(struct write *w)
{
    cleanup_error struct error *err = NULL;
    char buffer[MANAGER_BUFFER];
    struct field_manager who;
    const char *given = httpd_query(w->req->http, "fieldManager"),
               *force = httpd_query(w->req->http, "force");
    if (!given || !*given) {
        cleanup_field_errors struct field_errors errors = {0};
        field_required(&errors, &manager_path, "is required for apply patch");
        write_check_options(w, &errors, &err);
    }
    bool scale = !strcmp(w->sub, "scale");
    const struct schema_type *type =
        scale ? schema_find("autoscaling", "v1", "Scale") : w->r->type;
    cleanup_json cJSON *applied =
        !err && write_manager(w, &who, buffer, &err) ? read_applied(w, type, &err) : NULL;
    if (!applied) {
        api_reply_error(w->req, err);
        return;
    }
    if (scale) { /* seen as what it says of the object */
        cJSON *of_object = scale_applied(w, applied);
        cJSON_Delete(applied);
        applied = of_object;
    }
    struct application a = {.applied = applied,
                            .who = &who,
                            .force = force && (!strcmp(force, "true") || !strcmp(force, "1"))};
    struct update u = {
        .w = w, .make = make_applied, .userdata = &a, .sub = scale ? "" : w->sub, .applies = true};
    cleanup_stored struct stored *s = update_run(&u, &err);
    if (err && err->code == 404 && !*w->sub && !strcmp(err->reason, "NotFound"))
        create_applied(w, &a);
    else if (err)
        api_reply_error(w->req, err);
    else if (scale)
        scale_reply(w, s, u.result);
    else if (!s || u.deleted)
        api_reply_json(w->req, 200, u.last ? u.last : u.result);
    else
        write_reply_stored(w, 200, s);
    update_clear(&u);
}
