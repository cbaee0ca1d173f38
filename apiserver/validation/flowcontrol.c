/* FlowSchemas and PriorityLevelConfigurations. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

#define SPEC PATH_ROOT("spec")

enum { PRECEDENCE_MAX = 10000, QUEUES_MAX = 10000000 };

static const char verbs[] = "*,create,delete,deletecollection,get,list,patch,proxy,update,watch";

/* --- FlowSchemas --- */

static void check_subject(const cJSON *s, const struct field_path *p, struct field_errors *e)
{
    static const struct {
        const char *kind, *member;
    } kinds[] = {{"User", "user"}, {"Group", "group"}, {"ServiceAccount", "serviceAccount"}};
    const char *kind = text_of(s, "kind");
    if (!one_of(kind, "Group,ServiceAccount,User"))
        field_not_supported(e, PATH_CHILD(p, "kind"), kind, "Group,ServiceAccount,User");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        const cJSON *member = json_get(s, kinds[i].member);
        const struct field_path at = {p, kinds[i].member, NULL, 0};
        bool own = !strcmp(kind, kinds[i].kind);
        if (own && !member)
            field_required(e, &at, "");
        else if (!own && member)
            field_forbidden(e, &at, "%s is forbidden when subject kind is not '%s'",
                            kinds[i].member, kinds[i].kind);
        else if (own && !*text_of(member, "name"))
            field_required(e, PATH_CHILD(&at, "name"), "");
        else if (own && i == 2 && !*text_of(member, "namespace"))
            field_required(e, PATH_CHILD(&at, "namespace"),
                           "must specify namespace for service account");
    }
}

static void check_required(const cJSON *o, const char *name, const struct field_path *p,
                           struct field_errors *e)
{
    const cJSON *list = json_get(o, name);
    int n = cJSON_GetArraySize(list);
    if (!n)
        field_required(e, PATH_CHILD(p, name), "");
    EACH(v, list)
    {
        if (n > 1 && cJSON_IsString(v) && !strcmp(v->valuestring, "*"))
            field_invalid(e, PATH_CHILD(p, name), list,
                          "if '*' is present, must not specify other %s", name);
    }
}

static void check_verbs(const cJSON *rule, const struct field_path *p, struct field_errors *e)
{
    EACH(v, json_get(rule, "verbs"))
    {
        const char *verb = cJSON_IsString(v) ? v->valuestring : "";
        if (!one_of(verb, verbs))
            field_not_supported(e, PATH_CHILD(p, "verbs"), verb, verbs);
    }
}

static void check_policy_rules(const cJSON *rule, const struct field_path *p,
                               struct field_errors *e)
{
    const struct field_path subjects = {p, "subjects", NULL, 0},
                            resources = {p, "resourceRules", NULL, 0},
                            paths = {p, "nonResourceRules", NULL, 0};
    const cJSON *in_resources = json_get(rule, "resourceRules"),
                *in_paths = json_get(rule, "nonResourceRules");
    int i = 0;
    if (!cJSON_GetArraySize(json_get(rule, "subjects")))
        field_required(e, &subjects, "subjects must contain at least one value");
    EACH(s, json_get(rule, "subjects"))
    {
        check_subject(s, PATH_INDEX(&subjects, i), e);
        i++;
    }
    if (!cJSON_GetArraySize(in_resources) && !cJSON_GetArraySize(in_paths))
        field_required(e, p,
                       "at least one of resourceRules and nonResourceRules has to be non-empty");
    i = 0;
    EACH(r, in_resources)
    {
        const struct field_path at = {&resources, NULL, NULL, i++};
        check_required(r, "verbs", &at, e);
        check_verbs(r, &at, e);
        check_required(r, "apiGroups", &at, e);
        check_required(r, "resources", &at, e);
        if (!cJSON_GetArraySize(json_get(r, "namespaces")) && !json_bool(r, "clusterScope", false))
            field_required(
                e, PATH_CHILD(&at, "namespaces"),
                "resource rules that are not cluster scoped must supply at least one namespace");
    }
    i = 0;
    EACH(r, in_paths)
    {
        const struct field_path at = {&paths, NULL, NULL, i++};
        check_required(r, "verbs", &at, e);
        check_required(r, "nonResourceURLs", &at, e);
    }
}

void validate_flowschema(const cJSON *object, const cJSON *old, const char *sub,
                         struct field_errors *e)
{
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status"))
        return;
    const cJSON *spec = json_get(object, "spec"),
                *distinguisher = json_get(spec, "distinguisherMethod");
    int64_t precedence = json_int(spec, "matchingPrecedence", 0);
    bool exempt = !strcmp(json_str_or(object, "metadata.name", ""), "exempt");
    if (precedence <= 0)
        field_invalid_int(e, PATH_CHILD(SPEC, "matchingPrecedence"), precedence,
                          "must be a positive value");
    if (precedence > PRECEDENCE_MAX)
        field_invalid_int(e, PATH_CHILD(SPEC, "matchingPrecedence"), precedence,
                          "must not be greater than 10000");
    if (precedence == 1 && !exempt)
        field_invalid_int(e, PATH_CHILD(SPEC, "matchingPrecedence"), precedence,
                          "only the schema named 'exempt' may have matchingPrecedence 1");
    const struct field_path method = {SPEC, "distinguisherMethod", NULL, 0};
    if (distinguisher && !one_of(text_of(distinguisher, "type"), "ByNamespace,ByUser"))
        field_not_supported(e, PATH_CHILD(&method, "type"), text_of(distinguisher, "type"),
                            "ByNamespace,ByUser");
    const struct field_path level = {SPEC, "priorityLevelConfiguration", NULL, 0};
    check_name(json_str_or(spec, "priorityLevelConfiguration.name", ""), name_dns_subdomain,
               PATH_CHILD(&level, "name"), e);
    int i = 0;
    EACH(rule, json_get(spec, "rules"))
    {
        const struct field_path list = {SPEC, "rules", NULL, 0};
        check_policy_rules(rule, PATH_INDEX(&list, i), e);
        i++;
    }
}

/* --- PriorityLevelConfigurations --- */

static void check_queuing(const cJSON *q, const struct field_path *p, struct field_errors *e)
{
    static const char *const numbers[] = {"queues", "handSize", "queueLengthLimit"};
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (json_int(q, numbers[i], 0) <= 0)
            field_invalid_int(e, PATH_CHILD(p, numbers[i]), json_int(q, numbers[i], 0),
                              "must be positive");
    if (json_int(q, "queues", 0) > QUEUES_MAX)
        field_invalid_int(e, PATH_CHILD(p, "queues"), json_int(q, "queues", 0),
                          "must not be greater than 10000000");
    if (json_int(q, "handSize", 0) > json_int(q, "queues", 0))
        field_invalid_int(e, PATH_CHILD(p, "handSize"), json_int(q, "handSize", 0),
                          "should not be greater than queues (%lld)",
                          (long long)json_int(q, "queues", 0));
}

static void check_limited(const cJSON *limited, const struct field_path *p, struct field_errors *e)
{
    const struct field_path response = {p, "limitResponse", NULL, 0},
                            queuing = {&response, "queuing", NULL, 0};
    const cJSON *answer = json_get(limited, "limitResponse"), *queues = json_get(answer, "queuing");
    const char *type = text_of(answer, "type");
    check_non_negative(limited, "nominalConcurrencyShares", p, e);
    int64_t lendable = json_int(limited, "lendablePercent", 0);
    if (lendable < 0 || lendable > 100)
        field_invalid_int(e, PATH_CHILD(p, "lendablePercent"), lendable,
                          "must be between 0 and 100, inclusive");
    check_non_negative(limited, "borrowingLimitPercent", p, e);
    if (!strcmp(type, "Reject")) {
        if (queues)
            field_forbidden(e, &queuing,
                            "must be nil if limited.limitResponse.type is not Limited");
    } else if (!strcmp(type, "Queue")) {
        if (!queues)
            field_required(e, &queuing,
                           "must not be empty if limited.limitResponse.type is Limited");
        else
            check_queuing(queues, &queuing, e);
    } else {
        field_not_supported(e, PATH_CHILD(&response, "type"), type, "Queue,Reject");
    }
}

void validate_prioritylevelconfiguration(const cJSON *object, const cJSON *old, const char *sub,
                                         struct field_errors *e)
{
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "status"))
        return;
    const cJSON *spec = json_get(object, "spec"), *limited = json_get(spec, "limited"),
                *exempt = json_get(spec, "exempt");
    const char *type = text_of(spec, "type");
    if (!strcmp(type, "Exempt")) {
        if (limited)
            field_forbidden(e, PATH_CHILD(SPEC, "limited"),
                            "must be nil if the type is not Limited");
    } else if (!strcmp(type, "Limited")) {
        if (exempt)
            field_forbidden(e, PATH_CHILD(SPEC, "exempt"), "must be nil if the type is Limited");
        if (!limited)
            field_required(e, PATH_CHILD(SPEC, "limited"),
                           "must not be empty when type is Limited");
        else
            check_limited(limited, PATH_CHILD(SPEC, "limited"), e);
    } else {
        field_not_supported(e, PATH_CHILD(SPEC, "type"), type, "Exempt,Limited");
    }
}
