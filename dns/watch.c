/* Handlers queue a Service's key; one worker makes its record anew from what the informers have. */
#include "dns/watch.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "common/informer.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/workqueue.h"

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"
#define SYNCED_KEY         "" /* after all that the first lists queued */

struct watch {
    struct zone *zone;
    struct informer *services, *slices, *namespaces, *pods;
    struct workqueue *queue;
    pthread_t worker, waiter;
    atomic_bool synced;
};

static void keep_only(cJSON *o, const char *const *keys)
{
    for (cJSON *c = o ? o->child : NULL, *next; c; c = next) {
        next = c->next;
        bool keep = false;
        for (size_t i = 0; keys[i]; i++)
            keep |= !strcmp(c->string, keys[i]);
        if (!keep)
            cJSON_Delete(cJSON_DetachItemViaPointer(o, c));
    }
}

static void strip_metadata(cJSON *o)
{
    static const char *const keys[] = {"name",   "namespace", "uid", "resourceVersion",
                                       "labels", NULL};
    cJSON *metadata = json_get(o, "metadata"), *labels = json_get(metadata, "labels");
    keep_only(metadata, keys);
    keep_only(labels, (const char *const[]){SERVICE_NAME_LABEL, NULL});
}

static void strip_service(cJSON *o)
{
    static const char *const spec[] = {"type",  "clusterIP",    "clusterIPs",
                                       "ports", "externalName", NULL};
    strip_metadata(o);
    keep_only(json_get(o, "spec"), spec);
    json_remove(o, "status");
}

static void strip_slice(cJSON *o)
{
    static const char *const keys[] = {"addresses", "hostname", "conditions", NULL};
    strip_metadata(o);
    cJSON *e;
    cJSON_ArrayForEach(e, json_get(o, "endpoints")) if (cJSON_IsObject(e)) keep_only(e, keys);
}

static void strip_pod(cJSON *o)
{
    strip_metadata(o);
    keep_only(json_get(o, "status"), (const char *const[]){"podIP", "podIPs", "phase", NULL});
    keep_only(json_get(o, "spec"), (const char *const[]){"hostNetwork", NULL});
}

/* "namespace/service" of a slice; false if it belongs to none. */
static bool slice_service(const cJSON *slice, char *out, size_t size)
{
    const char *name = json_map_str(json_path(slice, "metadata.labels"), SERVICE_NAME_LABEL);
    if (!name || !*name)
        return false;
    return (size_t)snprintf(out, size, "%s/%s", json_str_or(slice, "metadata.namespace", ""),
                            name) < size;
}

static void index_by_service(const cJSON *object, void (*add)(void *, const char *), void *ctx)
{
    char key[512];
    if (slice_service(object, key, sizeof(key)))
        add(ctx, key);
}

static void on_service(void *userdata, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *new_object)
{
    (void)event;
    workqueue_add(((struct watch *)userdata)->queue, (new_object ? new_object : old)->key);
}

static void on_slice(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    struct watch *w = userdata;
    char key[512];
    (void)event;
    if (old && slice_service(old->json, key, sizeof(key)))
        workqueue_add(w->queue, key);
    if (new_object && slice_service(new_object->json, key, sizeof(key)))
        workqueue_add(w->queue, key);
}

static void on_namespace(void *userdata, enum informer_event event, const struct kube_object *old,
                         const struct kube_object *new_object)
{
    zone_put_namespace(((struct watch *)userdata)->zone, (new_object ? new_object : old)->name,
                       event != INFORMER_DELETED);
}

static bool pod_address(const struct kube_object *pod, struct zone_address *a)
{
    const char *phase = pod ? json_str_or(pod->json, "status.phase", "") : "";
    return pod && strcmp(phase, "Succeeded") && strcmp(phase, "Failed") &&
           !json_bool(pod->json, "spec.hostNetwork", false) &&
           zone_address_parse(json_str_or(pod->json, "status.podIP", ""), a);
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct watch *w = userdata;
    struct zone_address before, now;
    bool had = pod_address(old, &before), has = pod_address(new_object, &now);
    (void)event;
    if (had && has && !memcmp(&before, &now, sizeof(now)))
        return;
    if (has)
        zone_put_pod(w->zone, new_object->ns, &now, true);
    if (had)
        zone_put_pod(w->zone, old->ns, &before, false);
}

static void reconcile(struct watch *w, const char *key)
{
    cleanup_object struct kube_object *service = informer_get(w->services, key);
    cleanup_objects struct kube_object_list slices = {0};
    if (service && !strcmp(json_str_or(service->json, "spec.clusterIP", ""), "None"))
        informer_by_index(w->slices, "service", key, &slices);
    zone_put_service(w->zone, key, service ? zone_service_new(service->json, &slices) : NULL);
}

static void *work(void *arg)
{
    struct watch *w = arg;
    char *key;
    while ((key = workqueue_get(w->queue))) {
        if (*key)
            reconcile(w, key);
        else
            atomic_store(&w->synced, true);
        workqueue_done(w->queue, key);
        free(key);
    }
    return NULL;
}

static void *wait_synced(void *arg)
{
    struct watch *w = arg;
    if (informer_wait_synced(w->services) && informer_wait_synced(w->slices) &&
        informer_wait_synced(w->namespaces) && (!w->pods || informer_wait_synced(w->pods)))
        workqueue_add(w->queue, SYNCED_KEY);
    return NULL;
}

static struct informer *watch_new(struct kube_client *client, const char *api_version,
                                  const char *resource, void (*strip)(cJSON *),
                                  informer_handler *handler, struct watch *w)
{
    struct informer_options o = {
        .client = client, .api_version = api_version, .resource = resource, .strip = strip};
    o.metadata_only = !strcmp(resource, "namespaces");
    struct informer *i = informer_new(&o);
    informer_add_handler(i, handler, w);
    return i;
}

struct watch *watch_start(struct kube_client *client, struct zone *zone, bool pods)
{
    struct watch *w = mem_alloc(sizeof(*w));
    w->zone = zone;
    w->queue = workqueue_new("dns", 5, 30000);
    w->services = watch_new(client, "v1", "services", strip_service, on_service, w);
    w->slices =
        watch_new(client, "discovery.k8s.io/v1", "endpointslices", strip_slice, on_slice, w);
    informer_add_index(w->slices, "service", index_by_service);
    w->namespaces = watch_new(client, "v1", "namespaces", NULL, on_namespace, w);
    if (pods)
        w->pods = watch_new(client, "v1", "pods", strip_pod, on_pod, w);
    struct informer *all[] = {w->services, w->slices, w->namespaces, w->pods};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i])
            informer_start(all[i]);
    if (!thread_start(&w->worker, work, w) || !thread_start(&w->waiter, wait_synced, w))
        abort(); /* no threads at the start of a process: nothing works */
    return w;
}

bool watch_synced(struct watch *w)
{
    return atomic_load(&w->synced);
}

void watch_stop(struct watch *w)
{
    if (!w)
        return;
    struct informer *all[] = {w->services, w->slices, w->namespaces, w->pods};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i])
            informer_stop(all[i]);
    pthread_join(w->waiter, NULL);
    workqueue_shut_down(w->queue);
    pthread_join(w->worker, NULL);
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        if (all[i])
            informer_free(all[i]);
    workqueue_free(w->queue);
    free(w);
}
