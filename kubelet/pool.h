/* Threads that run short jobs, and timers. Threads come when there is work and go when there is none, so an
 * idle kubelet has hardly any. Jobs may block (a call to the runtime): up to max_threads at once. */
#pragma once
#include <stdint.h>

struct pool;
struct pool *pool_new(unsigned max_threads);
void pool_run(struct pool *p, void (*fn)(void *arg), void *arg);
/* Runs fn after delay_ms. Cannot be taken back: fn looks whether it is still wanted. */
void pool_run_after(struct pool *p, int64_t delay_ms, void (*fn)(void *arg), void *arg);
/* No further job starts; waits for those that run. */
void pool_stop(struct pool *p);
/* After pool_stop. What is left, timers too, is called on this thread to let go of what it holds: it must look whether it
 * is still wanted. */
void pool_free(struct pool *p);
