#include "scheduler/scheduler.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/informer.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/recorder.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "scheduler/algorithm.h"
#include "scheduler/binder.h"
#include "scheduler/metrics.h"
#include "scheduler/volumes.h"

struct scheduler {
    struct kube_client *client;
    char *name;
    struct cache cache;
    struct queue *queue;
    struct recorder *recorder;
    struct binder *binder; /* while running */
    pthread_mutex_t binder_lock; /* for who does not belong to the running part */
    struct informer *pods, *nodes, *namespaces;
    struct owners owners;
    pthread_t thread;
    bool running;
    unsigned seed;
};

/* --- what the watches bring --- */

static bool is_ours(const struct scheduler *s, const cJSON *pod)
{
    return !strcmp(json_str_or(pod, "spec.schedulerName", "default-scheduler"), s->name);
}

static void forget_pod(struct scheduler *s, const struct kube_object *o)
{
    const char *uid = *o->uid ? o->uid : o->key;
    cache_lock(&s->cache);
    bool was_on_node = cache_remove_pod(&s->cache, uid);
    struct pod_info *p = NULL;
    if (cache_nominated_node(&s->cache, uid)) {
        p = pod_info_new((struct kube_object *)(uintptr_t)o);
        cache_nominate(&s->cache, p, NULL);
    }
    cache_unlock(&s->cache);
    pod_info_unref(p);
    queue_remove(s->queue, uid);
    if (was_on_node || p)
        queue_event(s->queue, EVENT_POD_DELETE);
}

static void take_pod(struct scheduler *s, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    if (event == INFORMER_DELETED) {
        forget_pod(s, old);
        return;
    }
    if (pod_object_terminal(new_object->json)) {
        forget_pod(s, new_object);
        return;
    }
    cleanup_pod struct pod_info *p = pod_info_new((struct kube_object *)(uintptr_t)new_object);
    if (*p->node_name) {
        cache_lock(&s->cache);
        unsigned change = cache_set_pod(&s->cache, p);
        cache_nominate(&s->cache, p, NULL);
        cache_unlock(&s->cache);
        queue_remove(s->queue, p->uid);
        queue_event(s->queue, change);
    } else if (is_ours(s, new_object->json)) {
        if (p->terminating) {
            forget_pod(s, new_object); /* it will never run */
            return;
        }
        cache_lock(&s->cache);
        if (*p->nominated_node && !cache_nominated_node(&s->cache, p->uid))
            cache_nominate(&s->cache, p, p->nominated_node);
        cache_unlock(&s->cache);
        queue_set(s->queue, p);
    }
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct scheduler *s = userdata;
    take_pod(s, event, old, new_object);
    metrics_pending(queue_count(s->queue));
}

static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct scheduler *s = userdata;
    unsigned change = EVENT_NODE_DELETE;
    cache_lock(&s->cache);
    if (event == INFORMER_DELETED)
        cache_remove_node(&s->cache, old->name);
    else
        change = cache_set_node(&s->cache, (struct kube_object *)(uintptr_t)new_object);
    cache_unlock(&s->cache);
    queue_event(s->queue, change);
}

static void on_namespace(void *userdata, enum informer_event event, const struct kube_object *old,
                         const struct kube_object *new_object)
{
    struct scheduler *s = userdata;
    cache_lock(&s->cache);
    if (event == INFORMER_DELETED)
        cache_set_namespace(&s->cache, NULL, old->name);
    else
        cache_set_namespace(&s->cache, (struct kube_object *)(uintptr_t)new_object, new_object->name);
    cache_unlock(&s->cache);
}

/* Of volumes, claims and classes: what waits for them looks again, here and in the binder. */
static void on_volume(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *new_object)
{
    struct scheduler *s = userdata;
    (void)event, (void)old, (void)new_object;
    queue_event(s->queue, EVENT_VOLUME);
    pthread_mutex_lock(&s->binder_lock);
    if (s->binder)
        binder_volumes_changed(s->binder);
    pthread_mutex_unlock(&s->binder_lock);
}

/* --- one pod after the other --- */

static void handle_failure(struct scheduler *s, struct queued_pod *qp, const struct outcome *o,
                           int64_t started)
{
    struct pod_info *p = qp->pod;
    metrics_attempt("unschedulable", started);
    log_debug(2, "No node fits", "pod", p->key, "why", o->message);
    recorder_event(s->recorder, p->object->json, "Warning", "FailedScheduling", "%s", o->message);
    binder_report(s->binder, p, "Unschedulable", o->message, o->nominated);
    for (size_t i = 0; i < o->victim_count; i++)
        binder_evict(s->binder, o->victims[i], p, o->nominated);
    queue_retry(s->queue, qp, o->events);
}

static void schedule_one(struct scheduler *s, struct queued_pod *qp)
{
    struct outcome o;
    int64_t started = time_now_micros();
    cleanup_free char *node = NULL;
    struct volume_plan *plan = NULL;
    cache_lock(&s->cache);
    if (qp->pod->terminating || cache_has_pod(&s->cache, qp->pod->uid)) {
        cache_unlock(&s->cache);
        queue_done(s->queue, qp);
        return;
    }
    schedule_pod(qp->pod, &s->cache, &s->owners, &s->seed, &o);
    if (o.node) {
        node = mem_strdup(o.node->name);
        plan = volume_plan_new(qp->pod, &s->cache, &s->owners, o.node);
        cache_assume(&s->cache, qp->pod, o.node);
    } else {
        cache_nominate(&s->cache, qp->pod, o.nominated);
    }
    cache_unlock(&s->cache);
    metrics_algorithm(started);
    if (node) {
        log_debug(3, "Found a node", "pod", qp->pod->key, "node", node, "evaluated",
                  log_int((long long)o.evaluated), "feasible", log_int((long long)o.feasible));
        binder_bind(s->binder, qp, node, plan);
        /* Spreading and affinity of others may look different now. */
        queue_event(s->queue, EVENT_POD_ADD);
    } else {
        handle_failure(s, qp, &o, started);
    }
    outcome_clear(&o);
    metrics_pending(queue_count(s->queue));
}

static void *loop(void *arg)
{
    struct scheduler *s = arg;
    if (!informer_wait_synced(s->namespaces) || !informer_wait_synced(s->nodes) ||
        !informer_wait_synced(s->pods) || !informer_wait_synced(s->owners.claims) ||
        !informer_wait_synced(s->owners.volumes) || !informer_wait_synced(s->owners.classes))
        return NULL;
    struct queued_pod *qp;
    while ((qp = queue_pop(s->queue)))
        schedule_one(s, qp);
    return NULL;
}

/* --- life --- */

/* Of nodes, all that is read. */
static void strip_node(cJSON *node)
{
    cJSON *status = json_get(node, "status");
    static const char *const drop[] = {"conditions",      "addresses",       "nodeInfo", "daemonEndpoints",
                                       "volumesInUse",    "volumesAttached", "capacity", "config",
                                       "runtimeHandlers", "features"};
    for (size_t i = 0; status && i < ARRAY_LEN(drop); i++)
        cJSON_DeleteItemFromObjectCaseSensitive(status, drop[i]);
    cJSON *metadata = json_get(node, "metadata");
    if (metadata)
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "annotations");
}

/* Of Services and ReplicaSets, the selector; of namespaces, the labels. */
static void strip_to_selector(cJSON *object)
{
    cJSON *spec = json_get(object, "spec");
    for (cJSON *m = cJSON_IsObject(spec) ? spec->child : NULL, *next; m; m = next) {
        next = m->next;
        if (strcmp(m->string, "selector"))
            cJSON_Delete(cJSON_DetachItemViaPointer(spec, m));
    }
    cJSON_DeleteItemFromObjectCaseSensitive(object, "status");
    cJSON *metadata = json_get(object, "metadata");
    if (metadata) {
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "annotations");
        cJSON_DeleteItemFromObjectCaseSensitive(metadata, "ownerReferences");
    }
}

static struct informer *watch(struct scheduler *s, const char *api_version, const char *resource,
                              const char *field_selector, void (*strip)(cJSON *), informer_handler *handler)
{
    const struct informer_options o = {.client = s->client,
                                       .api_version = api_version,
                                       .resource = resource,
                                       .field_selector = field_selector,
                                       .strip = strip};
    struct informer *i = informer_new(&o);
    if (handler)
        informer_add_handler(i, handler, s);
    return i;
}

struct scheduler *scheduler_new(const struct scheduler_options *o)
{
    struct scheduler *s = mem_alloc(sizeof(*s));
    metrics_init();
    s->client = o->client;
    s->name = mem_strdup(o->scheduler_name);
    s->seed = (unsigned)time_now_micros();
    cache_init(&s->cache);
    pthread_mutex_init(&s->binder_lock, NULL);
    s->queue = queue_new(&o->queue);
    s->recorder = recorder_new(o->client, s->name, NULL);
    s->nodes = watch(s, "v1", "nodes", NULL, strip_node, on_node);
    s->pods = watch(s, "v1", "pods", "status.phase!=Succeeded,status.phase!=Failed", pod_info_strip, on_pod);
    s->namespaces = watch(s, "v1", "namespaces", NULL, strip_to_selector, on_namespace);
    s->owners.services = watch(s, "v1", "services", NULL, strip_to_selector, NULL);
    s->owners.replica_sets = watch(s, "apps/v1", "replicasets", NULL, strip_to_selector, NULL);
    informer_start(s->nodes);
    informer_start(s->namespaces);
    s->owners.claims = watch(s, "v1", "persistentvolumeclaims", NULL, NULL, on_volume);
    s->owners.volumes = watch(s, "v1", "persistentvolumes", NULL, NULL, on_volume);
    s->owners.classes = watch(s, "storage.k8s.io/v1", "storageclasses", NULL, NULL, on_volume);
    informer_start(s->owners.claims);
    informer_start(s->owners.volumes);
    informer_start(s->owners.classes);
    informer_start(s->owners.services);
    informer_start(s->owners.replica_sets);
    informer_start(s->pods);
    return s;
}

void scheduler_run(struct scheduler *s)
{
    struct binder *b = binder_new(s->client, s->recorder, &s->cache, s->queue, &s->owners);
    pthread_mutex_lock(&s->binder_lock);
    s->binder = b;
    pthread_mutex_unlock(&s->binder_lock);
    s->running = thread_start(&s->thread, loop, s);
    if (!s->running)
        log_error("Cannot start a thread");
}

bool scheduler_synced(const struct scheduler *s)
{
    return informer_synced(s->nodes) && informer_synced(s->pods) && informer_synced(s->namespaces);
}

void scheduler_stop(struct scheduler *s)
{
    informer_stop(s->pods);
    informer_stop(s->nodes);
    informer_stop(s->namespaces);
    queue_close(s->queue);
    if (s->running)
        pthread_join(s->thread, NULL);
    s->running = false;
    pthread_mutex_lock(&s->binder_lock);
    struct binder *b = s->binder;
    s->binder = NULL;
    pthread_mutex_unlock(&s->binder_lock);
    binder_free(b);
    recorder_flush(s->recorder, 1000);
}

void scheduler_free(struct scheduler *s)
{
    scheduler_stop(s);
    informer_free(s->pods);
    informer_free(s->nodes);
    informer_free(s->namespaces);
    informer_free(s->owners.services);
    informer_free(s->owners.replica_sets);
    informer_free(s->owners.claims);
    informer_free(s->owners.volumes);
    informer_free(s->owners.classes);
    pthread_mutex_destroy(&s->binder_lock);
    recorder_free(s->recorder);
    queue_free(s->queue);
    cache_destroy(&s->cache);
    free(s->name);
    free(s);
}
