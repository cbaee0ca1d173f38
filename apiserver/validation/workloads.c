/* Deployments, ReplicaSets, Scales. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/json.h"

/* The percentage of an IntOrString, -1 when it is none. */
static int64_t percentage(const cJSON *v)
{
    const char *s = cJSON_GetStringValue(v);
    size_t digits = s ? strspn(s, "0123456789") : 0;
    return digits && !strcmp(s + digits, "%") ? strtoll(s, NULL, 10) : -1;
}

static bool is_zero(const cJSON *v)
{
    return !v || (cJSON_IsNumber(v) && v->valuedouble == 0) || percentage(v) == 0;
}

void check_int_or_percent(const cJSON *v, const struct field_path *p, struct field_errors *e)
{
    if (cJSON_IsString(v) && percentage(v) < 0)
        field_invalid_str(e, p, v->valuestring,
                          "a valid percent string must be a numeric string followed by an ending '%%' (e.g. "
                          "'1%%',  or '93%%', regex used "
                          "for validation is '[0-9]+%%')");
    else if (cJSON_IsNumber(v) && v->valuedouble < 0)
        field_invalid_int(e, p, (int64_t)v->valuedouble, NEGATIVE);
}

static void check_strategy(const cJSON *strategy, const struct field_path *p, struct field_errors *e)
{
    const char *type = text_of(strategy, "type");
    const cJSON *rolling = json_get(strategy, "rollingUpdate");
    const struct field_path at = {p, "rollingUpdate", NULL, 0};
    if (!strcmp(type, "Recreate")) {
        if (rolling)
            field_forbidden(e, &at, "may not be specified when strategy `type` is 'Recreate'");
    } else if (!strcmp(type, "RollingUpdate")) {
        if (!rolling) {
            field_required(e, &at, "this should be defaulted and never be nil");
            return;
        }
        const cJSON *unavailable = json_get(rolling, "maxUnavailable"),
                    *surge = json_get(rolling, "maxSurge");
        check_int_or_percent(unavailable, PATH_CHILD(&at, "maxUnavailable"), e);
        check_int_or_percent(surge, PATH_CHILD(&at, "maxSurge"), e);
        if (is_zero(unavailable) && is_zero(surge))
            field_invalid(e, PATH_CHILD(&at, "maxUnavailable"), unavailable,
                          "may not be 0 when `maxSurge` is 0");
        if (percentage(unavailable) > 100)
            field_invalid(e, PATH_CHILD(&at, "maxUnavailable"), unavailable,
                          "must not be greater than 100%%");
    } else {
        field_not_supported(e, PATH_CHILD(p, "type"), type, "Recreate,RollingUpdate");
    }
}

static void check_selector_and_template(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    const cJSON *selector = json_get(spec, "selector"), *template = json_get(spec, "template");
    if (!selector) {
        field_required(e, PATH_CHILD(p, "selector"), "");
    } else {
        check_label_selector(selector, PATH_CHILD(p, "selector"), e);
        if (!selector->child)
            field_invalid(e, PATH_CHILD(p, "selector"), selector, "empty selector is invalid for deployment");
    }
    if (!template)
        field_required(e, PATH_CHILD(p, "template"), "");
    else
        check_pod_template(template, selector, PATH_CHILD(p, "template"), e);
}

static void check_status_numbers(const cJSON *object, struct field_errors *e)
{
    static const char *const numbers[] = {"observedGeneration",   "replicas",          "updatedReplicas",
                                          "readyReplicas",        "availableReplicas", "unavailableReplicas",
                                          "fullyLabeledReplicas", "collisionCount"};
    const struct field_path *p = PATH_ROOT("status");
    const cJSON *status = json_get(object, "status");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        check_non_negative(status, numbers[i], p, e);
    int64_t replicas = json_int(status, "replicas", 0);
    static const char *const parts[] = {"updatedReplicas", "readyReplicas", "availableReplicas",
                                        "fullyLabeledReplicas"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (json_int(status, parts[i], 0) > replicas)
            field_invalid_int(e, PATH_CHILD(p, parts[i]), json_int(status, parts[i], 0),
                              "cannot be greater than status.replicas");
}

void validate_deployment(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    const struct field_path *p = PATH_ROOT("spec");
    const cJSON *spec = json_get(object, "spec");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status")) {
        check_status_numbers(object, e);
        return;
    }
    check_non_negative(spec, "replicas", p, e);
    check_selector_and_template(spec, p, e);
    check_strategy(json_get(spec, "strategy"), PATH_CHILD(p, "strategy"), e);
    check_non_negative(spec, "minReadySeconds", p, e);
    check_non_negative(spec, "revisionHistoryLimit", p, e);
    const cJSON *deadline = json_get(spec, "progressDeadlineSeconds");
    check_non_negative(spec, "progressDeadlineSeconds", p, e);
    if (cJSON_IsNumber(deadline) && deadline->valuedouble <= (double)json_int(spec, "minReadySeconds", 0))
        field_invalid_int(e, PATH_CHILD(p, "progressDeadlineSeconds"), (int64_t)deadline->valuedouble,
                          "must be greater than minReadySeconds");
    if (old)
        check_immutable(spec, json_get(old, "spec"), "selector", p, e);
}

void validate_replicaset(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    const struct field_path *p = PATH_ROOT("spec");
    const cJSON *spec = json_get(object, "spec");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status")) {
        check_status_numbers(object, e);
        return;
    }
    check_non_negative(spec, "replicas", p, e);
    check_non_negative(spec, "minReadySeconds", p, e);
    check_selector_and_template(spec, p, e);
    if (old)
        check_immutable(spec, json_get(old, "spec"), "selector", p, e);
}

void validate_scale(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    check_non_negative(json_get(object, "spec"), "replicas", PATH_ROOT("spec"), e);
}
