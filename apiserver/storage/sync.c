/* Following the store: one thread loads all objects at one revision and then applies every later
 * change, in order; a few threads ask the store how far it is for those who read consistently; one
 * thread keeps the deadlines. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "apiserver/storage/etcd_question.h"
#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

#define LOAD_PAGE           500
#define QUESTION_GAP_US     300
#define SLOW_ANSWER_US      20000
#define QUESTION_TIMEOUT_MS 10000
#define REACH_TIMEOUT_MS    8000 /* from the store's answer until the cache must have got there */
#define STALLED_MS          1500 /* a watch that is this late is taken for dead */
#define TIDY_MS             10000
#define NAMED_TIMEOUT_MS    3000 /* Kubernetes' limit for a resourceVersion that is not there yet */

struct cache *sync_find_cache(struct storage *s, const char *key)
{
    for (size_t i = 0; i < s->cache_count; i++)
        if (!strncmp(key, s->caches[i]->prefix, s->caches[i]->prefix_len))
            return s->caches[i];
    return NULL;
}

uint64_t storage_revision(struct storage *s)
{
    return atomic_load(&s->revision);
}

/* --- who waits --- */

static void finish(struct waiter *list, const struct error *err)
{
    while (list) {
        struct waiter *w = list;
        list = w->next;
        w->fn(w->userdata, err);
        free(w);
    }
}

/* Takes those out of s->waiting whose revision is reached. */
static struct waiter *take_reached(struct storage *s)
{
    struct waiter *out = NULL, **link = &s->waiting;
    uint64_t revision = storage_revision(s);
    while (*link) {
        struct waiter *w = *link;
        if (w->revision <= revision) {
            *link = w->next;
            w->next = out;
            out = w;
        } else {
            link = &w->next;
        }
    }
    return out;
}

static void set_revision(struct storage *s, uint64_t revision)
{
    atomic_store(&s->revision, revision);
    pthread_mutex_lock(&s->mutex);
    struct waiter *reached = s->waiting ? take_reached(s) : NULL;
    pthread_mutex_unlock(&s->mutex);
    finish(reached, NULL);
}

static struct waiter *new_waiter(storage_fn *fn, void *userdata)
{
    struct waiter *w = mem_alloc(sizeof *w);
    w->fn = fn;
    w->userdata = userdata;
    return w;
}

static void refuse(struct waiter *w)
{
    struct error *err = NULL;
    error_set(&err, 503, "ServiceUnavailable", "the server is shutting down");
    finish(w, err);
    error_free(err);
}

void storage_consistent(struct storage *s, storage_fn *fn, void *userdata)
{
    struct waiter *w = new_waiter(fn, userdata);
    pthread_mutex_lock(&s->mutex);
    bool stopping = atomic_load(&s->stopping);
    if (!stopping) {
        if (s->asking) {
            s->asking_end->next = w;
        } else {
            s->asking = w;
            pthread_cond_signal(&s->asked);
        }
        s->asking_end = w;
    }
    pthread_mutex_unlock(&s->mutex);
    if (stopping)
        refuse(w);
}

void storage_wait_revision(struct storage *s, uint64_t revision, storage_fn *fn, void *userdata)
{
    if (revision <= storage_revision(s)) {
        fn(userdata, NULL);
        return;
    }
    struct waiter *w = new_waiter(fn, userdata);
    w->revision = revision;
    w->named = true;
    w->deadline_ms = time_monotonic_ms() + NAMED_TIMEOUT_MS;
    pthread_mutex_lock(&s->mutex);
    bool reached = revision <= storage_revision(s), stopping = atomic_load(&s->stopping);
    if (!reached && !stopping) {
        w->next = s->waiting;
        s->waiting = w;
    }
    pthread_mutex_unlock(&s->mutex);
    if (stopping)
        refuse(w);
    else if (reached)
        finish(w, NULL);
}

/* --- asking the store how far it is --- */

static bool ask(struct storage *s, uint64_t *revision, struct error **err)
{
    /* A linearizable read of a key that is not there; the header says the revision. */
    static const char question[] = "{\"key\":\"AA==\",\"limit\":\"1\",\"count_only\":true}";
    cleanup_json cJSON *answer = NULL;
    struct error *why = NULL;
    if (etcd_call(s->etcd, "/v3/kv/range", question, true, QUESTION_TIMEOUT_MS, &answer, NULL,
                  &why) != ETCD_DONE) {
        error_set(err, 503, "ServiceUnavailable", "the store does not answer: %s",
                  error_message(why));
        error_free(why);
        return false;
    }
    *revision = etcd_header_revision(answer);
    return true;
}

bool storage_healthy(struct storage *s, struct error **err)
{
    uint64_t revision;
    return ask(s, &revision, err);
}

static int64_t monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Takes all who wait once it is this reader's turn; NULL at the end. One question at a time, and a
 * moment between two when the last one was for several: the more come meanwhile, the more share the
 * next one. Only when the answer is slow, the other reader asks beside it. */
static struct waiter *take_asking(struct storage *s)
{
    struct waiter *batch = NULL;
    pthread_mutex_lock(&s->mutex);
    while (!atomic_load(&s->stopping) || s->asking) {
        if (!s->asking) {
            pthread_cond_wait(&s->asked, &s->mutex);
            continue;
        }
        int64_t now = monotonic_us();
        int64_t turn = s->asked_us + (s->questions           ? SLOW_ANSWER_US
                                      : s->asked_for_several ? QUESTION_GAP_US
                                                             : 0);
        if (now >= turn || atomic_load(&s->stopping)) {
            batch = s->asking;
            s->asking = s->asking_end = NULL;
            s->questions++;
            s->asked_us = now;
            s->asked_for_several = batch->next != NULL;
            break;
        }
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_nsec += (turn - now) * 1000;
        if (at.tv_nsec >= 1000000000) {
            at.tv_nsec -= 1000000000;
            at.tv_sec++;
        }
        pthread_cond_timedwait(&s->asked, &s->mutex, &at);
    }
    pthread_mutex_unlock(&s->mutex);
    return batch;
}

/* The reader then looks itself who waits. */
static void answered(struct storage *s)
{
    pthread_mutex_lock(&s->mutex);
    s->questions--;
    pthread_mutex_unlock(&s->mutex);
}

static void *run_reader(void *arg)
{
    struct storage *s = arg;
    struct etcd_question *question = etcd_question_new(s->etcd);
    for (;;) {
        struct waiter *batch = take_asking(s);
        if (!batch) {
            etcd_question_free(question);
            return NULL;
        }
        uint64_t revision = 0, before = storage_revision(s);
        cleanup_error struct error *err = NULL;
        if (!etcd_question_ask(question, &revision) && !ask(s, &revision, &err)) {
            answered(s);
            finish(batch, err);
            continue;
        }
        if (revision < before) { /* time does not run backwards: it is another store now, or one
                                    from a backup */
            log_warn("The store has gone back in time, loading all objects again", "revision",
                     log_int((long long)revision));
            atomic_store(&s->reload, true);
            etcd_watch_break(s->watch);
        }
        int64_t deadline = time_monotonic_ms() + REACH_TIMEOUT_MS;
        struct waiter *reached = NULL;
        pthread_mutex_lock(&s->mutex);
        for (struct waiter *w = batch, *next; w; w = next) {
            next = w->next;
            w->revision = revision;
            w->deadline_ms = deadline;
        }
        if (revision <= storage_revision(s)) {
            reached = batch;
        } else {
            struct waiter *last = batch;
            while (last->next)
                last = last->next;
            last->next = s->waiting;
            s->waiting = batch;
        }
        pthread_mutex_unlock(&s->mutex);
        finish(reached, NULL);
        answered(s);
    }
}

static void *run_timer(void *arg)
{
    struct storage *s = arg;
    int64_t tidied = time_monotonic_ms();
    pthread_mutex_lock(&s->mutex);
    while (!atomic_load(&s->stopping)) {
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_nsec += 250000000;
        if (at.tv_nsec >= 1000000000) {
            at.tv_nsec -= 1000000000;
            at.tv_sec++;
        }
        pthread_cond_timedwait(&s->changed, &s->mutex, &at);
        int64_t now = time_monotonic_ms();
        struct waiter *late = NULL, *late_named = NULL, **link = &s->waiting;
        bool stalled = false;
        while (*link) {
            struct waiter *w = *link;
            if (now >= w->deadline_ms) {
                *link = w->next;
                struct waiter **list = w->named ? &late_named : &late;
                w->next = *list;
                *list = w;
                continue;
            }
            stalled |= !w->named && w->deadline_ms - now < REACH_TIMEOUT_MS - STALLED_MS;
            link = &w->next;
        }
        pthread_mutex_unlock(&s->mutex);
        if (stalled)
            etcd_watch_break(s->watch);
        if (now - tidied >= TIDY_MS) {
            tidied = now;
            for (size_t i = 0; i < s->cache_count; i++)
                cache_tidy(s->caches[i]);
        }
        for (struct waiter *w = late_named, *next; w; w = next) {
            next = w->next;
            w->next = NULL;
            cleanup_error struct error *err = NULL;
            error_set(&err, 504, "Timeout",
                      "Too large resource version: %" PRIu64 ", current: %" PRIu64, w->revision,
                      storage_revision(s));
            err->details = mem_strdup("{\"causes\":[{\"reason\":\"ResourceVersionTooLarge\","
                                      "\"message\":\"Too large resource "
                                      "version\"}],\"retryAfterSeconds\":1}");
            finish(w, err);
        }
        if (late) {
            cleanup_error struct error *err = NULL;
            error_set(&err, 504, "Timeout", "the watch cache does not keep up with the store");
            finish(late, err);
        }
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

/* --- loading --- */

struct load {
    struct tree *trees; /* one per cache */
    uint64_t revision;
};

static void load_kv(struct storage *s, struct load *l, const cJSON *kv, struct buf *key,
                    struct buf *value)
{
    buf_clear(key);
    buf_clear(value);
    if (!etcd_bytes(kv, "key", key))
        return;
    struct cache *c = sync_find_cache(s, buf_str(key));
    if (!c || !etcd_bytes(kv, "value", value))
        return;
    struct stored *object = stored_new(c->resource, key->data, etcd_uint(kv, "mod_revision"),
                                       buf_str(value), value->len, NULL);
    if (!object) {
        log_warn("Ignored a stored value that is no object", "key", key->data);
        return;
    }
    for (size_t i = 0; i < s->cache_count; i++)
        if (s->caches[i] == c)
            stored_unref(tree_put(&l->trees[i], object));
}

static bool load_pages(struct storage *s, struct load *l, struct error **err)
{
    cleanup_buf struct buf from = {0}, key = {0}, value = {0};
    buf_adds(&from, REGISTRY);
    for (bool more = true; more;) {
        cleanup_buf struct buf body = {0};
        buf_addc(&body, '{');
        etcd_add_bytes(&body, "key", from.data, from.len);
        buf_addc(&body, ',');
        etcd_add_bytes(&body, "range_end", "/registry0", 10);
        buf_printf(&body, ",\"limit\":\"%d\"", LOAD_PAGE);
        if (l->revision)
            buf_printf(&body, ",\"revision\":\"%" PRIu64 "\"", l->revision);
        buf_addc(&body, '}');
        cleanup_json cJSON *answer = NULL;
        if (etcd_call(s->etcd, "/v3/kv/range", body.data, true, 60000, &answer, NULL, err) !=
            ETCD_DONE)
            return false;
        if (!l->revision)
            l->revision = etcd_header_revision(answer);
        const cJSON *kvs = json_get(answer, "kvs"), *kv;
        cJSON_ArrayForEach(kv, kvs)
        {
            load_kv(s, l, kv, &key, &value);
        }
        more = json_bool(answer, "more", false) && cJSON_GetArraySize(kvs) > 0;
        if (more) {
            buf_clear(&from);
            buf_add(&from, key.data, key.len + 1); /* with its NUL: the next possible key */
        }
    }
    return true;
}

static bool load(struct storage *s, struct error **err)
{
    struct load l = {.trees = mem_alloc(s->cache_count * sizeof *l.trees)};
    for (size_t i = 0; i < s->cache_count; i++)
        tree_init(&l.trees[i]);
    bool ok = load_pages(s, &l, err);
    if (ok) {
        size_t objects = 0;
        for (size_t i = 0; i < s->cache_count; i++) {
            objects += tree_count(l.trees[i].root);
            cache_load(s->caches[i], &l.trees[i], l.revision);
        }
        log_info("Loaded all objects", "objects", log_int((long long)objects), "revision",
                 log_int((long long)l.revision));
        set_revision(s, l.revision);
    } else {
        for (size_t i = 0; i < s->cache_count; i++)
            tree_clear(&l.trees[i]);
    }
    free(l.trees);
    return ok;
}

/* --- following --- */

static void apply(struct storage *s, const cJSON *event, struct buf *key, struct buf *value,
                  uint64_t *revision)
{
    const cJSON *kv = json_get(event, "kv");
    uint64_t at = etcd_uint(kv, "mod_revision");
    if (at > *revision)
        *revision = at;
    buf_clear(key);
    if (at <= storage_revision(s) || !etcd_bytes(kv, "key", key))
        return;
    struct cache *c = sync_find_cache(s, buf_str(key));
    if (!c)
        return;
    if (!strcmp(json_str_or(event, "type", "PUT"), "DELETE")) {
        cache_apply(c, key->data, NULL, at);
        return;
    }
    buf_clear(value);
    struct stored *object = NULL;
    if (etcd_bytes(kv, "value", value))
        object = stored_new(c->resource, key->data, at, buf_str(value), value->len, NULL);
    if (object)
        cache_apply(c, key->data, object, at);
    else
        log_warn("Ignored a stored value that is no object", "key", key->data);
}

static bool on_result(void *userdata, const cJSON *result)
{
    struct storage *s = userdata;
    if (atomic_load(&s->stopping))
        return false;
    if (json_bool(result, "canceled", false)) {
        if (etcd_uint(result, "compact_revision")) {
            log_warn("What we last saw was compacted away, loading all objects again");
            atomic_store(&s->reload, true);
        }
        return false;
    }
    cleanup_buf struct buf key = {0}, value = {0};
    uint64_t revision = storage_revision(s);
    const cJSON *event;
    cJSON_ArrayForEach(event, json_get(result, "events"))
    {
        apply(s, event, &key, &value, &revision);
    }
    if (revision > storage_revision(s))
        set_revision(s, revision);
    return !atomic_load(&s->reload);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

static void *run_sync(void *arg)
{
    struct storage *s = arg;
    bool loaded = false;
    int failures = 0;
    while (!atomic_load(&s->stopping)) {
        cleanup_error struct error *err = NULL;
        if (!loaded || atomic_exchange(&s->reload, false)) {
            loaded = load(s, &err);
            if (!loaded) {
                if (failures++ % 50 == 0)
                    log_warn("The store cannot be reached yet", "err", error_message(err));
                pause_ms(20);
                continue;
            }
            pthread_mutex_lock(&s->mutex);
            s->ready = true;
            pthread_cond_broadcast(&s->changed);
            pthread_mutex_unlock(&s->mutex);
        }
        storage_load_added(s);
        int64_t began = time_monotonic_ms();
        if (!etcd_watch_run(s->watch, storage_revision(s) + 1, on_result, s, &err) &&
            !atomic_load(&s->stopping))
            log_info("The store's watch ended, it is resumed", "why", error_message(err),
                     "revision", log_int((long long)storage_revision(s)));
        if (time_monotonic_ms() - began < 1000)
            pause_ms(failures++ < 20 ? 20 : 200);
        else
            failures = 0;
    }
    return NULL;
}

bool storage_wait_ready(struct storage *s, int64_t timeout_ms)
{
    int64_t deadline = time_monotonic_ms() + timeout_ms;
    pthread_mutex_lock(&s->mutex);
    while (!s->ready && !atomic_load(&s->stopping) &&
           (timeout_ms < 0 || time_monotonic_ms() < deadline)) {
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_sec++;
        pthread_cond_timedwait(&s->changed, &s->mutex, &at);
    }
    bool ready = s->ready;
    pthread_mutex_unlock(&s->mutex);
    return ready;
}

bool sync_start(struct storage *s, struct error **err)
{
    int rc = pthread_create(&s->sync_thread, NULL, run_sync, s);
    if (!rc)
        rc = pthread_create(&s->timer_thread, NULL, run_timer, s);
    for (int i = 0; i < READERS && !rc; i++)
        rc = pthread_create(&s->readers[i], NULL, run_reader, s);
    if (rc)
        error_set_errno(err, rc, "start a thread");
    return !rc;
}

void sync_stop(struct storage *s)
{
    pthread_mutex_lock(&s->mutex);
    atomic_store(&s->stopping, true);
    pthread_cond_broadcast(&s->changed);
    pthread_cond_broadcast(&s->asked);
    pthread_mutex_unlock(&s->mutex);
    etcd_watch_break(s->watch);
    pthread_join(s->sync_thread, NULL);
    pthread_join(s->timer_thread, NULL);
    for (int i = 0; i < READERS; i++)
        pthread_join(s->readers[i], NULL);
    refuse(s->waiting);
    s->waiting = NULL;
}
