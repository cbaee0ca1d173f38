#include "controller-manager/service_pods.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"

bool service_has_selector(const cJSON *service)
{
    const cJSON *selector = json_path(service, "spec.selector");
    return selector && selector->child &&
           strcmp(json_str_or(service, "spec.type", ""), "ExternalName") != 0;
}

bool service_headless(const cJSON *service)
{
    return strcmp(json_str_or(service, "spec.clusterIP", ""), "None") == 0;
}

void service_pods(const cJSON *service, struct informer *pods, struct kube_object_list *out)
{
    struct label_selector *selector = label_selector_from_map(json_path(service, "spec.selector"));
    cleanup_objects struct kube_object_list all = {0};
    informer_by_index(pods, "namespace", meta_ns(service), &all);
    out->items = mem_alloc((all.count + 1) * sizeof(*out->items));
    for (size_t i = 0; i < all.count; i++)
        if (label_selector_matches(selector, meta_labels(all.items[i]->json)))
            out->items[out->count++] = kube_object_ref(all.items[i]);
    label_selector_free(selector);
}

static bool same_string(const cJSON *a, const cJSON *b, const char *path)
{
    return strcmp(json_str_or(a, path, ""), json_str_or(b, path, "")) == 0;
}

static bool looks_the_same(const cJSON *a, const cJSON *b)
{
    const cJSON *ips_a = json_path(a, "status.podIPs"), *ips_b = json_path(b, "status.podIPs");
    return pod_ready(a) == pod_ready(b) && meta_deleting(a) == meta_deleting(b) &&
           pod_terminal(a) == pod_terminal(b) && same_string(a, b, "status.podIP") &&
           (ips_a == ips_b || json_equal(ips_a, ips_b)) && same_string(a, b, "spec.nodeName") &&
           same_string(a, b, "metadata.uid");
}

static bool selects(const cJSON *service, const cJSON *labels)
{
    const cJSON *term;
    cJSON_ArrayForEach(term, json_path(service, "spec.selector"))
    {
        const char *have = json_map_str(labels, term->string);
        if (!have || !cJSON_IsString(term) || strcmp(have, term->valuestring) != 0)
            return false;
    }
    return true;
}

void enqueue_services_of_pod(struct controller *c, struct informer *services,
                             const struct kube_object *old, const struct kube_object *new_object)
{
    const cJSON *labels[2] = {old ? meta_labels(old->json) : NULL,
                              new_object ? meta_labels(new_object->json) : NULL};
    if (old && new_object) {
        bool same_labels = labels[0] == labels[1] || json_equal(labels[0], labels[1]);
        if (same_labels && looks_the_same(old->json, new_object->json))
            return;
    }
    cleanup_objects struct kube_object_list all = {0};
    informer_by_index(services, "namespace", new_object ? new_object->ns : old->ns, &all);
    for (size_t i = 0; i < all.count; i++) {
        const cJSON *service = all.items[i]->json;
        if (service_has_selector(service) &&
            ((old && selects(service, labels[0])) || (new_object && selects(service, labels[1]))))
            workqueue_add(c->queue, all.items[i]->key);
    }
}

static bool named_port(const cJSON *containers, const char *name, const char *protocol,
                       bool sidecars_only, int64_t *port)
{
    const cJSON *container, *p;
    cJSON_ArrayForEach(container, containers)
    {
        if (sidecars_only && strcmp(json_str_or(container, "restartPolicy", ""), "Always") != 0)
            continue;
        cJSON_ArrayForEach(p, json_get(container, "ports"))
        {
            if (strcmp(json_str_or(p, "name", ""), name) == 0 &&
                strcmp(json_str_or(p, "protocol", "TCP"), protocol) == 0) {
                *port = json_int(p, "containerPort", 0);
                return true;
            }
        }
    }
    return false;
}

bool pod_target_port(const cJSON *pod, const cJSON *service_port, int64_t *port)
{
    const cJSON *target = json_get(service_port, "targetPort");
    if (cJSON_IsString(target)) {
        const char *protocol = json_str_or(service_port, "protocol", "TCP");
        return named_port(json_path(pod, "spec.containers"), target->valuestring, protocol, false,
                          port) ||
               named_port(json_path(pod, "spec.initContainers"), target->valuestring, protocol,
                          true, port);
    }
    *port = json_int(service_port, "targetPort", 0);
    if (*port == 0)
        *port = json_int(service_port, "port", 0);
    return *port > 0;
}

const char *pod_ip(const cJSON *pod, const char *family)
{
    bool v6 = strcmp(family, "IPv6") == 0;
    const cJSON *entry;
    cJSON_ArrayForEach(entry, json_path(pod, "status.podIPs"))
    {
        const char *ip = json_str(entry, "ip");
        if (ip && (strchr(ip, ':') != NULL) == v6)
            return ip;
    }
    const char *ip = json_str(pod, "status.podIP");
    return ip && *ip && (strchr(ip, ':') != NULL) == v6 ? ip : NULL;
}

const char *service_ip_family(const cJSON *service, int index)
{
    const cJSON *families = json_path(service, "spec.ipFamilies");
    const cJSON *f = cJSON_IsArray(families) ? cJSON_GetArrayItem(families, index) : NULL;
    if (cJSON_IsString(f))
        return f->valuestring;
    if (index > 0)
        return NULL;
    return strchr(json_str_or(service, "spec.clusterIP", ""), ':') ? "IPv6" : "IPv4";
}

bool pod_is_endpoint(const cJSON *pod, bool include_terminating)
{
    if (pod_terminal(pod) || (!include_terminating && meta_deleting(pod)))
        return false;
    return *json_str_or(pod, "status.podIP", "") || json_path(pod, "status.podIPs");
}

cJSON *pod_target_ref(const cJSON *pod)
{
    cJSON *ref = cJSON_CreateObject();
    json_map_set_str(ref, "kind", "Pod");
    json_map_set_str(ref, "namespace", meta_ns(pod));
    json_map_set_str(ref, "name", meta_name(pod));
    json_map_set_str(ref, "uid", meta_uid(pod));
    return ref;
}

const char *pod_endpoint_hostname(const cJSON *pod, const cJSON *service)
{
    const char *hostname = json_str_or(pod, "spec.hostname", "");
    return *hostname && strcmp(json_str_or(pod, "spec.subdomain", ""), meta_name(service)) == 0
               ? hostname
               : NULL;
}

/* --- trigger times --- */

static void free_times(void *p)
{
    if (p)
        strmap_clear(p, NULL);
    free(p);
}

static int64_t pod_trigger_time(const cJSON *pod)
{
    return json_time(condition_find(json_path(pod, "status.conditions"), "Ready"),
                     "lastTransitionTime", meta_created(pod));
}

int64_t trigger_time(struct trigger_times *t, const char *key, const cJSON *service,
                     const struct kube_object_list *pods)
{
    struct strmap *before = strmap_get(&t->services, key), *now = mem_alloc(sizeof(*now));
    int64_t oldest = 0;
    for (size_t i = 0; i <= pods->count; i++) {
        /* The Service itself counts under the empty name. */
        const char *name = i < pods->count ? pods->items[i]->name : "";
        int64_t at =
            i < pods->count ? pod_trigger_time(pods->items[i]->json) : meta_created(service);
        if (!at)
            continue;
        strmap_put(now, name, (void *)(intptr_t)at);
        int64_t known = before ? (int64_t)(intptr_t)strmap_get(before, name) : 0;
        if (at > known && (!oldest || at < oldest))
            oldest = at;
    }
    free_times(strmap_put(&t->services, key, now));
    return oldest;
}

void trigger_times_forget(struct trigger_times *t, const char *key)
{
    free_times(strmap_remove(&t->services, key));
}

void trigger_times_clear(struct trigger_times *t)
{
    strmap_clear(&t->services, free_times);
}
