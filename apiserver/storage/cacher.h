/* The watch cache: per resource the objects in the order of their keys, the recent events, and who
 * watches.
 *
 * One thread reads the store's changes (all keys, one stream) and applies them in order. Everything
 * that I/O threads call here is short and waits for nothing; what must wait for the cache to be as
 * new as the store gives a function to be called later. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "apiserver/storage/storage.h"
#include "apiserver/storage/tree.h"
#include "common/buf.h"

struct cache;

enum event_type { EVENT_ADDED, EVENT_MODIFIED, EVENT_DELETED };
extern const char *const event_type_text[];

/* Bytes as sent to watchers, shared by all that want the same. */
struct encoded {
    int refs; /* atomic */
    size_t len;
    char bytes[];
};
struct encoded *encoded_new(size_t len);
struct encoded *encoded_ref(struct encoded *e);
void encoded_unref(void *e);

struct cache_event {
    int refs; /* atomic */
    enum event_type type;
    uint64_t revision;
    struct stored *object;   /* DELETED: the last state, with the revision of the deletion */
    struct stored *old;      /* the state before; NULL for ADDED */
    int64_t time_ms;         /* monotonic */
    /* By type; made when first asked for; under the watchers' lock. */
    struct encoded *line[3], *frame[3];
};
struct cache_event *cache_event_ref(struct cache_event *e);
void cache_event_unref(struct cache_event *e);
/* {"type":"...","object":...}\n of the event as it looks to somebody for whom it is of this type.
 * Borrowed. Only inside of deliver(). */
struct encoded *cache_event_line(struct cache_event *e, enum event_type as);
/* The same as a frame of a protobuf watch; empty when the object's kind has no such form. */
struct encoded *cache_event_frame(struct cache_event *e, enum event_type as);

/* Somebody who is told of events. */
struct cache_watcher {
    struct cache_watcher *next, **link; /* NULL link: not registered */
    uint64_t since;                     /* only events after this revision */
    /* In order, on the cache's thread (or in cache_watch), under the watchers' lock: must not block
     * nor call back here. */
    void (*deliver)(struct cache_watcher *w, struct cache_event *e);
    /* The cache was loaded anew: there is a gap, the watch must end. Under the watchers' lock. */
    void (*reset)(struct cache_watcher *w);
};

/* NULL when this resource has no objects of its own. */
struct cache *storage_cache(struct storage *s, const struct resource *r);
const struct resource *cache_resource(const struct cache *c);
/* "/registry/pods/" or "/registry/pods/<ns>/"; appended. */
void cache_prefix(const struct cache *c, const char *ns, struct buf *out);
/* The revision that everything applied so far has reached. */
uint64_t storage_revision(struct storage *s);
/* A reference, or NULL. */
struct stored *cache_get(struct cache *c, const char *ns, const char *name);
/* All objects as of *revision. */
struct tree_root *cache_snapshot(struct cache *c, uint64_t *revision);
/* Snapshots remembered for limit/continue (a few, for some minutes). NULL when not there (any
 * more). */
struct tree_root *cache_snapshot_at(struct cache *c, uint64_t revision);
void cache_remember(struct cache *c, struct tree_root *root, uint64_t revision);

/* Registers, after delivering the events since w->since that are still known. False with 410
 * Expired otherwise. */
bool cache_watch(struct cache *c, struct cache_watcher *w, struct error **err);
/* Registers and gives what there is; w->since is set. */
struct tree_root *cache_watch_list(struct cache *c, struct cache_watcher *w, uint64_t *revision);
/* After this, deliver and reset are not called any more. */
void cache_unwatch(struct cache *c, struct cache_watcher *w);
/* The watchers' lock, for what must not race with deliver(). The revision up to which everything
 * was delivered. */
uint64_t cache_lock_watchers(struct cache *c);
void cache_unlock_watchers(struct cache *c);
size_t cache_watcher_count(struct cache *c);

/* --- waiting without blocking --- */
/* Calls fn once, on a thread of the storage or at once: err is NULL when the cache has become as
 * new as the store was at some moment after this call; else 503/504. fn must be short. */
typedef void storage_fn(void *userdata, const struct error *err);
void storage_consistent(struct storage *s, storage_fn *fn, void *userdata);
/* The same once the cache has reached a revision that the client named; after 3 s 504 "Too large
 * resource version". */
void storage_wait_revision(struct storage *s, uint64_t revision, storage_fn *fn, void *userdata);

/* Objects of a range as they were at a revision, from the store itself (blocks). after: key to go
 * on behind, or NULL. limit 0: all. 410 when it was compacted. *more: there are further ones;
 * *remaining: how many, or -1. */
bool storage_range_at(struct storage *s, const struct resource *r, const char *ns,
                      const char *after, uint64_t revision, size_t limit, struct stored ***items,
                      size_t *count, int64_t *remaining, struct error **err);
