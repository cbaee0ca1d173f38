/* An event loop of one thread: files that become ready, and a tick while somebody wants one. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_TICK_MS 100

struct loop_source {
    int fd;
    void (*ready)(struct loop_source *s, uint32_t events);
};
struct loop {
    int epoll, wake;
    struct loop_source wake_source;
    bool stopping;
    int64_t now_ms; /* monotonic, of this round */
    void (*tick)(
        void *userdata); /* about every LOOP_TICK_MS while tick_wanted() says so, and once after */
    bool (*tick_wanted)(void *userdata);
    void *userdata;
    void **graves; /* freed at the end of the round: their events may still stand in line */
    size_t grave_count, grave_capacity;
};
bool loop_init(struct loop *l);
void loop_free(struct loop *l);
bool loop_add(struct loop *l, struct loop_source *s, uint32_t events);
void loop_change(struct loop *l, struct loop_source *s, uint32_t events);
/* Takes it out and closes its file; no event of it comes any more. */
void loop_close(struct loop *l, struct loop_source *s);
/* free()s p when nothing can refer to it any more. */
void loop_bury(struct loop *l, void *p);
void loop_run(struct loop *l);
void loop_stop(struct loop *l); /* from any thread */
