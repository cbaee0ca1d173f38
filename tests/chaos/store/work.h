/* The workload: clients of the store that note down what they did and saw. */
#pragma once
#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include "common/buf.h"
#include "tests/chaos/store/history.h"

#define MAX_MEMBERS   9
#define WATCHERS      3
#define FINAL_WATCHER 100 /* + member: watches that begin when all is over */

struct work {
    char *endpoints[MAX_MEMBERS]; /* http://host:port */
    int members;
    uint64_t seed;
    FILE *out;
    pthread_mutex_t lock; /* out, and waiting for the end */
    pthread_cond_t cond;
    bool stop;                   /* clients end */
    atomic_bool abandon;         /* watchers end, though they have not seen everything */
    atomic_llong until;          /* watchers end when they have seen so far; 0: not known yet */
    atomic_llong seen[WATCHERS]; /* how far each watcher is */
    atomic_llong compacted;      /* highest revision that anybody asked to be compacted */
    atomic_llong next_value, next_op;
    atomic_llong ok, failed, unknown; /* operations, by outcome */
};

int64_t work_now(void); /* microseconds */
/* Waits; false when clients are to end. */
bool work_pause(struct work *w, int ms);
void work_record(struct work *w, const struct hist_record *r);

/* splitmix64: each thread has its own sequence, made of the seed and its number. */
struct prng {
    uint64_t state;
};
uint64_t prng_next(struct prng *p);
static inline int prng_below(struct prng *p, int n)
{
    return (int)(prng_next(p) % (unsigned)n);
}

/* A value is its number and a filling that follows from it, of 20 B up to 16 KB, in base64. */
void value_encode(int64_t value, struct buf *b);
/* The number; -1 if the value is damaged. */
int64_t value_decode(const char *base64);

/* One client's connections, one a member. */
struct conn {
    struct work *w;
    CURL *curl[MAX_MEMBERS];
    int64_t number[MAX_MEMBERS]; /* grows with each new connection */
};
void conn_open(struct conn *c, struct work *w);
void conn_close(struct conn *c);
/* POSTs. The answer's JSON (caller's) if it is 200, else NULL. A change is never sent on a connection that was used before: libcurl
 * would send it a second time if that turns out to be closed. */
cJSON *conn_call(struct conn *c, int member, const char *path, const char *body, bool change, enum hist_outcome *outcome);

/* Threads. arg of each: struct worker. */
struct worker {
    struct work *w;
    int number;
    int64_t start; /* watchers: first revision */
    int member;    /* watchers: only this member, or -1 */
    pthread_t thread;
};
void *work_client(void *arg);
void *work_leases(void *arg);
void *work_watch(void *arg);

int64_t json_number(const cJSON *j, const char *path); /* a number or, as etcd writes it, a string */
