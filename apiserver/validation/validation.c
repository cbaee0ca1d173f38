/* Which validation a kind has. */
#include "apiserver/validation/validation.h"
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/mem.h"

static const struct {
    const char *group, *kind;
    validate_fn *fn;
} kinds[] = {
    {"", "Pod", validate_pod},
    {"", "Binding", validate_binding},
    {"", "Service", validate_service},
    {"", "Namespace", validate_namespace},
    {"", "Node", validate_node},
    {"", "ConfigMap", validate_configmap},
    {"", "Secret", validate_secret},
    {"", "ServiceAccount", validate_serviceaccount},
    {"", "Endpoints", validate_endpoints},
    {"", "Event", validate_event},
    {"events.k8s.io", "Event", validate_event_v1},
    {"apps", "Deployment", validate_deployment},
    {"apps", "ReplicaSet", validate_replicaset},
    {"autoscaling", "Scale", validate_scale},
    {"discovery.k8s.io", "EndpointSlice", validate_endpointslice},
    {"coordination.k8s.io", "Lease", validate_lease},
    {"", "LimitRange", validate_limitrange},
    {"", "ResourceQuota", validate_resourcequota},
    {"scheduling.k8s.io", "PriorityClass", validate_priorityclass},
    {"rbac.authorization.k8s.io", "Role", validate_role},
    {"rbac.authorization.k8s.io", "ClusterRole", validate_clusterrole},
    {"rbac.authorization.k8s.io", "RoleBinding", validate_rolebinding},
    {"rbac.authorization.k8s.io", "ClusterRoleBinding", validate_clusterrolebinding},
    {"", "ReplicationController", validate_replicationcontroller},
    {"", "PodTemplate", validate_podtemplate},
    {"", "PersistentVolume", validate_persistentvolume},
    {"", "PersistentVolumeClaim", validate_persistentvolumeclaim},
    {"apps", "DaemonSet", validate_daemonset},
    {"apps", "StatefulSet", validate_statefulset},
    {"batch", "Job", validate_job},
    {"batch", "CronJob", validate_cronjob},
    {"autoscaling", "HorizontalPodAutoscaler", validate_horizontalpodautoscaler},
    {"policy", "PodDisruptionBudget", validate_poddisruptionbudget},
    {"networking.k8s.io", "Ingress", validate_ingress},
    {"networking.k8s.io", "IngressClass", validate_ingressclass},
    {"networking.k8s.io", "NetworkPolicy", validate_networkpolicy},
    {"storage.k8s.io", "StorageClass", validate_storageclass},
    {"node.k8s.io", "RuntimeClass", validate_runtimeclass},
    {"admissionregistration.k8s.io", "MutatingWebhookConfiguration", validate_mutatingwebhookconfiguration},
    {"admissionregistration.k8s.io", "ValidatingWebhookConfiguration", validate_validatingwebhookconfiguration},
    {"flowcontrol.apiserver.k8s.io", "FlowSchema", validate_flowschema},
    {"flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", validate_prioritylevelconfiguration},
    {"certificates.k8s.io", "CertificateSigningRequest", validate_certificatesigningrequest},
    {"apiextensions.k8s.io", "CustomResourceDefinition", validate_customresourcedefinition},
};

validate_fn *validation_for(const char *group, const char *version, const char *kind)
{
    if (strcmp(version, "v1") != 0 && strcmp(group, "autoscaling") != 0)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i].kind, kind) && !strcmp(kinds[i].group, group))
            return kinds[i].fn;
    return NULL;
}
