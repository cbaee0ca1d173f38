#include "kube-proxy/proxy.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include "common/component.h"
#include "common/informer.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kube-proxy/conntrack.h"
#include "kube-proxy/health.h"
#include "kube-proxy/nft.h"
#include "kube-proxy/policy/enforcer.h"
#include "kube-proxy/route.h"
#include "kube-proxy/rules.h"

/* The Services as one IP family sees them. */
struct family {
    int family; /* AF_INET, AF_INET6 */
    char *service_cidr;
    struct rules *rules;
};

struct proxy {
    char *node_name, *zone;
    struct family families[2];
    size_t family_count;
    int64_t min_sync_ms, sync_ms;
    struct informer *services, *slices, *nodes;
    struct nft *nft; /* these three, the zone and the families: the sync thread's */
    struct health_checks *health;
    struct routes *routes;
    struct enforcer *enforcer; /* NULL: NetworkPolicies are somebody else's */
    bool everything;           /* the whole table must be written */
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    char **dirty; /* names of Services, with repetitions */
    size_t dirty_count, dirty_capacity;
    bool nodes_dirty, stopping, synced_once;
    struct metric *duration, *last_sync, *failures, *service_changes, *endpoint_changes;
};

/* --- what changed --- */

static void mark_service(struct proxy *p, const char *ns, const char *name)
{
    pthread_mutex_lock(&p->lock);
    if (p->dirty_count == p->dirty_capacity) {
        p->dirty_capacity = p->dirty_capacity ? p->dirty_capacity * 2 : 64;
        p->dirty = mem_realloc(p->dirty, p->dirty_capacity * sizeof *p->dirty);
    }
    p->dirty[p->dirty_count++] = mem_printf("%s/%s", ns, name);
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void on_service(void *userdata, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *now)
{
    (void)event;
    struct proxy *p = userdata;
    const struct kube_object *o = now ? now : old;
    metric_add(p->service_changes, "", 1);
    mark_service(p, o->ns, o->name);
}

static const char *service_of(const struct kube_object *slice)
{
    return slice ? json_map_str(json_path(slice->json, "metadata.labels"),
                                "kubernetes.io/service-name")
                 : NULL;
}

static void on_slice(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *now)
{
    (void)event;
    struct proxy *p = userdata;
    const char *before = service_of(old), *after = service_of(now);
    metric_add(p->endpoint_changes, "", 1);
    if (before && (!after || strcmp(before, after) != 0))
        mark_service(p, old->ns, before);
    if (after)
        mark_service(p, now->ns, after);
}

static bool internal_ip(const cJSON *node, int family, struct address *out)
{
    const cJSON *address;
    cJSON_ArrayForEach(address, json_path(node, "status.addresses"))
    {
        if (strcmp(json_str_or(address, "type", ""), "InternalIP") == 0 &&
            address_parse(json_str(address, "address"), out) && out->family == family)
            return true;
    }
    return false;
}

static bool same(const cJSON *a, const cJSON *b, const char *path)
{
    return json_equal(json_path(a, path), json_path(b, path));
}

static const char *zone_of(const cJSON *node)
{
    const char *zone =
        json_map_str(json_path(node, "metadata.labels"), "topology.kubernetes.io/zone");
    return zone ? zone : "";
}

static void on_node(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *now)
{
    struct proxy *p = userdata;
    /* Nodes tell that they are alive all the time; only these matter here. */
    if (event == INFORMER_UPDATED && same(old->json, now->json, "status.addresses") &&
        same(old->json, now->json, "spec.podCIDRs") && same(old->json, now->json, "spec.podCIDR") &&
        strcmp(zone_of(old->json), zone_of(now->json)) == 0)
        return;
    pthread_mutex_lock(&p->lock);
    p->nodes_dirty = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void index_service(const cJSON *slice, void (*add)(void *, const char *), void *ctx)
{
    const char *service =
        json_map_str(json_path(slice, "metadata.labels"), "kubernetes.io/service-name");
    const char *ns = json_str(slice, "metadata.namespace");
    if (service && ns) {
        cleanup_free char *key = mem_printf("%s/%s", ns, service);
        add(ctx, key);
    }
}

/* --- bringing it to the kernel --- */

static void update_service(struct proxy *p, const char *key)
{
    cleanup_object struct kube_object *service = informer_get(p->services, key);
    cleanup_objects struct kube_object_list slices = {0};
    if (service)
        informer_by_index(p->slices, "service", key, &slices);
    cleanup_free const cJSON **json = mem_alloc((slices.count + 1) * sizeof *json);
    for (size_t i = 0; i < slices.count; i++)
        json[i] = slices.items[i]->json;
    uint16_t health_port = 0;
    size_t local = 0;
    for (size_t i = 0; i < p->family_count; i++) {
        struct proxy_service *s =
            service
                ? proxy_service_build(service->json, json, slices.count,
                                      &(struct proxy_node){.name = p->node_name, .zone = p->zone},
                                      p->families[i].family)
                : NULL;
        if (s && s->health_port) {
            health_port = s->health_port;
            local = s->local_ready > local ? s->local_ready : local;
        }
        rules_set(p->families[i].rules, key, s);
    }
    health_checks_set(p->health, key, health_port, local);
}

static void take_all(struct proxy *p, struct buf *commands)
{
    for (size_t i = 0; i < p->family_count; i++)
        rules_take_all(p->families[i].rules, commands);
}

static void print_for_each_family(struct proxy *p, const char *command, struct buf *out)
{
    for (size_t i = 0; i < p->family_count; i++)
        buf_printf(out, "%s %s " RULES_TABLE "\n", command,
                   p->families[i].family == AF_INET ? "ip" : "ip6");
}

static bool program_rules(struct proxy *p)
{
    cleanup_buf struct buf commands = {0};
    if (p->everything)
        take_all(p, &commands);
    for (size_t i = 0; i < p->family_count && !p->everything; i++)
        rules_take_changes(p->families[i].rules, &commands);
    if (commands.len == 0)
        return true;
    log_debug(5, "Running nftables transaction", "commands", buf_str(&commands));
    cleanup_error struct error *err = NULL;
    if (!nft_run(p->nft, buf_str(&commands), &err)) {
        log_error("Could not program the Services", "err", error_message(err));
        if (p->everything) {
            /* Another version's table may be in the way. Within one transaction nobody sees it
             * missing. */
            cleanup_buf struct buf again = {0};
            cleanup_error struct error *again_err = NULL;
            print_for_each_family(p, "add table", &again);
            print_for_each_family(p, "delete table", &again);
            take_all(p, &again);
            if (nft_run(p->nft, buf_str(&again), &again_err)) {
                p->everything = false;
                return true;
            }
        }
        metric_add(p->failures, "", 1);
        p->everything = true;
        return false;
    }
    p->everything = false;
    return true;
}

static void clean_flows(struct proxy *p)
{
    for (size_t i = 0; i < p->family_count; i++) {
        struct rules_udp *udp;
        size_t count = rules_take_udp(p->families[i].rules, &udp);
        if (count > 0) {
            cleanup_error struct error *err = NULL;
            int deleted = conntrack_clean(p->families[i].family, udp, count, &err);
            if (deleted < 0)
                log_error("Could not forget stale UDP flows", "err", error_message(err));
            else if (deleted > 0)
                log_debug(2, "Forgot stale UDP flows", "count", log_int(deleted));
        }
        rules_udp_free(udp, count);
    }
}

struct route_list {
    struct route *items;
    size_t count;
};

static void add_route(struct route_list *l, struct route route)
{
    l->items = mem_realloc(l->items, (l->count + 1) * sizeof *l->items);
    l->items[l->count++] = route;
}

static void route_to_node(struct route_list *l, const cJSON *node, const char *pod_cidr)
{
    struct route r = {0};
    if (address_parse_cidr(pod_cidr, &r.destination, &r.prefix) &&
        internal_ip(node, r.destination.family, &r.gateway))
        add_route(l, r);
}

static bool program_routes(struct proxy *p)
{
    cleanup_objects struct kube_object_list nodes = {0};
    informer_list(p->nodes, &nodes);
    struct route_list routes = {0};
    for (size_t i = 0; i < nodes.count; i++) {
        const cJSON *node = nodes.items[i]->json, *cidrs = json_path(node, "spec.podCIDRs"), *cidr;
        if (strcmp(nodes.items[i]->name, p->node_name) == 0) {
            for (size_t f = 0; f < p->family_count; f++) {
                struct route r = {0};
                if (internal_ip(node, p->families[f].family, &r.source) &&
                    address_parse_cidr(p->families[f].service_cidr, &r.destination, &r.prefix))
                    add_route(&routes, r);
            }
            continue;
        }
        cJSON_ArrayForEach(cidr, cidrs)
        {
            if (cJSON_IsString(cidr))
                route_to_node(&routes, node, cidr->valuestring);
        }
        if (cJSON_GetArraySize(cidrs) == 0)
            route_to_node(&routes, node, json_str(node, "spec.podCIDR"));
    }
    cleanup_error struct error *err = NULL;
    bool ok = routes_sync(p->routes, routes.items, routes.count, &err);
    if (!ok)
        log_error("Could not program the routes", "err", error_message(err));
    free(routes.items);
    return ok;
}

/* Which endpoints are meant for this node may depend on its zone. */
static void look_at_zone(struct proxy *p)
{
    cleanup_object struct kube_object *node = informer_get(p->nodes, p->node_name);
    const char *zone = node ? zone_of(node->json) : "";
    if (strcmp(zone, p->zone) == 0)
        return;
    free(p->zone);
    p->zone = mem_strdup(zone);
    cleanup_objects struct kube_object_list services = {0};
    informer_list(p->services, &services);
    for (size_t i = 0; i < services.count; i++)
        update_service(p, services.items[i]->key);
}

/* Somebody may have flushed the ruleset. */
static bool table_is_there(struct proxy *p)
{
    for (size_t i = 0; i < p->family_count; i++)
        if (!nft_run(p->nft,
                     p->families[i].family == AF_INET ? "list chain ip " RULES_TABLE " services\n"
                                                      : "list chain ip6 " RULES_TABLE " services\n",
                     NULL))
            return false;
    return true;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sync_services(struct proxy *p, char **names, size_t count)
{
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]) != 0)
            update_service(p, names[i]);
    for (size_t i = 0; i < count; i++)
        free(names[i]);
    free(names);
}

/* Waits until there is something to do or it is time to look; false when stopping. */
static bool wait_for_changes(struct proxy *p, int64_t until_ms)
{
    struct timespec t = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    while (!p->stopping && p->dirty_count == 0 && !p->nodes_dirty)
        if (pthread_cond_timedwait(&p->changed, &p->lock, &t) != 0)
            break;
    return !p->stopping;
}

static void pause_until(struct proxy *p, int64_t until_ms)
{
    struct timespec t = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};
    while (!p->stopping && pthread_cond_timedwait(&p->changed, &p->lock, &t) == 0)
        ;
}

static void *sync_thread(void *arg)
{
    struct proxy *p = arg;
    if (!informer_wait_synced(p->services) || !informer_wait_synced(p->slices) ||
        !informer_wait_synced(p->nodes))
        return NULL;
    enum { RELEASE_MS = 120000 };
    int64_t last = 0, retry = 0, look = 0, release = 0;
    p->everything = true;
    bool routes_failed = false;
    pthread_mutex_lock(&p->lock);
    while (wait_for_changes(p, retry ? retry : look)) {
        if (last && time_monotonic_ms() < last + p->min_sync_ms)
            pause_until(p, last + p->min_sync_ms);
        char **names = p->dirty;
        size_t count = p->dirty_count;
        bool nodes = p->nodes_dirty || routes_failed;
        p->dirty = NULL;
        p->dirty_count = p->dirty_capacity = 0;
        p->nodes_dirty = false;
        pthread_mutex_unlock(&p->lock);

        int64_t began = time_monotonic_ms();
        struct timespec from, to;
        clock_gettime(CLOCK_MONOTONIC, &from);
        if (began >= look) {
            nodes = true;
            p->everything |= last != 0 && !table_is_there(p);
            look = began + p->sync_ms;
        }
        if (nodes)
            look_at_zone(p);
        sync_services(p, names, count);
        bool whole = p->everything, ok = program_rules(p);
        if (ok)
            clean_flows(p);
        if (nodes)
            routes_failed = !program_routes(p);
        clock_gettime(CLOCK_MONOTONIC, &to);
        metric_observe(p->duration, "",
                       (double)(to.tv_sec - from.tv_sec) +
                           (double)(to.tv_nsec - from.tv_nsec) / 1e9);
        last = time_monotonic_ms();
        if (whole || last >= release) {
            mem_release_idle(); /* the parser's memory for the whole table, and what only the start
                                   needed */
            release = last + (whole ? RELEASE_MS / 10 : RELEASE_MS);
        }
        retry = ok && !routes_failed ? 0 : last + 1000;
        if (ok)
            metric_set(p->last_sync, "", (double)time_now_micros() / 1e6);
        pthread_mutex_lock(&p->lock);
        p->synced_once |= ok;
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* --- the outside --- */

static struct informer *watch(const struct proxy_options *o, const char *api_version,
                              const char *resource, const char *labels, informer_handler *handler,
                              struct proxy *p)
{
    struct informer *i = informer_new(&(struct informer_options){.client = o->client,
                                                                 .api_version = api_version,
                                                                 .resource = resource,
                                                                 .label_selector = labels});
    informer_add_handler(i, handler, p);
    return i;
}

/* "10.244.0.0/16,fd00:10:244::/56" and the same of Services: a family for each pair. */
static bool read_families(struct proxy *p, const struct proxy_options *o, struct error **err)
{
    for (const char *pods = o->cluster_cidr; *pods;
         pods += strcspn(pods, ","), pods += *pods == ',') {
        cleanup_free char *pod_cidr = mem_strndup(pods, strcspn(pods, ","));
        struct address pod_ip, service_ip;
        uint8_t prefix;
        if (p->family_count == 2 || !address_parse_cidr(pod_cidr, &pod_ip, &prefix) ||
            (p->family_count == 1 && p->families[0].family == pod_ip.family))
            break;
        struct family *f = &p->families[p->family_count];
        for (const char *s = o->service_cidr; *s; s += strcspn(s, ","), s += *s == ',') {
            cleanup_free char *service_cidr = mem_strndup(s, strcspn(s, ","));
            if (f->rules || !address_parse_cidr(service_cidr, &service_ip, &prefix) ||
                service_ip.family != pod_ip.family)
                continue;
            f->family = pod_ip.family;
            f->service_cidr = mem_strdup(service_cidr);
            f->rules = rules_new(f->family, pod_cidr, service_cidr);
        }
        if (!f->rules)
            break;
        p->family_count++;
        if (!strchr(pods, ','))
            return true;
    }
    error_setf(err, "--cluster-cidr and --service-cluster-ip-range must each be a range such as "
                    "10.244.0.0/16, or two of "
                    "different IP families joined by a comma");
    return false;
}

static void free_families(struct proxy *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->families); i++) {
        rules_free(p->families[i].rules);
        free(p->families[i].service_cidr);
    }
}

struct proxy *proxy_start(const struct proxy_options *o, struct error **err)
{
    struct nft *nft = nft_new(err);
    if (!nft)
        return NULL;
    struct routes *routes = routes_new(err);
    if (!routes) {
        nft_free(nft);
        return NULL;
    }
    struct proxy *p = mem_alloc(sizeof *p);
    if (!read_families(p, o, err)) {
        free_families(p);
        free(p);
        nft_free(nft);
        routes_free(routes);
        return NULL;
    }
    p->node_name = mem_strdup(o->node_name);
    p->zone = mem_strdup("");
    p->health = health_checks_new();
    p->min_sync_ms = o->min_sync_ms;
    p->sync_ms = o->sync_ms;
    p->nft = nft;
    p->routes = routes;
    p->duration = metric_new(METRIC_HISTOGRAM, "kubeproxy_sync_proxy_rules_duration_seconds",
                             "SyncProxyRules latency in seconds", "", NULL);
    p->last_sync = metric_new(METRIC_GAUGE, "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                              "The last time proxy rules were successfully synced", "", NULL);
    p->failures =
        metric_new(METRIC_COUNTER, "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                   "Cumulative proxy nftables sync failures", "", NULL);
    p->service_changes =
        metric_new(METRIC_COUNTER, "kubeproxy_sync_proxy_rules_service_changes_total",
                   "Cumulative proxy rules Service changes", "", NULL);
    p->endpoint_changes =
        metric_new(METRIC_COUNTER, "kubeproxy_sync_proxy_rules_endpoint_changes_total",
                   "Cumulative proxy rules Endpoint changes", "", NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &attr);
    pthread_condattr_destroy(&attr);

    p->services = watch(o, "v1", "services",
                        "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name",
                        on_service, p);
    p->slices = watch(o, "discovery.k8s.io/v1", "endpointslices",
                      "!service.kubernetes.io/headless,!service.kubernetes.io/service-proxy-name",
                      on_slice, p);
    p->nodes = watch(o, "v1", "nodes", NULL, on_node, p);
    informer_add_index(p->slices, "service", index_service);
    informer_start(p->services);
    informer_start(p->slices);
    informer_start(p->nodes);
    pthread_create(&p->thread, NULL, sync_thread, p);
    if (o->network_policy && !(p->enforcer = enforcer_start(o->client, o->node_name, err))) {
        proxy_stop(p);
        return NULL;
    }
    return p;
}

bool proxy_ready(void *proxy, struct error **why)
{
    struct proxy *p = proxy;
    pthread_mutex_lock(&p->lock);
    bool ready = p->synced_once;
    pthread_mutex_unlock(&p->lock);
    if (!ready)
        error_setf(why, "the Services have not been programmed yet");
    if (ready && p->enforcer && !enforcer_ready(p->enforcer)) {
        error_setf(why, "the NetworkPolicies have not been programmed yet");
        ready = false;
    }
    return ready;
}

void proxy_stop(struct proxy *p)
{
    if (p->enforcer)
        enforcer_stop(p->enforcer);
    informer_stop(p->services);
    informer_stop(p->slices);
    informer_stop(p->nodes);
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    informer_free(p->services);
    informer_free(p->slices);
    informer_free(p->nodes);
    for (size_t i = 0; i < p->dirty_count; i++)
        free(p->dirty[i]);
    free(p->dirty);
    free_families(p);
    health_checks_free(p->health);
    routes_free(p->routes);
    nft_free(p->nft);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->node_name);
    free(p->zone);
    free(p);
}
