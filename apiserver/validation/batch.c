/* What makes pods beside Deployments and ReplicaSets; autoscalers and disruption budgets. */
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

/* A JobSpec below p. generated: selector and labels were made by the server. */
static void check_job_spec(const cJSON *spec, bool has_selector, const struct field_path *p,
                           struct field_errors *e)
{
    static const char *const numbers[] = {"parallelism",          "completions",
                                          "activeDeadlineSeconds", "backoffLimit",
                                          "ttlSecondsAfterFinished", "backoffLimitPerIndex",
                                          "maxFailedIndexes"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        check_non_negative(spec, numbers[i], p, e);
    const char *mode = text_of(spec, "completionMode");
    if (*mode && !one_of(mode, "NonIndexed,Indexed"))
        field_not_supported(e, PATH_CHILD(p, "completionMode"), mode, "NonIndexed,Indexed");
    if (!strcmp(mode, "Indexed") && !json_get(spec, "completions"))
        field_required(e, PATH_CHILD(p, "completions"), "when completion mode is Indexed");
    const cJSON *selector = json_get(spec, "selector"), *template = json_get(spec, "template");
    if (has_selector) {
        if (!selector)
            field_required(e, PATH_CHILD(p, "selector"), "");
        else
            check_label_selector(selector, PATH_CHILD(p, "selector"), e);
    }
    const struct field_path at = {p, "template", NULL, 0}, pod = {&at, "spec", NULL, 0};
    if (has_selector && selector)
        check_selected_pod_template(template, selector, &at, e);
    else
        check_any_pod_template(template, &at, e);
    const char *restart = text_of(json_get(template, "spec"), "restartPolicy");
    if (!strcmp(restart, "Always"))
        field_required(e, PATH_CHILD(&pod, "restartPolicy"), "valid values: \"OnFailure\", \"Never\"");
}

void validate_job(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec"), *before = json_get(old, "spec");
    check_job_spec(spec, true, SPEC, e);
    if (!old)
        return;
    static const char *const fixed[] = {"selector", "completionMode", "podFailurePolicy",
                                        "backoffLimitPerIndex", "managedBy", "successPolicy"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(spec, before, fixed[i], SPEC, e);
    if (strcmp(text_of(spec, "completionMode"), "Indexed") != 0)
        check_immutable(spec, before, "completions", SPEC, e);
    if (!json_bool(before, "suspend", false))
        check_immutable(spec, before, "template", SPEC, e);
}

static bool cron_field(const char *s, size_t len)
{
    return len && strspn(s, "0123456789*,-/?LWabcdefghijklmnopqrstuvwxyzABCDEFGHIJKMNOPQRSTUVXYZ#") >= len;
}

/* Five fields, or one of the names that cron has for common ones. */
static void check_schedule(const char *schedule, struct field_errors *e)
{
    const struct field_path *p = PATH_CHILD(SPEC, "schedule");
    if (*schedule == '@') {
        if (!one_of(schedule, "@yearly,@annually,@monthly,@weekly,@daily,@midnight,@hourly") &&
            strncmp(schedule, "@every ", 7) != 0)
            field_invalid_str(e, p, schedule, "unrecognized descriptor: %s", schedule);
        return;
    }
    int fields = 0;
    for (const char *s = schedule; *s;) {
        s += strspn(s, " ");
        size_t n = strcspn(s, " ");
        if (n && !cron_field(s, n)) {
            field_invalid_str(e, p, schedule, "failed to parse int from %.*s", (int)n, s);
            return;
        }
        fields += n > 0;
        s += n;
    }
    if (fields != 5)
        field_invalid_str(e, p, schedule, "expected exactly 5 fields, found %d: [%s]", fields, schedule);
}

void validate_cronjob(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec");
    const char *schedule = text_of(spec, "schedule"), *policy = text_of(spec, "concurrencyPolicy"),
               *name = json_str_or(object, "metadata.name", "");
    if (!*schedule)
        field_required(e, PATH_CHILD(SPEC, "schedule"), "");
    else if (strstr(schedule, "TZ"))
        field_invalid_str(e, PATH_CHILD(SPEC, "schedule"), schedule,
                          "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    else
        check_schedule(schedule, e);
    check_non_negative(spec, "startingDeadlineSeconds", SPEC, e);
    check_non_negative(spec, "successfulJobsHistoryLimit", SPEC, e);
    check_non_negative(spec, "failedJobsHistoryLimit", SPEC, e);
    if (!*policy)
        field_required(e, PATH_CHILD(SPEC, "concurrencyPolicy"), "");
    else if (!one_of(policy, "Allow,Forbid,Replace"))
        field_not_supported(e, PATH_CHILD(SPEC, "concurrencyPolicy"), policy, "Allow,Forbid,Replace");
    if (strlen(name) > 52)
        field_invalid_str(e, PATH_CHILD(PATH_ROOT("metadata"), "name"), name,
                          "must be no more than 52 characters");
    const struct field_path template = {SPEC, "jobTemplate", NULL, 0};
    check_job_spec(json_path(spec, "jobTemplate.spec"), false, PATH_CHILD(&template, "spec"), e);
}

void validate_horizontalpodautoscaler(const cJSON *object, const cJSON *old, const char *sub,
                                      struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec"), *target = json_get(spec, "scaleTargetRef");
    int64_t min = json_int(spec, "minReplicas", 1), max = json_int(spec, "maxReplicas", 0);
    if (min < 1)
        field_invalid_int(e, PATH_CHILD(SPEC, "minReplicas"), min, "must be greater than or equal to 1");
    if (max < 1)
        field_invalid_int(e, PATH_CHILD(SPEC, "maxReplicas"), max, "must be greater than 0");
    if (max < min)
        field_invalid_int(e, PATH_CHILD(SPEC, "maxReplicas"), max,
                          "must be greater than or equal to `minReplicas`");
    const struct field_path at = {SPEC, "scaleTargetRef", NULL, 0};
    check_name(text_of(target, "kind"), name_path_segment, PATH_CHILD(&at, "kind"), e);
    check_name(text_of(target, "name"), name_path_segment, PATH_CHILD(&at, "name"), e);
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
}
