#include "kubelet/metrics.h"
#include "common/component.h"
#include "common/mem.h"
#include <string.h>

/* Made once before threads start, never freed. */
static struct metric *operations, *operation_errors, *operation_seconds, *running_pods, *running_containers,
    *started_pods, *started_containers, *pod_start, *pod_sync;

void kubelet_metrics_init(const char *node_name)
{
    static const double fine[] = {.005, .0125, .03125, .078125, .1953125, .48828125, 1.220703125, 3.0517578125,
                                  7.62939453125, 19.073486328125, 47.6837158203125, 0};
    static const double coarse[] = {0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900,
                                    1200, 1800, 2700, 3600, 0};
    metric_set(metric_new(METRIC_GAUGE, "kubelet_node_name", "The node's name. The count is always 1.", "node", NULL),
               node_name, 1);
    operations = metric_new(METRIC_COUNTER, "kubelet_runtime_operations_total",
                            "Cumulative number of runtime operations by operation type.", "operation_type", NULL);
    operation_errors = metric_new(METRIC_COUNTER, "kubelet_runtime_operations_errors_total",
                                  "Cumulative number of runtime operation errors by operation type.", "operation_type", NULL);
    operation_seconds =
        metric_new(METRIC_HISTOGRAM, "kubelet_runtime_operations_duration_seconds",
                   "Duration in seconds of runtime operations. Broken down by operation type.", "operation_type", fine);
    running_pods = metric_new(METRIC_GAUGE, "kubelet_running_pods", "Number of pods that have a running pod sandbox", "", NULL);
    running_containers = metric_new(METRIC_GAUGE, "kubelet_running_containers", "Number of containers currently running",
                                    "container_state", NULL);
    started_pods = metric_new(METRIC_COUNTER, "kubelet_started_pods_total", "Cumulative number of pods started", "", NULL);
    started_containers = metric_new(METRIC_COUNTER, "kubelet_started_containers_total",
                                    "Cumulative number of containers started", "", NULL);
    pod_start = metric_new(METRIC_HISTOGRAM, "kubelet_pod_start_duration_seconds",
                           "Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
                           "", coarse);
    pod_sync = metric_new(METRIC_HISTOGRAM, "kubelet_pod_worker_duration_seconds",
                          "Duration in seconds to sync a single pod. Broken down by operation type.", "operation_type", fine);
}

/* Kubernetes' names of runtime operations. */
static const char *operation_of(const char *method)
{
    static const char *const names[][2] = {
        {"Version", "version"},
        {"Status", "status"},
        {"RunPodSandbox", "run_podsandbox"},
        {"StopPodSandbox", "stop_podsandbox"},
        {"RemovePodSandbox", "remove_podsandbox"},
        {"PodSandboxStatus", "podsandbox_status"},
        {"ListPodSandbox", "list_podsandbox"},
        {"CreateContainer", "create_container"},
        {"StartContainer", "start_container"},
        {"StopContainer", "stop_container"},
        {"RemoveContainer", "remove_container"},
        {"ListContainers", "list_containers"},
        {"ContainerStatus", "container_status"},
        {"ExecSync", "exec_sync"},
        {"ListImages", "list_images"},
        {"ImageStatus", "image_status"},
        {"PullImage", "pull_image"},
        {"RemoveImage", "remove_image"},
        {"ImageFsInfo", "image_fs_info"},
    };
    const char *slash = strchr(method, '/');
    for (size_t i = 0; slash && i < ARRAY_LEN(names); i++)
        if (strcmp(slash + 1, names[i][0]) == 0)
            return names[i][1];
    return "other";
}

void kubelet_metrics_runtime(const char *method, bool ok, double seconds)
{
    if (!operations)
        return;
    const char *operation = operation_of(method);
    metric_add(operations, operation, 1);
    metric_observe(operation_seconds, operation, seconds);
    if (!ok)
        metric_add(operation_errors, operation, 1);
}

void kubelet_metrics_running(size_t pods, size_t running, size_t created, size_t exited)
{
    if (!running_pods)
        return;
    metric_set(running_pods, "", (double)pods);
    metric_set(running_containers, "running", (double)running);
    metric_set(running_containers, "created", (double)created);
    metric_set(running_containers, "exited", (double)exited);
}

void kubelet_metrics_started_pod(void)
{
    if (started_pods)
        metric_add(started_pods, "", 1);
}

void kubelet_metrics_started_container(void)
{
    if (started_containers)
        metric_add(started_containers, "", 1);
}

void kubelet_metrics_pod_start(double seconds)
{
    if (pod_start)
        metric_observe(pod_start, "", seconds);
}

void kubelet_metrics_pod_sync(const char *operation, double seconds)
{
    if (pod_sync)
        metric_observe(pod_sync, operation, seconds);
}
