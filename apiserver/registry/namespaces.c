/* namespaces/finalize: whoever cleans a namespace up takes its finalizer away, and with the last
 * one the namespace goes. */
#include "apiserver/registry/registry.h"
#include "common/json.h"

static cJSON *make_finalized(struct update *u, const cJSON *current, struct error **err)
{
    const cJSON *body = u->userdata;
    if (!meta_check_name(u->w, body, err))
        return NULL;
    cJSON *ns = json_dup(current);
    const cJSON *finalizers = json_path(body, "spec.finalizers");
    if (cJSON_GetArraySize(finalizers))
        json_set(ns, "spec.finalizers", json_dup(finalizers));
    else
        json_remove(ns, "spec.finalizers");
    static const char *const checked[] = {"metadata.uid", "metadata.resourceVersion"};
    for (int i = 0; i < 2; i++)
        json_set_str(ns, checked[i], json_str(body, checked[i]));
    return ns;
}

void namespace_finalize(struct write *w)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *body = write_decode(w, w->r->type, &err);
    if (!body) {
        api_reply_error(w->req, err);
        return;
    }
    struct update u = {.w = w, .make = make_finalized, .userdata = body, .sub = "finalize"};
    cleanup_stored struct stored *s = update_run(&u, &err);
    if (err)
        api_reply_error(w->req, err);
    else if (!s || u.deleted)
        api_reply_json(w->req, 200, u.last ? u.last : u.result);
    else
        write_reply_stored(w, 200, s);
    update_clear(&u);
}
