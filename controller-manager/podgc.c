/* Removes pods that nobody else will: those of nodes that are gone, those that end without ever
 * having been scheduled, those of nodes marked out of service, and, when there are very many of
 * them, terminated ones.
 * https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-garbage-collection */
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

#define TICK "tick"

struct pod_gc {
    struct informer *nodes, *pods;
    struct strmap missing_nodes; /* name -> monotonic ms since when it is missing */
};

static bool remove_pod(struct controller *c, const struct kube_object *pod, const char *message)
{
    cleanup_error struct error *e = NULL;
    log_info("Removing a pod", "pod", pod->key, "why",
             message ? message : "terminated or never scheduled");
    bool terminal = pod_terminal(pod->json);
    bool marked =
        !message ? terminal || patch_pod_condition(c->client, pod->json, "Failed",
                                                   "DisruptionTarget", "True", "DeletionByPodGC",
                                                   "PodGC: unscheduled terminating pod", &e)
                 : patch_pod_condition(c->client, pod->json, terminal ? NULL : "Failed",
                                       "DisruptionTarget", "True", "DeletionByPodGC", message, &e);
    if (marked && delete_pod(c->client, pod->json, 0, &e))
        return true;
    log_warn("Cannot remove a pod", "pod", pod->key, "err", error_message(e));
    return false;
}

/* Evicted pods first, then by age. */
static int compare_age(const void *pa, const void *pb)
{
    const struct kube_object *a = *(struct kube_object *const *)pa,
                             *b = *(struct kube_object *const *)pb;
    bool evicted_a = strcmp(json_str_or(a->json, "status.reason", ""), "Evicted") == 0;
    bool evicted_b = strcmp(json_str_or(b->json, "status.reason", ""), "Evicted") == 0;
    if (evicted_a != evicted_b)
        return evicted_a ? -1 : 1;
    int64_t ta = meta_created(a->json), tb = meta_created(b->json);
    return ta != tb ? (ta < tb ? -1 : 1) : strcmp(a->key, b->key);
}

static void collect_terminated(struct controller *c, const struct kube_object_list *pods)
{
    int64_t threshold = manager_config(c->manager)->terminated_pod_gc_threshold;
    if (threshold <= 0)
        return;
    cleanup_free struct kube_object **terminated =
        mem_alloc((pods->count + 1) * sizeof(*terminated));
    size_t count = 0;
    for (size_t i = 0; i < pods->count; i++)
        if (pod_terminal(pods->items[i]->json))
            terminated[count++] = pods->items[i];
    if ((int64_t)count <= threshold)
        return;
    qsort(terminated, count, sizeof(*terminated), compare_age);
    for (size_t i = 0; i < count - (size_t)threshold && !manager_stopping(c->manager); i++)
        remove_pod(c, terminated[i], NULL);
}

static bool out_of_service(const cJSON *node)
{
    if (strcmp(node_ready_status(node), "True") == 0)
        return false;
    const cJSON *t;
    cJSON_ArrayForEach(t, json_path(node, "spec.taints")) if (strcmp(taint_from_json(t).key,
                                                                     TAINT_OUT_OF_SERVICE) ==
                                                              0) return true;
    return false;
}

/* True when the node has been missing for the quarantine and the API says so, too. */
static bool node_gone(struct controller *c, const char *name)
{
    struct pod_gc *s = c->state;
    int64_t now = time_monotonic_ms();
    intptr_t since = (intptr_t)strmap_get(&s->missing_nodes, name);
    if (!since) {
        since = (intptr_t)now;
        strmap_put(&s->missing_nodes, name, (void *)since);
    }
    if (now - since < manager_config(c->manager)->pod_gc_quarantine_ms)
        return false;
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, name, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *live = kube_get(c->client, path, &e);
    return !live && kube_error_is(e, "NotFound");
}

static void forget_known_nodes(struct pod_gc *s)
{
    cleanup_objects struct kube_object_list nodes = {0};
    informer_list(s->nodes, &nodes);
    for (size_t i = 0; i < nodes.count; i++)
        strmap_remove(&s->missing_nodes, nodes.items[i]->name);
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct pod_gc *s = c->state;
    (void)err;
    workqueue_add_after(c->queue, key, manager_config(c->manager)->pod_gc_period_ms);
    forget_known_nodes(s);
    cleanup_objects struct kube_object_list pods = {0};
    informer_list(s->pods, &pods);
    collect_terminated(c, &pods);
    for (size_t i = 0; i < pods.count && !manager_stopping(c->manager); i++) {
        const struct kube_object *pod = pods.items[i];
        const char *node_name = json_str_or(pod->json, "spec.nodeName", "");
        if (!*node_name) {
            if (meta_deleting(pod->json))
                remove_pod(c, pod, NULL);
            continue;
        }
        cleanup_object struct kube_object *node = informer_get(s->nodes, node_name);
        if (!node && node_gone(c, node_name))
            remove_pod(c, pod, "PodGC: node no longer exists");
        else if (node && meta_deleting(pod->json) && out_of_service(node->json))
            remove_pod(c, pod, "PodGC: node is out-of-service");
    }
    return true;
}

static void start(struct controller *c)
{
    workqueue_add(c->queue, TICK);
}

static void setup(struct controller *c)
{
    struct pod_gc *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    s->pods = manager_informer(c->manager, "v1", "pods");
}

static void free_state(struct controller *c)
{
    struct pod_gc *s = c->state;
    strmap_clear(&s->missing_nodes, NULL);
    free(s);
}

const struct controller_type pod_gc_controller = {.name = "pod-garbage-collector-controller",
                                                  .queue = "pod_garbage_collector",
                                                  .workers = 1,
                                                  .setup = setup,
                                                  .start = start,
                                                  .reconcile = reconcile,
                                                  .free_state = free_state};
