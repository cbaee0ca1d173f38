#include "kubelet/pool.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include <pthread.h>
#include <stdbool.h>
#include <time.h>

#define IDLE_MS    3000
#define STACK_SIZE (512 * 1024)

struct job {
    struct job *next;
    void (*fn)(void *);
    void *arg;
};
struct timer {
    int64_t at;
    uint64_t order; /* timers of one instant fire in the order they were set */
    void (*fn)(void *);
    void *arg;
};
struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a job was queued, or the earliest timer changed */
    pthread_cond_t ended; /* a thread ended */
    struct job *head, **tail;
    struct timer *timers; /* binary heap by (at, order) */
    size_t timer_count, timer_cap;
    uint64_t order;
    unsigned threads, idle, max_threads;
    unsigned pending; /* jobs queued that no idle thread was woken for yet */
    bool watching;    /* an idle thread waits for the earliest timer */
    bool stopping;
};

struct pool *pool_new(unsigned max_threads)
{
    struct pool *p = mem_alloc(sizeof(*p));
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->work, &attr);
    pthread_cond_init(&p->ended, NULL);
    pthread_condattr_destroy(&attr);
    p->tail = &p->head;
    p->max_threads = max_threads;
    return p;
}

static bool earlier(const struct timer *a, const struct timer *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void heap_push(struct pool *p, struct timer t)
{
    if (p->timer_count == p->timer_cap) {
        p->timer_cap = p->timer_cap ? 2 * p->timer_cap : 16;
        p->timers = mem_realloc(p->timers, p->timer_cap * sizeof(*p->timers));
    }
    size_t i = p->timer_count++;
    while (i > 0 && earlier(&t, &p->timers[(i - 1) / 2])) {
        p->timers[i] = p->timers[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    p->timers[i] = t;
}

static struct timer heap_pop(struct pool *p)
{
    struct timer first = p->timers[0], last = p->timers[--p->timer_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= p->timer_count)
            break;
        if (child + 1 < p->timer_count && earlier(&p->timers[child + 1], &p->timers[child]))
            child++;
        if (!earlier(&p->timers[child], &last))
            break;
        p->timers[i] = p->timers[child];
        i = child;
    }
    p->timers[i] = last;
    return first;
}

static void push_job(struct pool *p, void (*fn)(void *), void *arg)
{
    struct job *j = mem_alloc(sizeof(*j));
    j->fn = fn;
    j->arg = arg;
    *p->tail = j;
    p->tail = &j->next;
}

static void *thread_main(void *arg);

static void need_thread(struct pool *p)
{
    if (p->idle > 0) {
        pthread_cond_signal(&p->work);
    } else if (p->threads < p->max_threads) {
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_t thread;
        if (pthread_create(&thread, &attr, thread_main, p) == 0)
            p->threads++;
        pthread_attr_destroy(&attr);
    }
}

static void wait_until(struct pool *p, int64_t at)
{
    struct timespec ts = {.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
    pthread_cond_timedwait(&p->work, &p->lock, &ts);
}

static void fire_timers(struct pool *p)
{
    int64_t now = time_monotonic_ms();
    bool first = true;
    while (p->timer_count && p->timers[0].at <= now) {
        struct timer t = heap_pop(p);
        push_job(p, t.fn, t.arg);
        if (!first)
            need_thread(p); /* this thread takes the first itself */
        first = false;
    }
}

static void *thread_main(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    int64_t idle_since = time_monotonic_ms();
    while (!p->stopping) {
        fire_timers(p);
        struct job *j = p->head;
        if (j) {
            p->head = j->next;
            if (!p->head)
                p->tail = &p->head;
            /* While this one works, another must be there for what comes next and for the timers. */
            if (p->head || (p->timer_count && p->idle == 0))
                need_thread(p);
            pthread_mutex_unlock(&p->lock);
            j->fn(j->arg);
            free(j);
            pthread_mutex_lock(&p->lock);
            idle_since = time_monotonic_ms();
            continue;
        }
        int64_t until = idle_since + IDLE_MS;
        bool keep = p->timer_count && !p->watching; /* one thread stays for the timers */
        if (!keep && time_monotonic_ms() >= until)
            break;
        p->idle++;
        if (keep) {
            p->watching = true;
            wait_until(p, p->timers[0].at);
            p->watching = false;
        } else {
            wait_until(p, until);
        }
        p->idle--;
    }
    p->threads--;
    pthread_cond_broadcast(&p->ended);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void pool_run(struct pool *p, void (*fn)(void *), void *arg)
{
    pthread_mutex_lock(&p->lock);
    push_job(p, fn, arg);
    if (!p->stopping)
        need_thread(p);
    pthread_mutex_unlock(&p->lock);
}

void pool_run_after(struct pool *p, int64_t delay_ms, void (*fn)(void *), void *arg)
{
    pthread_mutex_lock(&p->lock);
    heap_push(p, (struct timer){time_monotonic_ms() + (delay_ms > 0 ? delay_ms : 0), p->order++, fn, arg});
    if (!p->stopping) {
        /* The thread that waits for the earliest timer may have to wait for this one instead. */
        if (p->idle > 0)
            pthread_cond_broadcast(&p->work);
        else
            need_thread(p);
    }
    pthread_mutex_unlock(&p->lock);
}

void pool_stop(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_cond_broadcast(&p->work);
    while (p->threads > 0)
        pthread_cond_wait(&p->ended, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

void pool_free(struct pool *p)
{
    for (;;) {
        pthread_mutex_lock(&p->lock);
        if (!p->head && p->timer_count) {
            struct timer t = heap_pop(p);
            push_job(p, t.fn, t.arg);
        }
        struct job *j = p->head;
        if (j && !(p->head = j->next))
            p->tail = &p->head;
        pthread_mutex_unlock(&p->lock);
        if (!j)
            break;
        j->fn(j->arg);
        free(j);
    }
    free(p->timers);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->ended);
    free(p);
}
