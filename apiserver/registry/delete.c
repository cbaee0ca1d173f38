/* DELETE: at once, gracefully, or when the last finalizer goes.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/ */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "apiserver/schema/schema.h"
#include "apiserver/server/server.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define FINALIZER_ORPHAN     "orphan"
#define FINALIZER_FOREGROUND "foregroundDeletion"

/* --- what the client asks for --- */

void delete_options_clear(struct delete_options *o)
{
    free(o->uid);
    free(o->resource_version);
    free(o->propagation);
    *o = (struct delete_options){.orphan_dependents = -1};
}

static bool invalid_options(struct field_errors *errors, struct error **err)
{
    return field_errors_check(errors, "meta.k8s.io", "DeleteOptions", "", err);
}

static bool check_options(const struct delete_options *o, struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    if (o->propagation && o->orphan_dependents >= 0)
        field_invalid_str(&errors, PATH_ROOT("propagationPolicy"), o->propagation,
                          "orphanDependents and deletionPropagation cannot be both set");
    if (o->propagation && strcmp(o->propagation, "Foreground") &&
        strcmp(o->propagation, "Background") && strcmp(o->propagation, "Orphan"))
        field_not_supported(&errors, PATH_ROOT("propagationPolicy"), o->propagation,
                            "Foreground,Background,Orphan,nil");
    return invalid_options(&errors, err);
}

static bool from_body(const cJSON *body, struct delete_options *o, struct error **err)
{
    const cJSON *grace = json_get(body, "gracePeriodSeconds");
    o->has_grace = cJSON_IsNumber(grace);
    o->grace = json_int(body, "gracePeriodSeconds", 0);
    o->uid = mem_strdup(json_str(body, "preconditions.uid"));
    o->resource_version = mem_strdup(json_str(body, "preconditions.resourceVersion"));
    o->propagation = mem_strdup(json_str(body, "propagationPolicy"));
    if (cJSON_IsBool(json_get(body, "orphanDependents")))
        o->orphan_dependents = json_bool(body, "orphanDependents", false);
    const cJSON *dry;
    cJSON_ArrayForEach(dry, json_get(body, "dryRun"))
    {
        if (cJSON_IsString(dry) && !strcmp(dry->valuestring, "All")) {
            o->dry_run = true;
            continue;
        }
        cleanup_field_errors struct field_errors errors = {0};
        field_not_supported(&errors, PATH_ROOT("dryRun"),
                            cJSON_IsString(dry) ? dry->valuestring : "", "All");
        return invalid_options(&errors, err);
    }
    return true;
}

static bool from_query(const char *(*get)(void *, const char *), void *ctx,
                       struct delete_options *o, struct error **err)
{
    const char *grace = get(ctx, "gracePeriodSeconds");
    if (grace && *grace) {
        char *end;
        errno = 0;
        o->grace = strtoll(grace, &end, 10);
        if (*end || errno) {
            api_error_bad_request(err, "strconv.ParseInt: parsing \"%s\": invalid syntax", grace);
            return false;
        }
        o->has_grace = true;
    }
    const char *propagation = get(ctx, "propagationPolicy");
    if (propagation && *propagation)
        o->propagation = mem_strdup(propagation);
    const char *orphan = get(ctx, "orphanDependents");
    if (orphan && *orphan)
        o->orphan_dependents = !strcmp(orphan, "true") || !strcmp(orphan, "1");
    return true;
}

bool delete_options_from_json(const cJSON *body, struct delete_options *out, struct error **err)
{
    *out = (struct delete_options){.orphan_dependents = -1};
    if (from_body(body, out, err) && check_options(out, err))
        return true;
    delete_options_clear(out);
    return false;
}

bool delete_options_from_query(const char *(*get)(void *ctx, const char *name), void *ctx,
                               struct delete_options *out, struct error **err)
{
    *out = (struct delete_options){.orphan_dependents = -1};
    if (from_query(get, ctx, out, err) && check_options(out, err))
        return true;
    delete_options_clear(out);
    return false;
}

static const char *query(void *ctx, const char *name)
{
    return httpd_query(ctx, name);
}

static bool options_of(struct write *w, struct delete_options *out, struct error **err)
{
    size_t len = 0;
    httpd_body(w->req->http, &len);
    if (len == 0)
        return delete_options_from_query(query, w->req->http, out, err);
    enum field_validation asked = w->field_validation;
    w->field_validation = FIELD_VALIDATION_IGNORE;
    cleanup_json cJSON *body = write_decode(w, schema_find("", "v1", "DeleteOptions"), err);
    w->field_validation = asked;
    return body && delete_options_from_json(body, out, err);
}

/* --- what that does to an object --- */

static bool has_finalizer(const cJSON *object, const char *name)
{
    const cJSON *f;
    cJSON_ArrayForEach(
        f, json_path(object, "metadata.finalizers")) if (cJSON_IsString(f) &&
                                                         !strcmp(f->valuestring, name)) return true;
    return false;
}

static bool wants_orphans(const cJSON *object, const struct delete_options *o)
{
    if (o->orphan_dependents >= 0)
        return o->orphan_dependents;
    if (o->propagation)
        return !strcmp(o->propagation, "Orphan");
    return has_finalizer(object, FINALIZER_ORPHAN);
}

static bool wants_foreground(const cJSON *object, const struct delete_options *o)
{
    if (o->orphan_dependents >= 0)
        return false;
    if (o->propagation)
        return !strcmp(o->propagation, "Foreground");
    return has_finalizer(object, FINALIZER_FOREGROUND);
}

/* The garbage collector's finalizers follow the propagation policy. */
static void set_gc_finalizers(cJSON *object, const struct delete_options *o)
{
    bool orphan = wants_orphans(object, o), foreground = wants_foreground(object, o);
    if (orphan == has_finalizer(object, FINALIZER_ORPHAN) &&
        foreground == has_finalizer(object, FINALIZER_FOREGROUND))
        return;
    cJSON *list = cJSON_CreateArray();
    const cJSON *f;
    cJSON_ArrayForEach(
        f,
        json_path(object, "metadata.finalizers")) if (cJSON_IsString(f) &&
                                                      strcmp(f->valuestring, FINALIZER_ORPHAN) &&
                                                      strcmp(f->valuestring, FINALIZER_FOREGROUND))
        cJSON_AddItemToArray(list, cJSON_CreateString(f->valuestring));
    if (orphan)
        cJSON_AddItemToArray(list, cJSON_CreateString(FINALIZER_ORPHAN));
    if (foreground)
        cJSON_AddItemToArray(list, cJSON_CreateString(FINALIZER_FOREGROUND));
    if (cJSON_GetArraySize(list)) {
        json_set(object, "metadata.finalizers", list);
    } else {
        cJSON_Delete(list);
        json_remove(object, "metadata.finalizers");
    }
}

static bool check_preconditions(const struct resource *r, const cJSON *object,
                                const struct delete_options *o, struct error **err)
{
    const char *uid = json_str_or(object, "metadata.uid", ""),
               *version = json_str_or(object, "metadata.resourceVersion", "");
    cleanup_free char *why = NULL;
    if (o->uid && strcmp(o->uid, uid) != 0)
        why = mem_printf("Precondition failed: UID in precondition: %s, UID in object meta: %s",
                         o->uid, uid);
    else if (o->resource_version && strcmp(o->resource_version, version) != 0)
        why = mem_printf("Precondition failed: ResourceVersion in precondition: %s, "
                         "ResourceVersion in object meta: %s",
                         o->resource_version, version);
    if (why)
        api_error_conflict(err, r, json_str_or(object, "metadata.name", ""), why);
    return !why;
}

static void set_deletion(cJSON *object, int64_t at, int64_t grace)
{
    char text[TIME_TEXT_MAX];
    json_set_str(object, "metadata.deletionTimestamp", time_format(at, text));
    json_set_int(object, "metadata.deletionGracePeriodSeconds", grace);
}

/* A deletion that begins counts as a change of what is wanted. */
static void begin_deletion(cJSON *object, int64_t at, int64_t grace)
{
    int64_t generation = json_int(object, "metadata.generation", 0);
    if (generation > 0)
        json_set_int(object, "metadata.generation", generation + 1);
    set_deletion(object, at, grace);
}

static int64_t pod_grace(const cJSON *pod, const struct delete_options *o)
{
    int64_t grace =
        o->has_grace ? o->grace : json_int(pod, "spec.terminationGracePeriodSeconds", 0);
    const char *phase = json_str_or(pod, "status.phase", "");
    if (!*json_str_or(pod, "spec.nodeName", "") || !strcmp(phase, "Failed") ||
        !strcmp(phase, "Succeeded"))
        grace = 0;
    return grace < 0 ? 1 : grace;
}

/* The graceful part: false when it has no say (the kind has none, or nothing remains of it). */
static bool decide_graceful(const struct resource *r, cJSON *object, const struct delete_options *o,
                            enum delete_outcome *outcome)
{
    if (!r->graceful_delete)
        return false;
    if (meta_deleting(object)) {
        if (!json_path(object, "metadata.deletionGracePeriodSeconds"))
            return false;
        /* A running deletion may only be shortened. */
        int64_t period = json_int(object, "metadata.deletionGracePeriodSeconds", 0);
        int64_t grace = o->has_grace && o->grace < 0 ? 1 : o->grace;
        int64_t at;
        if (!o->has_grace || grace >= period ||
            !time_parse(json_str_or(object, "metadata.deletionTimestamp", ""), &at)) {
            *outcome = DELETE_PENDING;
            return true;
        }
        set_deletion(object, at / 1000000 - period + grace, grace);
        *outcome = grace > 0 ? DELETE_LATER : DELETE_NOW;
        return true;
    }
    int64_t grace = pod_grace(object, o);
    begin_deletion(object, time_now_seconds() + grace, grace);
    *outcome = grace > 0 ? DELETE_LATER : DELETE_NOW;
    return true;
}

enum delete_outcome delete_decide(const struct resource *r, cJSON *object,
                                  const struct delete_options *o, struct error **err)
{
    if (!check_preconditions(r, object, o, err))
        return DELETE_FAILED;
    enum delete_outcome outcome = DELETE_NOW;
    bool graceful = decide_graceful(r, object, o, &outcome);
    if (outcome == DELETE_PENDING)
        return outcome;
    set_gc_finalizers(object, o);
    if (!meta_has_finalizers(object))
        return outcome;
    if (!graceful) {
        int64_t now = time_now_seconds(), at;
        if (!meta_deleting(object))
            begin_deletion(object, now, 0);
        else if (time_parse(json_str_or(object, "metadata.deletionTimestamp", ""), &at) &&
                 at / 1000000 > now)
            set_deletion(object, now, 0);
        else
            json_set_int(object, "metadata.deletionGracePeriodSeconds", 0);
    }
    return DELETE_LATER;
}

enum delete_outcome delete_decide_namespace(cJSON *ns, const struct delete_options *o,
                                            struct error **err)
{
    static const struct resource plain = {
        .group = "", .version = "v1", .kind = "Namespace", .plural = "namespaces"};
    if (!check_preconditions(&plain, ns, o, err))
        return DELETE_FAILED;
    if (!meta_deleting(ns)) {
        begin_deletion(ns, time_now_seconds(), 0);
        json_remove(ns, "metadata.deletionGracePeriodSeconds");
        json_set_str(ns, "status.phase", "Terminating");
        set_gc_finalizers(ns, o);
        /* Its content goes first: the namespace controller takes the finalizer "kubernetes" away
         * when all is gone. */
        if (cJSON_GetArraySize(json_path(ns, "spec.finalizers")) || meta_has_finalizers(ns))
            return DELETE_LATER;
        return DELETE_NOW;
    }
    if (cJSON_GetArraySize(json_path(ns, "spec.finalizers")))
        return DELETE_PENDING;
    return delete_decide(&plain, ns, o, err);
}

/* --- one object --- */

struct deletion {
    struct write *w;
    const struct delete_options *options;
    struct storage_update u;
    struct claims claims;
    enum delete_outcome outcome;
    cJSON *object; /* as it was left, in its stored form */
};

static cJSON *change(void *userdata, cJSON *current, const struct stored *stored,
                     struct error **err)
{
    (void)stored;
    struct deletion *d = userdata;
    const struct resource *r = d->w->stored;
    claims_clear(&d->claims);
    d->u.claims = NULL;
    d->u.claim_count = 0;
    d->u.delete_instead = false;
    json_cleanup(&d->object);
    if (!admission_delete(d->w, current, err))
        return NULL;
    cleanup_json cJSON *object = json_dup(current);
    if (write_is(r, "apiextensions.k8s.io", "CustomResourceDefinition") && !meta_deleting(object))
        definition_begin_deletion(object);
    d->outcome = write_is(r, "", "Namespace") ? delete_decide_namespace(object, d->options, err)
                                              : delete_decide(r, object, d->options, err);
    if (d->outcome == DELETE_FAILED)
        return NULL;
    d->object = json_dup(object);
    if (d->outcome == DELETE_PENDING || (d->outcome == DELETE_LATER && json_equal(object, current)))
        return NULL;
    if (d->outcome == DELETE_NOW) {
        d->u.delete_instead = true;
        if (write_is(r, "", "Service"))
            service_release(current, &d->claims);
        d->u.claims = d->claims.items;
        d->u.claim_count = d->claims.count;
    }
    cJSON *out = object;
    object = NULL;
    return out;
}

bool delete_object(struct write *w, const struct delete_options *o, enum delete_outcome *outcome,
                   cJSON **last, struct error **err)
{
    struct deletion d = {.w = w, .options = o};
    struct error *why = NULL;
    if (w->dry_run || o->dry_run) {
        cleanup_stored struct stored *s =
            storage_get(w->req->storage, w->stored, w->ns, w->name, &why);
        cleanup_json cJSON *current = s ? json_parse(s->json, s->len, &why) : NULL;
        if (current)
            cJSON_Delete(change(&d, current, s, &why));
    } else {
        d.u.change = change;
        d.u.userdata = &d;
        cleanup_stored struct stored *s =
            storage_update(w->req->storage, w->stored, w->ns, w->name, &d.u, &why);
        char revision[24];
        snprintf(revision, sizeof revision, "%llu", s ? (unsigned long long)s->revision : 0);
        if (s && d.object)
            json_set_str(d.object, "metadata.resourceVersion", revision);
    }
    claims_clear(&d.claims);
    if (why) {
        if (w->r != w->stored && why->code == 404) {
            error_free(why);
            api_error_not_found(err, w->r, w->name);
        } else {
            error_move(err, why);
        }
        json_cleanup(&d.object);
        return false;
    }
    *outcome = d.outcome;
    *last = d.object;
    return true;
}

/* Kinds whose deletion is answered with the object itself. */
static bool answers_with_object(const struct resource *r)
{
    static const char *const kinds[] = {"Pod",
                                        "Service",
                                        "ServiceAccount",
                                        "PersistentVolume",
                                        "PersistentVolumeClaim",
                                        "PodTemplate",
                                        "ResourceQuota"};
    if (*r->group)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(r->kind, kinds[i]))
            return true;
    return false;
}

void write_delete(struct write *w)
{
    cleanup_error struct error *err = NULL;
    struct delete_options options;
    if (!options_of(w, &options, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    enum delete_outcome outcome;
    cleanup_json cJSON *last = NULL;
    bool ok = delete_object(w, &options, &outcome, &last, &err);
    bool accepted = options.orphan_dependents == 0;
    delete_options_clear(&options);
    if (!ok) {
        api_reply_error(w->req, err);
        return;
    }
    if (outcome == DELETE_NOW && !answers_with_object(w->r)) {
        api_reply_success(w->req, w->name, json_str(last, "metadata.uid"));
        return;
    }
    cleanup_json cJSON *view = w->r->from_stored ? w->r->from_stored(w->r, last) : NULL;
    api_reply_json(w->req, outcome != DELETE_NOW && accepted ? 202 : 200, view ? view : last);
}

/* --- a collection --- */

static bool delete_matching(struct write *w, const struct delete_options *o,
                            const struct object_filter *filter, cJSON *items, struct error **err)
{
    struct stored **list = NULL;
    size_t count = 0;
    uint64_t revision;
    if (!storage_list(w->req->storage, w->stored, *w->ns ? w->ns : NULL, &list, &count, &revision,
                      err))
        return false;
    bool ok = true;
    for (size_t i = 0; i < count; i++) {
        struct stored *s = list[i];
        if (ok && filter_matches(filter, s)) {
            struct write one = *w;
            one.name = s->name;
            one.ns = w->r->namespaced ? s->ns : "";
            enum delete_outcome outcome;
            cJSON *last = NULL;
            struct error *why = NULL;
            if (delete_object(&one, o, &outcome, &last, &why)) {
                cJSON *view = w->r->from_stored ? w->r->from_stored(w->r, last) : json_dup(last);
                cJSON_AddItemToArray(items, view);
            } else if (why && why->code != 404) {
                error_move(err, why);
                why = NULL;
                ok = false;
            }
            error_free(why);
            json_cleanup(&last);
        }
        stored_unref(s);
    }
    free(list);
    return ok;
}

void write_delete_collection(struct write *w)
{
    cleanup_error struct error *err = NULL;
    struct delete_options options;
    if (!options_of(w, &options, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    cleanup_json cJSON *list = cJSON_CreateObject();
    cleanup_free char *kind = resource_list_kind(w->r);
    cleanup_free char *api_version =
        *w->r->group ? mem_printf("%s/%s", w->r->group, w->r->version) : mem_strdup(w->r->version);
    json_map_set_str(list, "kind", kind);
    json_map_set_str(list, "apiVersion", api_version);
    cJSON_AddItemToObject(list, "metadata", cJSON_CreateObject());
    cJSON *items = cJSON_AddArrayToObject(list, "items");

    struct object_filter filter = {0};
    bool ok = filter_parse(w->r, w->ns, httpd_query(w->req->http, "labelSelector"),
                           httpd_query(w->req->http, "fieldSelector"), &filter, &err) &&
              delete_matching(w, &options, &filter, items, &err);
    filter_clear(&filter);
    delete_options_clear(&options);
    if (ok)
        api_reply_json(w->req, 200, list);
    else
        api_reply_error(w->req, err);
}
