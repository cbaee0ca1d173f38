#include <pthread.h>
#include <string.h>
#include "common/mem.h"
#include "kubelet/stats/stats.h"

#define BUCKETS 256

/* Two looks, so that one is old enough to tell a rate from although somebody looked just now. */
struct entry {
    struct entry *next;
    char *key;
    int64_t older_us, newer_us; /* 0: none */
    uint64_t older_ns, newer_ns;
};
struct rates {
    pthread_mutex_t lock;
    struct entry *buckets[BUCKETS];
};

struct rates *rates_new(void)
{
    struct rates *r = mem_alloc(sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void entry_free(struct entry *e)
{
    free(e->key);
    free(e);
}

void rates_free(struct rates *r)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry *e = r->buckets[i], *next; e; e = next) {
            next = e->next;
            entry_free(e);
        }
    }
    pthread_mutex_destroy(&r->lock);
    free(r);
}

static struct entry *find(struct rates *r, const char *key)
{
    uint32_t h = 2166136261u;
    for (const char *p = key; *p; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    struct entry **bucket = &r->buckets[h % BUCKETS], *e = *bucket;
    while (e && strcmp(e->key, key) != 0)
        e = e->next;
    if (!e) {
        e = mem_alloc(sizeof(*e));
        e->key = mem_strdup(key);
        e->next = *bucket;
        *bucket = e;
    }
    return e;
}

bool rates_note(struct rates *r, const char *key, const struct cgroup_usage *u, uint64_t *nanocores,
                int64_t *window_ms)
{
    if (!u->has_cpu)
        return false;
    pthread_mutex_lock(&r->lock);
    struct entry *e = find(r, key);
    /* A counter or a clock that ran backwards: it is another group, or the clock was set. */
    if (e->newer_us && (u->cpu_ns < e->newer_ns || u->time_us < e->newer_us))
        e->older_us = e->newer_us = 0;
    bool use_newer = e->newer_us && u->time_us - e->newer_us >= RATE_MIN_MS * 1000;
    int64_t then_us = use_newer ? e->newer_us : e->older_us;
    uint64_t then_ns = use_newer ? e->newer_ns : e->older_ns;
    int64_t passed = u->time_us - then_us;
    bool known = then_us && passed >= RATE_MIN_MS * 1000;
    if (known) {
        *nanocores =
            (uint64_t)((unsigned __int128)(u->cpu_ns - then_ns) * 1000000 / (uint64_t)passed);
        *window_ms = passed / 1000;
    }
    if (!e->newer_us || use_newer) {
        e->older_us = e->newer_us;
        e->older_ns = e->newer_ns;
        e->newer_us = u->time_us;
        e->newer_ns = u->cpu_ns;
    }
    pthread_mutex_unlock(&r->lock);
    return known;
}

void rates_expire(struct rates *r, int64_t now_us)
{
    enum { FORGET_US = 60 * 1000000 };
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct entry **at = &r->buckets[i]; *at;) {
            struct entry *e = *at;
            if (now_us - e->newer_us < FORGET_US) {
                at = &e->next;
                continue;
            }
            *at = e->next;
            entry_free(e);
        }
    }
    pthread_mutex_unlock(&r->lock);
}
