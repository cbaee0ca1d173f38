#include "kubelet/backoff.h"
#include <stdio.h>

static bool expired(const struct backoff *b, struct backoff_limits l, int64_t event_ms)
{
    return event_ms - b->updated_ms > 2 * l.max_ms;
}

bool backoff_active(const struct backoff *b, struct backoff_limits l, int64_t event_ms, int64_t now_ms,
                    int64_t *remaining_ms)
{
    if (!b->delay_ms || expired(b, l, event_ms) || now_ms - event_ms >= b->delay_ms)
        return false;
    if (remaining_ms)
        *remaining_ms = b->delay_ms - (now_ms - event_ms);
    return true;
}

void backoff_next(struct backoff *b, struct backoff_limits l, int64_t event_ms, int64_t now_ms)
{
    if (!b->delay_ms || expired(b, l, event_ms))
        b->delay_ms = l.initial_ms;
    else
        b->delay_ms = 2 * b->delay_ms > l.max_ms ? l.max_ms : 2 * b->delay_ms;
    b->updated_ms = now_ms;
}

char *backoff_text(int64_t ms, char out[32])
{
    long long s = ms / 1000;
    if (ms < 1000)
        snprintf(out, 32, "%dms", (int)ms);
    else if (s < 60)
        snprintf(out, 32, "%llds", s);
    else if (s < 3600)
        snprintf(out, 32, "%lldm%llds", s / 60, s % 60);
    else
        snprintf(out, 32, "%lldh%lldm%llds", s / 3600, s / 60 % 60, s % 60);
    return out;
}
