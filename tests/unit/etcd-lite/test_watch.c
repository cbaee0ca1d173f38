/* Watches: what clients get, whatever their pace. */
#include "kv_test.h"
#include "etcd-lite/watch.h"

static struct state s;
static struct watch_hub *hub;

/* A client: what it got, as text, and whether it takes more. */
struct client {
    char got[4096];
    bool full;
    int64_t progress, compacted, last_revision;
    unsigned messages;
};

static void on_events(void *u, struct watcher *w, struct watch_event *const *events, size_t n,
                      int64_t revision)
{
    (void)u;
    struct client *c = watch_get_options(w)->stream;
    ck_assert(n > 0);
    c->messages++;
    for (size_t i = 0; i < n; i++) {
        const struct kv_version *v = events[i]->version;
        ck_assert(v->mod > c->last_revision || v->mod <= revision);
        size_t len = strlen(c->got);
        struct bytes k = kv_key_bytes(v->key);
        snprintf(c->got + len, sizeof(c->got) - len, "%s%.*s=%.*s", kv_is_delete(v) ? "-" : "",
                 (int)k.n, k.p, (int)v->value_len, v->value);
        len = strlen(c->got);
        if (watch_get_options(w)->prev_kv && events[i]->prev)
            snprintf(c->got + len, sizeof(c->got) - len, "<%.*s", (int)events[i]->prev->value_len,
                     events[i]->prev->value);
        strcat(c->got, " ");
    }
    ck_assert(revision > c->last_revision);
    c->last_revision = revision;
}

static void on_progress(void *u, struct watcher *w, int64_t revision)
{
    (void)u;
    ((struct client *)watch_get_options(w)->stream)->progress = revision;
}

static void on_compacted(void *u, struct watcher *w, int64_t revision)
{
    (void)u;
    ((struct client *)watch_get_options(w)->stream)->compacted = revision;
}

static bool has_room(void *u, struct watcher *w)
{
    (void)u;
    return !((struct client *)watch_get_options(w)->stream)->full;
}

static void forget(void *u, void *encoded)
{
    (void)u;
    (void)encoded;
    ck_abort(); /* nothing was encoded */
}

static void setup(void)
{
    state_init(&s, test_now_ms);
    hub = watch_hub_new(
        &(struct watch_sink){on_events, on_progress, on_compacted, has_room, forget, NULL});
}

static void teardown(void)
{
    watch_hub_free(hub);
    state_clear(&s);
}

static void notify_since(int64_t revision)
{
    watch_notify(hub, s.kv, mvcc_log_seek(s.kv, revision + 1));
}

static void do_put(const char *key, const char *value)
{
    int64_t before = mvcc_revision(s.kv);
    put(&s, key, value, 0);
    notify_since(before);
}

static void do_delete(const char *key, const char *end)
{
    int64_t before = mvcc_revision(s.kv);
    delete_range(&s, key, end);
    notify_since(before);
}

static struct watcher *add(struct client *c, const char *key, const char *end, int64_t from)
{
    return watch_add(hub, s.kv,
                     &(struct watch_options){.key = B(key),
                                             .range_end = B(end),
                                             .start_revision = from,
                                             .stream = c,
                                             .progress_notify = true});
}

START_TEST(live)
{
    struct client one = {0}, range = {0}, none = {0};
    do_put("b", "0");
    add(&one, "b", "", 0);
    add(&range, "b", "d", 0);
    add(&none, "x", "", 0);
    do_put("a", "1");
    do_put("b", "2");
    do_put("c", "3");
    do_delete("a", "z");
    ck_assert_str_eq(one.got, "b=2 -b= ");
    ck_assert_str_eq(range.got, "b=2 c=3 -b= -c= ");
    ck_assert_uint_eq(range.messages, 3); /* the two deletions are one revision, one message */
    ck_assert_str_eq(none.got, "");
}
END_TEST

START_TEST(from_the_past_and_on)
{
    struct client c = {0}, prev = {0};
    for (int i = 0; i < 5; i++) {
        char v[2] = {(char)('0' + i), 0};
        do_put("k", v);
    }
    add(&c, "k", "", 4);
    watch_add(hub, s.kv,
              &(struct watch_options){.key = B("k"),
                                      .start_revision = 2,
                                      .stream = &prev,
                                      .prev_kv = true,
                                      .no_delete = true});
    ck_assert(!watch_catch_up(hub, s.kv));
    do_put("k", "5");
    do_delete("k", "");
    ck_assert_str_eq(c.got, "k=2 k=3 k=4 k=5 -k= ");
    ck_assert_str_eq(prev.got, "k=0 k=1<0 k=2<1 k=3<2 k=4<3 k=5<4 ");
}
END_TEST

START_TEST(from_the_future)
{
    struct client c = {0};
    add(&c, "k", "", 4);
    do_put("k", "2");
    do_put("k", "3");
    do_put("k", "4");
    ck_assert_str_eq(c.got, "k=4 ");
}
END_TEST

START_TEST(a_slow_client_loses_nothing)
{
    struct client slow = {0}, fast = {0};
    struct watcher *w = add(&slow, "k", "", 0);
    add(&fast, "a", "z", 0);
    do_put("k", "1");
    slow.full = true;
    do_put("k", "2");
    do_put("k", "3");
    ck_assert(!watch_is_synced(w));
    ck_assert(!watch_catch_up(hub, s.kv));
    ck_assert_str_eq(slow.got, "k=1 ");
    slow.full = false;
    watch_catch_up(hub, s.kv);
    ck_assert(watch_is_synced(w));
    do_put("k", "4");
    ck_assert_str_eq(slow.got, "k=1 k=2 k=3 k=4 ");
    ck_assert_str_eq(fast.got, "k=1 k=2 k=3 k=4 ");
}
END_TEST

START_TEST(compacted_away)
{
    struct client old = {0}, slow = {0}, edge = {0};
    do_put("k", "2");
    do_put("k", "3");
    do_put("k", "4");
    add(&slow, "k", "", 0);
    slow.full = true;
    do_put("k", "5");
    do_put("k", "6");
    compact(&s, 6);
    collect_all(&s);
    add(&old, "k", "", 3);
    add(&edge, "k", "", 6);
    ck_assert_uint_eq(watch_hub_count(hub), 3);
    slow.full = false;
    watch_catch_up(hub, s.kv);
    ck_assert_int_eq(old.compacted, 6);
    ck_assert_int_eq(slow.compacted, 6);
    ck_assert_str_eq(edge.got, "k=6 ");
    ck_assert_uint_eq(watch_hub_count(hub), 1);
}
END_TEST

START_TEST(progress)
{
    struct client c = {0};
    struct watcher *w = add(&c, "k", "", 0);
    watch_send_progress(hub, s.kv, NULL);
    ck_assert_int_eq(c.progress, 0); /* it knows already */
    do_put("other", "1");
    watch_send_progress(hub, s.kv, NULL);
    ck_assert_int_eq(c.progress, mvcc_revision(s.kv));
    c.progress = 0;
    c.full = true;
    do_put("k", "1");
    c.full = false;
    watch_send_progress(hub, s.kv, NULL);
    ck_assert_int_eq(c.progress, 0); /* behind: a promise would be wrong */
    watch_catch_up(hub, s.kv);
    ck_assert(watch_is_synced(w));
}
END_TEST

START_TEST(store_replaced)
{
    struct client c = {0};
    add(&c, "k", "", 0);
    do_put("k", "1");
    put(&s, "k", "2", 0); /* came with a snapshot: nobody was told */
    watch_resync(hub);
    watch_catch_up(hub, s.kv);
    do_put("k", "3");
    ck_assert_str_eq(c.got, "k=1 k=2 k=3 ");
}
END_TEST

/* Many clients with random pace and ranges: each gets exactly the events of its range, in order. */
START_TEST(random_pace)
{
    enum { N = 20, STEPS = 150 };
    static struct client c[N];
    static char want[N][4096];
    unsigned from[N], to[N];
    uint64_t seed = (uint64_t)_i + 99;
    memset(c, 0, sizeof(c));
    memset(want, 0, sizeof(want));
    for (unsigned i = 0; i < N; i++) {
        from[i] = chance(&seed, 8);
        to[i] = chance(&seed, 3) ? from[i] + 1 + chance(&seed, 4) : 0;
        char k[2] = {(char)('a' + from[i]), 0}, e[2] = {to[i] ? (char)('a' + to[i]) : 0, 0};
        add(&c[i], k, e, 0);
    }
    for (int step = 0; step < STEPS; step++) {
        int64_t before = mvcc_revision(s.kv);
        /* Several revisions at once, as one log entry brings them. */
        for (unsigned burst = 1 + chance(&seed, 4); burst > 0; burst--) {
            unsigned k = chance(&seed, 12);
            char key[2] = {(char)('a' + k), 0}, value[16];
            snprintf(value, sizeof(value), "%d", step);
            put(&s, key, value, 0);
            for (unsigned i = 0; i < N; i++)
                if (to[i] ? k >= from[i] && k < to[i] : k == from[i])
                    snprintf(want[i] + strlen(want[i]), sizeof(want[i]) - strlen(want[i]), "%s=%s ",
                             key, value);
        }
        notify_since(before);
        for (unsigned i = 0; i < N; i++)
            c[i].full = chance(&seed, 3) == 0;
        if (chance(&seed, 2))
            watch_catch_up(hub, s.kv);
    }
    for (unsigned i = 0; i < N; i++)
        c[i].full = false;
    while (watch_catch_up(hub, s.kv))
        ;
    for (unsigned i = 0; i < N; i++)
        ck_assert_str_eq(c[i].got, want[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("watch");
    TCase *t = tcase_create("watch");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, live);
    tcase_add_test(t, from_the_past_and_on);
    tcase_add_test(t, from_the_future);
    tcase_add_test(t, a_slow_client_loses_nothing);
    tcase_add_test(t, compacted_away);
    tcase_add_test(t, progress);
    tcase_add_test(t, store_replaced);
    tcase_add_loop_test(t, random_pace, 0, 20);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
