/* PriorityClasses, LimitRanges and ResourceQuotas. */
#include <string.h>
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/quantity.h"

enum { HIGHEST_USER_PRIORITY = 1000000000 };

void validate_priorityclass(const cJSON *class, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(class, old, false, NAME_DNS_SUBDOMAIN, e);
    const char *name = json_str_or(class, "metadata.name", ""), *policy = text_of(class, "preemptionPolicy");
    bool system = !strcmp(name, "system-cluster-critical") || !strcmp(name, "system-node-critical");
    if (!strncmp(name, "system-", 7) && !system)
        field_forbidden(e, PATH_CHILD(PATH_ROOT("metadata"), "name"),
                        "priority class names with 'system-' prefix are reserved for system use only. error: %s is "
                        "not a known system priority class",
                        name);
    if (json_int(class, "value", 0) > HIGHEST_USER_PRIORITY && !system)
        field_forbidden(e, PATH_ROOT("value"), "maximum allowed value of a user defined priority is %d",
                        HIGHEST_USER_PRIORITY);
    if (*policy && !one_of(policy, "Never,PreemptLowerPriority"))
        field_not_supported(e, PATH_ROOT("preemptionPolicy"), policy, "Never,PreemptLowerPriority");
    if (!old)
        return;
    if (json_int(class, "value", 0) != json_int(old, "value", 0))
        field_forbidden(e, PATH_ROOT("value"), "may not be changed in an update.");
    if (strcmp(policy, text_of(old, "preemptionPolicy")) != 0)
        field_invalid_str(e, PATH_ROOT("preemptionPolicy"), policy, IMMUTABLE);
}

static bool amount(const cJSON *map, const char *name, struct quantity *q)
{
    const char *text = json_map_str(map, name);
    return text && quantity_parse(text, q);
}

static void check_order(const cJSON *item, const char *low, const char *low_word, const char *high,
                        const char *high_word, const struct field_path *p, struct field_errors *e)
{
    const cJSON *lows = json_get(item, low), *highs = json_get(item, high);
    EACH (m, lows) {
        struct quantity a, b;
        char x[QUANTITY_TEXT_MAX], y[QUANTITY_TEXT_MAX];
        if (!amount(lows, m->string, &a) || !amount(highs, m->string, &b) || a.nano <= b.nano)
            continue;
        quantity_print(a, x);
        quantity_print(b, y);
        field_invalid_str(e, PATH_KEY(PATH_CHILD(p, low), m->string), x, "%s value %s is greater than %s value %s",
                          low_word, x, high_word, y);
    }
}

void validate_limitrange(const cJSON *range, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(range, old, true, NAME_DNS_SUBDOMAIN, e);
    int i = 0;
    EACH (item, json_path(range, "spec.limits")) {
        const struct field_path *p = PATH_INDEX(PATH_CHILD(PATH_ROOT("spec"), "limits"), i++);
        const char *type = text_of(item, "type");
        if (!*type)
            field_required(e, PATH_CHILD(p, "type"), "");
        if (!strcmp(type, "Pod")) {
            if (cJSON_GetArraySize(json_get(item, "default")) > 0)
                field_forbidden(e, PATH_CHILD(p, "default"), "may not be specified when `type` is 'Pod'");
            if (cJSON_GetArraySize(json_get(item, "defaultRequest")) > 0)
                field_forbidden(e, PATH_CHILD(p, "defaultRequest"), "may not be specified when `type` is 'Pod'");
        }
        if (!strcmp(type, "PersistentVolumeClaim") && !json_map_str(json_get(item, "min"), "storage") &&
            !json_map_str(json_get(item, "max"), "storage"))
            field_required(e, PATH_CHILD(p, "limits"), "either minimum or maximum storage value is required, but neither was provided");
        check_order(item, "min", "min", "max", "max", p, e);
        check_order(item, "min", "min", "defaultRequest", "default request", p, e);
        check_order(item, "defaultRequest", "default request", "max", "max", p, e);
        check_order(item, "defaultRequest", "default request", "default", "default limit", p, e);
        check_order(item, "min", "min", "default", "default", p, e);
        check_order(item, "default", "default", "max", "max", p, e);
        const cJSON *ratios = json_get(item, "maxLimitRequestRatio");
        EACH (m, ratios) {
            struct quantity q;
            char x[QUANTITY_TEXT_MAX];
            if (amount(ratios, m->string, &q) && q.nano < 1000000000)
                field_invalid_str(e, PATH_KEY(PATH_CHILD(p, "maxLimitRequestRatio"), m->string),
                                  quantity_print(q, x), "ratio %s is less than 1", x);
        }
    }
}

void validate_resourcequota(const cJSON *quota, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    static const char scopes[] = "BestEffort,CrossNamespacePodAffinity,NotBestEffort,NotTerminating,PriorityClass,"
                                 "Terminating,VolumeAttributesClass";
    validate_object_meta(quota, old, true, NAME_DNS_SUBDOMAIN, e);
    const cJSON *hard = json_path(quota, "spec.hard");
    const struct field_path *spec = PATH_ROOT("spec");
    EACH (m, hard) {
        struct quantity q;
        const struct field_path *p = PATH_KEY(PATH_CHILD(spec, "hard"), m->string);
        const char *wrong = name_qualified(m->string);
        if (wrong)
            field_invalid_str(e, p, m->string, "%s", wrong);
        if (amount(hard, m->string, &q) && q.nano < 0)
            field_invalid_str(e, p, m->valuestring, NEGATIVE);
    }
    int i = 0;
    EACH (s, json_path(quota, "spec.scopes")) {
        const char *scope = cJSON_IsString(s) ? s->valuestring : "";
        if (!one_of(scope, scopes))
            field_invalid_str(e, PATH_INDEX(PATH_CHILD(spec, "scopes"), i), scope, "unsupported scope");
        i++;
    }
    if (old && !json_equal(json_path(quota, "spec.scopes"), json_path(old, "spec.scopes")))
        field_invalid(e, PATH_CHILD(spec, "scopes"), json_path(quota, "spec.scopes"), IMMUTABLE);
}
