/* Gives Services of type LoadBalancer addresses out of a pool, in place of a cloud:
 * status.loadBalancer.ingress. The Services themselves are the record of what is taken. Those with
 * a loadBalancerClass are another's. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "controller-manager/cidr_set.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/service_pods.h"
#include "controller-manager/strmap.h"

enum { MAX_RANGES = 2 };

struct service_lb {
    struct informer *services;
    struct recorder *recorder;
    pthread_mutex_t lock; /* of what follows */
    struct cidr_set pools[MAX_RANGES];
    int pool_count;       /* 0: LoadBalancers stay pending, as without a cloud */
    struct strmap owners; /* address -> key of the Service that has it */
};

static bool is_ours(const cJSON *service)
{
    return strcmp(json_str_or(service, "spec.type", ""), "LoadBalancer") == 0 &&
           !json_str(service, "spec.loadBalancerClass");
}

static char *as_cidr(const char *ip)
{
    return mem_printf("%s/%d", ip, strchr(ip, ':') ? 128 : 32);
}

static struct cidr_set *pool_of(struct service_lb *s, const char *family)
{
    for (int i = 0; i < s->pool_count; i++)
        if ((s->pools[i].family == AF_INET6) == (strcmp(family, "IPv6") == 0))
            return &s->pools[i];
    return NULL;
}

static bool of_family(const char *ip, const char *family)
{
    return (strchr(ip, ':') != NULL) == (strcmp(family, "IPv6") == 0);
}

/* --- who has what; with the lock held --- */

/* Takes an address of the pool for a Service; true also if it has it already. */
static bool take(struct service_lb *s, struct cidr_set *pool, const char *ip, const char *key)
{
    const char *owner = strmap_get(&s->owners, ip);
    if (owner)
        return strcmp(owner, key) == 0;
    cleanup_free char *cidr = as_cidr(ip);
    if (!cidr_set_is_free(pool, cidr))
        return false;
    cidr_set_occupy(pool, cidr);
    strmap_put(&s->owners, ip, mem_strdup(key));
    return true;
}

static void give_back(struct service_lb *s, const char *ip, const char *key)
{
    const char *owner = strmap_get(&s->owners, ip);
    if (!owner || strcmp(owner, key) != 0)
        return;
    free(strmap_remove(&s->owners, ip));
    cleanup_free char *cidr = as_cidr(ip);
    for (int i = 0; i < s->pool_count; i++)
        cidr_set_release(&s->pools[i], cidr);
}

static void give_all_back(struct service_lb *s, const cJSON *service, const char *key)
{
    const cJSON *item;
    pthread_mutex_lock(&s->lock);
    cJSON_ArrayForEach(item, json_path(service, "status.loadBalancer.ingress"))
    {
        const char *ip = json_str(item, "ip");
        if (ip)
            give_back(s, ip, key);
    }
    pthread_mutex_unlock(&s->lock);
}

/* The address that the Service has in this family, asks for, or gets. False when there is none. */
static bool address_for(struct service_lb *s, const cJSON *service, const char *key,
                        const char *family, char out[CIDR_TEXT_MAX], struct error **err)
{
    struct cidr_set *pool = pool_of(s, family);
    const char *asked = json_str(service, "spec.loadBalancerIP");
    if (asked && (!*asked || !of_family(asked, family)))
        asked = NULL;
    const cJSON *item;
    bool ok = false;
    pthread_mutex_lock(&s->lock);
    cJSON_ArrayForEach(item, json_path(service, "status.loadBalancer.ingress"))
    {
        const char *ip = json_str(item, "ip");
        if (!ok && ip && strlen(ip) < CIDR_TEXT_MAX && of_family(ip, family) &&
            (!asked || strcmp(asked, ip) == 0) && take(s, pool, ip, key)) {
            strcpy(out, ip);
            ok = true;
        }
    }
    if (!ok && asked) {
        ok = strlen(asked) < CIDR_TEXT_MAX && take(s, pool, asked, key);
        if (ok)
            strcpy(out, asked);
        else
            error_setf(err, "address %s is not free in the pool", asked);
    } else if (!ok) {
        ok = cidr_set_allocate(pool, out);
        if (ok) {
            *strchr(out, '/') = '\0';
            free(strmap_put(&s->owners, out, mem_strdup(key)));
        } else {
            error_setf(err, "no %s address is left in the pool", family);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return ok;
}

/* --- one Service --- */

static bool write_ingress(struct controller *c, const struct kube_object *service,
                          cJSON *ingress_taken, struct error **err)
{
    cleanup_json cJSON *object = json_dup(service->json);
    cJSON *lb = cJSON_CreateObject();
    if (ingress_taken->child)
        cJSON_AddItemToObject(lb, "ingress", ingress_taken);
    else
        cJSON_Delete(ingress_taken);
    json_set(object, "status.loadBalancer", lb);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = update_status(c->client, "v1", "services", object, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

/* A Service that is no load balancer any more shows no address. */
static bool clean_up(struct controller *c, const struct kube_object *service, struct error **err)
{
    struct service_lb *s = c->state;
    if (cJSON_GetArraySize(json_path(service->json, "status.loadBalancer.ingress")) == 0)
        return true;
    recorder_event(s->recorder, service->json, "Normal", "DeletingLoadBalancer",
                   "Deleting load balancer");
    if (!write_ingress(c, service, cJSON_CreateArray(), err))
        return false;
    give_all_back(s, service->json, service->key);
    recorder_event(s->recorder, service->json, "Normal", "DeletedLoadBalancer",
                   "Deleted load balancer");
    return true;
}

static bool ensure(struct controller *c, const struct kube_object *service, struct error **err)
{
    struct service_lb *s = c->state;
    cleanup_json cJSON *ingress = cJSON_CreateArray();
    const char *family;
    for (int i = 0; (family = service_ip_family(service->json, i)); i++) {
        char ip[CIDR_TEXT_MAX];
        if (!pool_of(s, family))
            continue;
        if (!address_for(s, service->json, service->key, family, ip, err))
            return false;
        cJSON *item = cJSON_CreateObject();
        json_map_set_str(item, "ip", ip);
        json_map_set_str(item, "ipMode", "VIP");
        cJSON_AddItemToArray(ingress, item);
    }
    const cJSON *have = json_path(service->json, "status.loadBalancer.ingress");
    if (have ? json_equal(have, ingress) : !ingress->child)
        return true;
    recorder_event(s->recorder, service->json, "Normal", "EnsuringLoadBalancer",
                   "Ensuring load balancer");
    if (!write_ingress(c, service, json_dup(ingress), err))
        return false;
    /* What it had before and has no more. */
    const cJSON *item, *now;
    cJSON_ArrayForEach(item, have)
    {
        const char *ip = json_str_or(item, "ip", "");
        bool kept = false;
        cJSON_ArrayForEach(now, ingress) kept = kept || strcmp(json_str_or(now, "ip", ""), ip) == 0;
        pthread_mutex_lock(&s->lock);
        if (!kept)
            give_back(s, ip, service->key);
        pthread_mutex_unlock(&s->lock);
    }
    recorder_event(s->recorder, service->json, "Normal", "EnsuredLoadBalancer",
                   "Ensured load balancer");
    return true;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct service_lb *s = c->state;
    cleanup_object struct kube_object *service = informer_get(s->services, key);
    if (!s->pool_count || !service || meta_deleting(service->json))
        return true;
    if (!is_ours(service->json))
        return json_str(service->json, "spec.loadBalancerClass") || clean_up(c, service, err);
    cleanup_error struct error *e = NULL;
    if (ensure(c, service, &e))
        return true;
    if (!kube_error_is(e, "Conflict"))
        recorder_event(s->recorder, service->json, "Warning", "SyncLoadBalancerFailed",
                       "Error syncing load balancer: failed to ensure load balancer: %s",
                       error_message(e));
    error_move(err, e);
    e = NULL;
    return false;
}

/* --- what feeds the queue --- */

static void occupy_shown(struct service_lb *s, const struct kube_object *service)
{
    const cJSON *item;
    pthread_mutex_lock(&s->lock);
    cJSON_ArrayForEach(item, json_path(service->json, "status.loadBalancer.ingress"))
    {
        const char *ip = json_str(item, "ip");
        struct cidr_set *pool = ip ? pool_of(s, strchr(ip, ':') ? "IPv6" : "IPv4") : NULL;
        if (pool)
            take(s, pool, ip, service->key);
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_service(void *userdata, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct service_lb *s = c->state;
    if (event == INFORMER_DELETED) {
        give_all_back(s, old->json, old->key);
        return;
    }
    if (is_ours(new_object->json))
        occupy_shown(s, new_object);
    if (is_ours(new_object->json) ||
        cJSON_GetArraySize(json_path(new_object->json, "status.loadBalancer.ingress")) > 0)
        workqueue_add(c->queue, new_object->key);
}

static bool add_pool(struct service_lb *s, const char *cidr, struct error **err)
{
    bool v6 = strchr(cidr, ':') != NULL;
    if (s->pool_count == MAX_RANGES || pool_of(s, v6 ? "IPv6" : "IPv4")) {
        error_setf(err, "at most one range of each IP family");
        return false;
    }
    struct cidr_set *pool = &s->pools[s->pool_count];
    if (!cidr_set_init(pool, cidr, v6 ? 128 : 32, err))
        return false;
    s->pool_count++;
    /* A network's first address, and IPv4's last, may mean something else to a router. */
    if (pool->count > 2) {
        pool->used[0] = 1;
        pool->used[pool->count - 1] = !v6;
    }
    return true;
}

static void setup(struct controller *c)
{
    struct service_lb *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->recorder = manager_recorder(c->manager, "service-controller");
    cleanup_error struct error *e = NULL;
    bool ok = true;
    for (const char *p = manager_config(c->manager)->load_balancer_ranges; ok && p && *p;
         p += strcspn(p, ","), p += *p == ',') {
        cleanup_free char *cidr = mem_strndup(p, strcspn(p, ","));
        ok = add_pool(s, cidr, &e);
    }
    if (!ok) {
        log_error("No load balancer addresses will be assigned: --load-balancer-ip-range", "err",
                  error_message(e));
        s->pool_count = 0;
    }
    s->services = manager_informer(c->manager, "v1", "services");
    informer_add_handler(s->services, on_service, c);
}

static void free_state(struct controller *c)
{
    struct service_lb *s = c->state;
    for (int i = 0; i < MAX_RANGES; i++)
        cidr_set_free(&s->pools[i]);
    strmap_clear(&s->owners, free);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type service_lb_controller = {.name = "service-lb-controller",
                                                      .queue = "service",
                                                      .workers = 1,
                                                      .setup = setup,
                                                      .reconcile = reconcile,
                                                      .free_state = free_state};
