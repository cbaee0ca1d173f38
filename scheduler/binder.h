/* What the scheduler tells the API: bindings, conditions, evictions by preemption. A few threads, so that a
 * slow answer does not hold up the next decision; what concerns one pod is done in order. */
#pragma once
#include "common/kube_client.h"
#include "common/recorder.h"
#include "scheduler/cache.h"
#include "scheduler/queue.h"

struct binder;
struct binder *binder_new(struct kube_client *client, struct recorder *recorder, struct cache *cache,
                          struct queue *queue);
/* Binds the assumed pod of qp, which is in flight; ends its flight. node is copied. */
void binder_bind(struct binder *b, struct queued_pod *qp, const char *node);
/* Writes the condition PodScheduled=False (and the nominated node, "" to remove it). Strings are copied. */
void binder_report(struct binder *b, struct pod_info *p, const char *reason, const char *message,
                   const char *nominated);
/* Removes a victim from the preemptor's node. */
void binder_evict(struct binder *b, struct pod_info *victim, struct pod_info *preemptor, const char *node);
/* Finishes what is queued and ends the threads. */
void binder_free(struct binder *b);
