/* Defaults of all kinds that make no pods. */
#include "apiserver/schema/default_kinds.h"
#include <ctype.h>
#include <string.h>
#include "apiserver/schema/default_values.h"
#include "apiserver/schema/defaults.h"
#include "common/json.h"
#include "common/mem.h"

static void default_service_port(cJSON *port)
{
    default_string(port, "protocol", "TCP");
    cJSON *target = default_get(port, "targetPort"), *number = json_get(port, "port");
    if (cJSON_IsObject(port) && number && (!target || (cJSON_IsNumber(target) && target->valuedouble == 0)))
        json_map_set(port, "targetPort", json_dup(number));
}

void default_service(cJSON *object)
{
    cJSON *spec = default_object(object, "spec");
    if (!spec)
        return;
    default_string(spec, "sessionAffinity", "None");
    default_string(spec, "type", "ClusterIP");
    const char *type = default_text(spec, "type");
    bool node_port = !strcmp(type, "NodePort"), balancer = !strcmp(type, "LoadBalancer"),
         cluster = !strcmp(type, "ClusterIP");
    const char *affinity = default_text(spec, "sessionAffinity");
    if (!strcmp(affinity, "None"))
        json_remove(spec, "sessionAffinityConfig");
    else if (!strcmp(affinity, "ClientIP"))
        default_int(default_object(default_object(spec, "sessionAffinityConfig"), "clientIP"),
                    "timeoutSeconds", 10800);
    EACH (port, json_get(spec, "ports")) {
        default_service_port(port);
    }
    const cJSON *external = json_get(spec, "externalIPs");
    if (node_port || balancer || (cluster && external && external->child))
        default_string(spec, "externalTrafficPolicy", "Cluster");
    if (node_port || balancer || cluster)
        default_string(spec, "internalTrafficPolicy", "Cluster");
    if (balancer)
        default_bool(spec, "allocateLoadBalancerNodePorts", true);
    EACH (ingress, json_path(object, "status.loadBalancer.ingress")) {
        if (balancer && *default_text(ingress, "ip"))
            default_string(ingress, "ipMode", "VIP");
    }
}

void default_endpoints(cJSON *object)
{
    EACH (subset, json_get(object, "subsets")) {
        EACH (port, json_get(subset, "ports")) {
            default_string(port, "protocol", "TCP");
        }
    }
}

void default_endpointslice(cJSON *object)
{
    EACH (port, json_get(object, "ports")) {
        if (cJSON_IsObject(port) && !json_get(port, "name"))
            json_map_set_str(port, "name", "");
        default_string(port, "protocol", "TCP");
    }
}

void default_namespace(cJSON *object)
{
    cJSON *meta = default_object(object, "metadata");
    const char *name = default_text(meta, "name");
    if (!*name)
        return;
    cJSON *labels = default_object(meta, "labels");
    if (labels)
        json_map_set_str(labels, "kubernetes.io/metadata.name", name);
}

void default_node(cJSON *object)
{
    cJSON *status = json_get(object, "status"), *capacity = json_get(status, "capacity");
    if (cJSON_IsObject(capacity) && capacity->child && !json_get(status, "allocatable"))
        json_map_set(status, "allocatable", json_dup(capacity));
}

void default_secret(cJSON *object)
{
    default_string(object, "type", "Opaque");
}

void default_pvc_spec(cJSON *spec)
{
    default_string(spec, "volumeMode", "Filesystem");
}

void default_persistentvolumeclaim(cJSON *o)
{
    default_pvc_spec(default_object(o, "spec"));
    default_string(default_object(o, "status"), "phase", "Pending");
}

void default_persistentvolume(cJSON *o)
{
    cJSON *spec = default_object(o, "spec");
    default_string(spec, "persistentVolumeReclaimPolicy", "Retain");
    default_string(spec, "volumeMode", "Filesystem");
    default_string(default_object(o, "status"), "phase", "Pending");
    cJSON *host_path = json_get(spec, "hostPath");
    if (cJSON_IsObject(host_path) && !json_get(host_path, "type"))
        json_map_set_str(host_path, "type", "");
}

/* Copies what `to` lacks from `from`. */
static void fill(cJSON *item, const char *to, const char *from)
{
    cJSON *source = json_get(item, from);
    if (!cJSON_IsObject(source) || !source->child)
        return;
    cJSON *target = default_object(item, to);
    EACH (q, source) {
        if (target && !json_get(target, q->string))
            cJSON_AddItemToObject(target, q->string, json_dup(q));
    }
}

void default_limitrange(cJSON *o)
{
    EACH (item, json_path(o, "spec.limits")) {
        if (strcmp(default_text(item, "type"), "Container") != 0)
            continue;
        fill(item, "default", "max");
        fill(item, "defaultRequest", "default");
        fill(item, "defaultRequest", "min");
    }
}

void default_networkpolicy(cJSON *o)
{
    cJSON *spec = default_object(o, "spec");
    static const char *const directions[] = {"ingress", "egress"};
    for (int i = 0; i < 2; i++) {
        EACH (rule, json_get(spec, directions[i])) {
            EACH (port, json_get(rule, "ports")) {
                default_string(port, "protocol", "TCP");
            }
        }
    }
    if (!spec || json_get(spec, "policyTypes"))
        return;
    cJSON *types = json_ensure_array(spec, "policyTypes");
    cJSON_AddItemToArray(types, cJSON_CreateString("Ingress"));
    if (cJSON_GetArraySize(json_get(spec, "egress")) > 0)
        cJSON_AddItemToArray(types, cJSON_CreateString("Egress"));
}

void default_ingressclass(cJSON *o)
{
    cJSON *parameters = json_path(o, "spec.parameters");
    if (parameters)
        default_string(parameters, "scope", "Cluster");
}

void default_rolebinding(cJSON *o)
{
    static const char rbac[] = "rbac.authorization.k8s.io";
    default_string(json_get(o, "roleRef"), "apiGroup", rbac);
    EACH (s, json_get(o, "subjects")) {
        const char *kind = default_text(s, "kind");
        if (!strcmp(kind, "User") || !strcmp(kind, "Group"))
            default_string(s, "apiGroup", rbac);
    }
}

void default_priorityclass(cJSON *o)
{
    default_string(o, "preemptionPolicy", "PreemptLowerPriority");
}

void default_storageclass(cJSON *o)
{
    default_string(o, "reclaimPolicy", "Delete");
    default_string(o, "volumeBindingMode", "Immediate");
}

void default_csidriver(cJSON *o)
{
    cJSON *spec = default_object(o, "spec");
    default_bool(spec, "attachRequired", true);
    default_bool(spec, "podInfoOnMount", false);
    default_bool(spec, "storageCapacity", false);
    default_string(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    default_bool(spec, "requiresRepublish", false);
    default_bool(spec, "seLinuxMount", false);
    if (spec && !json_get(spec, "volumeLifecycleModes"))
        cJSON_AddItemToArray(json_ensure_array(spec, "volumeLifecycleModes"),
                             cJSON_CreateString("Persistent"));
}

static void default_webhooks(cJSON *o, bool mutating)
{
    EACH (w, json_get(o, "webhooks")) {
        default_string(w, "failurePolicy", "Fail");
        default_string(w, "matchPolicy", "Equivalent");
        default_object(w, "namespaceSelector");
        default_object(w, "objectSelector");
        default_int(w, "timeoutSeconds", 10);
        if (mutating)
            default_string(w, "reinvocationPolicy", "Never");
        default_int(json_path(w, "clientConfig.service"), "port", 443);
        EACH (rule, json_get(w, "rules")) {
            default_string(rule, "scope", "*");
        }
    }
}

void default_mutatingwebhooks(cJSON *o)
{
    default_webhooks(o, true);
}

void default_validatingwebhooks(cJSON *o)
{
    default_webhooks(o, false);
}

void default_flowschema(cJSON *o)
{
    default_int(default_object(o, "spec"), "matchingPrecedence", 1000);
}

void default_prioritylevel(cJSON *o)
{
    cJSON *spec = json_get(o, "spec"), *limited = json_get(spec, "limited"), *exempt = json_get(spec, "exempt");
    if (!exempt && !strcmp(default_text(spec, "type"), "Exempt"))
        exempt = default_object(spec, "exempt");
    default_int(exempt, "nominalConcurrencyShares", 0);
    default_int(exempt, "lendablePercent", 0);
    default_int(limited, "nominalConcurrencyShares", 30);
    default_int(limited, "lendablePercent", 0);
    cJSON *queuing = json_path(limited, "limitResponse.queuing");
    default_int(queuing, "queues", 64);
    default_int(queuing, "handSize", 8);
    default_int(queuing, "queueLengthLimit", 50);
}

void default_validatingadmissionpolicy(cJSON *o)
{
    cJSON *spec = default_object(o, "spec"), *match = json_get(spec, "matchConstraints");
    default_string(spec, "failurePolicy", "Fail");
    default_string(match, "matchPolicy", "Equivalent");
    default_object(match, "namespaceSelector");
    default_object(match, "objectSelector");
    static const char *const lists[] = {"resourceRules", "excludeResourceRules"};
    for (int i = 0; i < 2; i++) {
        EACH (rule, json_get(match, lists[i])) {
            default_string(rule, "scope", "*");
        }
    }
}

void default_customresourcedefinition(cJSON *o)
{
    cJSON *spec = default_object(o, "spec"), *names = default_object(spec, "names");
    const char *kind = default_text(names, "kind");
    if (*kind) {
        cleanup_free char *singular = mem_strdup(kind), *list = mem_printf("%sList", kind);
        for (char *c = singular; *c; c++)
            *c = (char)tolower((unsigned char)*c);
        default_string(names, "singular", singular);
        default_string(names, "listKind", list);
    }
    cJSON *conversion = default_object(spec, "conversion");
    default_string(conversion, "strategy", "None");
    default_int(json_path(conversion, "webhook.clientConfig.service"), "port", 443);
}

void default_tokenrequest(cJSON *o)
{
    default_int(default_object(o, "spec"), "expirationSeconds", 3600);
}
