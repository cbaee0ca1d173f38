/* Threads for requests that must wait for something: a bounded pool, started as needed, and threads
 * of their own for those that last (log streams). */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "apiserver/server/server.h"
#include "common/log.h"
#include "common/mem.h"

#define QUEUE_MAX    4096
#define LONG_MAX_RUN 256
#define IDLE_SECONDS 30

struct workers {
    pthread_mutex_t mutex;
    pthread_cond_t work, ended;
    struct server_request *head, *tail;
    unsigned queued, threads, idle, max, lasting;
    bool stopping;
};

struct workers *workers_start(unsigned max)
{
    struct workers *w = mem_alloc(sizeof *w);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->work, NULL);
    pthread_cond_init(&w->ended, NULL);
    w->max = max;
    return w;
}

static bool start_thread(void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_t t;
    int rc = pthread_create(&t, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    if (rc)
        log_error("No thread to be had", "errno", log_int(rc));
    return !rc;
}

static void *run_worker(void *arg)
{
    struct workers *w = arg;
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        bool timed_out = false;
        while (!w->head && !w->stopping && !timed_out) {
            struct timespec at;
            clock_gettime(CLOCK_REALTIME, &at);
            at.tv_sec += IDLE_SECONDS;
            w->idle++;
            timed_out = pthread_cond_timedwait(&w->work, &w->mutex, &at) == ETIMEDOUT;
            w->idle--;
        }
        struct server_request *q = w->head;
        if (!q)
            break;
        w->head = q->next;
        if (!w->head)
            w->tail = NULL;
        w->queued--;
        pthread_mutex_unlock(&w->mutex);
        q->work(q);
        pthread_mutex_lock(&w->mutex);
    }
    w->threads--;
    pthread_cond_broadcast(&w->ended);
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

bool workers_add(struct workers *w, struct server_request *q)
{
    pthread_mutex_lock(&w->mutex);
    bool ok = !w->stopping && w->queued < QUEUE_MAX;
    if (ok && w->idle <= w->queued && w->threads < w->max) {
        w->threads++;
        if (!start_thread(run_worker, w)) {
            w->threads--;
            ok = w->threads > 0;
        }
    }
    if (ok) {
        q->next = NULL;
        if (w->tail)
            w->tail->next = q;
        else
            w->head = q;
        w->tail = q;
        w->queued++;
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&w->mutex);
    return ok;
}

static void *run_long(void *arg)
{
    struct server_request *q = arg;
    struct workers *w = q->server->workers;
    q->work(q);
    pthread_mutex_lock(&w->mutex);
    w->lasting--;
    pthread_cond_broadcast(&w->ended);
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

bool workers_add_long(struct workers *w, struct server_request *q)
{
    pthread_mutex_lock(&w->mutex);
    bool ok = !w->stopping && w->lasting < LONG_MAX_RUN;
    w->lasting += ok;
    pthread_mutex_unlock(&w->mutex);
    if (!ok || start_thread(run_long, q))
        return ok;
    pthread_mutex_lock(&w->mutex);
    w->lasting--;
    pthread_mutex_unlock(&w->mutex);
    return false;
}

void workers_stop(struct workers *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->stopping = true;
    pthread_cond_broadcast(&w->work);
    while (w->threads || w->lasting)
        pthread_cond_wait(&w->ended, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    pthread_cond_destroy(&w->work);
    pthread_cond_destroy(&w->ended);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}
