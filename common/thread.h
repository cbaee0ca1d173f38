/* Threads with small stacks: most of ours wait for the network and need little. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define THREAD_STACK_SIZE ((size_t)2 << 20) /* sanitizers' frames are several times larger */
#else
#define THREAD_STACK_SIZE ((size_t)256 << 10)
#endif

/* Starts a joinable thread; false when the system has none left. */
static inline bool thread_start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
    int rc = pthread_create(thread, &attr, fn, arg);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

/* A condition variable whose timed waits use CLOCK_MONOTONIC, as time_monotonic_ms() does. */
static inline void thread_cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

/* Waits until signalled or until the monotonic time at_ms. */
static inline void thread_cond_wait_until(pthread_cond_t *c, pthread_mutex_t *m, long long at_ms)
{
    struct timespec ts = {.tv_sec = at_ms / 1000, .tv_nsec = at_ms % 1000 * 1000000};
    pthread_cond_timedwait(c, m, &ts);
}
