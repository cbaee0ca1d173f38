/* Defaults of the kinds that make pods. */
#include <string.h>
#include "apiserver/schema/default_kinds.h"
#include "apiserver/schema/default_values.h"
#include "apiserver/schema/defaults.h"
#include "common/json.h"

/* The spec, with its template's defaults set. */
static cJSON *spec_with_template(cJSON *object)
{
    cJSON *spec = default_object(object, "spec");
    default_pod_template(default_object(spec, "template"));
    return spec;
}

void default_deployment(cJSON *object)
{
    cJSON *spec = spec_with_template(object);
    if (!spec)
        return;
    default_int(spec, "replicas", 1);
    cJSON *strategy = default_object(spec, "strategy");
    default_string(strategy, "type", "RollingUpdate");
    if (!strcmp(default_text(strategy, "type"), "RollingUpdate")) {
        cJSON *rolling = default_object(strategy, "rollingUpdate");
        default_string(rolling, "maxUnavailable", "25%");
        default_string(rolling, "maxSurge", "25%");
    }
    default_int(spec, "revisionHistoryLimit", 10);
    default_int(spec, "progressDeadlineSeconds", 600);
}

void default_replicaset(cJSON *object)
{
    default_int(spec_with_template(object), "replicas", 1);
}

/* Labels and selector come from the template when they are absent. */
void default_replicationcontroller(cJSON *o)
{
    cJSON *spec = default_object(o, "spec");
    default_pod_template(json_get(spec, "template"));
    default_int(spec, "replicas", 1);
    const cJSON *labels = json_path(spec, "template.metadata.labels");
    if (!labels)
        return;
    cJSON *meta = default_object(o, "metadata");
    if (!json_get(spec, "selector"))
        json_map_set(spec, "selector", json_dup(labels));
    if (meta && !json_get(meta, "labels"))
        json_map_set(meta, "labels", json_dup(labels));
}

void default_daemonset(cJSON *o)
{
    cJSON *spec = spec_with_template(o), *strategy = default_object(spec, "updateStrategy");
    default_string(strategy, "type", "RollingUpdate");
    if (!strcmp(default_text(strategy, "type"), "RollingUpdate")) {
        cJSON *rolling = default_object(strategy, "rollingUpdate");
        default_int(rolling, "maxUnavailable", 1);
        default_int(rolling, "maxSurge", 0);
    }
    default_int(spec, "revisionHistoryLimit", 10);
}

void default_statefulset(cJSON *o)
{
    cJSON *spec = spec_with_template(o), *strategy = default_object(spec, "updateStrategy");
    default_string(spec, "podManagementPolicy", "OrderedReady");
    default_string(strategy, "type", "RollingUpdate");
    if (!strcmp(default_text(strategy, "type"), "RollingUpdate"))
        default_int(default_object(strategy, "rollingUpdate"), "partition", 0);
    cJSON *retention = default_object(spec, "persistentVolumeClaimRetentionPolicy");
    default_string(retention, "whenDeleted", "Retain");
    default_string(retention, "whenScaled", "Retain");
    default_int(spec, "replicas", 1);
    default_int(spec, "revisionHistoryLimit", 10);
    EACH (claim, json_get(spec, "volumeClaimTemplates")) {
        if (!cJSON_IsObject(claim))
            continue;
        default_persistentvolumeclaim(claim);
        default_string(claim, "apiVersion", "v1");
        default_string(claim, "kind", "PersistentVolumeClaim");
    }
}

static void default_job_spec(cJSON *spec)
{
    if (!cJSON_IsObject(spec))
        return;
    default_pod_template(default_object(spec, "template"));
    if (!json_get(spec, "completions") && !json_get(spec, "parallelism"))
        default_int(spec, "completions", 1);
    default_int(spec, "parallelism", 1);
    default_int(spec, "backoffLimit", json_get(spec, "backoffLimitPerIndex") ? INT32_MAX : 6);
    default_string(spec, "completionMode", "NonIndexed");
    default_bool(spec, "suspend", false);
    default_string(spec, "podReplacementPolicy",
                   json_get(spec, "podFailurePolicy") ? "Failed" : "TerminatingOrFailed");
    EACH (rule, json_path(spec, "podFailurePolicy.rules")) {
        EACH (pattern, json_get(rule, "onPodConditions")) {
            default_string(pattern, "status", "True");
        }
    }
}

void default_job(cJSON *o)
{
    cJSON *spec = default_object(o, "spec"), *meta = default_object(o, "metadata");
    const cJSON *labels = json_path(spec, "template.metadata.labels");
    if (labels && meta && !json_get(meta, "labels"))
        json_map_set(meta, "labels", json_dup(labels));
    default_job_spec(spec);
}

void default_cronjob(cJSON *o)
{
    cJSON *spec = default_object(o, "spec");
    default_string(spec, "concurrencyPolicy", "Allow");
    default_bool(spec, "suspend", false);
    default_int(spec, "successfulJobsHistoryLimit", 3);
    default_int(spec, "failedJobsHistoryLimit", 1);
    /* As in Kubernetes, the template is defaulted as a pod template only; its job when it is made. */
    default_pod_template(json_path(spec, "jobTemplate.spec.template"));
}

void default_horizontalpodautoscaler_v1(cJSON *o)
{
    default_int(default_object(o, "spec"), "minReplicas", 1);
}

static void default_scaling_rules(cJSON *rules, bool up)
{
    if (!cJSON_IsObject(rules))
        return;
    default_string(rules, "selectPolicy", "Max");
    if (up)
        default_int(rules, "stabilizationWindowSeconds", 0);
    if (json_get(rules, "policies"))
        return;
    cJSON *policies = cJSON_AddArrayToObject(rules, "policies");
    for (int i = up ? 0 : 1; i < 2; i++) {
        cJSON *p = cJSON_CreateObject();
        cJSON_AddStringToObject(p, "type", i ? "Percent" : "Pods");
        cJSON_AddNumberToObject(p, "value", i ? 100 : 4);
        cJSON_AddNumberToObject(p, "periodSeconds", 15);
        cJSON_AddItemToArray(policies, p);
    }
}

void default_horizontalpodautoscaler(cJSON *o)
{
    cJSON *spec = default_object(o, "spec");
    default_int(spec, "minReplicas", 1);
    if (spec && !json_get(spec, "metrics")) {
        cJSON *m = cJSON_CreateObject();
        json_set_str(m, "type", "Resource");
        json_set_str(m, "resource.name", "cpu");
        json_set_str(m, "resource.target.type", "Utilization");
        json_set_int(m, "resource.target.averageUtilization", 80);
        cJSON_AddItemToArray(json_ensure_array(spec, "metrics"), m);
    }
    default_scaling_rules(json_path(spec, "behavior.scaleUp"), true);
    default_scaling_rules(json_path(spec, "behavior.scaleDown"), false);
}
