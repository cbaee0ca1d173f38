/* What the parts of the storage share: stored.c (one object), cacher.c (caches and events), sync.c
 * (the thread that follows the store, and waiting for it), storage.c (writes), upkeep.c (the
 * leader, compaction, keys with a time to live). */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "apiserver/resource.h"
#include "apiserver/storage/cacher.h"
#include "apiserver/storage/etcd_client.h"
#include "apiserver/storage/storage.h"

#define REGISTRY "/registry/"

/* --- stored.c --- */
/* value: JSON as the store has it. dom: the same parsed, or NULL. NULL when it is no object. */
struct stored *stored_new(const struct resource *r, const char *key, uint64_t revision,
                          const char *value, size_t len, const cJSON *dom);
/* The same object with another resourceVersion (what a DELETED event shows). */
struct stored *stored_at_revision(const struct stored *s, uint64_t revision);
/* The form that is written: kind, apiVersion, metadata first; no resourceVersion. */
void stored_print(const cJSON *object, struct buf *out);

/* --- cacher.c --- */
struct event_ring {
    struct cache_event **items;
    size_t cap, first, count, bytes;
    uint64_t floor; /* all events after this revision are here */
};
struct remembered {
    struct tree_root *root;
    uint64_t revision;
    int64_t time_ms;
};
#define REMEMBER_MAX 16

struct cache {
    const struct resource *resource;
    struct storage *storage;
    char *prefix; /* "/registry/pods/" */
    size_t prefix_len;
    /* Lock order: watchers_mutex, then tree_mutex. */
    pthread_mutex_t watchers_mutex;
    struct cache_watcher *watchers;
    struct event_ring ring;
    pthread_mutex_t tree_mutex;
    struct tree tree;
    uint64_t revision; /* of the last change of this resource */
    struct remembered remembered[REMEMBER_MAX];
};
struct cache *cache_new(struct storage *s, const struct resource *r);
void cache_free(struct cache *c);
/* Forgets events and snapshots that are too old to be asked for. */
void cache_tidy(struct cache *c);
/* Replaces everything: tree (taken) as of revision. */
void cache_load(struct cache *c, struct tree *tree, uint64_t revision);
/* object: taken; NULL: the key was deleted. */
void cache_apply(struct cache *c, const char *key, struct stored *object, uint64_t revision);

/* --- sync.c --- */
#define READERS 2
struct waiter {
    struct waiter *next;
    uint64_t revision;
    int64_t deadline_ms;
    bool named; /* the client named the revision */
    storage_fn *fn;
    void *userdata;
};
#define CACHES_MAX 2048
struct storage {
    struct etcd_client *etcd;
    struct etcd_watch *watch;
    struct cache **caches; /* room for CACHES_MAX; only grows, by the thread that follows the store */
    atomic_size_t cache_count;
    atomic_bool stopping, reload;
    atomic_uint_fast64_t revision;
    pthread_t sync_thread, timer_thread, readers[READERS], upkeep_thread;
    int64_t compaction_interval_ms;

    pthread_mutex_t mutex;  /* all below */
    pthread_cond_t changed; /* ready, stopping */
    pthread_cond_t asked;   /* asking is not empty, stopping */
    bool ready;
    struct waiter *asking, *asking_end; /* want a question to be put to the store */
    struct waiter *waiting;             /* for a revision */
    struct cache *added;                /* to be loaded and joined to the others */
    unsigned questions;                 /* on their way */
    bool asked_for_several;
    int64_t asked_us;                   /* when the last was put; monotonic */

    pthread_mutex_t lease_mutex; /* shared leases, by ttl */
    struct {
        int64_t ttl, made_ms;
        uint64_t id;
    } leases[4];
};
bool sync_start(struct storage *s, struct error **err);
void sync_stop(struct storage *s);
struct cache *sync_find_cache(struct storage *s, const char *key);

/* --- added.c --- */
/* Loads what was added; on the thread that follows the store. */
void storage_load_added(struct storage *s);

/* --- upkeep.c --- */
bool upkeep_start(struct storage *s, struct error **err);
void upkeep_stop(struct storage *s);
/* A lease that lives for at least ttl seconds more; many keys share one. 0 with an error. */
uint64_t upkeep_lease(struct storage *s, int64_t ttl, struct error **err);
void upkeep_forget_lease(struct storage *s, uint64_t id);
