#include "dns/loop.h"
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "common/mem.h"
#include "common/timefmt.h"

#define EVENTS_MAX 64

static void woken(struct loop_source *s, uint32_t events)
{
    (void)events;
    uint64_t n;
    if (read(s->fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        return;
    ((struct loop *)((char *)s - offsetof(struct loop, wake_source)))->stopping = true;
}

bool loop_init(struct loop *l)
{
    *l = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC),
                       .wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    l->now_ms = time_monotonic_ms();
    l->wake_source = (struct loop_source){l->wake, woken};
    return l->epoll >= 0 && l->wake >= 0 && loop_add(l, &l->wake_source, EPOLLIN);
}

static void dig_graves(struct loop *l)
{
    for (size_t i = 0; i < l->grave_count; i++)
        free(l->graves[i]);
    l->grave_count = 0;
}

void loop_free(struct loop *l)
{
    dig_graves(l);
    free(l->graves);
    if (l->epoll >= 0)
        close(l->epoll);
    if (l->wake >= 0)
        close(l->wake);
}

bool loop_add(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, s->fd, &e) == 0;
}

void loop_change(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};
    epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &e);
}

void loop_close(struct loop *l, struct loop_source *s)
{
    if (s->fd < 0)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    s->fd = -1;
}

void loop_bury(struct loop *l, void *p)
{
    if (l->grave_count == l->grave_capacity) {
        l->grave_capacity = l->grave_capacity ? 2 * l->grave_capacity : 16;
        l->graves = mem_realloc(l->graves, l->grave_capacity * sizeof(*l->graves));
    }
    l->graves[l->grave_count++] = p;
}

void loop_run(struct loop *l)
{
    int64_t next_tick = 0;
    bool ticking = false;
    while (!l->stopping) {
        struct epoll_event events[EVENTS_MAX];
        bool wanted = l->tick && l->tick_wanted(l->userdata);
        if (wanted && !ticking)
            next_tick = l->now_ms + LOOP_TICK_MS;
        ticking = ticking || wanted;
        int64_t wait = ticking ? next_tick - l->now_ms : -1;
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, ticking && wait < 0 ? 0 : (int)wait);
        if (n < 0 && errno != EINTR)
            return;
        l->now_ms = time_monotonic_ms();
        for (int i = 0; i < n; i++) {
            struct loop_source *s = events[i].data.ptr;
            if (s->fd >= 0)
                s->ready(s, events[i].events);
        }
        if (ticking && l->now_ms >= next_tick) {
            l->tick(l->userdata);
            ticking = false;
        }
        dig_graves(l);
    }
}

void loop_stop(struct loop *l)
{
    uint64_t one = 1;
    if (write(l->wake, &one, sizeof(one)) < 0)
        return; /* it is full: the loop has been told often enough */
}
