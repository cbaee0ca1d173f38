#include "kube-proxy/policy/enforcer.h"
#include <pthread.h>
#include <string.h>
#include "common/component.h"
#include "common/informer.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "kube-proxy/hash.h"
#include "kube-proxy/nft.h"
#include "kube-proxy/policy/table.h"

enum { MIN_SYNC_MS = 10, RETRY_MS = 1000, LOOK_MS = 30000 };
enum kind { POLICY, POD, NAMESPACE, KINDS };

struct enforcer {
    struct kube_client *client;
    char *node_name;
    struct informer *informers[KINDS];
    struct policies *state; /* these three: the thread's */
    struct nft *nft;
    bool table_there;
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    struct hash dirty[KINDS]; /* keys */
    bool stopping, synced_once;
    struct metric *duration, *failures;
};

/* --- what changed --- */

static void mark(struct enforcer *e, enum kind kind, const char *key)
{
    pthread_mutex_lock(&e->lock);
    hash_set(&e->dirty[kind], key, e);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
}

static void on_policy(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *now)
{
    if (event == INFORMER_UPDATED &&
        json_equal(json_get(old->json, "spec"), json_get(now->json, "spec")))
        return;
    mark(userdata, POLICY, now ? now->key : old->key);
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *now)
{
    (void)event;
    mark(userdata, POD, now ? now->key : old->key);
}

static void on_namespace(void *userdata, enum informer_event event, const struct kube_object *old,
                         const struct kube_object *now)
{
    if (event == INFORMER_UPDATED && json_equal(json_path(old->json, "metadata.labels"),
                                                json_path(now->json, "metadata.labels")))
        return;
    mark(userdata, NAMESPACE, now ? now->key : old->key);
}

/* --- what is kept of a pod --- */

static void strip_pod(cJSON *pod)
{
    static const char *const metadata[] = {"name",   "namespace",         "uid", "resourceVersion",
                                           "labels", "deletionTimestamp", NULL};
    static const char *const spec[] = {"nodeName", "hostNetwork", "containers", "initContainers",
                                       NULL};
    static const char *const container[] = {"ports", "restartPolicy", NULL};
    static const char *const status[] = {"phase", "podIP", "podIPs", NULL};
    json_keep_only(json_get(pod, "metadata"), metadata);
    json_keep_only(json_get(pod, "spec"), spec);
    json_keep_only(json_get(pod, "status"), status);
    static const char *const lists[] = {"spec.containers", "spec.initContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        cJSON *c;
        cJSON_ArrayForEach(c, json_path(pod, lists[i])) json_keep_only(c, container);
    }
}

static void strip_metadata(cJSON *object)
{
    json_remove(object, "metadata.managedFields");
    json_remove(object, "metadata.annotations");
}

static void watch(struct enforcer *e, enum kind kind, const char *api_version, const char *resource,
                  informer_handler *handler, void (*strip)(cJSON *))
{
    struct informer *i = informer_new(&(struct informer_options){
        .client = e->client, .api_version = api_version, .resource = resource, .strip = strip});
    informer_add_handler(i, handler, e);
    pthread_mutex_lock(&e->lock);
    e->informers[kind] = i;
    pthread_mutex_unlock(&e->lock);
    informer_start(i);
}

/* False when stopping. */
static bool watch_pods(struct enforcer *e)
{
    watch(e, NAMESPACE, "v1", "namespaces", on_namespace, strip_metadata);
    watch(e, POD, "v1", "pods", on_pod, strip_pod);
    return informer_wait_synced(e->informers[NAMESPACE]) && informer_wait_synced(e->informers[POD]);
}

/* --- bringing it to the kernel --- */

static void update_policy(struct enforcer *e, const char *key)
{
    cleanup_object struct kube_object *o = informer_get(e->informers[POLICY], key);
    cleanup_error struct error *err = NULL;
    struct policy *policy = o ? policy_parse(o->json, &err) : NULL;
    if (err)
        log_error("A NetworkPolicy makes no sense and is ignored", "networkPolicy", key, "err",
                  error_message(err));
    policies_set_policy(e->state, key, policy);
}

static void update(struct enforcer *e, struct hash changed[KINDS])
{
    for (struct hash_entry *h = NULL; (h = hash_next(&changed[POLICY], h));)
        update_policy(e, h->key);
    for (struct hash_entry *h = NULL; (h = hash_next(&changed[NAMESPACE], h));) {
        cleanup_object struct kube_object *o = informer_get(e->informers[NAMESPACE], h->key);
        const cJSON *labels = o ? json_path(o->json, "metadata.labels") : NULL;
        policies_set_namespace(e->state, h->key, labels ? json_dup(labels) : NULL);
    }
    for (struct hash_entry *h = NULL; (h = hash_next(&changed[POD], h));) {
        cleanup_object struct kube_object *o = informer_get(e->informers[POD], h->key);
        policies_set_pod(e->state, h->key, o ? policy_pod_new(o->json, e->node_name) : NULL);
    }
}

static bool program(struct enforcer *e, bool everything)
{
    cleanup_buf struct buf commands = {0};
    cleanup_error struct error *err = NULL;
    bool wanted = !policies_none(e->state);
    everything |= wanted != e->table_there;
    if (everything)
        policies_take_all(e->state, &commands);
    else
        policies_take_changes(e->state, &commands);
    if (commands.len == 0)
        return true;
    log_debug(5, "Running nftables transaction", "commands", buf_str(&commands));
    if (!nft_run(e->nft, buf_str(&commands), &err)) {
        log_error("Could not program the NetworkPolicies", "err", error_message(err));
        metric_add(e->failures, "", 1);
        return false;
    }
    e->table_there = wanted;
    return true;
}

static bool table_was_removed(struct enforcer *e)
{
    return e->table_there && !nft_run(e->nft, "list chain " POLICY_TABLE " always\n", NULL);
}

static bool anything_dirty(const struct enforcer *e)
{
    return e->dirty[POLICY].count || e->dirty[POD].count || e->dirty[NAMESPACE].count;
}

static void *enforce(void *arg)
{
    struct enforcer *e = arg;
    if (!informer_wait_synced(e->informers[POLICY]))
        return NULL;
    bool everything = true; /* also what an earlier process left */
    int64_t look = time_monotonic_ms();
    pthread_mutex_lock(&e->lock);
    while (!e->stopping) {
        if (!anything_dirty(e) && time_monotonic_ms() < look) {
            thread_cond_wait_until(&e->changed, &e->lock, look);
            continue;
        }
        struct hash changed[KINDS];
        bool first = e->dirty[POLICY].count && !e->informers[POD];
        pthread_mutex_unlock(&e->lock);
        /* Without the pods' list a policy would let nobody through. */
        bool go_on = !first || watch_pods(e);
        pthread_mutex_lock(&e->lock);
        memcpy(changed, e->dirty, sizeof changed);
        memset(e->dirty, 0, sizeof e->dirty);
        pthread_mutex_unlock(&e->lock);
        if (go_on) {
            int64_t began = time_now_micros();
            update(e, changed);
            everything |= table_was_removed(e);
            everything = !program(e, everything);
            metric_observe(e->duration, "", (double)(time_now_micros() - began) / 1e6);
            look = time_monotonic_ms() + (everything ? RETRY_MS : LOOK_MS);
        }
        for (int k = 0; k < KINDS; k++)
            hash_clear(&changed[k], NULL);
        pthread_mutex_lock(&e->lock);
        e->synced_once |= go_on && !everything;
        int64_t until = time_monotonic_ms() + MIN_SYNC_MS;
        while (!e->stopping && time_monotonic_ms() < until)
            thread_cond_wait_until(&e->changed, &e->lock, until);
    }
    pthread_mutex_unlock(&e->lock);
    return NULL;
}

/* --- the outside --- */

struct enforcer *enforcer_start(struct kube_client *client, const char *node_name,
                                struct error **err)
{
    struct nft *nft = nft_new(err);
    if (!nft)
        return NULL;
    struct enforcer *e = mem_alloc(sizeof *e);
    e->client = client;
    e->node_name = mem_strdup(node_name);
    e->nft = nft;
    e->state = policies_new();
    e->duration =
        metric_new(METRIC_HISTOGRAM, "kubeproxy_sync_network_policies_duration_seconds",
                   "Latency of bringing NetworkPolicies to nftables in seconds", "", NULL);
    e->failures = metric_new(METRIC_COUNTER, "kubeproxy_sync_network_policies_failures_total",
                             "Cumulative NetworkPolicy sync failures", "", NULL);
    pthread_mutex_init(&e->lock, NULL);
    thread_cond_init(&e->changed);
    watch(e, POLICY, "networking.k8s.io/v1", "networkpolicies", on_policy, strip_metadata);
    pthread_create(&e->thread, NULL, enforce, e);
    return e;
}

bool enforcer_ready(struct enforcer *e)
{
    pthread_mutex_lock(&e->lock);
    bool ready = e->synced_once;
    pthread_mutex_unlock(&e->lock);
    return ready;
}

void enforcer_stop(struct enforcer *e)
{
    pthread_mutex_lock(&e->lock);
    e->stopping = true;
    for (int k = 0; k < KINDS; k++)
        if (e->informers[k])
            informer_stop(e->informers[k]);
    pthread_cond_signal(&e->changed);
    pthread_mutex_unlock(&e->lock);
    pthread_join(e->thread, NULL);
    for (int k = 0; k < KINDS; k++) {
        if (e->informers[k])
            informer_free(e->informers[k]);
        hash_clear(&e->dirty[k], NULL);
    }
    policies_free(e->state);
    nft_free(e->nft);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->lock);
    free(e->node_name);
    free(e);
}
