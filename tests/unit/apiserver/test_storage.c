/* The storage on a real etcd (Debian's etcd-server), which is started, killed and started again
 * here. */
#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "apiserver/resource.h"
#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

static char directory[64], url[64], peer[64];
static pid_t etcd;
static struct storage *storage;
static const struct resource *configmaps, *events;

static int free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t len = sizeof a;
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    getsockname(fd, (struct sockaddr *)&a, &len);
    close(fd);
    return ntohs(a.sin_port);
}

static void start_etcd(void)
{
    etcd = fork();
    if (etcd)
        return;
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    cleanup_free char *cluster = mem_printf("a=%s", peer);
    execlp("etcd", "etcd", "--name", "a", "--data-dir", directory, "--listen-client-urls", url,
           "--advertise-client-urls", url, "--listen-peer-urls", peer,
           "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, (char *)NULL);
    _exit(127);
}

static void kill_etcd(void)
{
    kill(etcd, SIGKILL);
    waitpid(etcd, NULL, 0);
}

static struct storage *new_storage(void)
{
    cleanup_error struct error *err = NULL;
    /* The first server of the list does not exist: failing over is part of every test. */
    cleanup_free char *servers = mem_printf("http://127.0.0.1:1,%s", url);
    struct storage *s = storage_start(&(struct storage_options){.servers = servers}, &err);
    ck_assert_msg(s != NULL, "%s", error_message(err));
    ck_assert(storage_wait_ready(s, 20000));
    return s;
}

static void setup(void)
{
    strcpy(directory, "/tmp/test_storage_XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(url, sizeof url, "http://127.0.0.1:%d", free_port());
    snprintf(peer, sizeof peer, "http://127.0.0.1:%d", free_port());
    start_etcd();
    storage = new_storage();
    configmaps = resource_find("", "v1", "configmaps");
    events = resource_find("", "v1", "events");
}

static void teardown(void)
{
    storage_stop(storage);
    kill_etcd();
    cleanup_free char *command = mem_printf("rm -rf %s", directory);
    ck_assert_int_eq(system(command), 0);
}

static cJSON *configmap(const char *name, const char *value)
{
    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "kind", "ConfigMap");
    json_set_str(o, "apiVersion", "v1");
    json_set_str(o, "metadata.name", name);
    json_set_str(o, "metadata.namespace", "default");
    cleanup_free char *uid = mem_printf("uid-%s-%lld", name, (long long)time_now_micros());
    json_set_str(o, "metadata.uid", uid);
    json_set_str(o, "data.v", value);
    return o;
}

static struct stored *create(const char *name, const char *value, struct error **err)
{
    cleanup_json cJSON *o = configmap(name, value);
    return storage_create(storage, configmaps, o, NULL, 0, err);
}

static const char *value_of(const struct stored *s)
{
    static char text[64];
    cleanup_json cJSON *o = json_parse(s->json, s->len, NULL);
    snprintf(text, sizeof text, "%s", json_str_or(o, "data.v", "?"));
    return text;
}

START_TEST(test_create_get_delete)
{
    cleanup_error struct error *err = NULL, *again = NULL, *gone = NULL, *uid = NULL;
    cleanup_stored struct stored *made = create("x", "1", &err);
    ck_assert_msg(made != NULL, "%s", error_message(err));
    cleanup_stored struct stored *got = storage_get(storage, configmaps, "default", "x", &err);
    ck_assert_ptr_nonnull(got);
    ck_assert_uint_eq(got->revision, made->revision);
    ck_assert_str_eq(got->json, made->json);
    ck_assert_str_eq(got->key, "/registry/configmaps/default/x");
    cleanup_stored struct stored *twice = create("x", "2", &again);
    ck_assert_ptr_null(twice);
    ck_assert_int_eq(again->code, 409);
    ck_assert_str_eq(again->reason, "AlreadyExists");
    ck_assert_str_eq(again->message, "configmaps \"x\" already exists");
    ck_assert_str_eq(again->details, "{\"name\":\"x\",\"kind\":\"configmaps\"}");
    cleanup_stored struct stored *kept =
        storage_delete(storage, configmaps, "default", "x", "other", 0, NULL, 0, &uid);
    ck_assert_ptr_null(kept);
    ck_assert_int_eq(uid->code, 409);
    cleanup_stored struct stored *last =
        storage_delete(storage, configmaps, "default", "x", got->uid, got->revision, NULL, 0, &err);
    ck_assert_ptr_nonnull(last);
    ck_assert_uint_gt(last->revision, got->revision);
    ck_assert_str_eq(value_of(last), "1");
    cleanup_stored struct stored *none = storage_get(storage, configmaps, "default", "x", &gone);
    ck_assert_ptr_null(none);
    ck_assert_int_eq(gone->code, 404);
    ck_assert_str_eq(gone->message, "configmaps \"x\" not found");
}
END_TEST

struct counter {
    struct storage_update u;
    int calls;
    bool nothing, fail, delete;
};

static cJSON *increment(void *userdata, cJSON *current, const struct stored *stored,
                        struct error **err)
{
    (void)stored;
    struct counter *c = userdata;
    c->calls++;
    if (c->fail)
        error_set(err, 422, "Invalid", "no");
    if (c->fail || c->nothing)
        return NULL;
    c->u.delete_instead = c->delete;
    char text[24];
    snprintf(text, sizeof text, "%d", atoi(json_str_or(current, "data.v", "0")) + 1);
    cJSON *o = json_dup(current);
    json_set_str(o, "data.v", text);
    return o;
}

static struct stored *update(struct storage *s, struct counter *c, const char *name,
                             struct error **err)
{
    c->u.change = increment;
    c->u.userdata = c;
    return storage_update(s, configmaps, "default", name, &c->u, err);
}

START_TEST(test_update)
{
    cleanup_error struct error *err = NULL, *missing = NULL, *refused = NULL;
    cleanup_stored struct stored *made = create("x", "1", &err);
    struct counter c = {0}, none = {.nothing = true}, bad = {.fail = true}, del = {.delete = true};
    cleanup_stored struct stored *next = update(storage, &c, "x", &err);
    ck_assert_ptr_nonnull(next);
    ck_assert_str_eq(value_of(next), "2");
    cleanup_stored struct stored *same = update(storage, &none, "x", &err);
    ck_assert_uint_eq(same->revision, next->revision);
    cleanup_stored struct stored *no = update(storage, &bad, "x", &refused);
    ck_assert_ptr_null(no);
    ck_assert_int_eq(refused->code, 422);
    cleanup_stored struct stored *absent = update(storage, &c, "y", &missing);
    ck_assert_ptr_null(absent);
    ck_assert_int_eq(missing->code, 404);
    cleanup_stored struct stored *last = update(storage, &del, "x", &err);
    ck_assert_ptr_nonnull(last);
    ck_assert_str_eq(value_of(last), "2");
    cleanup_stored struct stored *gone = storage_get(storage, configmaps, "default", "x", NULL);
    ck_assert_ptr_null(gone);
}
END_TEST

enum { THREADS = 4, ROUNDS = 50 };

static void *increment_often(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct counter c = {0};
        cleanup_error struct error *err = NULL;
        cleanup_stored struct stored *s = update(arg, &c, "x", &err);
        ck_assert_msg(s != NULL, "%s", error_message(err));
    }
    return NULL;
}

START_TEST(test_no_update_is_lost)
{
    cleanup_stored struct stored *made = create("x", "0", NULL);
    struct storage *other = new_storage(); /* another apiserver */
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, increment_often, i % 2 ? storage : other);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    cleanup_stored struct stored *s = storage_get(storage, configmaps, "default", "x", NULL);
    ck_assert_int_eq(atoi(value_of(s)), THREADS * ROUNDS);
    storage_stop(other);
}
END_TEST

START_TEST(test_reads_see_what_others_wrote)
{
    struct storage *other = new_storage();
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        cleanup_stored struct stored *made = create(name, "1", NULL);
        cleanup_stored struct stored *seen = storage_get(other, configmaps, "default", name, NULL);
        ck_assert_ptr_nonnull(seen);
        ck_assert_uint_eq(seen->revision, made->revision);
    }
    struct stored **items;
    size_t count;
    uint64_t revision;
    ck_assert(storage_list(other, configmaps, "default", &items, &count, &revision, NULL));
    ck_assert_uint_eq(count, 100);
    for (size_t i = 0; i < count; i++) {
        ck_assert(i == 0 || strcmp(items[i - 1]->key, items[i]->key) < 0);
        stored_unref(items[i]);
    }
    free(items);
    storage_stop(other);
}
END_TEST

START_TEST(test_claims)
{
    cleanup_error struct error *err = NULL, *taken = NULL;
    struct storage_claim take = {.key = "serviceips/10.96.0.10"},
                         give = {.key = "serviceips/10.96.0.10", .release = true};
    cleanup_json cJSON *a = configmap("a", "1"), *b = configmap("b", "1");
    cleanup_stored struct stored *first = storage_create(storage, configmaps, a, &take, 1, &err);
    ck_assert_ptr_nonnull(first);
    cleanup_stored struct stored *second = storage_create(storage, configmaps, b, &take, 1, &taken);
    ck_assert_ptr_null(second);
    ck_assert_str_eq(taken->reason, "ClaimTaken");
    cleanup_stored struct stored *nothing = storage_get(storage, configmaps, "default", "b", NULL);
    ck_assert_ptr_null(nothing); /* nothing was written */
    cleanup_stored struct stored *gone =
        storage_delete(storage, configmaps, "default", "a", NULL, 0, &give, 1, &err);
    ck_assert_ptr_nonnull(gone);
    cleanup_stored struct stored *now = storage_create(storage, configmaps, b, &take, 1, &err);
    ck_assert_ptr_nonnull(now);
    char **keys = storage_keys(storage, "ranges/serviceips/", &err);
    ck_assert_str_eq(keys[0], "10.96.0.10");
    ck_assert_ptr_null(keys[1]);
    free(keys[0]);
    free(keys);
}
END_TEST

static void *create_all_the_time(void *arg)
{
    atomic_int *made = arg;
    for (int i = 0; i < 60; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i);
        cleanup_error struct error *err = NULL;
        cleanup_stored struct stored *s = create(name, "1", &err);
        ck_assert_msg(s != NULL, "%s: %s", name, error_message(err));
        cleanup_stored struct stored *seen =
            storage_get(storage, configmaps, "default", name, &err);
        ck_assert_msg(seen != NULL, "%s: %s", name, error_message(err));
        atomic_fetch_add(made, 1);
    }
    return NULL;
}

START_TEST(test_the_store_is_killed_and_returns)
{
    atomic_int made = 0;
    pthread_t t;
    pthread_create(&t, NULL, create_all_the_time, &made);
    for (int i = 1; i <= 3; i++) {
        while (atomic_load(&made) < i * 15)
            nanosleep(&(struct timespec){0, 1000000}, NULL);
        kill_etcd();
        start_etcd();
    }
    pthread_join(t, NULL);
    ck_assert_int_eq(made, 60);
    struct stored **items;
    size_t count;
    ck_assert(storage_list(storage, configmaps, NULL, &items, &count, NULL, NULL));
    ck_assert_uint_eq(count, 60);
    for (size_t i = 0; i < count; i++)
        stored_unref(items[i]);
    free(items);
}
END_TEST

static atomic_int seen_events;

static void count_event(struct cache_watcher *w, struct cache_event *e)
{
    (void)w;
    (void)e;
    atomic_fetch_add(&seen_events, 1);
}

static atomic_int resets;

static void count_reset(struct cache_watcher *w)
{
    (void)w;
    atomic_fetch_add(&resets, 1);
}

static bool eventually(atomic_int *what, int value)
{
    for (int i = 0; i < 5000 && atomic_load(what) < value; i++)
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    return atomic_load(what) == value;
}

START_TEST(test_watchers_miss_nothing_across_a_restart)
{
    struct cache *c = storage_cache(storage, configmaps);
    struct cache_watcher w = {.deliver = count_event, .reset = count_reset};
    uint64_t revision;
    tree_root_unref(cache_watch_list(c, &w, &revision));
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        cleanup_stored struct stored *s = create(name, "1", NULL);
        ck_assert_ptr_nonnull(s);
        if (i % 15 == 14) {
            kill_etcd();
            start_etcd();
        }
    }
    ck_assert(eventually(&seen_events, 40));
    ck_assert_int_eq(resets, 0);
    cache_unwatch(c, &w);
}
END_TEST

static void compact(uint64_t revision)
{
    cleanup_free char *body = mem_printf("{\"revision\":\"%llu\"}", (unsigned long long)revision);
    cleanup_json cJSON *answer = NULL;
    cleanup_error struct error *err = NULL;
    ck_assert_msg(etcd_call(storage->etcd, "/v3/kv/compaction", body, false, 5000, &answer, NULL,
                            &err) == ETCD_DONE,
                  "%s", error_message(err));
}

START_TEST(test_the_past)
{
    cleanup_stored struct stored *a = create("a", "1", NULL), *b = create("b", "1", NULL),
                                 *d = create("d", "1", NULL);
    uint64_t then = d->revision;
    struct counter counter = {0};
    cleanup_stored struct stored *b2 = update(storage, &counter, "b", NULL);
    cleanup_stored struct stored *gone =
        storage_delete(storage, configmaps, "default", "a", NULL, 0, NULL, 0, NULL);
    struct stored **items;
    size_t count;
    int64_t remaining;
    ck_assert(
        storage_range_at(storage, configmaps, "", NULL, then, 2, &items, &count, &remaining, NULL));
    ck_assert_uint_eq(count, 2);
    ck_assert_int_eq(remaining, 1);
    ck_assert_str_eq(items[0]->name, "a");
    ck_assert_uint_eq(items[1]->revision, b->revision);
    for (size_t i = 0; i < count; i++)
        stored_unref(items[i]);
    free(items);
    ck_assert(storage_range_at(storage, configmaps, "", "/registry/configmaps/default/b", then, 0,
                               &items, &count, &remaining, NULL));
    ck_assert_uint_eq(count, 1);
    ck_assert_str_eq(items[0]->name, "d");
    stored_unref(items[0]);
    free(items);
    compact(gone->revision);
    cleanup_error struct error *err = NULL;
    ck_assert(!storage_range_at(storage, configmaps, "", NULL, then, 2, &items, &count, &remaining,
                                &err));
    ck_assert_int_eq(err->code, 410);
}
END_TEST

START_TEST(test_events_expire)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *e = configmap("e", "1");
    json_set_str(e, "kind", "Event");
    cleanup_stored struct stored *s = storage_create(storage, events, e, NULL, 0, &err);
    ck_assert_msg(s != NULL, "%s", error_message(err));
    ck_assert_uint_ne(storage->leases[0].id, 0);
    ck_assert_int_eq(storage->leases[0].ttl, events->ttl_seconds);
    /* Revoking the lease stands for the hour that passes. */
    uint64_t lease = storage->leases[0].id;
    cleanup_free char *body = mem_printf("{\"ID\":\"%llu\"}", (unsigned long long)lease);
    cleanup_json cJSON *answer = NULL;
    ck_assert_int_eq(
        etcd_call(storage->etcd, "/v3/lease/revoke", body, false, 5000, &answer, NULL, NULL),
        ETCD_DONE);
    cleanup_stored struct stored *gone = storage_get(storage, events, "default", "e", NULL);
    ck_assert_ptr_null(gone);
    /* A lease that ended meanwhile is replaced. */
    json_set_str(e, "metadata.name", "f");
    cleanup_stored struct stored *next = storage_create(storage, events, e, NULL, 0, &err);
    ck_assert_msg(next != NULL, "%s", error_message(err));
    ck_assert_uint_ne(storage->leases[0].id, lease);
}
END_TEST

static atomic_int named_code;

static void on_named(void *userdata, const struct error *err)
{
    (void)userdata;
    atomic_store(&named_code, err ? err->code : 200);
}

START_TEST(test_waiting_for_a_named_revision)
{
    storage_wait_revision(storage, storage_revision(storage), on_named, NULL);
    ck_assert_int_eq(named_code, 200);
    named_code = 0;
    storage_wait_revision(storage, storage_revision(storage) + 1, on_named, NULL);
    ck_assert_int_eq(named_code, 0);
    cleanup_stored struct stored *s = create("x", "1", NULL);
    ck_assert(eventually(&named_code, 200));
    named_code = 0;
    storage_wait_revision(storage, storage_revision(storage) + 1000, on_named, NULL);
    ck_assert(eventually(&named_code, 504));
}
END_TEST

START_TEST(test_values_of_others_are_ignored_or_shown)
{
    /* Neither garbage nor foreign forms below our prefixes harm the cache. */
    static const char
        *const bodies[] =
            {
                "{\"key\":\"L3JlZ2lzdHJ5L2NvbmZpZ21hcHMvZGVmYXVsdC9iYWQ=\",\"value\":\"bm90IGpzb24="
                "\"}", /* .../bad: not json */
                "{\"key\":\"L3JlZ2lzdHJ5L2NvbmZpZ21hcHMvZGVmYXVsdC9lbXB0eQ==\"}", /* .../empty */
                "{\"key\":\"L290aGVy\",\"value\":\"e30=\"}",                      /* /other */
            };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        cleanup_json cJSON *answer = NULL;
        ck_assert_int_eq(
            etcd_call(storage->etcd, "/v3/kv/put", bodies[i], true, 5000, &answer, NULL, NULL),
            ETCD_DONE);
    }
    cleanup_stored struct stored *s = create("x", "1", NULL);
    cleanup_stored struct stored *got = storage_get(storage, configmaps, "default", "x", NULL);
    ck_assert_ptr_nonnull(got);
    struct storage *other = new_storage();
    cleanup_stored struct stored *bad = storage_get(other, configmaps, "default", "bad", NULL);
    ck_assert_ptr_null(bad);
    storage_stop(other);
}
END_TEST

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_ALL);
    Suite *s = suite_create("storage");
    TCase *t = tcase_create("storage");
    tcase_set_timeout(t, 90);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_create_get_delete);
    tcase_add_test(t, test_update);
    tcase_add_test(t, test_no_update_is_lost);
    tcase_add_test(t, test_reads_see_what_others_wrote);
    tcase_add_test(t, test_claims);
    tcase_add_test(t, test_the_store_is_killed_and_returns);
    tcase_add_test(t, test_watchers_miss_nothing_across_a_restart);
    tcase_add_test(t, test_the_past);
    tcase_add_test(t, test_events_expire);
    tcase_add_test(t, test_waiting_for_a_named_revision);
    tcase_add_test(t, test_values_of_others_are_ignored_or_shown);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
