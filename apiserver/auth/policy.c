/* The roles and bindings that every cluster has, as Kubernetes defines them:
 * https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
 * Those of the controllers are in policy_controllers.c. */
#include "apiserver/auth/rbac.h"

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
RULES(issuer_discovery) = {
    URLS("get",
         "/.well-known/openid-configuration,/.well-known/openid-configuration/,/openid/v1/jwks,"
         "/openid/v1/jwks/"),
    RULES_END,
};

/* --- what people get in a namespace: admin, edit and view gather these --- */
RULES(aggregate_to_admin) = {
    RULE("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    RULE(READ_WRITE, "rbac.authorization.k8s.io", "roles,rolebindings"),
    RULES_END,
};
RULES(aggregate_to_edit) = {
    RULE(READ, "", "pods/attach,pods/proxy,pods/exec,pods/portforward,secrets,services/proxy"),
    RULE("impersonate", "", "serviceaccounts"),
    RULE(WRITE, "", "pods,pods/attach,pods/proxy,pods/exec,pods/portforward"),
    RULE("create", "", "pods/eviction"),
    RULE(WRITE, "",
         "replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,"
         "services/proxy,persistentvolumeclaims,configmaps,secrets,events"),
    RULE("create", "", "serviceaccounts/token"),
    RULE(WRITE, "apps",
         "deployments,deployments/rollback,deployments/scale,daemonsets,replicasets,"
         "replicasets/scale,statefulsets,statefulsets/scale"),
    RULE(WRITE, "autoscaling", "horizontalpodautoscalers"),
    RULE(WRITE, "batch", "cronjobs,jobs"),
    RULE(WRITE, "extensions",
         "daemonsets,deployments,deployments/rollback,deployments/scale,ingresses,"
         "networkpolicies,replicasets,replicasets/scale,replicationcontrollers/scale"),
    RULE(WRITE, "policy", "poddisruptionbudgets"),
    RULE(WRITE, "networking.k8s.io", "ingresses,networkpolicies"),
    RULE(READ_WRITE, "coordination.k8s.io", "leases"),
    RULES_END,
};
RULES(aggregate_to_view) = {
    RULE(READ, "",
         "configmaps,endpoints,persistentvolumeclaims,persistentvolumeclaims/status,pods,"
         "replicationcontrollers,replicationcontrollers/scale,serviceaccounts,services,"
         "services/status"),
    RULE(READ, "",
         "bindings,events,limitranges,namespaces/status,pods/log,pods/status,"
         "replicationcontrollers/status,resourcequotas,resourcequotas/status"),
    RULE(READ, "", "namespaces"),
    RULE(READ, "discovery.k8s.io", "endpointslices"),
    RULE(READ, "apps",
         "controllerrevisions,daemonsets,daemonsets/status,deployments,deployments/scale,"
         "deployments/status,replicasets,replicasets/scale,replicasets/status,statefulsets,"
         "statefulsets/scale,statefulsets/status"),
    RULE(READ, "autoscaling", "horizontalpodautoscalers,horizontalpodautoscalers/status"),
    RULE(READ, "batch", "cronjobs,cronjobs/status,jobs,jobs/status"),
    RULE(READ, "extensions",
         "daemonsets,daemonsets/status,deployments,deployments/scale,deployments/status,"
         "ingresses,ingresses/status,networkpolicies,replicasets,replicasets/scale,"
         "replicasets/status,replicationcontrollers/scale"),
    RULE(READ, "policy", "poddisruptionbudgets,poddisruptionbudgets/status"),
    RULE(READ, "networking.k8s.io", "ingresses,ingresses/status,networkpolicies"),
    RULES_END,
};

RULES(metrics_reader) = {
    RULE(READ, "metrics.k8s.io", "nodes,pods"),
    RULES_END,
};

/* --- components --- */
RULES(kube_scheduler) = {
    EVENTS,
    RULE("create", "coordination.k8s.io", "leases"),
    NAMED("get,list,update,watch", "coordination.k8s.io", "leases", "kube-scheduler"),
    RULE("create", "coordination.k8s.io", "leasecandidates"),
    RULE(READ, "", "nodes"),
    RULE("delete,get,list,watch", "", "pods"),
    RULE("create", "", "bindings,pods/binding"),
    RULE("patch,update", "", "pods/status"),
    RULE(READ, "", "namespaces,replicationcontrollers,services"),
    RULE(READ, "apps,extensions", "replicasets"),
    RULE(READ, "apps", "statefulsets"),
    RULE(READ, "policy", "poddisruptionbudgets"),
    RULE(READ, "", "persistentvolumeclaims,persistentvolumes"),
    RULE("create", "authentication.k8s.io", "tokenreviews"),
    RULE("create", "authorization.k8s.io", "subjectaccessreviews"),
    RULE(READ, "storage.k8s.io", "csinodes,csidrivers,csistoragecapacities,volumeattachments"),
    RULES_END,
};
RULES(volume_scheduler) = {
    RULE("get,list,patch,update,watch", "", "persistentvolumes"),
    RULE(READ, "storage.k8s.io", "storageclasses"),
    RULE("get,list,patch,update,watch", "", "persistentvolumeclaims"),
    RULES_END,
};
RULES(kube_controller_manager) = {
    EVENTS,
    RULE("create", "coordination.k8s.io", "leases"),
    NAMED("get,list,update,watch", "coordination.k8s.io", "leases", "kube-controller-manager"),
    RULE("create", "coordination.k8s.io", "leasecandidates"),
    RULE("create", "", "secrets,serviceaccounts"),
    RULE("delete", "", "secrets"),
    RULE("get", "", "configmaps,namespaces,secrets,serviceaccounts"),
    RULE("update", "", "secrets,serviceaccounts"),
    RULE("create", "authentication.k8s.io", "tokenreviews"),
    RULE("create", "authorization.k8s.io", "subjectaccessreviews"),
    RULE("list,watch", "*", "*"),
    RULE("create", "", "serviceaccounts/token"),
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
/* kube-proxy enforces NetworkPolicies too; in Kubernetes that is a role of the network plugin's own. */
RULES(network_policy) = {
    RULE("list,watch", "", "namespaces,pods"),
    RULE("list,watch", "networking.k8s.io", "networkpolicies"),
    RULES_END,
};
RULES(kube_dns) = {
    RULE("list,watch", "", "endpoints,services"),
    RULES_END,
};
/* What kubelets may do by the node authorizer, for those that bind it all the same. */
RULES(node) = {
    RULE("create", "authentication.k8s.io", "tokenreviews"),
    RULE("create", "authorization.k8s.io", "localsubjectaccessreviews,subjectaccessreviews"),
    RULE(READ, "", "services"),
    RULE("create,get,list,watch", "", "nodes"),
    RULE("patch,update", "", "nodes/status"),
    RULE("delete,patch,update", "", "nodes"),
    EVENTS,
    RULE(READ, "", "pods"),
    RULE("create,delete", "", "pods"),
    RULE("patch,update", "", "pods/status"),
    RULE("create", "", "pods/eviction"),
    RULE(READ, "", "configmaps,secrets"),
    RULE("get", "", "persistentvolumeclaims,persistentvolumes"),
    RULE("get", "", "endpoints"),
    RULE("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"),
    RULE("create,delete,get,patch,update", "coordination.k8s.io", "leases"),
    RULE("get", "storage.k8s.io", "volumeattachments"),
    RULE("create", "", "serviceaccounts/token"),
    RULE("get,patch,update", "", "persistentvolumeclaims/status"),
    RULE(READ, "storage.k8s.io", "csidrivers"),
    RULE("create,delete,get,patch,update", "storage.k8s.io", "csinodes"),
    RULE(READ, "node.k8s.io", "runtimeclasses"),
    RULES_END,
};
RULES(node_problem_detector) = {
    RULE("get", "", "nodes"),
    RULE("patch", "", "nodes/status"),
    EVENTS,
    RULES_END,
};
RULES(node_bootstrapper) = {
    RULE("create,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"),
    RULES_END,
};
RULES(kubelet_api_admin) = {
    RULE(READ, "", "nodes"),
    RULE("proxy", "", "nodes"),
    RULE("*", "",
         "nodes/configz,nodes/healthz,nodes/log,nodes/metrics,nodes/pods,nodes/proxy,nodes/stats"),
    RULES_END,
};
RULES(auth_delegator) = {
    RULE("create", "authentication.k8s.io", "tokenreviews"),
    RULE("create", "authorization.k8s.io", "subjectaccessreviews"),
    RULES_END,
};
RULES(kube_aggregator) = {
    RULE(READ, "", "endpoints,services"),
    RULE(READ, "discovery.k8s.io", "endpointslices"),
    RULES_END,
};
RULES(heapster) = {
    RULE(READ, "", "events,namespaces,nodes,pods"),
    RULE(READ, "extensions", "deployments"),
    RULES_END,
};
RULES(volume_provisioner) = {
    RULE("create,delete,get,list,watch", "", "persistentvolumes"),
    RULE("get,list,update,watch", "", "persistentvolumeclaims"),
    RULE(READ, "storage.k8s.io", "storageclasses"),
    RULE("watch", "", "events"),
    EVENTS,
    RULES_END,
};
RULES(client_creates) = {
    RULE("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient"),
    RULES_END,
};
RULES(client_renews) = {
    RULE("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient"),
    RULES_END,
};
#define APPROVER(signer)                                                                           \
    {                                                                                              \
        NAMED("approve", "certificates.k8s.io", "signers", signer), RULES_END                      \
    }
RULES(approve_client) = APPROVER("kubernetes.io/kube-apiserver-client");
RULES(approve_client_kubelet) = APPROVER("kubernetes.io/kube-apiserver-client-kubelet");
RULES(approve_serving) = APPROVER("kubernetes.io/kubelet-serving");
RULES(approve_legacy) = APPROVER("kubernetes.io/legacy-unknown");

/* --- Roles in kube-system --- */
RULES(authentication_reader) = {
    NAMED(READ, "", "configmaps", "extension-apiserver-authentication"),
    RULES_END,
};
RULES(lock_scheduler) = {
    RULE("watch", "", "configmaps"),
    NAMED("get,update", "", "configmaps", "kube-scheduler"),
    RULES_END,
};
RULES(lock_controller_manager) = {
    RULE("watch", "", "configmaps"),
    NAMED("get,update", "", "configmaps", "kube-controller-manager"),
    RULES_END,
};

const struct rbac_role_text policy_roles[] = {
    {.name = "cluster-admin", .rules = cluster_admin},
    {.name = "system:discovery", .rules = discovery},
    {.name = "system:public-info-viewer", .rules = public_info},
    {.name = "system:monitoring", .rules = monitoring},
    {.name = "system:basic-user", .rules = basic_user},
    {.name = "system:service-account-issuer-discovery", .rules = issuer_discovery},
    {.name = "admin", .aggregates = true},
    {.name = "edit", .aggregates = true, .aggregated_to = "admin"},
    {.name = "view", .aggregates = true, .aggregated_to = "edit"},
    {.name = "system:aggregate-to-admin", .rules = aggregate_to_admin, .aggregated_to = "admin"},
    {.name = "system:aggregate-to-edit", .rules = aggregate_to_edit, .aggregated_to = "edit"},
    {.name = "system:aggregate-to-view", .rules = aggregate_to_view, .aggregated_to = "view"},
    {.name = "system:aggregated-metrics-reader", .rules = metrics_reader, .aggregated_to = "view"},
    {.name = "system:kube-scheduler", .rules = kube_scheduler},
    {.name = "system:volume-scheduler", .rules = volume_scheduler},
    {.name = "system:kube-controller-manager", .rules = kube_controller_manager},
    {.name = "system:node-proxier", .rules = node_proxier},
    {.name = "skiff:network-policy", .rules = network_policy},
    {.name = "system:kube-dns", .rules = kube_dns},
    {.name = "system:node", .rules = node},
    {.name = "system:node-problem-detector", .rules = node_problem_detector},
    {.name = "system:node-bootstrapper", .rules = node_bootstrapper},
    {.name = "system:kubelet-api-admin", .rules = kubelet_api_admin},
    {.name = "system:auth-delegator", .rules = auth_delegator},
    {.name = "system:kube-aggregator", .rules = kube_aggregator},
    {.name = "system:heapster", .rules = heapster},
    {.name = "system:persistent-volume-provisioner", .rules = volume_provisioner},
    {.name = "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
     .rules = client_creates},
    {.name = "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
     .rules = client_renews},
    {.name = "system:certificates.k8s.io:kube-apiserver-client-approver", .rules = approve_client},
    {.name = "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
     .rules = approve_client_kubelet},
    {.name = "system:certificates.k8s.io:kubelet-serving-approver", .rules = approve_serving},
    {.name = "system:certificates.k8s.io:legacy-unknown-approver", .rules = approve_legacy},
    {.name = "extension-apiserver-authentication-reader",
     .rules = authentication_reader,
     .ns = "kube-system"},
    {.name = "system::leader-locking-kube-scheduler", .rules = lock_scheduler, .ns = "kube-system"},
    {.name = "system::leader-locking-kube-controller-manager",
     .rules = lock_controller_manager,
     .ns = "kube-system"},
    {0},
};

const struct rbac_binding_text policy_bindings[] = {
    {.name = "cluster-admin", .group = GROUP_MASTERS},
    {.name = "system:discovery", .group = GROUP_AUTHENTICATED},
    {.name = "system:basic-user", .group = GROUP_AUTHENTICATED},
    {.name = "system:public-info-viewer", .group = GROUP_AUTHENTICATED},
    {.name = "system:public-info-viewer", .group = GROUP_UNAUTHENTICATED},
    {.name = "system:monitoring", .group = "system:monitoring"},
    {.name = "system:service-account-issuer-discovery", .group = "system:serviceaccounts"},
    {.name = "system:kube-scheduler", .user = "system:kube-scheduler"},
    {.name = "system:volume-scheduler", .user = "system:kube-scheduler"},
    {.name = "system:kube-controller-manager", .user = "system:kube-controller-manager"},
    {.name = "system:node-proxier", .user = "system:kube-proxy"},
    {.name = "skiff:network-policy", .user = "system:kube-proxy"},
    {.name = "system:kube-dns", .account = "kube-dns"},
    {.name = "system:node"},
    {.name = "system::extension-apiserver-authentication-reader",
     .role = "extension-apiserver-authentication-reader",
     .user = "system:kube-controller-manager",
     .ns = "kube-system"},
    {.name = "system::extension-apiserver-authentication-reader",
     .role = "extension-apiserver-authentication-reader",
     .user = "system:kube-scheduler",
     .ns = "kube-system"},
    {.name = "system::leader-locking-kube-scheduler",
     .user = "system:kube-scheduler",
     .ns = "kube-system"},
    {.name = "system::leader-locking-kube-controller-manager",
     .user = "system:kube-controller-manager",
     .ns = "kube-system"},
    {0},
};
