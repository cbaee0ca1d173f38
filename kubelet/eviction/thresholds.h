/* Eviction thresholds: what they say, whether they are met, and for how long. Pure: observations
 * and the time come in.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/ */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

/* In the order in which they are relieved: memory first. */
enum eviction_signal {
    SIGNAL_MEMORY,
    SIGNAL_NODEFS,
    SIGNAL_NODEFS_INODES,
    SIGNAL_IMAGEFS,
    SIGNAL_IMAGEFS_INODES,
    SIGNAL_PIDS,
    SIGNAL_COUNT
};
const char *eviction_signal_name(enum eviction_signal s); /* "memory.available" */
const char *
eviction_resource(enum eviction_signal s); /* "memory", "ephemeral-storage", "inodes", "pids" */

/* What a node is under; bits. */
enum { PRESSURE_MEMORY = 1, PRESSURE_DISK = 2, PRESSURE_PID = 4 };
unsigned eviction_pressure(enum eviction_signal s);

struct threshold {
    enum eviction_signal signal;
    bool hard;
    double percent;   /* of the capacity; 0: quantity counts */
    int64_t quantity; /* bytes, inodes or processes */
    int64_t grace_ms; /* soft ones: how long it must be met */
    double reclaim_percent;
    int64_t reclaim; /* beyond the threshold, what must be free again before it is over */
};
enum { THRESHOLDS_MAX = 2 * SIGNAL_COUNT };
struct thresholds {
    struct threshold items[THRESHOLDS_MAX];
    size_t count;
};
struct eviction_flags { /* as given: "memory.available<100Mi,...", "memory.available=1m30s,...",
                           "nodefs.available=1Gi,..." */
    char *hard, *soft, *soft_grace, *minimum_reclaim;
};
bool thresholds_parse(const struct eviction_flags *f, struct thresholds *out, struct error **err);
/* The threshold as a quantity of this capacity. */
int64_t threshold_value(const struct threshold *t, int64_t capacity);
/* What the hard threshold of a signal keeps free, 0 if there is none. */
int64_t thresholds_hard_reserve(const struct thresholds *t, enum eviction_signal s,
                                int64_t capacity);

struct observation {
    bool known;
    int64_t available, capacity;
};

/* --- over time --- */
struct eviction_state {
    bool met[THRESHOLDS_MAX];          /* and not yet over */
    int64_t met_since[THRESHOLDS_MAX]; /* ms */
    int64_t last_seen[3];              /* ms, of each pressure's bit; 0: never */
};
struct eviction_decision {
    unsigned pressure; /* bits */
    int act_on;        /* index of the threshold to relieve now; -1: none */
};
/* transition_ms: how long a pressure is told after it was last seen. */
struct eviction_decision eviction_decide(struct eviction_state *s, const struct thresholds *t,
                                         const struct observation observations[SIGNAL_COUNT],
                                         int64_t now_ms, int64_t transition_ms);

/* --- whose turn it is --- */
struct candidate {
    int64_t usage, request, priority;
    size_t index; /* the caller's */
};
/* First those that use more than they requested, then lower priority, then more beyond the request.
 * Processes have no requests: by_request false leaves the first rule out. */
void eviction_rank(struct candidate *c, size_t count, bool by_request);
