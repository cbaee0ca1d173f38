/* The roles and bindings that every cluster has, as Kubernetes' bootstrap policy gives them:
 * https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
 *
 * The controllers run under one identity here (their binary's certificate), so the rights that
 * Kubernetes gives to the service account of each controller are held by
 * system:kube-controller-manager. */
#include "apiserver/auth/rbac.h"

#define RULE(verbs, groups, resources)                                                             \
    {                                                                                              \
        verbs, groups, resources, "", ""                                                           \
    }
#define NAMED(verbs, groups, resources, names)                                                     \
    {                                                                                              \
        verbs, groups, resources, names, ""                                                        \
    }
#define URLS(verbs, urls)                                                                          \
    {                                                                                              \
        verbs, "", "", "", urls                                                                    \
    }
#define RULES_END                                                                                  \
    {                                                                                              \
        NULL, NULL, NULL, NULL, NULL                                                               \
    }
#define RULES(name) static const struct rbac_rule_text name[]
#define READ        "get,list,watch"
#define EVENTS      RULE("create,patch,update", ",events.k8s.io", "events")

RULES(cluster_admin) = {
    RULE("*", "*", "*"),
    URLS("*", "*"),
    RULES_END,
};
RULES(discovery) = {
    URLS(
        "get",
        "/api,/api/*,/apis,/apis/*,/healthz,/livez,/openapi,/openapi/*,/readyz,/version,/version/"),
    RULES_END,
};
RULES(public_info) = {
    URLS("get", "/healthz,/livez,/readyz,/version,/version/"),
    RULES_END,
};
RULES(monitoring) = {
    URLS("get", "/healthz,/healthz/*,/livez,/livez/*,/metrics,/metrics/slis,/readyz,/readyz/*"),
    RULES_END,
};
RULES(basic_user) = {
    RULE("create", "authorization.k8s.io", "selfsubjectaccessreviews,selfsubjectrulesreviews"),
    RULE("create", "authentication.k8s.io", "selfsubjectreviews"),
    RULES_END,
};
RULES(service_account_issuer_discovery) = {
    URLS("get", "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/"
                "jwks,/openid/v1/jwks/"),
    RULES_END,
};
RULES(kube_scheduler) = {
    EVENTS,
    RULE("create", "coordination.k8s.io", "leases"),
    NAMED("get,list,update,watch", "coordination.k8s.io", "leases", "kube-scheduler"),
    RULE(READ, "", "nodes"),
    RULE("delete,get,list,watch", "", "pods"),
    RULE("create", "", "bindings,pods/binding"),
    RULE("patch,update", "", "pods/status"),
    RULE(READ, "", "namespaces,replicationcontrollers,services"),
    RULE(READ, "apps,extensions", "replicasets"),
    RULE(READ, "apps", "statefulsets"),
    RULE(READ, "policy", "poddisruptionbudgets"),
    RULE("get,list,watch,update", "", "persistentvolumeclaims,persistentvolumes"),
    RULE("create", "authentication.k8s.io", "tokenreviews"),
    RULE("create", "authorization.k8s.io", "subjectaccessreviews"),
    RULE(READ, "storage.k8s.io",
         "csinodes,csidrivers,csistoragecapacities,storageclasses,volumeattachments"),
    RULES_END,
};
RULES(kube_controller_manager) = {
    EVENTS,
    RULE("create", "coordination.k8s.io", "leases"),
    NAMED("get,list,update,watch", "coordination.k8s.io", "leases", "kube-controller-manager"),
    RULE("create,get,list,watch,update,delete", "", "secrets,serviceaccounts"),
    RULE("create", "", "serviceaccounts/token"),
    RULE("get,create,update,patch", "", "configmaps"),
    RULE("create", "authentication.k8s.io", "tokenreviews"),
    RULE("create", "authorization.k8s.io", "subjectaccessreviews"),
    URLS("get", "/api,/api/*,/apis,/apis/*,/openapi,/openapi/*"),
    /* generic-garbage-collector */
    RULE("delete,get,list,patch,update,watch", "*", "*"),
    /* namespace-controller */
    RULE("delete,get,list,watch", "", "namespaces"),
    RULE("update", "", "namespaces/finalize,namespaces/status"),
    RULE("delete,deletecollection,get,list", "*", "*"),
    /* deployment-controller */
    RULE("get,list,update,watch", "apps", "deployments"),
    RULE("patch,update", "apps", "deployments/status"),
    RULE("update", "apps", "deployments/finalizers"),
    RULE("create,delete,get,list,patch,update,watch", "apps", "replicasets"),
    RULE("get,list,update,watch", "", "pods"),
    /* replicaset-controller */
    RULE("patch,update", "apps", "replicasets/status"),
    RULE("update", "apps", "replicasets/finalizers"),
    RULE("create,delete,list,patch,watch", "", "pods"),
    /* endpoint-controller, endpointslice-controller, endpointslicemirroring-controller */
    RULE("create,delete,get,list,patch,update", "", "endpoints"),
    RULE("create", "", "endpoints/restricted"),
    RULE("create,delete,get,list,patch,update", "discovery.k8s.io", "endpointslices"),
    RULE("create", "discovery.k8s.io", "endpointslices/restricted"),
    RULE("update", "", "services/finalizers"),
    /* node-controller (lifecycle and address ranges), taint-eviction-controller,
       pod-garbage-collector */
    RULE("delete,get,list,patch,update", "", "nodes"),
    RULE("patch,update", "", "nodes/status"),
    RULE("patch,update", "", "pods/status"),
    RULE("delete,get,list,patch,watch", "", "pods"),
    RULE("get,list,watch", "coordination.k8s.io", "leases"),
    RULES_END,
};
RULES(node_proxier) = {
    RULE("list,watch", "", "endpoints,services"),
    RULE(READ, "", "nodes"),
    EVENTS,
    RULE("list,watch", "discovery.k8s.io", "endpointslices"),
    RULE("list,watch", "networking.k8s.io", "servicecidrs"),
    RULES_END,
};

const struct rbac_role_text policy_roles[] = {
    {"cluster-admin", cluster_admin},
    {"system:discovery", discovery},
    {"system:public-info-viewer", public_info},
    {"system:monitoring", monitoring},
    {"system:basic-user", basic_user},
    {"system:service-account-issuer-discovery", service_account_issuer_discovery},
    {"system:kube-scheduler", kube_scheduler},
    {"system:kube-controller-manager", kube_controller_manager},
    {"system:node-proxier", node_proxier},
    {NULL, NULL},
};

const struct rbac_binding_text policy_bindings[] = {
    {"cluster-admin", NULL, GROUP_MASTERS, NULL},
    {"system:discovery", NULL, GROUP_AUTHENTICATED, NULL},
    {"system:basic-user", NULL, GROUP_AUTHENTICATED, NULL},
    {"system:public-info-viewer", NULL, GROUP_AUTHENTICATED, NULL},
    {"system:public-info-viewer", NULL, GROUP_UNAUTHENTICATED, NULL},
    {"system:monitoring", NULL, "system:monitoring", NULL},
    {"system:service-account-issuer-discovery", NULL, "system:serviceaccounts", NULL},
    {"system:kube-scheduler", "system:kube-scheduler", NULL, NULL},
    {"system:kube-controller-manager", "system:kube-controller-manager", NULL, NULL},
    {"system:node-proxier", "system:kube-proxy", NULL, NULL},
    {NULL, NULL, NULL, NULL},
};
