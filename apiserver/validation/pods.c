/* Pods: what may change when, and bindings. */
#include <string.h>
#include "apiserver/patch/key_index.h"
#include "apiserver/validation/common.h"
#include "common/json.h"
#include "common/mem.h"

static bool same(const cJSON *a, const cJSON *b)
{
    return a == b || json_equal(a, b);
}

static char *toleration_key(const cJSON *t)
{
    return mem_printf("%s\x1f%s\x1f%s\x1f%s", text_of(t, "key"), text_of(t, "operator"), text_of(t, "value"),
                      text_of(t, "effect"));
}

/* Tolerations may be added; of those that are there only tolerationSeconds may change. */
static void check_added_tolerations(const cJSON *now, const cJSON *old, const struct field_path *p,
                                    struct field_errors *e)
{
    cleanup_key_index struct key_index present = {0};
    EACH (n, now) {
        cleanup_free char *key = toleration_key(n);
        key_index_set(&present, key, 1);
    }
    EACH (o, old) {
        cleanup_free char *key = toleration_key(o);
        if (!key_index_get(&present, key, 0)) {
            field_forbidden(e, p, "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
}

static void check_gates(const cJSON *now, const cJSON *old, const struct field_path *p,
                        struct field_errors *e)
{
    cleanup_key_index struct key_index before = {0};
    EACH (o, old) {
        key_index_set(&before, text_of(o, "name"), 1);
    }
    EACH (n, now) {
        if (!key_index_get(&before, text_of(n, "name"), 0))
            field_forbidden(e, p, "only deletion is allowed, but found new scheduling gate '%s'",
                            text_of(n, "name"));
    }
}

/* Makes the fields of `to` that may change equal to those of `from`. */
static void take_images(cJSON *to, const cJSON *from)
{
    const cJSON *f = from ? from->child : NULL;
    for (cJSON *t = to ? to->child : NULL; t && f; t = t->next, f = f->next)
        json_set(t, "image", json_get(f, "image") ? json_dup(json_get(f, "image")) : cJSON_CreateString(""));
}

static void take(cJSON *to, const cJSON *from, const char *name)
{
    const cJSON *v = json_get(from, name);
    if (v)
        json_map_set(to, name, json_dup(v));
    else
        json_remove(to, name);
}

static void check_deadline(const cJSON *now, const cJSON *old, const struct field_path *p,
                           struct field_errors *e)
{
    const cJSON *n = json_get(now, "activeDeadlineSeconds"), *o = json_get(old, "activeDeadlineSeconds");
    const struct field_path at = {p, "activeDeadlineSeconds", NULL, 0};
    if (n && (n->valuedouble < 0 || n->valuedouble > INT32_MAX))
        field_invalid_int(e, &at, (int64_t)n->valuedouble, "must be between 0 and 2147483647, inclusive");
    else if (n && o && o->valuedouble < n->valuedouble)
        field_invalid_int(e, &at, (int64_t)n->valuedouble, "must be less than or equal to previous value");
    else if (o && !n)
        field_invalid(e, &at, NULL, "must not update from a positive integer to nil value");
}

static void check_pod_update(const cJSON *spec, const cJSON *old, struct field_errors *e)
{
    const struct field_path *p = PATH_ROOT("spec");
    static const char *const lists[] = {"containers", "initContainers"};
    for (int i = 0; i < 2; i++) {
        if (cJSON_GetArraySize(json_get(spec, lists[i])) != cJSON_GetArraySize(json_get(old, lists[i]))) {
            field_forbidden(e, PATH_CHILD(p, lists[i]), "pod updates may not add or remove containers");
            return;
        }
    }
    check_deadline(spec, old, p, e);
    const cJSON *tolerations = json_get(spec, "tolerations"), *old_tolerations = json_get(old, "tolerations");
    if (!same(tolerations, old_tolerations))
        check_added_tolerations(tolerations, old_tolerations, PATH_CHILD(p, "tolerations"), e);
    check_gates(json_get(spec, "schedulingGates"), json_get(old, "schedulingGates"),
                PATH_CHILD(p, "schedulingGates"), e);
    cleanup_json cJSON *munged = json_dup(spec);
    for (int i = 0; i < 2; i++)
        take_images(json_get(munged, lists[i]), json_get(old, lists[i]));
    take(munged, old, "activeDeadlineSeconds");
    take(munged, old, "tolerations");
    take(munged, old, "schedulingGates");
    take(munged, old, "ephemeralContainers");
    const cJSON *grace = json_get(old, "terminationGracePeriodSeconds");
    if (cJSON_IsNumber(grace) && grace->valuedouble < 0 &&
        json_int(spec, "terminationGracePeriodSeconds", 0) == 1)
        take(munged, old, "terminationGracePeriodSeconds");
    const cJSON *gates = json_get(old, "schedulingGates");
    if (gates && gates->child) { /* a gated pod may still be steered */
        take(munged, old, "nodeSelector");
        take(munged, old, "affinity");
    }
    if (!json_equal(munged, old))
        field_forbidden(
            e, p,
            "pod updates may not change fields other than "
            "`spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)");
}

void validate_pod(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    validate_object_meta(object, old, true, NAME_DNS_SUBDOMAIN, e);
    if (!strcmp(sub, "ephemeralcontainers"))
        validate_pod_ephemeral(object, old, e);
    else if (!strcmp(sub, "resize"))
        validate_pod_resize(object, old, e);
    if (*sub)
        return; /* the status is the kubelet's word */
    const cJSON *spec = json_get(object, "spec");
    if (old && same(spec, json_get(old, "spec")))
        return;
    check_pod_spec(spec, json_get(object, "metadata"), PATH_ROOT("spec"), e);
    if (old)
        check_pod_update(spec, json_get(old, "spec"), e);
    else if (cJSON_GetArraySize(json_get(spec, "ephemeralContainers")))
        field_forbidden(e, PATH_CHILD(PATH_ROOT("spec"), "ephemeralContainers"), "cannot be set on create");
}

void validate_binding(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *e)
{
    (void)old, (void)sub;
    const cJSON *target = json_get(object, "target");
    const struct field_path *p = PATH_ROOT("target");
    const char *kind = text_of(target, "kind");
    if (*kind && strcmp(kind, "Node") != 0)
        field_not_supported(e, PATH_CHILD(p, "kind"), kind, "Node,<empty>");
    if (!*text_of(target, "name"))
        field_required(e, PATH_CHILD(p, "name"), "");
}
