#include "kubelet/server/auth.h"
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <strings.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

/* As long as Kubernetes' kubelet remembers by default. */
enum { TOKEN_MS = 120000, ALLOWED_MS = 300000, DENIED_MS = 30000, ENTRIES_MAX = 256 };

/* A digest of a question, and its answer. */
struct entry {
    unsigned char key[32];
    int64_t until_ms;
    bool ok;
    cJSON *user; /* of a token; NULL otherwise */
};
struct server_auth {
    struct kubelet *k;
    bool anonymous;
    pthread_mutex_t lock;
    struct entry entries[ENTRIES_MAX]; /* a ring; guarded by lock */
    size_t next;
};

struct server_auth *server_auth_new(struct kubelet *k, bool anonymous)
{
    struct server_auth *a = mem_alloc(sizeof(*a));
    a->k = k;
    a->anonymous = anonymous;
    pthread_mutex_init(&a->lock, NULL);
    return a;
}

/* --- attributes --- */

void server_attributes(const char *method, const char *path, struct server_attributes *out)
{
    static const char *const verbs[][2] = {{"POST", "create"}, {"GET", "get"},
                                           {"HEAD", "get"},    {"PUT", "update"},
                                           {"PATCH", "patch"}, {"DELETE", "delete"}};
    static const char *const paths[][2] = {
        {"/stats", "stats"},           {"/metrics", "metrics"}, {"/logs", "log"},
        {"/checkpoint", "checkpoint"}, {"/pods", "pods"},       {"/runningPods", "pods"},
        {"/healthz", "healthz"},       {"/livez", "healthz"},   {"/readyz", "healthz"},
        {"/configz", "configz"},
    };
    *out = (struct server_attributes){"", {"proxy", NULL}};
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(method, verbs[i][0]) == 0)
            out->verb = verbs[i][1];
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        size_t n = strlen(paths[i][0]);
        if (strncmp(path, paths[i][0], n) != 0 || (path[n] && path[n] != '/'))
            continue;
        bool own =
            i < 4; /* the older ones stand alone; the finer ones are tried before nodes/proxy */
        out->subresources[0] = paths[i][1];
        out->subresources[1] = own ? NULL : "proxy";
    }
}

/* --- memory --- */

static void digest(const char *kind, const char *text, unsigned char out[32])
{
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "%s:%s", kind, text);
    gnutls_hash_fast(GNUTLS_DIG_SHA256, b.data, b.len, out);
}

/* -1: not known. *user: a copy, the caller's. */
static int remembered(struct server_auth *a, const unsigned char key[32], cJSON **user)
{
    int found = -1;
    int64_t now = time_monotonic_ms();
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < ENTRIES_MAX && found < 0; i++) {
        struct entry *e = &a->entries[i];
        if (e->until_ms <= now || memcmp(e->key, key, sizeof(e->key)) != 0)
            continue;
        found = e->ok;
        if (user && e->user)
            *user = json_dup(e->user);
    }
    pthread_mutex_unlock(&a->lock);
    return found;
}

static void remember(struct server_auth *a, const unsigned char key[32], bool ok, const cJSON *user,
                     int64_t ms)
{
    pthread_mutex_lock(&a->lock);
    struct entry *e = &a->entries[a->next++ % ENTRIES_MAX];
    cJSON_Delete(e->user);
    memcpy(e->key, key, sizeof(e->key));
    e->until_ms = time_monotonic_ms() + ms;
    e->ok = ok;
    e->user = user ? json_dup(user) : NULL;
    pthread_mutex_unlock(&a->lock);
}

/* --- who --- */

static cJSON *user_of_certificate(const struct httpd_request *r)
{
    const char *cn = httpd_client_cn(r);
    if (!cn || !*cn)
        return NULL;
    cJSON *user = cJSON_CreateObject();
    json_set_str(user, "username", cn);
    cJSON *groups = json_ensure_array(user, "groups");
    for (const char *const *o = httpd_client_orgs(r); o && *o; o++)
        cJSON_AddItemToArray(groups, cJSON_CreateString(*o));
    cJSON_AddItemToArray(groups, cJSON_CreateString("system:authenticated"));
    return user;
}

static const char *bearer(const struct httpd_request *r)
{
    const char *header = httpd_header(r, "Authorization");
    if (!header || strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    header += 7;
    while (*header == ' ')
        header++;
    return *header ? header : NULL;
}

static cJSON *review_token(struct server_auth *a, const char *token)
{
    cleanup_json cJSON *review = cJSON_CreateObject();
    json_set_str(review, "apiVersion", "authentication.k8s.io/v1");
    json_set_str(review, "kind", "TokenReview");
    json_set_str(review, "spec.token", token);
    cleanup_error struct error *failure = NULL;
    struct kubelet *k = a->k;
    cleanup_json cJSON *answer =
        k->api.request(k->api.userdata, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", NULL,
                       review, &failure);
    if (!answer) {
        log_warn("Could not review a token", "err", error_message(failure));
        return NULL;
    }
    bool ok = json_bool(answer, "status.authenticated", false);
    const cJSON *user = ok ? json_path(answer, "status.user") : NULL;
    unsigned char key[32];
    digest("token", token, key);
    remember(a, key, user != NULL, user, user ? TOKEN_MS : DENIED_MS);
    return user ? json_dup(user) : NULL;
}

/* NULL: nobody, or (with *must_ask) not known without asking. */
static cJSON *identify(struct server_auth *a, const struct httpd_request *r, bool may_ask,
                       bool *must_ask)
{
    *must_ask = false;
    cJSON *user = user_of_certificate(r);
    const char *token = user ? NULL : bearer(r);
    if (token) {
        unsigned char key[32];
        digest("token", token, key);
        int known = remembered(a, key, &user);
        if (known < 0 && may_ask)
            user = review_token(a, token);
        *must_ask = known < 0 && !may_ask;
        return user;
    }
    if (!user && a->anonymous && !httpd_client_cert_invalid(r)) {
        user = cJSON_CreateObject();
        json_set_str(user, "username", "system:anonymous");
        cJSON_AddItemToArray(json_ensure_array(user, "groups"),
                             cJSON_CreateString("system:unauthenticated"));
    }
    return user;
}

/* --- may they --- */

static bool is_master(const cJSON *user)
{
    const cJSON *g;
    cJSON_ArrayForEach(g, json_get(user, "groups"))
    {
        if (cJSON_IsString(g) && strcmp(g->valuestring, "system:masters") == 0)
            return true;
    }
    return false;
}

static cJSON *access_review(struct server_auth *a, const cJSON *user, const char *verb,
                            const char *subresource)
{
    cJSON *review = cJSON_CreateObject();
    json_set_str(review, "apiVersion", "authorization.k8s.io/v1");
    json_set_str(review, "kind", "SubjectAccessReview");
    json_set_str(review, "spec.user", json_str_or(user, "username", ""));
    json_set_str(review, "spec.uid", json_str(user, "uid"));
    if (json_get(user, "groups"))
        json_set(review, "spec.groups", json_dup(json_get(user, "groups")));
    if (json_get(user, "extra"))
        json_set(review, "spec.extra", json_dup(json_get(user, "extra")));
    json_set_str(review, "spec.resourceAttributes.verb", verb);
    json_set_str(review, "spec.resourceAttributes.version", "v1");
    json_set_str(review, "spec.resourceAttributes.resource", "nodes");
    json_set_str(review, "spec.resourceAttributes.subresource", subresource);
    json_set_str(review, "spec.resourceAttributes.name", a->k->node_name);
    return review;
}

static enum server_verdict may(struct server_auth *a, const cJSON *user, const char *verb,
                               const char *subresource, bool may_ask)
{
    cleanup_json cJSON *review = access_review(a, user, verb, subresource);
    cleanup_free char *text = json_text(review);
    unsigned char key[32];
    digest("access", text, key);
    int known = remembered(a, key, NULL);
    if (known >= 0)
        return known ? SERVER_ALLOWED : SERVER_FORBIDDEN;
    if (!may_ask)
        return SERVER_MUST_ASK;
    struct kubelet *k = a->k;
    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *answer = k->api.request(
        k->api.userdata, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", NULL, review,
        &failure);
    if (!answer) {
        log_warn("Could not review an access", "err", error_message(failure));
        return SERVER_FORBIDDEN; /* not remembered: the next may be luckier */
    }
    bool ok = json_bool(answer, "status.allowed", false);
    remember(a, key, ok, NULL, ok ? ALLOWED_MS : DENIED_MS);
    return ok ? SERVER_ALLOWED : SERVER_FORBIDDEN;
}

static enum server_verdict decide(struct server_auth *a, const struct httpd_request *r,
                                  bool may_ask, char **who)
{
    bool must_ask;
    cleanup_json cJSON *user = identify(a, r, may_ask, &must_ask);
    if (must_ask)
        return SERVER_MUST_ASK;
    if (!user)
        return SERVER_UNKNOWN_USER;
    *who = mem_strdup(json_str_or(user, "username", ""));
    if (is_master(user)) /* the API would say the same of them, always */
        return SERVER_ALLOWED;
    struct server_attributes want;
    server_attributes(httpd_method(r), httpd_path(r), &want);
    enum server_verdict verdict = SERVER_FORBIDDEN;
    for (size_t i = 0; i < ARRAY_LEN(want.subresources) && want.subresources[i]; i++) {
        verdict = may(a, user, want.verb, want.subresources[i], may_ask);
        if (verdict != SERVER_FORBIDDEN)
            break;
    }
    return verdict;
}

enum server_verdict server_auth_known(struct server_auth *a, const struct httpd_request *r,
                                      char **who)
{
    return decide(a, r, false, who);
}

enum server_verdict server_auth_ask(struct server_auth *a, const struct httpd_request *r,
                                    char **who)
{
    return decide(a, r, true, who);
}
