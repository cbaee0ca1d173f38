/* EndpointSlices of Services with a selector. */
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
#include "controller-manager/slice_writer.h"
#include "controller-manager/slices.h"

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"
#define MANAGED_BY_LABEL   "endpointslice.kubernetes.io/managed-by"
#define MANAGED_BY         "endpointslice-controller.k8s.io"
#define HEADLESS_LABEL     "service.kubernetes.io/headless"
enum { STALE_CACHE_RECHECK_MS = 1000 };

struct endpointslices {
    struct informer *services, *pods, *nodes, *slices;
    struct recorder *recorder;
    struct expectations *expectations;
    pthread_mutex_t lock; /* of triggers */
    struct trigger_times triggers;
};

static bool ours(const cJSON *slice)
{
    const char *by = json_map_str(meta_labels(slice), MANAGED_BY_LABEL);
    return by && strcmp(by, MANAGED_BY) == 0;
}

/* Index "service": "namespace/service" of slices that are ours. */
static void index_service(const cJSON *slice, void (*add)(void *, const char *), void *ctx)
{
    const char *service = json_map_str(meta_labels(slice), SERVICE_NAME_LABEL);
    if (!service || !ours(slice))
        return;
    cleanup_free char *key = mem_printf("%s/%s", meta_ns(slice), service);
    add(ctx, key);
}

/* --- what is wanted --- */

static cJSON *slice_ports(const cJSON *service, const cJSON *pod)
{
    cJSON *ports = cJSON_CreateArray();
    const cJSON *p;
    cJSON_ArrayForEach(p, json_path(service, "spec.ports"))
    {
        int64_t number;
        if (!pod_target_port(pod, p, &number))
            continue;
        cJSON *port = cJSON_CreateObject();
        const char *app_protocol = json_str(p, "appProtocol");
        json_map_set_str(port, "name", json_str_or(p, "name", ""));
        json_map_set_str(port, "protocol", json_str_or(p, "protocol", "TCP"));
        json_set_int(port, "port", number);
        if (app_protocol)
            json_map_set_str(port, "appProtocol", app_protocol);
        cJSON_AddItemToArray(ports, port);
    }
    return ports;
}

static cJSON *slice_endpoint(const cJSON *service, const cJSON *pod, const cJSON *node,
                             const char *ip)
{
    bool serving = pod_ready(pod), terminating = meta_deleting(pod);
    bool ready =
        json_bool(service, "spec.publishNotReadyAddresses", false) || (serving && !terminating);
    cJSON *e = cJSON_CreateObject();
    cJSON_AddItemToArray(json_ensure_array(e, "addresses"), cJSON_CreateString(ip));
    json_set_bool(e, "conditions.ready", ready);
    json_set_bool(e, "conditions.serving", serving);
    json_set_bool(e, "conditions.terminating", terminating);
    const char *node_name = json_str_or(pod, "spec.nodeName", ""),
               *hostname = pod_endpoint_hostname(pod, service);
    const char *zone = json_map_str(meta_labels(node), "topology.kubernetes.io/zone");
    if (hostname)
        json_map_set_str(e, "hostname", hostname);
    if (*node_name)
        json_map_set_str(e, "nodeName", node_name);
    if (zone && *zone)
        json_map_set_str(e, "zone", zone);
    json_map_set(e, "targetRef", pod_target_ref(pod));
    return e;
}

/* Returns the number of endpoints; *nodes_missing is set when pods were left out because their node
 * is not known (yet). */
static size_t wanted_endpoints(struct endpointslices *s, const cJSON *service,
                               const struct kube_object_list *pods, const char *family,
                               struct slice_endpoint *out, bool *nodes_missing)
{
    size_t count = 0;
    for (size_t i = 0; i < pods->count; i++) {
        const cJSON *pod = pods->items[i]->json;
        const char *ip = pod_ip(pod, family), *node_name = json_str_or(pod, "spec.nodeName", "");
        if (!ip || !pod_is_endpoint(pod, true))
            continue;
        cleanup_object struct kube_object *node =
            *node_name ? informer_get(s->nodes, node_name) : NULL;
        if (*node_name && !node && !json_bool(service, "spec.publishNotReadyAddresses", false)) {
            *nodes_missing = true;
            continue;
        }
        cJSON *ports = slice_ports(service, pod);
        out[count++] = (struct slice_endpoint){
            .endpoint = slice_endpoint(service, pod, node ? node->json : NULL, ip), .ports = ports};
    }
    return count;
}

static cJSON *wanted_labels(const cJSON *service)
{
    cJSON *labels = cJSON_CreateObject();
    const cJSON *l;
    cJSON_ArrayForEach(l, meta_labels(service)) if (cJSON_IsString(l))
        json_map_set_str(labels, l->string, l->valuestring);
    map_remove(labels, HEADLESS_LABEL);
    if (service_headless(service))
        json_map_set_str(labels, HEADLESS_LABEL, "");
    json_map_set_str(labels, SERVICE_NAME_LABEL, meta_name(service));
    json_map_set_str(labels, MANAGED_BY_LABEL, MANAGED_BY);
    return labels;
}

/* Where traffic is wanted to stay near, endpoints say whom they are meant for
 * (https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution). */
static void add_hints(const cJSON *service, struct slice_endpoint *endpoints, size_t count)
{
    const char *distribution = json_str_or(service, "spec.trafficDistribution", "");
    bool node = strcmp(distribution, "PreferSameNode") == 0;
    if (!node && strcmp(distribution, "PreferClose") != 0 &&
        strcmp(distribution, "PreferSameZone") != 0)
        return;
    for (size_t i = 0; i < count; i++) {
        cJSON *e = endpoints[i].endpoint;
        const char *const meant_for[][2] = {
            {"hints.forZones", json_str(e, "zone")},
            {"hints.forNodes", node ? json_str(e, "nodeName") : NULL}};
        for (size_t h = 0; h < ARRAY_LEN(meant_for); h++) {
            if (!json_bool(e, "conditions.ready", false) || !meant_for[h][1])
                continue;
            cJSON *name = cJSON_CreateObject();
            json_map_set_str(name, "name", meant_for[h][1]);
            cJSON_AddItemToArray(json_ensure_array(e, meant_for[h][0]), name);
        }
    }
}

static bool reconcile_family(struct endpointslices *s, struct slice_writer *w, const cJSON *service,
                             const struct kube_object_list *pods,
                             const struct kube_object_list *slices, bool *nodes_missing,
                             struct error **err)
{
    cleanup_free struct slice_endpoint *wanted = mem_alloc((pods->count + 1) * sizeof(*wanted));
    size_t count = wanted_endpoints(s, service, pods, w->family, wanted, nodes_missing);
    add_hints(service, wanted, count);
    return slices_write(w, slices, wanted, count, err);
}

/* Slices of an address family that the Service has no more. */
static bool delete_other_families(struct slice_writer *w, const cJSON *service,
                                  const struct kube_object_list *slices, struct error **err)
{
    for (size_t i = 0; i < slices->count; i++) {
        const char *type = json_str_or(slices->items[i]->json, "addressType", ""), *family;
        bool wanted = false;
        for (int f = 0; (family = service_ip_family(service, f)); f++)
            wanted = wanted || strcmp(family, type) == 0;
        if (!wanted && !slice_delete(w, slices->items[i]->json, err))
            return false;
    }
    return true;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct endpointslices *s = c->state;
    cleanup_object struct kube_object *service = informer_get(s->services, key);
    if (!service) {
        pthread_mutex_lock(&s->lock);
        trigger_times_forget(&s->triggers, key);
        pthread_mutex_unlock(&s->lock);
        expectations_forget(s->expectations, key);
        return true; /* its slices go by their owner reference */
    }
    if (!service_has_selector(service->json) || meta_deleting(service->json))
        return true;
    if (!expectations_met(s->expectations, key, s->slices)) {
        workqueue_add_after(c->queue, key, STALE_CACHE_RECHECK_MS);
        return true;
    }
    cleanup_objects struct kube_object_list pods = {0}, slices = {0};
    service_pods(service->json, s->pods, &pods);
    informer_by_index(s->slices, "service", key, &slices);
    pthread_mutex_lock(&s->lock);
    int64_t changed_at = trigger_time(&s->triggers, key, service->json, &pods);
    pthread_mutex_unlock(&s->lock);

    char text[TIME_TEXT_MAX];
    cleanup_json cJSON *labels = wanted_labels(service->json),
                       *owner = controller_ref_new("v1", "Service", service->json);
    struct slice_writer w = {.client = c->client,
                             .expectations = s->expectations,
                             .key = key,
                             .ns = service->ns,
                             .service = service->name,
                             .owner = owner,
                             .labels = labels,
                             .trigger = changed_at ? time_format(changed_at, text) : NULL};
    bool nodes_missing = false;
    cleanup_error struct error *e = NULL;
    bool ok = delete_other_families(&w, service->json, &slices, &e);
    for (int f = 0; ok && (w.family = service_ip_family(service->json, f)); f++)
        ok = reconcile_family(s, &w, service->json, &pods, &slices, &nodes_missing, &e);
    if (!ok) {
        if (!kube_error_is(e, "Conflict"))
            recorder_event(s->recorder, service->json, "Warning", "FailedToUpdateEndpointSlices",
                           "Error updating Endpoint Slices for Service %s: %s", key,
                           error_message(e));
        error_move(err, e);
        e = NULL;
        return false;
    }
    if (nodes_missing) {
        error_setf(err, "skipping Pods for Service %s: Node not found", key);
        return false;
    }
    return true;
}

/* --- what feeds the queue --- */

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct endpointslices *s = c->state;
    (void)event;
    enqueue_services_of_pod(c, s->services, old, new_object);
}

static void enqueue_key(void *ctx, const char *key)
{
    struct controller *c = ctx;
    workqueue_add(c->queue, key);
}

/* Somebody changed a slice of ours, or our own write has come back: look again. */
static void on_slice(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    (void)event;
    if (old)
        index_service(old->json, enqueue_key, userdata);
    if (new_object)
        index_service(new_object->json, enqueue_key, userdata);
}

static void setup(struct controller *c)
{
    struct endpointslices *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->expectations = expectations_new();
    s->recorder = manager_recorder(c->manager, "endpoint-slice-controller");
    s->services = manager_informer(c->manager, "v1", "services");
    s->pods = manager_informer(c->manager, "v1", "pods");
    s->nodes = manager_informer(c->manager, "v1", "nodes");
    s->slices = manager_informer(c->manager, "discovery.k8s.io/v1", "endpointslices");
    manager_index(c->manager, s->slices, "service", index_service);
    informer_add_handler(s->services, controller_enqueue_object, c);
    informer_add_handler(s->pods, on_pod, c);
    informer_add_handler(s->slices, on_slice, c);
}

static void free_state(struct controller *c)
{
    struct endpointslices *s = c->state;
    trigger_times_clear(&s->triggers);
    expectations_free(s->expectations);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type endpointslice_controller = {.name = "endpointslice-controller",
                                                         .queue = "endpoint_slice",
                                                         .workers = 2,
                                                         .setup = setup,
                                                         .reconcile = reconcile,
                                                         .free_state = free_state};
