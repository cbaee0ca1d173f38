#include "scheduler/queue.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "scheduler/map.h"

enum { IN_FLIGHT, IN_ACTIVE, IN_BACKOFF, IN_UNSCHEDULABLE, IN_GATED };

struct heap {
    struct queued_pod **items;
    size_t count, cap;
    bool (*less)(const struct queued_pod *a, const struct queued_pod *b);
};

struct queue {
    struct queue_options options;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct map by_uid; /* all, also in flight */
    struct heap active, backoff;
    struct queued_pod *unschedulable, *unschedulable_last; /* in the order of arrival */
    struct queued_pod *in_flight;
    int unschedulable_count, gated_count;
    bool closed;
};

/* --- heaps --- */

static bool active_less(const struct queued_pod *a, const struct queued_pod *b)
{
    if (a->pod->priority != b->pod->priority)
        return a->pod->priority > b->pod->priority;
    return a->queued_ms < b->queued_ms;
}

static bool backoff_less(const struct queued_pod *a, const struct queued_pod *b)
{
    return a->ready_ms < b->ready_ms;
}

static void heap_put(struct heap *h, size_t at, struct queued_pod *qp)
{
    h->items[at] = qp;
    qp->heap_at = at;
}

static void heap_fix(struct heap *h, size_t at)
{
    struct queued_pod *qp = h->items[at];
    while (at > 0 && h->less(qp, h->items[(at - 1) / 2])) {
        heap_put(h, at, h->items[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= h->count)
            break;
        if (child + 1 < h->count && h->less(h->items[child + 1], h->items[child]))
            child++;
        if (!h->less(h->items[child], qp))
            break;
        heap_put(h, at, h->items[child]);
        at = child;
    }
    heap_put(h, at, qp);
}

static void heap_push(struct heap *h, struct queued_pod *qp)
{
    if (h->count == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 8;
        h->items = mem_realloc(h->items, h->cap * sizeof(struct queued_pod *));
    }
    h->items[h->count++] = qp;
    heap_fix(h, h->count - 1);
}

static void heap_remove(struct heap *h, struct queued_pod *qp)
{
    size_t at = qp->heap_at;
    struct queued_pod *last = h->items[--h->count];
    if (last != qp) {
        heap_put(h, at, last);
        heap_fix(h, at);
    }
}

/* --- with the lock held --- */

static void leave(struct queue *q, struct queued_pod *qp)
{
    switch (qp->where) {
    case IN_ACTIVE:
        heap_remove(&q->active, qp);
        break;
    case IN_BACKOFF:
        heap_remove(&q->backoff, qp);
        break;
    case IN_UNSCHEDULABLE:
        *(qp->prev ? &qp->prev->next : &q->unschedulable) = qp->next;
        *(qp->next ? &qp->next->prev : &q->unschedulable_last) = qp->prev;
        qp->prev = qp->next = NULL;
        q->unschedulable_count--;
        break;
    case IN_GATED:
        q->gated_count--;
        break;
    default:
        break;
    }
    qp->where = IN_FLIGHT;
}

static void enter(struct queue *q, struct queued_pod *qp, int where)
{
    qp->where = where;
    switch (where) {
    case IN_ACTIVE:
        heap_push(&q->active, qp);
        break;
    case IN_BACKOFF:
        heap_push(&q->backoff, qp);
        break;
    case IN_UNSCHEDULABLE:
        qp->prev = q->unschedulable_last;
        *(qp->prev ? &qp->prev->next : &q->unschedulable) = qp;
        q->unschedulable_last = qp;
        q->unschedulable_count++;
        break;
    default:
        q->gated_count++;
        break;
    }
    pthread_cond_signal(&q->changed);
}

static void enter_ready(struct queue *q, struct queued_pod *qp, int64_t now)
{
    qp->queued_ms = now;
    enter(q, qp, qp->pod->gated ? IN_GATED : IN_ACTIVE);
}

/* To active, or first through the rest of its back-off. */
static void move_on(struct queue *q, struct queued_pod *qp, int64_t now)
{
    if (qp->ready_ms > now)
        enter(q, qp, IN_BACKOFF);
    else
        enter_ready(q, qp, now);
}

static void fly(struct queue *q, struct queued_pod *qp)
{
    qp->prev = NULL;
    qp->next = q->in_flight;
    if (qp->next)
        qp->next->prev = qp;
    q->in_flight = qp;
}

static void land(struct queue *q, struct queued_pod *qp)
{
    *(qp->prev ? &qp->prev->next : &q->in_flight) = qp->next;
    if (qp->next)
        qp->next->prev = qp->prev;
    qp->prev = qp->next = NULL;
}

static void destroy(struct queued_pod *qp)
{
    pod_info_unref(qp->pod);
    pod_info_unref(qp->newer);
    free(qp);
}

static struct queued_pod *lookup(struct queue *q, const char *uid)
{
    union map_value *v = map_find(&q->by_uid, uid);
    return v ? v->ptr : NULL;
}

/* Could this change of an unschedulable pod make it fit? Its status, which we write ourselves, could not. */
static bool matters(const struct pod_info *old, const struct pod_info *now)
{
    return !json_equal(old->spec, now->spec) || !json_equal(old->labels, now->labels);
}

/* --- the public side --- */

struct queue *queue_new(const struct queue_options *o)
{
    struct queue *q = mem_alloc(sizeof(*q));
    q->options = *o;
    q->active.less = active_less;
    q->backoff.less = backoff_less;
    pthread_mutex_init(&q->lock, NULL);
    thread_cond_init(&q->changed);
    return q;
}

static void destroy_value(void *p)
{
    destroy(p);
}

void queue_free(struct queue *q)
{
    if (!q)
        return;
    map_free(&q->by_uid, destroy_value);
    free(q->active.items);
    free(q->backoff.items);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->changed);
    free(q);
}

void queue_set(struct queue *q, struct pod_info *p)
{
    int64_t now = time_monotonic_ms();
    pthread_mutex_lock(&q->lock);
    struct queued_pod *qp = lookup(q, p->uid);
    if (!qp) {
        qp = mem_alloc(sizeof(*qp));
        qp->pod = pod_info_ref(p);
        map_at(&q->by_uid, p->uid)->ptr = qp;
        enter_ready(q, qp, now);
    } else if (qp->where == IN_FLIGHT) {
        pod_info_unref(qp->newer);
        qp->newer = pod_info_ref(p);
    } else {
        struct pod_info *old = qp->pod;
        bool ungated = qp->where == IN_GATED && !p->gated;
        bool retry = qp->where == IN_UNSCHEDULABLE && matters(old, p);
        if (ungated || retry)
            leave(q, qp);
        qp->pod = pod_info_ref(p);
        if (ungated)
            enter_ready(q, qp, now);
        else if (retry)
            move_on(q, qp, now);
        else if (qp->where == IN_ACTIVE)
            heap_fix(&q->active, qp->heap_at); /* the priority may differ, in theory */
        pod_info_unref(old);
    }
    pthread_mutex_unlock(&q->lock);
}

void queue_remove(struct queue *q, const char *uid)
{
    pthread_mutex_lock(&q->lock);
    struct queued_pod *qp = lookup(q, uid);
    if (qp) {
        map_remove(&q->by_uid, uid);
        if (qp->where == IN_FLIGHT) {
            qp->removed = true; /* freed by who has it */
        } else {
            leave(q, qp);
            destroy(qp);
        }
    }
    pthread_mutex_unlock(&q->lock);
}

/* Moves what is due; tells when the next is (0: never). */
static int64_t advance(struct queue *q, int64_t now)
{
    while (q->backoff.count && q->backoff.items[0]->ready_ms <= now) {
        struct queued_pod *qp = q->backoff.items[0];
        leave(q, qp);
        enter_ready(q, qp, now);
    }
    while (q->unschedulable && q->unschedulable->queued_ms + q->options.unschedulable_max_ms <= now) {
        struct queued_pod *qp = q->unschedulable;
        leave(q, qp);
        move_on(q, qp, now);
    }
    int64_t next = q->backoff.count ? q->backoff.items[0]->ready_ms : 0;
    if (q->unschedulable) {
        int64_t flush = q->unschedulable->queued_ms + q->options.unschedulable_max_ms;
        if (!next || flush < next)
            next = flush;
    }
    return next;
}

/* With nothing active, a pod whose chances have changed need not sit its back-off out; one that met an error
 * must. */
static struct queued_pod *early(struct queue *q)
{
    struct queued_pod *best = NULL;
    for (size_t i = 0; i < q->backoff.count; i++) {
        struct queued_pod *qp = q->backoff.items[i];
        if (!qp->failed_by_error && (!best || qp->ready_ms < best->ready_ms))
            best = qp;
    }
    return best;
}

struct queued_pod *queue_pop(struct queue *q)
{
    struct queued_pod *qp = NULL;
    pthread_mutex_lock(&q->lock);
    while (!q->closed) {
        int64_t next = advance(q, time_monotonic_ms());
        qp = q->active.count ? q->active.items[0] : early(q);
        if (qp)
            break;
        if (next)
            thread_cond_wait_until(&q->changed, &q->lock, next);
        else
            pthread_cond_wait(&q->changed, &q->lock);
    }
    if (qp) {
        leave(q, qp);
        fly(q, qp);
        qp->attempts++;
        qp->seen = 0;
        if (!qp->first_ms)
            qp->first_ms = time_monotonic_ms();
    }
    pthread_mutex_unlock(&q->lock);
    return qp;
}

void queue_done(struct queue *q, struct queued_pod *qp)
{
    pthread_mutex_lock(&q->lock);
    land(q, qp);
    if (!qp->removed)
        map_remove(&q->by_uid, qp->pod->uid);
    destroy(qp);
    pthread_mutex_unlock(&q->lock);
}

void queue_retry(struct queue *q, struct queued_pod *qp, unsigned events)
{
    int64_t now = time_monotonic_ms();
    pthread_mutex_lock(&q->lock);
    land(q, qp);
    if (qp->removed) {
        destroy(qp);
        pthread_mutex_unlock(&q->lock);
        return;
    }
    bool change = false;
    if (qp->newer) {
        change = matters(qp->pod, qp->newer);
        pod_info_unref(qp->pod);
        qp->pod = qp->newer;
        qp->newer = NULL;
    }
    int64_t delay = q->options.backoff_initial_ms;
    for (int i = 1; i < qp->attempts && delay < q->options.backoff_max_ms; i++)
        delay *= 2;
    qp->ready_ms = now + (delay < q->options.backoff_max_ms ? delay : q->options.backoff_max_ms);
    qp->failed_by_error = events == 0;
    qp->wanted = events;
    qp->queued_ms = now;
    if (!events || change || (qp->seen & events))
        move_on(q, qp, now);
    else
        enter(q, qp, IN_UNSCHEDULABLE);
    pthread_mutex_unlock(&q->lock);
}

void queue_event(struct queue *q, unsigned events)
{
    if (!events)
        return;
    int64_t now = time_monotonic_ms();
    pthread_mutex_lock(&q->lock);
    for (struct queued_pod *qp = q->in_flight; qp; qp = qp->next)
        qp->seen |= events;
    for (struct queued_pod *qp = q->unschedulable, *next; qp; qp = next) {
        next = qp->next;
        if (!(qp->wanted & events))
            continue;
        leave(q, qp);
        move_on(q, qp, now);
    }
    pthread_mutex_unlock(&q->lock);
}

void queue_close(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->closed = true;
    pthread_cond_broadcast(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

struct queue_counts queue_count(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    struct queue_counts c = {(int)q->active.count, (int)q->backoff.count, q->unschedulable_count,
                             q->gated_count};
    pthread_mutex_unlock(&q->lock);
    return c;
}
