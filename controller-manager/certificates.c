/* CertificateSigningRequests: kubelets' are approved, those approved are signed, old ones are
 * removed. https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/ */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/signer.h"

enum { LEAST_S = 600, KEPT_S = 3600, PENDING_KEPT_S = 24 * 3600, CLEAN_MS = 3600 * 1000 };
#define API  "certificates.k8s.io/v1"
#define TICK "tick"

struct requests {
    struct informer *requests;
};

static bool has_condition(const cJSON *request, const char *type)
{
    return condition_find(json_path(request, "status.conditions"), type) != NULL;
}

static bool has_certificate(const cJSON *request)
{
    return *json_str_or(request, "status.certificate", "") != 0;
}

/* The usages as a list ended by NULL; the caller frees the list alone. */
static const char **usages_of(const cJSON *request)
{
    const cJSON *list = json_path(request, "spec.usages"), *u;
    const char **usages = mem_alloc(((size_t)cJSON_GetArraySize(list) + 1) * sizeof *usages);
    size_t n = 0;
    cJSON_ArrayForEach(u, list)
    {
        if (cJSON_IsString(u))
            usages[n++] = u->valuestring;
    }
    return usages;
}

static bool put(struct controller *c, const cJSON *request, const char *sub, struct error **err)
{
    cleanup_free char *path =
        kube_path_new(API, "certificatesigningrequests", NULL, meta_name(request), sub);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_update(c->client, path, request, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

static void add_condition(cJSON *request, const char *type, const char *reason, const char *message)
{
    cJSON *condition = cJSON_CreateObject();
    json_map_set_str(condition, "type", type);
    json_map_set_str(condition, "status", "True");
    json_map_set_str(condition, "reason", reason);
    json_map_set_str(condition, "message", message);
    cJSON_AddItemToArray(json_ensure_array(request, "status.conditions"), condition);
}

/* --- signing --- */

static int64_t seconds_for(struct controller *c, const cJSON *request)
{
    int64_t most = manager_config(c->manager)->cluster_signing_duration_ms / 1000,
            wanted = json_int(request, "spec.expirationSeconds", most);
    return wanted > most ? most : wanted < LEAST_S ? LEAST_S : wanted;
}

static bool sign(struct controller *c, const char *key, struct error **err)
{
    struct requests *r = c->state;
    const struct manager_options *o = manager_config(c->manager);
    cleanup_object struct kube_object *cached = informer_get(r->requests, key);
    if (!cached || !has_condition(cached->json, "Approved") ||
        has_condition(cached->json, "Failed") || has_certificate(cached->json))
        return true;
    const char *signer = json_str_or(cached->json, "spec.signerName", "");
    if (!signer_known(signer) || !o->cluster_signing_cert_file || !o->cluster_signing_key_file)
        return true;
    cleanup_csr struct csr csr = {0};
    if (!csr_parse_base64(json_str(cached->json, "spec.request"), &csr, err)) {
        error_wrap(err, "unable to parse csr \"%s\"", key);
        return false;
    }
    cleanup_json cJSON *request = json_dup(cached->json);
    cleanup_free const char **usages = usages_of(request);
    cleanup_free char *why = NULL, *pem = NULL;
    if (signer_accepts(signer, &csr, usages, &why)) {
        const struct signer_terms terms = {.ca_cert_file = o->cluster_signing_cert_file,
                                           .ca_key_file = o->cluster_signing_key_file,
                                           .usages = usages,
                                           .now = time_now_seconds(),
                                           .seconds = seconds_for(c, request)};
        pem = signer_sign(&csr, &terms, err);
        if (!pem)
            return false;
        cleanup_buf struct buf encoded = {0};
        buf_add_base64(&encoded, pem, strlen(pem));
        json_set_str(request, "status.certificate", buf_str(&encoded));
        log_info("Signing a certificate", "request", key, "signer", signer);
    } else {
        add_condition(request, "Failed", "SignerValidationFailure", why);
    }
    return put(c, request, "status", err);
}

/* --- approving --- */

static bool allowed(struct controller *c, const cJSON *request, const char *subresource, bool *yes,
                    struct error **err)
{
    static const char *const copied[] = {"uid", "groups", "extra"};
    cleanup_json cJSON *review = cJSON_CreateObject();
    json_map_set_str(review, "apiVersion", "authorization.k8s.io/v1");
    json_map_set_str(review, "kind", "SubjectAccessReview");
    cJSON *spec = json_ensure_object(review, "spec");
    json_map_set_str(spec, "user", json_str(request, "spec.username"));
    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        const cJSON *v = json_get(json_get(request, "spec"), copied[i]);
        if (v)
            json_map_set(spec, copied[i], json_dup(v));
    }
    cJSON *what = json_ensure_object(spec, "resourceAttributes");
    json_map_set_str(what, "group", "certificates.k8s.io");
    json_map_set_str(what, "resource", "certificatesigningrequests");
    json_map_set_str(what, "subresource", subresource);
    json_map_set_str(what, "verb", "create");
    cleanup_free char *path =
        kube_path_new("authorization.k8s.io/v1", "subjectaccessreviews", NULL, NULL, NULL);
    cleanup_json cJSON *answer = kube_create(c->client, path, review, err);
    *yes = json_bool(answer, "status.allowed", false);
    return answer != NULL;
}

static bool approve(struct controller *c, const char *key, struct error **err)
{
    static const struct {
        const char *subresource, *message;
    } ways[] = {
        {"selfnodeclient",
         "Auto approving self kubelet client certificate after SubjectAccessReview."},
        {"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview."},
    };
    struct requests *r = c->state;
    cleanup_object struct kube_object *cached = informer_get(r->requests, key);
    if (!cached || has_certificate(cached->json) || has_condition(cached->json, "Approved") ||
        has_condition(cached->json, "Denied") ||
        strcmp(json_str_or(cached->json, "spec.signerName", ""), SIGNER_KUBELET_CLIENT) != 0)
        return true;
    cleanup_csr struct csr csr = {0};
    if (!csr_parse_base64(json_str(cached->json, "spec.request"), &csr, err)) {
        error_wrap(err, "unable to parse csr \"%s\"", key);
        return false;
    }
    cleanup_free const char **usages = usages_of(cached->json);
    cleanup_free char *why = NULL;
    if (!signer_accepts(SIGNER_KUBELET_CLIENT, &csr, usages, &why))
        return true;
    bool own = !strcmp(json_str_or(cached->json, "spec.username", ""), csr.common_name);
    for (size_t i = own ? 0 : 1; i < ARRAY_LEN(ways); i++) {
        bool yes = false;
        if (!allowed(c, cached->json, ways[i].subresource, &yes, err))
            return false;
        if (!yes)
            continue;
        cleanup_json cJSON *request = json_dup(cached->json);
        add_condition(request, "Approved", "AutoApproved", ways[i].message);
        return put(c, request, "approval", err);
    }
    log_debug(2, "A kubelet's request was not approved", "request", key);
    return true;
}

/* --- cleaning --- */

static int64_t condition_time(const cJSON *request, const char *type)
{
    const cJSON *c = condition_find(json_path(request, "status.conditions"), type);
    return c ? json_time(c, "lastUpdateTime", 0) : 0;
}

static bool is_old(const cJSON *request, int64_t now)
{
    const char *encoded = json_str_or(request, "status.certificate", "");
    int64_t approved = condition_time(request, "Approved"),
            denied = condition_time(request, "Denied"), failed = condition_time(request, "Failed");
    cleanup_buf struct buf pem = {0};
    if (*encoded && buf_add_base64_decoded(&pem, encoded, strlen(encoded))) {
        int64_t end = signer_expiry(buf_str(&pem), pem.len);
        if (end && end < now)
            return true;
    }
    if (*encoded && approved && now - approved > KEPT_S)
        return true;
    if ((denied && now - denied > KEPT_S) || (failed && now - failed > KEPT_S))
        return true;
    bool pending = !approved && !denied && !failed;
    return (pending || (approved && !*encoded)) && now - meta_created(request) > PENDING_KEPT_S;
}

static bool clean(struct controller *c, const char *key, struct error **err)
{
    struct requests *r = c->state;
    int64_t now = time_now_seconds();
    (void)err;
    cleanup_objects struct kube_object_list all = {0};
    informer_list(r->requests, &all);
    for (size_t i = 0; i < all.count && !manager_stopping(c->manager); i++) {
        if (!is_old(all.items[i]->json, now))
            continue;
        cleanup_free char *path =
            kube_path_new(API, "certificatesigningrequests", NULL, all.items[i]->name, NULL);
        cleanup_error struct error *e = NULL;
        log_info("Removing a request for a certificate", "request", all.items[i]->name);
        if (!kube_delete(c->client, path, all.items[i]->uid, -1, NULL, &e) &&
            !kube_error_is(e, "NotFound"))
            log_warn("Cannot remove a request for a certificate", "request", all.items[i]->name,
                     "err", error_message(e));
    }
    workqueue_add_after(c->queue, key, CLEAN_MS);
    return true;
}

/* --- the frame --- */

static void setup(struct controller *c)
{
    struct requests *r = mem_alloc(sizeof *r);
    c->state = r;
    r->requests = manager_informer(c->manager, API, "certificatesigningrequests");
    informer_add_handler(r->requests, controller_enqueue_object, c);
}

static void setup_cleaner(struct controller *c)
{
    struct requests *r = mem_alloc(sizeof *r);
    c->state = r;
    r->requests = manager_informer(c->manager, API, "certificatesigningrequests");
}

static void start_cleaner(struct controller *c)
{
    workqueue_add(c->queue, TICK);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type csr_signing_controller = {
    .name = "certificatesigningrequest-signing-controller",
    .queue = "csrsigning",
    .workers = 1,
    .setup = setup,
    .reconcile = sign,
    .free_state = free_state};
const struct controller_type csr_approving_controller = {
    .name = "certificatesigningrequest-approving-controller",
    .queue = "csrapproving",
    .workers = 1,
    .setup = setup,
    .reconcile = approve,
    .free_state = free_state};
const struct controller_type csr_cleaner_controller = {
    .name = "certificatesigningrequest-cleaner-controller",
    .queue = "csrcleaner",
    .workers = 1,
    .setup = setup_cleaner,
    .start = start_cleaner,
    .reconcile = clean,
    .free_state = free_state};
