/* store-workload: clients and watchers of a store until SIGTERM; then everything that the store holds. Writes a history. */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "tests/chaos/store/work.h"

#define CLIENTS       3
#define LEASE_CLIENTS 2
#define WORKERS       (CLIENTS + LEASE_CLIENTS + WATCHERS)
#define END_SECONDS   40 /* to become quiet, once faults are over */

static bool parse_endpoints(struct work *w, char *list)
{
    char *save;
    for (char *e = strtok_r(list, ",", &save); e; e = strtok_r(NULL, ",", &save)) {
        if (w->members == MAX_MEMBERS)
            return false;
        w->endpoints[w->members++] = e;
    }
    return w->members > 0;
}

static bool wait_for_end(int seconds)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    struct timespec ts = {.tv_sec = seconds};
    return sigtimedwait(&set, NULL, &ts) != SIGINT;
}

/* --- the end --- */
static void brief_pause(int ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&ts, NULL);
}

static cJSON *everything(struct conn *c, int member, int64_t *rev)
{
    enum hist_outcome outcome;
    cJSON *j = conn_call(c, member, "kv/range", "{\"key\":\"AA==\",\"range_end\":\"AA==\"}", false, &outcome);
    *rev = json_number(j, "header.revision");
    return j;
}

static bool any_leased(const cJSON *dump)
{
    const cJSON *kv;
    cJSON_ArrayForEach(kv, json_get(dump, "kvs")) if (json_number(kv, "lease")) return true;
    return false;
}

static void record_final(struct work *w, int member, const cJSON *dump, int64_t rev)
{
    const cJSON *kv;
    cJSON_ArrayForEach(kv, json_get(dump, "kvs"))
    {
        cleanup_buf struct buf key = {0};
        const char *text = json_str_or(kv, "key", "");
        buf_add_base64_decoded(&key, text, strlen(text));
        struct hist_record r = {.kind = HIST_FINAL,
                                .member = member + 1,
                                .key = (char *)buf_str(&key),
                                .value = value_decode(json_str_or(kv, "value", "")),
                                .mod = json_number(kv, "mod_revision"),
                                .version = json_number(kv, "version"),
                                .lease = json_number(kv, "lease"),
                                .rev = rev};
        work_record(w, &r);
    }
    struct hist_record end = {.kind = HIST_END, .member = member + 1, .rev = rev};
    work_record(w, &end);
}

/* Waits until no lease and nothing under way changes anything, and all members say the same revision. 0 if that does not come. */
static int64_t become_quiet(struct work *w, cJSON *dumps[MAX_MEMBERS])
{
    struct conn c;
    conn_open(&c, w);
    int64_t give_up = time_monotonic_ms() + END_SECONDS * 1000, rev = 0, quiet_since = 0;
    /* Whatever a client has given up may still be done by the store in its own time: 7 s as in etcd. */
    while (time_monotonic_ms() < give_up) {
        int64_t revs[MAX_MEMBERS];
        bool same = true, leased = false;
        for (int i = 0; i < w->members; i++) {
            cJSON_Delete(dumps[i]);
            dumps[i] = everything(&c, i, &revs[i]);
            same = same && dumps[i] && revs[i] == revs[0];
            leased = leased || any_leased(dumps[i]);
        }
        if (!same || revs[0] != rev)
            quiet_since = time_monotonic_ms();
        rev = same ? revs[0] : 0;
        if (rev && time_monotonic_ms() - quiet_since > 2500 && !leased)
            break;
        brief_pause(250);
    }
    conn_close(&c);
    return rev;
}

static bool finish(struct work *w, struct worker *workers)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->cond);
    pthread_mutex_unlock(&w->lock);
    for (int i = WATCHERS; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    cJSON *dumps[MAX_MEMBERS] = {0};
    int64_t rev = become_quiet(w, dumps);
    atomic_store(&w->until, rev);
    if (!rev)
        fprintf(stderr, "the members do not come to rest\n");
    /* Then each member tells all of its history that is left. */
    struct worker last[MAX_MEMBERS];
    for (int i = 0; i < w->members; i++) {
        last[i] = (struct worker){.w = w, .number = FINAL_WATCHER + i, .start = atomic_load(&w->compacted) + 1, .member = i};
        thread_start(&last[i].thread, work_watch, &last[i]);
    }
    int64_t give_up = time_monotonic_ms() + 15000;
    bool seen = false;
    while (rev && !seen && time_monotonic_ms() < give_up) {
        seen = true;
        for (int i = 0; i < WATCHERS; i++)
            seen = seen && atomic_load(&w->seen[i]) >= rev;
        brief_pause(50);
    }
    for (int i = 0; rev && i < w->members; i++) {
        struct timespec ts;
        clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec += 15;
        if (pthread_timedjoin_np(last[i].thread, NULL, &ts) == 0)
            last[i].thread = 0;
    }
    atomic_store(&w->abandon, true);
    for (int i = 0; i < WATCHERS; i++)
        pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < w->members; i++) {
        if (last[i].thread)
            pthread_join(last[i].thread, NULL);
        if (rev)
            record_final(w, i, dumps[i], rev);
        cJSON_Delete(dumps[i]);
    }
    return rev != 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"endpoints", required_argument, NULL, 'e'},
                                            {"history", required_argument, NULL, 'h'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"seconds", required_argument, NULL, 't'},
                                            {0}};
    struct work w = {.seed = (uint64_t)time_now_micros()};
    const char *path = NULL;
    int seconds = 1 << 30;
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (o == 'e' && parse_endpoints(&w, optarg))
            continue;
        if (o == 'h')
            path = optarg;
        else if (o == 's')
            w.seed = strtoull(optarg, NULL, 10);
        else if (o == 't')
            seconds = atoi(optarg);
        else
            return 2;
    }
    if (!w.members || !path || !(w.out = fopen(path, "w"))) {
        fprintf(stderr, "usage: %s --endpoints URL,URL... --history FILE [--seed N] [--seconds N]\n", argv[0]);
        return 2;
    }
    printf("seed %llu\n", (unsigned long long)w.seed);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    pthread_mutex_init(&w.lock, NULL);
    thread_cond_init(&w.cond);
    /* Watchers first: they are to hear of everything. Their numbers are apart from the clients'. */
    struct worker workers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        bool watcher = i < WATCHERS, client = !watcher && i < WATCHERS + CLIENTS;
        workers[i] = (struct worker){.w = &w, .number = watcher ? i : i - WATCHERS, .start = 2, .member = -1};
        thread_start(&workers[i].thread, watcher ? work_watch : client ? work_client : work_leases, &workers[i]);
    }
    bool ok = wait_for_end(seconds) && finish(&w, workers);
    if (ok || atomic_load(&w.abandon))
        printf("operations: %lld ok, %lld refused, %lld unknown\n", (long long)w.ok, (long long)w.failed, (long long)w.unknown);
    fclose(w.out);
    return ok ? 0 : 1;
}
