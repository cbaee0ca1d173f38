/* The smaller kinds: namespaces, nodes, configuration, leases, events. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/patch/members.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

enum { DATA_MAX = 1024 * 1024 };

void validate_namespace(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    validate_object_meta(object, old, false, NAME_DNS_LABEL, e);
    int i = 0;
    EACH (f, json_path(object, "spec.finalizers")) {
        const struct field_path list = {PATH_ROOT("spec"), "finalizers", NULL, 0};
        const char *s = cJSON_IsString(f) ? f->valuestring : "", *why = name_qualified(s);
        if (why)
            field_invalid_str(e, PATH_INDEX(&list, i), s, "%s", why);
        else if (!strchr(s, '/') && !one_of(s, "kubernetes,orphan,foregroundDeletion"))
            field_invalid_str(e, PATH_INDEX(&list, i), s,
                              "name is neither a standard finalizer name nor is it fully qualified");
        i++;
    }
    if (strcmp(sub, "status") != 0)
        return;
    const char *phase = json_str_or(object, "status.phase", "");
    bool deleting = json_path(object, "metadata.deletionTimestamp") != NULL;
    if (deleting ? strcmp(phase, "Terminating") != 0 : !strcmp(phase, "Terminating"))
        field_invalid_str(e, PATH_CHILD(PATH_ROOT("status"), "Phase"), phase,
                          deleting ? "may only be 'Terminating' if `deletionTimestamp` is not empty"
                                   : "may only be 'Active' if `deletionTimestamp` is empty");
}

static void check_taints(const cJSON *taints, const struct field_path *p, struct field_errors *e)
{
    cleanup_key_index struct key_index seen = {0};
    int i = 0;
    EACH (t, taints) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *key = text_of(t, "key"), *value = text_of(t, "value"), *effect = text_of(t, "effect");
        const char *why = name_qualified(key);
        if (why)
            field_invalid_str(e, PATH_CHILD(&at, "key"), key, "%s", why);
        if ((why = name_label_value(value)))
            field_invalid_str(e, PATH_CHILD(&at, "value"), value, "%s", why);
        if (!*effect)
            field_required(e, PATH_CHILD(&at, "effect"), "");
        else if (!one_of(effect, "NoSchedule,PreferNoSchedule,NoExecute"))
            field_not_supported(e, PATH_CHILD(&at, "effect"), effect,
                                "NoSchedule,PreferNoSchedule,NoExecute");
        cleanup_free char *both = mem_printf("%s:%s", key, effect);
        if (key_index_get(&seen, both, 0))
            field_duplicate_str(e, &at, both);
        key_index_set(&seen, both, 1);
    }
}

void validate_node(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    static const char *const once[] = {"podCIDR", "providerID"};
    const struct field_path *p = PATH_ROOT("spec");
    const cJSON *spec = json_get(object, "spec"), *old_spec = json_get(old, "spec");
    (void)sub;
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    check_taints(json_get(spec, "taints"), PATH_CHILD(p, "taints"), e);
    const char *cidr = text_of(spec, "podCIDR");
    if (*cidr && !is_cidr(cidr))
        field_invalid_str(e, PATH_INDEX(PATH_CHILD(p, "podCIDRs"), 0), cidr,
                          "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
    for (size_t i = 0; old && i < ARRAY_LEN(once); i++)
        if (*text_of(old_spec, once[i]) && strcmp(text_of(old_spec, once[i]), text_of(spec, once[i])) != 0)
            field_forbidden(e, i ? PATH_CHILD(p, once[i]) : PATH_CHILD(p, "podCIDRs"),
                            i ? "node updates may not change providerID except from \"\" to valid"
                              : "node updates may not change podCIDR except from \"\" to valid");
}

/* Keys and total size of a map of texts; encoded: base64. */
static size_t check_data(const cJSON *data, bool encoded, const struct field_path *p, struct field_errors *e)
{
    size_t total = 0;
    EACH (v, data) {
        const char *why = name_config_key(v->string);
        if (why)
            field_invalid_str(e, PATH_KEY(p, v->string), v->string, "%s", why);
        size_t n = cJSON_IsString(v) ? strlen(v->valuestring) : 0;
        total += encoded ? n / 4 * 3 : n;
    }
    return total;
}

static void check_frozen(const cJSON *object, const cJSON *old, const char *const *fields,
                         struct field_errors *e)
{
    if (!old || !json_bool(old, "immutable", false))
        return;
    if (!json_bool(object, "immutable", false))
        field_forbidden(e, PATH_ROOT("immutable"), "field is immutable when `immutable` is set");
    for (; *fields; fields++) {
        const cJSON *a = json_get(object, *fields), *b = json_get(old, *fields);
        if (!(a == b || json_equal(a, b)))
            field_forbidden(e, PATH_ROOT(*fields), "field is immutable when `immutable` is set");
    }
}

void validate_configmap(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    const cJSON *data = json_get(object, "data"), *binary = json_get(object, "binaryData");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    size_t total =
        check_data(data, false, PATH_ROOT("data"), e) + check_data(binary, true, PATH_ROOT("binaryData"), e);
    cleanup_members struct members texts = members_of((cJSON *)data);
    EACH (v, binary) {
        if (members_get(&texts, v->string))
            field_invalid_str(e, PATH_KEY(PATH_ROOT("data"), v->string), v->string,
                              "duplicate of key present in binaryData");
    }
    if (total > DATA_MAX)
        field_too_long(e, PATH_KEY(NULL, ""), DATA_MAX); /* shown as "[]" */
    check_frozen(object, old, (const char *const[]){"data", "binaryData", NULL}, e);
}

static void require_key(const cJSON *data, const char *key, struct field_errors *e)
{
    if (!json_get(data, key))
        field_required(e, PATH_KEY(PATH_ROOT("data"), key), "");
}

void validate_secret(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    const cJSON *data = json_get(object, "data");
    const char *type = text_of(object, "type");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (check_data(data, true, PATH_ROOT("data"), e) > DATA_MAX)
        field_too_long(e, PATH_ROOT("data"), DATA_MAX);
    if (!strcmp(type, "kubernetes.io/service-account-token")) {
        const cJSON *annotations = json_path(object, "metadata.annotations");
        if (!*text_of(annotations, "kubernetes.io/service-account.name"))
            field_required(e,
                           PATH_KEY(PATH_CHILD(PATH_ROOT("metadata"), "annotations"),
                                    "kubernetes.io/service-account.name"),
                           "");
    } else if (!strcmp(type, "kubernetes.io/dockercfg")) {
        require_key(data, ".dockercfg", e);
    } else if (!strcmp(type, "kubernetes.io/dockerconfigjson")) {
        require_key(data, ".dockerconfigjson", e);
    } else if (!strcmp(type, "kubernetes.io/basic-auth")) {
        if (!json_get(data, "username") && !json_get(data, "password")) {
            field_required(e, PATH_KEY(PATH_ROOT("data"), "username"), "");
            field_required(e, PATH_KEY(PATH_ROOT("data"), "password"), "");
        }
    } else if (!strcmp(type, "kubernetes.io/ssh-auth")) {
        if (!*text_of(data, "ssh-privatekey"))
            field_required(e, PATH_KEY(PATH_ROOT("data"), "ssh-privatekey"), "");
    } else if (!strcmp(type, "kubernetes.io/tls")) {
        require_key(data, "tls.crt", e);
        require_key(data, "tls.key", e);
    }
    if (old && strcmp(type, text_of(old, "type")) != 0)
        field_invalid_str(e, PATH_ROOT("type"), type, IMMUTABLE);
    /* Values are never shown: Forbidden carries none. */
    check_frozen(object, old, (const char *const[]){"data", NULL}, e);
}

void validate_serviceaccount(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
}

void validate_lease(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    const struct field_path *p = PATH_ROOT("spec");
    const cJSON *duration = json_path(object, "spec.leaseDurationSeconds");
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (cJSON_IsNumber(duration) && duration->valuedouble <= 0)
        field_invalid_int(e, PATH_CHILD(p, "leaseDurationSeconds"), (int64_t)duration->valuedouble,
                          "must be greater than 0");
    check_non_negative(json_get(object, "spec"), "leaseTransitions", p, e);
}

static void check_event_namespace(const cJSON *object, const char *about, struct field_errors *e)
{
    const char *ns = json_str_or(object, "metadata.namespace", ""),
               *involved = text_of(json_get(object, about), "namespace");
    const struct field_path *p = PATH_CHILD(PATH_ROOT(about), "namespace");
    if (!*involved) {
        if (strcmp(ns, "default") != 0 && strcmp(ns, "kube-system") != 0)
            field_invalid_str(e, p, involved, "does not match event.namespace");
    } else if (strcmp(ns, involved) != 0) {
        field_invalid_str(e, p, involved, "does not match event.namespace");
    }
}

void validate_event(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    check_event_namespace(object, "involvedObject", e);
}

static void check_event_text(const cJSON *o, const char *name, size_t max, struct field_errors *e)
{
    const char *s = text_of(o, name);
    if (!*s)
        field_required(e, PATH_ROOT(name), "");
    else if (strlen(s) > max)
        field_invalid_str(e, PATH_ROOT(name), "", "can have at most %zu characters", max);
}

void validate_event_v1(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)sub;
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    check_event_namespace(object, "regarding", e);
    if (old)
        return;
    const char *controller = text_of(object, "reportingController"), *type = text_of(object, "type");
    if (!*text_of(object, "eventTime"))
        field_required(e, PATH_ROOT("eventTime"), "");
    check_name(controller, name_qualified, PATH_ROOT("reportingController"), e);
    check_event_text(object, "reportingInstance", 128, e);
    check_event_text(object, "action", 128, e);
    check_event_text(object, "reason", 128, e);
    if (strlen(text_of(object, "note")) > 1024)
        field_invalid_str(e, PATH_ROOT("note"), "", "can have at most 1024 characters");
    if (!one_of(type, "Normal,Warning"))
        field_invalid_str(e, PATH_ROOT("type"), type, "has to be either Warning or Normal");
}
