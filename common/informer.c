/* The reflector: list, then watch from there on, for ever.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes */
#include "common/informer.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "common/informer_store.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"

#define BACKOFF_MIN_MS 100
#define BACKOFF_MAX_MS 5000
#define REFUSED_MAX_MS                                                                                       \
    1000 /* when nobody answers, which costs nobody anything: servers are back within a second or two */
#define WATCH_MIN_S    300   /* watches are ended by the server after 5 to 10 minutes, spread by chance */
#define SILENCE_MAX_MS 90000 /* bookmarks come each minute; a longer silence is a dead server */

/* --- objects --- */

struct kube_object *kube_object_new(cJSON *json)
{
    struct kube_object *o = mem_alloc(sizeof(*o));
    o->refs = 1;
    o->json = json;
    cJSON *metadata = json_get(json, "metadata");
    if (metadata)
        cJSON_Delete(cJSON_DetachItemFromObjectCaseSensitive(metadata, "managedFields"));
    o->ns = json_str_or(metadata, "namespace", "");
    o->name = json_str_or(metadata, "name", "");
    o->uid = json_str_or(metadata, "uid", "");
    o->resource_version = json_str_or(metadata, "resourceVersion", "");
    o->key = *o->ns ? mem_printf("%s/%s", o->ns, o->name) : mem_strdup(o->name);
    return o;
}

struct kube_object *kube_object_ref(struct kube_object *o)
{
    if (o)
        __atomic_add_fetch(&o->refs, 1, __ATOMIC_RELAXED);
    return o;
}

void kube_object_unref(struct kube_object *o)
{
    if (!o || __atomic_sub_fetch(&o->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    cJSON_Delete(o->json);
    free(o->key);
    free(o);
}

void kube_object_cleanup(struct kube_object **o)
{
    kube_object_unref(*o);
}

void kube_object_list_clear(struct kube_object_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        kube_object_unref(l->items[i]);
    free(l->items);
    *l = (struct kube_object_list){0};
}

/* --- the informer --- */

struct handler {
    struct handler *next;
    informer_handler *fn;
    void *userdata;
};

struct informer {
    struct kube_client *client;
    char *api_version, *resource, *ns, *label_selector, *field_selector;
    char *kind; /* of the items, learned from the list */
    struct handler *handlers;
    pthread_t thread;
    bool metadata_only;
    void (*strip)(cJSON *object);
    bool started;
    volatile bool stop;

    pthread_mutex_t lock; /* of the store and the wake-ups below */
    pthread_cond_t changed;
    struct store store;
    atomic_bool synced;
    char resource_version[32]; /* written by the thread, under the lock */

    /* The thread's own. */
    bool must_list;       /* no usable resourceVersion */
    bool list_consistent; /* the last resourceVersion was refused: ask for the newest state */
    bool heard;           /* the current watch brought something */
    bool failing;         /* an error was logged and nothing worked since */
    unsigned seed;
    struct error *watch_error; /* an ERROR event */
};

struct informer *informer_new(const struct informer_options *o)
{
    struct informer *i = mem_alloc(sizeof(*i));
    i->client = o->client;
    i->api_version = mem_strdup(o->api_version);
    i->resource = mem_strdup(o->resource);
    i->ns = mem_strdup(o->ns);
    i->label_selector = mem_strdup(o->label_selector);
    i->field_selector = mem_strdup(o->field_selector);
    pthread_mutex_init(&i->lock, NULL);
    thread_cond_init(&i->changed);
    store_init(&i->store);
    i->must_list = true;
    i->metadata_only = o->metadata_only;
    i->strip = o->strip;
    i->list_consistent = o->consistent;
    i->seed = (unsigned)time_now_micros() ^ (unsigned)(uintptr_t)i;
    return i;
}

void informer_add_handler(struct informer *i, informer_handler *fn, void *userdata)
{
    struct handler **at = &i->handlers;
    while (*at)
        at = &(*at)->next;
    *at = mem_alloc(sizeof(**at));
    (*at)->fn = fn;
    (*at)->userdata = userdata;
}

void informer_add_index(struct informer *i, const char *index_name, informer_index_fn *fn)
{
    store_add_index(&i->store, index_name, fn);
}

static void notify(struct informer *i, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    for (struct handler *h = i->handlers; h; h = h->next)
        h->fn(h->userdata, event, old, new_object);
}

static bool stopped(const struct informer *i)
{
    return __atomic_load_n(&i->stop, __ATOMIC_ACQUIRE);
}

/* With the lock held. */
static void set_resource_version(struct informer *i, const char *rv)
{
    if (rv && *rv)
        snprintf(i->resource_version, sizeof(i->resource_version), "%s", rv);
}

/* Stores the object (its reference is taken), with the version that the store now has, and tells the
 * handlers. */
static void upsert(struct informer *i, struct kube_object *o, const char *rv)
{
    /* Deleted and made again while we were not looking: two objects, not one that changed. */
    pthread_mutex_lock(&i->lock);
    struct kube_object *known = store_find(&i->store, o->key);
    cleanup_object struct kube_object *dead =
        known && strcmp(known->uid, o->uid) ? store_remove(&i->store, o->key) : NULL;
    pthread_mutex_unlock(&i->lock);
    if (dead)
        notify(i, INFORMER_DELETED, dead, NULL);
    pthread_mutex_lock(&i->lock);
    cleanup_object struct kube_object *old = store_put(&i->store, o);
    set_resource_version(i, rv);
    pthread_mutex_unlock(&i->lock);
    notify(i, old ? INFORMER_UPDATED : INFORMER_ADDED, old, o);
    kube_object_unref(o);
}

/* Items of a list come without apiVersion and kind. */
static struct kube_object *object_from(struct informer *i, cJSON *json)
{
    if (!json_get(json, "apiVersion"))
        json_set_str(json, "apiVersion", i->api_version);
    if (!json_get(json, "kind") && i->kind)
        json_set_str(json, "kind", i->kind);
    for (cJSON *m = i->metadata_only ? json->child : NULL, *next; m; m = next) {
        next = m->next;
        if (strcmp(m->string, "apiVersion") && strcmp(m->string, "kind") && strcmp(m->string, "metadata"))
            cJSON_Delete(cJSON_DetachItemViaPointer(json, m));
    }
    if (i->strip)
        i->strip(json);
    return kube_object_new(json);
}

static void add_selectors(const struct informer *i, struct buf *path)
{
    if (i->label_selector) {
        buf_adds(path, "&labelSelector=");
        buf_add_urlencoded(path, i->label_selector);
    }
    if (i->field_selector) {
        buf_adds(path, "&fieldSelector=");
        buf_add_urlencoded(path, i->field_selector);
    }
}

static void replace_store(struct informer *i, cJSON *list)
{
    const char *list_kind = json_str_or(list, "kind", "");
    size_t n = strlen(list_kind);
    if (!i->kind && n > 4 && !strcmp(list_kind + n - 4, "List"))
        i->kind = mem_strndup(list_kind, n - 4);
    pthread_mutex_lock(&i->lock);
    store_begin_replace(&i->store);
    pthread_mutex_unlock(&i->lock);
    cJSON *items = json_get(list, "items");
    for (cJSON *json; items && (json = items->child);) {
        cJSON_DetachItemViaPointer(items, json);
        if (!cJSON_IsObject(json)) {
            cJSON_Delete(json);
            continue;
        }
        struct kube_object *o = object_from(i, json);
        pthread_mutex_lock(&i->lock);
        struct kube_object *old = store_find(&i->store, o->key);
        bool same = old && !strcmp(old->resource_version, o->resource_version) && !strcmp(old->uid, o->uid);
        if (same)
            store_touch(&i->store, o->key);
        pthread_mutex_unlock(&i->lock);
        if (same)
            kube_object_unref(o);
        else
            upsert(i, o, NULL);
    }
    for (;;) {
        pthread_mutex_lock(&i->lock);
        cleanup_object struct kube_object *gone = store_take_stale(&i->store);
        pthread_mutex_unlock(&i->lock);
        if (!gone)
            break;
        notify(i, INFORMER_DELETED, gone, NULL);
    }
    pthread_mutex_lock(&i->lock);
    set_resource_version(i, json_str(list, "metadata.resourceVersion"));
    pthread_mutex_unlock(&i->lock);
}

static bool list(struct informer *i, struct error **err)
{
    cleanup_buf struct buf path = {0};
    kube_path(&path, i->api_version, i->resource, i->ns, NULL, NULL);
    /* The first list may come from the server's cache; after a refusal we want the newest state, and never
     * one older than what was seen already. */
    if (i->list_consistent)
        buf_adds(&path, "?limit=0");
    else
        buf_printf(&path, "?resourceVersion=%s", *i->resource_version ? i->resource_version : "0");
    add_selectors(i, &path);
    cleanup_json cJSON *answer = kube_get(i->client, path.data, err);
    if (!answer)
        return false;
    if (!cJSON_IsArray(json_get(answer, "items")) && !cJSON_IsNull(json_get(answer, "items"))) {
        error_setf(err, "listing %s: the answer is no list", i->resource);
        return false;
    }
    replace_store(i, answer);
    i->must_list = i->list_consistent = false;
    if (!atomic_load(&i->synced)) {
        pthread_mutex_lock(&i->lock);
        atomic_store(&i->synced, true);
        pthread_cond_broadcast(&i->changed);
        pthread_mutex_unlock(&i->lock);
    }
    return true;
}

static bool on_watch_line(void *userdata, const char *line, size_t len)
{
    struct informer *i = userdata;
    cleanup_json cJSON *event = json_parse(line, len, NULL);
    const char *type = json_str_or(event, "type", "");
    cJSON *object = json_get(event, "object");
    if (!cJSON_IsObject(object))
        return !stopped(i); /* cut short by a dying server: the next watch brings it again */
    if (!strcmp(type, "ERROR")) {
        int code = (int)json_int(object, "code", 500);
        bool gone = code == 410 || !strcmp(json_str_or(object, "reason", ""), "Expired");
        error_set(&i->watch_error, gone ? 410 : code, gone ? "Expired" : "", "%s",
                  json_str_or(object, "message", "unknown"));
        return false;
    }
    i->heard = true;
    cleanup_free char *rv = mem_strdup(json_str_or(object, "metadata.resourceVersion", ""));
    if (!strcmp(type, "ADDED") || !strcmp(type, "MODIFIED")) {
        cJSON_DetachItemViaPointer(event, object);
        upsert(i, object_from(i, object), rv);
    } else if (!strcmp(type, "DELETED")) {
        cJSON_DetachItemViaPointer(event, object);
        cleanup_object struct kube_object *last = object_from(i, object);
        pthread_mutex_lock(&i->lock);
        cleanup_object struct kube_object *old = store_remove(&i->store, last->key);
        set_resource_version(i, rv);
        pthread_mutex_unlock(&i->lock);
        if (old)
            notify(i, INFORMER_DELETED, strcmp(old->uid, last->uid) ? old : last, NULL);
    } else if (!strcmp(type, "BOOKMARK")) {
        pthread_mutex_lock(&i->lock);
        set_resource_version(i, rv);
        pthread_mutex_unlock(&i->lock);
    }
    return !stopped(i);
}

static bool watch(struct informer *i, struct error **err)
{
    cleanup_buf struct buf path = {0};
    kube_path(&path, i->api_version, i->resource, i->ns, NULL, NULL);
    buf_printf(&path, "?watch=true&allowWatchBookmarks=true&resourceVersion=%s&timeoutSeconds=%d",
               i->resource_version, WATCH_MIN_S + (int)(rand_r(&i->seed) % WATCH_MIN_S));
    add_selectors(i, &path);
    i->heard = false;
    bool ok = kube_stream_quiet(i->client, path.data, on_watch_line, i, &i->stop, SILENCE_MAX_MS, err);
    if (i->watch_error) {
        error_move(err, i->watch_error);
        i->watch_error = NULL;
        ok = false;
    }
    return ok;
}

/* Waits, unless told to stop, with up to a quarter more by chance so that clients don't come all at once. */
static void pause_ms(struct informer *i, int ms)
{
    int64_t until = time_monotonic_ms() + ms + rand_r(&i->seed) % (unsigned)(ms / 4 + 1);
    pthread_mutex_lock(&i->lock);
    while (!stopped(i) && time_monotonic_ms() < until)
        thread_cond_wait_until(&i->changed, &i->lock, until);
    pthread_mutex_unlock(&i->lock);
}

static void *run(void *arg)
{
    struct informer *i = arg;
    int backoff = BACKOFF_MIN_MS;
    while (!stopped(i)) {
        cleanup_error struct error *err = NULL;
        int64_t started = time_monotonic_ms();
        bool listing = i->must_list;
        bool ok = listing ? list(i, &err) : watch(i, &err);
        if (stopped(i))
            break;
        if (ok && i->failing) {
            log_info("Connection to the API works again", "resource", i->resource);
            i->failing = false;
        }
        bool worked = ok && listing;
        /* A watch that lived was fine, however it ended. */
        if (!listing && (i->heard || (ok && time_monotonic_ms() - started > 1000)))
            worked = true;
        if (worked)
            backoff = BACKOFF_MIN_MS;
        if (ok && worked)
            continue;
        if (err && (err->code == 410 || kube_error_is(err, "Expired") || kube_error_is(err, "Gone"))) {
            log_debug(1, "Listing again", "resource", i->resource, "why", err->message);
            if (!i->list_consistent) {
                i->must_list = i->list_consistent = true;
                continue;
            }
        } else if (err && listing && err->code == 504) {
            i->list_consistent = true; /* this server has not reached our resourceVersion yet */
        }
        if (err) {
            if (!i->failing)
                log_warn(listing ? "Cannot list" : "Watch ended", "resource", i->resource, "error",
                         err->message);
            else
                log_debug(2, listing ? "Cannot list" : "Watch ended", "resource", i->resource, "error",
                          err->message);
            i->failing = i->failing || listing || !i->heard;
        }
        pause_ms(i, backoff);
        int max = err && err->code == 0 ? REFUSED_MAX_MS : BACKOFF_MAX_MS;
        backoff = backoff * 2 > max ? max : backoff * 2;
    }
    return NULL;
}

void informer_start(struct informer *i)
{
    if (!i->started && thread_start(&i->thread, run, i))
        i->started = true;
    else if (!i->started)
        log_error("Cannot start a thread", "resource", i->resource);
}

bool informer_wait_synced(struct informer *i)
{
    pthread_mutex_lock(&i->lock);
    while (!stopped(i) && !atomic_load(&i->synced))
        pthread_cond_wait(&i->changed, &i->lock);
    pthread_mutex_unlock(&i->lock);
    return atomic_load(&i->synced);
}

bool informer_synced(const struct informer *i)
{
    return atomic_load(&i->synced);
}

struct kube_object *informer_get(struct informer *i, const char *key)
{
    pthread_mutex_lock(&i->lock);
    struct kube_object *o = kube_object_ref(store_find(&i->store, key));
    pthread_mutex_unlock(&i->lock);
    return o;
}

struct kube_object *informer_get_ns(struct informer *i, const char *ns, const char *name)
{
    if (!ns || !*ns)
        return informer_get(i, name);
    cleanup_free char *key = mem_printf("%s/%s", ns, name);
    return informer_get(i, key);
}

void informer_list(struct informer *i, struct kube_object_list *out)
{
    pthread_mutex_lock(&i->lock);
    store_list(&i->store, out);
    pthread_mutex_unlock(&i->lock);
}

void informer_by_index(struct informer *i, const char *index_name, const char *value,
                       struct kube_object_list *out)
{
    pthread_mutex_lock(&i->lock);
    store_by_index(&i->store, index_name, value, out);
    pthread_mutex_unlock(&i->lock);
}

unsigned long long informer_resource_version(struct informer *i)
{
    pthread_mutex_lock(&i->lock);
    unsigned long long rv = strtoull(i->resource_version, NULL, 10);
    pthread_mutex_unlock(&i->lock);
    return rv;
}

void informer_stop(struct informer *i)
{
    pthread_mutex_lock(&i->lock);
    __atomic_store_n(&i->stop, true, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&i->changed);
    pthread_mutex_unlock(&i->lock);
    kube_stream_wake(i->client, &i->stop);
}

void informer_free(struct informer *i)
{
    if (!i)
        return;
    informer_stop(i);
    if (i->started)
        pthread_join(i->thread, NULL);
    for (struct handler *h = i->handlers, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    store_free(&i->store);
    pthread_mutex_destroy(&i->lock);
    pthread_cond_destroy(&i->changed);
    error_free(i->watch_error);
    free(i->api_version);
    free(i->resource);
    free(i->ns);
    free(i->label_selector);
    free(i->field_selector);
    free(i->kind);
    free(i);
}

/* --- index functions --- */

void informer_index_owner_uid(const cJSON *object, void (*add)(void *, const char *), void *ctx)
{
    const cJSON *owner;
    cJSON_ArrayForEach(owner, json_path(object, "metadata.ownerReferences")) {
        const char *uid = json_str(owner, "uid");
        if (uid)
            add(ctx, uid);
    }
}

void informer_index_controller_uid(const cJSON *object, void (*add)(void *, const char *), void *ctx)
{
    const cJSON *owner;
    cJSON_ArrayForEach(owner, json_path(object, "metadata.ownerReferences")) {
        const char *uid = json_str(owner, "uid");
        if (uid && json_bool(owner, "controller", false))
            add(ctx, uid);
    }
}

void informer_index_node_name(const cJSON *object, void (*add)(void *, const char *), void *ctx)
{
    const char *node = json_str(object, "spec.nodeName");
    if (node && *node)
        add(ctx, node);
}
