#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/apply/managed.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"

/* Kubernetes gives up after that many generated names were taken. */
enum { NAME_ATTEMPTS = 8, NAME_MAX_LENGTH = 63 };

static void generate_name(cJSON *object, const char *base)
{
    char suffix[6];
    meta_name_suffix(suffix);
    cleanup_free char *name = mem_printf("%.*s%s", NAME_MAX_LENGTH - 5, base, suffix);
    json_set_str(object, "metadata.name", name);
}

static bool error_is(const struct error *e, const char *reason)
{
    return e && e->reason && !strcmp(e->reason, reason);
}

static struct stored *store(struct write *w, const cJSON *object, struct error **err)
{
    cleanup_json cJSON *converted = w->r->to_stored ? w->r->to_stored(w->stored, object) : NULL;
    return storage_create(w->req->storage, w->stored, converted ? converted : object, NULL, 0, err);
}

/* As the answer to a dry run: everything but the store's own part. */
static void reply_dry_run(struct write *w, cJSON *object)
{
    cleanup_error struct error *err = NULL;
    const char *name = json_str_or(object, "metadata.name", "");
    cleanup_stored struct stored *existing =
        storage_get(w->req->storage, w->stored, w->ns, name, NULL);
    if (existing) {
        api_error_already_exists(&err, w->r, name);
        api_reply_error(w->req, err);
        return;
    }
    if (write_is(w->r, "", "Service")) {
        struct claims claims = {0};
        bool ok = service_allocate(w->req->storage, object, NULL, 1, &claims, &err);
        claims_clear(&claims);
        if (!ok) {
            api_reply_error(w->req, err);
            return;
        }
    }
    api_reply_json(w->req, 201, object);
}

static bool prepare(struct write *w, cJSON *object, struct error **err)
{
    if (!meta_check_namespace(w, object, err))
        return false;
    write_default(w->r, object);
    csr_requestor(w, object);
    if (!admission_create(w, object, err) || !meta_before_create(w, object, err))
        return false;
    if (w->r->prepare && !w->r->prepare(object, NULL, "", err))
        return false;
    write_default(w->r, object);
    return true;
}

void write_create_object(struct write *w, cJSON *taken)
{
    cleanup_json cJSON *object = taken;
    cleanup_error struct error *err = NULL;
    const char *base = json_str_or(object, "metadata.generateName", "");
    cleanup_free char *generate =
        *base && !*json_str_or(object, "metadata.name", "") ? mem_strdup(base) : NULL;
    if (generate)
        generate_name(object, generate);
    if (!prepare(w, object, &err) || !write_validate(w->r, object, NULL, "", &err) ||
        !resource_quota_admit(w, object, NULL, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    char buffer[MANAGER_BUFFER];
    struct field_manager who;
    if (!write_manager(w, &who, buffer, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    if (!w->applied)
        managed_update(w->r->type, object, NULL, &who);
    if (w->dry_run) {
        reply_dry_run(w, object);
        return;
    }
    bool service = write_is(w->r, "", "Service");
    for (int attempt = 1;; attempt++) {
        error_cleanup(&err);
        err = NULL;
        cleanup_stored struct stored *s =
            service ? service_create(w->req->storage, object, &err) : store(w, object, &err);
        if (s) {
            write_reply_stored(w, 201, s);
            return;
        }
        if (!generate || !error_is(err, "AlreadyExists") || attempt == NAME_ATTEMPTS)
            break;
        generate_name(object, generate);
        if (write_is(w->r, "", "Namespace")) /* carries its name in a label */
            json_map_set_str(json_ensure_object(object, "metadata.labels"),
                             "kubernetes.io/metadata.name", json_str(object, "metadata.name"));
    }
    if (w->r != w->stored && error_is(err, "AlreadyExists")) {
        error_cleanup(&err);
        err = NULL;
        api_error_already_exists(&err, w->r, json_str_or(object, "metadata.name", ""));
    }
    api_reply_error(w->req, err);
}

void write_create(struct write *w)
{
    cleanup_error struct error *err = NULL;
    cJSON *object = write_decode(w, w->r->type, &err);
    if (!object)
        api_reply_error(w->req, err);
    else
        write_create_object(w, object);
}
