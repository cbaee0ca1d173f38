/* Strategies of what makes pods and of what scales it. */
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"

/* An empty status with the numbers that are always written. */
static cJSON *new_status(const cJSON *object)
{
    cJSON *status = cJSON_CreateObject();
    const struct schema_type *t = schema_find_api_version(json_str_or(object, "apiVersion", ""),
                                                          json_str_or(object, "kind", ""));
    const struct schema_field *f = schema_field(t, "status");
    for (uint16_t i = 0; f && f->type && i < f->type->field_count; i++) {
        const struct schema_field *n = &f->type->fields[i];
        if ((n->value == SCHEMA_INT32 || n->value == SCHEMA_INT64) && n->shape == SCHEMA_ONE &&
            (n->flags & SCHEMA_REQUIRED))
            json_set_int(status, n->name, 0);
    }
    return status;
}

/* Their controllers alone fill the status in. */
bool workload_prepare(cJSON *object, const cJSON *old, const char *sub, struct error **err)
{
    (void)sub;
    (void)err;
    if (!old)
        json_map_set(object, "status", new_status(object));
    return true;
}

/* Old clients tell a new template by this annotation. */
bool daemonset_prepare(cJSON *object, const cJSON *old, const char *sub, struct error **err)
{
    static const char generation[] = "deprecated.daemonset.template.generation";
    if (!*sub) {
        const char *before = json_map_str(json_path(old, "metadata.annotations"), generation);
        long n = before ? strtol(before, NULL, 10) : 0;
        n += !old || !json_equal(json_path(object, "spec.template"), json_path(old, "spec.template"));
        cleanup_free char *text = mem_printf("%ld", n);
        json_map_set_str(json_ensure_object(object, "metadata.annotations"), generation, text);
    }
    return workload_prepare(object, old, sub, err);
}

const char *job_field_value(const cJSON *job, const char *path)
{
    if (strcmp(path, "status.successful") != 0)
        return NULL;
    static const char *const known[] = {"0", "1"};
    int64_t n = json_int(job, "status.succeeded", 0);
    return n >= 0 && n < 2 ? known[n] : NULL;
}

/* A job finds its pods by its uid, unless somebody chose a selector. */
bool job_prepare(cJSON *job, const cJSON *old, const char *sub, struct error **err)
{
    if (!old && !json_bool(job, "spec.manualSelector", false)) {
        const char *uid = json_str_or(job, "metadata.uid", ""),
                   *name = json_str_or(job, "metadata.name", "");
        cJSON *labels = json_ensure_object(job, "spec.template.metadata.labels");
        json_map_set_str(labels, "controller-uid", uid);
        json_map_set_str(labels, "job-name", name);
        json_map_set_str(labels, "batch.kubernetes.io/controller-uid", uid);
        json_map_set_str(labels, "batch.kubernetes.io/job-name", name);
        if (!json_path(job, "spec.selector"))
            json_map_set_str(json_ensure_object(job, "spec.selector.matchLabels"),
                             "batch.kubernetes.io/controller-uid", uid);
    }
    return workload_prepare(job, old, sub, err);
}

/* --- autoscaling/v1, a view of autoscaling/v2 --- */

/* What v1 has no field for travels in annotations. */
static const struct {
    const char *annotation, *path;
} carried[] = {{"autoscaling.alpha.kubernetes.io/metrics", "spec.metrics"},
               {"autoscaling.alpha.kubernetes.io/behavior", "spec.behavior"},
               {"autoscaling.alpha.kubernetes.io/current-metrics", "status.currentMetrics"},
               {"autoscaling.alpha.kubernetes.io/conditions", "status.conditions"}};

static bool is_cpu(const cJSON *metric)
{
    return !strcmp(json_str_or(metric, "type", ""), "Resource") &&
           !strcmp(json_str_or(metric, "resource.name", ""), "cpu");
}

/* Takes the first metric of the CPU's utilization out of a list; -1: there is none. */
static int64_t take_cpu(cJSON *metrics, const char *value_path)
{
    for (cJSON *m = metrics ? metrics->child : NULL; m; m = m->next) {
        const cJSON *v = is_cpu(m) ? json_path(m, value_path) : NULL;
        if (!v)
            continue;
        int64_t n = (int64_t)v->valuedouble;
        cJSON_Delete(cJSON_DetachItemViaPointer(metrics, m));
        return n;
    }
    return -1;
}

static void to_annotation(cJSON *o, size_t i)
{
    const cJSON *v = json_path(o, carried[i].path);
    if (v && v->child) {
        cleanup_free char *text = json_text(v);
        json_map_set_str(json_ensure_object(o, "metadata.annotations"), carried[i].annotation, text);
    }
    json_remove(o, carried[i].path);
}

cJSON *autoscaler_v1_from_v2(const struct resource *r, const cJSON *stored)
{
    (void)r;
    cJSON *o = json_dup(stored);
    json_map_set_str(o, "apiVersion", "autoscaling/v1");
    int64_t wanted =
        take_cpu(json_path(o, "spec.metrics"), "resource.target.averageUtilization");
    int64_t now =
        take_cpu(json_path(o, "status.currentMetrics"), "resource.current.averageUtilization");
    for (size_t i = 0; i < ARRAY_LEN(carried); i++)
        to_annotation(o, i);
    if (wanted >= 0)
        json_set_int(o, "spec.targetCPUUtilizationPercentage", wanted);
    if (now >= 0)
        json_set_int(o, "status.currentCPUUtilizationPercentage", now);
    return o;
}

static void from_annotation(cJSON *o, size_t i)
{
    cJSON *annotations = json_path(o, "metadata.annotations");
    const char *text = json_map_str(annotations, carried[i].annotation);
    if (!text)
        return;
    cJSON *v = json_parse(text, strlen(text), NULL);
    cJSON_DeleteItemFromObjectCaseSensitive(annotations, carried[i].annotation);
    if (!annotations->child)
        json_remove(o, "metadata.annotations");
    bool behavior = !strcmp(carried[i].path, "spec.behavior");
    if (behavior ? cJSON_IsObject(v) : cJSON_IsArray(v))
        json_set(o, carried[i].path, v);
    else
        cJSON_Delete(v);
}

static void put_cpu(cJSON *o, const char *list, const char *member, int64_t percentage)
{
    cJSON *m = cJSON_CreateObject(), *metrics = json_ensure_array(o, list);
    json_set_str(m, "type", "Resource");
    json_set_str(m, "resource.name", "cpu");
    cJSON *value = json_ensure_object(json_get(m, "resource"), member);
    if (!strcmp(member, "target"))
        json_set_str(value, "type", "Utilization");
    json_set_int(value, "averageUtilization", percentage);
    if (!strcmp(member, "current"))
        json_set_str(value, "averageValue", "0");
    cJSON_InsertItemInArray(metrics, 0, m);
}

cJSON *autoscaler_v2_from_v1(const struct resource *r, const cJSON *object)
{
    (void)r;
    cJSON *o = json_dup(object);
    json_map_set_str(o, "apiVersion", "autoscaling/v2");
    for (size_t i = 0; i < ARRAY_LEN(carried); i++)
        from_annotation(o, i);
    const cJSON *wanted = json_path(o, "spec.targetCPUUtilizationPercentage"),
                *now = json_path(o, "status.currentCPUUtilizationPercentage");
    if (wanted)
        put_cpu(o, "spec.metrics", "target", (int64_t)wanted->valuedouble);
    if (now)
        put_cpu(o, "status.currentMetrics", "current", (int64_t)now->valuedouble);
    json_remove(o, "spec.targetCPUUtilizationPercentage");
    json_remove(o, "status.currentCPUUtilizationPercentage");
    if (!json_path(o, "spec.metrics")) /* v2's default */
        put_cpu(o, "spec.metrics", "target", 80);
    return o;
}
