/* The kubelet's metrics, under Kubernetes' names. Before kubelet_metrics_init() (in tests) they are not kept. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

void kubelet_metrics_init(const char *node_name);
/* One call to the runtime; method as "RuntimeService/RunPodSandbox". */
void kubelet_metrics_runtime(const char *method, bool ok, double seconds);
void kubelet_metrics_running(size_t pods, size_t running, size_t created, size_t exited);
void kubelet_metrics_started_pod(void);
void kubelet_metrics_started_container(void);
void kubelet_metrics_pod_start(double seconds);           /* from first sight to running */
void kubelet_metrics_pod_sync(const char *operation, double seconds); /* "sync", "terminate" */
