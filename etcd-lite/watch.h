/* Watches: each event once, in order, from any revision that is not compacted.
 *
 * A watcher is either synced (it hears of changes as they are applied) or behind (it started in the
 * past, or its client reads slowly): then it is fed from the revision log when its client has room.
 * Nothing is queued for it here: a slow client costs no memory. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "etcd-lite/mvcc.h"

#define WATCH_EVENT_FORMS 4

struct watcher;
/* One event as some watchers get it. encoded: for whoever sends, to keep its form of the event
 * while the same one goes to several watchers: whatever forms it has. */
struct watch_event {
    struct kv_version *version;
    struct kv_version *prev; /* NULL when there was none or it is compacted */
    void *encoded[WATCH_EVENT_FORMS];
};

struct watch_sink {
    /* Events of complete revisions up to `revision`; never empty. */
    void (*events)(void *userdata, struct watcher *w, struct watch_event *const *events, size_t n,
                   int64_t revision);
    void (*progress)(void *userdata, struct watcher *w, int64_t revision);
    /* What it waits for is compacted; the watcher is freed after this. */
    void (*compacted)(void *userdata, struct watcher *w, int64_t compact_revision);
    bool (*has_room)(void *userdata, struct watcher *w);
    void (*forget_encoded)(void *userdata, void *encoded);
    void *userdata;
};
struct watch_options {
    struct bytes key, range_end; /* copied */
    int64_t start_revision;      /* 0: from now on */
    bool prev_kv, no_put, no_delete, progress_notify;
    /* For the sink. */
    int64_t id;
    bool fragment;
    void *stream;
};

struct watch_hub;
struct watch_hub *watch_hub_new(const struct watch_sink *sink);
void watch_hub_free(struct watch_hub *h);
size_t watch_hub_count(const struct watch_hub *h);

struct watcher *watch_add(struct watch_hub *h, const struct mvcc *m, const struct watch_options *o);
void watch_remove(struct watch_hub *h, struct watcher *w);
const struct watch_options *watch_get_options(const struct watcher *w);

/* Versions from log position `from` on are new. */
void watch_notify(struct watch_hub *h, const struct mvcc *m, size_t from);
/* The store was replaced (a snapshot came): all watchers look again at the log. */
void watch_resync(struct watch_hub *h);
/* Feeds those behind; true when some could go on at once. Call again also when a client has room
 * again. */
bool watch_catch_up(struct watch_hub *h, const struct mvcc *m);
/* Tells synced watchers with progress_notify the revision, if they have not heard of it. force: all
 * of this stream. */
void watch_send_progress(struct watch_hub *h, const struct mvcc *m, const void *force_stream);
bool watch_is_synced(const struct watcher *w);
