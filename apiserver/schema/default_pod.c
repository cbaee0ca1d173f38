/* Defaults of pods and of the pod templates inside other kinds. */
#include <string.h>
#include "apiserver/patch/members.h"
#include "apiserver/schema/default_kinds.h"
#include "apiserver/schema/default_values.h"
#include "apiserver/schema/defaults.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"

/* Always for images without a tag or digest and for ":latest", else IfNotPresent. */
static const char *pull_policy(const char *image)
{
    if (strchr(image, '@'))
        return "IfNotPresent";
    const char *slash = strrchr(image, '/'), *tag = strchr(slash ? slash : image, ':');
    return !tag || !strcmp(tag, ":latest") ? "Always" : "IfNotPresent";
}

static void default_http_get(cJSON *http)
{
    default_string(http, "path", "/");
    default_string(http, "scheme", "HTTP");
}

static void default_probe(cJSON *probe)
{
    static const struct {
        const char *name;
        int value;
    } values[] = {
        {"timeoutSeconds", 1}, {"periodSeconds", 10}, {"successThreshold", 1}, {"failureThreshold", 3}};
    if (!cJSON_IsObject(probe))
        return;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        if (json_int(probe, values[i].name, 0) == 0)
            json_set_int(probe, values[i].name, values[i].value);
    }
    default_http_get(json_get(probe, "httpGet"));
    cJSON *grpc = json_get(probe, "grpc");
    if (cJSON_IsObject(grpc) && !json_get(grpc, "service"))
        json_map_set_str(grpc, "service", "");
}

/* Quantities finer than a thousandth are rounded up. */
static void default_quantities(cJSON *list)
{
    EACH (q, list) {
        struct quantity v;
        const __int128 milli = 1000000;
        if (!cJSON_IsString(q) || !quantity_parse(q->valuestring, &v) || v.nano % milli == 0)
            continue;
        v.nano = (v.nano / milli + (v.nano > 0 ? 1 : 0)) * milli;
        char text[QUANTITY_TEXT_MAX];
        cJSON_SetValuestring(q, quantity_print(v, text)); /* never longer than before */
    }
}

static void default_container(cJSON *c)
{
    if (!cJSON_IsObject(c))
        return;
    default_string(c, "terminationMessagePath", "/dev/termination-log");
    default_string(c, "terminationMessagePolicy", "File");
    default_string(c, "imagePullPolicy", pull_policy(default_text(c, "image")));
    EACH (port, json_get(c, "ports")) {
        default_string(port, "protocol", "TCP");
    }
    EACH (env, json_get(c, "env")) {
        default_string(json_path(env, "valueFrom.fieldRef"), "apiVersion", "v1");
    }
    default_probe(json_get(c, "livenessProbe"));
    default_probe(json_get(c, "readinessProbe"));
    default_probe(json_get(c, "startupProbe"));
    default_http_get(json_path(c, "lifecycle.postStart.httpGet"));
    default_http_get(json_path(c, "lifecycle.preStop.httpGet"));
    default_quantities(json_path(c, "resources.limits"));
    default_quantities(json_path(c, "resources.requests"));
}

static void default_downward_items(cJSON *items)
{
    EACH (item, items) {
        default_string(json_get(item, "fieldRef"), "apiVersion", "v1");
    }
}

static void default_volume(cJSON *v)
{
    static const char *const with_mode[] = {"secret", "configMap", "downwardAPI", "projected"};
    if (!cJSON_IsObject(v))
        return;
    if (cJSON_GetArraySize(v) == (json_get(v, "name") ? 1 : 0))
        default_object(v, "emptyDir");
    for (size_t i = 0; i < ARRAY_LEN(with_mode); i++)
        default_int(json_get(v, with_mode[i]), "defaultMode", 420);
    default_downward_items(json_path(v, "downwardAPI.items"));
    EACH (source, json_path(v, "projected.sources")) {
        default_downward_items(json_path(source, "downwardAPI.items"));
        default_int(json_get(source, "serviceAccountToken"), "expirationSeconds", 3600);
    }
    cJSON *host_path = json_get(v, "hostPath");
    if (cJSON_IsObject(host_path) && !json_get(host_path, "type"))
        json_map_set_str(host_path, "type", "");
    cJSON *iscsi = json_get(v, "iscsi"), *rbd = json_get(v, "rbd"), *azure = json_get(v, "azureDisk"),
          *scale = json_get(v, "scaleIO"), *image = json_get(v, "image");
    default_string(iscsi, "iscsiInterface", "default");
    default_string(rbd, "pool", "rbd");
    default_string(rbd, "user", "admin");
    default_string(rbd, "keyring", "/etc/ceph/keyring");
    default_string(azure, "cachingMode", "ReadWrite");
    default_string(azure, "kind", "Shared");
    default_string(azure, "fsType", "ext4");
    default_bool(azure, "readOnly", false);
    default_string(scale, "storageMode", "ThinProvisioned");
    default_string(scale, "fsType", "xfs");
    if (image)
        default_string(image, "pullPolicy", pull_policy(default_text(image, "reference")));
    cJSON *claim = json_path(v, "ephemeral.volumeClaimTemplate.spec");
    if (claim)
        default_pvc_spec(claim);
}

static const char *const container_lists[] = {"initContainers", "containers", "ephemeralContainers"};

void default_pod_spec(cJSON *spec)
{
    if (!cJSON_IsObject(spec))
        return;
    default_string(spec, "dnsPolicy", "ClusterFirst");
    default_string(spec, "restartPolicy", "Always");
    default_object(spec, "securityContext");
    default_int(spec, "terminationGracePeriodSeconds", 30);
    default_string(spec, "schedulerName", "default-scheduler");
    for (size_t i = 0; i < ARRAY_LEN(container_lists); i++) {
        EACH (c, json_get(spec, container_lists[i])) {
            default_container(c);
        }
    }
    EACH (v, json_get(spec, "volumes")) {
        default_volume(v);
    }
    default_quantities(json_get(spec, "overhead"));
    /* Two names of one thing. */
    const char *account = default_text(spec, "serviceAccountName"),
               *old = default_text(spec, "serviceAccount");
    if (*account && strcmp(account, old) != 0)
        json_map_set_str(spec, "serviceAccount", account);
    else if (!*account && *old)
        json_map_set_str(spec, "serviceAccountName", old);
}

void default_pod_template(cJSON *template)
{
    if (cJSON_IsObject(template))
        default_pod_spec(default_object(template, "spec"));
}

/* What is not limited may not be requested more of: requests default to limits. */
static void requests_from_limits(cJSON *c)
{
    cJSON *resources = json_get(c, "resources"), *limits = json_get(resources, "limits");
    if (!cJSON_IsObject(limits) || !limits->child)
        return;
    cJSON *requests = default_object(resources, "requests");
    if (!requests)
        return;
    cleanup_members struct members m = members_of(requests);
    EACH (limit, limits) {
        if (!members_get(&m, limit->string))
            members_set(&m, limit->string, json_dup(limit));
    }
}

void default_pod(cJSON *object)
{
    cJSON *spec = default_object(object, "spec");
    if (!spec)
        return;
    default_pod_spec(spec);
    default_bool(spec, "enableServiceLinks", true);
    bool host_network = json_bool(spec, "hostNetwork", false);
    for (int i = 0; i < 2; i++) {
        EACH (c, json_get(spec, container_lists[i])) {
            requests_from_limits(c);
            if (!host_network)
                continue;
            EACH (port, json_get(c, "ports")) {
                if (json_int(port, "hostPort", 0) == 0 && json_int(port, "containerPort", 0) != 0)
                    json_set_int(port, "hostPort", json_int(port, "containerPort", 0));
            }
        }
    }
}

void default_pod_template_object(cJSON *o)
{
    default_pod_template(json_get(o, "template"));
}
