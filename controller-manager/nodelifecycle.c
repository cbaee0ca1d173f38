/* Watches over nodes: one that stops posting status or renewing its Lease becomes Unknown, gets
 * tainted, and its pods count as not ready. Three queues: the nodes' taints, a clock, and pods.
 * https://kubernetes.io/docs/concepts/architecture/nodes/#node-controller */
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

#define LEASE_NAMESPACE "kube-node-lease"
#define MONITOR_KEY     "monitor"
enum { LARGE_ZONE = 50 };

struct node_health {
    char *seen; /* what the last sign of life looked like: heartbeats and the Lease's renewal */
    int64_t probe_ms; /* monotonic time of that sign */
    char *renewed;    /* renewTime of the Lease when the API was asked directly */
    char *zone;
};

struct zone {
    enum zone_state state;
    size_t ready, not_ready;
    int64_t next_eviction_ms; /* rate limit of NoExecute taints */
};

struct node_lifecycle {
    struct informer *nodes, *leases, *pods;
    struct recorder *recorder;
    struct controller *pods_controller; /* may be NULL */
    /* The clock's own: it has one worker. */
    struct strmap health, zones;
    bool all_disrupted;
    bool blind;           /* the API could not be asked: silence of nodes may be ours */
    int64_t last_tick_ms; /* 0 before the first */
};

/* --- taints --- */

static bool write_taints(struct controller *c, const struct kube_object *node, cJSON *taints_taken,
                         struct error **err)
{
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.resourceVersion", node->resource_version);
    if (taints_taken->child) {
        json_set(patch, "spec.taints", taints_taken);
    } else {
        json_set(patch, "spec.taints", cJSON_CreateNull());
        cJSON_Delete(taints_taken);
    }
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, node->name, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_merge_patch(c->client, path, patch, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

/* NoSchedule taints follow conditions at once; a node that is ready loses its NoExecute taints at
 * once, too. Adding those is the clock's business, which limits their rate. */
static bool reconcile_node(struct controller *c, const char *key, struct error **err)
{
    struct node_lifecycle *s = c->state;
    cleanup_object struct kube_object *node = informer_get(s->nodes, key);
    if (!node || meta_deleting(node->json))
        return true;
    char now[TIME_TEXT_MAX];
    time_now_text(now);
    const cJSON *taints = json_path(node->json, "spec.taints");
    cJSON *changed = taints_for_conditions(node->json, taints, now);
    if (strcmp(node_ready_status(node->json), "True") == 0) {
        cJSON *reachable = taints_for_eviction(changed ? changed : taints, NULL, now);
        if (reachable) {
            cJSON_Delete(changed);
            changed = reachable;
        }
    }
    return !changed || write_taints(c, node, changed, err);
}

/* --- the clock --- */

static void health_free(void *p)
{
    struct node_health *h = p;
    free(h->seen);
    free(h->renewed);
    free(h->zone);
    free(h);
}

static char *sign_of_life(struct node_lifecycle *s, const struct kube_object *node)
{
    cleanup_object struct kube_object *lease =
        informer_get_ns(s->leases, LEASE_NAMESPACE, node->name);
    const cJSON *ready = condition_find(json_path(node->json, "status.conditions"), "Ready");
    /* A status that we wrote ourselves is no sign of the kubelet's life: it leaves
     * lastHeartbeatTime alone. */
    return mem_printf("%s %s", json_str_or(ready, "lastHeartbeatTime", ""),
                      json_str_or(lease ? lease->json : NULL, "spec.renewTime", ""));
}

static struct node_health *health_of(struct controller *c, const struct kube_object *node)
{
    struct node_lifecycle *s = c->state;
    struct node_health *h = strmap_get(&s->health, node->name);
    if (!h) {
        h = mem_alloc(sizeof(*h));
        strmap_put(&s->health, node->name, h);
        recorder_event(s->recorder, node->json, "Normal", "RegisteredNode",
                       "Node %s event: Registered Node %s in Controller", node->name, node->name);
    }
    cleanup_free char *sign = sign_of_life(s, node);
    if (!h->seen || strcmp(h->seen, sign) != 0) {
        free(h->seen);
        h->seen = sign;
        sign = NULL;
        h->probe_ms = time_monotonic_ms();
    }
    const cJSON *labels = meta_labels(node->json);
    const char *region = json_map_str(labels, "topology.kubernetes.io/region");
    const char *zone = json_map_str(labels, "topology.kubernetes.io/zone");
    free(h->zone);
    h->zone = mem_printf("%s:%s", region ? region : "", zone ? zone : "");
    return h;
}

/* Turns conditions to Unknown that nobody vouches for any more. Returns the changed node, or NULL.
 */
static cJSON *with_unknown_conditions(const cJSON *node)
{
    static const char *const types[] = {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"};
    cJSON *changed = json_dup(node);
    cJSON *conditions = json_ensure_array(changed, "status.conditions");
    bool any = false;
    char now[TIME_TEXT_MAX];
    time_now_text(now);
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        cJSON *c = condition_find(conditions, types[i]);
        if (!c) {
            c = cJSON_CreateObject();
            json_map_set_str(c, "type", types[i]);
            json_map_set_str(c, "status", "Unknown");
            json_map_set_str(c, "reason", "NodeStatusNeverUpdated");
            json_map_set_str(c, "message", "Kubelet never posted node status.");
            json_map_set_str(c, "lastHeartbeatTime", json_str(node, "metadata.creationTimestamp"));
            json_map_set_str(c, "lastTransitionTime", now);
            cJSON_AddItemToArray(conditions, c);
            any = true;
        } else if (strcmp(json_str_or(c, "status", ""), "Unknown") != 0) {
            json_map_set_str(c, "status", "Unknown");
            json_map_set_str(c, "reason", "NodeStatusUnknown");
            json_map_set_str(c, "message", "Kubelet stopped posting node status.");
            json_map_set_str(c, "lastTransitionTime", now);
            any = true;
        }
    }
    if (any)
        return changed;
    cJSON_Delete(changed);
    return NULL;
}

static void enqueue_pods_of(struct node_lifecycle *s, const char *node_name)
{
    if (!s->pods_controller)
        return;
    cleanup_objects struct kube_object_list pods = {0};
    informer_by_index(s->pods, "node", node_name, &pods);
    for (size_t i = 0; i < pods.count; i++)
        workqueue_add(s->pods_controller->queue, pods.items[i]->key);
}

/* We could not see for a while: every node gets its whole time again. */
static void restart_all_timers(struct node_lifecycle *s)
{
    size_t position = 0;
    const struct strmap_entry *e;
    while ((e = strmap_next(&s->health, &position)))
        ((struct node_health *)e->value)->probe_ms = time_monotonic_ms();
    s->blind = false;
}

/* Asks the API itself before a node is given up: our cache may be behind, or the API may have been
 * away, in which case no kubelet could have reported. True when the node is silent indeed. */
static bool really_silent(struct controller *c, struct node_health *h, const char *name)
{
    struct node_lifecycle *s = c->state;
    cleanup_free char *path =
        kube_path_new("coordination.k8s.io/v1", "leases", LEASE_NAMESPACE, name, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *lease = kube_get(c->client, path, &e);
    if (!lease && !kube_error_is(e, "NotFound")) {
        s->blind = true;
        return false;
    }
    if (s->blind) {
        log_info("The API answers again: all nodes' timers are restarted");
        restart_all_timers(s);
        return false;
    }
    const char *renewed = json_str_or(lease, "spec.renewTime", "");
    cleanup_object struct kube_object *cached = informer_get_ns(s->leases, LEASE_NAMESPACE, name);
    const char *known = json_str_or(cached ? cached->json : NULL, "spec.renewTime", "");
    if (strcmp(renewed, known) == 0 || (h->renewed && strcmp(renewed, h->renewed) == 0))
        return true;
    free(h->renewed);
    h->renewed = mem_strdup(renewed);
    h->probe_ms = time_monotonic_ms();
    return false;
}

/* Returns the status of Ready after this look; *node is replaced when it was written. */
static const char *check_node(struct controller *c, struct kube_object **node)
{
    struct node_lifecycle *s = c->state;
    const struct manager_options *o = manager_config(c->manager);
    struct node_health *h = health_of(c, *node);
    const char *ready = node_ready_status((*node)->json);
    int64_t grace = *ready ? o->node_monitor_grace_period_ms : o->node_startup_grace_period_ms;
    if (time_monotonic_ms() - h->probe_ms <= grace)
        return ready;
    cleanup_json cJSON *changed = with_unknown_conditions((*node)->json);
    if (!changed || !really_silent(c, h, (*node)->name))
        return ready;
    bool was_ready = strcmp(ready, "True") == 0;
    cleanup_error struct error *e = NULL;
    cJSON *answer = update_status(c->client, "v1", "nodes", changed, &e);
    if (!answer) {
        log_warn("Cannot update the status of a node", "node", (*node)->name, "err",
                 error_message(e));
        return ready; /* the next tick tries again */
    }
    log_info("Node has stopped posting its status", "node", (*node)->name);
    kube_object_unref(*node);
    *node = kube_object_new(answer);
    if (was_ready) {
        recorder_event(s->recorder, (*node)->json, "Normal", "NodeNotReady",
                       "Node %s status is now: NodeNotReady", (*node)->name);
        enqueue_pods_of(s, (*node)->name);
    }
    return node_ready_status((*node)->json);
}

/* False when it was not written: somebody else has changed the node meanwhile; the clock comes
 * again soon. */
static bool set_eviction_taint(struct controller *c, const struct kube_object *node,
                               const char *taint)
{
    enum { RETRY_MS = 50 };
    char now[TIME_TEXT_MAX];
    cJSON *taints =
        taints_for_eviction(json_path(node->json, "spec.taints"), taint, time_now_text(now));
    cleanup_error struct error *e = NULL;
    if (!taints || write_taints(c, node, taints, &e))
        return true;
    if (!kube_error_is(e, "Conflict"))
        log_warn("Cannot taint a node", "node", node->name, "err", error_message(e));
    workqueue_add_after(c->queue, MONITOR_KEY, RETRY_MS);
    return false;
}

static void forget_gone_nodes(struct node_lifecycle *s)
{
    bool again = true;
    while (again) {
        again = false;
        size_t position = 0;
        const struct strmap_entry *e;
        while ((e = strmap_next(&s->health, &position))) {
            cleanup_object struct kube_object *node = informer_get(s->nodes, e->key);
            if (node)
                continue;
            cleanup_free char *name = mem_strdup(e->key);
            health_free(strmap_remove(&s->health, name));
            again = true;
            break;
        }
    }
}

/* How many milliseconds must pass between two NoExecute taints in a zone; -1: none at all. */
static int64_t eviction_interval(struct node_lifecycle *s, const struct zone *z, double rate)
{
    if (s->all_disrupted || rate <= 0)
        return -1;
    if (z->state == ZONE_PARTIAL_DISRUPTION) {
        if (z->ready + z->not_ready <= LARGE_ZONE)
            return -1; /* rather us than the nodes, says Kubernetes of a small zone that fails in
                          large part */
        rate /= 10;
    }
    return (int64_t)(1000 / rate);
}

static void update_zones(struct node_lifecycle *s, struct kube_object **nodes, const char **ready,
                         size_t count)
{
    size_t position = 0;
    const struct strmap_entry *e;
    while ((e = strmap_next(&s->zones, &position)))
        ((struct zone *)e->value)->ready = ((struct zone *)e->value)->not_ready = 0;
    for (size_t i = 0; i < count; i++) {
        struct node_health *h = strmap_get(&s->health, nodes[i]->name);
        struct zone *z = strmap_get(&s->zones, h->zone);
        if (!z) {
            z = mem_alloc(sizeof(*z));
            strmap_put(&s->zones, h->zone, z);
        }
        if (strcmp(ready[i], "True") == 0)
            z->ready++;
        else
            z->not_ready++;
    }
    bool all = count > 0;
    position = 0;
    while ((e = strmap_next(&s->zones, &position))) {
        struct zone *z = e->value;
        z->state = zone_state_of(z->ready, z->not_ready);
        all = all && (z->state == ZONE_FULL_DISRUPTION || z->ready + z->not_ready == 0);
    }
    if (all != s->all_disrupted)
        log_info(all ? "All nodes are unhealthy: rather our network than they; nothing is evicted"
                     : "Some nodes are healthy again: evictions are possible");
    s->all_disrupted = all;
}

static bool reconcile_monitor(struct controller *c, const char *key, struct error **err)
{
    struct node_lifecycle *s = c->state;
    (void)err;
    const struct manager_options *o = manager_config(c->manager);
    /* A tick that is very late (the process was stopped, or hung on the API) is blindness, too. */
    int64_t tick_ms = time_monotonic_ms();
    if (s->last_tick_ms &&
        tick_ms - s->last_tick_ms > o->node_monitor_period_ms + o->node_monitor_grace_period_ms / 2)
        restart_all_timers(s);
    s->last_tick_ms = tick_ms;
    workqueue_add_after(c->queue, key, o->node_monitor_period_ms);
    forget_gone_nodes(s);
    cleanup_objects struct kube_object_list nodes = {0};
    informer_list(s->nodes, &nodes);
    cleanup_free const char **ready = mem_alloc((nodes.count + 1) * sizeof(*ready));
    for (size_t i = 0; i < nodes.count && !manager_stopping(c->manager); i++)
        ready[i] = check_node(c, &nodes.items[i]);
    if (manager_stopping(c->manager))
        return true;
    update_zones(s, nodes.items, ready, nodes.count);
    for (size_t i = 0; i < nodes.count; i++) {
        struct kube_object *node = nodes.items[i];
        struct zone *z =
            strmap_get(&s->zones, ((struct node_health *)strmap_get(&s->health, node->name))->zone);
        const char *taint = strcmp(ready[i], "False") == 0     ? TAINT_NOT_READY
                            : strcmp(ready[i], "Unknown") == 0 ? TAINT_UNREACHABLE
                                                               : NULL;
        const cJSON *taints = json_path(node->json, "spec.taints");
        bool tainted = false;
        const cJSON *t;
        cJSON_ArrayForEach(t, taints)
        {
            struct taint x = taint_from_json(t);
            tainted =
                tainted ||
                (strcmp(x.effect, "NoExecute") == 0 &&
                 (strcmp(x.key, TAINT_NOT_READY) == 0 || strcmp(x.key, TAINT_UNREACHABLE) == 0));
        }
        if (!taint || s->all_disrupted) {
            if (tainted)
                set_eviction_taint(c, node, NULL);
            continue;
        }
        int64_t interval = eviction_interval(s, z, o->node_eviction_rate);
        if (!tainted && (interval < 0 || tick_ms < z->next_eviction_ms))
            continue;
        if (set_eviction_taint(c, node, taint) && !tainted)
            z->next_eviction_ms = tick_ms + interval;
    }
    return true;
}

/* --- pods --- */

static bool reconcile_pod(struct controller *c, const char *key, struct error **err)
{
    struct node_lifecycle *s = c->state;
    cleanup_object struct kube_object *pod = informer_get(s->pods, key);
    if (!pod || !pod_ready(pod->json))
        return true;
    const char *node_name = json_str_or(pod->json, "spec.nodeName", "");
    /* The clock may have written the node a moment ago; ask for the newest. */
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, node_name, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *node = *node_name ? kube_get(c->client, path, &e) : NULL;
    if (!node || strcmp(node_ready_status(node), "") == 0 ||
        strcmp(node_ready_status(node), "True") == 0)
        return true;
    cleanup_json cJSON *changed = json_dup(pod->json);
    cJSON *ready = condition_find(json_path(changed, "status.conditions"), "Ready");
    char now[TIME_TEXT_MAX];
    json_map_set_str(ready, "status", "False");
    json_map_set_str(ready, "lastTransitionTime", time_now_text(now));
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", pod->uid);
    json_set_str(patch, "metadata.resourceVersion", pod->resource_version);
    json_set(patch, "status.conditions", json_dup(json_path(changed, "status.conditions")));
    cleanup_free char *pod_path = kube_path_new("v1", "pods", pod->ns, pod->name, "status");
    cleanup_error struct error *e2 = NULL;
    cleanup_json cJSON *answer = kube_merge_patch(c->client, pod_path, patch, &e2);
    if (answer) {
        recorder_event(s->recorder, pod->json, "Warning", "NodeNotReady", "Node is not ready");
        return true;
    }
    if (kube_error_is(e2, "NotFound"))
        return true;
    error_move(err, e2);
    e2 = NULL;
    return false;
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct node_lifecycle *s = c->state;
    if (event == INFORMER_DELETED || !pod_ready(new_object->json))
        return;
    const char *node_name = json_str_or(new_object->json, "spec.nodeName", "");
    if (!*node_name || (old && strcmp(json_str_or(old->json, "spec.nodeName", ""), node_name) == 0))
        return;
    cleanup_object struct kube_object *node = informer_get(s->nodes, node_name);
    if (node && strcmp(node_ready_status(node->json), "True") != 0)
        workqueue_add(c->queue, new_object->key);
}

/* --- setup: each of the three has its own small state, pointing to the shared informers --- */

static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct node_lifecycle *s = c->state;
    if (event == INFORMER_DELETED)
        recorder_event(s->recorder, old->json, "Normal", "RemovingNode",
                       "Node %s event: Removing Node %s from Controller", old->name, old->name);
    else
        workqueue_add(c->queue, new_object->key);
}

static struct node_lifecycle *setup_common(struct controller *c)
{
    struct node_lifecycle *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->recorder = manager_recorder(c->manager, "node-controller");
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    s->pods = manager_informer(c->manager, "v1", "pods");
    s->leases = manager_informer(c->manager, "coordination.k8s.io/v1", "leases");
    manager_index(c->manager, s->pods, "node", informer_index_node_name);
    return s;
}

static void setup_nodes(struct controller *c)
{
    struct node_lifecycle *s = setup_common(c);
    informer_add_handler(s->nodes, on_node, c);
}

/* A new node is registered, and a silent one's timer starts, at its first sight rather than at the
 * next tick. */
static void on_new_node(void *userdata, enum informer_event event, const struct kube_object *old,
                        const struct kube_object *new_object)
{
    struct controller *c = userdata;
    (void)old;
    (void)new_object;
    if (event == INFORMER_ADDED)
        workqueue_add(c->queue, MONITOR_KEY);
}

static void setup_monitor(struct controller *c)
{
    struct node_lifecycle *s = setup_common(c);
    informer_add_handler(s->nodes, on_new_node, c);
}

static void start_monitor(struct controller *c)
{
    struct node_lifecycle *s = c->state;
    s->pods_controller = manager_controller(c->manager, "node-lifecycle-pods");
    workqueue_add(c->queue, MONITOR_KEY);
}

static void setup_pods(struct controller *c)
{
    struct node_lifecycle *s = setup_common(c);
    informer_add_handler(s->pods, on_pod, c);
}

static void free_state(struct controller *c)
{
    struct node_lifecycle *s = c->state;
    strmap_clear(&s->health, health_free);
    strmap_clear(&s->zones, free);
    free(s);
}

const struct controller_type node_lifecycle_controller = {.name = "node-lifecycle-controller",
                                                          .queue = "node_lifecycle_controller",
                                                          .workers = 1,
                                                          .setup = setup_nodes,
                                                          .reconcile = reconcile_node,
                                                          .free_state = free_state};
const struct controller_type node_monitor_controller = {.name = "node-lifecycle-monitor",
                                                        .part_of = "node-lifecycle-controller",
                                                        .queue =
                                                            "node_lifecycle_controller_monitor",
                                                        .workers = 1,
                                                        .setup = setup_monitor,
                                                        .start = start_monitor,
                                                        .reconcile = reconcile_monitor,
                                                        .free_state = free_state};
const struct controller_type node_pods_controller = {.name = "node-lifecycle-pods",
                                                     .part_of = "node-lifecycle-controller",
                                                     .queue = "node_lifecycle_controller_pods",
                                                     .workers = 1,
                                                     .setup = setup_pods,
                                                     .reconcile = reconcile_pod,
                                                     .free_state = free_state};
