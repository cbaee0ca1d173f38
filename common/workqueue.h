/* client-go's rate-limited work queue of string keys: a key is in it at most once; a key being worked on is not given
 * to a second worker; adding it meanwhile queues it again when the worker is done. Thread-safe. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct workqueue;
/* Failures of one key are delayed base_ms * 2^n, at most max_ms (Kubernetes: 5 and 1,000,000; we use 5 and 30,000). */
struct workqueue *workqueue_new(const char *name, int base_ms, int max_ms);
void workqueue_add(struct workqueue *q, const char *key);
void workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ms); /* keeps the earlier of two times */
void workqueue_add_rate_limited(struct workqueue *q, const char *key);
void workqueue_forget(struct workqueue *q, const char *key); /* it succeeded: its next failure starts at base_ms */
int workqueue_retries(struct workqueue *q, const char *key);
/* Waits for a key (caller frees); NULL when the queue was shut down and is empty. */
char *workqueue_get(struct workqueue *q);
void workqueue_done(struct workqueue *q, const char *key); /* after each get */
int workqueue_depth(struct workqueue *q);
void workqueue_shut_down(struct workqueue *q);
void workqueue_free(struct workqueue *q);
