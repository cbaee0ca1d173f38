/* What makes pods beside Deployments, ReplicaSets and Jobs; disruption budgets. */
#include <stdlib.h>
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

#define SPEC PATH_ROOT("spec")

/* True when only the status is written: its rules are the controller's own. */
static bool status_only(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    return !strcmp(sub, "status");
}

void validate_replicationcontroller(const cJSON *object, const cJSON *old, const char *sub,
                                    struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec"), *selector = json_get(spec, "selector"),
                *template = json_get(spec, "template");
    check_non_negative(spec, "replicas", SPEC, e);
    check_non_negative(spec, "minReadySeconds", SPEC, e);
    if (!selector || !selector->child)
        field_required(e, PATH_CHILD(SPEC, "selector"), "");
    if (!template) {
        field_required(e, PATH_CHILD(SPEC, "template"), "");
        return;
    }
    cleanup_json cJSON *wrapped = cJSON_CreateObject();
    if (selector)
        json_map_set(wrapped, "matchLabels", json_dup(selector));
    check_pod_template(template, wrapped, PATH_CHILD(SPEC, "template"), e);
}

void validate_podtemplate(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    check_any_pod_template(json_get(object, "template"), PATH_ROOT("template"), e);
}

static void check_selected_template(const cJSON *spec, const char *kind, struct field_errors *e)
{
    const cJSON *selector = json_get(spec, "selector"), *template = json_get(spec, "template");
    if (!selector) {
        field_required(e, PATH_CHILD(SPEC, "selector"), "");
    } else {
        check_label_selector(selector, PATH_CHILD(SPEC, "selector"), e);
        if (!selector->child)
            field_invalid(e, PATH_CHILD(SPEC, "selector"), selector, "empty selector is invalid for %s",
                          kind);
    }
    if (!template)
        field_required(e, PATH_CHILD(SPEC, "template"), "");
    else
        check_pod_template(template, selector, PATH_CHILD(SPEC, "template"), e);
}

static int64_t number_of(const cJSON *v)
{
    return cJSON_IsNumber(v)   ? (int64_t)v->valuedouble
           : cJSON_IsString(v) ? strtoll(v->valuestring, NULL, 10)
                               : 0;
}

void validate_daemonset(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec"), *strategy = json_get(spec, "updateStrategy"),
                *rolling = json_get(strategy, "rollingUpdate");
    check_selected_template(spec, "daemonset", e);
    check_non_negative(spec, "minReadySeconds", SPEC, e);
    check_non_negative(spec, "revisionHistoryLimit", SPEC, e);
    const struct field_path at = {SPEC, "updateStrategy", NULL, 0}, roll = {&at, "rollingUpdate", NULL, 0};
    const char *type = text_of(strategy, "type");
    if (!one_of(type, "OnDelete,RollingUpdate")) {
        field_not_supported(e, &at, type, "OnDelete,RollingUpdate");
    } else if (!strcmp(type, "RollingUpdate")) {
        if (!rolling) {
            field_required(e, &roll, "");
        } else {
            const cJSON *unavailable = json_get(rolling, "maxUnavailable"),
                        *surge = json_get(rolling, "maxSurge");
            check_int_or_percent(unavailable, PATH_CHILD(&roll, "maxUnavailable"), e);
            check_int_or_percent(surge, PATH_CHILD(&roll, "maxSurge"), e);
            if (!number_of(unavailable) && !number_of(surge))
                field_required(e, PATH_CHILD(&roll, "maxUnavailable"), "cannot be 0 when maxSurge is 0");
            else if (number_of(unavailable) && number_of(surge))
                field_invalid(e, PATH_CHILD(&roll, "maxSurge"), surge,
                              "may not be set when maxUnavailable is non-zero");
        }
    }
    if (old)
        check_immutable(spec, json_get(old, "spec"), "selector", SPEC, e);
}

void validate_statefulset(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec");
    check_non_negative(spec, "replicas", SPEC, e);
    check_non_negative(spec, "minReadySeconds", SPEC, e);
    check_non_negative(spec, "revisionHistoryLimit", SPEC, e);
    check_selected_template(spec, "statefulset", e);
    const char *policy = text_of(spec, "podManagementPolicy"),
               *type = text_of(json_get(spec, "updateStrategy"), "type");
    if (!one_of(policy, "OrderedReady,Parallel"))
        field_invalid_str(e, PATH_CHILD(SPEC, "podManagementPolicy"), policy,
                          "must be 'OrderedReady' or 'Parallel'");
    const struct field_path at = {SPEC, "updateStrategy", NULL, 0}, roll = {&at, "rollingUpdate", NULL, 0};
    if (!one_of(type, "RollingUpdate,OnDelete"))
        field_invalid(e, &at, json_get(spec, "updateStrategy"), "must be 'RollingUpdate' or 'OnDelete'");
    check_non_negative(json_path(spec, "updateStrategy.rollingUpdate"), "partition", &roll, e);
    const cJSON *unavailable = json_path(spec, "updateStrategy.rollingUpdate.maxUnavailable");
    check_int_or_percent(unavailable, PATH_CHILD(&roll, "maxUnavailable"), e);
    if (unavailable && !number_of(unavailable))
        field_invalid(e, PATH_CHILD(&roll, "maxUnavailable"), unavailable, "cannot be 0");
    check_non_negative(json_get(spec, "ordinals"), "start", PATH_CHILD(SPEC, "ordinals"), e);
    static const char *const retained[] = {"whenDeleted", "whenScaled"};
    const struct field_path keep = {SPEC, "persistentVolumeClaimRetentionPolicy", NULL, 0};
    for (size_t i = 0; i < ARRAY_LEN(retained); i++) {
        const char *value = text_of(json_get(spec, keep.name), retained[i]);
        if (*value && !one_of(value, "Delete,Retain"))
            field_not_supported(e, PATH_CHILD(&keep, retained[i]), value, "Delete,Retain");
    }
    if (!old)
        return;
    static const char *const mutable[] = {"replicas",
                                          "ordinals",
                                          "template",
                                          "updateStrategy",
                                          "revisionHistoryLimit",
                                          "persistentVolumeClaimRetentionPolicy",
                                          "minReadySeconds"};
    cleanup_json cJSON *now = json_dup(spec), *before = json_dup(json_get(old, "spec"));
    for (size_t i = 0; i < ARRAY_LEN(mutable); i++) {
        json_remove(now, mutable[i]);
        json_remove(before, mutable[i]);
    }
    if (!json_equal(now, before))
        field_forbidden(e, SPEC,
                        "updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                        "'template', 'updateStrategy', 'revisionHistoryLimit', "
                        "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden");
}

void validate_poddisruptionbudget(const cJSON *object, const cJSON *old, const char *sub,
                                  struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec"), *min = json_get(spec, "minAvailable"),
                *max = json_get(spec, "maxUnavailable");
    if (min && max)
        field_invalid(e, SPEC, spec, "minAvailable and maxUnavailable cannot be both set");
    check_int_or_percent(min, PATH_CHILD(SPEC, "minAvailable"), e);
    check_int_or_percent(max, PATH_CHILD(SPEC, "maxUnavailable"), e);
    check_label_selector(json_get(spec, "selector"), PATH_CHILD(SPEC, "selector"), e);
    const char *unhealthy = text_of(spec, "unhealthyPodEvictionPolicy");
    if (*unhealthy && !one_of(unhealthy, "AlwaysAllow,IfHealthyBudget"))
        field_not_supported(e, PATH_CHILD(SPEC, "unhealthyPodEvictionPolicy"), unhealthy,
                            "AlwaysAllow,IfHealthyBudget");
}
