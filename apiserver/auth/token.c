#include "apiserver/auth/token.h"
#include <gnutls/crypto.h>
#include <pthread.h>
#include <string.h>
#include "apiserver/auth/jwt.h"
#include "apiserver/registry/registry.h"
#include "apiserver/storage/cacher.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define DEFAULT_ISSUER "https://kubernetes.default.svc.cluster.local"
enum {
    SHA256_SIZE = 32,
    VERIFIED_MAX = 256,
    DEFAULT_SECONDS = 3600,
    MIN_SECONDS = 600,
    LEEWAY_SECONDS = 10
};

/* Constant after token_start. */
static struct {
    struct jwt_keys *keys;
    char *issuer;
    cJSON *audiences; /* of the API */
    struct storage *storage;
} tokens;

/* Claims of tokens whose signature was good, by the token's hash: a signature costs more than all
 * other checks, and those are made every time. */
static struct {
    pthread_mutex_t mutex;
    struct {
        unsigned char hash[SHA256_SIZE];
        cJSON *claims;
    } slots[VERIFIED_MAX];
} verified = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* --- start --- */

static char **split(const char *text)
{
    size_t n = 0;
    char **list = mem_alloc(sizeof *list * ((text ? strlen(text) : 0) + 2));
    while (text && *text) {
        size_t len = strcspn(text, ",");
        if (len)
            list[n++] = mem_strndup(text, len);
        text += len + (text[len] == ',');
    }
    return list;
}

static void split_free(char **list)
{
    for (char **s = list; *s; s++)
        free(*s);
    free(list);
}

bool token_start(const struct api_config *config, struct storage *storage, struct error **err)
{
    tokens.storage = storage;
    char **issuers = split(config->service_account_issuer);
    tokens.issuer = mem_strdup(*issuers ? *issuers : DEFAULT_ISSUER);
    split_free(issuers);
    char **audiences = split(config->api_audiences);
    tokens.audiences = cJSON_CreateArray();
    for (char **a = audiences; *a; a++)
        cJSON_AddItemToArray(tokens.audiences, cJSON_CreateString(*a));
    if (!*audiences)
        cJSON_AddItemToArray(tokens.audiences, cJSON_CreateString(tokens.issuer));
    split_free(audiences);
    char **files = split(config->service_account_key_file);
    tokens.keys =
        jwt_keys_load((const char *const *)files, config->service_account_signing_key_file, err);
    split_free(files);
    if (!tokens.keys)
        error_wrap(err, "load the keys of service account tokens");
    return tokens.keys != NULL;
}

/* --- whose token is it? --- */

static struct stored *find(const char *plural, const char *ns, const char *name)
{
    const struct resource *r = resource_find("", "v1", plural);
    struct cache *c = r && tokens.storage ? storage_cache(tokens.storage, r) : NULL;
    return c ? cache_get(c, ns, name) : NULL;
}

static bool lives(const char *plural, const char *ns, const char *name, const char *uid)
{
    cleanup_stored struct stored *s = find(plural, ns, name);
    return s && *uid && !strcmp(s->uid, uid);
}

static cJSON *claims_of(const char *token, struct error **err)
{
    unsigned char hash[SHA256_SIZE];
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, token, strlen(token), hash)) {
        error_setf(err, "cannot hash a token");
        return NULL;
    }
    size_t at = hash[0] % VERIFIED_MAX;
    pthread_mutex_lock(&verified.mutex);
    bool known = verified.slots[at].claims && !memcmp(verified.slots[at].hash, hash, sizeof hash);
    cJSON *claims = known ? json_dup(verified.slots[at].claims) : NULL;
    pthread_mutex_unlock(&verified.mutex);
    if (known)
        return claims;
    claims = jwt_verify(tokens.keys, token, err);
    if (!claims)
        return NULL;
    cJSON *copy = json_dup(claims);
    pthread_mutex_lock(&verified.mutex);
    cJSON *before = verified.slots[at].claims;
    memcpy(verified.slots[at].hash, hash, sizeof hash);
    verified.slots[at].claims = copy;
    pthread_mutex_unlock(&verified.mutex);
    cJSON_Delete(before);
    return claims;
}

static bool contains(const cJSON *list, const char *text)
{
    if (cJSON_IsString(list))
        return !strcmp(list->valuestring, text);
    const cJSON *e;
    cJSON_ArrayForEach(e, list) if (cJSON_IsString(e) && !strcmp(e->valuestring, text)) return true;
    return false;
}

static cJSON *common(const cJSON *wanted, const cJSON *named)
{
    cJSON *out = cJSON_CreateArray();
    const cJSON *a;
    cJSON_ArrayForEach(a, wanted) if (cJSON_IsString(a) && contains(named, a->valuestring))
        cJSON_AddItemToArray(out, cJSON_CreateString(a->valuestring));
    return out;
}

static bool refuse(struct error **err, const char *why)
{
    error_setf(err, "%s", why);
    return false;
}

static bool check_times(const cJSON *claims, struct error **err)
{
    int64_t now = time_now_seconds(), expires = json_int(claims, "exp", 0);
    if (expires <= now - LEEWAY_SECONDS)
        return refuse(err, "service account token has expired");
    if (json_int(claims, "nbf", 0) > now + LEEWAY_SECONDS)
        return refuse(err, "service account token is not valid yet");
    return true;
}

/* What the token is bound to, and the account itself. */
static bool check_bound(const cJSON *own, const char *ns, const char *account, struct error **err)
{
    if (!lives("serviceaccounts", ns, account, json_str_or(own, "serviceaccount.uid", "")))
        return refuse(err, "service account token has been invalidated: its account is gone");
    if (json_get(own, "pod") &&
        !lives("pods", ns, json_str_or(own, "pod.name", ""), json_str_or(own, "pod.uid", "")))
        return refuse(err, "service account token has been invalidated: its pod is gone");
    if (json_get(own, "secret") && !lives("secrets", ns, json_str_or(own, "secret.name", ""),
                                          json_str_or(own, "secret.uid", "")))
        return refuse(err, "service account token has been invalidated: its secret is gone");
    /* A pod's token names the node for the record alone. */
    if (json_get(own, "node") && !json_get(own, "pod") &&
        !lives("nodes", "", json_str_or(own, "node.name", ""), json_str_or(own, "node.uid", "")))
        return refuse(err, "service account token has been invalidated: its node is gone");
    return true;
}

static void add_extra(struct api_user *u, const char *name, const char *value)
{
    if (!value || !*value)
        return;
    if (!u->extra)
        u->extra = cJSON_CreateObject();
    cJSON *list = cJSON_CreateArray();
    cJSON_AddItemToArray(list, cJSON_CreateString(value));
    cleanup_free char *key = mem_printf("authentication.kubernetes.io/%s", name);
    json_map_set(u->extra, key, list);
}

static void set_user(struct api_user *out, const cJSON *claims, const cJSON *own, const char *ns,
                     const char *account)
{
    cleanup_free char *name = mem_printf(SA_USER_PREFIX "%s:%s", ns, account);
    cleanup_free char *group = mem_printf("system:serviceaccounts:%s", ns);
    api_user_set(out, name,
                 (const char *const[]){"system:serviceaccounts", group, GROUP_AUTHENTICATED, NULL});
    out->uid = mem_strdup(json_str(own, "serviceaccount.uid"));
    const char *id = json_str(claims, "jti");
    cleanup_free char *credential = id ? mem_printf("JTI=%s", id) : NULL;
    add_extra(out, "credential-id", credential);
    add_extra(out, "node-name", json_str(own, "node.name"));
    add_extra(out, "node-uid", json_str(own, "node.uid"));
    add_extra(out, "pod-name", json_str(own, "pod.name"));
    add_extra(out, "pod-uid", json_str(own, "pod.uid"));
}

bool token_authenticate(const char *token, const cJSON *audiences, struct api_user *out,
                        cJSON **found, struct error **err)
{
    cleanup_json cJSON *claims = claims_of(token, err);
    if (!claims)
        return false;
    const cJSON *own = json_get(claims, "kubernetes.io");
    const char *ns = json_str_or(own, "namespace", ""),
               *account = json_str_or(own, "serviceaccount.name", "");
    cleanup_free char *subject = mem_printf(SA_USER_PREFIX "%s:%s", ns, account);
    if (strcmp(json_str_or(claims, "iss", ""), tokens.issuer) != 0)
        return refuse(err, "unknown issuer");
    if (!*ns || !*account || strcmp(json_str_or(claims, "sub", ""), subject) != 0)
        return refuse(err, "sub claim does not match the account");
    if (!check_times(claims, err))
        return false;
    cleanup_json cJSON *both =
        common(audiences && cJSON_GetArraySize(audiences) ? audiences : tokens.audiences,
               json_get(claims, "aud"));
    if (cJSON_GetArraySize(both) == 0)
        return refuse(err, "token audiences is invalid for the target audiences");
    if (!check_bound(own, ns, account, err))
        return false;
    set_user(out, claims, own, ns, account);
    if (found)
        *found = json_dup(both);
    return true;
}

/* --- giving one --- */

static bool bad_duration(int64_t seconds, const char *account, struct error **err)
{
    cleanup_field_errors struct field_errors errors = {0};
    const struct field_path *p = PATH_CHILD(PATH_ROOT("spec"), "expirationSeconds");
    if (seconds < MIN_SECONDS)
        field_invalid_int(&errors, p, seconds, "may not specify a duration less than 10 minutes");
    if (seconds > (int64_t)1 << 32)
        field_invalid_int(&errors, p, seconds,
                          "may not specify a duration larger than 2^32 seconds");
    return !field_errors_check(&errors, "authentication.k8s.io", "TokenRequest", account, err);
}

/* A member of "kubernetes.io" for an object: name and uid. */
static void name_object(cJSON *own, const char *member, const char *name, const char *uid)
{
    cJSON *o = cJSON_AddObjectToObject(own, member);
    json_map_set_str(o, "name", name);
    json_map_set_str(o, "uid", uid);
}

static void name_node(struct api_request *req, cJSON *own, const char *node)
{
    name_object(own, "node", node, NULL);
    cleanup_stored struct stored *s =
        storage_get(req->storage, resource_find("", "v1", "nodes"), "", node, NULL);
    if (s)
        json_set_str(own, "node.uid", s->uid);
}

/* NodeRestriction: a kubelet gets tokens for the pods that it runs. */
static bool check_node(struct api_request *req, const char *account, bool pod_bound,
                       const char *uid, const char *pods_node, struct error **err)
{
    const char *node = auth_node_name(&req->user);
    const char *why = !node        ? NULL
                      : !pod_bound ? "node requested token not bound to a pod"
                      : !*uid      ? "node requested token with a pod binding without a uid"
                      : strcmp(node, pods_node) != 0
                          ? "node requested token bound to a pod scheduled on a "
                            "different node"
                          : NULL;
    if (!why)
        return true;
    cleanup_free char *text = mem_strdup(why);
    api_error_forbidden(err, req->resource, account, text);
    return false;
}

static bool bind_object(struct api_request *req, const cJSON *request, const char *account,
                        cJSON *own, struct error **err)
{
    const cJSON *ref = json_path(request, "spec.boundObjectRef");
    const char *kind = json_str_or(ref, "kind", ""), *api = json_str_or(ref, "apiVersion", "");
    const char *name = json_str_or(ref, "name", ""), *uid = json_str_or(ref, "uid", "");
    if (!ref)
        return check_node(req, account, false, "", "", err);
    bool pod = !strcmp(kind, "Pod"), secret = !strcmp(kind, "Secret"), node = !strcmp(kind, "Node");
    if (strcmp(api, "v1") != 0 || (!pod && !secret && !node)) {
        api_error_bad_request(err, "cannot bind token to object of type %s, Kind=%s",
                              *api ? api : "/", kind);
        return false;
    }
    const struct resource *r = resource_find("", "v1", pod ? "pods" : secret ? "secrets" : "nodes");
    cleanup_stored struct stored *s =
        storage_get(req->storage, r, node ? "" : req->info.ns, name, err);
    if (!s)
        return false;
    cleanup_json cJSON *object = json_parse(s->json, s->len, err);
    if (!object)
        return false;
    if (*uid && strcmp(uid, s->uid) != 0) {
        error_set(err, 409, "Conflict",
                  "Operation cannot be fulfilled on %s \"%s\": the UID in the bound object "
                  "reference (%s) does not "
                  "match the UID in record. The object might have been deleted and then recreated",
                  r->plural, name, uid);
        return false;
    }
    const char *pods_node = json_str_or(object, "spec.nodeName", "");
    if (!check_node(req, account, pod, uid, pods_node, err))
        return false;
    if (pod && strcmp(json_str_or(object, "spec.serviceAccountName", ""), account) != 0) {
        api_error_bad_request(err,
                              "cannot bind token for serviceaccount \"%s\" to pod running with "
                              "different serviceaccount name.",
                              account);
        return false;
    }
    name_object(own, pod ? "pod" : secret ? "secret" : "node", name, s->uid);
    if (pod && *pods_node)
        name_node(req, own, pods_node);
    return true;
}

bool token_request(struct api_request *req, cJSON *request, struct error **err)
{
    const char *ns = req->info.ns, *name = req->info.name;
    cleanup_stored struct stored *account = storage_get(req->storage, req->resource, ns, name, err);
    if (!account)
        return false;
    if (!jwt_can_sign(tokens.keys)) {
        error_set(err, 404, "NotFound", "the server could not find the requested resource");
        return false;
    }
    int64_t seconds = json_int(request, "spec.expirationSeconds", DEFAULT_SECONDS),
            now = time_now_seconds();
    if (bad_duration(seconds, name, err))
        return false;
    if (cJSON_GetArraySize(json_path(request, "spec.audiences")) == 0)
        json_set(request, "spec.audiences", json_dup(tokens.audiences));
    json_set_int(request, "spec.expirationSeconds", seconds);

    char id[37], expires[TIME_TEXT_MAX], created[TIME_TEXT_MAX];
    meta_uuid(id);
    cleanup_free char *subject = mem_printf(SA_USER_PREFIX "%s:%s", ns, name);
    cleanup_json cJSON *claims = cJSON_CreateObject();
    json_map_set(claims, "aud", json_dup(json_path(request, "spec.audiences")));
    json_set_int(claims, "exp", now + seconds);
    json_set_int(claims, "iat", now);
    json_map_set_str(claims, "iss", tokens.issuer);
    json_map_set_str(claims, "jti", id);
    cJSON *own = cJSON_CreateObject();
    json_map_set(claims, "kubernetes.io", own);
    json_map_set_str(own, "namespace", ns);
    if (!bind_object(req, request, name, own, err))
        return false;
    name_object(own, "serviceaccount", name, account->uid);
    json_set_int(claims, "nbf", now);
    json_map_set_str(claims, "sub", subject);
    cleanup_free char *token = jwt_sign(tokens.keys, claims, err);
    if (!token)
        return false;
    json_set_str(request, "metadata.name", name);
    json_set_str(request, "metadata.namespace", ns);
    json_set_str(request, "metadata.creationTimestamp", time_format(now, created));
    cJSON *status = cJSON_CreateObject();
    json_map_set_str(status, "token", token);
    json_map_set_str(status, "expirationTimestamp", time_format(now + seconds, expires));
    json_map_set(request, "status", status);
    return true;
}

/* --- what others need to verify them --- */

static void reply(struct api_request *req, const char *type, cJSON *taken)
{
    cleanup_json cJSON *document = taken;
    char *text = json_text(document);
    struct httpd_request *http = api_answered(req, 200);
    httpd_add_header(http, "Cache-Control", "public, max-age=3600");
    httpd_reply_take(http, 200, type, text, strlen(text));
}

bool token_issuer_serve(struct api_request *req)
{
    const char *path = req->info.path;
    if (strcmp(req->info.verb, "get") != 0)
        return false;
    if (!strcmp(path, "/openid/v1/jwks")) {
        reply(req, "application/jwk-set+json", jwt_key_set(tokens.keys));
        return true;
    }
    if (strcmp(path, "/.well-known/openid-configuration") != 0)
        return false;
    cJSON *document = cJSON_CreateObject();
    cleanup_free char *keys =
        req->config->service_account_jwks_uri
            ? mem_strdup(req->config->service_account_jwks_uri)
            : mem_printf("https://%s:%lld/openid/v1/jwks", req->config->advertise_address,
                         (long long)req->config->secure_port);
    json_map_set_str(document, "issuer", tokens.issuer);
    json_map_set_str(document, "jwks_uri", keys);
    cJSON_AddItemToArray(cJSON_AddArrayToObject(document, "response_types_supported"),
                         cJSON_CreateString("id_token"));
    cJSON_AddItemToArray(cJSON_AddArrayToObject(document, "subject_types_supported"),
                         cJSON_CreateString("public"));
    json_map_set(document, "id_token_signing_alg_values_supported", jwt_algorithms(tokens.keys));
    reply(req, "application/json", document);
    return true;
}
