#include "kubelet/eviction/thresholds.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "common/component.h"
#include "common/mem.h"
#include "common/quantity.h"

static const struct {
    const char *name, *resource;
    unsigned pressure;
} signals[SIGNAL_COUNT] = {
    [SIGNAL_MEMORY] = {"memory.available", "memory", PRESSURE_MEMORY},
    [SIGNAL_NODEFS] = {"nodefs.available", "ephemeral-storage", PRESSURE_DISK},
    [SIGNAL_NODEFS_INODES] = {"nodefs.inodesFree", "inodes", PRESSURE_DISK},
    [SIGNAL_IMAGEFS] = {"imagefs.available", "ephemeral-storage", PRESSURE_DISK},
    [SIGNAL_IMAGEFS_INODES] = {"imagefs.inodesFree", "inodes", PRESSURE_DISK},
    [SIGNAL_PIDS] = {"pid.available", "pids", PRESSURE_PID},
};

const char *eviction_signal_name(enum eviction_signal s)
{
    return signals[s].name;
}

const char *eviction_resource(enum eviction_signal s)
{
    return signals[s].resource;
}

unsigned eviction_pressure(enum eviction_signal s)
{
    return signals[s].pressure;
}

/* --- parsing --- */

static bool find_signal(const char *name, enum eviction_signal *out)
{
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        if (strcmp(signals[i].name, name) == 0) {
            *out = (enum eviction_signal)i;
            return true;
        }
    }
    return false;
}

/* "10%" or a quantity. */
static bool parse_amount(const char *text, double *percent, int64_t *quantity)
{
    size_t n = strlen(text);
    *percent = 0;
    *quantity = 0;
    if (n > 1 && text[n - 1] == '%') {
        char *end;
        *percent = strtod(text, &end);
        return end == text + n - 1 && isfinite(*percent) && *percent >= 0 && *percent <= 100;
    }
    struct quantity q;
    if (!quantity_parse(text, &q) || q.nano < 0)
        return false;
    *quantity = quantity_value(q);
    return true;
}

/* Calls take() with each "signal<amount" or "signal=amount". */
static bool each_pair(const char *flag, const char *list, char between, struct thresholds *out,
                      bool (*take)(struct thresholds *out, enum eviction_signal s,
                                   const char *amount),
                      struct error **err)
{
    cleanup_free char *copy = mem_strdup(list ? list : "");
    char *save = NULL;
    for (char *e = strtok_r(copy, ", ", &save); e; e = strtok_r(NULL, ", ", &save)) {
        char *at = strchr(e, between);
        enum eviction_signal s;
        if (!at) {
            error_setf(err, "--%s: \"%s\" is malformed: signal%cvalue is wanted", flag, e, between);
            return false;
        }
        *at = '\0';
        if (!find_signal(e, &s)) {
            error_setf(err, "--%s: unsupported eviction signal %s", flag, e);
            return false;
        }
        if (!take(out, s, at + 1)) {
            error_setf(err, "--%s: the value \"%s\" of %s makes no sense", flag, at + 1, e);
            return false;
        }
    }
    return true;
}

static bool add_threshold(struct thresholds *out, enum eviction_signal s, bool hard,
                          const char *amount)
{
    for (size_t i = 0; i < out->count; i++)
        if (out->items[i].signal == s && out->items[i].hard == hard)
            return false; /* twice */
    struct threshold t = {.signal = s, .hard = hard};
    if (!parse_amount(amount, &t.percent, &t.quantity))
        return false;
    if (t.percent > 0 || t.quantity > 0) /* 0 and 0% mean: none */
        out->items[out->count++] = t;
    return true;
}

static bool take_hard(struct thresholds *out, enum eviction_signal s, const char *amount)
{
    return add_threshold(out, s, true, amount);
}

static bool take_soft(struct thresholds *out, enum eviction_signal s, const char *amount)
{
    return add_threshold(out, s, false, amount);
}

static bool take_grace(struct thresholds *out, enum eviction_signal s, const char *amount)
{
    int64_t ms;
    if (!component_parse_duration(amount, &ms) || ms < 0)
        return false;
    for (size_t i = 0; i < out->count; i++)
        if (out->items[i].signal == s && !out->items[i].hard)
            out->items[i].grace_ms = ms ? ms : 1;
    return true;
}

static bool take_reclaim(struct thresholds *out, enum eviction_signal s, const char *amount)
{
    double percent;
    int64_t quantity;
    if (!parse_amount(amount, &percent, &quantity))
        return false;
    for (size_t i = 0; i < out->count; i++) {
        if (out->items[i].signal == s) {
            out->items[i].reclaim_percent = percent;
            out->items[i].reclaim = quantity;
        }
    }
    return true;
}

bool thresholds_parse(const struct eviction_flags *f, struct thresholds *out, struct error **err)
{
    *out = (struct thresholds){0};
    if (!each_pair("eviction-hard", f->hard, '<', out, take_hard, err) ||
        !each_pair("eviction-soft", f->soft, '<', out, take_soft, err) ||
        !each_pair("eviction-soft-grace-period", f->soft_grace, '=', out, take_grace, err) ||
        !each_pair("eviction-minimum-reclaim", f->minimum_reclaim, '=', out, take_reclaim, err))
        return false;
    for (size_t i = 0; i < out->count; i++) {
        if (!out->items[i].hard && !out->items[i].grace_ms) {
            error_setf(err, "grace period must be specified for the soft eviction threshold %s",
                       signals[out->items[i].signal].name);
            return false;
        }
    }
    return true;
}

static int64_t amount_of(double percent, int64_t quantity, int64_t capacity)
{
    return percent > 0 ? (int64_t)(percent / 100 * (double)capacity) : quantity;
}

int64_t threshold_value(const struct threshold *t, int64_t capacity)
{
    return amount_of(t->percent, t->quantity, capacity);
}

int64_t thresholds_hard_reserve(const struct thresholds *t, enum eviction_signal s,
                                int64_t capacity)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->items[i].hard && t->items[i].signal == s)
            return threshold_value(&t->items[i], capacity);
    return 0;
}

/* --- over time --- */

static bool is_met(const struct threshold *t, const struct observation *o, bool was_met)
{
    int64_t limit = threshold_value(t, o->capacity);
    if (was_met) /* over only when more than the bare threshold is free again */
        limit += amount_of(t->reclaim_percent, t->reclaim, o->capacity);
    return o->available < limit;
}

struct eviction_decision eviction_decide(struct eviction_state *s, const struct thresholds *t,
                                         const struct observation observations[SIGNAL_COUNT],
                                         int64_t now_ms, int64_t transition_ms)
{
    struct eviction_decision d = {0, -1};
    for (size_t i = 0; i < t->count; i++) {
        const struct threshold *h = &t->items[i];
        const struct observation *o = &observations[h->signal];
        if (!o->known)
            continue; /* neither met nor over */
        bool met = is_met(h, o, s->met[i]);
        if (met && !s->met[i])
            s->met_since[i] = now_ms;
        s->met[i] = met;
    }
    for (size_t i = 0; i < t->count; i++) {
        if (!s->met[i])
            continue;
        for (size_t bit = 0; bit < 3; bit++)
            if (signals[t->items[i].signal].pressure == 1u << bit)
                s->last_seen[bit] = now_ms;
        bool due = now_ms - s->met_since[i] >= t->items[i].grace_ms;
        if (due && (d.act_on < 0 || t->items[i].signal < t->items[d.act_on].signal))
            d.act_on = (int)i;
    }
    for (size_t bit = 0; bit < 3; bit++)
        if (s->last_seen[bit] &&
            (s->last_seen[bit] == now_ms || now_ms - s->last_seen[bit] < transition_ms))
            d.pressure |= 1u << bit;
    return d;
}

/* --- ranking --- */

static int compare(const struct candidate *x, const struct candidate *y, bool by_request)
{
    bool x_exceeds = x->usage > x->request, y_exceeds = y->usage > y->request;
    if (by_request && x_exceeds != y_exceeds)
        return x_exceeds ? -1 : 1;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    int64_t a = by_request ? x->usage - x->request : x->usage,
            b = by_request ? y->usage - y->request : y->usage;
    return a > b ? -1 : a < b;
}

static int by_request_order(const void *x, const void *y)
{
    return compare(x, y, true);
}

static int by_usage_order(const void *x, const void *y)
{
    return compare(x, y, false);
}

void eviction_rank(struct candidate *c, size_t count, bool by_request)
{
    qsort(c, count, sizeof(*c), by_request ? by_request_order : by_usage_order);
}
