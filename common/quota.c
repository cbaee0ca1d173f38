#include "common/quota.h"
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

static bool amount(const cJSON *list, const char *name, struct quantity *q)
{
    const cJSON *v = json_get(list, name);
    return cJSON_IsString(v) && quantity_parse(v->valuestring, q);
}

static void put(cJSON *into, const char *name, struct quantity q)
{
    char text[QUANTITY_TEXT_MAX];
    json_map_set_str(into, name, quantity_print(q, text));
}

static void add_amounts(cJSON *into, const cJSON *from, bool sum)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, from)
    {
        struct quantity a, b;
        if (!amount(from, m->string, &a))
            continue;
        if (amount(into, m->string, &b)) {
            if (sum)
                a.nano += b.nano;
            else if (b.nano > a.nano)
                a = b;
        }
        put(into, m->string, a);
    }
}

cJSON *quota_pod_amounts(const cJSON *pod, const char *list)
{
    cJSON *all = cJSON_CreateObject();
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(pod, "spec.containers"))
        add_amounts(all, json_get(json_get(c, "resources"), list), true);
    cleanup_json cJSON *sidecars = cJSON_CreateObject();
    cJSON_ArrayForEach(c, json_path(pod, "spec.initContainers"))
    {
        const cJSON *own = json_get(json_get(c, "resources"), list);
        if (!strcmp(json_str_or(c, "restartPolicy", ""), "Always")) {
            add_amounts(sidecars, own, true);
            add_amounts(all, own, true);
            continue;
        }
        cleanup_json cJSON *with = own ? json_dup(own) : cJSON_CreateObject();
        add_amounts(with, sidecars, true);
        add_amounts(all, with, false);
    }
    add_amounts(all, json_path(pod, "spec.overhead"), true);
    return all;
}

void quota_sum(cJSON *into, const cJSON *from, const cJSON *only, bool subtract)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, from)
    {
        struct quantity a, b;
        if (!amount(from, m->string, &a) || (only && !json_get(only, m->string)))
            continue;
        if (subtract)
            a.nano = -a.nano;
        if (amount(into, m->string, &b)) {
            b.nano += a.nano;
            a = b;
        }
        put(into, m->string, a);
    }
}

static void count(cJSON *used, const char *name, int64_t n)
{
    struct quantity q = {.nano = (__int128)n * 1000000000, .format = QUANTITY_DECIMAL_SI}, before;
    if (amount(used, name, &before))
        q.nano += before.nano;
    put(used, name, q);
}

static void add_as(cJSON *used, const char *prefix, const cJSON *amounts)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, amounts)
    {
        bool native = !strchr(m->string, '/');
        cleanup_free char *name = mem_printf("%s%s", prefix, m->string);
        cleanup_json cJSON *one = cJSON_CreateObject();
        json_map_set(one, name, json_dup(m));
        /* "cpu" is another name of "requests.cpu". */
        if (native && !strcmp(prefix, "requests."))
            json_map_set(one, m->string, json_dup(m));
        quota_sum(used, one, NULL, false);
    }
}

static bool is_terminal(const cJSON *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "");
    return !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
}

static void add_pod(const cJSON *pod, cJSON *used)
{
    if (is_terminal(pod))
        return;
    count(used, "pods", 1);
    cleanup_json cJSON *requests = quota_pod_amounts(pod, "requests"),
                       *limits = quota_pod_amounts(pod, "limits");
    add_as(used, "requests.", requests);
    add_as(used, "limits.", limits);
}

static void add_service(const cJSON *service, cJSON *used)
{
    const char *type = json_str_or(service, "spec.type", "");
    bool balancer = !strcmp(type, "LoadBalancer");
    count(used, "services", 1);
    if (balancer)
        count(used, "services.loadbalancers", 1);
    if (!strcmp(type, "NodePort") ||
        (balancer && json_bool(service, "spec.allocateLoadBalancerNodePorts", true)))
        count(used, "services.nodeports", cJSON_GetArraySize(json_path(service, "spec.ports")));
}

static void add_claim(const cJSON *claim, cJSON *used)
{
    const char *class = json_str_or(claim, "spec.storageClassName", "");
    const cJSON *storage = json_get(json_path(claim, "spec.resources.requests"), "storage");
    cleanup_json cJSON *one = cJSON_CreateObject();
    count(used, "persistentvolumeclaims", 1);
    if (storage)
        json_map_set(one, "requests.storage", json_dup(storage));
    if (*class) {
        cleanup_free char *claims =
            mem_printf("%s.storageclass.storage.k8s.io/persistentvolumeclaims", class);
        cleanup_free char *sizes =
            mem_printf("%s.storageclass.storage.k8s.io/requests.storage", class);
        count(used, claims, 1);
        if (storage)
            json_map_set(one, sizes, json_dup(storage));
    }
    quota_sum(used, one, NULL, false);
}

void quota_add_usage(const char *group, const char *plural, const cJSON *object, cJSON *used)
{
    cleanup_free char *name = mem_printf(*group ? "count/%s.%s" : "count/%s", plural, group);
    count(used, name, 1);
    if (*group)
        return;
    if (!strcmp(plural, "pods"))
        add_pod(object, used);
    else if (!strcmp(plural, "services"))
        add_service(object, used);
    else if (!strcmp(plural, "persistentvolumeclaims"))
        add_claim(object, used);
    else if (!strcmp(plural, "configmaps") || !strcmp(plural, "secrets") ||
             !strcmp(plural, "replicationcontrollers") || !strcmp(plural, "resourcequotas"))
        count(used, plural, 1);
}

/* --- scopes --- */

static bool best_effort(const cJSON *pod)
{
    cleanup_json cJSON *requests = quota_pod_amounts(pod, "requests"),
                       *limits = quota_pod_amounts(pod, "limits");
    return !json_get(requests, "cpu") && !json_get(requests, "memory") &&
           !json_get(limits, "cpu") && !json_get(limits, "memory");
}

static bool cross_namespace(const cJSON *pod)
{
    static const char *const kinds[] = {"podAffinity", "podAntiAffinity"};
    static const char *const lists[] = {"requiredDuringSchedulingIgnoredDuringExecution",
                                        "preferredDuringSchedulingIgnoredDuringExecution"};
    const cJSON *term;
    for (int i = 0; i < 4; i++)
        cJSON_ArrayForEach(
            term, json_get(json_get(json_path(pod, "spec.affinity"), kinds[i / 2]), lists[i % 2]))
        {
            const cJSON *t = i % 2 ? json_get(term, "podAffinityTerm") : term;
            if (cJSON_GetArraySize(json_get(t, "namespaces")) || json_get(t, "namespaceSelector"))
                return true;
        }
    return false;
}

static bool scope_matches(const char *scope, const char *op, const cJSON *values, const cJSON *pod)
{
    bool terminating = cJSON_IsNumber(json_path(pod, "spec.activeDeadlineSeconds"));
    if (!strcmp(scope, "Terminating"))
        return terminating;
    if (!strcmp(scope, "NotTerminating"))
        return !terminating;
    if (!strcmp(scope, "BestEffort"))
        return best_effort(pod);
    if (!strcmp(scope, "NotBestEffort"))
        return !best_effort(pod);
    if (!strcmp(scope, "CrossNamespacePodAffinity"))
        return cross_namespace(pod);
    if (strcmp(scope, "PriorityClass") != 0)
        return false;
    const char *class = json_str_or(pod, "spec.priorityClassName", "");
    if (!strcmp(op, "In"))
        return *class && json_has_str(values, class);
    if (!strcmp(op, "NotIn"))
        return !json_has_str(values, class);
    return !strcmp(op, "DoesNotExist") ? !*class : *class != 0;
}

bool quota_in_scope(const cJSON *quota, const char *group, const char *plural, const cJSON *object)
{
    const cJSON *scopes = json_path(quota, "spec.scopes"),
                *terms = json_path(quota, "spec.scopeSelector.matchExpressions"), *s;
    if (!cJSON_GetArraySize(scopes) && !cJSON_GetArraySize(terms))
        return true;
    if (*group || strcmp(plural, "pods") != 0)
        return false;
    cJSON_ArrayForEach(s,
                       scopes) if (cJSON_IsString(s) && !scope_matches(s->valuestring, "Exists",
                                                                       NULL, object)) return false;
    cJSON_ArrayForEach(s, terms) if (!scope_matches(json_str_or(s, "scopeName", ""),
                                                    json_str_or(s, "operator", "Exists"),
                                                    json_get(s, "values"), object)) return false;
    return true;
}
