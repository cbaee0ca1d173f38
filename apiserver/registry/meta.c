/* metadata: what the server alone decides. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include "apiserver/registry/registry.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static void random_bytes(void *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = getrandom((char *)p + done, n - done, 0);
        if (got > 0)
            done += (size_t)got;
    }
}

void meta_uuid(char out[37])
{
    unsigned char b[16];
    random_bytes(b, sizeof b);
    b[6] = (b[6] & 0x0f) | 0x40; /* RFC 9562: version 4 */
    b[8] = (b[8] & 0x3f) | 0x80;
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}

void meta_name_suffix(char out[6])
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    const unsigned n = sizeof alphabet - 1;
    for (int i = 0; i < 5;) {
        unsigned char byte;
        random_bytes(&byte, 1);
        if (byte < 256 / n * n)
            out[i++] = alphabet[byte % n];
    }
    out[5] = 0;
}

void meta_now(char *out)
{
    time_format(time_now_seconds(), out);
}

bool meta_check_namespace(const struct write *w, cJSON *object, struct error **err)
{
    cJSON *meta = json_ensure_object(object, "metadata");
    const char *ns = json_str_or(meta, "namespace", "");
    if (!w->r->namespaced) {
        json_remove(meta, "namespace");
        return true;
    }
    if (*ns && strcmp(ns, w->ns) != 0) {
        api_error_bad_request(err, "the namespace of the provided object does not match the "
                                   "namespace sent on the request");
        return false;
    }
    json_map_set_str(meta, "namespace", w->ns);
    return true;
}

bool meta_check_name(const struct write *w, const cJSON *object, struct error **err)
{
    const char *name = json_str_or(object, "metadata.name", "");
    if (!*name)
        api_error_bad_request(
            err,
            "the name of the object (%s based on URL) was undeterminable: name must be provided",
            w->name);
    else if (strcmp(name, w->name) != 0)
        api_error_bad_request(err,
                              "the name of the object (%s) does not match the name on the URL (%s)",
                              name, w->name);
    else
        return true;
    return false;
}

bool meta_before_create(const struct write *w, cJSON *object, struct error **err)
{
    cJSON *meta = json_ensure_object(object, "metadata");
    if (*json_str_or(meta, "resourceVersion", "")) {
        error_set(err, 500, "", "resourceVersion should not be set on objects to be created");
        return false;
    }
    static const char *const server_only[] = {
        "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds",
        "selfLink",        "generation",        "managedFields"};
    for (size_t i = 0; i < ARRAY_LEN(server_only) - w->applied; i++)
        json_remove(meta, server_only[i]);
    char uid[37], now[TIME_TEXT_MAX];
    meta_uuid(uid);
    meta_now(now);
    json_map_set_str(meta, "uid", uid);
    json_map_set_str(meta, "creationTimestamp", now);
    if (w->r->generation)
        json_set_int(meta, "generation", 1);
    return true;
}

static void carry_over(cJSON *meta, const cJSON *old_meta, const char *member)
{
    const cJSON *old = json_get(old_meta, member);
    if (old)
        json_map_set(meta, member, json_dup(old));
    else
        json_remove(meta, member);
}

/* Kinds that are never overwritten blindly. */
static bool needs_version(const struct resource *r)
{
    static const char *const kinds[][2] = {
        {"coordination.k8s.io", "Lease"},
        {"policy", "PodDisruptionBudget"},
        {"node.k8s.io", "RuntimeClass"},
        {"storage.k8s.io", "CSIDriver"},
        {"storage.k8s.io", "CSINode"},
        {"storage.k8s.io", "VolumeAttachment"},
        {"admissionregistration.k8s.io", "MutatingWebhookConfiguration"},
        {"admissionregistration.k8s.io", "ValidatingWebhookConfiguration"},
        {"apiregistration.k8s.io", "APIService"},
        {"apiextensions.k8s.io", "CustomResourceDefinition"},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (write_is(r, kinds[i][0], kinds[i][1]))
            return true;
    return r->type && (r->type->flags & SCHEMA_IS_CUSTOM);
}

bool meta_before_update(const struct write *w, cJSON *object, const cJSON *old, struct error **err)
{
    cJSON *meta = json_ensure_object(object, "metadata");
    const cJSON *old_meta = json_get(old, "metadata");
    const char *uid = json_str_or(meta, "uid", ""), *old_uid = json_str_or(old_meta, "uid", "");
    if (*uid && strcmp(uid, old_uid) != 0) {
        cleanup_free char *why = mem_printf(
            "Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, old_uid);
        api_error_conflict(err, w->r, w->name, why);
        return false;
    }
    const char *version = json_str_or(meta, "resourceVersion", "");
    if ((!*version || !strcmp(version, "0")) && needs_version(w->r)) {
        cleanup_field_errors struct field_errors errors = {0};
        field_invalid_bare(&errors, PATH_CHILD(PATH_ROOT("metadata"), "resourceVersion"), "0x0",
                           "must be specified for an update");
        field_errors_check(&errors, w->r->group, w->r->kind, w->name, err);
        return false;
    }
    if (*version && strcmp(version, "0") != 0 &&
        strcmp(version, json_str_or(old_meta, "resourceVersion", "")) != 0) {
        api_error_conflict(err, w->r, w->name, API_OBJECT_MODIFIED);
        return false;
    }
    /* A changed creation time is refused by validation; one left out is meant to stay. */
    if (!json_get(meta, "creationTimestamp"))
        carry_over(meta, old_meta, "creationTimestamp");
    json_remove(meta, "selfLink");
    carry_over(meta, old_meta, "uid");
    carry_over(meta, old_meta, "resourceVersion");
    carry_over(meta, old_meta, "generation");
    carry_over(meta, old_meta, "deletionTimestamp");
    carry_over(meta, old_meta, "deletionGracePeriodSeconds");
    return true;
}

/* Equal but for metadata and status? */
static bool same_spec(const cJSON *a, const cJSON *b)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, a) if (strcmp(m->string, "metadata") != 0 &&
                                 strcmp(m->string, "status") != 0 &&
                                 !json_equal(m, json_get(b, m->string))) return false;
    cJSON_ArrayForEach(m, b) if (strcmp(m->string, "metadata") != 0 &&
                                 strcmp(m->string, "status") != 0 &&
                                 !json_get(a, m->string)) return false;
    return true;
}

void meta_bump_generation(const struct resource *r, cJSON *object, const cJSON *old)
{
    if (!r->generation)
        return;
    bool same = same_spec(object, old);
    /* A Deployment's annotations count too: controllers act on them. */
    if (same && write_is(r, "apps", "Deployment"))
        same = json_equal(json_path(object, "metadata.annotations"),
                          json_path(old, "metadata.annotations"));
    if (!same)
        json_set_int(object, "metadata.generation", json_int(old, "metadata.generation", 0) + 1);
}

bool meta_has_finalizers(const cJSON *object)
{
    return cJSON_GetArraySize(json_path(object, "metadata.finalizers")) > 0;
}

bool meta_deleting(const cJSON *object)
{
    return json_str(object, "metadata.deletionTimestamp") != NULL;
}

bool meta_should_delete(const cJSON *object)
{
    return meta_deleting(object) && !meta_has_finalizers(object) &&
           json_int(object, "metadata.deletionGracePeriodSeconds", 0) == 0;
}
