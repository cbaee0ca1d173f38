#include "etcd-lite/heap_ahead.h"
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "common/mem.h"
#include "common/thread.h"

#ifndef MADV_POPULATE_WRITE /* Linux 5.14; older kernels refuse it, and nothing is lost */
#define MADV_POPULATE_WRITE 23
#endif

#define WORTH_IT    ((size_t)64 << 20)
#define STEP        ((size_t)32 << 20) /* by which the heap grows meanwhile */
#define PIECE       ((size_t)1 << 20)
#define PAGE        ((uintptr_t)4096)
#define DEFAULT_PAD (128 * 1024) /* glibc's */

struct heap_ahead {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uintptr_t ready, end; /* page-aligned */
    bool stop;
};

static uintptr_t heap_end(void)
{
    return (uintptr_t)sbrk(0) & ~(PAGE - 1);
}

static void *make_ready(void *arg)
{
    struct heap_ahead *h = arg;
    pthread_mutex_lock(&h->lock);
    while (!h->stop) {
        if (h->ready >= h->end) {
            pthread_cond_wait(&h->changed, &h->lock);
            continue;
        }
        uintptr_t from = h->ready;
        size_t n = h->end - from < PIECE ? h->end - from : PIECE;
        h->ready = from + n;
        pthread_mutex_unlock(&h->lock);
        /* Content stays what it is, so the loader may write there at the same time. */
        bool done = madvise((void *)from, n, MADV_POPULATE_WRITE) == 0;
        pthread_mutex_lock(&h->lock);
        h->stop |= !done;
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

struct heap_ahead *heap_ahead_begin(size_t bytes)
{
    if (bytes < WORTH_IT)
        return NULL;
    struct heap_ahead *h = mem_alloc(sizeof(*h));
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    h->ready = h->end = heap_end();
    if (!thread_start(&h->thread, make_ready, h)) {
        pthread_cond_destroy(&h->changed);
        pthread_mutex_destroy(&h->lock);
        free(h);
        return NULL;
    }
    mallopt(M_TOP_PAD, (int)STEP);
    return h;
}

void heap_ahead_look(struct heap_ahead *h)
{
    uintptr_t end = h ? heap_end() : 0;
    if (!h || end == h->end) /* only we write it */
        return;
    pthread_mutex_lock(&h->lock);
    h->end = end;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

void heap_ahead_end(struct heap_ahead *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
    mallopt(M_TOP_PAD, DEFAULT_PAD);
    malloc_trim(0);
}
