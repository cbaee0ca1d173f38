#include "scheduler/metrics.h"
#include <stdio.h>
#include "common/component.h"
#include "common/timefmt.h"

#define PROFILE "default-scheduler"

/* Made once at start, then only read. */
static struct metric *attempts, *attempt_duration, *algorithm_duration, *pending, *pod_attempts,
    *pod_duration, *binding;

void metrics_init(void)
{
    static const double seconds[] = {.001, .002, .004,  .008,  .016,  .032,  .064,   .128,
                                     .256, .512, 1.024, 2.048, 4.096, 8.192, 16.384, 0};
    static const double counts[] = {1, 2, 4, 8, 16, 0};
    attempts = metric_new(METRIC_COUNTER, "scheduler_schedule_attempts_total",
                          "Number of attempts to schedule pods, by the result.", "result,profile", NULL);
    attempt_duration = metric_new(METRIC_HISTOGRAM, "scheduler_scheduling_attempt_duration_seconds",
                                  "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                                  "result,profile", seconds);
    algorithm_duration = metric_new(METRIC_HISTOGRAM, "scheduler_scheduling_algorithm_duration_seconds",
                                    "Scheduling algorithm latency in seconds", "", seconds);
    pending = metric_new(METRIC_GAUGE, "scheduler_pending_pods", "Number of pending pods, by the queue type.",
                         "queue", NULL);
    pod_attempts = metric_new(METRIC_HISTOGRAM, "scheduler_pod_scheduling_attempts",
                              "Number of attempts to successfully schedule a pod.", "", counts);
    pod_duration = metric_new(
        METRIC_HISTOGRAM, "scheduler_pod_scheduling_sli_duration_seconds",
        "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue.",
        "attempts", seconds);
    binding = metric_new(METRIC_HISTOGRAM, "scheduler_binding_duration_seconds", "Binding latency in seconds",
                         "", seconds);
}

static double since(int64_t micros)
{
    return (double)(time_now_micros() - micros) / 1e6;
}

void metrics_attempt(const char *result, int64_t started_micros)
{
    char labels[64];
    snprintf(labels, sizeof(labels), "%s\x1f" PROFILE, result);
    metric_add(attempts, labels, 1);
    metric_observe(attempt_duration, labels, since(started_micros));
}

void metrics_algorithm(int64_t started_micros)
{
    metric_observe(algorithm_duration, "", since(started_micros));
}

void metrics_bound(int64_t started_micros, const struct queued_pod *qp)
{
    metrics_attempt("scheduled", started_micros);
    metric_observe(binding, "", since(started_micros));
    metric_observe(pod_attempts, "", qp->attempts);
    char tried[16];
    snprintf(tried, sizeof(tried), "%d", qp->attempts);
    metric_observe(pod_duration, qp->attempts >= 16 ? "16+" : tried,
                   (double)(time_monotonic_ms() - qp->first_ms) / 1e3);
}

void metrics_pending(struct queue_counts c)
{
    metric_set(pending, "active", c.active);
    metric_set(pending, "backoff", c.backoff);
    metric_set(pending, "unschedulable", c.unschedulable);
    metric_set(pending, "gated", c.gated);
}
