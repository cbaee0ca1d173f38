/* The scheduler's metrics, by the names of kube-scheduler. */
#pragma once
#include <stdint.h>
#include "scheduler/queue.h"

void metrics_init(void); /* once, at start */
/* result: "scheduled", "unschedulable", "error". */
void metrics_attempt(const char *result, int64_t started_micros);
void metrics_algorithm(int64_t started_micros);
void metrics_bound(int64_t started_micros, const struct queued_pod *qp);
void metrics_pending(struct queue_counts c);
