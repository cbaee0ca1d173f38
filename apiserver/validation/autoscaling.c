/* HorizontalPodAutoscalers, in their v2 form. */
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

#define SPEC PATH_ROOT("spec")

enum { WINDOW_MAX_S = 3600, PERIOD_MAX_S = 1800 };

static const char sources[] = "ContainerResource,External,Object,Pods,Resource";

static void check_target(const cJSON *target, bool utilization, const struct field_path *p,
                         struct field_errors *e)
{
    static const char types[] = "AverageValue,Utilization,Value";
    const char *type = text_of(target, "type");
    if (!*type)
        field_required(e, PATH_CHILD(p, "type"), "must specify a metric target type");
    else if (!one_of(type, types))
        field_invalid_str(e, PATH_CHILD(p, "type"), type,
                          "must be either Utilization, Value, or AverageValue");
    static const char *const values[] = {"value", "averageValue"};
    for (int i = 0; i < 2; i++) {
        const char *text = text_of(target, values[i]);
        struct quantity q;
        if (*text && quantity_parse(text, &q) && q.nano <= 0)
            field_invalid_str(e, PATH_CHILD(p, values[i]), text, "must be positive");
    }
    if (json_get(target, "averageUtilization") && json_int(target, "averageUtilization", 0) < 1)
        field_invalid_int(e, PATH_CHILD(p, "averageUtilization"),
                          json_int(target, "averageUtilization", 0), "must be greater than 0");
    bool percent = json_get(target, "averageUtilization"),
         average = json_get(target, "averageValue");
    if (utilization && !percent && !average)
        field_required(e, PATH_CHILD(p, "averageUtilization"),
                       "must set either a target raw value or a target utilization");
    if (utilization && percent && average)
        field_forbidden(e, PATH_CHILD(p, "averageValue"),
                        "may not set both a target raw value and a target utilization");
}

static void check_identifier(const cJSON *metric, const struct field_path *p,
                             struct field_errors *e)
{
    check_name(text_of(metric, "name"), name_path_segment, PATH_CHILD(p, "name"), e);
    check_label_selector(json_get(metric, "selector"), PATH_CHILD(p, "selector"), e);
}

static void check_reference(const cJSON *target, const struct field_path *p, struct field_errors *e)
{
    check_name(text_of(target, "kind"), name_path_segment, PATH_CHILD(p, "kind"), e);
    check_name(text_of(target, "name"), name_path_segment, PATH_CHILD(p, "name"), e);
}

static const struct {
    const char *type, *member;
} members[] = {{"Object", "object"},
               {"Pods", "pods"},
               {"Resource", "resource"},
               {"External", "external"},
               {"ContainerResource", "containerResource"}};

static void check_source(const char *type, const cJSON *source, const struct field_path *p,
                         struct field_errors *e)
{
    bool resource = one_of(type, "Resource,ContainerResource");
    const struct field_path metric = {p, "metric", NULL, 0}, target = {p, "target", NULL, 0};
    if (resource && !*text_of(source, "name"))
        field_required(e, PATH_CHILD(p, "name"), "must specify a resource name");
    if (!strcmp(type, "ContainerResource") && !*text_of(source, "container"))
        field_required(e, PATH_CHILD(p, "container"), "must specify a container");
    if (!strcmp(type, "Object"))
        check_reference(json_get(source, "describedObject"), PATH_CHILD(p, "describedObject"), e);
    if (!resource)
        check_identifier(json_get(source, "metric"), &metric, e);
    const cJSON *t = json_get(source, "target");
    check_target(t, resource, &target, e);
    if (!strcmp(type, "Pods") && !json_get(t, "averageValue"))
        field_required(e, PATH_CHILD(&target, "averageValue"),
                       "must specify a positive target averageValue");
    if (one_of(type, "Object,External") && !json_get(t, "value") && !json_get(t, "averageValue"))
        field_required(e, PATH_CHILD(&target, "averageValue"),
                       "must set either a target value for metric or a per-pod target");
}

static void check_metrics(const cJSON *metrics, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH(m, metrics)
    {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *type = text_of(m, "type");
        if (!*type) {
            field_required(e, PATH_CHILD(&at, "type"), "must specify a metric source type");
            continue;
        }
        if (!one_of(type, sources)) {
            field_not_supported(e, PATH_CHILD(&at, "type"), type, sources);
            continue;
        }
        for (size_t k = 0; k < ARRAY_LEN(members); k++) {
            const cJSON *source = json_get(m, members[k].member);
            const struct field_path one = {&at, members[k].member, NULL, 0};
            bool own = !strcmp(type, members[k].type);
            if (own && !source)
                field_required(e, &one, "must populate information for the given metric source");
            else if (own)
                check_source(type, source, &one, e);
            else if (source)
                field_forbidden(e, &one, "must populate the given metric source only");
        }
    }
}

static void check_rules(const cJSON *rules, const struct field_path *p, struct field_errors *e)
{
    const char *select = text_of(rules, "selectPolicy");
    const cJSON *window = json_get(rules, "stabilizationWindowSeconds"),
                *policies = json_get(rules, "policies");
    int64_t seconds = json_int(rules, "stabilizationWindowSeconds", 0);
    if (window && seconds < 0)
        field_invalid_int(e, PATH_CHILD(p, "stabilizationWindowSeconds"), seconds,
                          "must be greater than or equal to zero");
    if (window && seconds > WINDOW_MAX_S)
        field_invalid_int(e, PATH_CHILD(p, "stabilizationWindowSeconds"), seconds,
                          "must be less than or equal to 3600");
    if (*select && !one_of(select, "Disabled,Max,Min"))
        field_not_supported(e, PATH_CHILD(p, "selectPolicy"), select, "Disabled,Max,Min");
    const struct field_path list = {p, "policies", NULL, 0};
    int i = 0;
    if (rules && !cJSON_GetArraySize(policies))
        field_required(e, &list, "must specify at least one Policy");
    EACH(policy, policies)
    {
        const struct field_path at = {&list, NULL, NULL, i++};
        const char *type = text_of(policy, "type");
        int64_t value = json_int(policy, "value", 0), period = json_int(policy, "periodSeconds", 0);
        if (!one_of(type, "Percent,Pods"))
            field_not_supported(e, PATH_CHILD(&at, "type"), type, "Percent,Pods");
        if (value <= 0)
            field_invalid_int(e, PATH_CHILD(&at, "value"), value, "must be greater than zero");
        if (period <= 0)
            field_invalid_int(e, PATH_CHILD(&at, "periodSeconds"), period,
                              "must be greater than zero");
        if (period > PERIOD_MAX_S)
            field_invalid_int(e, PATH_CHILD(&at, "periodSeconds"), period,
                              "must be less than or equal to 1800");
    }
}

void validate_horizontalpodautoscaler(const cJSON *object, const cJSON *old, const char *sub,
                                      struct field_errors *e)
{
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status"))
        return;
    const cJSON *spec = json_get(object, "spec");
    int64_t min = json_int(spec, "minReplicas", 1), max = json_int(spec, "maxReplicas", 0);
    if (min < 1)
        field_invalid_int(e, PATH_CHILD(SPEC, "minReplicas"), min,
                          "must be greater than or equal to 1");
    if (max < 1)
        field_invalid_int(e, PATH_CHILD(SPEC, "maxReplicas"), max, "must be greater than 0");
    if (max < min)
        field_invalid_int(e, PATH_CHILD(SPEC, "maxReplicas"), max,
                          "must be greater than or equal to `minReplicas`");
    check_reference(json_get(spec, "scaleTargetRef"), PATH_CHILD(SPEC, "scaleTargetRef"), e);
    check_metrics(json_get(spec, "metrics"), PATH_CHILD(SPEC, "metrics"), e);
    const struct field_path behavior = {SPEC, "behavior", NULL, 0};
    check_rules(json_path(spec, "behavior.scaleUp"), PATH_CHILD(&behavior, "scaleUp"), e);
    check_rules(json_path(spec, "behavior.scaleDown"), PATH_CHILD(&behavior, "scaleDown"), e);
}
