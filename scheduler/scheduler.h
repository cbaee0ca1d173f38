/* The scheduler as a whole: watches pods and nodes, and binds pods to nodes while it is told to run. */
#pragma once
#include <stdbool.h>
#include "common/kube_client.h"
#include "scheduler/queue.h"

struct scheduler;
struct scheduler_options {
    struct kube_client *client;
    const char *scheduler_name; /* "default-scheduler" */
    struct queue_options queue;
};
/* Starts watching at once. */
struct scheduler *scheduler_new(const struct scheduler_options *o);
/* Starts assigning pods: only the leader may. */
void scheduler_run(struct scheduler *s);
bool scheduler_synced(const struct scheduler *s);
/* Takes no further pod and finishes the bindings that are under way. */
void scheduler_stop(struct scheduler *s);
void scheduler_free(struct scheduler *s);
