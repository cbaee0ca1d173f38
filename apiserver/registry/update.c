/* PUT and PATCH: one way for both, and for every subresource that changes an object. */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/apply/managed.h"
#include "apiserver/auth/auth.h"
#include "apiserver/patch/patch.h"
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"

enum { CLAIM_ATTEMPTS = 32 };

/* One run of storage_update's callback, with what it leaves behind. */
struct run {
    struct update *u;
    int attempt;
    cJSON *asked; /* a Service before allocation */
    cJSON *old;   /* the Service that it replaces */
    struct claims claims;
};

static bool error_is(const struct error *e, const char *reason)
{
    return e && e->reason && !strcmp(e->reason, reason);
}

static void replace(cJSON *object, const cJSON *from, const char *path)
{
    const cJSON *value = json_path(from, path);
    if (value)
        json_set(object, path, json_dup(value));
    else
        json_remove(object, path);
}

/* What the main resource may not change, and what the status subresource may. Gives the object to
 * go on with (owned). */
static cJSON *separate_status(const struct resource *r, cJSON *object, const cJSON *old,
                              const char *sub)
{
    if (!r->has_status)
        return object;
    if (pod_part_handles(sub))
        object = pod_part_only(object, old, sub);
    bool approval = !strcmp(sub, "approval"); /* of a CSR: the conditions alone */
    if (strcmp(sub, "status") != 0 && !approval) {
        replace(object, old, "status");
        return object;
    }
    cJSON *merged = json_dup(old);
    replace(merged, object, approval ? "status.conditions" : "status");
    replace(merged, object, "metadata");
    if (write_is(r, "apps", "Deployment"))
        replace(merged, old, "metadata.labels");
    else if (write_is(r, "", "Pod"))
        replace(merged, old, "metadata.ownerReferences");
    cJSON_Delete(object);
    return merged;
}

static bool check_new(struct update *u, cJSON *object, const cJSON *old, struct error **err)
{
    struct write *w = u->w;
    const struct resource *r = w->r;
    if (!meta_check_namespace(w, object, err) || !meta_check_name(w, object, err) ||
        !meta_before_update(w, object, old, err))
        return false;
    write_default(r, object);
    if (!admission_update(w, object, old, err) ||
        (r->prepare && !r->prepare(object, old, u->sub, err)))
        return false;
    if (strcmp(u->sub, "status") != 0)
        meta_bump_generation(r, object, old);
    return write_validate(r, object, old, u->sub, err) && resource_quota_admit(w, object, old, err);
}

static bool set_managers(struct update *u, cJSON *object, const cJSON *old, cJSON **applied,
                         struct error **err)
{
    if (*applied) {
        json_set(object, "metadata.managedFields", *applied);
        *applied = NULL;
        return true;
    }
    char buffer[MANAGER_BUFFER];
    struct field_manager who;
    if (!write_manager(u->w, &who, buffer, err))
        return false;
    managed_update(u->w->r->type, object, old, &who);
    return true;
}

/* The new object, or NULL: with an error, or without one when nothing changes. */
static cJSON *change(void *userdata, cJSON *current, const struct stored *stored,
                     struct error **err)
{
    (void)stored;
    struct run *run = userdata;
    struct update *u = run->u;
    struct write *w = u->w;
    const struct resource *r = w->r;
    claims_clear(&run->claims);
    u->u.claims = NULL;
    u->u.claim_count = 0;
    u->u.delete_instead = false;

    cleanup_json cJSON *converted = r->from_stored ? r->from_stored(r, current) : NULL;
    const cJSON *old = converted ? converted : current;
    cleanup_json cJSON *object = u->make(u, old, err);
    if (!object)
        return NULL;
    object = separate_status(r, object, old, u->sub);
    cleanup_json cJSON *managed =
        u->applies ? json_dup(json_path(object, "metadata.managedFields")) : NULL;
    if (!check_new(u, object, old, err) || !set_managers(u, object, old, &managed, err))
        return NULL;

    bool service = write_is(r, "", "Service");
    if (meta_should_delete(object) &&
        (!write_is(r, "", "Namespace") ||
         cJSON_GetArraySize(json_path(object, "spec.finalizers")) == 0)) {
        u->u.delete_instead = true;
        if (service)
            service_release(old, &run->claims);
    } else if (service && !*u->sub) {
        json_cleanup(&run->asked);
        json_cleanup(&run->old);
        run->asked = json_dup(object);
        run->old = json_dup(old);
        if (!service_allocate(w->req->storage, object, old, run->attempt, &run->claims, err))
            return NULL;
    }
    u->u.claims = run->claims.items;
    u->u.claim_count = run->claims.count;
    json_cleanup(&u->result);
    u->result = json_dup(object);
    if (u->u.delete_instead) {
        json_cleanup(&u->last);
        u->last = json_dup(object);
    } else if (json_equal(object, old)) {
        return NULL;
    }
    cJSON *out = r->to_stored ? r->to_stored(w->stored, object) : object;
    if (out == object)
        object = NULL;
    return out;
}

static bool run_dry(struct run *run, struct error **err)
{
    struct write *w = run->u->w;
    cleanup_stored struct stored *s = storage_get(w->req->storage, w->stored, w->ns, w->name, err);
    if (!s)
        return false;
    cleanup_json cJSON *current = json_parse(s->json, s->len, err);
    if (!current)
        return false;
    struct error *why = NULL;
    cJSON_Delete(change(run, current, s, &why)); /* what it would have written is in u->result */
    if (why) {
        error_move(err, why);
        return false;
    }
    if (!run->u->result)
        run->u->result = write_view(w, s);
    return true;
}

static void run_clear(struct run *run)
{
    claims_clear(&run->claims);
    json_cleanup(&run->asked);
    json_cleanup(&run->old);
}

/* Not-found and conflict errors name the resource as the client does. */
static void in_clients_words(const struct write *w, struct error **err)
{
    if (w->r == w->stored || !err || !*err || !error_is(*err, "NotFound"))
        return;
    error_cleanup(err);
    *err = NULL;
    api_error_not_found(err, w->r, w->name);
}

struct stored *update_run(struct update *u, struct error **err)
{
    struct write *w = u->w;
    struct run run = {.u = u};
    if (w->dry_run) {
        run.attempt = 1; /* choose among what is free: nothing will be claimed */
        run_dry(&run, err);
        in_clients_words(w, err);
        run_clear(&run);
        return NULL;
    }
    struct stored *s = NULL;
    for (;; run.attempt++) {
        u->u.change = change;
        u->u.userdata = &run;
        struct error *why = NULL;
        s = storage_update(w->req->storage, w->stored, w->ns, w->name, &u->u, &why);
        if (!why) /* stored, unchanged or deleted */
            break;
        if (error_is(why, "ClaimTaken") && run.attempt < CLAIM_ATTEMPTS && run.asked) {
            struct error *explained = NULL;
            if (service_explain_taken(w->req->storage, run.asked, run.old, &explained)) {
                error_free(why);
                continue;
            }
            error_free(why);
            why = explained;
        }
        error_move(err, why);
        in_clients_words(w, err);
        break;
    }
    u->deleted = s && u->u.delete_instead;
    run_clear(&run);
    u->u.claims = NULL;
    u->u.claim_count = 0;
    return s;
}

void update_clear(struct update *u)
{
    json_cleanup(&u->result);
    json_cleanup(&u->last);
}

/* --- PUT --- */

static cJSON *make_put(struct update *u, const cJSON *current, struct error **err)
{
    (void)current;
    (void)err;
    return json_dup(u->userdata);
}

/* Answers a finished update. */
static void reply(struct update *u, struct stored *s, const struct error *err)
{
    struct write *w = u->w;
    if (err)
        api_reply_error(w->req, err);
    else if (!s || u->deleted)
        api_reply_json(w->req, 200, u->last ? u->last : u->result);
    else
        write_reply_stored(w, 200, s);
}

bool write_may_create(struct write *w, struct error **err)
{
    struct auth_attributes a;
    auth_attributes_of(w->req, &a);
    a.verb = "create";
    cleanup_buf struct buf reason = {0};
    if (auth_allowed(&a, &reason))
        return true;
    auth_forbidden(err, &a, buf_str(&reason));
    return false;
}

void write_update(struct write *w)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *object = write_decode(w, w->r->type, &err);
    if (!object || !meta_check_name(w, object, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    struct update u = {.w = w, .make = make_put, .userdata = object, .sub = w->sub};
    cleanup_stored struct stored *s = update_run(&u, &err);
    if (err && error_is(err, "NotFound") && w->r->create_on_update && !*w->sub &&
        !*json_str_or(object, "metadata.resourceVersion", "")) {
        error_cleanup(&err);
        err = NULL;
        if (write_may_create(w, &err)) {
            json_remove(object, "metadata.uid");
            cJSON *create = object;
            object = NULL;
            write_create_object(w, create);
        } else {
            api_reply_error(w->req, err);
        }
    } else {
        reply(&u, s, err);
    }
    update_clear(&u);
}

/* --- PATCH --- */

cJSON *update_patched(struct write *w, const struct schema_type *type, const cJSON *target,
                      struct error **err)
{
    const char *content_type = httpd_header(w->req->http, "Content-Type");
    enum patch_kind kind;
    if (!patch_kind_parse(content_type ? content_type : "", &kind, err))
        return NULL;
    if (kind == PATCH_STRATEGIC && (type->flags & SCHEMA_IS_CUSTOM)) {
        error_set(err, 415, "UnsupportedMediaType",
                  "the body of the request was in an unknown format - accepted media types include: "
                  "application/json-patch+json, application/merge-patch+json, "
                  "application/apply-patch+yaml");
        return NULL;
    }
    size_t len = 0;
    const char *body = httpd_body(w->req->http, &len);
    cleanup_json cJSON *patched = patch_apply_text(kind, type, target, body, len, err);
    if (!patched)
        return NULL;
    if (!write_decode_patched(w, type, patched, kind == PATCH_STRATEGIC ? body : NULL, len, err))
        return NULL;
    cJSON *out = patched;
    patched = NULL;
    return out;
}

static cJSON *make_patched(struct update *u, const cJSON *current, struct error **err)
{
    return update_patched(u->w, u->w->r->type, current, err);
}

void write_patch(struct write *w)
{
    if (write_is_apply(w)) {
        write_apply(w);
        return;
    }
    cleanup_error struct error *err = NULL;
    struct update u = {.w = w, .make = make_patched, .sub = w->sub};
    cleanup_stored struct stored *s = update_run(&u, &err);
    reply(&u, s, err);
    update_clear(&u);
}
