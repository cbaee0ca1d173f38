/* Deletes pods from nodes with NoExecute taints that they do not, or no longer, tolerate. The time
 * of a toleration counts from when the taint was added, so another leader goes on where this one
 * stopped. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/controller.h"
#include "controller-manager/node_taints.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/strmap.h"

struct taint_eviction {
    struct informer *nodes, *pods;
    struct recorder *recorder;
    pthread_mutex_t lock;
    struct strmap scheduled; /* keys of pods that wait for their end; value: not NULL */
};

static bool set_scheduled(struct taint_eviction *s, const char *key, bool scheduled)
{
    pthread_mutex_lock(&s->lock);
    bool before = scheduled ? strmap_put(&s->scheduled, key, s) != NULL
                            : strmap_remove(&s->scheduled, key) != NULL;
    pthread_mutex_unlock(&s->lock);
    return before;
}

static bool evict(struct controller *c, const struct kube_object *pod, struct error **err)
{
    struct taint_eviction *s = c->state;
    log_info("Deleting a pod that does not tolerate its node's taints", "pod", pod->key);
    recorder_event(s->recorder, pod->json, "Normal", "TaintManagerEviction",
                   "Marking for deletion Pod %s", pod->key);
    return patch_pod_condition(c->client, pod->json, NULL, "DisruptionTarget", "True",
                               "DeletionByTaintManager",
                               "Taint manager: deleting due to NoExecute taint", err) &&
           delete_pod(c->client, pod->json, -1, err);
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct taint_eviction *s = c->state;
    cleanup_object struct kube_object *pod = informer_get(s->pods, key);
    const char *node_name = pod ? json_str_or(pod->json, "spec.nodeName", "") : "";
    if (!pod || !*node_name || meta_deleting(pod->json) || pod_terminal(pod->json)) {
        set_scheduled(s, key, false);
        return true;
    }
    cleanup_object struct kube_object *node = informer_get(s->nodes, node_name);
    const cJSON *taints = json_path(node ? node->json : NULL, "spec.taints");
    int64_t now = time_now_seconds(), seconds = 0, since = now;
    switch (pod_eviction(pod->json, taints, now, &seconds, &since)) {
    case EVICT_NEVER:
        if (set_scheduled(s, key, false))
            recorder_event(s->recorder, pod->json, "Normal", "TaintManagerEviction",
                           "Cancelling deletion of Pod %s", pod->key);
        return true;
    case EVICT_NOW:
        set_scheduled(s, key, false);
        return evict(c, pod, err);
    case EVICT_LATER:
        break;
    }
    /* A pod that came when the taint was there has its whole time. */
    int64_t created = meta_created(pod->json);
    since = created > since && created <= now ? created : since;
    if (since + seconds <= now) {
        set_scheduled(s, key, false);
        return evict(c, pod, err);
    }
    set_scheduled(s, key, true);
    workqueue_add_after(c->queue, key, (since + seconds - now) * 1000);
    return true;
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct taint_eviction *s = c->state;
    if (event == INFORMER_DELETED) {
        set_scheduled(s, old->key, false);
        return;
    }
    const char *node_name = json_str_or(new_object->json, "spec.nodeName", "");
    if (!*node_name)
        return;
    const cJSON *before = old ? json_path(old->json, "spec.tolerations") : NULL;
    const cJSON *after = json_path(new_object->json, "spec.tolerations");
    bool same = old && strcmp(json_str_or(old->json, "spec.nodeName", ""), node_name) == 0 &&
                (before == after || json_equal(before, after));
    cleanup_object struct kube_object *node = same ? NULL : informer_get(s->nodes, node_name);
    if (node && has_no_execute_taint(json_path(node->json, "spec.taints")))
        workqueue_add(c->queue, new_object->key);
}

static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct taint_eviction *s = c->state;
    if (event == INFORMER_DELETED)
        return;
    const cJSON *before = old ? json_path(old->json, "spec.taints") : NULL,
                *after = json_path(new_object->json, "spec.taints");
    if (before == after || (before && after && json_equal(before, after)) ||
        (!has_no_execute_taint(before) && !has_no_execute_taint(after)))
        return;
    cleanup_objects struct kube_object_list pods = {0};
    informer_by_index(s->pods, "node", new_object->name, &pods);
    for (size_t i = 0; i < pods.count; i++)
        workqueue_add(c->queue, pods.items[i]->key);
}

/* Handlers of one informer may have run before the other had synced. */
static void start(struct controller *c)
{
    struct taint_eviction *s = c->state;
    cleanup_objects struct kube_object_list nodes = {0};
    informer_list(s->nodes, &nodes);
    for (size_t i = 0; i < nodes.count; i++) {
        if (!has_no_execute_taint(json_path(nodes.items[i]->json, "spec.taints")))
            continue;
        cleanup_objects struct kube_object_list pods = {0};
        informer_by_index(s->pods, "node", nodes.items[i]->name, &pods);
        for (size_t p = 0; p < pods.count; p++)
            workqueue_add(c->queue, pods.items[p]->key);
    }
}

static void setup(struct controller *c)
{
    struct taint_eviction *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->recorder = manager_recorder(c->manager, "taint-eviction-controller");
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    s->pods = manager_informer(c->manager, "v1", "pods");
    manager_index(c->manager, s->pods, "node", informer_index_node_name);
    informer_add_handler(s->nodes, on_node, c);
    informer_add_handler(s->pods, on_pod, c);
}

static void free_state(struct controller *c)
{
    struct taint_eviction *s = c->state;
    strmap_clear(&s->scheduled, NULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type taint_eviction_controller = {.name = "taint-eviction-controller",
                                                          .queue = "noexec_taint_pod",
                                                          .workers = 2,
                                                          .setup = setup,
                                                          .start = start,
                                                          .reconcile = reconcile,
                                                          .free_state = free_state};
