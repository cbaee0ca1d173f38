/* What every cluster has from the start: the system namespaces, and the Service "kubernetes"
 * through which pods reach the API.
 *
 * The Service's endpoints are the living apiservers: each keeps a key in the store that ends with
 * it
 * (/registry/masterleases/<address>, as Kubernetes' do). */
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include "apiserver/admission/admission.h"
#include "apiserver/auth/rbac.h"
#include "apiserver/registry/cidr.h"
#include "apiserver/registry/registry.h"
#include "common/component.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define LEASES "masterleases/"
enum { RENEW_MS = 5000, RETRY_MS = 500, LEASE_SECONDS = 15 };

/* The bootstrap thread's own. */
static struct {
    const struct api_config *config;
    struct storage *storage;
    bool reachable; /* at an address that other hosts know */
} self;

static const char *const system_namespaces[] = {"kube-system", "kube-public", "kube-node-lease",
                                                "default"};

/* --- objects --- */

static cJSON *new_object(const char *api_version, const char *kind, const char *ns,
                         const char *name)
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
static bool ensure(const struct resource *r, cJSON *object, const struct claims *claims,
                   struct error **err)
{
    struct error *why = NULL;
    struct stored *s = storage_create(self.storage, r, object, claims ? claims->items : NULL,
                                      claims ? claims->count : 0, &why);
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
        json_map_set_str(json_ensure_object(ns, "metadata.labels"), "kubernetes.io/metadata.name",
                         system_namespaces[i]);
        cJSON_AddItemToArray(json_ensure_array(ns, "spec.finalizers"),
                             cJSON_CreateString("kubernetes"));
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
    const char *text = self.config->service_cluster_ip_range ? self.config->service_cluster_ip_range
                                                             : "10.96.0.0/16";
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
    bool ok = service_allocate(self.storage, service, NULL, 0, &claims, err) &&
              ensure(r, service, &claims, err);
    claims_clear(&claims);
    return ok;
}

/* --- the living apiservers --- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted addresses, freed by the caller; NULL with an error. */
static char **living_addresses(size_t *n, struct error **err)
{
    cleanup_free char *key = mem_printf(LEASES "%s", self.config->advertise_address);
    if (!storage_put_ttl(self.storage, key, "{}", LEASE_SECONDS, err))
        return NULL;
    char **list = storage_keys(self.storage, LEASES, err);
    *n = 0;
    for (char **a = list; a && *a; a++) {
        if (address_parse(*a, NULL))
            list[(*n)++] = *a;
        else
            free(*a);
    }
    if (list) {
        list[*n] = NULL;
        qsort(list, *n, sizeof *list, compare_text);
    }
    return list;
}

static cJSON *replace_with(void *userdata, cJSON *current, const struct stored *stored,
                           struct error **err)
{
    (void)stored;
    (void)err;
    const cJSON *wanted = userdata;
    cJSON *object = json_dup(current);
    const cJSON *m;
    cJSON_ArrayForEach(m, wanted) if (strcmp(m->string, "metadata") != 0)
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
    json_map_set_str(json_ensure_object(endpoints, "metadata.labels"),
                     "endpointslice.kubernetes.io/skip-mirror", "true");
    cJSON *subset = cJSON_CreateObject();
    cJSON_AddItemToArray(json_ensure_array(endpoints, "subsets"), subset);
    cleanup_json cJSON *slice =
        new_object("discovery.k8s.io/v1", "EndpointSlice", "default", "kubernetes");
    json_map_set_str(json_ensure_object(slice, "metadata.labels"), "kubernetes.io/service-name",
                     "kubernetes");
    json_set_int(slice, "metadata.generation", 1);
    json_map_set_str(slice, "addressType", strchr(addresses[0], ':') ? "IPv6" : "IPv4");
    for (size_t i = 0; i < n; i++) {
        cJSON *address = cJSON_CreateObject(), *endpoint = cJSON_CreateObject();
        json_map_set_str(address, "ip", addresses[i]);
        cJSON_AddItemToArray(json_ensure_array(subset, "addresses"), address);
        cJSON_AddItemToArray(json_ensure_array(endpoint, "addresses"),
                             cJSON_CreateString(addresses[i]));
        json_set_bool(endpoint, "conditions.ready", true);
        cJSON_AddItemToArray(json_ensure_array(slice, "endpoints"), endpoint);
    }
    cJSON_AddItemToArray(json_ensure_array(subset, "ports"), https_port());
    cJSON_AddItemToArray(json_ensure_array(slice, "ports"), https_port());
    return put(resource_find("", "v1", "endpoints"), endpoints, err) &&
           put(resource_find("discovery.k8s.io", "v1", "endpointslices"), slice, err);
}

static bool ensure_objects(struct error **err)
{
    return ensure_namespaces(err) && ensure_service(err);
}

static bool reconcile(struct error **err)
{
    if (!ensure_objects(err))
        return false;
    if (!self.reachable)
        return true;
    size_t n = 0;
    char **addresses = living_addresses(&n, err);
    bool ok = addresses && (n == 0 || put_endpoints(addresses, n, err));
    for (size_t i = 0; i < n; i++)
        free(addresses[i]);
    free(addresses);
    return ok;
}

static bool ensure_roles(struct error **err)
{
    return rbac_bootstrap(self.storage, err) && priority_bootstrap(self.storage, err);
}

static void pause_ms(int ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* Calls what until it succeeds (true) or the process stops; says once that it does not. */
static bool insist(bool (*what)(struct error **err))
{
    for (bool said = false; !component_stopping(); said = true) {
        cleanup_error struct error *err = NULL;
        if (what(&err))
            return true;
        if (!said)
            log_warn("Cannot keep the Service kubernetes and the system namespaces; trying again",
                     "err", error_message(err));
        pause_ms(RETRY_MS);
    }
    return false;
}

static void *run(void *arg)
{
    (void)arg;
    while (insist(reconcile))
        pause_ms(RENEW_MS);
    return NULL;
}

bool bootstrap_start(const struct api_config *config, struct storage *storage, struct error **err)
{
    self.config = config;
    self.storage = storage;
    const char *address = config->advertise_address;
    self.reachable = address && address_parse(address, NULL) && strcmp(address, "0.0.0.0") &&
                     strcmp(address, "::") && strncmp(address, "127.", 4);
    /* Whoever finds this apiserver ready finds the namespaces too. */
    if (!insist(ensure_objects) || !insist(ensure_roles))
        return true;
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, NULL);
    if (rc) {
        error_set_errno(err, rc, "start a thread");
        return false;
    }
    pthread_detach(thread);
    return true;
}
