/* Keeps the index as the watch cache has it.
 *
 * An event only notes which object changed; one thread then reads that object's newest state, so
 * neither the cache's thread nor a request ever waits for the parsing of a role. */
#include <pthread.h>
#include <string.h>
#include "apiserver/auth/rbac.h"
#include "apiserver/storage/cacher.h"
#include "common/json.h"
#include "common/mem.h"

enum { KINDS = 4 };
static const char *const plurals[KINDS] = {"clusterroles", "clusterrolebindings", "roles",
                                           "rolebindings"};

struct changed {
    struct changed *next;
    int kind;
    struct stored *object; /* names it */
};

/* One per process; the mutex guards the queue and behind. */
static struct {
    struct cache *caches[KINDS];
    struct cache_watcher watchers[KINDS];
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct changed *first, **last;
    bool behind; /* events were missed: all must be read anew */
} feed = {
    .mutex = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .last = &feed.first};

static void deliver(struct cache_watcher *w, struct cache_event *e)
{
    struct changed *c = mem_alloc(sizeof *c);
    c->kind = (int)(w - feed.watchers);
    c->object = stored_ref(e->object);
    pthread_mutex_lock(&feed.mutex);
    *feed.last = c;
    feed.last = &c->next;
    pthread_cond_signal(&feed.wake);
    pthread_mutex_unlock(&feed.mutex);
}

static void reset(struct cache_watcher *w)
{
    (void)w;
    pthread_mutex_lock(&feed.mutex);
    feed.behind = true;
    pthread_cond_signal(&feed.wake);
    pthread_mutex_unlock(&feed.mutex);
}

static const char *kind_of(int kind)
{
    return cache_resource(feed.caches[kind])->kind;
}

static void put(int kind, const struct stored *s)
{
    cleanup_json cJSON *object = json_parse(s->json, s->len, NULL);
    if (object)
        rbac_put(kind_of(kind), object);
    else /* what cannot be read grants nothing */
        rbac_remove(kind_of(kind), s->ns, s->name);
}

/* Reads all and registers for what comes. What comes meanwhile waits in the queue; reading an
 * object once more does no harm. */
static void build(void)
{
    rbac_rebuild_begin();
    for (int i = 0; i < KINDS; i++) {
        if (!feed.caches[i])
            continue;
        cache_unwatch(feed.caches[i], &feed.watchers[i]);
        feed.watchers[i] = (struct cache_watcher){.deliver = deliver, .reset = reset};
        uint64_t revision;
        struct tree_root *root = cache_watch_list(feed.caches[i], &feed.watchers[i], &revision);
        struct tree_cursor cursor;
        struct stored *s;
        tree_seek(&cursor, root, "", false);
        while ((s = tree_next(&cursor)))
            put(i, s);
        tree_root_unref(root);
    }
    rbac_rebuild_end();
}

static void refresh(struct changed *c)
{
    const struct stored *o = c->object;
    cleanup_stored struct stored *now = cache_get(feed.caches[c->kind], o->ns, o->name);
    if (now)
        put(c->kind, now);
    else
        rbac_remove(kind_of(c->kind), o->ns, o->name);
}

static void *run(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&feed.mutex);
    for (;;) {
        while (!feed.first && !feed.behind)
            pthread_cond_wait(&feed.wake, &feed.mutex);
        struct changed *list = feed.first;
        bool behind = feed.behind;
        feed.first = NULL;
        feed.last = &feed.first;
        feed.behind = false;
        pthread_mutex_unlock(&feed.mutex);
        if (behind)
            build();
        for (struct changed *c = list, *next; c; c = next) {
            next = c->next;
            refresh(c);
            stored_unref(c->object);
            free(c);
        }
        pthread_mutex_lock(&feed.mutex);
    }
    return NULL;
}

bool rbac_watch_start(struct storage *storage, struct error **err)
{
    for (int i = 0; i < KINDS; i++) {
        const struct resource *r = resource_find("rbac.authorization.k8s.io", "v1", plurals[i]);
        feed.caches[i] = r ? storage_cache(storage, r) : NULL;
    }
    build(); /* before the first request is judged */
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, NULL);
    if (rc) {
        error_set_errno(err, rc, "start a thread");
        return false;
    }
    pthread_detach(thread);
    return true;
}
