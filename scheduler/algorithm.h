/* Finds a node for one pod, or says why there is none. */
#pragma once
#include "scheduler/framework.h"

struct outcome {
    struct node_info *node; /* NULL: none fits */
    char *message;          /* then: what FailedScheduling says; owned */
    unsigned events;        /* then: what may help */
    size_t evaluated, feasible;
    /* Preemption: pods to remove so that the pod fits nominated. */
    char *nominated; /* owned; NULL: none */
    struct pod_info **victims;
    size_t victim_count;
};
/* With the cache locked. */
void schedule_pod(const struct pod_info *pod, struct cache *cache, const struct owners *owners,
                  unsigned *seed, struct outcome *out);
void outcome_clear(struct outcome *o);

/* Looks for the node where removing pods of lower priority helps, at the least cost. refused[i] is the
 * verdict on cache->nodes[i]. Sets out->nominated and out->victims; otherwise returns what to append to the
 * message (owned). */
char *preempt(const struct pod_info *pod, struct cache *cache, const struct owners *owners,
              const enum verdict *refused, struct outcome *out);
/* "0/2 nodes are available: 1 a, 1 b." */
char *fit_message(size_t node_count, const struct reasons *r);
/* As cycle_filter(), also with the pods that are nominated for the node and may not be overtaken. */
enum verdict filter_with_nominated(struct cycle *c, struct node_info *n, const struct plugin **refused_by);
