/* What stands in configMap, secret, downwardAPI and projected volumes. */
#include "common/buf.h"
#include "common/json.h"
#include "common/kube_client.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/volume/atomic.h"
#include "kubelet/volume/volume.h"
#include <pthread.h>
#include <string.h>

#define DEFAULT_MODE 0644

/* One key of a ConfigMap or Secret: plain text or base64. False when the key is absent. */
static bool add_key(const cJSON *object, bool secret, const char *key, const char *path, unsigned mode,
                    struct payload *out, bool *found, struct error **err)
{
    const char *text = json_map_str(json_get(object, "data"), key);
    const char *binary = secret ? text : json_map_str(json_get(object, "binaryData"), key);
    *found = text || binary;
    if (!*found)
        return true;
    if (text && !secret)
        return payload_add(out, path, text, strlen(text), mode, err);
    cleanup_buf struct buf b = {0};
    if (!buf_add_base64_decoded(&b, binary, strlen(binary))) {
        error_setf(err, "key %s is not base64", key);
        return false;
    }
    return payload_add(out, path, buf_str(&b), b.len, mode, err);
}

static bool add_object(const struct volume_node *n, const cJSON *pod, const cJSON *source, bool secret,
                       const char *name_field, unsigned default_mode, int64_t max_age_ms, struct payload *out,
                       struct error **err)
{
    const char *ns = json_str_or(pod, "metadata.namespace", ""), *name = json_str_or(source, name_field, "");
    bool optional = json_bool(source, "optional", false);
    cleanup_error struct error *failure = NULL;
    cleanup_object struct kube_object *object =
        object_cache_get(n->objects, secret ? "secrets" : "configmaps", ns, name, max_age_ms, &failure);
    if (!object) {
        if (failure && failure->code == 404 && optional)
            return true;
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    const cJSON *items = json_get(source, "items"), *e;
    bool found;
    if (cJSON_GetArraySize(items)) {
        cJSON_ArrayForEach(e, items)
        {
            const char *key = json_str_or(e, "key", "");
            unsigned mode = (unsigned)json_int(e, "mode", default_mode);
            if (!add_key(object->json, secret, key, json_str_or(e, "path", ""), mode, out, &found, err))
                return false;
            if (!found && !optional) {
                error_setf(err, "%s non-existent %s key: %s",
                           secret ? "references" : "configmap references", secret ? "secret" : "config", key);
                return false;
            }
        }
        return true;
    }
    cJSON_ArrayForEach(e, json_get(object->json, "data"))
    {
        if (!add_key(object->json, secret, e->string, e->string, default_mode, out, &found, err))
            return false;
    }
    const cJSON *binary = secret ? NULL : json_get(object->json, "binaryData");
    cJSON_ArrayForEach(e, binary)
    {
        if (!add_key(object->json, secret, e->string, e->string, default_mode, out, &found, err))
            return false;
    }
    return true;
}

static bool add_downward(const struct downward_source *downward, const cJSON *source, unsigned default_mode,
                         struct payload *out, struct error **err)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(source, "items"))
    {
        cleanup_buf struct buf text = {0};
        const cJSON *field = json_get(e, "fieldRef"), *resource = json_get(e, "resourceFieldRef");
        if (field && !downward_field(downward, json_str_or(field, "fieldPath", ""), &text, err))
            return false;
        if (!field && resource && !downward_resource(downward, NULL, resource, &text, err))
            return false;
        if (!payload_add(out, json_str_or(e, "path", ""), buf_str(&text), text.len,
                         (unsigned)json_int(e, "mode", default_mode), err))
            return false;
    }
    return true;
}

/* --- service account tokens --- */

struct token {
    struct token *next;
    char *key; /* pod uid, audience and lifetime */
    char *text;
    int64_t renew_at; /* seconds, wall clock */
};
/* Tokens are asked for once per pod and kept until four fifths of their life are over. */
static struct token *tokens; /* guarded by tokens_lock */
static pthread_mutex_t tokens_lock = PTHREAD_MUTEX_INITIALIZER;

static char *cached_token(const char *key)
{
    int64_t now = time_now_seconds();
    char *found = NULL;
    pthread_mutex_lock(&tokens_lock);
    for (struct token **p = &tokens; *p;) {
        struct token *t = *p;
        if (t->renew_at <= now) {
            *p = t->next;
            free(t->key);
            free(t->text);
            free(t);
            continue;
        }
        if (strcmp(t->key, key) == 0)
            found = mem_strdup(t->text);
        p = &t->next;
    }
    pthread_mutex_unlock(&tokens_lock);
    return found;
}

static void keep_token(const char *key, const char *text, int64_t renew_at)
{
    struct token *t = mem_alloc(sizeof(*t));
    *t = (struct token){tokens, mem_strdup(key), mem_strdup(text), renew_at};
    pthread_mutex_lock(&tokens_lock);
    t->next = tokens;
    tokens = t;
    pthread_mutex_unlock(&tokens_lock);
}

static char *request_token(const struct volume_node *n, const cJSON *pod, const cJSON *source, struct error **err)
{
    const char *audience = json_str_or(source, "audience", "");
    int64_t seconds = json_int(source, "expirationSeconds", 3600);
    cleanup_free char *key =
        mem_printf("%s/%s/%lld", json_str_or(pod, "metadata.uid", ""), audience, (long long)seconds);
    char *known = cached_token(key);
    if (known)
        return known;
    cleanup_json cJSON *body = cJSON_CreateObject();
    json_set_str(body, "apiVersion", "authentication.k8s.io/v1");
    json_set_str(body, "kind", "TokenRequest");
    json_set_int(body, "spec.expirationSeconds", seconds);
    if (*audience)
        cJSON_AddItemToArray(json_ensure_array(body, "spec.audiences"), cJSON_CreateString(audience));
    json_set_str(body, "spec.boundObjectRef.apiVersion", "v1");
    json_set_str(body, "spec.boundObjectRef.kind", "Pod");
    json_set_str(body, "spec.boundObjectRef.name", json_str(pod, "metadata.name"));
    json_set_str(body, "spec.boundObjectRef.uid", json_str(pod, "metadata.uid"));
    cleanup_free char *path = kube_path_new("v1", "serviceaccounts", json_str_or(pod, "metadata.namespace", ""),
                                            json_str_or(pod, "spec.serviceAccountName", "default"), "token");
    cleanup_json cJSON *answer = n->api->request(n->api->userdata, "POST", path, NULL, body, err);
    if (!answer) {
        error_wrap(err, "failed to fetch token");
        return NULL;
    }
    const char *token = json_str(answer, "status.token");
    if (!token) {
        error_setf(err, "failed to fetch token: the answer has none");
        return NULL;
    }
    int64_t expires = 0, now = time_now_seconds();
    const char *text = json_str(answer, "status.expirationTimestamp");
    expires = text && time_parse(text, &expires) ? expires / 1000000 : now + seconds;
    keep_token(key, token, now + (expires - now) * 4 / 5);
    return mem_strdup(token);
}

static bool add_projected(const struct volume_node *n, const struct downward_source *downward, const cJSON *projected,
                          unsigned mode, int64_t max_age_ms, struct payload *out, struct error **err)
{
    const cJSON *e, *source;
    cJSON_ArrayForEach(e, json_get(projected, "sources"))
    {
        bool ok = true;
        if ((source = json_get(e, "configMap"))) {
            ok = add_object(n, downward->pod, source, false, "name", mode, max_age_ms, out, err);
        } else if ((source = json_get(e, "secret"))) {
            ok = add_object(n, downward->pod, source, true, "name", mode, max_age_ms, out, err);
        } else if ((source = json_get(e, "downwardAPI"))) {
            ok = add_downward(downward, source, mode, out, err);
        } else if ((source = json_get(e, "serviceAccountToken"))) {
            cleanup_free char *token = request_token(n, downward->pod, source, err);
            ok = token && payload_add(out, json_str_or(source, "path", ""), token, strlen(token), mode, err);
        } else {
            error_setf(err, "unsupported projected volume source");
            ok = false;
        }
        if (!ok)
            return false;
    }
    return true;
}

bool volume_payload(const struct volume_node *n, const struct downward_source *downward, const cJSON *volume,
                    int64_t max_age_ms, struct payload *out, struct error **err)
{
    const cJSON *source;
    if ((source = json_get(volume, "configMap")))
        return add_object(n, downward->pod, source, false, "name",
                          (unsigned)json_int(source, "defaultMode", DEFAULT_MODE), max_age_ms, out, err);
    if ((source = json_get(volume, "secret")))
        return add_object(n, downward->pod, source, true, "secretName",
                          (unsigned)json_int(source, "defaultMode", DEFAULT_MODE), max_age_ms, out, err);
    if ((source = json_get(volume, "downwardAPI")))
        return add_downward(downward, source, (unsigned)json_int(source, "defaultMode", DEFAULT_MODE), out, err);
    source = json_get(volume, "projected");
    return add_projected(n, downward, source, (unsigned)json_int(source, "defaultMode", DEFAULT_MODE), max_age_ms, out,
                         err);
}
