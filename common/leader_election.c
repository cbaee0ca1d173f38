/* https://kubernetes.io/docs/concepts/architecture/leases/#leader-election */
#include "common/leader_election.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"

struct leader_election {
    struct kube_client *client;
    char *ns, *name, *identity, *path, *collection;
    int lease_duration_ms, renew_deadline_ms, retry_period_ms;
    void (*started)(void *);
    void (*lost)(void *);
    void *userdata;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    atomic_bool leader;
    /* The thread's own: the lease as last seen, and since when it has looked like that. */
    cJSON *observed;
    int64_t observed_ms;
    unsigned seed;
};

char *leader_election_identity(void)
{
    char host[256] = "unknown";
    gethostname(host, sizeof(host) - 1);
    unsigned char u[16];
    if (getrandom(u, sizeof(u), 0) != sizeof(u)) {
        int64_t now = time_now_micros() ^ ((int64_t)getpid() << 40);
        memcpy(u, &now, sizeof(now));
        memset(u + 8, 0, 8);
    }
    u[6] = (unsigned char)((u[6] & 0x0f) | 0x40);
    u[8] = (unsigned char)((u[8] & 0x3f) | 0x80);
    return mem_printf("%s_%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", host, u[0],
                      u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14],
                      u[15]);
}

/* Takes the lease document. The clock starts anew when holder or renewal differ from what was seen before. */
static void observe(struct leader_election *e, cJSON *lease)
{
    if (!e->observed || !json_equal(json_get(e->observed, "spec"), json_get(lease, "spec")))
        e->observed_ms = time_monotonic_ms();
    cJSON_Delete(e->observed);
    e->observed = lease;
}

static void fill_spec(struct leader_election *e, cJSON *lease, bool same_holder)
{
    char now[TIME_TEXT_MAX];
    time_format_micro(time_now_micros(), now);
    json_set_str(lease, "spec.holderIdentity", e->identity);
    json_set_int(lease, "spec.leaseDurationSeconds", (e->lease_duration_ms + 999) / 1000);
    json_set_str(lease, "spec.renewTime", now);
    if (!same_holder) {
        json_set_str(lease, "spec.acquireTime", now);
        json_set_int(lease, "spec.leaseTransitions", json_int(lease, "spec.leaseTransitions", -1) + 1);
    }
}

/* One attempt to take or renew the lease, within timeout_ms. True when it is ours. */
static bool try_acquire(struct leader_election *e, int timeout_ms)
{
    int64_t deadline = time_monotonic_ms() + timeout_ms;
    cleanup_error struct error *err = NULL;
    bool ours = e->observed && !strcmp(json_str_or(e->observed, "spec.holderIdentity", ""), e->identity);
    /* As leader we know the lease: renew without reading it first. */
    if (ours && atomic_load(&e->leader)) {
        cleanup_json cJSON *lease = json_dup(e->observed);
        fill_spec(e, lease, true);
        cJSON *answer = kube_request_timeout(e->client, "PUT", e->path, NULL, lease, timeout_ms, &err);
        if (answer) {
            observe(e, answer);
            return true;
        }
        if (err->code != 409 && err->code != 404) {
            log_debug(2, "Cannot renew the lease", "lease", e->name, "error", err->message);
            return false;
        }
        error_free(err);
        err = NULL;
    }
    int left = (int)(deadline - time_monotonic_ms());
    cJSON *seen = kube_request_timeout(e->client, "GET", e->path, NULL, NULL, left > 1 ? left : 1, &err);
    if (!seen && err->code != 404) {
        log_debug(2, "Cannot read the lease", "lease", e->name, "error", err->message);
        return false;
    }
    bool exists = seen != NULL;
    cleanup_json cJSON *lease = NULL;
    if (exists) {
        observe(e, seen);
        const char *holder = json_str_or(seen, "spec.holderIdentity", "");
        ours = !strcmp(holder, e->identity);
        int64_t valid_ms = json_int(seen, "spec.leaseDurationSeconds", 0) * 1000;
        if (*holder && !ours && time_monotonic_ms() < e->observed_ms + valid_ms)
            return false;
        lease = json_dup(seen);
        fill_spec(e, lease, ours);
    } else {
        lease = cJSON_CreateObject();
        json_set_str(lease, "apiVersion", "coordination.k8s.io/v1");
        json_set_str(lease, "kind", "Lease");
        json_set_str(lease, "metadata.name", e->name);
        json_set_str(lease, "metadata.namespace", e->ns);
        fill_spec(e, lease, false);
    }
    error_free(err);
    err = NULL;
    left = (int)(deadline - time_monotonic_ms());
    cJSON *answer = kube_request_timeout(e->client, exists ? "PUT" : "POST", exists ? e->path : e->collection,
                                         NULL, lease, left > 1 ? left : 1, &err);
    if (!answer) {
        log_debug(2, "Cannot take the lease", "lease", e->name, "error", err->message);
        return false;
    }
    observe(e, answer);
    return true;
}

/* Waits; false when asked to stop. */
static bool pause_ms(struct leader_election *e, int64_t ms)
{
    int64_t until = time_monotonic_ms() + ms;
    pthread_mutex_lock(&e->lock);
    while (!e->stop && time_monotonic_ms() < until)
        thread_cond_wait_until(&e->wake, &e->lock, until);
    bool stop = e->stop;
    pthread_mutex_unlock(&e->lock);
    return !stop;
}

static void *run(void *arg)
{
    struct leader_election *e = arg;
    log_info("Trying to become leader", "lease", e->name, "identity", e->identity);
    bool first = true;
    do {
        if (!first) {
            /* Up to 1.2 times more by chance, as client-go: candidates must not move in step. */
            double jitter = 1.0 + 1.2 * (double)rand_r(&e->seed) / RAND_MAX;
            if (!pause_ms(e, (int64_t)(e->retry_period_ms * jitter)))
                return NULL;
        }
        first = false;
    } while (!try_acquire(e, e->renew_deadline_ms));
    int64_t renewed = e->observed_ms;
    pthread_mutex_lock(&e->lock);
    bool stop = e->stop;
    atomic_store(&e->leader, true);
    pthread_mutex_unlock(&e->lock);
    if (stop)
        return NULL;
    log_info("Became leader", "lease", e->name, "identity", e->identity);
    e->started(e->userdata);
    while (pause_ms(e, e->retry_period_ms)) {
        int64_t now = time_monotonic_ms(), left = renewed + e->renew_deadline_ms - now;
        /* An attempt that hangs leaves room for one more before the deadline. */
        int64_t timeout = left > e->renew_deadline_ms / 2 ? e->renew_deadline_ms / 2 : left;
        bool ok = left > 0 && try_acquire(e, timeout > 1 ? (int)timeout : 1);
        if (ok) {
            renewed = now;
            continue;
        }
        const char *holder = json_str_or(e->observed, "spec.holderIdentity", "");
        if (strcmp(holder, e->identity) || time_monotonic_ms() >= renewed + e->renew_deadline_ms) {
            atomic_store(&e->leader, false);
            log_error("Lost leadership", "lease", e->name, "holder", holder);
            e->lost(e->userdata);
            return NULL;
        }
    }
    return NULL;
}

struct leader_election *leader_election_start(const struct leader_election_options *o,
                                              void (*started)(void *), void (*lost)(void *), void *userdata)
{
    struct leader_election *e = mem_alloc(sizeof(*e));
    e->client = o->client;
    e->ns = mem_strdup(o->ns);
    e->name = mem_strdup(o->name);
    e->identity = mem_strdup(o->identity);
    e->path = kube_path_new("coordination.k8s.io/v1", "leases", o->ns, o->name, NULL);
    e->collection = kube_path_new("coordination.k8s.io/v1", "leases", o->ns, NULL, NULL);
    e->lease_duration_ms = o->lease_duration_ms;
    e->renew_deadline_ms = o->renew_deadline_ms;
    e->retry_period_ms = o->retry_period_ms;
    e->started = started;
    e->lost = lost;
    e->userdata = userdata;
    e->seed = (unsigned)time_now_micros() ^ (unsigned)getpid();
    pthread_mutex_init(&e->lock, NULL);
    thread_cond_init(&e->wake);
    e->running = thread_start(&e->thread, run, e);
    return e;
}

bool leader_election_is_leader(const struct leader_election *e)
{
    return atomic_load(&e->leader);
}

void leader_election_release(struct leader_election *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->lock);
    if (e->running)
        pthread_join(e->thread, NULL);
    if (atomic_load(&e->leader) && e->observed) {
        cleanup_json cJSON *lease = json_dup(e->observed);
        fill_spec(e, lease, true);
        json_set_str(lease, "spec.holderIdentity", "");
        json_set_int(lease, "spec.leaseDurationSeconds", 1);
        cleanup_error struct error *err = NULL;
        cleanup_json cJSON *answer = kube_request_timeout(e->client, "PUT", e->path, NULL, lease, 3000, &err);
        if (!answer)
            log_warn("Cannot give the lease up", "lease", e->name, "error", error_message(err));
    }
    cJSON_Delete(e->observed);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e->ns);
    free(e->name);
    free(e->identity);
    free(e->path);
    free(e->collection);
    free(e);
}
