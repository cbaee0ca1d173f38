/* Endpoints objects (the old form): one per Service with a selector. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/claim.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/service_pods.h"
#include "controller-manager/subsets.h"

enum { MAX_ADDRESSES = 1000, STALE_CACHE_RECHECK_MS = 1000 };
#define CAPACITY_ANNOTATION "endpoints.kubernetes.io/over-capacity"

struct endpoints {
    struct informer *services, *pods, *endpoints;
    struct recorder *recorder;
    struct expectations *expectations;
    pthread_mutex_t lock; /* of triggers */
    struct trigger_times triggers;
};

static cJSON *endpoint_address(const cJSON *pod, const cJSON *service, const char *ip)
{
    cJSON *a = cJSON_CreateObject();
    json_map_set_str(a, "ip", ip);
    const char *hostname = pod_endpoint_hostname(pod, service),
               *node = json_str_or(pod, "spec.nodeName", "");
    if (hostname)
        json_map_set_str(a, "hostname", hostname);
    if (*node)
        json_map_set_str(a, "nodeName", node);
    json_map_set(a, "targetRef", pod_target_ref(pod));
    return a;
}

static cJSON *endpoint_port(const cJSON *service_port, int64_t number)
{
    cJSON *p = cJSON_CreateObject();
    const char *name = json_str_or(service_port, "name", ""),
               *app_protocol = json_str(service_port, "appProtocol");
    if (*name)
        json_map_set_str(p, "name", name);
    json_set_int(p, "port", number);
    json_map_set_str(p, "protocol", json_str_or(service_port, "protocol", "TCP"));
    if (app_protocol)
        json_map_set_str(p, "appProtocol", app_protocol);
    return p;
}

/* Ready addresses are kept before others. */
static bool limit_entries(struct subset_entry *entries, size_t *count)
{
    if (*count <= MAX_ADDRESSES)
        return false;
    size_t kept = 0;
    for (int pass = 1; pass >= 0; pass--)
        for (size_t i = kept; i < *count && kept < MAX_ADDRESSES; i++)
            if (entries[i].ready == (pass == 1)) {
                struct subset_entry e = entries[i];
                entries[i] = entries[kept];
                entries[kept++] = e;
            }
    *count = kept;
    return true;
}

static cJSON *wanted_subsets(const cJSON *service, const struct kube_object_list *pods,
                             bool *over_capacity)
{
    bool publish_not_ready = json_bool(service, "spec.publishNotReadyAddresses", false);
    const cJSON *ports = json_path(service, "spec.ports");
    size_t port_count = (size_t)(cJSON_IsArray(ports) ? cJSON_GetArraySize(ports) : 0);
    struct subset_entry *entries =
        mem_alloc((pods->count * (port_count + 1) + 1) * sizeof(*entries));
    size_t count = 0;
    cJSON *owned = cJSON_CreateArray(); /* addresses and ports until they have been copied */
    for (size_t i = 0; i < pods->count; i++) {
        const cJSON *pod = pods->items[i]->json;
        const char *ip = pod_ip(pod, service_ip_family(service, 0));
        if (!ip || !pod_is_endpoint(pod, publish_not_ready))
            continue;
        cJSON *address = endpoint_address(pod, service, ip);
        cJSON_AddItemToArray(owned, address);
        bool ready = publish_not_ready || pod_ready(pod);
        if (!port_count && service_headless(service))
            entries[count++] = (struct subset_entry){.address = address, .ready = ready};
        const cJSON *p;
        cJSON_ArrayForEach(p, ports)
        {
            int64_t number;
            if (!pod_target_port(pod, p, &number))
                continue;
            cJSON *port = endpoint_port(p, number);
            cJSON_AddItemToArray(owned, port);
            entries[count++] =
                (struct subset_entry){.address = address, .port = port, .ready = ready};
        }
    }
    *over_capacity = limit_entries(entries, &count);
    cJSON *subsets = subsets_pack(entries, count);
    cJSON_Delete(owned);
    free(entries);
    return subsets;
}

static cJSON *wanted_labels(const cJSON *service)
{
    const cJSON *labels = meta_labels(service);
    cJSON *out = cJSON_IsObject(labels) ? json_dup(labels) : cJSON_CreateObject();
    if (service_headless(service))
        json_map_set_str(out, "service.kubernetes.io/headless", "");
    else
        map_remove(out, "service.kubernetes.io/headless");
    json_map_set_str(out, "endpoints.kubernetes.io/managed-by", "endpoint-controller");
    return out;
}

static void set_or_drop_annotation(cJSON *o, const char *key, const char *value)
{
    if (value)
        meta_set_annotation(o, key, value);
    else
        map_remove(json_path(o, "metadata.annotations"), key);
}

static bool delete_endpoints(struct controller *c, const char *key, struct error **err)
{
    struct endpoints *s = c->state;
    cleanup_object struct kube_object *cached = informer_get(s->endpoints, key);
    if (!cached)
        return true;
    cleanup_free char *path = kube_path_new("v1", "endpoints", cached->ns, cached->name, NULL);
    cleanup_error struct error *e = NULL;
    if (kube_delete(c->client, path, cached->uid, -1, NULL, &e) || kube_error_is(e, "NotFound") ||
        kube_error_is(e, "Conflict"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct endpoints *s = c->state;
    cleanup_object struct kube_object *service = informer_get(s->services, key);
    if (!service) {
        pthread_mutex_lock(&s->lock);
        trigger_times_forget(&s->triggers, key);
        pthread_mutex_unlock(&s->lock);
        expectations_forget(s->expectations, key);
        return delete_endpoints(c, key, err);
    }
    if (!service_has_selector(service->json))
        return true;
    if (!expectations_met(s->expectations, key, s->endpoints)) {
        workqueue_add_after(c->queue, key, STALE_CACHE_RECHECK_MS);
        return true;
    }
    cleanup_objects struct kube_object_list pods = {0};
    service_pods(service->json, s->pods, &pods);
    pthread_mutex_lock(&s->lock);
    int64_t changed_at = trigger_time(&s->triggers, key, service->json, &pods);
    pthread_mutex_unlock(&s->lock);

    bool over_capacity = false;
    cleanup_json cJSON *subsets = wanted_subsets(service->json, &pods, &over_capacity);
    cleanup_json cJSON *labels = wanted_labels(service->json);
    cleanup_object struct kube_object *current = informer_get(s->endpoints, key);
    if (current) {
        const cJSON *have = json_get(current->json, "subsets");
        bool same = have && have->child ? json_equal(have, subsets) : !subsets->child;
        bool marked = meta_annotation(current->json, CAPACITY_ANNOTATION) != NULL;
        if (same && marked == over_capacity && json_equal(meta_labels(current->json), labels))
            return true;
    }

    cleanup_json cJSON *object = current ? json_dup(current->json) : cJSON_CreateObject();
    json_map_set_str(object, "apiVersion", "v1");
    json_map_set_str(object, "kind", "Endpoints");
    json_set_str(object, "metadata.name", service->name);
    json_set_str(object, "metadata.namespace", service->ns);
    json_set(object, "metadata.labels", json_dup(labels));
    char text[TIME_TEXT_MAX];
    set_or_drop_annotation(object, TRIGGER_TIME_ANNOTATION,
                           changed_at ? time_format(changed_at, text) : NULL);
    set_or_drop_annotation(object, CAPACITY_ANNOTATION, over_capacity ? "truncated" : NULL);
    if (subsets->child)
        json_map_set(object, "subsets", json_dup(subsets));
    else
        json_remove(object, "subsets");

    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = NULL;
    if (current) {
        answer = update_object(c->client, "v1", "endpoints", object, &e);
    } else {
        cleanup_free char *path = kube_path_new("v1", "endpoints", service->ns, NULL, NULL);
        answer = kube_create(c->client, path, object, &e);
    }
    if (answer) {
        expectations_wrote(s->expectations, key, meta_version(answer));
        return true;
    }
    if (refused_by_namespace_end(e))
        return true;
    if (!kube_error_is(e, "Conflict") && !kube_error_is(e, "AlreadyExists"))
        recorder_event(s->recorder, service->json, "Warning",
                       current ? "FailedToUpdateEndpoint" : "FailedToCreateEndpoint",
                       "Failed to %s endpoint %s: %s", current ? "update" : "create for service",
                       key, error_message(e));
    error_move(err, e);
    e = NULL;
    return false;
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct endpoints *s = c->state;
    (void)event;
    enqueue_services_of_pod(c, s->services, old, new_object);
}

static void on_endpoints(void *userdata, enum informer_event event, const struct kube_object *old,
                         const struct kube_object *new_object)
{
    struct controller *c = userdata;
    (void)new_object;
    if (event == INFORMER_DELETED)
        workqueue_add(c->queue, old->key);
}

/* Endpoints whose Service went away while nobody watched. */
static void start(struct controller *c)
{
    struct endpoints *s = c->state;
    cleanup_objects struct kube_object_list all = {0};
    informer_list(s->endpoints, &all);
    for (size_t i = 0; i < all.count; i++)
        workqueue_add(c->queue, all.items[i]->key);
}

static void setup(struct controller *c)
{
    struct endpoints *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->expectations = expectations_new();
    s->recorder = manager_recorder(c->manager, "endpoint-controller");
    s->services = manager_informer(c->manager, "v1", "services");
    s->pods = manager_informer(c->manager, "v1", "pods");
    s->endpoints = manager_informer(c->manager, "v1", "endpoints");
    informer_add_handler(s->services, controller_enqueue_object, c);
    informer_add_handler(s->pods, on_pod, c);
    informer_add_handler(s->endpoints, on_endpoints, c);
}

static void free_state(struct controller *c)
{
    struct endpoints *s = c->state;
    trigger_times_clear(&s->triggers);
    expectations_free(s->expectations);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type endpoints_controller = {.name = "endpoints-controller",
                                                     .queue = "endpoint",
                                                     .workers = 2,
                                                     .setup = setup,
                                                     .start = start,
                                                     .reconcile = reconcile,
                                                     .free_state = free_state};
