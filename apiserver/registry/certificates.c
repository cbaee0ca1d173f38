/* CertificateSigningRequests: who asks is who sent the request, whatever the object says; what was
 * asked for never changes. */
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "common/json.h"
#include "common/timefmt.h"

void csr_requestor(const struct write *w, cJSON *object)
{
    if (!write_is(w->r, "certificates.k8s.io", "CertificateSigningRequest"))
        return;
    const struct api_user *user = &w->req->user;
    json_set_str(object, "spec.username", user->name);
    json_set_str(object, "spec.uid", user->uid && *user->uid ? user->uid : NULL);
    json_remove(object, "spec.groups");
    for (char **g = user->groups; g && *g; g++)
        cJSON_AddItemToArray(json_ensure_array(object, "spec.groups"), cJSON_CreateString(*g));
    if (user->extra)
        json_set(object, "spec.extra", json_dup(user->extra));
    else
        json_remove(object, "spec.extra");
}

static const cJSON *same_type(const cJSON *conditions, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, conditions)
    {
        if (!strcmp(json_str_or(c, "type", ""), type))
            return c;
    }
    return NULL;
}

static void stamp_conditions(cJSON *request, const cJSON *old)
{
    char now[TIME_TEXT_MAX];
    meta_now(now);
    cJSON *c;
    cJSON_ArrayForEach(c, json_path(request, "status.conditions"))
    {
        const cJSON *before =
            same_type(json_path(old, "status.conditions"), json_str_or(c, "type", ""));
        bool same =
            before && !strcmp(json_str_or(before, "status", ""), json_str_or(c, "status", ""));
        const char *since = json_str(before, "lastTransitionTime");
        if (!json_str(c, "lastUpdateTime"))
            json_map_set_str(c, "lastUpdateTime", now);
        if (!json_str(c, "lastTransitionTime"))
            json_map_set_str(c, "lastTransitionTime", same && since ? since : now);
    }
}

bool csr_prepare(cJSON *request, const cJSON *old, const char *sub, struct error **err)
{
    (void)err;
    if (!old) /* nobody makes one that is approved already */
        json_map_set(request, "status", cJSON_CreateObject());
    else
        json_map_set(request, "spec", json_dup(json_get(old, "spec")));
    if (*sub)
        stamp_conditions(request, old);
    return true;
}
