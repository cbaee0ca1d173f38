#include "common/workqueue.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/component.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"

struct entry {
    struct entry *chain;         /* in the hash bucket */
    struct entry *next;          /* in the queue of ready keys */
    bool queued, working, dirty; /* dirty: added while being worked on */
    int failures;
    int64_t due_ms; /* when delayed; 0: not delayed */
    size_t heap_at; /* index in the heap when delayed */
    double since;   /* seconds: when it was queued or, while being worked on, begun */
    unsigned hash;
    char key[];
};

struct workqueue {
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct entry **slots;
    size_t slot_count, count;
    struct entry *head, **tail;
    int depth;
    struct entry **heap; /* delayed entries, earliest first */
    size_t heap_count, heap_cap;
    int base_ms, max_ms;
    bool down;
    char *name;
    struct metric *adds, *depth_metric, *retries, *waits, *works;
};

static double monotonic_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct workqueue *workqueue_new(const char *name, int base_ms, int max_ms)
{
    struct workqueue *q = mem_alloc(sizeof(*q));
    pthread_mutex_init(&q->lock, NULL);
    thread_cond_init(&q->ready);
    q->slot_count = 64;
    q->slots = mem_alloc(q->slot_count * sizeof(*q->slots));
    q->tail = &q->head;
    q->base_ms = base_ms;
    q->max_ms = max_ms;
    q->name = mem_strdup(name);
    q->adds = metric_new(METRIC_COUNTER, "workqueue_adds_total", "Total number of adds handled by workqueue",
                         "name", NULL);
    q->depth_metric = metric_new(METRIC_GAUGE, "workqueue_depth", "Current depth of workqueue", "name", NULL);
    q->retries = metric_new(METRIC_COUNTER, "workqueue_retries_total",
                            "Total number of retries handled by workqueue", "name", NULL);
    static const double buckets[] = {1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100, 1000, 0};
    q->waits = metric_new(METRIC_HISTOGRAM, "workqueue_queue_duration_seconds",
                          "How long in seconds an item stays in workqueue before being requested.", "name", buckets);
    q->works = metric_new(METRIC_HISTOGRAM, "workqueue_work_duration_seconds",
                          "How long in seconds processing an item from workqueue takes.", "name", buckets);
    return q;
}

static unsigned hash_text(const char *s)
{
    unsigned h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static struct entry *find(struct workqueue *q, const char *key)
{
    unsigned h = hash_text(key);
    struct entry *e = q->slots[h & (q->slot_count - 1)];
    while (e && (e->hash != h || strcmp(e->key, key)))
        e = e->chain;
    return e;
}

static struct entry *find_or_add(struct workqueue *q, const char *key)
{
    struct entry *e = find(q, key);
    if (e)
        return e;
    if (q->count >= q->slot_count) {
        size_t n = q->slot_count * 2;
        struct entry **slots = mem_alloc(n * sizeof(*slots));
        for (size_t i = 0; i < q->slot_count; i++) {
            for (struct entry *o = q->slots[i], *next; o; o = next) {
                next = o->chain;
                o->chain = slots[o->hash & (n - 1)];
                slots[o->hash & (n - 1)] = o;
            }
        }
        free(q->slots);
        q->slots = slots;
        q->slot_count = n;
    }
    size_t len = strlen(key);
    e = mem_alloc(sizeof(*e) + len + 1);
    memcpy(e->key, key, len + 1);
    e->hash = hash_text(key);
    e->chain = q->slots[e->hash & (q->slot_count - 1)];
    q->slots[e->hash & (q->slot_count - 1)] = e;
    q->count++;
    return e;
}

/* Forgets an entry that nothing is known of any more. */
static void drop_if_idle(struct workqueue *q, struct entry *e)
{
    if (e->queued || e->working || e->due_ms || e->failures)
        return;
    struct entry **at = &q->slots[e->hash & (q->slot_count - 1)];
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    q->count--;
    free(e);
}

/* --- the heap of delayed entries --- */

static void heap_put(struct workqueue *q, size_t at, struct entry *e)
{
    q->heap[at] = e;
    e->heap_at = at;
}

static void heap_fix(struct workqueue *q, size_t at)
{
    struct entry *e = q->heap[at];
    while (at > 0 && q->heap[(at - 1) / 2]->due_ms > e->due_ms) {
        heap_put(q, at, q->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= q->heap_count)
            break;
        if (child + 1 < q->heap_count && q->heap[child + 1]->due_ms < q->heap[child]->due_ms)
            child++;
        if (q->heap[child]->due_ms >= e->due_ms)
            break;
        heap_put(q, at, q->heap[child]);
        at = child;
    }
    heap_put(q, at, e);
}

static void heap_remove(struct workqueue *q, struct entry *e)
{
    size_t at = e->heap_at;
    e->due_ms = 0;
    struct entry *last = q->heap[--q->heap_count];
    if (last != e) {
        heap_put(q, at, last);
        heap_fix(q, at);
    }
}

/* --- with the lock held --- */

static void metric_depth(struct workqueue *q)
{
    metric_set(q->depth_metric, q->name, q->depth);
}

static void push_ready(struct workqueue *q, struct entry *e)
{
    e->queued = true;
    e->next = NULL;
    *q->tail = e;
    q->tail = &e->next;
    q->depth++;
    e->since = monotonic_seconds();
    metric_depth(q);
    pthread_cond_signal(&q->ready);
}

static void add_entry(struct workqueue *q, struct entry *e)
{
    if (e->queued || e->dirty)
        return;
    metric_add(q->adds, q->name, 1);
    if (e->working)
        e->dirty = true;
    else
        push_ready(q, e);
}

static void add_entry_after(struct workqueue *q, struct entry *e, int64_t delay_ms)
{
    if (delay_ms <= 0) {
        add_entry(q, e);
        return;
    }
    int64_t due = time_monotonic_ms() + delay_ms;
    if (e->due_ms) {
        if (due < e->due_ms) {
            e->due_ms = due;
            heap_fix(q, e->heap_at);
        }
    } else {
        if (q->heap_count == q->heap_cap) {
            q->heap_cap = q->heap_cap ? q->heap_cap * 2 : 16;
            q->heap = mem_realloc(q->heap, q->heap_cap * sizeof(*q->heap));
        }
        e->due_ms = due;
        heap_put(q, q->heap_count++, e);
        heap_fix(q, e->heap_at);
    }
    /* One worker must wait for the new earliest time. */
    if (q->heap[0] == e)
        pthread_cond_signal(&q->ready);
}

/* --- the public side --- */

void workqueue_add(struct workqueue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    if (!q->down)
        add_entry(q, find_or_add(q, key));
    pthread_mutex_unlock(&q->lock);
}

void workqueue_add_after(struct workqueue *q, const char *key, int64_t delay_ms)
{
    pthread_mutex_lock(&q->lock);
    if (!q->down)
        add_entry_after(q, find_or_add(q, key), delay_ms);
    pthread_mutex_unlock(&q->lock);
}

void workqueue_add_rate_limited(struct workqueue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    if (!q->down) {
        struct entry *e = find_or_add(q, key);
        int64_t delay = q->base_ms;
        for (int n = 0; n < e->failures && delay < q->max_ms; n++)
            delay *= 2;
        e->failures++;
        metric_add(q->retries, q->name, 1);
        add_entry_after(q, e, delay < q->max_ms ? delay : q->max_ms);
    }
    pthread_mutex_unlock(&q->lock);
}

void workqueue_forget(struct workqueue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    struct entry *e = find(q, key);
    if (e) {
        e->failures = 0;
        drop_if_idle(q, e);
    }
    pthread_mutex_unlock(&q->lock);
}

int workqueue_retries(struct workqueue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    struct entry *e = find(q, key);
    int n = e ? e->failures : 0;
    pthread_mutex_unlock(&q->lock);
    return n;
}

char *workqueue_get(struct workqueue *q)
{
    char *key = NULL;
    pthread_mutex_lock(&q->lock);
    for (;;) {
        int64_t now = q->heap_count ? time_monotonic_ms() : 0;
        while (!q->down && q->heap_count && q->heap[0]->due_ms <= now) {
            struct entry *due = q->heap[0];
            heap_remove(q, due);
            add_entry(q, due);
        }
        if (q->head || q->down)
            break;
        if (q->heap_count)
            thread_cond_wait_until(&q->ready, &q->lock, q->heap[0]->due_ms);
        else
            pthread_cond_wait(&q->ready, &q->lock);
    }
    struct entry *e = q->head;
    if (e) {
        q->head = e->next;
        if (!q->head)
            q->tail = &q->head;
        q->depth--;
        metric_depth(q);
        e->queued = false;
        e->working = true;
        double now = monotonic_seconds();
        metric_observe(q->waits, q->name, now - e->since);
        e->since = now;
        key = mem_strdup(e->key);
    }
    /* This worker may have been the one that watched the clock: another takes over. */
    if (q->head || q->heap_count)
        pthread_cond_signal(&q->ready);
    pthread_mutex_unlock(&q->lock);
    return key;
}

void workqueue_done(struct workqueue *q, const char *key)
{
    pthread_mutex_lock(&q->lock);
    struct entry *e = find(q, key);
    if (e && e->working) {
        e->working = false;
        metric_observe(q->works, q->name, monotonic_seconds() - e->since);
        if (e->dirty && !q->down) {
            e->dirty = false;
            push_ready(q, e);
        } else {
            e->dirty = false;
            drop_if_idle(q, e);
        }
    }
    pthread_mutex_unlock(&q->lock);
}

int workqueue_depth(struct workqueue *q)
{
    pthread_mutex_lock(&q->lock);
    int n = q->depth;
    pthread_mutex_unlock(&q->lock);
    return n;
}

void workqueue_shut_down(struct workqueue *q)
{
    pthread_mutex_lock(&q->lock);
    q->down = true;
    pthread_cond_broadcast(&q->ready);
    pthread_mutex_unlock(&q->lock);
}

void workqueue_free(struct workqueue *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->slot_count; i++) {
        for (struct entry *e = q->slots[i], *next; e; e = next) {
            next = e->chain;
            free(e);
        }
    }
    free(q->slots);
    free(q->heap);
    free(q->name);
    pthread_mutex_destroy(&q->lock);
    pthread_cond_destroy(&q->ready);
    free(q);
}
