#include "scheduler/pod_info.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

static void parse_ports(struct pod_info *p, const cJSON *containers)
{
    const cJSON *container, *port;
    cJSON_ArrayForEach(container, containers) {
        cJSON_ArrayForEach(port, json_get(container, "ports")) {
            int host_port = (int)json_int(port, "hostPort", 0);
            if (host_port <= 0)
                continue;
            p->ports = mem_realloc(p->ports, (p->port_count + 1) * sizeof(*p->ports));
            const char *ip = json_str_or(port, "hostIP", "");
            p->ports[p->port_count++] = (struct host_port){.ip = *ip ? ip : "0.0.0.0",
                                                           .protocol = json_str_or(port, "protocol", "TCP"),
                                                           .port = host_port};
        }
    }
}

/* An absent selector selects nothing, {} everything. A malformed one was refused by the API; it selects
 * nothing. */
static struct label_selector *selector_from(const cJSON *json)
{
    struct label_selector *s = label_selector_from_json(json, NULL);
    return s ? s : label_selector_from_json(NULL, NULL);
}

static void add_term(struct pod_terms *terms, const cJSON *json, int weight)
{
    terms->items = mem_realloc(terms->items, (terms->count + 1) * sizeof(*terms->items));
    const cJSON *ns_selector = json_get(json, "namespaceSelector");
    const cJSON *namespaces = json_get(json, "namespaces");
    terms->items[terms->count++] = (struct pod_term){
        .selector = selector_from(json_get(json, "labelSelector")),
        .ns_selector = cJSON_IsObject(ns_selector) ? selector_from(ns_selector) : NULL,
        .namespaces = cJSON_GetArraySize(namespaces) > 0 ? namespaces : NULL,
        .topology_key = json_str_or(json, "topologyKey", ""),
        .weight = weight,
    };
}

static void parse_terms(const cJSON *affinity, struct pod_terms *required, struct pod_terms *preferred)
{
    const cJSON *term;
    cJSON_ArrayForEach(term, json_get(affinity, "requiredDuringSchedulingIgnoredDuringExecution"))
        add_term(required, term, 0);
    cJSON_ArrayForEach(term, json_get(affinity, "preferredDuringSchedulingIgnoredDuringExecution"))
        add_term(preferred, json_get(term, "podAffinityTerm"), (int)json_int(term, "weight", 0));
}

static void terms_clear(struct pod_terms *t)
{
    for (size_t i = 0; i < t->count; i++) {
        label_selector_free(t->items[i].selector);
        label_selector_free(t->items[i].ns_selector);
    }
    free(t->items);
    *t = (struct pod_terms){0};
}

/* matchLabelKeys: the pod's own values of these labels join the selector. */
static struct label_selector *spread_selector(const struct pod_info *p, const cJSON *constraint)
{
    const cJSON *keys = json_get(constraint, "matchLabelKeys"), *key;
    const cJSON *selector = json_get(constraint, "labelSelector");
    if (!cJSON_IsObject(selector) || !cJSON_GetArraySize(keys))
        return selector_from(selector);
    cleanup_json cJSON *extended = json_dup(selector);
    cJSON *expressions = json_ensure_array(extended, "matchExpressions");
    cJSON_ArrayForEach(key, keys) {
        const char *value = cJSON_IsString(key) ? json_map_str(p->labels, key->valuestring) : NULL;
        if (!value)
            continue;
        cJSON *e = cJSON_CreateObject();
        json_set_str(e, "key", key->valuestring);
        json_set_str(e, "operator", "In");
        cJSON_AddItemToArray(json_ensure_array(e, "values"), cJSON_CreateString(value));
        cJSON_AddItemToArray(expressions, e);
    }
    return selector_from(extended);
}

static void parse_spread(struct pod_info *p)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_get(p->spec, "topologySpreadConstraints")) {
        bool hard = strcmp(json_str_or(c, "whenUnsatisfiable", "DoNotSchedule"), "ScheduleAnyway") != 0;
        struct spread_constraints *list = hard ? &p->spread_hard : &p->spread_soft;
        list->items = mem_realloc(list->items, (list->count + 1) * sizeof(*list->items));
        list->items[list->count++] = (struct spread_constraint){
            .topology_key = json_str_or(c, "topologyKey", ""),
            .selector = spread_selector(p, c),
            .max_skew = (int)json_int(c, "maxSkew", 1),
            .min_domains = (int)json_int(c, "minDomains", 0),
            .honor_affinity = strcmp(json_str_or(c, "nodeAffinityPolicy", "Honor"), "Ignore") != 0,
            .honor_taints = !strcmp(json_str_or(c, "nodeTaintsPolicy", "Ignore"), "Honor"),
        };
        p->has_constraints = true;
    }
}

void spread_constraints_clear(struct spread_constraints *c)
{
    for (size_t i = 0; i < c->count; i++)
        label_selector_free(c->items[i].selector);
    free(c->items);
    *c = (struct spread_constraints){0};
}

struct pod_info *pod_info_new(struct kube_object *object)
{
    struct pod_info *p = mem_alloc(sizeof(*p));
    p->refs = 1;
    p->object = kube_object_ref(object);
    const cJSON *json = object->json;
    p->spec = json_get(json, "spec");
    p->labels = json_path(json, "metadata.labels");
    p->key = object->key;
    p->ns = object->ns;
    p->name = object->name;
    p->uid = *object->uid ? object->uid : object->key;
    p->node_name = json_str_or(p->spec, "nodeName", "");
    p->nominated_node = json_str_or(json, "status.nominatedNodeName", "");
    p->priority = json_int(p->spec, "priority", 0);
    p->terminating = json_path(json, "metadata.deletionTimestamp") != NULL;
    p->may_preempt = strcmp(json_str_or(p->spec, "preemptionPolicy", ""), "Never") != 0;
    p->gated = cJSON_GetArraySize(json_get(p->spec, "schedulingGates")) > 0;
    const char *created = json_str(json, "metadata.creationTimestamp");
    if (!created || !time_parse(created, &p->created_micros))
        p->created_micros = time_now_micros();
    const char *started = json_str(json, "status.startTime");
    if (started)
        time_parse(started, &p->started_micros);
    resources_of_pod(&p->requests, p->spec, 0);
    struct resources nonzero = {0};
    resources_of_pod(&nonzero, p->spec, 1);
    p->nonzero_cpu = nonzero.cpu;
    p->nonzero_memory = nonzero.memory;
    resources_clear(&nonzero);
    p->best_effort = !p->requests.cpu && !p->requests.memory;
    parse_ports(p, json_get(p->spec, "containers"));
    const cJSON *init;
    cJSON_ArrayForEach(init, json_get(p->spec, "initContainers")) {
        /* Only sidecars keep their ports beside the others. */
        if (strcmp(json_str_or(init, "restartPolicy", ""), "Always"))
            continue;
        cleanup_json cJSON *one = cJSON_CreateArray();
        cJSON_AddItemReferenceToArray(one, (cJSON *)(uintptr_t)init);
        parse_ports(p, one);
    }
    parse_terms(json_path(p->spec, "affinity.podAffinity"), &p->affinity, &p->preferred_affinity);
    parse_terms(json_path(p->spec, "affinity.podAntiAffinity"), &p->anti_affinity,
                &p->preferred_anti_affinity);
    parse_spread(p);
    return p;
}

struct pod_info *pod_info_ref(struct pod_info *p)
{
    if (p)
        __atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
    return p;
}

void pod_info_unref(struct pod_info *p)
{
    if (!p || __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    terms_clear(&p->affinity);
    terms_clear(&p->anti_affinity);
    terms_clear(&p->preferred_affinity);
    terms_clear(&p->preferred_anti_affinity);
    spread_constraints_clear(&p->spread_hard);
    spread_constraints_clear(&p->spread_soft);
    resources_clear(&p->requests);
    free(p->ports);
    kube_object_unref(p->object);
    free(p);
}

void pod_info_cleanup(struct pod_info **p)
{
    pod_info_unref(*p);
}

void pod_info_strip(cJSON *pod)
{
    static const char *const spec[] = {"affinity",
                                       "containers",
                                       "initContainers",
                                       "nodeName",
                                       "nodeSelector",
                                       "overhead",
                                       "preemptionPolicy",
                                       "priority",
                                       "resources",
                                       "schedulerName",
                                       "schedulingGates",
                                       "tolerations",
                                       "topologySpreadConstraints",
                                       "volumes",
                                       NULL};
    static const char *const container[] = {"image", "name", "ports", "resources", "restartPolicy", NULL};
    static const char *const status[] = {"conditions", "nominatedNodeName", "phase", "startTime", NULL};
    static const char *const metadata[] = {
        "creationTimestamp", "deletionTimestamp", "generation",      "labels", "name",
        "namespace",         "ownerReferences",   "resourceVersion", "uid",    NULL};
    static const char *const conditions[] = {"PodScheduled", "DisruptionTarget"};
    json_keep_only(json_get(pod, "metadata"), metadata);
    json_keep_only(json_get(pod, "spec"), spec);
    json_keep_only(json_get(pod, "status"), status);
    static const char *const lists[] = {"spec.containers", "spec.initContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        cJSON *c;
        cJSON_ArrayForEach(c, json_path(pod, lists[i]))
            json_keep_only(c, container);
    }
    /* Of volumes, the claims; of an ephemeral one, that it is one. */
    cJSON *volumes = json_path(pod, "spec.volumes");
    for (cJSON *v = cJSON_IsArray(volumes) ? volumes->child : NULL, *next; v; v = next) {
        next = v->next;
        static const char *const claim[] = {"name", "persistentVolumeClaim", "ephemeral", NULL};
        json_keep_only(v, claim);
        json_keep_only(json_get(v, "ephemeral"), (const char *const[]){NULL});
        if (!json_get(v, "persistentVolumeClaim") && !json_get(v, "ephemeral"))
            cJSON_Delete(cJSON_DetachItemViaPointer(volumes, v));
    }
    if (volumes && !cJSON_GetArraySize(volumes))
        json_remove(pod, "spec.volumes");
    cJSON *list = json_path(pod, "status.conditions");
    for (cJSON *c = cJSON_IsArray(list) ? list->child : NULL, *next; c; c = next) {
        next = c->next;
        bool keep = false;
        for (size_t i = 0; i < ARRAY_LEN(conditions); i++)
            keep = keep || !strcmp(json_str_or(c, "type", ""), conditions[i]);
        if (!keep)
            cJSON_Delete(cJSON_DetachItemViaPointer(list, c));
    }
}

bool pod_object_terminal(const cJSON *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "");
    return !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
}

bool pod_term_matches(const struct pod_term *t, const struct pod_info *owner, const struct pod_info *other,
                      const cJSON *namespace_labels)
{
    bool in_namespace = false;
    if (!t->namespaces && !t->ns_selector) {
        in_namespace = !strcmp(owner->ns, other->ns);
    } else {
        const cJSON *ns;
        cJSON_ArrayForEach(ns, t->namespaces)
            in_namespace = in_namespace || (cJSON_IsString(ns) && !strcmp(ns->valuestring, other->ns));
        if (!in_namespace && t->ns_selector)
            in_namespace = label_selector_matches(t->ns_selector, namespace_labels);
    }
    return in_namespace && label_selector_matches(t->selector, other->labels);
}
