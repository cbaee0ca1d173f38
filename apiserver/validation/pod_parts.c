/* Ephemeral containers, and what the subresources ephemeralcontainers and resize may change. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/pod_qos.h"

#define SPEC PATH_ROOT("spec")

static bool is_mirror(const cJSON *pod)
{
    return json_map_str(json_path(pod, "metadata.annotations"), "kubernetes.io/config.mirror") != NULL;
}

/* --- ephemeral containers --- */

static bool is_set(const cJSON *v)
{
    if (!v || cJSON_IsNull(v))
        return false;
    if (cJSON_IsObject(v) || cJSON_IsArray(v))
        return v->child != NULL;
    return !cJSON_IsString(v) || *v->valuestring;
}

/* What a container needs in order to serve is not for those who come to look. */
static void check_fields(const cJSON *c, const struct field_path *p, struct field_errors *e)
{
    static const char *const refused[] = {"ports",         "resources",      "resizePolicy", "restartPolicy",
                                          "livenessProbe", "readinessProbe", "startupProbe", "lifecycle",
                                          "restartPolicyRules"};
    static const char not_here[] = "cannot be set for an Ephemeral Container";
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (is_set(json_get(c, refused[i])))
            field_forbidden(e, PATH_CHILD(p, refused[i]), not_here);
    int i = 0;
    EACH (m, json_get(c, "volumeMounts")) {
        const struct field_path list = {p, "volumeMounts", NULL, 0}, at = {&list, NULL, NULL, i++};
        if (*text_of(m, "subPath"))
            field_forbidden(e, PATH_CHILD(&at, "subPath"), not_here);
        if (*text_of(m, "subPathExpr"))
            field_forbidden(e, PATH_CHILD(&at, "subPathExpr"), not_here);
    }
}

void check_ephemeral_containers(const cJSON *spec, const struct field_path *p, struct field_errors *e)
{
    static const char *const lists[] = {"containers", "initContainers"};
    cleanup_key_index struct key_index names = {0}, own = {0};
    for (int l = 0; l < 2; l++) {
        EACH (c, json_get(spec, lists[l])) {
            key_index_set(&names, text_of(c, "name"), 1);
        }
    }
    const struct field_path list = {p, "ephemeralContainers", NULL, 0};
    int i = 0;
    EACH (c, json_get(spec, "ephemeralContainers")) {
        const struct field_path at = {&list, NULL, NULL, i++};
        const char *name = text_of(c, "name"), *target = text_of(c, "targetContainerName");
        check_container_alone(c, spec, &at, e);
        if (*name && (key_index_get(&names, name, 0) || key_index_get(&own, name, 0)))
            field_duplicate_str(e, PATH_CHILD(&at, "name"), name);
        key_index_set(&own, name, 1);
        if (*target && !key_index_get(&names, target, 0))
            field_not_found(e, PATH_CHILD(&at, "targetContainerName"), target);
        check_fields(c, &at, e);
    }
}

static const cJSON *find_named(const cJSON *list, const char *name)
{
    EACH (c, list) {
        if (!strcmp(text_of(c, "name"), name))
            return c;
    }
    return NULL;
}

/* They may be added, never changed or taken away. */
void validate_pod_ephemeral(const cJSON *pod, const cJSON *old, struct field_errors *e)
{
    const struct field_path at = {SPEC, "ephemeralContainers", NULL, 0};
    if (is_mirror(old))
        field_forbidden(e, PATH_ROOT(""), "static pods do not support ephemeral containers");
    check_ephemeral_containers(json_get(pod, "spec"), SPEC, e);
    const cJSON *now = json_path(pod, "spec.ephemeralContainers");
    EACH (o, json_path(old, "spec.ephemeralContainers")) {
        const cJSON *n = find_named(now, text_of(o, "name"));
        if (!n)
            field_forbidden(e, &at, "existing ephemeral containers \"%s\" may not be removed\n",
                            text_of(o, "name"));
        else if (!json_equal(n, o))
            field_forbidden(e, &at, "existing ephemeral containers \"%s\" may not be changed\n",
                            text_of(o, "name"));
    }
}

/* --- resize --- */

static bool resizable(const char *resource)
{
    return !strcmp(resource, "cpu") || !strcmp(resource, "memory");
}

static bool only_resizable_differ(const cJSON *now, const cJSON *old)
{
    EACH (n, now) {
        if (!resizable(n->string) && !json_equal(n, json_get(old, n->string)))
            return false;
    }
    EACH (o, old) {
        if (!resizable(o->string) && !json_get(now, o->string))
            return false;
    }
    return true;
}

static bool something_removed(const cJSON *now, const cJSON *old)
{
    EACH (o, old) {
        if (resizable(o->string) && !json_get(now, o->string))
            return true;
    }
    return false;
}

static void check_resized(const cJSON *c, const cJSON *old, bool plain_init, const struct field_path *p,
                          struct field_errors *e)
{
    const cJSON *now = json_get(c, "resources"), *before = json_get(old, "resources");
    const struct field_path at = {p, "resources", NULL, 0};
    if (now == before || json_equal(now, before))
        return;
    if (plain_init) {
        field_forbidden(e, &at, "resources for non-sidecar init containers are immutable");
        return;
    }
    static const char *const lists[] = {"limits", "requests"};
    for (int i = 0; i < 2; i++) {
        const cJSON *n = json_get(now, lists[i]), *o = json_get(before, lists[i]);
        if (something_removed(n, o))
            field_forbidden(e, PATH_CHILD(&at, lists[i]), "resource %s cannot be removed", lists[i]);
        if (!only_resizable_differ(n, o)) {
            field_forbidden(e, SPEC, "only cpu and memory resources are mutable");
            return;
        }
    }
    if (json_get(now, "claims") != json_get(before, "claims") &&
        !json_equal(json_get(now, "claims"), json_get(before, "claims")))
        field_forbidden(e, SPEC, "only cpu and memory resources are mutable");
}

static const char *class_of(const cJSON *pod)
{
    const char *stored = json_str(pod, "status.qosClass");
    return stored ? stored : pod_qos_class(pod);
}

void validate_pod_resize(const cJSON *pod, const cJSON *old, struct field_errors *e)
{
    static const char *const lists[] = {"initContainers", "containers"};
    if (is_mirror(old))
        field_forbidden(e, PATH_ROOT(""), "static pods cannot be resized");
    check_pod_spec(json_get(pod, "spec"), json_get(pod, "metadata"), SPEC, e);
    if (strcmp(class_of(old), pod_qos_class(pod)) != 0)
        field_invalid_str(e, SPEC, class_of(old), "Pod QOS Class may not change as a result of resizing");
    for (int l = 0; l < 2; l++) {
        const struct field_path list = {SPEC, lists[l], NULL, 0};
        const cJSON *before = json_path(old, l ? "spec.containers" : "spec.initContainers");
        int i = 0;
        EACH (c, json_get(json_get(pod, "spec"), lists[l])) {
            const struct field_path at = {&list, NULL, NULL, i++};
            bool plain = !l && strcmp(text_of(c, "restartPolicy"), "Always") != 0;
            check_resized(c, find_named(before, text_of(c, "name")), plain, &at, e);
        }
    }
}
