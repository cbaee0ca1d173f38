/* https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization
 */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/auth/auth.h"
#include "common/csr.h"
#include "common/json.h"
#include "common/mem.h"

#define CLIENT_SIGNER "kubernetes.io/kube-apiserver-client"

static bool may(struct write *w, const char *verb, const char *name)
{
    cleanup_buf struct buf reason = {0};
    struct auth_attributes a = {.user = &w->req->user,
                                .verb = verb,
                                .is_resource = true,
                                .group = "certificates.k8s.io",
                                .version = "*",
                                .resource = "signers",
                                .subresource = "",
                                .ns = "",
                                .name = name,
                                .path = ""};
    return auth_allowed(&a, &reason);
}

/* For this signer, or for all of its domain. */
static bool may_for_signer(struct write *w, const char *verb, const char *signer,
                           struct error **err)
{
    cleanup_free char *domain = mem_printf("%.*s/*", (int)strcspn(signer, "/"), signer);
    if (may(w, verb, signer) || may(w, verb, domain))
        return true;
    cleanup_free char *why =
        mem_printf("user not permitted to %s requests with signerName \"%s\"", verb, signer);
    api_error_forbidden(err, w->r, w->name, why);
    return false;
}

static const cJSON *failed(const cJSON *request)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(request, "status.conditions"))
    {
        if (!strcmp(json_str_or(c, "type", ""), "Failed"))
            return c;
    }
    return NULL;
}

static bool signs(const cJSON *request, const cJSON *old)
{
    const cJSON *now = failed(request), *before = failed(old);
    return strcmp(json_str_or(request, "status.certificate", ""),
                  json_str_or(old, "status.certificate", "")) != 0 ||
           (now != before && !json_equal(now, before));
}

static bool subject_is_restricted(struct write *w, const cJSON *request, struct error **err)
{
    cleanup_csr struct csr csr = {0};
    if (strcmp(json_str_or(request, "spec.signerName", ""), CLIENT_SIGNER) != 0 ||
        !csr_parse_base64(json_str(request, "spec.request"), &csr, NULL))
        return true; /* validation says what is wrong with it */
    for (char **o = csr.organizations; *o; o++)
        if (!strcmp(*o, GROUP_MASTERS)) {
            api_error_forbidden(err, w->r, json_str_or(request, "metadata.name", ""),
                                "use of " CLIENT_SIGNER " signer with " GROUP_MASTERS
                                " group is not allowed");
            return false;
        }
    return true;
}

bool certificate_admit(struct write *w, const cJSON *request, const cJSON *old, struct error **err)
{
    if (!write_is(w->r, "certificates.k8s.io", "CertificateSigningRequest"))
        return true;
    const char *signer = json_str_or(old ? old : request, "spec.signerName", "");
    if (!old)
        return subject_is_restricted(w, request, err);
    if (!strcmp(w->sub, "approval"))
        return may_for_signer(w, "approve", signer, err);
    return strcmp(w->sub, "status") != 0 || !signs(request, old) ||
           may_for_signer(w, "sign", signer, err);
}
