#include "scheduler/binder.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/component.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "scheduler/metrics.h"
#include "scheduler/volumes.h"

#define WORKERS 4
#define LOOK_MS 10000

enum job_kind { JOB_BIND, JOB_REPORT, JOB_EVICT };

struct job {
    struct job *next;
    enum job_kind kind;
    struct pod_info *pod;
    struct queued_pod *qp;      /* bind */
    struct pod_info *preemptor; /* evict */
    char *node, *reason, *message;
    struct volume_plan *plan; /* bind: first of all */
};

struct worker {
    struct binder *binder;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *head, **tail;
    struct job *waiting; /* for their volumes */
    bool look;           /* at those that wait: something about volumes changed */
    bool stop;
};

struct binder {
    struct kube_client *client;
    struct recorder *recorder;
    struct cache *cache;
    struct queue *queue;
    const struct owners *owners;
    struct worker workers[WORKERS];
};

static void job_free(struct job *j)
{
    pod_info_unref(j->pod);
    pod_info_unref(j->preemptor);
    free(j->node);
    free(j->reason);
    free(j->message);
    free(j);
}

/* --- the work --- */

static bool post_binding(struct binder *b, const struct pod_info *p, const char *node, struct error **err)
{
    cleanup_json cJSON *binding = cJSON_CreateObject();
    json_set_str(binding, "apiVersion", "v1");
    json_set_str(binding, "kind", "Binding");
    json_set_str(binding, "metadata.name", p->name);
    json_set_str(binding, "metadata.namespace", p->ns);
    json_set_str(binding, "metadata.uid", p->object->uid);
    json_set_str(binding, "target.kind", "Node");
    json_set_str(binding, "target.name", node);
    cleanup_free char *path = kube_path_new("v1", "pods", p->ns, p->name, "binding");
    cleanup_json cJSON *answer = kube_create(b->client, path, binding, err);
    return answer != NULL;
}

static void patch_pod_status(struct binder *b, const struct pod_info *p, cJSON *status_taken)
{
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", p->object->uid); /* never another pod of that name */
    json_set(patch, "status", status_taken);
    cleanup_free char *path = kube_path_new("v1", "pods", p->ns, p->name, "status");
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *answer =
        kube_request(b->client, "PATCH", path, "application/strategic-merge-patch+json", patch, &err);
    if (!answer && err->code != 404 && err->code != 409)
        log_warn("Cannot update the pod's status", "pod", p->key, "error", err->message);
}

static void add_condition(cJSON *status, const struct pod_info *p, const char *type, const char *value,
                          const char *reason, const char *message)
{
    char now[TIME_TEXT_MAX];
    time_format(time_now_seconds(), now);
    const char *since = now;
    const cJSON *old;
    cJSON_ArrayForEach(old, json_path(p->object->json, "status.conditions")) {
        if (!strcmp(json_str_or(old, "type", ""), type) && !strcmp(json_str_or(old, "status", ""), value))
            since = json_str_or(old, "lastTransitionTime", now);
    }
    cJSON *c = cJSON_CreateObject();
    json_set_str(c, "type", type);
    json_set_str(c, "status", value);
    json_set_str(c, "reason", reason);
    json_set_str(c, "message", message);
    json_set(c, "lastProbeTime", cJSON_CreateNull());
    json_set_str(c, "lastTransitionTime", since);
    int64_t generation = json_int(p->object->json, "metadata.generation", 0);
    if (generation)
        json_set_int(c, "observedGeneration", generation);
    cJSON_AddItemToArray(json_ensure_array(status, "conditions"), c);
}

static void report(struct binder *b, const struct job *j)
{
    const struct pod_info *p = j->pod;
    const cJSON *c;
    bool nomination_same = !strcmp(p->nominated_node, j->node);
    cJSON_ArrayForEach(c, json_path(p->object->json, "status.conditions")) {
        if (nomination_same && !strcmp(json_str_or(c, "type", ""), "PodScheduled") &&
            !strcmp(json_str_or(c, "status", ""), "False") &&
            !strcmp(json_str_or(c, "reason", ""), j->reason) &&
            !strcmp(json_str_or(c, "message", ""), j->message))
            return;
    }
    cJSON *status = cJSON_CreateObject();
    add_condition(status, p, "PodScheduled", "False", j->reason, j->message);
    if (!nomination_same)
        json_set(status, "nominatedNodeName", *j->node ? cJSON_CreateString(j->node) : cJSON_CreateNull());
    patch_pod_status(b, p, status);
}

static void drop_plan(struct binder *b, struct job *j)
{
    cache_lock(b->cache);
    volume_plan_free(j->plan, b->cache);
    cache_unlock(b->cache);
    j->plan = NULL;
}

/* False: it waits for its volumes. */
static bool bind(struct binder *b, struct job *j)
{
    struct queued_pod *qp = j->qp;
    cleanup_error struct error *err = NULL;
    int64_t start = time_now_micros();
    const char *plugin = "running Bind plugin \"DefaultBinder\"";
    if (j->plan) {
        enum volume_progress progress = volume_plan_advance(j->plan, b->client, b->owners, j->node, &err);
        if (progress == VOLUMES_WAIT)
            return false;
        drop_plan(b, j);
        plugin = "running PreBind plugin \"VolumeBinding\": binding volumes";
    }
    if (!err && post_binding(b, j->pod, j->node, &err)) {
        log_debug(2, "Bound", "pod", j->pod->key, "node", j->node);
        metrics_bound(start, qp);
        recorder_event(b->recorder, j->pod->object->json, "Normal", "Scheduled",
                       "Successfully assigned %s/%s to %s", j->pod->ns, j->pod->name, j->node);
        cache_lock(b->cache);
        cache_nominate(b->cache, j->pod, NULL);
        cache_unlock(b->cache);
        queue_done(b->queue, qp);
        return true;
    }
    log_warn("Cannot bind", "pod", j->pod->key, "node", j->node, "error", err->message);
    metrics_attempt("error", start);
    /* Gone, or bound after all (an answer was lost, another bound it): the watch tells. */
    if (err->code != 404 && err->code != 409) {
        cleanup_free char *message =
            mem_printf("binding rejected: %s: %s", plugin, err->message);
        recorder_event(b->recorder, j->pod->object->json, "Warning", "FailedScheduling", "%s", message);
        if (err->code) {
            free(j->reason);
            free(j->message);
            free(j->node);
            j->reason = mem_strdup("SchedulerError");
            j->message = mem_strdup(message);
            j->node = mem_strdup(j->pod->nominated_node);
            report(b, j);
        }
    }
    cache_lock(b->cache);
    cache_forget(b->cache, j->pod->uid);
    cache_unlock(b->cache);
    queue_retry(b->queue, qp, 0);
    queue_event(b->queue, EVENT_POD_DELETE); /* its place is free again */
    return true;
}

static void evict(struct binder *b, const struct job *j)
{
    const struct pod_info *victim = j->pod;
    cJSON *status = cJSON_CreateObject();
    add_condition(status, victim, "DisruptionTarget", "True", "PreemptionByScheduler",
                  "default-scheduler: preempting to accommodate a higher priority pod");
    patch_pod_status(b, victim, status);
    cleanup_free char *path = kube_path_new("v1", "pods", victim->ns, victim->name, NULL);
    cleanup_error struct error *err = NULL;
    if (!kube_delete(b->client, path, victim->object->uid, -1, NULL, &err) && err->code != 404) {
        log_warn("Cannot preempt", "pod", victim->key, "error", err->message);
        return;
    }
    recorder_event(b->recorder, victim->object->json, "Normal", "Preempted", "Preempted by pod %s on node %s",
                   j->preemptor->object->uid, j->node);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!w->head && !w->stop && !w->look)
            if (w->waiting) /* one may run out of time */
                thread_cond_wait_until(&w->changed, &w->lock, time_monotonic_ms() + LOOK_MS), w->look = true;
            else
                pthread_cond_wait(&w->changed, &w->lock);
        if (w->look) {
            w->look = false;
            while (w->waiting) {
                struct job *again = w->waiting;
                w->waiting = again->next;
                again->next = NULL;
                *w->tail = again;
                w->tail = &again->next;
            }
        }
        struct job *j = w->head;
        if (!j && w->stop)
            break;
        if (!j)
            continue;
        w->head = j->next;
        if (!w->head)
            w->tail = &w->head;
        pthread_mutex_unlock(&w->lock);
        if (j->kind == JOB_BIND) {
            if (!bind(w->binder, j)) {
                pthread_mutex_lock(&w->lock);
                j->next = w->waiting;
                w->waiting = j;
                continue;
            }
        } else if (j->kind == JOB_REPORT)
            report(w->binder, j);
        else
            evict(w->binder, j);
        job_free(j);
        pthread_mutex_lock(&w->lock);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* --- the public side --- */

struct binder *binder_new(struct kube_client *client, struct recorder *recorder, struct cache *cache,
                          struct queue *queue, const struct owners *owners)
{
    struct binder *b = mem_alloc(sizeof(*b));
    b->client = client;
    b->recorder = recorder;
    b->cache = cache;
    b->queue = queue;
    b->owners = owners;
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &b->workers[i];
        w->binder = b;
        w->tail = &w->head;
        pthread_mutex_init(&w->lock, NULL);
        thread_cond_init(&w->changed);
        w->started = thread_start(&w->thread, work, w);
    }
    return b;
}

static void submit(struct binder *b, struct job *j)
{
    unsigned h = 5381;
    for (const char *p = j->pod->uid; *p; p++)
        h = h * 33 + (unsigned char)*p;
    struct worker *w = &b->workers[h % WORKERS];
    pthread_mutex_lock(&w->lock);
    *w->tail = j;
    w->tail = &j->next;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

void binder_volumes_changed(struct binder *b)
{
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &b->workers[i];
        pthread_mutex_lock(&w->lock);
        w->look = true;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
    }
}

void binder_bind(struct binder *b, struct queued_pod *qp, const char *node, struct volume_plan *plan)
{
    struct job *j = mem_alloc(sizeof(*j));
    j->kind = JOB_BIND;
    j->pod = pod_info_ref(qp->pod);
    j->qp = qp;
    j->plan = plan;
    j->node = mem_strdup(node);
    submit(b, j);
}

void binder_report(struct binder *b, struct pod_info *p, const char *reason, const char *message,
                   const char *nominated)
{
    struct job *j = mem_alloc(sizeof(*j));
    j->kind = JOB_REPORT;
    j->pod = pod_info_ref(p);
    j->reason = mem_strdup(reason);
    j->message = mem_strdup(message);
    j->node = mem_strdup(nominated ? nominated : "");
    submit(b, j);
}

void binder_evict(struct binder *b, struct pod_info *victim, struct pod_info *preemptor, const char *node)
{
    struct job *j = mem_alloc(sizeof(*j));
    j->kind = JOB_EVICT;
    j->pod = pod_info_ref(victim);
    j->preemptor = pod_info_ref(preemptor);
    j->node = mem_strdup(node);
    submit(b, j);
}

void binder_free(struct binder *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *w = &b->workers[i];
        pthread_mutex_lock(&w->lock);
        w->stop = true;
        pthread_cond_signal(&w->changed);
        pthread_mutex_unlock(&w->lock);
        if (w->started)
            pthread_join(w->thread, NULL);
        while (w->waiting) { /* who leads next takes them up again */
            struct job *j = w->waiting;
            w->waiting = j->next;
            drop_plan(b, j);
            job_free(j);
        }
        pthread_mutex_destroy(&w->lock);
        pthread_cond_destroy(&w->changed);
    }
    free(b);
}
