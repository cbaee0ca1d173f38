/* Which defaults a kind has, and those that the schema itself states. */
#include "apiserver/schema/defaults.h"
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/default_kinds.h"
#include "apiserver/schema/default_values.h"
#include "common/json.h"
#include "common/mem.h"

cJSON *default_get(const cJSON *o, const char *name)
{
    cJSON *v = json_get(o, name);
    return !v || cJSON_IsNull(v) || (cJSON_IsString(v) && !*v->valuestring) ? NULL : v;
}

const char *default_text(const cJSON *o, const char *name)
{
    const char *s = cJSON_GetStringValue(json_get(o, name));
    return s ? s : "";
}

void default_string(cJSON *o, const char *name, const char *value)
{
    if (cJSON_IsObject(o) && !default_get(o, name))
        json_map_set_str(o, name, value);
}

void default_int(cJSON *o, const char *name, int64_t value)
{
    if (cJSON_IsObject(o) && !default_get(o, name))
        json_map_set(o, name, cJSON_CreateNumber((double)value));
}

void default_bool(cJSON *o, const char *name, bool value)
{
    if (cJSON_IsObject(o) && !default_get(o, name))
        json_map_set(o, name, cJSON_CreateBool(value));
}

cJSON *default_object(cJSON *o, const char *name)
{
    if (!cJSON_IsObject(o))
        return NULL;
    cJSON *v = default_get(o, name);
    if (!v)
        json_map_set(o, name, v = cJSON_CreateObject());
    return cJSON_IsObject(v) ? v : NULL;
}

/* --- the schema's own --- */
static void set_stated(const struct schema_field *f, cJSON *o)
{
    cJSON *v = cJSON_Parse(f->default_value);
    if (!v) /* a bare word */
        v = cJSON_CreateString(f->default_value);
    json_map_set(o, f->name, v);
}

void schema_default(const struct schema_type *t, cJSON *object)
{
    if (!t || !cJSON_IsObject(object))
        return;
    for (uint16_t i = 0; i < t->field_count; i++)
        if (t->fields[i].default_value && !default_get(object, t->fields[i].name))
            set_stated(&t->fields[i], object);
    EACH (v, object) {
        const struct schema_field *f = schema_field(t, v->string);
        if (!f || f->value != SCHEMA_MESSAGE)
            continue;
        if (f->shape == SCHEMA_ONE) {
            schema_default(f->type, v);
        } else if (cJSON_IsArray(v) || cJSON_IsObject(v)) {
            EACH (element, v) {
                schema_default(f->type, element);
            }
        }
    }
}

/* --- by kind --- */
static const struct {
    const char *group, *version, *kind;
    defaults_fn *fn;
} kinds[] = {
    {"", "v1", "Pod", default_pod},
    {"", "v1", "PodTemplate", default_pod_template_object},
    {"", "v1", "ReplicationController", default_replicationcontroller},
    {"", "v1", "Service", default_service},
    {"", "v1", "Endpoints", default_endpoints},
    {"", "v1", "Namespace", default_namespace},
    {"", "v1", "Node", default_node},
    {"", "v1", "Secret", default_secret},
    {"", "v1", "PersistentVolume", default_persistentvolume},
    {"", "v1", "PersistentVolumeClaim", default_persistentvolumeclaim},
    {"", "v1", "LimitRange", default_limitrange},
    {"apps", "v1", "Deployment", default_deployment},
    {"apps", "v1", "ReplicaSet", default_replicaset},
    {"apps", "v1", "DaemonSet", default_daemonset},
    {"apps", "v1", "StatefulSet", default_statefulset},
    {"batch", "v1", "Job", default_job},
    {"batch", "v1", "CronJob", default_cronjob},
    {"autoscaling", "v1", "HorizontalPodAutoscaler", default_horizontalpodautoscaler_v1},
    {"autoscaling", "v2", "HorizontalPodAutoscaler", default_horizontalpodautoscaler},
    {"discovery.k8s.io", "v1", "EndpointSlice", default_endpointslice},
    {"networking.k8s.io", "v1", "NetworkPolicy", default_networkpolicy},
    {"networking.k8s.io", "v1", "IngressClass", default_ingressclass},
    {"rbac.authorization.k8s.io", "v1", "RoleBinding", default_rolebinding},
    {"rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", default_rolebinding},
    {"scheduling.k8s.io", "v1", "PriorityClass", default_priorityclass},
    {"storage.k8s.io", "v1", "StorageClass", default_storageclass},
    {"storage.k8s.io", "v1", "CSIDriver", default_csidriver},
    {"admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration", default_mutatingwebhooks},
    {"admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration", default_validatingwebhooks},
    {"admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", default_validatingadmissionpolicy},
    {"flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", default_flowschema},
    {"flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", default_prioritylevel},
    {"apiextensions.k8s.io", "v1", "CustomResourceDefinition", default_customresourcedefinition},
    {"authentication.k8s.io", "v1", "TokenRequest", default_tokenrequest},
};

defaults_fn *schema_defaults_for(const char *group, const char *version, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (!strcmp(kinds[i].kind, kind) && !strcmp(kinds[i].group, group) &&
            !strcmp(kinds[i].version, version))
            return kinds[i].fn;
    return NULL;
}
