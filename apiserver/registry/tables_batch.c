/* Rows of what makes pods (beside Deployments and ReplicaSets), scales it or guards it. */
#include <ctype.h>
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/timefmt.h"

static const cJSON *template_spec(const cJSON *o)
{
    return json_path(o, "spec.template.spec");
}

void row_replicationcontroller(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_int(cells, json_int(o, "spec.replicas", 0));
    cell_int(cells, json_int(o, "status.replicas", 0));
    cell_int(cells, json_int(o, "status.readyReplicas", 0));
    cell_created(cells, o);
    cell_containers(cells, template_spec(o));
    cell_map(cells, json_path(o, "spec.selector"));
}

void row_podtemplate(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_containers(cells, json_path(o, "template.spec"));
    cell_map(cells, json_path(o, "template.metadata.labels"));
}

void row_daemonset(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_int(cells, json_int(o, "status.desiredNumberScheduled", 0));
    cell_int(cells, json_int(o, "status.currentNumberScheduled", 0));
    cell_int(cells, json_int(o, "status.numberReady", 0));
    cell_int(cells, json_int(o, "status.updatedNumberScheduled", 0));
    cell_int(cells, json_int(o, "status.numberAvailable", 0));
    cell_map(cells, json_get(template_spec(o), "nodeSelector"));
    cell_created(cells, o);
    cell_containers(cells, template_spec(o));
    cell_selector(cells, json_path(o, "spec.selector"));
}

void row_statefulset(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "%lld/%lld", (long long)json_int(o, "status.readyReplicas", 0),
               (long long)json_int(o, "spec.replicas", 0));
    cell_name(cells, o);
    cell_str(cells, buf_str(&b));
    cell_created(cells, o);
    cell_containers(cells, template_spec(o));
}

void row_controllerrevision(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf owner = {0};
    const cJSON *r;
    cJSON_ArrayForEach(r, json_path(o, "metadata.ownerReferences"))
    {
        if (!json_bool(r, "controller", false))
            continue;
        const char *version = json_str_or(r, "apiVersion", ""), *slash = strchr(version, '/');
        for (const char *c = json_str_or(r, "kind", ""); *c; c++)
            buf_addc(&owner, (char)tolower((unsigned char)*c));
        if (slash)
            buf_printf(&owner, ".%.*s", (int)(slash - version), version);
        buf_printf(&owner, "/%s", json_str_or(r, "name", ""));
        break;
    }
    cell_name(cells, o);
    cell_str(cells, owner.len ? buf_str(&owner) : "<none>");
    cell_int(cells, json_int(o, "revision", 0));
    cell_created(cells, o);
}

static bool has_condition(const cJSON *o, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(o, "status.conditions"))
    {
        if (!strcmp(json_str_or(c, "type", ""), type) &&
            !strcmp(json_str_or(c, "status", ""), "True"))
            return true;
    }
    return false;
}

static const char *job_status(const cJSON *o)
{
    if (has_condition(o, "Complete"))
        return "Complete";
    if (has_condition(o, "Failed"))
        return "Failed";
    if (json_path(o, "metadata.deletionTimestamp"))
        return "Terminating";
    static const char *const others[] = {"Suspended", "FailureTarget", "SuccessCriteriaMet"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (has_condition(o, others[i]))
            return others[i];
    return "Running";
}

static void cell_duration(cJSON *cells, const char *start, const char *end)
{
    int64_t from, to = tables_now() * 1000000;
    char text[TIME_TEXT_MAX];
    if (!start || !time_parse(start, &from) || (end && !time_parse(end, &to)))
        cell_str(cells, "");
    else
        cell_str(cells, time_human_duration((to - from) / 1000000, text));
}

void row_job(const cJSON *o, cJSON *cells)
{
    long long succeeded = (long long)json_int(o, "status.succeeded", 0),
              parallelism = (long long)json_int(o, "spec.parallelism", 0);
    cleanup_buf struct buf done = {0};
    if (json_path(o, "spec.completions"))
        buf_printf(&done, "%lld/%lld", succeeded, (long long)json_int(o, "spec.completions", 0));
    else if (parallelism > 1)
        buf_printf(&done, "%lld/1 of %lld", succeeded, parallelism);
    else
        buf_printf(&done, "%lld/1", succeeded);
    cell_name(cells, o);
    cell_str(cells, job_status(o));
    cell_str(cells, buf_str(&done));
    cell_duration(cells, json_str(o, "status.startTime"), json_str(o, "status.completionTime"));
    cell_created(cells, o);
    cell_containers(cells, template_spec(o));
    cell_selector(cells, json_path(o, "spec.selector"));
}

void row_cronjob(const cJSON *o, cJSON *cells)
{
    const char *last = json_str(o, "status.lastScheduleTime");
    cell_name(cells, o);
    cell_path(cells, o, "spec.schedule", "");
    cell_path(cells, o, "spec.timeZone", "<none>");
    cell_str(cells, !json_path(o, "spec.suspend")           ? "<unset>"
                    : json_bool(o, "spec.suspend", false) ? "True"
                                                            : "False");
    cell_int(cells, cJSON_GetArraySize(json_path(o, "status.active")));
    if (last)
        cell_age(cells, last);
    else
        cell_str(cells, "<none>");
    cell_created(cells, o);
    cell_containers(cells, json_path(o, "spec.jobTemplate.spec.template.spec"));
    cell_selector(cells, json_path(o, "spec.jobTemplate.spec.selector"));
}

/* --- autoscalers --- */

/* The value of a metric's target: "80%", "100m (avg)". */
static void add_target(struct buf *b, const cJSON *target)
{
    const char *type = json_str_or(target, "type", "");
    if (!strcmp(type, "Utilization"))
        buf_printf(b, "%lld%%", (long long)json_int(target, "averageUtilization", 0));
    else if (!strcmp(type, "AverageValue"))
        buf_printf(b, "%s", json_str_or(target, "averageValue", "<auto>"));
    else
        buf_printf(b, "%s", json_str_or(target, "value", "<auto>"));
}

static void add_current(struct buf *b, const cJSON *current, const cJSON *target)
{
    const char *type = json_str_or(target, "type", "");
    if (!strcmp(type, "Utilization") && json_path(current, "averageUtilization"))
        buf_printf(b, "%lld%%", (long long)json_int(current, "averageUtilization", 0));
    else if (!strcmp(type, "AverageValue"))
        buf_adds(b, json_str_or(current, "averageValue", "<unknown>"));
    else
        buf_adds(b, json_str_or(current, "value", "<unknown>"));
}

/* The member of a metric that carries its details. */
static const cJSON *metric_source(const cJSON *metric)
{
    static const char *const members[] = {"resource", "containerResource", "pods", "object",
                                          "external"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const cJSON *s = json_get(metric, members[i]);
        if (s)
            return s;
    }
    return NULL;
}

void row_horizontalpodautoscaler(const cJSON *o, cJSON *cells)
{
    enum { SHOWN = 2 };
    cleanup_buf struct buf reference = {0}, targets = {0};
    buf_printf(&reference, "%s/%s", json_str_or(o, "spec.scaleTargetRef.kind", ""),
               json_str_or(o, "spec.scaleTargetRef.name", ""));
    const cJSON *metrics = json_path(o, "spec.metrics"), *m;
    int i = 0, count = cJSON_GetArraySize(metrics);
    cJSON_ArrayForEach(m, metrics)
    {
        if (i == SHOWN) {
            buf_printf(&targets, " + %d more...", count - SHOWN);
            break;
        }
        const cJSON *source = metric_source(m), *target = json_get(source, "target");
        const cJSON *now = metric_source(
            cJSON_GetArrayItem(json_path(o, "status.currentMetrics"), i));
        if (i++)
            buf_adds(&targets, ", ");
        const char *name = json_str(source, "name");
        if (name)
            buf_printf(&targets, "%s: ", name);
        add_current(&targets, json_get(now, "current"), target);
        buf_addc(&targets, '/');
        add_target(&targets, target);
        if (!strcmp(json_str_or(target, "type", ""), "AverageValue") && !name)
            buf_adds(&targets, " (avg)");
    }
    cell_name(cells, o);
    cell_str(cells, buf_str(&reference));
    cell_str(cells, count ? buf_str(&targets) : "<none>");
    cell_path(cells, o, "spec.minReplicas", "<unset>");
    cell_path(cells, o, "spec.maxReplicas", "0");
    cell_int(cells, json_int(o, "status.currentReplicas", 0));
    cell_created(cells, o);
}

void row_horizontalpodautoscaler_v1(const cJSON *o, cJSON *cells)
{
    cleanup_buf struct buf reference = {0}, targets = {0};
    buf_printf(&reference, "%s/%s", json_str_or(o, "spec.scaleTargetRef.kind", ""),
               json_str_or(o, "spec.scaleTargetRef.name", ""));
    const cJSON *wanted = json_path(o, "spec.targetCPUUtilizationPercentage"),
                *now = json_path(o, "status.currentCPUUtilizationPercentage");
    if (now)
        buf_printf(&targets, "cpu: %d%%/", now->valueint);
    else
        buf_adds(&targets, "cpu: <unknown>/");
    if (wanted)
        buf_printf(&targets, "%d%%", wanted->valueint);
    cell_name(cells, o);
    cell_str(cells, buf_str(&reference));
    cell_str(cells, wanted ? buf_str(&targets) : "<none>");
    cell_path(cells, o, "spec.minReplicas", "<unset>");
    cell_path(cells, o, "spec.maxReplicas", "0");
    cell_int(cells, json_int(o, "status.currentReplicas", 0));
    cell_created(cells, o);
}

void row_poddisruptionbudget(const cJSON *o, cJSON *cells)
{
    cell_name(cells, o);
    cell_path(cells, o, "spec.minAvailable", "N/A");
    cell_path(cells, o, "spec.maxUnavailable", "N/A");
    cell_int(cells, json_int(o, "status.disruptionsAllowed", 0));
    cell_created(cells, o);
}
