/* Mutating- and ValidatingWebhookConfigurations. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

enum { TIMEOUT_MAX_S = 30 };

static void check_one_of(const cJSON *o, const char *name, const char *known,
                         const struct field_path *p, struct field_errors *e)
{
    const char *value = text_of(o, name);
    if (*value && !one_of(value, known))
        field_not_supported(e, PATH_CHILD(p, name), value, known);
}

/* "*" stands for all, and then alone. */
static void check_list(const cJSON *rule, const char *name, bool required,
                       const struct field_path *p, struct field_errors *e)
{
    const cJSON *list = json_get(rule, name);
    const struct field_path at = {p, name, NULL, 0};
    int n = cJSON_GetArraySize(list), i = 0;
    if (!n && required)
        field_required(e, &at, "");
    EACH(v, list)
    {
        const char *text = cJSON_IsString(v) ? v->valuestring : "";
        if (!strcmp(text, "*") && n > 1 && strcmp(name, "resources") != 0)
            field_invalid(e, &at, list, "if '*' is present, must not specify other %s",
                          !strcmp(name, "apiGroups")     ? "API groups"
                          : !strcmp(name, "apiVersions") ? "API versions"
                                                         : name);
        if (!*text && strcmp(name, "apiGroups") != 0)
            field_required(e, PATH_INDEX(&at, i), "");
        i++;
    }
}

static void check_operations(const cJSON *rule, const struct field_path *p, struct field_errors *e)
{
    static const char known[] = "*,CONNECT,CREATE,DELETE,UPDATE";
    const struct field_path at = {p, "operations", NULL, 0};
    int i = 0;
    EACH(v, json_get(rule, "operations"))
    {
        const char *text = cJSON_IsString(v) ? v->valuestring : "";
        if (!one_of(text, known))
            field_not_supported(e, PATH_INDEX(&at, i), text, known);
        i++;
    }
}

static void check_rule(const cJSON *rule, const struct field_path *p, struct field_errors *e)
{
    check_list(rule, "operations", true, p, e);
    check_operations(rule, p, e);
    check_list(rule, "apiGroups", true, p, e);
    check_list(rule, "apiVersions", true, p, e);
    check_list(rule, "resources", true, p, e);
    check_one_of(rule, "scope", "*,Cluster,Namespaced", p, e);
}

static void check_url(const char *url, const struct field_path *p, struct field_errors *e)
{
    static const char form[] = "; desired format: https://host[/path]";
    const char *host = strstr(url, "://");
    if (!host)
        field_invalid_str(e, p, url, "url must be a valid URL%s", form);
    else if (strncmp(url, "https://", 8) != 0)
        field_invalid_str(e, p, url, "'https' is the only allowed URL scheme%s", form);
    else if (!host[3] || host[3] == '/')
        field_invalid_str(e, p, url, "host must be specified%s", form);
    else if (strchr(host + 3, '@'))
        field_invalid_str(e, p, url, "user information is not permitted in the URL");
    else if (strchr(url, '#'))
        field_invalid_str(e, p, url, "fragments are not permitted in the URL");
    else if (strchr(url, '?'))
        field_invalid_str(e, p, url, "query parameters are not permitted in the URL");
}

static void check_client(const cJSON *config, const struct field_path *p, struct field_errors *e)
{
    const cJSON *url = json_get(config, "url"), *service = json_get(config, "service");
    const struct field_path at = {p, "service", NULL, 0};
    if (!url == !service) {
        field_required(e, p, "exactly one of url or service is required");
        return;
    }
    if (url) {
        check_url(text_of(config, "url"), PATH_CHILD(p, "url"), e);
        return;
    }
    if (!*text_of(service, "name"))
        field_required(e, PATH_CHILD(&at, "name"), "service name is required");
    if (!*text_of(service, "namespace"))
        field_required(e, PATH_CHILD(&at, "namespace"), "service namespace is required");
    int64_t port = json_int(service, "port", 443);
    if (port < 1 || port > 65535)
        field_invalid_int(e, PATH_CHILD(&at, "port"), port, "port is not valid: " NOT_A_PORT);
    const char *path = text_of(service, "path");
    if (*path && *path != '/')
        field_invalid_str(e, PATH_CHILD(&at, "path"), path, "must start with a '/'");
    else if (strstr(path, "//"))
        field_invalid_str(e, PATH_CHILD(&at, "path"), path, "segment[%d] may not be empty", 0);
}

static void check_webhook_name(const char *name, const struct field_path *p, struct field_errors *e)
{
    const char *why = *name ? name_dns_subdomain(name) : NULL;
    const char *dot = strchr(name, '.');
    if (!*name)
        field_required(e, p, "");
    else if (why)
        field_invalid_str(e, p, name, "%s", why);
    else if (!dot || !strchr(dot + 1, '.'))
        field_invalid_str(e, p, name,
                          "should be a domain with at least three segments separated by dots");
}

static void check_versions(const cJSON *hook, const struct field_path *p, struct field_errors *e)
{
    const struct field_path at = {p, "admissionReviewVersions", NULL, 0};
    const cJSON *list = json_get(hook, "admissionReviewVersions");
    cleanup_key_index struct key_index seen = {0};
    bool known = false;
    int i = 0;
    if (!cJSON_GetArraySize(list)) {
        field_required(e, &at, "must specify one of v1, v1beta1");
        return;
    }
    EACH(v, list)
    {
        const char *text = cJSON_IsString(v) ? v->valuestring : "";
        const char *why = name_dns1035_label(text);
        const struct field_path one = {&at, NULL, NULL, i++};
        known |= one_of(text, "v1,v1beta1");
        if (key_index_get(&seen, text, 0))
            field_invalid_str(e, &one, text, "duplicate version");
        else if (why)
            field_invalid_str(e, &one, text, "%s", why);
        key_index_set(&seen, text, 1);
    }
    if (!known)
        field_invalid(e, &at, list, "must include at least one of v1, v1beta1");
}

static void check_webhook(const cJSON *hook, bool mutating, const struct field_path *p,
                          struct field_errors *e)
{
    check_webhook_name(text_of(hook, "name"), PATH_CHILD(p, "name"), e);
    check_versions(hook, p, e);
    int i = 0;
    EACH(rule, json_get(hook, "rules"))
    {
        const struct field_path list = {p, "rules", NULL, 0};
        check_rule(rule, PATH_INDEX(&list, i), e);
        i++;
    }
    check_one_of(hook, "failurePolicy", "Fail,Ignore", p, e);
    check_one_of(hook, "matchPolicy", "Equivalent,Exact", p, e);
    if (mutating)
        check_one_of(hook, "reinvocationPolicy", "IfNeeded,Never", p, e);
    const char *effects = text_of(hook, "sideEffects");
    if (!*effects)
        field_required(e, PATH_CHILD(p, "sideEffects"), "must specify one of None, NoneOnDryRun");
    else if (!one_of(effects, "None,NoneOnDryRun"))
        field_not_supported(e, PATH_CHILD(p, "sideEffects"), effects, "None,NoneOnDryRun");
    int64_t timeout = json_int(hook, "timeoutSeconds", 10);
    if (timeout < 1 || timeout > TIMEOUT_MAX_S)
        field_invalid_int(e, PATH_CHILD(p, "timeoutSeconds"), timeout,
                          "the timeout value must be between 1 and 30 seconds");
    check_label_selector(json_get(hook, "namespaceSelector"), PATH_CHILD(p, "namespaceSelector"),
                         e);
    check_label_selector(json_get(hook, "objectSelector"), PATH_CHILD(p, "objectSelector"), e);
    check_client(json_get(hook, "clientConfig"), PATH_CHILD(p, "clientConfig"), e);
    const struct field_path conditions = {p, "matchConditions", NULL, 0};
    i = 0;
    EACH(c, json_get(hook, "matchConditions"))
    {
        const struct field_path at = {&conditions, NULL, NULL, i++};
        check_name(text_of(c, "name"), name_qualified, PATH_CHILD(&at, "name"), e);
        if (!*text_of(c, "expression"))
            field_required(e, PATH_CHILD(&at, "expression"), "");
    }
}

static void check_webhooks(const cJSON *object, const cJSON *old, bool mutating,
                           struct field_errors *e)
{
    validate_object_meta(object, old, false, NAME_DNS_SUBDOMAIN, e);
    cleanup_key_index struct key_index names = {0};
    int i = 0;
    EACH(hook, json_get(object, "webhooks"))
    {
        const struct field_path at = {PATH_ROOT("webhooks"), NULL, NULL, i++};
        const char *name = text_of(hook, "name");
        check_webhook(hook, mutating, &at, e);
        if (*name && key_index_get(&names, name, 0))
            field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
        key_index_set(&names, name, 1);
    }
}

void validate_mutatingwebhookconfiguration(const cJSON *object, const cJSON *old, const char *sub,
                                           struct field_errors *e)
{
    (void)sub;
    check_webhooks(object, old, true, e);
}

void validate_validatingwebhookconfiguration(const cJSON *object, const cJSON *old, const char *sub,
                                             struct field_errors *e)
{
    (void)sub;
    check_webhooks(object, old, false, e);
}
