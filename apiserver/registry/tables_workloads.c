/* Rows of pods and of what makes pods. */
#include <string.h>
#include "apiserver/registry/tables.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static const cJSON *find_named(const cJSON *list, const char *name)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, list) if (!strcmp(json_str_or(item, "name", ""), name)) return item;
    return NULL;
}

static const char *condition_status(const cJSON *pod, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(
        c, json_path(pod, "status.conditions")) if (!strcmp(json_str_or(c, "type", ""),
                                                            type)) return json_str_or(c, "status",
                                                                                      "");
    return "";
}

/* A sidecar: an init container that keeps running. */
static bool is_sidecar(const cJSON *init_container)
{
    return !strcmp(json_str_or(init_container, "restartPolicy", ""), "Always");
}

struct restarts {
    int64_t count;
    int64_t last; /* microseconds since 1970; 0: none known */
};

static void add_restarts(struct restarts *r, const cJSON *status)
{
    r->count += json_int(status, "restartCount", 0);
    int64_t finished;
    const char *text = json_str(status, "lastState.terminated.finishedAt");
    if (text && time_parse(text, &finished) && finished > r->last)
        r->last = finished;
}

/* "Error", or "Signal:9" or "ExitCode:1" when the runtime gave no reason. */
static void terminated_reason(struct buf *b, const char *prefix, const cJSON *terminated)
{
    const char *reason = json_str_or(terminated, "reason", "");
    buf_clear(b);
    if (*reason)
        buf_printf(b, "%s%s", prefix, reason);
    else if (json_int(terminated, "signal", 0))
        buf_printf(b, "%sSignal:%lld", prefix, (long long)json_int(terminated, "signal", 0));
    else
        buf_printf(b, "%sExitCode:%lld", prefix, (long long)json_int(terminated, "exitCode", 0));
}

static void set(struct buf *b, const char *text)
{
    buf_clear(b);
    buf_adds(b, text);
}

/* Looks at init containers in order until one that is not done; true while the pod initializes. */
static bool init_status(const cJSON *pod, struct buf *reason, int *ready, struct restarts *all,
                        struct restarts *sidecars)
{
    const cJSON *specs = json_path(pod, "spec.initContainers"), *status;
    int i = -1;
    cJSON_ArrayForEach(status, json_path(pod, "status.initContainerStatuses"))
    {
        i++;
        bool sidecar = is_sidecar(find_named(specs, json_str_or(status, "name", "")));
        add_restarts(all, status);
        if (sidecar)
            add_restarts(sidecars, status);
        const cJSON *terminated = json_path(status, "state.terminated");
        const char *waiting = json_str_or(status, "state.waiting.reason", "");
        if (terminated && json_int(terminated, "exitCode", 0) == 0)
            continue;
        if (sidecar && json_bool(status, "started", false)) {
            *ready += json_bool(status, "ready", false);
            continue;
        }
        if (terminated) {
            terminated_reason(reason, "Init:", terminated);
        } else if (*waiting && strcmp(waiting, "PodInitializing") != 0) {
            buf_clear(reason);
            buf_printf(reason, "Init:%s", waiting);
        } else {
            buf_clear(reason);
            buf_printf(reason, "Init:%d/%d", i, cJSON_GetArraySize(specs));
        }
        return true;
    }
    return false;
}

static void container_status(const cJSON *pod, struct buf *reason, int *ready,
                             struct restarts *restarts)
{
    bool running = false;
    const cJSON *statuses = json_path(pod, "status.containerStatuses");
    /* The first container has the last word. */
    for (int i = cJSON_GetArraySize(statuses) - 1; i >= 0; i--) {
        const cJSON *status = cJSON_GetArrayItem(statuses, i);
        add_restarts(restarts, status);
        const cJSON *terminated = json_path(status, "state.terminated");
        const char *waiting = json_str_or(status, "state.waiting.reason", "");
        if (*waiting) {
            set(reason, waiting);
        } else if (terminated) {
            terminated_reason(reason, "", terminated);
        } else if (json_bool(status, "ready", false) && json_path(status, "state.running")) {
            running = true;
            ++*ready;
        }
    }
    if (running && !strcmp(buf_str(reason), "Completed"))
        set(reason, !strcmp(condition_status(pod, "Ready"), "True") ? "Running" : "NotReady");
}

static void readiness_gates(const cJSON *pod, cJSON *cells)
{
    const cJSON *gates = json_path(pod, "spec.readinessGates"), *gate;
    int count = cJSON_GetArraySize(gates), passed = 0;
    cJSON_ArrayForEach(gate, gates) passed +=
        !strcmp(condition_status(pod, json_str_or(gate, "conditionType", "")), "True");
    cleanup_buf struct buf b = {0};
    if (count)
        buf_printf(&b, "%d/%d", passed, count);
    cell_str(cells, count ? buf_str(&b) : "<none>");
}

static const char *or_none(const char *s)
{
    return s && *s ? s : "<none>";
}

void row_pod(const cJSON *pod, cJSON *cells)
{
    const char *phase = json_str_or(pod, "status.phase", ""),
               *status_reason = json_str_or(pod, "status.reason", "");
    cleanup_buf struct buf reason = {0};
    buf_adds(&reason, *status_reason ? status_reason : phase);
    const cJSON *item;
    cJSON_ArrayForEach(
        item, json_path(pod, "status.conditions")) if (!strcmp(json_str_or(item, "type", ""),
                                                               "PodScheduled") &&
                                                       !strcmp(json_str_or(item, "reason", ""),
                                                               "SchedulingGated"))
        set(&reason, "SchedulingGated");

    int total = cJSON_GetArraySize(json_path(pod, "spec.containers")), ready = 0;
    cJSON_ArrayForEach(item, json_path(pod, "spec.initContainers")) total += is_sidecar(item);

    struct restarts restarts = {0}, sidecars = {0};
    bool initializing = init_status(pod, &reason, &ready, &restarts, &sidecars);
    if (!initializing || !strcmp(condition_status(pod, "Initialized"), "True")) {
        restarts = sidecars;
        container_status(pod, &reason, &ready, &restarts);
    }
    if (json_path(pod, "metadata.deletionTimestamp")) {
        if (!strcmp(status_reason, "NodeLost"))
            set(&reason, "Unknown");
        else if (strcmp(phase, "Succeeded") != 0 && strcmp(phase, "Failed") != 0)
            set(&reason, "Terminating");
    }

    cell_name(cells, pod);
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "%d/%d", ready, total);
    cell_str(cells, buf_str(&b));
    cell_str(cells, buf_str(&reason));
    buf_clear(&b);
    buf_printf(&b, "%lld", (long long)restarts.count);
    if (restarts.count && restarts.last) {
        char age[TIME_TEXT_MAX];
        buf_printf(&b, " (%s ago)",
                   time_human_duration(tables_now() - restarts.last / 1000000, age));
    }
    cell_str(cells, buf_str(&b));
    cell_age(cells, json_str(pod, "metadata.creationTimestamp"));
    const cJSON *ips = json_path(pod, "status.podIPs");
    const char *ip = ips && ips->child ? json_str(ips->child, "ip") : json_str(pod, "status.podIP");
    cell_str(cells, or_none(ip));
    cell_str(cells, or_none(json_str(pod, "spec.nodeName")));
    cell_str(cells, or_none(json_str(pod, "status.nominatedNodeName")));
    readiness_gates(pod, cells);
}

void row_deployment(const cJSON *deployment, cJSON *cells)
{
    cell_name(cells, deployment);
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "%lld/%lld", (long long)json_int(deployment, "status.readyReplicas", 0),
               (long long)json_int(deployment, "spec.replicas", 0));
    cell_str(cells, buf_str(&b));
    cell_int(cells, json_int(deployment, "status.updatedReplicas", 0));
    cell_int(cells, json_int(deployment, "status.availableReplicas", 0));
    cell_age(cells, json_str(deployment, "metadata.creationTimestamp"));
    cell_containers(cells, json_path(deployment, "spec.template.spec"));
    cell_selector(cells, json_path(deployment, "spec.selector"));
}

void row_replicaset(const cJSON *replicaset, cJSON *cells)
{
    cell_name(cells, replicaset);
    cell_int(cells, json_int(replicaset, "spec.replicas", 0));
    cell_int(cells, json_int(replicaset, "status.replicas", 0));
    cell_int(cells, json_int(replicaset, "status.readyReplicas", 0));
    cell_age(cells, json_str(replicaset, "metadata.creationTimestamp"));
    cell_containers(cells, json_path(replicaset, "spec.template.spec"));
    cell_selector(cells, json_path(replicaset, "spec.selector"));
}
