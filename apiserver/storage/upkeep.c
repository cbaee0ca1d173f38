/* What the store needs from its clients from time to time: old revisions compacted away, leases for
 * what expires. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"

/* --- compaction, as Kubernetes' apiservers do it together ---
 * They share the key compact_rev_key; its version is a clock that all of them read, its value the
 * revision at the last tick. Who moves the clock on compacts to the revision of one interval ago.
 */

#define COMPACT_KEY "compact_rev_key"

/* If nobody ticked since, ticks, noting `revision`. Sets *clock and *revision to what the store
 * has. */
static bool tick(struct storage *s, uint64_t *clock, uint64_t *revision, bool *won)
{
    cleanup_buf struct buf body = {0}, number = {0};
    buf_printf(&number, "%" PRIu64, *revision);
    buf_adds(&body, "{\"compare\":[{\"target\":\"VERSION\",\"result\":\"EQUAL\",");
    etcd_add_bytes(&body, "key", COMPACT_KEY, strlen(COMPACT_KEY));
    buf_printf(&body, ",\"version\":\"%" PRIu64 "\"}],\"success\":[{\"request_put\":{", *clock);
    etcd_add_bytes(&body, "key", COMPACT_KEY, strlen(COMPACT_KEY));
    buf_addc(&body, ',');
    etcd_add_bytes(&body, "value", number.data, number.len);
    buf_adds(&body, "}}],\"failure\":[{\"request_range\":{");
    etcd_add_bytes(&body, "key", COMPACT_KEY, strlen(COMPACT_KEY));
    buf_adds(&body, "}}]}");
    cleanup_json cJSON *answer = NULL;
    if (etcd_call(s->etcd, "/v3/kv/txn", body.data, false, 10000, &answer, NULL, NULL) != ETCD_DONE)
        return false;
    *revision = etcd_header_revision(answer);
    *won = json_bool(answer, "succeeded", false);
    if (*won) {
        ++*clock;
    } else {
        const cJSON *first = cJSON_GetArrayItem(json_get(answer, "responses"), 0);
        *clock =
            etcd_uint(cJSON_GetArrayItem(json_path(first, "response_range.kvs"), 0), "version");
    }
    return true;
}

static void compact(struct storage *s, uint64_t revision)
{
    cleanup_buf struct buf body = {0};
    buf_printf(&body, "{\"revision\":\"%" PRIu64 "\"}", revision);
    cleanup_json cJSON *answer = NULL;
    cleanup_error struct error *err = NULL;
    if (etcd_call(s->etcd, "/v3/kv/compaction", body.data, false, 10000, &answer, NULL, &err) ==
        ETCD_DONE)
        log_info("Compacted the store", "revision", log_int((long long)revision));
    else
        log_warn("Could not compact the store", "err", error_message(err));
}

static void *run_upkeep(void *arg)
{
    struct storage *s = arg;
    uint64_t clock = 0, revision = 0;
    pthread_mutex_lock(&s->mutex);
    int64_t next = time_monotonic_ms() + s->compaction_interval_ms;
    while (!atomic_load(&s->stopping)) {
        bool ready = s->ready;
        pthread_mutex_unlock(&s->mutex);
        if (ready && etcd_prefer_leader(s->etcd)) {
            log_debug(1, "Went over to the store's leader");
            etcd_watch_break(s->watch); /* so does the watch */
        }
        if (ready && s->compaction_interval_ms && time_monotonic_ms() >= next) {
            next = time_monotonic_ms() + s->compaction_interval_ms;
            uint64_t past = revision;
            bool won = false;
            if (tick(s, &clock, &revision, &won) && won && past)
                compact(s, past);
        }
        pthread_mutex_lock(&s->mutex);
        struct timespec at;
        clock_gettime(CLOCK_REALTIME, &at);
        at.tv_sec += 1;
        if (!atomic_load(&s->stopping))
            pthread_cond_timedwait(&s->changed, &s->mutex, &at);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

bool upkeep_start(struct storage *s, struct error **err)
{
    int rc = pthread_create(&s->upkeep_thread, NULL, run_upkeep, s);
    if (rc)
        error_set_errno(err, rc, "start a thread");
    return !rc;
}

void upkeep_stop(struct storage *s)
{
    pthread_join(s->upkeep_thread, NULL);
}

/* --- leases ---
 * What is written within a minute shares one lease, which lives a minute longer than asked for. */

#define SHARE_SECONDS 60

static uint64_t grant(struct storage *s, int64_t ttl, struct error **err)
{
    cleanup_free char *body = mem_printf("{\"TTL\":\"%lld\"}", (long long)ttl);
    cleanup_json cJSON *answer = NULL;
    cleanup_error struct error *why = NULL;
    /* A grant whose answer was lost expires by itself. */
    if (etcd_call(s->etcd, "/v3/lease/grant", body, true, 10000, &answer, NULL, &why) !=
        ETCD_DONE) {
        error_set(err, 503, "ServiceUnavailable", "the store does not answer: %s",
                  error_message(why));
        return 0;
    }
    uint64_t id = etcd_uint(answer, "ID");
    if (!id)
        error_set(err, 500, "InternalError", "the store granted no lease");
    return id;
}

uint64_t upkeep_lease(struct storage *s, int64_t ttl, struct error **err)
{
    pthread_mutex_lock(&s->lease_mutex);
    size_t place = 0;
    for (size_t i = 0; i < ARRAY_LEN(s->leases); i++) {
        if (s->leases[i].ttl == ttl) {
            place = i;
            break;
        }
        if (s->leases[i].made_ms < s->leases[place].made_ms)
            place = i;
    }
    int64_t now = time_monotonic_ms();
    if (s->leases[place].ttl != ttl || !s->leases[place].id ||
        now - s->leases[place].made_ms > SHARE_SECONDS * 1000) {
        s->leases[place].id = grant(s, ttl + SHARE_SECONDS, err);
        s->leases[place].ttl = ttl;
        s->leases[place].made_ms = now;
    }
    uint64_t id = s->leases[place].id;
    pthread_mutex_unlock(&s->lease_mutex);
    return id;
}

void upkeep_forget_lease(struct storage *s, uint64_t id)
{
    pthread_mutex_lock(&s->lease_mutex);
    for (size_t i = 0; i < ARRAY_LEN(s->leases); i++)
        if (s->leases[i].id == id)
            s->leases[i].id = 0;
    pthread_mutex_unlock(&s->lease_mutex);
}

/* --- keys with a time to live --- */

bool storage_put_ttl(struct storage *s, const char *key, const char *value, int64_t ttl_seconds,
                     struct error **err)
{
    uint64_t lease = grant(s, ttl_seconds, err);
    if (!lease)
        return false;
    cleanup_free char *full = mem_printf(REGISTRY "%s", key);
    cleanup_buf struct buf body = {0};
    buf_addc(&body, '{');
    etcd_add_bytes(&body, "key", full, strlen(full));
    buf_addc(&body, ',');
    etcd_add_bytes(&body, "value", value, strlen(value));
    buf_printf(&body, ",\"lease\":\"%" PRIu64 "\"}", lease);
    cleanup_json cJSON *answer = NULL;
    return etcd_call(s->etcd, "/v3/kv/put", body.data, true, 10000, &answer, NULL, err) ==
           ETCD_DONE;
}

bool storage_remove_key(struct storage *s, const char *key, struct error **err)
{
    cleanup_free char *full = mem_printf(REGISTRY "%s", key);
    cleanup_buf struct buf body = {0};
    buf_addc(&body, '{');
    etcd_add_bytes(&body, "key", full, strlen(full));
    buf_addc(&body, '}');
    cleanup_json cJSON *answer = NULL;
    return etcd_call(s->etcd, "/v3/kv/deleterange", body.data, true, 3000, &answer, NULL, err) ==
           ETCD_DONE;
}

char **storage_keys(struct storage *s, const char *prefix, struct error **err)
{
    cleanup_free char *from = mem_printf(REGISTRY "%s", prefix), *end = mem_strdup(from);
    size_t len = strlen(from);
    end[len - 1]++; /* '/' becomes '0': the first key behind the prefix */
    cleanup_buf struct buf body = {0};
    buf_addc(&body, '{');
    etcd_add_bytes(&body, "key", from, len);
    buf_addc(&body, ',');
    etcd_add_bytes(&body, "range_end", end, len);
    buf_adds(&body, ",\"keys_only\":true}");
    cleanup_json cJSON *answer = NULL;
    if (etcd_call(s->etcd, "/v3/kv/range", body.data, true, 10000, &answer, NULL, err) != ETCD_DONE)
        return NULL;
    const cJSON *kvs = json_get(answer, "kvs"), *kv;
    char **out = mem_alloc(((size_t)cJSON_GetArraySize(kvs) + 1) * sizeof *out);
    size_t n = 0;
    cJSON_ArrayForEach(kv, kvs)
    {
        cleanup_buf struct buf key = {0};
        if (etcd_bytes(kv, "key", &key) && key.len > len)
            out[n++] = mem_strdup(key.data + len);
    }
    return out;
}
