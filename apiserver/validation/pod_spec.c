/* What a pod's specification must look like, beside its containers. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/selector.h"

static bool has_parent_step(const char *path)
{
    for (const char *s = path; (s = strstr(s, "..")); s += 2)
        if ((s == path || s[-1] == '/') && (!s[2] || s[2] == '/'))
            return true;
    return false;
}

static void check_mode(const cJSON *o, const char *name, const struct field_path *p, struct field_errors *e)
{
    int64_t mode = json_int(o, name, 0);
    if (mode < 0 || mode > 0777)
        field_invalid_int(e, PATH_CHILD(p, name), mode,
                          "must be a number between 0 and 0777 (octal), both inclusive");
}

static void check_relative(const char *path, const struct field_path *p, struct field_errors *e)
{
    if (!*path)
        field_required(e, p, "");
    else if (*path == '/')
        field_invalid_str(e, p, path, "must be a relative path");
    else if (has_parent_step(path))
        field_invalid_str(e, p, path, "must not contain '..'");
}

static void check_items(const cJSON *source, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH (item, json_get(source, "items")) {
        const struct field_path list = {p, "items", NULL, 0}, at = {&list, NULL, NULL, i++};
        if (!*text_of(item, "key"))
            field_required(e, PATH_CHILD(&at, "key"), "");
        check_relative(text_of(item, "path"), PATH_CHILD(&at, "path"), e);
        check_mode(item, "mode", &at, e);
    }
}

static void check_volume_source(const cJSON *source, const struct field_path *p, struct field_errors *e)
{
    const char *kind = source->string;
    if (!strcmp(kind, "emptyDir")) {
        const cJSON *size = json_get(source, "sizeLimit");
        struct quantity q;
        if (cJSON_IsString(size) && quantity_parse(size->valuestring, &q) && q.nano < 0)
            field_forbidden(e, PATH_CHILD(p, "sizeLimit"),
                            "SizeLimit field must be a valid resource quantity");
    } else if (!strcmp(kind, "hostPath")) {
        static const char types[] =
            ",BlockDevice,CharDevice,Directory,DirectoryOrCreate,File,FileOrCreate,Socket";
        const char *path = text_of(source, "path"), *type = text_of(source, "type");
        if (!*path)
            field_required(e, PATH_CHILD(p, "path"), "");
        else if (has_parent_step(path))
            field_invalid_str(e, PATH_CHILD(p, "path"), path, "must not contain '..'");
        if (*type && !one_of(type, types + 1))
            field_not_supported(e, PATH_CHILD(p, "type"), type, types);
    } else if (!strcmp(kind, "secret")) {
        if (!*text_of(source, "secretName"))
            field_required(e, PATH_CHILD(p, "secretName"), "");
        check_mode(source, "defaultMode", p, e);
        check_items(source, p, e);
    } else if (!strcmp(kind, "configMap")) {
        if (!*text_of(source, "name"))
            field_required(e, PATH_CHILD(p, "name"), "");
        check_mode(source, "defaultMode", p, e);
        check_items(source, p, e);
    } else if (!strcmp(kind, "persistentVolumeClaim")) {
        if (!*text_of(source, "claimName"))
            field_required(e, PATH_CHILD(p, "claimName"), "");
    } else if (!strcmp(kind, "projected") || !strcmp(kind, "downwardAPI")) {
        check_mode(source, "defaultMode", p, e);
    }
}

void check_volumes(const cJSON *volumes, const struct field_path *p, struct field_errors *e)
{
    cleanup_key_index struct key_index names = {0};
    int i = 0;
    EACH (v, volumes) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *name = text_of(v, "name");
        int sources = 0;
        EACH (source, v) {
            const struct field_path source_path = {&at, source->string, NULL, 0};
            if (!strcmp(source->string, "name"))
                continue;
            if (sources++)
                field_forbidden(e, &source_path, "may not specify more than 1 volume type");
            else
                check_volume_source(source, &source_path, e);
        }
        if (!sources)
            field_required(e, &at, "must specify a volume type");
        check_name(name, name_dns_label, PATH_CHILD(&at, "name"), e);
        if (*name && key_index_get(&names, name, 0))
            field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
        key_index_set(&names, name, 1);
    }
}

void check_tolerations(const cJSON *tolerations, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH (t, tolerations) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *key = text_of(t, "key"), *op = text_of(t, "operator"), *value = text_of(t, "value"),
                   *effect = text_of(t, "effect");
        const char *why = *key ? name_qualified(key) : NULL;
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "key"), key, "%s", why);
        if (!*key && strcmp(op, "Exists") != 0)
            field_invalid_str(
                e, PATH_CHILD(&at, "operator"), op,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
        if (json_get(t, "tolerationSeconds") && strcmp(effect, "NoExecute") != 0)
            field_invalid_str(e, PATH_CHILD(&at, "effect"), effect,
                              "effect must be 'NoExecute' when `tolerationSeconds` is set");
        if (!*op || !strcmp(op, "Equal")) {
            if ((why = name_label_value(value)))
                field_invalid_str(e, PATH_CHILD(&at, "operator"), value, "%s", why);
        } else if (!strcmp(op, "Exists")) {
            if (*value)
                field_invalid_str(e, PATH_CHILD(&at, "operator"), value,
                                  "value must be empty when `operator` is 'Exists'");
        } else {
            field_not_supported(e, PATH_CHILD(&at, "operator"), op, "Equal,Exists");
        }
        if (*effect && !one_of(effect, "NoSchedule,PreferNoSchedule,NoExecute"))
            field_not_supported(e, PATH_CHILD(&at, "effect"), effect,
                                "NoSchedule,PreferNoSchedule,NoExecute");
    }
}

/* --- affinity --- */
static void check_requirements(const cJSON *list, bool fields, const struct field_path *p,
                               struct field_errors *e)
{
    int i = 0;
    EACH (r, list) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *op = text_of(r, "operator"), *key = text_of(r, "key");
        int n = cJSON_GetArraySize(json_get(r, "values"));
        if (fields) {
            if (!one_of(op, "In,NotIn"))
                field_invalid_str(e, PATH_CHILD(&at, "operator"), op, "not a valid selector operator");
            else if (n != 1)
                field_required(
                    e, PATH_CHILD(&at, "values"),
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
            if (strcmp(key, "metadata.name") != 0)
                field_invalid_str(e, PATH_CHILD(&at, "key"), key, "not a valid field selector key");
            continue;
        }
        if (one_of(op, "In,NotIn")) {
            if (!n)
                field_required(e, PATH_CHILD(&at, "values"),
                               "must be specified when `operator` is 'In' or 'NotIn'");
        } else if (one_of(op, "Exists,DoesNotExist")) {
            if (n)
                field_forbidden(e, PATH_CHILD(&at, "values"),
                                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        } else if (one_of(op, "Gt,Lt")) {
            if (n != 1)
                field_required(e, PATH_CHILD(&at, "values"),
                               "must be specified single value when `operator` is 'Lt' or 'Gt'");
        } else {
            field_invalid_str(e, PATH_CHILD(&at, "operator"), op, "not a valid selector operator");
        }
        const char *why = name_qualified(key);
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "key"), key, "%s", why);
    }
}

static void check_node_term(const cJSON *term, const struct field_path *p, struct field_errors *e)
{
    check_requirements(json_get(term, "matchExpressions"), false, PATH_CHILD(p, "matchExpressions"), e);
    check_requirements(json_get(term, "matchFields"), true, PATH_CHILD(p, "matchFields"), e);
}

static void check_weight(const cJSON *term, const struct field_path *p, struct field_errors *e)
{
    int64_t weight = json_int(term, "weight", 0);
    if (weight < 1 || weight > 100)
        field_invalid_int(e, PATH_CHILD(p, "weight"), weight, "must be in the range 1-100");
}

#define REQUIRED_TERMS  "requiredDuringSchedulingIgnoredDuringExecution"
#define PREFERRED_TERMS "preferredDuringSchedulingIgnoredDuringExecution"

static void check_node_affinity(const cJSON *a, const struct field_path *p, struct field_errors *e)
{
    const cJSON *required = json_get(a, REQUIRED_TERMS);
    const struct field_path required_path = {p, REQUIRED_TERMS, NULL, 0},
                            terms_path = {&required_path, "nodeSelectorTerms", NULL, 0};
    const cJSON *terms = json_get(required, "nodeSelectorTerms");
    int i = 0;
    if (required && (!terms || !terms->child))
        field_required(e, &terms_path, "must have at least one node selector term");
    EACH (term, terms) {
        check_node_term(term, PATH_INDEX(&terms_path, i), e);
        i++;
    }
    i = 0;
    EACH (term, json_get(a, PREFERRED_TERMS)) {
        const struct field_path list = {p, PREFERRED_TERMS, NULL, 0}, at = {&list, NULL, NULL, i++};
        check_weight(term, &at, e);
        check_node_term(json_get(term, "preference"), PATH_CHILD(&at, "preference"), e);
    }
}

static void check_pod_term(const cJSON *term, const struct field_path *p, struct field_errors *e)
{
    const char *key = text_of(term, "topologyKey");
    check_label_selector(json_get(term, "labelSelector"), PATH_CHILD(p, "labelSelector"), e);
    check_label_selector(json_get(term, "namespaceSelector"), PATH_CHILD(p, "namespaceSelector"), e);
    if (!*key)
        field_required(e, PATH_CHILD(p, "topologyKey"), "can not be empty");
    const char *why = name_qualified(key);
    if (why)
        field_invalid_str(e, PATH_CHILD(p, "topologyKey"), key, "%s", why);
}

static void check_pod_affinity(const cJSON *a, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH (term, json_get(a, REQUIRED_TERMS)) {
        const struct field_path list = {p, REQUIRED_TERMS, NULL, 0}, at = {&list, NULL, NULL, i++};
        check_pod_term(term, &at, e);
    }
    i = 0;
    EACH (term, json_get(a, PREFERRED_TERMS)) {
        const struct field_path list = {p, PREFERRED_TERMS, NULL, 0}, at = {&list, NULL, NULL, i++};
        check_weight(term, &at, e);
        check_pod_term(json_get(term, "podAffinityTerm"), PATH_CHILD(&at, "podAffinityTerm"), e);
    }
}

void check_affinity(const cJSON *affinity, const struct field_path *p, struct field_errors *e)
{
    check_node_affinity(json_get(affinity, "nodeAffinity"), PATH_CHILD(p, "nodeAffinity"), e);
    check_pod_affinity(json_get(affinity, "podAffinity"), PATH_CHILD(p, "podAffinity"), e);
    check_pod_affinity(json_get(affinity, "podAntiAffinity"), PATH_CHILD(p, "podAntiAffinity"), e);
}

static void check_spread(const cJSON *constraints, const struct field_path *p, struct field_errors *e)
{
    cleanup_key_index struct key_index seen = {0};
    int i = 0;
    EACH (c, constraints) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *key = text_of(c, "topologyKey"), *when = text_of(c, "whenUnsatisfiable");
        if (json_int(c, "maxSkew", 0) <= 0)
            field_invalid_int(e, PATH_CHILD(&at, "maxSkew"), json_int(c, "maxSkew", 0),
                              "must be greater than zero");
        if (!*key)
            field_required(e, PATH_CHILD(&at, "topologyKey"), "can not be empty");
        if (!one_of(when, "DoNotSchedule,ScheduleAnyway"))
            field_not_supported(e, PATH_CHILD(&at, "whenUnsatisfiable"), when,
                                "DoNotSchedule,ScheduleAnyway");
        cleanup_free char *both = mem_printf("{%s, %s}", key, when);
        if (key_index_get(&seen, both, 0))
            field_duplicate_str(e, &at, both);
        key_index_set(&seen, both, 1);
        check_label_selector(json_get(c, "labelSelector"), PATH_CHILD(&at, "labelSelector"), e);
    }
}

static void check_dns(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    const char *policy = text_of(spec, "dnsPolicy");
    static const char policies[] = "ClusterFirst,ClusterFirstWithHostNet,Default,None";
    if (!*policy)
        field_required(e, PATH_CHILD(p, "dnsPolicy"), "");
    else if (!one_of(policy, policies))
        field_not_supported(e, PATH_CHILD(p, "dnsPolicy"), policy, policies);
    else if (!strcmp(policy, "None") && !cJSON_GetArraySize(json_path(spec, "dnsConfig.nameservers"))) {
        const struct field_path config = {p, "dnsConfig", NULL, 0};
        field_required(e, json_get(spec, "dnsConfig") ? PATH_CHILD(&config, "nameservers") : &config,
                       "must provide at least one DNS nameserver when `dnsPolicy` is None");
    }
}

void check_pod_spec(const cJSON *spec, const cJSON *pod_meta, const struct field_path *p,
                    struct field_errors *e)
{
    static const struct {
        const char *name;
        const char *(*check)(const char *);
    } names[] = {{"serviceAccountName", name_dns_subdomain},
                 {"nodeName", name_dns_subdomain},
                 {"hostname", name_dns_label},
                 {"subdomain", name_dns_label},
                 {"priorityClassName", name_dns_subdomain},
                 {"runtimeClassName", name_dns_subdomain}};
    (void)pod_meta;
    check_volumes(json_get(spec, "volumes"), PATH_CHILD(p, "volumes"), e);
    check_containers(spec, p, e);
    const char *restart = text_of(spec, "restartPolicy");
    if (!*restart)
        field_required(e, PATH_CHILD(p, "restartPolicy"), "");
    else if (!one_of(restart, "Always,OnFailure,Never"))
        field_not_supported(e, PATH_CHILD(p, "restartPolicy"), restart, "Always,OnFailure,Never");
    check_dns(spec, p, e);
    check_labels(json_get(spec, "nodeSelector"), PATH_CHILD(p, "nodeSelector"), e);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (*text_of(spec, names[i].name))
            check_name(text_of(spec, names[i].name), names[i].check, PATH_CHILD(p, names[i].name), e);
    const cJSON *deadline = json_get(spec, "activeDeadlineSeconds");
    if (cJSON_IsNumber(deadline) && (deadline->valuedouble < 1 || deadline->valuedouble > INT32_MAX))
        field_invalid_int(e, PATH_CHILD(p, "activeDeadlineSeconds"), (int64_t)deadline->valuedouble,
                          "must be between 1 and 2147483647, inclusive");
    check_non_negative(spec, "terminationGracePeriodSeconds", p, e);
    check_tolerations(json_get(spec, "tolerations"), PATH_CHILD(p, "tolerations"), e);
    check_affinity(json_get(spec, "affinity"), PATH_CHILD(p, "affinity"), e);
    check_spread(json_get(spec, "topologySpreadConstraints"), PATH_CHILD(p, "topologySpreadConstraints"), e);
    int i = 0;
    EACH (alias, json_get(spec, "hostAliases")) {
        const struct field_path list = {p, "hostAliases", NULL, 0}, at = {&list, NULL, NULL, i++};
        if (!is_ip(text_of(alias, "ip"), 0))
            field_invalid_str(e, PATH_CHILD(&at, "ip"), text_of(alias, "ip"),
                              "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}

/* Unlike an empty selector, a missing one selects nothing. */
static void check_selected(const cJSON *labels, const cJSON *selector, const struct field_path *p,
                           struct field_errors *e)
{
    struct label_selector *s = label_selector_from_json(selector, NULL);
    if (s && !label_selector_empty(s) && !label_selector_matches(s, labels)) {
        cleanup_json cJSON *none = cJSON_CreateRaw("map[string]string(nil)");
        field_invalid(e, p, labels ? labels : none, "`selector` does not match template `labels`");
    }
    label_selector_free(s);
}

void check_any_pod_template(const cJSON *template, const struct field_path *p, struct field_errors *e)
{
    const struct field_path meta_path = {p, "metadata", NULL, 0}, spec_path = {p, "spec", NULL, 0};
    const cJSON *meta = json_get(template, "metadata"), *spec = json_get(template, "spec");
    check_labels(json_get(meta, "labels"), PATH_CHILD(&meta_path, "labels"), e);
    check_annotations(json_get(meta, "annotations"), PATH_CHILD(&meta_path, "annotations"), e);
    check_pod_spec(spec, meta, &spec_path, e);
}

void check_selected_pod_template(const cJSON *template, const cJSON *selector, const struct field_path *p,
                                 struct field_errors *e)
{
    const struct field_path meta_path = {p, "metadata", NULL, 0};
    check_selected(json_path(template, "metadata.labels"), selector, PATH_CHILD(&meta_path, "labels"), e);
    check_any_pod_template(template, p, e);
}

void check_pod_template(const cJSON *template, const cJSON *selector, const struct field_path *p,
                        struct field_errors *e)
{
    const struct field_path spec_path = {p, "spec", NULL, 0};
    const cJSON *spec = json_get(template, "spec");
    check_selected_pod_template(template, selector, p, e);
    const char *restart = text_of(spec, "restartPolicy");
    if (one_of(restart, "OnFailure,Never"))
        field_not_supported(e, PATH_CHILD(&spec_path, "restartPolicy"), restart, "Always");
    if (json_get(spec, "activeDeadlineSeconds"))
        field_forbidden(e, PATH_CHILD(&spec_path, "activeDeadlineSeconds"),
                        "activeDeadlineSeconds in ReplicaSet is not Supported");
}
