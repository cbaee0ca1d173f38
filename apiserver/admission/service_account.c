/* Pods act as a service account: its name, its secrets for pulling images, and a volume with its
 * token.
 * https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-admission-controller
 */
#include <string.h>
#include <time.h>
#include "apiserver/admission/admission.h"
#include "common/json.h"
#include "common/mem.h"

#define MIRROR_POD_ANNOTATION "kubernetes.io/config.mirror"
#define TOKEN_DIRECTORY       "/var/run/secrets/kubernetes.io/serviceaccount"
#define VOLUME_PREFIX         "kube-api-access-"
enum { TOKEN_SECONDS = 3607, FILE_MODE = 0644 };

/* --- the volume --- */

static bool has_mount(const cJSON *container)
{
    const cJSON *m;
    cJSON_ArrayForEach(
        m, json_get(container, "volumeMounts")) if (!strcmp(json_str_or(m, "mountPath", ""),
                                                            TOKEN_DIRECTORY)) return true;
    return false;
}

/* True when one was mounted. */
static bool mount_in(cJSON *containers, const char *volume)
{
    bool any = false;
    cJSON *c;
    cJSON_ArrayForEach(c, containers)
    {
        if (!cJSON_IsObject(c) || has_mount(c))
            continue;
        cJSON *m = cJSON_CreateObject();
        json_map_set_str(m, "name", volume);
        cJSON_AddTrueToObject(m, "readOnly");
        json_map_set_str(m, "mountPath", TOKEN_DIRECTORY);
        cJSON_AddItemToArray(json_ensure_array(c, "volumeMounts"), m);
        any = true;
    }
    return any;
}

static cJSON *token_volume(const char *name)
{
    static const char sources[] =
        "[{\"serviceAccountToken\":{\"path\":\"token\"}},"
        "{\"configMap\":{\"name\":\"kube-root-ca.crt\",\"items\":[{\"key\":\"ca.crt\",\"path\":"
        "\"ca.crt\"}]}},"
        "{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":{\"apiVersion\":\"v1\","
        "\"fieldPath\":\"metadata.namespace\"}}]}}]";
    cJSON *v = cJSON_CreateObject(), *list = json_parse(sources, sizeof sources - 1, NULL);
    json_set_int(cJSON_GetArrayItem(list, 0), "serviceAccountToken.expirationSeconds",
                 TOKEN_SECONDS);
    json_map_set_str(v, "name", name);
    json_set(v, "projected.sources", list);
    json_set_int(v, "projected.defaultMode", FILE_MODE);
    return v;
}

static void mount_token(cJSON *pod)
{
    const cJSON *v;
    const char *there = NULL;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes")) if (!strncmp(json_str_or(v, "name", ""),
                                                                       VOLUME_PREFIX,
                                                                       sizeof VOLUME_PREFIX - 1))
        there = json_str(v, "name");
    char suffix[6];
    meta_name_suffix(suffix);
    cleanup_free char *name = there ? mem_strdup(there) : mem_printf(VOLUME_PREFIX "%s", suffix);
    bool first = mount_in(json_path(pod, "spec.initContainers"), name);
    bool used = mount_in(json_path(pod, "spec.containers"), name) || first;
    if (used && !there)
        cJSON_AddItemToArray(json_ensure_array(pod, "spec.volumes"), token_volume(name));
}

/* --- the account --- */

/* The account of a new namespace is made by a controller: wait a moment for it, as Kubernetes does.
 */
static struct stored *find_account(struct write *w, const char *name, struct error **err)
{
    enum { ATTEMPTS = 10, PAUSE_MS = 100 };
    const struct resource *accounts = resource_find("", "v1", "serviceaccounts");
    for (int i = 1;; i++) {
        struct error *why = NULL;
        struct stored *s = storage_get(w->req->storage, accounts, w->ns, name, &why);
        if (s || !why || why->code != 404 || i == ATTEMPTS || strcmp(name, "default") != 0) {
            error_move(err, why);
            return s;
        }
        error_free(why);
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
}

bool service_account_admit(struct write *w, cJSON *pod, struct error **err)
{
    if (json_map_str(json_path(pod, "metadata.annotations"), MIRROR_POD_ANNOTATION))
        return true;
    const char *pod_name = json_str_or(pod, "metadata.name", "");
    const char *wanted = json_str_or(pod, "spec.serviceAccountName", "");
    if (!*wanted)
        wanted = json_str_or(pod, "spec.serviceAccount", "");
    cleanup_free char *name = mem_strdup(*wanted ? wanted : "default");
    json_set_str(pod, "spec.serviceAccountName", name);
    json_set_str(pod, "spec.serviceAccount", name);
    cleanup_error struct error *why = NULL;
    cleanup_stored struct stored *s = find_account(w, name, &why);
    if (!s) {
        cleanup_free char *text =
            why && why->code == 404
                ? mem_printf(
                      "error looking up service account %s/%s: serviceaccount \"%s\" not found",
                      w->ns, name, name)
                : mem_printf("error looking up service account %s/%s: %s", w->ns, name,
                             error_message(why));
        api_error_forbidden(err, w->r, pod_name, text);
        return false;
    }
    cleanup_json cJSON *account = json_parse(s->json, s->len, NULL);
    const cJSON *secrets = json_get(account, "imagePullSecrets");
    if (cJSON_GetArraySize(secrets) && !cJSON_GetArraySize(json_path(pod, "spec.imagePullSecrets")))
        json_set(pod, "spec.imagePullSecrets", json_dup(secrets));
    if (json_bool(pod, "spec.automountServiceAccountToken",
                  json_bool(account, "automountServiceAccountToken", true)))
        mount_token(pod);
    return true;
}
