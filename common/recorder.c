/* Events about objects, with client-go's correlation: equal events are counted up, similar ones are combined,
 * and a source that floods one object is cut off. */
#include "common/recorder.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"

#define QUEUE_MAX        1000
#define CACHE_MAX        1024
#define MESSAGE_MAX      1024
#define SPAM_BURST       25.0
#define SPAM_REFILL_MS   300000.0 /* one more event each five minutes */
#define SIMILAR_MAX      10
#define SIMILAR_WINDOW_S 600
#define ATTEMPTS_MAX     12

struct event {
    struct event *next;
    cJSON *json; /* complete, ready to be created */
};

enum cached_kind { CACHED_EVENT, CACHED_SIMILAR, CACHED_SPAM };

/* What is remembered of earlier events; the least recently used is forgotten first. */
struct cached {
    struct cached *newer, *older;
    struct cached *chain;
    enum cached_kind kind;
    unsigned hash;
    char *key;
    /* CACHED_EVENT: the event in the API. */
    char *name;
    int64_t count;
    char first_timestamp[TIME_TEXT_MAX];
    /* CACHED_SIMILAR */
    int64_t similar, last_s;
    unsigned messages[SIMILAR_MAX]; /* hashes of the different messages seen */
    /* CACHED_SPAM */
    double tokens;
    int64_t refilled_ms;
};

struct recorder {
    struct kube_client *client;
    char *component, *host;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct event *head, **tail;
    int queued;
    bool busy, stop, started;
    /* The thread's own. */
    struct cached *slots[256];
    struct cached *newest, *oldest;
    int cached;
};

static unsigned hash_text(const char *s)
{
    unsigned h = 2166136261u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

/* --- the cache --- */

static void lru_unlink(struct recorder *r, struct cached *c)
{
    *(c->newer ? &c->newer->older : &r->newest) = c->older;
    *(c->older ? &c->older->newer : &r->oldest) = c->newer;
}

static void lru_push(struct recorder *r, struct cached *c)
{
    c->newer = NULL;
    c->older = r->newest;
    *(r->newest ? &r->newest->newer : &r->oldest) = c;
    r->newest = c;
}

static void cache_drop(struct recorder *r, struct cached *c)
{
    struct cached **at = &r->slots[c->hash % ARRAY_LEN(r->slots)];
    while (*at != c)
        at = &(*at)->chain;
    *at = c->chain;
    lru_unlink(r, c);
    r->cached--;
    free(c->key);
    free(c->name);
    free(c);
}

static struct cached *cache_get(struct recorder *r, enum cached_kind kind, const char *key)
{
    unsigned h = hash_text(key) + (unsigned)kind;
    struct cached *c = r->slots[h % ARRAY_LEN(r->slots)];
    while (c && (c->hash != h || c->kind != kind || strcmp(c->key, key)))
        c = c->chain;
    if (c) {
        lru_unlink(r, c);
        lru_push(r, c);
        return c;
    }
    if (r->cached >= CACHE_MAX)
        cache_drop(r, r->oldest);
    c = mem_alloc(sizeof(*c));
    c->kind = kind;
    c->hash = h;
    c->key = mem_strdup(key);
    c->chain = r->slots[h % ARRAY_LEN(r->slots)];
    r->slots[h % ARRAY_LEN(r->slots)] = c;
    r->cached++;
    if (kind == CACHED_SPAM)
        c->tokens = SPAM_BURST;
    lru_push(r, c);
    return c;
}

/* --- correlation --- */

/* Who speaks about what. */
static void add_object_key(struct buf *key, const cJSON *event)
{
    static const char *const fields[] = {"source.component",    "source.host",
                                         "involvedObject.kind", "involvedObject.namespace",
                                         "involvedObject.name", "involvedObject.fieldPath",
                                         "involvedObject.uid",  "involvedObject.apiVersion"};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        buf_printf(key, "%s\x1f", json_str_or(event, fields[i], ""));
}

static bool is_spam(struct recorder *r, const cJSON *event)
{
    cleanup_buf struct buf key = {0};
    add_object_key(&key, event);
    struct cached *c = cache_get(r, CACHED_SPAM, key.data);
    int64_t now = time_monotonic_ms();
    if (c->refilled_ms) {
        c->tokens += (double)(now - c->refilled_ms) / SPAM_REFILL_MS;
        if (c->tokens > SPAM_BURST)
            c->tokens = SPAM_BURST;
    }
    c->refilled_ms = now;
    if (c->tokens < 1)
        return true;
    c->tokens -= 1;
    return false;
}

/* More than ten different messages for one reason within ten minutes become one event. */
static bool is_one_of_many(struct recorder *r, const cJSON *event)
{
    cleanup_buf struct buf key = {0};
    add_object_key(&key, event);
    buf_printf(&key, "%s\x1f%s", json_str_or(event, "type", ""), json_str_or(event, "reason", ""));
    struct cached *c = cache_get(r, CACHED_SIMILAR, key.data);
    int64_t now = time_now_seconds();
    if (now - c->last_s > SIMILAR_WINDOW_S)
        c->similar = 0;
    c->last_s = now;
    unsigned h = hash_text(json_str_or(event, "message", ""));
    for (int64_t i = 0; i < c->similar && i < SIMILAR_MAX; i++)
        if (c->messages[i] == h)
            return c->similar >= SIMILAR_MAX;
    if (c->similar < SIMILAR_MAX)
        c->messages[c->similar++] = h;
    return c->similar >= SIMILAR_MAX;
}

/* Tries until it is clear whether the API took it. True when it did. */
static bool send(struct recorder *r, const char *method, const char *path, const cJSON *body,
                 struct error **err)
{
    for (int attempt = 1;; attempt++) {
        cleanup_error struct error *e = NULL;
        cleanup_json cJSON *answer = kube_request(
            r->client, method, path,
            *method == 'P' && method[1] == 'A' ? "application/merge-patch+json" : NULL, body, &e);
        if (answer)
            return true;
        bool permanent = e->code >= 400 && e->code < 500 && e->code != 429;
        pthread_mutex_lock(&r->lock);
        bool stop = r->stop;
        if (!permanent && !stop && attempt < ATTEMPTS_MAX) {
            int64_t until = time_monotonic_ms() + (attempt < 5 ? 500 * attempt : 2500);
            while (!r->stop && time_monotonic_ms() < until)
                thread_cond_wait_until(&r->work, &r->lock, until);
            pthread_mutex_unlock(&r->lock);
            continue;
        }
        pthread_mutex_unlock(&r->lock);
        error_move(err, e);
        e = NULL;
        return false;
    }
}

static void record(struct recorder *r, cJSON *event)
{
    if (is_one_of_many(r, event)) {
        cleanup_free char *message =
            mem_printf("(combined from similar events): %s", json_str_or(event, "message", ""));
        json_set_str(event, "message", message);
    }
    if (is_spam(r, event))
        return;
    cleanup_buf struct buf key = {0};
    add_object_key(&key, event);
    const char *message = json_str_or(event, "message", "");
    bool combined = !strncmp(message, "(combined", 9);
    buf_printf(&key, "%s\x1f%s\x1f%s", json_str_or(event, "type", ""), json_str_or(event, "reason", ""),
               combined ? "(combined" : message);
    struct cached *c = cache_get(r, CACHED_EVENT, key.data);
    const char *ns = json_str_or(event, "metadata.namespace", "default");
    cleanup_error struct error *err = NULL;
    if (c->name) {
        cleanup_json cJSON *patch = cJSON_CreateObject();
        json_set_int(patch, "count", c->count + 1);
        json_set_str(patch, "lastTimestamp", json_str(event, "lastTimestamp"));
        if (combined)
            json_set_str(patch, "message", message);
        cleanup_free char *path = kube_path_new("v1", "events", ns, c->name, NULL);
        if (send(r, "PATCH", path, patch, &err)) {
            c->count++;
            return;
        }
        if (err->code != 404) {
            log_debug(1, "Cannot count up an event", "error", err->message);
            return;
        }
        /* It has expired: make it again, with what we know of its past. */
        error_free(err);
        err = NULL;
        json_set_int(event, "count", c->count + 1);
        json_set_str(event, "firstTimestamp", c->first_timestamp);
    }
    cleanup_free char *path = kube_path_new("v1", "events", ns, NULL, NULL);
    bool ok = send(r, "POST", path, event, &err);
    if (!ok && err->code != 409) {
        log_debug(1, "Cannot write an event", "error", err->message);
        cache_drop(r, c);
        return;
    }
    free(c->name);
    c->name = mem_strdup(json_str_or(event, "metadata.name", ""));
    c->count = json_int(event, "count", 1);
    snprintf(c->first_timestamp, sizeof(c->first_timestamp), "%s", json_str_or(event, "firstTimestamp", ""));
}

static void *run(void *arg)
{
    struct recorder *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        while (!r->head && !r->stop) {
            pthread_cond_broadcast(&r->idle);
            pthread_cond_wait(&r->work, &r->lock);
        }
        struct event *e = r->head;
        if (!e)
            break;
        r->head = e->next;
        if (!r->head)
            r->tail = &r->head;
        r->queued--;
        r->busy = true;
        pthread_mutex_unlock(&r->lock);
        record(r, e->json);
        cJSON_Delete(e->json);
        free(e);
        pthread_mutex_lock(&r->lock);
        r->busy = false;
    }
    pthread_cond_broadcast(&r->idle);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* --- the public side --- */

struct recorder *recorder_new(struct kube_client *client, const char *component, const char *host)
{
    struct recorder *r = mem_alloc(sizeof(*r));
    r->client = client;
    r->component = mem_strdup(component);
    r->host = mem_strdup(host && *host ? host : NULL);
    pthread_mutex_init(&r->lock, NULL);
    thread_cond_init(&r->work);
    thread_cond_init(&r->idle);
    r->tail = &r->head;
    r->started = thread_start(&r->thread, run, r);
    return r;
}

static void add_event(struct recorder *r, const cJSON *object, const char *field_path, const char *type,
                      const char *reason, const char *fmt, va_list ap)
{
    char message[MESSAGE_MAX + 1];
    vsnprintf(message, sizeof(message), fmt, ap);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    char text[TIME_TEXT_MAX];
    time_format(now.tv_sec, text);

    const char *name = json_str_or(object, "metadata.name", "");
    const char *ns = json_str_or(object, "metadata.namespace", "");
    cJSON *e = cJSON_CreateObject();
    json_set_str(e, "apiVersion", "v1");
    json_set_str(e, "kind", "Event");
    cleanup_free char *event_name = mem_printf(
        "%s.%llx", name, (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec);
    json_set_str(e, "metadata.name", event_name);
    json_set_str(e, "metadata.namespace", *ns ? ns : "default");
    cJSON *involved = json_ensure_object(e, "involvedObject");
    static const struct {
        const char *to, *from;
    } fields[] = {{"kind", "kind"},
                  {"namespace", "metadata.namespace"},
                  {"name", "metadata.name"},
                  {"uid", "metadata.uid"},
                  {"apiVersion", "apiVersion"},
                  {"resourceVersion", "metadata.resourceVersion"}};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *v = json_str(object, fields[i].from);
        if (v && *v)
            json_set_str(involved, fields[i].to, v);
    }
    if (field_path)
        json_set_str(involved, "fieldPath", field_path);
    json_set_str(e, "reason", reason);
    json_set_str(e, "message", message);
    json_set_str(e, "source.component", r->component);
    if (r->host)
        json_set_str(e, "source.host", r->host);
    json_set_str(e, "firstTimestamp", text);
    json_set_str(e, "lastTimestamp", text);
    json_set_int(e, "count", 1);
    json_set_str(e, "type", type);
    json_set_str(e, "reportingComponent", r->component);
    json_set_str(e, "reportingInstance", r->host ? r->host : "");

    struct event *item = mem_alloc(sizeof(*item));
    item->json = e;
    pthread_mutex_lock(&r->lock);
    bool full = r->queued >= QUEUE_MAX || r->stop || !r->started;
    if (!full) {
        *r->tail = item;
        r->tail = &item->next;
        r->queued++;
        pthread_cond_signal(&r->work);
    }
    pthread_mutex_unlock(&r->lock);
    if (full) {
        cJSON_Delete(e);
        free(item);
    }
}

void recorder_event(struct recorder *r, const cJSON *object, const char *type, const char *reason,
                    const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_event(r, object, NULL, type, reason, fmt, ap);
    va_end(ap);
}

void recorder_event_field(struct recorder *r, const cJSON *object, const char *field_path, const char *type,
                          const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    add_event(r, object, field_path, type, reason, fmt, ap);
    va_end(ap);
}

void recorder_flush(struct recorder *r, int timeout_ms)
{
    int64_t until = time_monotonic_ms() + timeout_ms;
    pthread_mutex_lock(&r->lock);
    while (r->started && (r->head || r->busy) && time_monotonic_ms() < until)
        thread_cond_wait_until(&r->idle, &r->lock, until);
    pthread_mutex_unlock(&r->lock);
}

void recorder_free(struct recorder *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->lock);
    if (r->started)
        pthread_join(r->thread, NULL);
    while (r->newest)
        cache_drop(r, r->newest);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->work);
    pthread_cond_destroy(&r->idle);
    free(r->component);
    free(r->host);
    free(r);
}
