/* Every active namespace has a ServiceAccount "default". */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

#define DEFAULT_NAME "default"

struct serviceaccounts {
    struct informer *namespaces, *accounts;
};

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct serviceaccounts *s = c->state;
    cleanup_object struct kube_object *ns = informer_get(s->namespaces, key);
    if (!ns || meta_deleting(ns->json) ||
        strcmp(json_str_or(ns->json, "status.phase", "Active"), "Active") != 0)
        return true;
    cleanup_object struct kube_object *have = informer_get_ns(s->accounts, key, DEFAULT_NAME);
    if (have)
        return true;
    cleanup_json cJSON *account = cJSON_CreateObject();
    json_map_set_str(account, "apiVersion", "v1");
    json_map_set_str(account, "kind", "ServiceAccount");
    json_set_str(account, "metadata.name", DEFAULT_NAME);
    json_set_str(account, "metadata.namespace", key);
    cleanup_free char *path = kube_path_new("v1", "serviceaccounts", key, NULL, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_create(c->client, path, account, &e);
    if (answer || kube_error_is(e, "AlreadyExists") || kube_error_is(e, "NotFound") ||
        refused_by_namespace_end(e))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

static void on_account(void *userdata, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *new_object)
{
    struct controller *c = userdata;
    (void)new_object;
    if (event == INFORMER_DELETED && strcmp(old->name, DEFAULT_NAME) == 0)
        workqueue_add(c->queue, old->ns);
}

static void setup(struct controller *c)
{
    struct serviceaccounts *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->namespaces = manager_informer(c->manager, "v1", "namespaces");
    s->accounts = manager_metadata_informer(c->manager, "v1", "serviceaccounts");
    informer_add_handler(s->namespaces, controller_enqueue_object, c);
    informer_add_handler(s->accounts, on_account, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type serviceaccount_controller = {.name = "serviceaccount-controller",
                                                          .queue = "serviceaccount",
                                                          .workers = 1,
                                                          .setup = setup,
                                                          .reconcile = reconcile,
                                                          .free_state = free_state};
