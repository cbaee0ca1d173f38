/* What the scheduler tells the API: bindings, conditions, evictions by preemption. A few threads, so that a
 * slow answer does not hold up the next decision; what concerns one pod is done in order. */
#pragma once
#include "common/kube_client.h"
#include "common/recorder.h"
#include "scheduler/cache.h"
#include "scheduler/framework.h"
#include "scheduler/queue.h"

struct binder;
struct volume_plan;
struct binder *binder_new(struct kube_client *client, struct recorder *recorder, struct cache *cache,
                          struct queue *queue, const struct owners *owners);
/* Binds the assumed pod of qp, which is in flight; ends its flight. node is copied. plan (NULL: none) is taken: the pod is
 * bound when its volumes are. */
void binder_bind(struct binder *b, struct queued_pod *qp, const char *node, struct volume_plan *plan);
/* A volume, claim or class changed: pods that wait for theirs may go on. */
void binder_volumes_changed(struct binder *b);
/* Writes the condition PodScheduled=False (and the nominated node, "" to remove it). Strings are copied. */
void binder_report(struct binder *b, struct pod_info *p, const char *reason, const char *message,
                   const char *nominated);
/* Removes a victim from the preemptor's node. */
void binder_evict(struct binder *b, struct pod_info *victim, struct pod_info *preemptor, const char *node);
/* Finishes what is queued and ends the threads. */
void binder_free(struct binder *b);
