/* What each controller may do: ClusterRoles system:controller:<name>, as in Kubernetes. */
#include "apiserver/auth/rbac.h"

RULES(aggregation) = {
    RULE("escalate,get,list,patch,update,watch", "rbac.authorization.k8s.io", "clusterroles"),
    RULES_END,
};
RULES(attachdetach) = {
    RULE("list,watch", "", "persistentvolumeclaims,persistentvolumes"),
    RULE(READ, "", "nodes"),
    RULE("patch,update", "", "nodes/status"),
    RULE("list,watch", "", "pods"),
    EVENTS,
    RULE(READ, "storage.k8s.io", "csidrivers,csinodes"),
    RULE("create,delete,get,list,patch,watch", "storage.k8s.io", "volumeattachments"),
    RULES_END,
};
RULES(cronjob) = {
    RULE("get,list,update,watch", "batch", "cronjobs"),
    RULE("create,delete,get,list,patch,update,watch", "batch", "jobs"),
    RULE("update", "batch", "cronjobs/finalizers,cronjobs/status"),
    RULE("delete,list", "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(daemonset) = {
    RULE(READ, "apps,extensions", "daemonsets"),
    RULE("update", "apps,extensions", "daemonsets/finalizers,daemonsets/status"),
    RULE("list,watch", "", "nodes"),
    RULE("create,delete,list,patch,watch", "", "pods"),
    RULE("create", "", "pods/binding"),
    RULE("create,delete,get,list,patch,update,watch", "apps", "controllerrevisions"),
    EVENTS,
    RULES_END,
};
RULES(deployment) = {
    RULE("get,list,update,watch", "apps,extensions", "deployments"),
    RULE("update", "apps,extensions", "deployments/finalizers,deployments/status"),
    RULE("create,delete,get,list,patch,update,watch", "apps,extensions", "replicasets"),
    RULE("get,list,update,watch", "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(disruption) = {
    RULE(READ, "apps,extensions", "deployments,replicasets"),
    RULE(READ, "", "replicationcontrollers"),
    RULE(READ, "policy", "poddisruptionbudgets"),
    RULE(READ, "apps", "statefulsets"),
    RULE("update", "policy", "poddisruptionbudgets/status"),
    RULE("patch,update", "", "pods/status"),
    RULE("get", "*", "*/scale"),
    RULE(READ, "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(endpoint) = {
    RULE(READ, "", "pods,services"),
    RULE("create,delete,get,list,update", "", "endpoints"),
    RULE("create", "", "endpoints/restricted"),
    EVENTS,
    RULES_END,
};
RULES(endpointslice) = {
    RULE(READ, "", "nodes,pods,services"),
    RULE("update", "", "services/finalizers"),
    RULE("create,delete,get,list,update", "discovery.k8s.io", "endpointslices"),
    RULE("create", "discovery.k8s.io", "endpointslices/restricted"),
    EVENTS,
    RULES_END,
};
RULES(endpointslicemirroring) = {
    RULE(READ, "", "endpoints,services"),
    RULE("update", "", "services/finalizers"),
    RULE("update", "", "endpoints/finalizers"),
    RULE("create,delete,get,list,update", "discovery.k8s.io", "endpointslices"),
    RULE("create", "discovery.k8s.io", "endpointslices/restricted"),
    EVENTS,
    RULES_END,
};
RULES(ephemeral_volume) = {
    RULE(READ, "", "pods"),
    RULE("update", "", "pods/finalizers"),
    RULE("create,get,list,watch", "", "persistentvolumeclaims"),
    EVENTS,
    RULES_END,
};
RULES(expand) = {
    RULE("get,list,patch,update,watch", "", "persistentvolumes"),
    RULE("patch,update", "", "persistentvolumeclaims/status"),
    RULE(READ, "", "persistentvolumeclaims"),
    EVENTS,
    RULES_END,
};
RULES(garbage_collector) = {
    RULE("delete,get,list,patch,update,watch", "*", "*"),
    EVENTS,
    RULES_END,
};
RULES(horizontal_pod_autoscaler) = {
    RULE(READ, "autoscaling", "horizontalpodautoscalers"),
    RULE("update", "autoscaling", "horizontalpodautoscalers/status"),
    RULE("get,update", "*", "*/scale"),
    RULE("list", "", "pods"),
    RULE("list", "metrics.k8s.io", "pods"),
    RULE("get,list", "custom.metrics.k8s.io,external.metrics.k8s.io", "*"),
    EVENTS,
    RULES_END,
};
RULES(job) = {
    RULE("get,list,patch,update,watch", "batch", "jobs"),
    RULE("update", "batch", "jobs/finalizers,jobs/status"),
    RULE("create,delete,list,patch,watch", "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(namespace) = {
    RULE("delete,get,list,watch", "", "namespaces"),
    RULE("update", "", "namespaces/finalize,namespaces/status"),
    RULE("delete,deletecollection,get,list", "*", "*"),
    RULES_END,
};
RULES(node) = {
    RULE("delete,get,list,patch,update,watch", "", "nodes"),
    RULE("patch,update", "", "nodes/status"),
    RULE("patch,update", "", "pods/status"),
    RULE("delete,list", "", "pods"),
    RULE("get,list,watch", "coordination.k8s.io", "leases"),
    RULE("get", "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(persistent_volume_binder) = {
    RULE("create,delete,get,list,update,watch", "", "persistentvolumes"),
    RULE("update", "", "persistentvolumes/status"),
    RULE("get,list,update,watch", "", "persistentvolumeclaims"),
    RULE("update", "", "persistentvolumeclaims/status"),
    RULE("create,delete,get,list,watch", "", "pods"),
    RULE(READ, "storage.k8s.io", "storageclasses"),
    RULE("create,delete,get,update", "", "endpoints,services"),
    RULE("get,list", "", "secrets"),
    RULE(READ, "", "nodes"),
    EVENTS,
    RULES_END,
};
RULES(pod_garbage_collector) = {
    RULE("delete,list,watch", "", "pods"),
    RULE("get,list", "", "nodes"),
    RULE("patch,update", "", "pods/status"),
    RULES_END,
};
RULES(pv_protection) = {
    RULE("get,list,update,watch", "", "persistentvolumes"),
    EVENTS,
    RULES_END,
};
RULES(pvc_protection) = {
    RULE("get,list,update,watch", "", "persistentvolumeclaims"),
    RULE(READ, "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(replicaset) = {
    RULE("get,list,update,watch", "apps,extensions", "replicasets"),
    RULE("update", "apps,extensions", "replicasets/finalizers,replicasets/status"),
    RULE("create,delete,list,patch,watch", "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(replication) = {
    RULE("get,list,update,watch", "", "replicationcontrollers"),
    RULE("update", "", "replicationcontrollers/finalizers,replicationcontrollers/status"),
    RULE("create,delete,list,patch,watch", "", "pods"),
    EVENTS,
    RULES_END,
};
RULES(resourcequota) = {
    RULE("list,watch", "*", "*"),
    RULE("update", "", "resourcequotas/status"),
    EVENTS,
    RULES_END,
};
RULES(root_ca) = {
    RULE("create,update", "", "configmaps"),
    EVENTS,
    RULES_END,
};
RULES(route) = {
    RULE("list,watch", "", "nodes"),
    RULE("patch", "", "nodes/status"),
    EVENTS,
    RULES_END,
};
RULES(service_account) = {
    RULE("create", "", "serviceaccounts"),
    EVENTS,
    RULES_END,
};
RULES(service) = {
    RULE(READ, "", "services"),
    RULE("patch,update", "", "services/status"),
    RULE("list,watch", "", "nodes"),
    EVENTS,
    RULES_END,
};
RULES(statefulset) = {
    RULE("list,watch", "", "pods"),
    RULE(READ, "apps", "statefulsets"),
    RULE("update", "apps", "statefulsets/finalizers,statefulsets/status"),
    RULE("create,delete,get,patch,update", "", "pods"),
    RULE("create,delete,get,list,patch,update,watch", "apps", "controllerrevisions"),
    RULE("create,delete,get,list,patch,update,watch", "", "persistentvolumeclaims"),
    EVENTS,
    RULES_END,
};
RULES(ttl) = {
    RULE("list,patch,update,watch", "", "nodes"),
    EVENTS,
    RULES_END,
};
RULES(ttl_after_finished) = {
    RULE("delete,get,list,watch", "batch", "jobs"),
    EVENTS,
    RULES_END,
};
RULES(certificate) = {
    RULE("delete,get,list,watch", "certificates.k8s.io", "certificatesigningrequests"),
    RULE("update", "certificates.k8s.io",
         "certificatesigningrequests/approval,certificatesigningrequests/status"),
    NAMED("approve", "certificates.k8s.io", "signers",
          "kubernetes.io/kube-apiserver-client-kubelet"),
    NAMED("sign", "certificates.k8s.io", "signers",
          "kubernetes.io/kube-apiserver-client,kubernetes.io/kube-apiserver-client-kubelet,"
          "kubernetes.io/kubelet-serving,kubernetes.io/legacy-unknown"),
    RULE("create", "authorization.k8s.io", "subjectaccessreviews"),
    EVENTS,
    RULES_END,
};

const struct rbac_role_text policy_controllers[] = {
    {.name = "attachdetach-controller", .rules = attachdetach},
    {.name = "certificate-controller", .rules = certificate},
    {.name = "clusterrole-aggregation-controller", .rules = aggregation},
    {.name = "cronjob-controller", .rules = cronjob},
    {.name = "daemon-set-controller", .rules = daemonset},
    {.name = "deployment-controller", .rules = deployment},
    {.name = "disruption-controller", .rules = disruption},
    {.name = "endpoint-controller", .rules = endpoint},
    {.name = "endpointslice-controller", .rules = endpointslice},
    {.name = "endpointslicemirroring-controller", .rules = endpointslicemirroring},
    {.name = "ephemeral-volume-controller", .rules = ephemeral_volume},
    {.name = "expand-controller", .rules = expand},
    {.name = "generic-garbage-collector", .rules = garbage_collector},
    {.name = "horizontal-pod-autoscaler", .rules = horizontal_pod_autoscaler},
    {.name = "job-controller", .rules = job},
    {.name = "namespace-controller", .rules = namespace},
    {.name = "node-controller", .rules = node},
    {.name = "persistent-volume-binder", .rules = persistent_volume_binder},
    {.name = "pod-garbage-collector", .rules = pod_garbage_collector},
    {.name = "pv-protection-controller", .rules = pv_protection},
    {.name = "pvc-protection-controller", .rules = pvc_protection},
    {.name = "replicaset-controller", .rules = replicaset},
    {.name = "replication-controller", .rules = replication},
    {.name = "resourcequota-controller", .rules = resourcequota},
    {.name = "root-ca-cert-publisher", .rules = root_ca},
    {.name = "route-controller", .rules = route},
    {.name = "service-account-controller", .rules = service_account},
    {.name = "service-controller", .rules = service},
    {.name = "statefulset-controller", .rules = statefulset},
    {.name = "ttl-after-finished-controller", .rules = ttl_after_finished},
    {.name = "ttl-controller", .rules = ttl},
    {0},
};
