/* What every cluster has from the start: the system namespaces, and the Service "kubernetes" through which pods reach the API.
 *
 * The Service's endpoints are the living apiservers. Each keeps a Lease in kube-system and counts another as living while
 * that one's Lease was seen to change on its own monotonic clock during the last seconds: no clocks are compared. */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include "apiserver/registry/cidr.h"
#include "apiserver/registry/registry.h"
#include "common/component.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define IDENTITY_LABEL   "apiserver.kubernetes.io/identity"
#define IDENTITY_VALUE   "kube-apiserver"
#define ADDRESS_ANNOTATION "skiff/advertise-address"
enum { RENEW_MS = 5000, DEAD_AFTER_MS = 15000, RETRY_MS = 500, LEASE_SECONDS = 3600, PEERS_MAX = 64 };

struct peer {
    char *name, *renewed;
    int64_t seen_ms;
};
/* The bootstrap thread's own. */
static struct {
    const struct api_config *config;
    struct storage *storage;
    char *lease_name;
    struct peer peers[PEERS_MAX];
    int peer_count;
} self;

static const char *const system_namespaces[] = {"kube-system", "kube-public", "kube-node-lease", "default"};

/* --- objects --- */

static cJSON *new_object(const char *api_version, const char *kind, const char *ns, const char *name)
{
    cJSON *o = cJSON_CreateObject();
    json_map_set_str(o, "kind", kind);
    json_map_set_str(o, "apiVersion", api_version);
    cJSON *meta = cJSON_AddObjectToObject(o, "metadata");
    char uid[37], now[TIME_TEXT_MAX];
    meta_uuid(uid);
    meta_now(now);
    json_map_set_str(meta, "name", name);
    if (ns)
        json_map_set_str(meta, "namespace", ns);
    json_map_set_str(meta, "uid", uid);
    json_map_set_str(meta, "creationTimestamp", now);
    return o;
}

static bool is_there(const struct error *e)
{
    return e && e->code == 409 && !strcmp(e->reason, "AlreadyExists");
}

/* Creates it unless it exists. */
static bool ensure(const struct resource *r, cJSON *object, const struct claims *claims, struct error **err)
{
    struct error *why = NULL;
    struct stored *s = storage_create(self.storage, r, object, claims ? claims->items : NULL, claims ? claims->count : 0, &why);
    stored_unref(s);
    if (s || is_there(why)) {
        error_free(why);
        return true;
    }
    error_move(err, why);
    return false;
}

static bool exists(const struct resource *r, const char *ns, const char *name)
{
    cleanup_stored struct stored *s = storage_get(self.storage, r, ns, name, NULL);
    return s;
}

static bool ensure_namespaces(struct error **err)
{
    const struct resource *r = resource_find("", "v1", "namespaces");
    for (size_t i = 0; i < ARRAY_LEN(system_namespaces); i++) {
        if (exists(r, "", system_namespaces[i]))
            continue;
        cleanup_json cJSON *ns = new_object("v1", "Namespace", NULL, system_namespaces[i]);
        json_map_set_str(json_ensure_object(ns, "metadata.labels"), "kubernetes.io/metadata.name", system_namespaces[i]);
        cJSON_AddItemToArray(json_ensure_array(ns, "spec.finalizers"), cJSON_CreateString("kubernetes"));
        json_set_str(ns, "status.phase", "Active");
        if (!ensure(r, ns, NULL, err))
            return false;
    }
    return true;
}

static bool ensure_service(struct error **err)
{
    const struct resource *r = resource_find("", "v1", "services");
    if (exists(r, "default", "kubernetes"))
        return true;
    const char *text = self.config->service_cluster_ip_range ? self.config->service_cluster_ip_range : "10.96.0.0/16";
    cleanup_free char *first = mem_strndup(text, strcspn(text, ","));
    struct cidr range;
    char ip[ADDRESS_TEXT_MAX];
    if (!cidr_parse(first, &range, err))
        return false;
    cleanup_json cJSON *service = new_object("v1", "Service", "default", "kubernetes");
    cJSON *labels = json_ensure_object(service, "metadata.labels");
    json_map_set_str(labels, "component", "apiserver");
    json_map_set_str(labels, "provider", "kubernetes");
    cJSON *port = cJSON_CreateObject();
    json_map_set_str(port, "name", "https");
    json_map_set_str(port, "protocol", "TCP");
    json_set_int(port, "port", 443);
    json_set_int(port, "targetPort", self.config->secure_port);
    cJSON_AddItemToArray(json_ensure_array(service, "spec.ports"), port);
    cidr_address(&range, range.first, ip);
    json_set_str(service, "spec.clusterIP", ip);
    cJSON_AddItemToArray(json_ensure_array(service, "spec.clusterIPs"), cJSON_CreateString(ip));
    json_set_str(service, "spec.type", "ClusterIP");
    json_set_str(service, "spec.sessionAffinity", "None");
    cJSON_AddItemToArray(json_ensure_array(service, "spec.ipFamilies"),
                         cJSON_CreateString(range.family == AF_INET6 ? "IPv6" : "IPv4"));
    json_set_str(service, "spec.ipFamilyPolicy", "SingleStack");
    json_set_str(service, "spec.internalTrafficPolicy", "Cluster");
    json_ensure_object(service, "status.loadBalancer");
    struct claims claims = {0};
    bool ok = service_allocate(self.storage, service, NULL, 0, &claims, err) && ensure(r, service, &claims, err);
    claims_clear(&claims);
    return ok;
}

/* --- the living apiservers --- */

static cJSON *renew(void *userdata, cJSON *current, const struct stored *stored, struct error **err)
{
    (void)userdata;
    (void)stored;
    (void)err;
    char now[TIME_TEXT_MAX];
    cJSON *lease = json_dup(current);
    json_set_str(lease, "spec.renewTime", time_format_micro(time_now_micros(), now));
    json_map_set_str(json_ensure_object(lease, "metadata.annotations"), ADDRESS_ANNOTATION, self.config->advertise_address);
    return lease;
}

static bool renew_lease(struct error **err)
{
    const struct resource *r = resource_find("coordination.k8s.io", "v1", "leases");
    struct storage_update u = {.change = renew};
    struct error *why = NULL;
    stored_unref(storage_update(self.storage, r, "kube-system", self.lease_name, &u, &why));
    if (!why)
        return true;
    if (why->code != 404) {
        error_move(err, why);
        return false;
    }
    error_free(why);
    char now[TIME_TEXT_MAX], uid[37];
    meta_uuid(uid);
    cleanup_json cJSON *lease = new_object("coordination.k8s.io/v1", "Lease", "kube-system", self.lease_name);
    json_map_set_str(json_ensure_object(lease, "metadata.labels"), IDENTITY_LABEL, IDENTITY_VALUE);
    json_map_set_str(json_ensure_object(lease, "metadata.annotations"), ADDRESS_ANNOTATION, self.config->advertise_address);
    cleanup_free char *holder = mem_printf("%s_%s", self.lease_name, uid);
    json_set_str(lease, "spec.holderIdentity", holder);
    json_set_int(lease, "spec.leaseDurationSeconds", LEASE_SECONDS);
    json_set_str(lease, "spec.renewTime", time_format_micro(time_now_micros(), now));
    return ensure(r, lease, NULL, err);
}

/* Notes what the lease says now; true while its holder counts as living. */
static bool observe(const char *name, const char *renewed)
{
    int64_t now = time_monotonic_ms();
    for (int i = 0; i < self.peer_count; i++) {
        struct peer *p = &self.peers[i];
        if (strcmp(p->name, name) != 0)
            continue;
        if (strcmp(p->renewed, renewed) != 0) {
            free(p->renewed);
            p->renewed = mem_strdup(renewed);
            p->seen_ms = now;
        }
        return now - p->seen_ms < DEAD_AFTER_MS;
    }
    if (self.peer_count == PEERS_MAX)
        return false;
    self.peers[self.peer_count++] = (struct peer){mem_strdup(name), mem_strdup(renewed), now};
    return true;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted addresses; each freed by the caller. */
static bool living_addresses(char **out, size_t *n, struct error **err)
{
    struct stored **list = NULL;
    size_t count = 0;
    uint64_t revision;
    *n = 0;
    if (!storage_list(self.storage, resource_find("coordination.k8s.io", "v1", "leases"), "kube-system", &list, &count, &revision,
                      err))
        return false;
    for (size_t i = 0; i < count; i++) {
        cleanup_json cJSON *lease = json_parse(list[i]->json, list[i]->len, NULL);
        const char *label = json_map_str(json_path(lease, "metadata.labels"), IDENTITY_LABEL);
        const char *address = json_map_str(json_path(lease, "metadata.annotations"), ADDRESS_ANNOTATION);
        if (label && !strcmp(label, IDENTITY_VALUE) && address && address_parse(address, NULL) &&
            observe(list[i]->name, json_str_or(lease, "spec.renewTime", "")) && *n < PEERS_MAX)
            out[(*n)++] = mem_strdup(address);
        stored_unref(list[i]);
    }
    free(list);
    qsort(out, *n, sizeof *out, compare_text);
    return true;
}

static cJSON *replace_with(void *userdata, cJSON *current, const struct stored *stored, struct error **err)
{
    (void)stored;
    (void)err;
    const cJSON *wanted = userdata;
    cJSON *object = json_dup(current);
    const cJSON *m;
    cJSON_ArrayForEach(m, wanted)
        if (strcmp(m->string, "metadata") != 0)
            json_map_set(object, m->string, json_dup(m));
    cJSON_ArrayForEach(m, json_path(wanted, "metadata.labels"))
        json_map_set(json_ensure_object(object, "metadata.labels"), m->string, json_dup(m));
    if (json_equal(object, current)) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static bool put(const struct resource *r, cJSON *object, struct error **err)
{
    struct storage_update u = {.change = replace_with, .userdata = object};
    struct error *why = NULL;
    stored_unref(storage_update(self.storage, r, "default", "kubernetes", &u, &why));
    if (!why)
        return true;
    if (why->code == 404) {
        error_free(why);
        return ensure(r, object, NULL, err);
    }
    error_move(err, why);
    return false;
}

static cJSON *https_port(void)
{
    cJSON *port = cJSON_CreateObject();
    json_map_set_str(port, "name", "https");
    json_set_int(port, "port", self.config->secure_port);
    json_map_set_str(port, "protocol", "TCP");
    return port;
}

static bool put_endpoints(char **addresses, size_t n, struct error **err)
{
    cleanup_json cJSON *endpoints = new_object("v1", "Endpoints", "default", "kubernetes");
    json_map_set_str(json_ensure_object(endpoints, "metadata.labels"), "endpointslice.kubernetes.io/skip-mirror", "true");
    cJSON *subset = cJSON_CreateObject();
    cJSON_AddItemToArray(json_ensure_array(endpoints, "subsets"), subset);
    cleanup_json cJSON *slice = new_object("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
    json_map_set_str(json_ensure_object(slice, "metadata.labels"), "kubernetes.io/service-name", "kubernetes");
    json_set_int(slice, "metadata.generation", 1);
    json_map_set_str(slice, "addressType", strchr(addresses[0], ':') ? "IPv6" : "IPv4");
    for (size_t i = 0; i < n; i++) {
        cJSON *address = cJSON_CreateObject(), *endpoint = cJSON_CreateObject();
        json_map_set_str(address, "ip", addresses[i]);
        cJSON_AddItemToArray(json_ensure_array(subset, "addresses"), address);
        cJSON_AddItemToArray(json_ensure_array(endpoint, "addresses"), cJSON_CreateString(addresses[i]));
        json_set_bool(endpoint, "conditions.ready", true);
        cJSON_AddItemToArray(json_ensure_array(slice, "endpoints"), endpoint);
    }
    cJSON_AddItemToArray(json_ensure_array(subset, "ports"), https_port());
    cJSON_AddItemToArray(json_ensure_array(slice, "ports"), https_port());
    return put(resource_find("", "v1", "endpoints"), endpoints, err) &&
           put(resource_find("discovery.k8s.io", "v1", "endpointslices"), slice, err);
}

static bool reconcile(struct error **err)
{
    if (!ensure_namespaces(err) || !ensure_service(err))
        return false;
    if (!self.lease_name)
        return true;
    char *addresses[PEERS_MAX] = {0};
    size_t n = 0;
    bool ok = renew_lease(err) && living_addresses(addresses, &n, err) && (n == 0 || put_endpoints(addresses, n, err));
    for (size_t i = 0; i < n; i++)
        free(addresses[i]);
    return ok;
}

static void *run(void *arg)
{
    (void)arg;
    bool failed = false;
    while (!component_stopping()) {
        struct error *err = NULL;
        int pause = RENEW_MS;
        if (!reconcile(&err)) {
            if (!failed)
                log_warn("Cannot keep the Service kubernetes and the system namespaces; trying again", "err", error_message(err));
            pause = RETRY_MS;
        }
        failed = err != NULL;
        error_free(err);
        nanosleep(&(struct timespec){pause / 1000, pause % 1000 * 1000000L}, NULL);
    }
    return NULL;
}

static uint64_t hash(const char *s)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

bool bootstrap_start(const struct api_config *config, struct storage *storage, struct error **err)
{
    self.config = config;
    self.storage = storage;
    const char *address = config->advertise_address;
    if (address && address_parse(address, NULL) && strcmp(address, "0.0.0.0") && strcmp(address, "::") &&
        strncmp(address, "127.", 4)) {
        cleanup_free char *id = mem_printf("%s:%lld", address, (long long)config->secure_port);
        self.lease_name = mem_printf("apiserver-%016llx", (unsigned long long)hash(id));
    }
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, NULL);
    if (rc) {
        error_set_errno(err, rc, "start a thread");
        return false;
    }
    pthread_detach(thread);
    return true;
}
