/* CertificateSigningRequests: who asks is who sent the request, whatever the object says. */
#include "apiserver/registry/registry.h"
#include "common/json.h"

void csr_requestor(const struct write *w, cJSON *object)
{
    if (!write_is(w->r, "certificates.k8s.io", "CertificateSigningRequest"))
        return;
    const struct api_user *user = &w->req->user;
    json_set_str(object, "spec.username", user->name);
    json_set_str(object, "spec.uid", user->uid);
    json_remove(object, "spec.extra");
    json_remove(object, "spec.groups");
    for (char **g = user->groups; g && *g; g++)
        cJSON_AddItemToArray(json_ensure_array(object, "spec.groups"), cJSON_CreateString(*g));
}
