/* What users see of it in the API: events and load balancer addresses, written by one of the
 * controllers that run. */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "ingress-controller/controller_internal.h"

/* Kubernetes' own timing for leaders (client-go's LeaseDuration, RenewDeadline, RetryPeriod). */
#define LEASE_MS 15000
#define RENEW_MS 10000
#define RETRY_MS 2000

static void led(void *userdata)
{
    struct controller *c = userdata;
    atomic_store(&c->leader, true);
    workqueue_add(c->queue, "sync");
}

static void lost(void *userdata)
{
    struct controller *c = userdata;
    atomic_store(&c->leader, false);
    workqueue_add(c->queue, "elect");
}

void status_elect(struct controller *c)
{
    leader_election_release(c->election);
    c->election =
        leader_election_start(&(struct leader_election_options){.client = c->options.client,
                                                                .ns = c->options.ns,
                                                                .name = "ingress-nginx-leader",
                                                                .identity = c->options.identity,
                                                                .lease_duration_ms = LEASE_MS,
                                                                .renew_deadline_ms = RENEW_MS,
                                                                .retry_period_ms = RETRY_MS},
                              led, lost, c);
}

void report(struct controller *c, const cJSON *ingress, const char *type, const char *reason,
            const char *message)
{
    if (!atomic_load(&c->leader))
        return;
    const char *uid = json_str_or(ingress, "metadata.uid", "");
    cleanup_free char *id = mem_printf("%s %s", uid, reason);
    cleanup_free char *what =
        mem_printf("%lld %s", (long long)json_int(ingress, "metadata.generation", 0), message);
    const char *before = json_map_str(c->reported, id);
    if (before && !strcmp(before, what))
        return;
    json_map_set_str(c->reported, id, what);
    size_t n = strlen(message);
    while (n && message[n - 1] == '\n')
        n--;
    recorder_event(c->recorder, ingress, type, reason, "%.*s", (int)n, message);
}

void report_forget(struct controller *c, const struct kube_object_list *ingresses)
{
    if ((size_t)cJSON_GetArraySize(c->reported) <= 2 * ingresses->count + 100)
        return;
    for (cJSON *r = c->reported->child, *next; r; r = next) {
        bool exists = false;
        next = r->next;
        for (size_t i = 0; i < ingresses->count && !exists; i++)
            exists =
                !strncmp(r->string, ingresses->items[i]->uid, strlen(ingresses->items[i]->uid));
        if (!exists)
            cJSON_Delete(cJSON_DetachItemViaPointer(c->reported, r));
    }
}

static void add_ip(cJSON *list, const char *ip)
{
    if (!ip || !*ip || !strcmp(ip, "None"))
        return;
    cJSON *e = cJSON_CreateObject();
    json_map_set_str(e, "ip", ip);
    cJSON_AddItemToArray(list, e);
}

/* As ingress-nginx: a load balancer's addresses and external ones; without any, the cluster IP. */
static cJSON *addresses(struct controller *c)
{
    cJSON *list = cJSON_CreateArray();
    cleanup_object struct kube_object *service =
        informer_get(c->services, c->options.publish_service);
    const cJSON *spec = service ? json_get(service->json, "spec") : NULL, *e;
    if (!spec)
        return list;
    bool balanced = !strcmp(json_str_or(spec, "type", ""), "LoadBalancer");
    if (balanced)
        cJSON_ArrayForEach(e, json_path(service->json, "status.loadBalancer.ingress"))
        {
            cJSON *copy = cJSON_CreateObject();
            json_map_set_str(copy, "ip", json_str(e, "ip"));
            json_map_set_str(copy, "hostname", json_str(e, "hostname"));
            cJSON_AddItemToArray(list, copy);
        }
    cJSON_ArrayForEach(e, json_get(spec, "externalIPs")) if (cJSON_IsString(e))
        add_ip(list, e->valuestring);
    if (!balanced && !cJSON_GetArraySize(list))
        add_ip(list, json_str(spec, "clusterIP"));
    return list;
}

void status_sync(struct controller *c, struct ingress *const *ingresses, size_t count)
{
    if (!atomic_load(&c->leader) || !*c->options.publish_service)
        return;
    cleanup_json cJSON *wanted = addresses(c);
    for (size_t i = 0; i < count; i++) {
        const cJSON *object = ingresses[i]->object,
                    *has = json_path(object, "status.loadBalancer.ingress");
        if (has ? json_equal(has, wanted) : cJSON_GetArraySize(wanted) == 0)
            continue;
        cleanup_free char *path = kube_path_new("networking.k8s.io/v1", "ingresses",
                                                json_str_or(object, "metadata.namespace", ""),
                                                json_str_or(object, "metadata.name", ""), "status");
        cleanup_json cJSON *patch = cJSON_CreateObject();
        json_set(patch, "status.loadBalancer.ingress", json_dup(wanted));
        cleanup_error struct error *err = NULL;
        cleanup_json cJSON *answer = kube_merge_patch(c->options.client, path, patch, &err);
        if (!answer && !kube_error_is(err, "NotFound"))
            log_warn("Cannot update the status", "ingress", ingresses[i]->key, "error",
                     error_message(err));
    }
}
