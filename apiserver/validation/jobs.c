/* Jobs and CronJobs. */
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

#define SPEC PATH_ROOT("spec")

enum {
    RULES_MAX = 20,
    PATTERNS_MAX = 20,
    EXIT_CODES_MAX = 255,
    INDEXES_MAX = 100000,      /* failed ones of an indexed job */
    COMPLETIONS_MAX = 1000000, /* of a job with a limit for each index */
    PARALLELISM_MAX = 10000,   /* of the same */
    PARALLELISM_INDEXED_MAX = 100000,
};

static bool status_only(const cJSON *object, const cJSON *old, const char *sub,
                        struct field_errors *e)
{
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    return !strcmp(sub, "status");
}

/* --- what becomes of failed pods --- */

static void check_exit_codes(const cJSON *codes, const cJSON *template, const struct field_path *p,
                             struct field_errors *e)
{
    const char *operator= text_of(codes, "operator"), *container = text_of(codes, "containerName");
    bool in = !strcmp(operator, "In"), found = !*container;
    static const char *const lists[] = {"containers", "initContainers"};
    for (int l = 0; l < 2; l++) {
        EACH(c, json_get(json_get(template, "spec"), lists[l]))
        {
            found |= !strcmp(text_of(c, "name"), container);
        }
    }
    if (!*operator)
        field_required(e, PATH_CHILD(p, "operator"), "");
    else if (!one_of(operator, "In,NotIn"))
        field_not_supported(e, PATH_CHILD(p, "operator"), operator, "In,NotIn");
    if (!found)
        field_invalid_str(
            e, PATH_CHILD(p, "containerName"), container,
            "must be one of the container or initContainer names in the pod template");
    const struct field_path values = {p, "values", NULL, 0};
    const cJSON *list = json_get(codes, "values");
    int i = 0, n = cJSON_GetArraySize(list);
    int64_t last = INT64_MIN;
    if (!n)
        field_invalid(e, &values, list, "at least one value is required");
    else if (n > EXIT_CODES_MAX)
        field_too_many(e, &values, n, EXIT_CODES_MAX);
    EACH(v, list)
    {
        const struct field_path at = {&values, NULL, NULL, i++};
        int64_t code = (int64_t)v->valuedouble;
        if (in && code == 0)
            field_invalid_int(e, &at, code, "must not be 0 for the In operator");
        if (code == last)
            field_duplicate(e, &at, v);
        else if (code < last)
            field_invalid(e, &values, list, "must be ordered");
        last = code;
    }
}

static void check_pod_conditions(const cJSON *patterns, const struct field_path *p,
                                 struct field_errors *e)
{
    int i = 0;
    if (cJSON_GetArraySize(patterns) > PATTERNS_MAX)
        field_too_many(e, p, cJSON_GetArraySize(patterns), PATTERNS_MAX);
    EACH(c, patterns)
    {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *type = text_of(c, "type"), *status = text_of(c, "status");
        check_name(type, name_qualified, PATH_CHILD(&at, "type"), e);
        if (!*status)
            field_required(e, PATH_CHILD(&at, "status"), "");
        else if (!one_of(status, "False,True,Unknown"))
            field_not_supported(e, PATH_CHILD(&at, "status"), status, "False,True,Unknown");
    }
}

static void check_failure_policy(const cJSON *spec, const struct field_path *p,
                                 struct field_errors *e)
{
    const struct field_path policy = {p, "podFailurePolicy", NULL, 0},
                            rules = {&policy, "rules", NULL, 0};
    static const char actions[] = "Count,FailIndex,FailJob,Ignore";
    const cJSON *list = json_path(spec, "podFailurePolicy.rules");
    int i = 0;
    if (cJSON_GetArraySize(list) > RULES_MAX)
        field_too_many(e, &rules, cJSON_GetArraySize(list), RULES_MAX);
    EACH(r, list)
    {
        const struct field_path at = {&rules, NULL, NULL, i++};
        const char *action = text_of(r, "action");
        const cJSON *codes = json_get(r, "onExitCodes"),
                    *conditions = json_get(r, "onPodConditions");
        bool has_conditions = conditions && conditions->child;
        if (!*action)
            field_required(e, PATH_CHILD(&at, "action"), actions);
        else if (!one_of(action, actions))
            field_not_supported(e, PATH_CHILD(&at, "action"), action, actions);
        else if (!strcmp(action, "FailIndex") && !json_get(spec, "backoffLimitPerIndex"))
            field_invalid_str(e, PATH_CHILD(&at, "action"), action,
                              "requires the backoffLimitPerIndex to be set");
        if (codes)
            check_exit_codes(codes, json_get(spec, "template"), PATH_CHILD(&at, "onExitCodes"), e);
        if (has_conditions)
            check_pod_conditions(conditions, PATH_CHILD(&at, "onPodConditions"), e);
        if (codes && has_conditions)
            field_invalid(e, &at, r,
                          "specifying both OnExitCodes and OnPodConditions is not supported");
        else if (!codes && !has_conditions)
            field_invalid(e, &at, r,
                          "specifying one of OnExitCodes and OnPodConditions is required");
    }
}

static void check_success_policy(const cJSON *spec, bool indexed, const struct field_path *p,
                                 struct field_errors *e)
{
    const cJSON *policy = json_get(spec, "successPolicy"), *list = json_get(policy, "rules");
    const struct field_path at = {p, "successPolicy", NULL, 0}, rules = {&at, "rules", NULL, 0};
    int i = 0;
    if (!policy)
        return;
    if (!indexed)
        field_invalid(e, &at, policy, "requires indexed completion mode");
    if (!list || !list->child)
        field_required(e, &rules,
                       "at least one rules must be specified when the successPolicy is specified");
    EACH(r, list)
    {
        const struct field_path one = {&rules, NULL, NULL, i++};
        if (!json_get(r, "succeededCount") && !json_get(r, "succeededIndexes"))
            field_required(e, &one,
                           "at least one of succeededCount or succeededIndexes must be specified");
        check_non_negative(r, "succeededCount", &one, e);
    }
}

/* --- jobs --- */

static void check_per_index(const cJSON *spec, bool indexed, const struct field_path *p,
                            struct field_errors *e)
{
    const cJSON *limit = json_get(spec, "backoffLimitPerIndex"),
                *failed = json_get(spec, "maxFailedIndexes");
    int64_t completions = json_int(spec, "completions", 0),
            most = json_int(spec, "maxFailedIndexes", 0),
            parallelism = json_int(spec, "parallelism", 1);
    if (indexed && parallelism > PARALLELISM_INDEXED_MAX)
        field_invalid_int(e, PATH_CHILD(p, "parallelism"), parallelism,
                          "must be less than or equal to 100000 when completion mode is Indexed");
    if (limit && !indexed)
        field_invalid(e, PATH_CHILD(p, "backoffLimitPerIndex"), limit,
                      "requires indexed completion mode");
    if (failed && !limit)
        field_required(e, PATH_CHILD(p, "backoffLimitPerIndex"),
                       "when maxFailedIndexes is specified");
    if (failed && most > INDEXES_MAX)
        field_invalid_int(e, PATH_CHILD(p, "maxFailedIndexes"), most,
                          "must be less than or equal to 100000");
    if (failed && json_get(spec, "completions") && most > completions)
        field_invalid_int(e, PATH_CHILD(p, "maxFailedIndexes"), most,
                          "must be less than or equal to completions");
    if (limit && completions > COMPLETIONS_MAX / 10 && !failed)
        field_required(e, PATH_CHILD(p, "maxFailedIndexes"),
                       "must be specified when completions is above 100000");
    if (limit && completions > COMPLETIONS_MAX / 10 && parallelism > PARALLELISM_MAX)
        field_invalid_int(
            e, PATH_CHILD(p, "parallelism"), parallelism,
            "must be less than or equal to 10000 when completions are above 100000 and used "
            "with backoff limit per index");
}

static void check_job_extras(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    bool indexed = !strcmp(text_of(spec, "completionMode"), "Indexed");
    const char *replace = text_of(spec, "podReplacementPolicy"), *by = text_of(spec, "managedBy");
    check_per_index(spec, indexed, p, e);
    check_failure_policy(spec, p, e);
    check_success_policy(spec, indexed, p, e);
    if (json_get(spec, "podFailurePolicy")) {
        if (*replace && strcmp(replace, "Failed") != 0)
            field_not_supported(e, PATH_CHILD(p, "podReplacementPolicy"), replace, "Failed");
    } else if (*replace && !one_of(replace, "Failed,TerminatingOrFailed")) {
        field_not_supported(e, PATH_CHILD(p, "podReplacementPolicy"), replace,
                            "Failed,TerminatingOrFailed");
    }
    if (*by && !strchr(by, '/'))
        field_invalid_str(e, PATH_CHILD(p, "managedBy"), by,
                          "must be a domain-prefixed path (such as \"acme.io/foo\")");
    else if (strlen(by) > 63)
        field_too_long(e, PATH_CHILD(p, "managedBy"), 63);
}

/* A JobSpec below p. generated: selector and labels were made by the server. */
static void check_job_spec(const cJSON *spec, bool has_selector, const struct field_path *p,
                           struct field_errors *e)
{
    static const char *const numbers[] = {"parallelism",
                                          "completions",
                                          "activeDeadlineSeconds",
                                          "backoffLimit",
                                          "ttlSecondsAfterFinished",
                                          "backoffLimitPerIndex",
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
    check_job_extras(spec, p, e);
    const char *restart = text_of(json_get(template, "spec"), "restartPolicy");
    if (json_get(spec, "podFailurePolicy") && strcmp(restart, "Never") != 0)
        field_invalid_str(e, PATH_CHILD(&pod, "restartPolicy"), restart,
                          "only \"Never\" is supported when podFailurePolicy is specified");
    else if (!strcmp(restart, "Always"))
        field_required(e, PATH_CHILD(&pod, "restartPolicy"),
                       "valid values: \"OnFailure\", \"Never\"");
}

void validate_job(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    if (status_only(object, old, sub, e))
        return;
    const cJSON *spec = json_get(object, "spec"), *before = json_get(old, "spec");
    check_job_spec(spec, true, SPEC, e);
    if (!old)
        return;
    static const char *const fixed[] = {"selector",         "completionMode",
                                        "podFailurePolicy", "backoffLimitPerIndex",
                                        "managedBy",        "successPolicy"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        check_immutable(spec, before, fixed[i], SPEC, e);
    if (strcmp(text_of(spec, "completionMode"), "Indexed") != 0)
        check_immutable(spec, before, "completions", SPEC, e);
    if (!json_bool(before, "suspend", false))
        check_immutable(spec, before, "template", SPEC, e);
}

static bool cron_field(const char *s, size_t len)
{
    return len &&
           strspn(s, "0123456789*,-/?LWabcdefghijklmnopqrstuvwxyzABCDEFGHIJKMNOPQRSTUVXYZ#") >= len;
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
        field_invalid_str(e, p, schedule, "expected exactly 5 fields, found %d: [%s]", fields,
                          schedule);
}

/* By the machine's own zones; without these, by the look of the name. */
static bool time_zone_exists(const char *zone)
{
    if (!*zone || !strcasecmp(zone, "local") || *zone == '/' || strstr(zone, ".."))
        return false;
    if (access("/usr/share/zoneinfo", R_OK) != 0)
        return strspn(zone, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+-") ==
               strlen(zone);
    cleanup_free char *path = mem_printf("/usr/share/zoneinfo/%s", zone);
    return access(path, R_OK) == 0;
}

void validate_cronjob(const cJSON *object, const cJSON *old, const char *sub,
                      struct field_errors *e)
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
    const char *zone = text_of(spec, "timeZone");
    if (json_get(spec, "timeZone") && !time_zone_exists(zone))
        field_invalid_str(
            e, PATH_CHILD(SPEC, "timeZone"), zone,
            *zone ? "unknown time zone %s" : "timeZone must be nil or non-empty string%s", zone);
    check_non_negative(spec, "startingDeadlineSeconds", SPEC, e);
    check_non_negative(spec, "successfulJobsHistoryLimit", SPEC, e);
    check_non_negative(spec, "failedJobsHistoryLimit", SPEC, e);
    if (!*policy)
        field_required(e, PATH_CHILD(SPEC, "concurrencyPolicy"), "");
    else if (!one_of(policy, "Allow,Forbid,Replace"))
        field_not_supported(e, PATH_CHILD(SPEC, "concurrencyPolicy"), policy,
                            "Allow,Forbid,Replace");
    if (strlen(name) > 52)
        field_invalid_str(e, PATH_CHILD(PATH_ROOT("metadata"), "name"), name,
                          "must be no more than 52 characters");
    const struct field_path template = {SPEC, "jobTemplate", NULL, 0};
    check_job_spec(json_path(spec, "jobTemplate.spec"), false, PATH_CHILD(&template, "spec"), e);
}
