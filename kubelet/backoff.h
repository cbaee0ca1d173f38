/* Kubernetes' back-off per item: doubling from initial to max, forgotten when the item behaved for twice max. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct backoff {
    int64_t delay_ms;   /* 0: no failure known */
    int64_t updated_ms; /* when delay_ms was set, wall clock */
};
struct backoff_limits {
    int64_t initial_ms, max_ms;
};
/* Is now still within the delay after event_ms (the last failure)? *remaining_ms (may be NULL): how long yet. */
bool backoff_active(const struct backoff *b, struct backoff_limits l, int64_t event_ms, int64_t now_ms,
                    int64_t *remaining_ms);
/* A failure at event_ms is being acted on: the next delay. */
void backoff_next(struct backoff *b, struct backoff_limits l, int64_t event_ms, int64_t now_ms);
/* As Go prints it: "10s", "2m40s", "5m0s". Returns out. */
char *backoff_text(int64_t ms, char out[32]);
