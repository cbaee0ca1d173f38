/* The built-in resources: what discovery shows and what the request pipeline follows. */
#include "apiserver/resource.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "apiserver/registry/descriptors.h"
#include "apiserver/registry/strategy.h"
#include "apiserver/registry/tables.h"
#include "apiserver/schema/schema.h"
#include "common/mem.h"

static const struct resource_column columns_pod[] = {
    COL_NAME,
    COL("Ready", "Containers that are ready, of all containers of the pod."),
    COL("Status", "Aggregate state of the containers of the pod."),
    COL("Restarts", "Restarts of the pod's containers, and when the last one was."),
    COL_AGE,
    WIDE("IP", "Address of the pod."),
    WIDE("Node", "Node that the pod is bound to."),
    WIDE("Nominated Node", "Node that the pod waits for after a preemption."),
    WIDE("Readiness Gates", "Readiness gates that are true, of all of them."),
    COL_END,
};
static const struct resource_column columns_node[] = {
    COL_NAME,
    COL("Status", "Readiness of the node."),
    COL("Roles", "Roles of the node, from its labels."),
    COL_AGE,
    COL("Version", "Version of the kubelet."),
    WIDE("Internal-IP", "Internal address of the node."),
    WIDE("External-IP", "External address of the node."),
    WIDE("OS-Image", "Operating system of the node."),
    WIDE("Kernel-Version", "Kernel version of the node."),
    WIDE("Container-Runtime", "Container runtime and its version."),
    COL_END,
};
static const struct resource_column columns_namespace[] = {
    COL_NAME,
    COL("Status", "Phase of the namespace."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_service[] = {
    COL_NAME,
    COL("Type", "How the service is exposed."),
    COL("Cluster-IP", "Virtual address of the service."),
    COL("External-IP", "External addresses of the service."),
    COL("Port(s)", "Ports that the service exposes."),
    COL_AGE,
    WIDE("Selector", "Pods that the service sends traffic to."),
    COL_END,
};
static const struct resource_column columns_endpoints[] = {
    COL_NAME,
    COL("Endpoints", "Ready addresses and ports."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_endpointslice[] = {
    COL_NAME,
    COL("AddressType", "Type of the addresses of the slice."),
    COL("Ports", "Ports of each endpoint of the slice."),
    COL("Endpoints", "Addresses of the slice."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_configmap[] = {
    COL_NAME,
    COL("Data", "Number of keys."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_secret[] = {
    COL_NAME, COL("Type", "Kind of the secret's data."), COL("Data", "Number of keys."), COL_AGE,
    COL_END,
};
static const struct resource_column columns_serviceaccount[] = {
    COL_NAME,
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_event[] = {
    COL("Last Seen", "When this was seen last."),
    COL("Type", "Type of the event."),
    COL("Reason", "Short, machine readable reason."),
    COL("Object", "Object that the event is about."),
    WIDE("Subobject", "Part of the object that the event is about."),
    WIDE("Source", "Component that reports the event."),
    COL("Message", "Description for people."),
    WIDE("First Seen", "When this was seen first."),
    WIDE("Count", "How often this was seen."),
    {"Name", "string", "name", "Name must be unique within a namespace.", 1},
    COL_END,
};
static const struct resource_column columns_deployment[] = {
    COL_NAME,
    COL("Ready", "Pods that are ready, of those wanted."),
    COL("Up-to-date", "Pods that have the wanted template."),
    COL("Available", "Pods that are available."),
    COL_AGE,
    WIDE("Containers", "Names of the containers of the template."),
    WIDE("Images", "Images of the containers of the template."),
    WIDE("Selector", "Pods that belong to the deployment."),
    COL_END,
};
static const struct resource_column columns_replicaset[] = {
    COL_NAME,
    COLI("Desired", "Number of pods wanted."),
    COLI("Current", "Number of pods observed."),
    COLI("Ready", "Number of pods that are ready."),
    COL_AGE,
    WIDE("Containers", "Names of the containers of the template."),
    WIDE("Images", "Images of the containers of the template."),
    WIDE("Selector", "Pods that belong to the replica set."),
    COL_END,
};
static const struct resource_column columns_lease[] = {
    COL_NAME,
    COL("Holder", "Identity of the current holder."),
    COL_AGE,
    COL_END,
};
static const struct resource_column columns_rolebinding[] = {
    COL_NAME,
    COL("Role", "Role that is given."),
    COL_AGE,
    WIDE("Users", "Users that the role is given to."),
    WIDE("Groups", "Groups that the role is given to."),
    WIDE("ServiceAccounts", "Service accounts that the role is given to."),
    COL_END,
};
const struct resource_column columns_scale[] = {
    COL_NAME,
    COLI("Desired", "Number of replicas wanted."),
    COLI("Available", "Number of replicas observed."),
    COL_AGE,
    COL_END,
};

enum { VERBS_PROXY = VERB_CREATE | VERB_DELETE | VERB_GET | VERB_PATCH | VERB_UPDATE };

static const struct subresource subs_pod[] = {
    {"attach", "", "v1", "PodAttachOptions", VERB_CREATE | VERB_GET},
    {"binding", "", "v1", "Binding", VERB_CREATE},
    {"ephemeralcontainers", NULL, NULL, NULL, VERB_GET | VERB_UPDATE | VERB_PATCH},
    {"eviction", "policy", "v1", "Eviction", VERB_CREATE},
    {"exec", "", "v1", "PodExecOptions", VERB_CREATE | VERB_GET},
    {"log", NULL, NULL, NULL, VERB_GET},
    {"portforward", "", "v1", "PodPortForwardOptions", VERB_CREATE | VERB_GET},
    {"proxy", "", "v1", "PodProxyOptions", VERBS_PROXY},
    {"resize", NULL, NULL, NULL, VERB_GET | VERB_UPDATE | VERB_PATCH},
    SUB_STATUS,
    SUB_END,
};
static const struct subresource subs_namespace[] = {
    {"finalize", NULL, NULL, NULL, VERB_UPDATE},
    SUB_STATUS,
    SUB_END,
};
static const struct subresource subs_serviceaccount[] = {
    {"token", "authentication.k8s.io", "v1", "TokenRequest", VERB_CREATE},
    SUB_END,
};
static const struct subresource subs_node[] = {
    {"proxy", "", "v1", "NodeProxyOptions", VERBS_PROXY},
    SUB_STATUS,
    SUB_END,
};
static const struct subresource subs_service[] = {
    {"proxy", "", "v1", "ServiceProxyOptions", VERBS_PROXY},
    SUB_STATUS,
    SUB_END,
};
static const struct subresource subs_scale_status[] = {SUB_SCALE, SUB_STATUS, SUB_END};

/* The labels under which events.k8s.io/v1 lets the fields of a core/v1 Event be selected. */
/* clang-format off */
static const char *const aliases_event[] = {
    "regarding.kind", "involvedObject.kind",
    "regarding.namespace", "involvedObject.namespace",
    "regarding.name", "involvedObject.name",
    "regarding.uid", "involvedObject.uid",
    "regarding.apiVersion", "involvedObject.apiVersion",
    "regarding.resourceVersion", "involvedObject.resourceVersion",
    "regarding.fieldPath", "involvedObject.fieldPath",
    "reportingController", "reportingComponent",
    NULL,
};
/* clang-format on */
#define EVENT_FIELDS                                                                               \
    NAMES("involvedObject.kind", "involvedObject.namespace", "involvedObject.name",                \
          "involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion",     \
          "involvedObject.fieldPath", "reason", "reportingComponent", "source", "type")

enum { EVENTS_CORE = 3 };

/* In the order of discovery: by group as Kubernetes lists them, then by plural name. */
static struct resource resources[] = {
    {.group = "",
     .version = "v1",
     .kind = "Binding",
     .plural = "bindings",
     .singular = "binding",
     .namespaced = true,
     .verbs = VERB_CREATE},
    {.group = "",
     .version = "v1",
     .kind = "ConfigMap",
     .plural = "configmaps",
     .singular = "configmap",
     .short_names = NAMES("cm"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "configmaps",
     .columns = columns_configmap,
     .row = row_configmap},
    {.group = "",
     .version = "v1",
     .kind = "Endpoints",
     .plural = "endpoints",
     .singular = "endpoints",
     .short_names = NAMES("ep"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "services/endpoints",
     .columns = columns_endpoints,
     .row = row_endpoints,
     .create_on_update = true,
     .deprecation = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"},
    [EVENTS_CORE] = {.group = "",
                     .version = "v1",
                     .kind = "Event",
                     .plural = "events",
                     .singular = "event",
                     .short_names = NAMES("ev"),
                     .namespaced = true,
                     .verbs = VERBS_ALL,
                     .storage_prefix = "events",
                     .columns = columns_event,
                     .row = row_event,
                     .field_selectors = EVENT_FIELDS,
                     .field_value = event_field_value,
                     .ttl_seconds = 3600,
                     .create_on_update = true},
    {.group = "",
     .version = "v1",
     .kind = "Namespace",
     .plural = "namespaces",
     .singular = "namespace",
     .short_names = NAMES("ns"),
     .verbs = VERBS_ALL & ~VERB_DELETECOLLECTION,
     .subresources = subs_namespace,
     .storage_prefix = "namespaces",
     .columns = columns_namespace,
     .row = row_namespace,
     .field_selectors = NAMES("status.phase"),
     .has_status = true,
     .prepare = namespace_prepare},
    {.group = "",
     .version = "v1",
     .kind = "Node",
     .plural = "nodes",
     .singular = "node",
     .short_names = NAMES("no"),
     .verbs = VERBS_ALL,
     .subresources = subs_node,
     .storage_prefix = "minions",
     .columns = columns_node,
     .row = row_node,
     .field_selectors = NAMES("spec.unschedulable"),
     .field_default = node_field_default,
     .has_status = true},
    {.group = "",
     .version = "v1",
     .kind = "Pod",
     .plural = "pods",
     .singular = "pod",
     .short_names = NAMES("po"),
     .categories = NAMES("all"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_pod,
     .storage_prefix = "pods",
     .columns = columns_pod,
     .row = row_pod,
     .field_selectors = NAMES("spec.nodeName", "spec.restartPolicy", "spec.schedulerName",
                              "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
                              "status.podIP", "status.nominatedNodeName"),
     .field_default = pod_field_default,
     .has_status = true,
     .graceful_delete = true,
     .generation = true,
     .prepare = pod_prepare},
    {.group = "",
     .version = "v1",
     .kind = "Secret",
     .plural = "secrets",
     .singular = "secret",
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "secrets",
     .columns = columns_secret,
     .row = row_secret,
     .field_selectors = NAMES("type"),
     .prepare = secret_prepare},
    {.group = "",
     .version = "v1",
     .kind = "ServiceAccount",
     .plural = "serviceaccounts",
     .singular = "serviceaccount",
     .short_names = NAMES("sa"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_serviceaccount,
     .storage_prefix = "serviceaccounts",
     .columns = columns_serviceaccount,
     .row = row_serviceaccount},
    {.group = "",
     .version = "v1",
     .kind = "Service",
     .plural = "services",
     .singular = "service",
     .short_names = NAMES("svc"),
     .categories = NAMES("all"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_service,
     .storage_prefix = "services/specs",
     .columns = columns_service,
     .row = row_service,
     .field_selectors = NAMES("spec.clusterIP", "spec.type"),
     .has_status = true,
     .create_on_update = true,
     .prepare = service_prepare},

    {.group = "events.k8s.io",
     .version = "v1",
     .kind = "Event",
     .plural = "events",
     .singular = "event",
     .short_names = NAMES("ev"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "events",
     .columns = columns_event,
     .row = row_event,
     .field_selectors = EVENT_FIELDS,
     .field_aliases = aliases_event,
     .ttl_seconds = 3600,
     .create_on_update = true,
     .stored_as = &resources[EVENTS_CORE],
     .from_stored = event_from_stored,
     .to_stored = event_to_stored},

    {.group = "apps",
     .version = "v1",
     .kind = "Deployment",
     .plural = "deployments",
     .singular = "deployment",
     .short_names = NAMES("deploy"),
     .categories = NAMES("all"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_scale_status,
     .storage_prefix = "deployments",
     .columns = columns_deployment,
     .row = row_deployment,
     .has_status = true,
     .generation = true,
     .prepare = deployment_prepare},
    {.group = "apps",
     .version = "v1",
     .kind = "ReplicaSet",
     .plural = "replicasets",
     .singular = "replicaset",
     .short_names = NAMES("rs"),
     .categories = NAMES("all"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_scale_status,
     .storage_prefix = "replicasets",
     .columns = columns_replicaset,
     .row = row_replicaset,
     .field_selectors = NAMES("status.replicas"),
     .field_default = replicaset_field_default,
     .has_status = true,
     .generation = true,
     .prepare = replicaset_prepare},

    {.group = "discovery.k8s.io",
     .version = "v1",
     .kind = "EndpointSlice",
     .plural = "endpointslices",
     .singular = "endpointslice",
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "endpointslices",
     .columns = columns_endpointslice,
     .row = row_endpointslice,
     .generation = true},
    {.group = "coordination.k8s.io",
     .version = "v1",
     .kind = "Lease",
     .plural = "leases",
     .singular = "lease",
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "leases",
     .columns = columns_lease,
     .row = row_lease,
     .create_on_update = true},

    {.group = "rbac.authorization.k8s.io",
     .version = "v1",
     .kind = "ClusterRoleBinding",
     .plural = "clusterrolebindings",
     .singular = "clusterrolebinding",
     .verbs = VERBS_ALL,
     .storage_prefix = "clusterrolebindings",
     .columns = columns_rolebinding,
     .row = row_rolebinding,
     .create_on_update = true},
    {.group = "rbac.authorization.k8s.io",
     .version = "v1",
     .kind = "ClusterRole",
     .plural = "clusterroles",
     .singular = "clusterrole",
     .verbs = VERBS_ALL,
     .storage_prefix = "clusterroles",
     .create_on_update = true},
    {.group = "rbac.authorization.k8s.io",
     .version = "v1",
     .kind = "RoleBinding",
     .plural = "rolebindings",
     .singular = "rolebinding",
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "rolebindings",
     .columns = columns_rolebinding,
     .row = row_rolebinding,
     .create_on_update = true},
    {.group = "rbac.authorization.k8s.io",
     .version = "v1",
     .kind = "Role",
     .plural = "roles",
     .singular = "role",
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "roles",
     .create_on_update = true},

    /* Answered, never stored (auth/access_review.c). */
    {.group = "authentication.k8s.io",
     .version = "v1",
     .kind = "SelfSubjectReview",
     .plural = "selfsubjectreviews",
     .singular = "selfsubjectreview",
     .verbs = VERB_CREATE},
    {.group = "authentication.k8s.io",
     .version = "v1",
     .kind = "TokenReview",
     .plural = "tokenreviews",
     .singular = "tokenreview",
     .verbs = VERB_CREATE},
    {.group = "authorization.k8s.io",
     .version = "v1",
     .kind = "LocalSubjectAccessReview",
     .plural = "localsubjectaccessreviews",
     .singular = "localsubjectaccessreview",
     .namespaced = true,
     .verbs = VERB_CREATE},
    {.group = "authorization.k8s.io",
     .version = "v1",
     .kind = "SelfSubjectAccessReview",
     .plural = "selfsubjectaccessreviews",
     .singular = "selfsubjectaccessreview",
     .verbs = VERB_CREATE},
    {.group = "authorization.k8s.io",
     .version = "v1",
     .kind = "SelfSubjectRulesReview",
     .plural = "selfsubjectrulesreviews",
     .singular = "selfsubjectrulesreview",
     .verbs = VERB_CREATE},
    {.group = "authorization.k8s.io",
     .version = "v1",
     .kind = "SubjectAccessReview",
     .plural = "subjectaccessreviews",
     .singular = "subjectaccessreview",
     .verbs = VERB_CREATE},
};

enum { RESOURCES_MAX = 160 };

static const struct resource *builtin[RESOURCES_MAX]; /* joined once */
static size_t builtin_count;
static _Atomic(const struct resource_list *) current;
static atomic_ulong generation;

static void join(struct resource *items, size_t count)
{
    for (size_t i = 0; i < count && builtin_count < RESOURCES_MAX; i++) {
        builtin[builtin_count++] = &items[i];
        items[i].type = schema_find(items[i].group, items[i].version, items[i].kind);
    }
}

static void set_list(const struct resource *const *custom, size_t count)
{
    struct resource_list *l = mem_alloc(sizeof *l + (builtin_count + count) * sizeof *l->items);
    l->count = builtin_count + count;
    l->builtin = builtin_count;
    memcpy(l->items, builtin, builtin_count * sizeof *builtin);
    for (size_t i = 0; i < count; i++)
        l->items[builtin_count + i] = custom[i];
    atomic_store(&current, l);
    atomic_fetch_add(&generation, 1);
}

static void join_all(void)
{
    join(resources, ARRAY_LEN(resources));
    const struct resource_set *const sets[] = {&resources_workloads, &resources_network,
                                               &resources_storage, &resources_extension,
                                               &resources_policy, &resources_metrics};
    for (size_t i = 0; i < ARRAY_LEN(sets); i++)
        join(sets[i]->items, sets[i]->count);
    set_list(NULL, 0);
}

const struct resource_list *resource_all(void)
{
    static pthread_once_t joined = PTHREAD_ONCE_INIT;
    pthread_once(&joined, join_all);
    return atomic_load(&current);
}

unsigned long resource_generation(void)
{
    return atomic_load(&generation);
}

void resource_set_custom(const struct resource *const *list, size_t count)
{
    const struct resource_list *l = resource_all();
    bool same = l->count == l->builtin + count;
    for (size_t i = 0; same && i < count; i++)
        same = l->items[l->builtin + i] == list[i];
    if (!same)
        set_list(list, count);
}

const struct resource *resource_find(const char *group, const char *version, const char *plural)
{
    const struct resource_list *l = resource_all();
    for (size_t i = 0; i < l->count; i++) {
        const struct resource *r = l->items[i];
        if (!strcmp(r->plural, plural) && !strcmp(r->group, group) && !strcmp(r->version, version))
            return r;
    }
    return NULL;
}

const struct resource *resource_find_kind(const char *group, const char *version, const char *kind)
{
    const struct resource_list *l = resource_all();
    for (size_t i = 0; i < l->count; i++) {
        const struct resource *r = l->items[i];
        if (!strcmp(r->kind, kind) && !strcmp(r->group, group) && !strcmp(r->version, version))
            return r;
    }
    return NULL;
}

char *resource_list_kind(const struct resource *r)
{
    return r->list_kind ? mem_strdup(r->list_kind) : mem_printf("%sList", r->kind);
}
