/* Pods that want a node, in three parts:
 *   active         ready to be tried; highest priority first, then the longest waiting
 *   backoff        failed lately; ready after 1 s, 2 s, 4 s, ... 10 s, or when there is nothing else to do
 *   unschedulable  no node fits; moved on when something happens that could help, or after five minutes
 * Nothing polls: queue_pop() sleeps until the next pod is due. Thread-safe. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "scheduler/pod_info.h"

/* What can happen in the cluster that may help an unschedulable pod. */
enum cluster_event {
    EVENT_NODE_ADD = 1,
    EVENT_NODE_ALLOCATABLE = 2,
    EVENT_NODE_LABEL = 4,
    EVENT_NODE_TAINT = 8, /* taints or spec.unschedulable */
    EVENT_NODE_DELETE = 16,
    EVENT_POD_ADD = 32,   /* a pod got a node */
    EVENT_POD_LABEL = 64, /* labels of a pod on a node */
    EVENT_POD_DELETE = 128,
    EVENT_POD_SCALE_DOWN = 256,
    EVENT_VOLUME = 512, /* a volume, a claim or a storage class */
    EVENT_ALL = 0xffff,
};

struct queue_options {
    int backoff_initial_ms, backoff_max_ms; /* 1,000 and 10,000 */
    int unschedulable_max_ms;               /* 300,000 */
};

struct queued_pod {
    struct pod_info *pod; /* may be replaced only by the queue while the pod is not in flight */
    int attempts;
    int64_t queued_ms; /* since when it waits in its part */
    int64_t first_ms;  /* when it was first tried */
    unsigned wanted;   /* events that may help */
    /* The queue's own. */
    int where;
    size_t heap_at;
    int64_t ready_ms;
    unsigned seen; /* events since it was taken out */
    bool failed_by_error, removed;
    struct pod_info *newer; /* an update that came while in flight */
    struct queued_pod *prev, *next;
};

struct queue;
struct queue *queue_new(const struct queue_options *o);
void queue_free(struct queue *q);
/* Adds a pod, or takes a new version of one that is in the queue. */
void queue_set(struct queue *q, struct pod_info *p);
void queue_remove(struct queue *q, const char *uid);
/* The next pod, which is then in flight; NULL when the queue was closed. Ends with one of queue_done() and
 * queue_retry(). */
struct queued_pod *queue_pop(struct queue *q);
void queue_done(struct queue *q, struct queued_pod *qp);
/* It did not get a node. events: what may help; 0: an error, tried again after its back-off. */
void queue_retry(struct queue *q, struct queued_pod *qp, unsigned events);
/* Something happened. */
void queue_event(struct queue *q, unsigned events);
void queue_close(struct queue *q);

struct queue_counts {
    int active, backoff, unschedulable, gated;
};
struct queue_counts queue_count(struct queue *q);
