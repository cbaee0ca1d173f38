/* What the tests of etcd-lite's state share. */
#pragma once
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "etcd-lite/state.h"

static int64_t test_clock_ms = 1000;

static inline int64_t test_now_ms(void)
{
    return test_clock_ms;
}

static inline struct bytes B(const char *s) {
    return (struct bytes){s, strlen(s)};
}

static inline bool
bytes_are(struct bytes b, const char *s)
{
    return b.n == strlen(s) && memcmp(b.p, s, b.n) == 0;
}

static inline enum kv_status put(struct state *s, const char *key, const char *value, int64_t lease)
{
    struct arena a = {0};
    struct apply_result r;
    struct put_request p = {.key = B(key), .value = B(value), .lease = lease};
    state_apply(s, &(struct command){.put = &p}, &a, &r);
    arena_free(&a);
    return r.status;
}

static inline int64_t delete_range(struct state *s, const char *key, const char *end)
{
    struct arena a = {0};
    struct apply_result r;
    struct delete_range_request d = {.key = B(key), .range_end = B(end)};
    state_apply(s, &(struct command){.delete_range = &d}, &a, &r);
    int64_t n = ((struct delete_range_response *)r.response)->deleted;
    arena_free(&a);
    return n;
}

static inline enum kv_status compact(struct state *s, int64_t revision)
{
    struct arena a = {0};
    struct apply_result r;
    struct compaction_request c = {.revision = revision};
    state_apply(s, &(struct command){.compaction = &c}, &a, &r);
    arena_free(&a);
    return r.status;
}

static inline void collect_all(struct state *s)
{
    while (mvcc_collect(s->kv, 7))
        ;
}

/* The value that a reader at the revision sees; "" when none. */
static inline const char *value_at(struct state *s, const char *key, int64_t revision)
{
    static char text[256];
    struct kv_key *k = mvcc_find(s->kv, B(key));
    struct kv_version *v = k ? mvcc_visible(k, revision) : NULL;
    snprintf(text, sizeof(text), "%.*s", v ? (int)v->value_len : 0, v ? v->value : "");
    return text;
}

/* A small generator of our own: the same numbers everywhere. */
static inline unsigned chance(uint64_t *seed, unsigned n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*seed >> 33) % n;
}
