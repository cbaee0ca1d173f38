/* Gives every node its own block of pod addresses: spec.podCIDR. The nodes themselves are the
 * record of what is taken. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "controller-manager/cidr_set.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"

struct node_ipam {
    struct informer *nodes;
    struct recorder *recorder;
    pthread_mutex_t lock; /* of the set */
    struct cidr_set set;
    bool enabled;
};

static void each_cidr(struct node_ipam *s, const cJSON *node,
                      bool (*fn)(struct cidr_set *, const char *))
{
    const cJSON *list = json_path(node, "spec.podCIDRs"), *item;
    const char *one = json_str(node, "spec.podCIDR");
    pthread_mutex_lock(&s->lock);
    if (s->enabled) {
        cJSON_ArrayForEach(item, list) if (cJSON_IsString(item)) fn(&s->set, item->valuestring);
        if (one)
            fn(&s->set, one);
    }
    pthread_mutex_unlock(&s->lock);
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct node_ipam *s = c->state;
    cleanup_object struct kube_object *node = informer_get(s->nodes, key);
    if (!s->enabled || !node || meta_deleting(node->json))
        return true;
    if (*json_str_or(node->json, "spec.podCIDR", "")) {
        each_cidr(s, node->json, cidr_set_occupy);
        return true;
    }
    /* The cache may be behind: a node that has its block by now must not take a second one. */
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, key, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *live = kube_get(c->client, path, &e);
    if (!live) {
        if (kube_error_is(e, "NotFound"))
            return true;
        error_move(err, e);
        e = NULL;
        return false;
    }
    if (*json_str_or(live, "spec.podCIDR", "")) {
        each_cidr(s, live, cidr_set_occupy);
        return true;
    }
    char cidr[CIDR_TEXT_MAX];
    pthread_mutex_lock(&s->lock);
    bool got = cidr_set_allocate(&s->set, cidr);
    pthread_mutex_unlock(&s->lock);
    if (!got) {
        recorder_event(s->recorder, node->json, "Normal", "CIDRNotAvailable",
                       "Node %s status is now: CIDRNotAvailable", key);
        error_setf(err, "no pod CIDR is left for node %s", key);
        return false;
    }
    cleanup_json cJSON *patch = cJSON_CreateObject();
    /* Without a resourceVersion: kubelets write their node all the time, and the API lets nobody
     * change a podCIDR that is set. */
    json_set_str(patch, "metadata.uid", meta_uid(live));
    json_set_str(patch, "spec.podCIDR", cidr);
    cJSON_AddItemToArray(json_ensure_array(patch, "spec.podCIDRs"), cJSON_CreateString(cidr));
    cleanup_json cJSON *answer = kube_merge_patch(c->client, path, patch, &e);
    if (answer) {
        log_info("Assigned a pod CIDR", "node", key, "podCIDR", cidr);
        return true;
    }
    /* A refused write took nothing. When nobody knows, the block stays taken until the node shows
     * that it has another. */
    if (e->code >= 400 && e->code < 500) {
        pthread_mutex_lock(&s->lock);
        cidr_set_release(&s->set, cidr);
        pthread_mutex_unlock(&s->lock);
    }
    if (!kube_error_is(e, "Conflict"))
        recorder_event(s->recorder, node->json, "Normal", "CIDRAssignmentFailed",
                       "Node %s status is now: CIDRAssignmentFailed", key);
    error_move(err, e);
    e = NULL;
    return false;
}

static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct node_ipam *s = c->state;
    if (event == INFORMER_DELETED) {
        each_cidr(s, old->json, cidr_set_release);
        return;
    }
    each_cidr(s, new_object->json, cidr_set_occupy);
    if (!*json_str_or(new_object->json, "spec.podCIDR", ""))
        workqueue_add(c->queue, new_object->key);
}

static void setup(struct controller *c)
{
    struct node_ipam *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->recorder = manager_recorder(c->manager, "cidrAllocator");
    const struct manager_options *o = manager_config(c->manager);
    if (o->cluster_cidr && *o->cluster_cidr) {
        cleanup_error struct error *e = NULL;
        s->enabled = cidr_set_init(&s->set, o->cluster_cidr, o->node_cidr_mask_size, &e);
        if (!s->enabled)
            log_error("No pod CIDRs will be assigned", "err", error_message(e));
        else if (o->service_cidr && *o->service_cidr)
            cidr_set_occupy(&s->set, o->service_cidr);
    }
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    informer_add_handler(s->nodes, on_node, c);
}

static void free_state(struct controller *c)
{
    struct node_ipam *s = c->state;
    cidr_set_free(&s->set);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type node_ipam_controller = {.name = "node-ipam-controller",
                                                     .queue = "cidrallocator_node",
                                                     .workers = 1,
                                                     .setup = setup,
                                                     .reconcile = reconcile,
                                                     .free_state = free_state};
