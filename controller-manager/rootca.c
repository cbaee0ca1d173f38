/* Publishes the cluster's CA to every namespace as ConfigMap kube-root-ca.crt, for pods that talk
 * to the API. The cache holds metadata only, so a change is answered by looking at the live object.
 */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

#define CONFIGMAP_NAME "kube-root-ca.crt"
#define DESCRIPTION                                                                                \
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "      \
    "endpoints such as the "                                                                       \
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across "          \
    "distributions of Kubernetes clusters."

struct root_ca {
    struct informer *namespaces, *configmaps;
    char *pem; /* NULL: nothing to publish */
};

static cJSON *wanted(struct root_ca *s, const char *ns)
{
    cJSON *cm = cJSON_CreateObject();
    json_map_set_str(cm, "apiVersion", "v1");
    json_map_set_str(cm, "kind", "ConfigMap");
    json_set_str(cm, "metadata.name", CONFIGMAP_NAME);
    json_set_str(cm, "metadata.namespace", ns);
    meta_set_annotation(cm, "kubernetes.io/description", DESCRIPTION);
    json_map_set_str(json_ensure_object(cm, "data"), "ca.crt", s->pem);
    return cm;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct root_ca *s = c->state;
    cleanup_object struct kube_object *ns = informer_get(s->namespaces, key);
    if (!s->pem || !ns || meta_deleting(ns->json) ||
        strcmp(json_str_or(ns->json, "status.phase", "Active"), "Active") != 0)
        return true;
    cleanup_json cJSON *cm = wanted(s, key);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = NULL;
    cleanup_object struct kube_object *have = informer_get_ns(s->configmaps, key, CONFIGMAP_NAME);
    if (have) {
        cleanup_free char *path = kube_path_new("v1", "configmaps", key, CONFIGMAP_NAME, NULL);
        cleanup_json cJSON *live = kube_get(c->client, path, &e);
        const cJSON *data = json_get(live, "data");
        const char *description = meta_annotation(live, "kubernetes.io/description");
        if (live && json_equal(data, json_get(cm, "data")) && description &&
            strcmp(description, DESCRIPTION) == 0)
            return true;
        if (live) {
            json_map_set(live, "data", json_dup(json_get(cm, "data")));
            meta_set_annotation(live, "kubernetes.io/description", DESCRIPTION);
            answer = kube_update(c->client, path, live, &e);
        }
    } else {
        cleanup_free char *path = kube_path_new("v1", "configmaps", key, NULL, NULL);
        answer = kube_create(c->client, path, cm, &e);
    }
    if (answer || kube_error_is(e, "AlreadyExists") || kube_error_is(e, "NotFound") ||
        refused_by_namespace_end(e))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

static void on_configmap(void *userdata, enum informer_event event, const struct kube_object *old,
                         const struct kube_object *new_object)
{
    struct controller *c = userdata;
    (void)event;
    const struct kube_object *o = new_object ? new_object : old;
    if (strcmp(o->name, CONFIGMAP_NAME) == 0)
        workqueue_add(c->queue, o->ns);
}

static void setup(struct controller *c)
{
    struct root_ca *s = mem_alloc(sizeof(*s));
    c->state = s;
    const char *file = manager_config(c->manager)->root_ca_file;
    if (file && *file) {
        struct buf b = {0};
        cleanup_error struct error *e = NULL;
        if (buf_read_file(&b, file, &e))
            s->pem = buf_take(&b);
        else
            log_error("Cannot read the root CA, will not publish it", "err", error_message(e));
        buf_free(&b);
    }
    s->namespaces = manager_informer(c->manager, "v1", "namespaces");
    s->configmaps = manager_metadata_informer(c->manager, "v1", "configmaps");
    informer_add_handler(s->namespaces, controller_enqueue_object, c);
    informer_add_handler(s->configmaps, on_configmap, c);
}

static void free_state(struct controller *c)
{
    struct root_ca *s = c->state;
    free(s->pem);
    free(s);
}

const struct controller_type root_ca_publisher = {.name =
                                                      "root-ca-certificate-publisher-controller",
                                                  .queue = "root_ca_cert_publisher",
                                                  .workers = 1,
                                                  .setup = setup,
                                                  .reconcile = reconcile,
                                                  .free_state = free_state};
