/* Endpoints that somebody writes for a Service without a selector, shown as EndpointSlices too
 * (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#endpointslice-mirroring).
 */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/service_pods.h"
#include "controller-manager/slice_writer.h"

#define SERVICE_NAME_LABEL "kubernetes.io/service-name"
#define MANAGED_BY_LABEL   "endpointslice.kubernetes.io/managed-by"
#define MANAGED_BY         "endpointslicemirroring-controller.k8s.io"
#define SKIP_MIRROR_LABEL  "endpointslice.kubernetes.io/skip-mirror"
enum { STALE_CACHE_RECHECK_MS = 1000, MAX_PER_SUBSET = 1000 };

struct mirroring {
    struct informer *services, *endpoints, *slices;
    struct recorder *recorder;
    struct expectations *expectations;
};

/* Index "mirrored": "namespace/service" of slices that are ours. */
static void index_mirrored(const cJSON *slice, void (*add)(void *, const char *), void *ctx)
{
    const char *service = json_map_str(meta_labels(slice), SERVICE_NAME_LABEL);
    const char *by = json_map_str(meta_labels(slice), MANAGED_BY_LABEL);
    if (!service || !by || strcmp(by, MANAGED_BY) != 0)
        return;
    cleanup_free char *key = mem_printf("%s/%s", meta_ns(slice), service);
    add(ctx, key);
}

/* --- what is wanted --- */

static bool to_be_mirrored(const cJSON *endpoints, const cJSON *service)
{
    const char *skip = json_map_str(meta_labels(endpoints), SKIP_MIRROR_LABEL);
    return !meta_deleting(endpoints) && !(skip && strcmp(skip, "true") == 0) &&
           !meta_annotation(endpoints, "control-plane.alpha.kubernetes.io/leader") && service &&
           !service_has_selector(service) &&
           strcmp(json_str_or(service, "spec.type", ""), "ExternalName") != 0;
}

static cJSON *slice_ports(const cJSON *subset)
{
    cJSON *ports = cJSON_CreateArray();
    const cJSON *p;
    cJSON_ArrayForEach(p, json_get(subset, "ports"))
    {
        cJSON *port = cJSON_CreateObject();
        json_map_set_str(port, "name", json_str_or(p, "name", ""));
        json_map_set_str(port, "protocol", json_str_or(p, "protocol", "TCP"));
        json_set_int(port, "port", json_int(p, "port", 0));
        if (json_str(p, "appProtocol"))
            json_map_set_str(port, "appProtocol", json_str(p, "appProtocol"));
        cJSON_AddItemToArray(ports, port);
    }
    return ports;
}

static cJSON *slice_endpoint(const cJSON *address, bool ready)
{
    cJSON *e = cJSON_CreateObject();
    cJSON_AddItemToArray(json_ensure_array(e, "addresses"),
                         cJSON_CreateString(json_str(address, "ip")));
    json_set_bool(e, "conditions.ready", ready);
    static const char *const copied[] = {"hostname", "nodeName"};
    for (size_t i = 0; i < ARRAY_LEN(copied); i++)
        if (json_str(address, copied[i]))
            json_map_set_str(e, copied[i], json_str(address, copied[i]));
    if (json_get(address, "targetRef"))
        json_map_set(e, "targetRef", json_dup(json_get(address, "targetRef")));
    return e;
}

struct wanted {
    struct slice_endpoint *items;
    size_t count;
};

static void add_addresses(struct wanted *w, const cJSON *subset, const char *list, bool ready,
                          bool v6)
{
    const cJSON *a;
    size_t taken = 0;
    cJSON_ArrayForEach(a, json_get(subset, list))
    {
        const char *ip = json_str(a, "ip");
        if (!ip || (strchr(ip, ':') != NULL) != v6 || taken++ >= MAX_PER_SUBSET)
            continue;
        w->items = mem_realloc(w->items, (w->count + 1) * sizeof(*w->items));
        w->items[w->count++] = (struct slice_endpoint){.endpoint = slice_endpoint(a, ready),
                                                       .ports = slice_ports(subset)};
    }
}

static struct wanted wanted_endpoints(const cJSON *endpoints, bool v6)
{
    struct wanted w = {0};
    const cJSON *subset;
    cJSON_ArrayForEach(subset, json_get(endpoints, "subsets"))
    {
        add_addresses(&w, subset, "addresses", true, v6);
        add_addresses(&w, subset, "notReadyAddresses", false, v6);
    }
    return w;
}

static cJSON *wanted_labels(const cJSON *endpoints)
{
    const cJSON *labels = meta_labels(endpoints);
    cJSON *out = cJSON_IsObject(labels) ? json_dup(labels) : cJSON_CreateObject();
    json_map_set_str(out, SERVICE_NAME_LABEL, meta_name(endpoints));
    json_map_set_str(out, MANAGED_BY_LABEL, MANAGED_BY);
    return out;
}

/* --- the loop --- */

static bool delete_all(struct slice_writer *w, const struct kube_object_list *slices,
                       const char *family, struct error **err)
{
    for (size_t i = 0; i < slices->count; i++) {
        const cJSON *slice = slices->items[i]->json;
        if (!meta_deleting(slice) &&
            (!family || strcmp(json_str_or(slice, "addressType", ""), family) == 0) &&
            !slice_delete(w, slice, err))
            return false;
    }
    return true;
}

static bool mirror(struct slice_writer *w, const cJSON *endpoints,
                   const struct kube_object_list *slices, struct error **err)
{
    for (int v6 = 0; v6 < 2; v6++) {
        w->family = v6 ? "IPv6" : "IPv4";
        struct wanted wanted = wanted_endpoints(endpoints, v6);
        bool ok = wanted.count ? slices_write(w, slices, wanted.items, wanted.count, err)
                               : delete_all(w, slices, w->family, err);
        free(wanted.items);
        if (!ok)
            return false;
    }
    return true;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct mirroring *s = c->state;
    cleanup_object struct kube_object *endpoints = informer_get(s->endpoints, key),
                                      *service = informer_get(s->services, key);
    if (!endpoints) {
        expectations_forget(s->expectations, key);
        return true; /* the slices go by their owner reference */
    }
    if (!expectations_met(s->expectations, key, s->slices)) {
        workqueue_add_after(c->queue, key, STALE_CACHE_RECHECK_MS);
        return true;
    }
    cleanup_objects struct kube_object_list slices = {0};
    informer_by_index(s->slices, "mirrored", key, &slices);
    cleanup_json cJSON *labels = wanted_labels(endpoints->json),
                       *owner = controller_ref_new("v1", "Endpoints", endpoints->json);
    struct slice_writer w = {.client = c->client,
                             .expectations = s->expectations,
                             .key = key,
                             .ns = endpoints->ns,
                             .service = endpoints->name,
                             .owner = owner,
                             .labels = labels};
    cleanup_error struct error *e = NULL;
    if (to_be_mirrored(endpoints->json, service ? service->json : NULL)
            ? mirror(&w, endpoints->json, &slices, &e)
            : delete_all(&w, &slices, NULL, &e))
        return true;
    if (!kube_error_is(e, "Conflict"))
        recorder_event(s->recorder, endpoints->json, "Warning", "FailedToUpdateEndpointSlices",
                       "Error updating Endpoint Slices for Endpoints %s: %s", key,
                       error_message(e));
    error_move(err, e);
    e = NULL;
    return false;
}

static void enqueue_key(void *ctx, const char *key)
{
    workqueue_add(((struct controller *)ctx)->queue, key);
}

static void on_slice(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    (void)event;
    if (old)
        index_mirrored(old->json, enqueue_key, userdata);
    if (new_object)
        index_mirrored(new_object->json, enqueue_key, userdata);
}

static void setup(struct controller *c)
{
    struct mirroring *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->expectations = expectations_new();
    s->recorder = manager_recorder(c->manager, "endpoint-slice-mirroring-controller");
    s->services = manager_informer(c->manager, "v1", "services");
    s->endpoints = manager_informer(c->manager, "v1", "endpoints");
    s->slices = manager_informer(c->manager, "discovery.k8s.io/v1", "endpointslices");
    manager_index(c->manager, s->slices, "mirrored", index_mirrored);
    informer_add_handler(s->services, controller_enqueue_object, c);
    informer_add_handler(s->endpoints, controller_enqueue_object, c);
    informer_add_handler(s->slices, on_slice, c);
}

static void free_state(struct controller *c)
{
    struct mirroring *s = c->state;
    expectations_free(s->expectations);
    free(s);
}

const struct controller_type endpointslice_mirroring_controller = {
    .name = "endpointslice-mirroring-controller",
    .queue = "endpoint_slice_mirroring",
    .workers = 1,
    .setup = setup,
    .reconcile = reconcile,
    .free_state = free_state};
