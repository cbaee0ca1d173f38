/* Containers of a pod: ports, environment, mounts, probes, resources. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/patch/members.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

static void check_ports(const cJSON *ports, bool host_network, const struct field_path *p,
                        struct field_errors *e)
{
    cleanup_key_index struct key_index names = {0};
    int i = 0;
    EACH (port, ports) {
        const struct field_path at = {p, NULL, NULL, i++};
        const char *name = text_of(port, "name"), *protocol = text_of(port, "protocol");
        int64_t container = json_int(port, "containerPort", 0), host = json_int(port, "hostPort", 0);
        if (*name) {
            const char *why = name_port(name);
            if (why)
                field_invalid_str(e, PATH_CHILD(&at, "name"), name, "%s", why);
            else if (key_index_get(&names, name, 0))
                field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
            key_index_set(&names, name, 1);
        }
        if (!container)
            field_required(e, PATH_CHILD(&at, "containerPort"), "");
        else if (container < 1 || container > 65535)
            field_invalid_int(e, PATH_CHILD(&at, "containerPort"), container, NOT_A_PORT);
        if (host && (host < 1 || host > 65535))
            field_invalid_int(e, PATH_CHILD(&at, "hostPort"), host, NOT_A_PORT);
        else if (host_network && host && host != container)
            field_invalid_int(e, PATH_CHILD(&at, "containerPort"), container,
                              "must match `hostPort` when `hostNetwork` is true");
        if (!*protocol)
            field_required(e, PATH_CHILD(&at, "protocol"), "");
        else if (!one_of(protocol, "SCTP,TCP,UDP"))
            field_not_supported(e, PATH_CHILD(&at, "protocol"), protocol, "SCTP,TCP,UDP");
    }
}

static bool is_subscript(const char *path)
{
    return (!strncmp(path, "metadata.labels['", 17) || !strncmp(path, "metadata.annotations['", 22)) &&
           strlen(path) > 4 && !strcmp(path + strlen(path) - 2, "']");
}

static void check_value_from(const cJSON *from, const cJSON *value, const struct field_path *p,
                             struct field_errors *e)
{
    static const char *const sources[] = {"fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef",
                                          "fileKeyRef"};
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        n += json_get(from, sources[i]) != NULL;
    if (value)
        field_invalid_str(e, p, "", "may not be specified when `value` is not empty");
    if (n == 0)
        field_invalid_str(e, p, "",
                          "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, "
                          "`secretKeyRef` or `fileKeyRef`");
    else if (n > 1)
        field_invalid_str(e, p, "", "may not have more than one field specified at a time");
    const cJSON *field = json_get(from, "fieldRef");
    if (field) {
        const char *path = text_of(field, "fieldPath");
        const struct field_path at = {p, "fieldRef", NULL, 0};
        if (!*path)
            field_required(e, PATH_CHILD(&at, "fieldPath"), "");
        else if (!is_subscript(path) && !one_of(path, "metadata.name,metadata.namespace,metadata.uid,spec."
                                                      "nodeName,spec.serviceAccountName,status.hostIP,"
                                                      "status.hostIPs,status.podIP,status.podIPs"))
            field_invalid_str(e, PATH_CHILD(&at, "fieldPath"), path,
                              "error converting fieldPath: field label not supported: %.200s", path);
    }
    for (int i = 2; i < 4; i++) {
        const cJSON *ref = json_get(from, sources[i]);
        const struct field_path at = {p, sources[i], NULL, 0};
        if (!ref)
            continue;
        if (!*text_of(ref, "name"))
            field_required(e, PATH_CHILD(&at, "name"), "");
        check_name(text_of(ref, "key"), name_config_key, PATH_CHILD(&at, "key"), e);
    }
}

static void check_env(const cJSON *c, const struct field_path *p, struct field_errors *e)
{
    int i = 0;
    EACH (env, json_get(c, "env")) {
        const struct field_path list = {p, "env", NULL, 0}, at = {&list, NULL, NULL, i++};
        check_name(text_of(env, "name"), name_env_var, PATH_CHILD(&at, "name"), e);
        const cJSON *from = json_get(env, "valueFrom");
        if (from)
            check_value_from(from, *text_of(env, "value") ? json_get(env, "value") : NULL,
                             PATH_CHILD(&at, "valueFrom"), e);
    }
    i = 0;
    EACH (source, json_get(c, "envFrom")) {
        const struct field_path list = {p, "envFrom", NULL, 0}, at = {&list, NULL, NULL, i++};
        const cJSON *map = json_get(source, "configMapRef"), *secret = json_get(source, "secretRef");
        if (!map && !secret)
            field_invalid_str(e, &at, "", "must specify one of: `configMapRef` or `secretRef`");
        else if (map && secret)
            field_invalid_str(e, &at, "", "may not have more than one field specified at a time");
        const struct field_path ref = {&at, map ? "configMapRef" : "secretRef", NULL, 0};
        if ((map || secret) && !*text_of(map ? map : secret, "name"))
            field_required(e, PATH_CHILD(&ref, "name"), "");
    }
}

static bool has_parent_step(const char *path)
{
    for (const char *s = path; (s = strstr(s, "..")); s += 2)
        if ((s == path || s[-1] == '/') && (!s[2] || s[2] == '/'))
            return true;
    return false;
}

static void check_mounts(const cJSON *c, const struct key_index *volumes, const struct field_path *p,
                         struct field_errors *e)
{
    cleanup_key_index struct key_index paths = {0};
    int i = 0;
    EACH (m, json_get(c, "volumeMounts")) {
        const struct field_path list = {p, "volumeMounts", NULL, 0}, at = {&list, NULL, NULL, i++};
        const char *name = text_of(m, "name"), *path = text_of(m, "mountPath"), *sub = text_of(m, "subPath");
        if (!*name)
            field_required(e, PATH_CHILD(&at, "name"), "");
        else if (!key_index_get(volumes, name, 0))
            field_not_found(e, PATH_CHILD(&at, "name"), name);
        if (!*path)
            field_required(e, PATH_CHILD(&at, "mountPath"), "");
        else if (key_index_get(&paths, path, 0))
            field_invalid_str(e, PATH_CHILD(&at, "mountPath"), path, "must be unique");
        key_index_set(&paths, path, 1);
        if (*sub == '/')
            field_invalid_str(e, PATH_CHILD(&at, "subPath"), sub, "must be a relative path");
        if (has_parent_step(sub))
            field_invalid_str(e, PATH_CHILD(&at, "subPath"), sub, "must not contain '..'");
    }
}

void check_probe_handler(const cJSON *h, const struct field_path *p, struct field_errors *e)
{
    static const char *const handlers[] = {"exec", "httpGet", "tcpSocket", "grpc", "sleep"};
    int n = 0;
    for (size_t i = 0; i < ARRAY_LEN(handlers); i++) {
        const cJSON *x = json_get(h, handlers[i]);
        const struct field_path at = {p, handlers[i], NULL, 0};
        if (!x)
            continue;
        if (n++) {
            field_forbidden(e, &at, "may not specify more than 1 handler type");
            continue;
        }
        if (i == 0) {
            const cJSON *command = json_get(x, "command");
            if (!command || !command->child)
                field_required(e, PATH_CHILD(&at, "command"), "");
        } else if (i == 1) {
            if (!*text_of(x, "path"))
                field_required(e, PATH_CHILD(&at, "path"), "");
            check_int_or_port_name(json_get(x, "port"), PATH_CHILD(&at, "port"), e);
            if (!one_of(text_of(x, "scheme"), "HTTP,HTTPS"))
                field_not_supported(e, PATH_CHILD(&at, "scheme"), text_of(x, "scheme"), "HTTP,HTTPS");
        } else if (i == 2 || i == 3) {
            check_int_or_port_name(json_get(x, "port"), PATH_CHILD(&at, "port"), e);
        }
    }
    if (!n)
        field_required(e, p, "must specify a handler type");
}

static void check_probe(const cJSON *c, const char *name, bool success_is_one,
                        const struct field_path *parent, struct field_errors *e)
{
    static const char *const numbers[] = {"initialDelaySeconds", "timeoutSeconds", "periodSeconds",
                                          "successThreshold", "failureThreshold"};
    const cJSON *probe = json_get(c, name);
    const struct field_path p = {parent, name, NULL, 0};
    if (!probe)
        return;
    check_probe_handler(probe, &p, e);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        check_non_negative(probe, numbers[i], &p, e);
    if (success_is_one && json_int(probe, "successThreshold", 1) != 1)
        field_invalid_int(e, PATH_CHILD(&p, "successThreshold"), json_int(probe, "successThreshold", 1),
                          "must be 1");
    const cJSON *grace = json_get(probe, "terminationGracePeriodSeconds");
    if (cJSON_IsNumber(grace) && grace->valuedouble <= 0)
        field_invalid_int(e, PATH_CHILD(&p, "terminationGracePeriodSeconds"), (int64_t)grace->valuedouble,
                          "must be greater than 0");
}

static bool standard_resource(const char *name)
{
    return one_of(name, "cpu,memory,ephemeral-storage") || !strncmp(name, "hugepages-", 10);
}

static void check_quantities(const cJSON *list, const struct field_path *p, struct field_errors *e)
{
    EACH (q, list) {
        const struct field_path at = {p, NULL, q->string, 0};
        const char *why = name_qualified(q->string);
        struct quantity v;
        if (why)
            field_invalid_str(e, &at, q->string, "%s", why);
        else if (!strchr(q->string, '/') && !standard_resource(q->string))
            field_invalid_str(e, &at, q->string, "must be a standard resource type or fully qualified");
        if (cJSON_IsString(q) && quantity_parse(q->valuestring, &v) && v.nano < 0)
            field_invalid_str(e, &at, q->valuestring, NEGATIVE);
    }
}

static void check_resources(const cJSON *c, const struct field_path *parent, struct field_errors *e)
{
    const cJSON *resources = json_get(c, "resources"), *limits = json_get(resources, "limits");
    const struct field_path p = {parent, "resources", NULL, 0}, requests_path = {&p, "requests", NULL, 0};
    check_quantities(limits, PATH_CHILD(&p, "limits"), e);
    check_quantities(json_get(resources, "requests"), &requests_path, e);
    cleanup_members struct members limits_by_name = members_of((cJSON *)limits);
    EACH (request, json_get(resources, "requests")) {
        const cJSON *limit = members_get(&limits_by_name, request->string);
        struct quantity r, l;
        if (cJSON_IsString(limit) && cJSON_IsString(request) && quantity_parse(request->valuestring, &r) &&
            quantity_parse(limit->valuestring, &l) && r.nano > l.nano)
            field_invalid_str(e, &requests_path, request->valuestring,
                              "must be less than or equal to %.200s limit of %s", request->string,
                              limit->valuestring);
    }
}

static void check_security_context(const cJSON *c, const struct field_path *parent, struct field_errors *e)
{
    static const char *const ids[] = {"runAsUser", "runAsGroup"};
    const cJSON *context = json_get(c, "securityContext");
    const struct field_path p = {parent, "securityContext", NULL, 0};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        int64_t id = json_int(context, ids[i], 0);
        if (id < 0 || id > INT32_MAX)
            field_invalid_int(e, PATH_CHILD(&p, ids[i]), id, "must be between 0 and 2147483647, inclusive");
    }
    if (json_bool(context, "privileged", false) && !json_bool(context, "allowPrivilegeEscalation", true))
        field_invalid(e, &p, context,
                      "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
}

static void check_lifecycle(const cJSON *c, const struct field_path *parent, struct field_errors *e)
{
    static const char *const hooks[] = {"postStart", "preStop"};
    const struct field_path p = {parent, "lifecycle", NULL, 0};
    const cJSON *lifecycle = json_get(c, "lifecycle");
    for (size_t i = 0; i < ARRAY_LEN(hooks); i++)
        if (json_get(lifecycle, hooks[i]))
            check_probe_handler(json_get(lifecycle, hooks[i]), PATH_CHILD(&p, hooks[i]), e);
}

/* What all kinds of containers have. */
static void check_basics(const cJSON *c, bool host_network, const struct key_index *volumes,
                         const struct field_path *p, struct field_errors *e)
{
    const char *image = text_of(c, "image"), *pull = text_of(c, "imagePullPolicy"),
               *message = text_of(c, "terminationMessagePolicy");
    size_t n = strlen(image);
    if (!n)
        field_required(e, PATH_CHILD(p, "image"), "");
    else if (strchr(" \t\n\r", image[0]) || strchr(" \t\n\r", image[n - 1]))
        field_invalid_str(e, PATH_CHILD(p, "image"), image, "must not have leading or trailing whitespace");
    check_ports(json_get(c, "ports"), host_network, PATH_CHILD(p, "ports"), e);
    check_env(c, p, e);
    check_mounts(c, volumes, p, e);
    if (!*pull)
        field_required(e, PATH_CHILD(p, "imagePullPolicy"), "");
    else if (!one_of(pull, "Always,IfNotPresent,Never"))
        field_not_supported(e, PATH_CHILD(p, "imagePullPolicy"), pull, "Always,IfNotPresent,Never");
    if (*message && !one_of(message, "FallbackToLogsOnError,File"))
        field_not_supported(e, PATH_CHILD(p, "terminationMessagePolicy"), message,
                            "FallbackToLogsOnError,File");
    check_resources(c, p, e);
    check_security_context(c, p, e);
}

void check_container_alone(const cJSON *c, const cJSON *spec, const struct field_path *p,
                           struct field_errors *e)
{
    cleanup_key_index struct key_index volumes = {0};
    EACH (v, json_get(spec, "volumes")) {
        key_index_set(&volumes, text_of(v, "name"), 1);
    }
    check_name(text_of(c, "name"), name_dns_label, PATH_CHILD(p, "name"), e);
    check_basics(c, false, &volumes, p, e);
}

static void check_container(const cJSON *c, bool init, bool host_network, const struct key_index *volumes,
                            const struct field_path *p, struct field_errors *e)
{
    const char *restart = text_of(c, "restartPolicy");
    check_basics(c, host_network, volumes, p, e);
    if (*restart && init && strcmp(restart, "Always") != 0)
        field_not_supported(e, PATH_CHILD(p, "restartPolicy"), restart, "Always");
    if (init && strcmp(restart, "Always") != 0) {
        static const char *const not_for_init[] = {"lifecycle", "livenessProbe", "readinessProbe",
                                                   "startupProbe"};
        for (size_t i = 0; i < ARRAY_LEN(not_for_init); i++)
            if (json_get(c, not_for_init[i]))
                field_forbidden(e, PATH_CHILD(p, not_for_init[i]),
                                "may not be set for init containers without restartPolicy=Always");
        return;
    }
    check_lifecycle(c, p, e);
    check_probe(c, "livenessProbe", true, p, e);
    check_probe(c, "readinessProbe", false, p, e);
    check_probe(c, "startupProbe", true, p, e);
}

/* A host port may be used once in a pod. */
static void check_host_ports(const cJSON *containers, struct key_index *used, const struct field_path *p,
                             struct field_errors *e)
{
    int i = 0;
    EACH (c, containers) {
        const struct field_path at = {p, NULL, NULL, i++}, ports = {&at, "ports", NULL, 0};
        int k = 0;
        EACH (port, json_get(c, "ports")) {
            const struct field_path port_path = {&ports, NULL, NULL, k++};
            int64_t host = json_int(port, "hostPort", 0);
            if (!host)
                continue;
            cleanup_free char *key =
                mem_printf("%s/%s/%lld", text_of(port, "protocol"), text_of(port, "hostIP"), (long long)host);
            if (key_index_get(used, key, 0))
                field_duplicate_str(e, PATH_CHILD(&port_path, "hostPort"), key);
            key_index_set(used, key, 1);
        }
    }
}

void check_containers(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    static const char *const lists[] = {"containers", "initContainers"};
    cleanup_key_index struct key_index volumes = {0}, names = {0}, host_ports = {0};
    bool host_network = json_bool(spec, "hostNetwork", false);
    EACH (v, json_get(spec, "volumes")) {
        key_index_set(&volumes, text_of(v, "name"), 1);
    }
    const cJSON *containers = json_get(spec, "containers");
    if (!containers || !containers->child)
        field_required(e, PATH_CHILD(p, "containers"), "");
    for (int l = 0; l < 2; l++) {
        const struct field_path list = {p, lists[l], NULL, 0};
        int i = 0;
        EACH (c, json_get(spec, lists[l])) {
            const struct field_path at = {&list, NULL, NULL, i++};
            const char *name = text_of(c, "name");
            check_name(name, name_dns_label, PATH_CHILD(&at, "name"), e);
            if (*name && key_index_get(&names, name, 0))
                field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
            key_index_set(&names, name, 1);
            check_container(c, l == 1, host_network, &volumes, &at, e);
        }
        if (l == 0)
            check_host_ports(json_get(spec, lists[l]), &host_ports, &list, e);
    }
}
