/* The ordered tree with snapshots, stored objects, and the watch cache's events. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/storage/storage_internal.h"
#include "common/json.h"
#include "common/mem.h"

static const char *const fields[] = {"spec.nodeName", "spec.unschedulable", "spec.count", NULL};

static const char *field_default(const char *path)
{
    return strcmp(path, "spec.unschedulable") ? NULL : "false";
}

static const struct resource pods = {.group = "",
                                     .version = "v1",
                                     .kind = "Pod",
                                     .plural = "pods",
                                     .namespaced = true,
                                     .storage_prefix = "pods",
                                     .field_selectors = fields,
                                     .field_default = field_default};

static struct stored *make(const char *key, uint64_t revision)
{
    const char *name = strrchr(key, '/') + 1;
    cleanup_free char *json = mem_printf(
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"a\","
        "\"uid\":\"u-%s\",\"labels\":{\"n\":\"%llu\"}}}",
        name, name, (unsigned long long)revision);
    struct stored *s = stored_new(&pods, key, revision, json, strlen(json), NULL);
    ck_assert_ptr_nonnull(s);
    return s;
}

/* --- tree --- */

#define KEYS 2000

START_TEST(test_tree_against_a_model)
{
    static bool there[KEYS], there_then[KEYS];
    static uint64_t rev[KEYS], rev_then[KEYS];
    srand(7);
    struct tree t;
    tree_init(&t);
    struct tree_root *snapshot = NULL;
    for (int step = 0; step < 40000; step++) {
        /* Phases that grow and phases that shrink. */
        bool grow = (step / 5000) % 2 == 0;
        int k = rand() % KEYS;
        char key[64];
        snprintf(key, sizeof key, "/registry/pods/a/p%05d", k);
        if (rand() % 10 < (grow ? 8 : 2)) {
            struct stored *old = tree_put(&t, make(key, (uint64_t)step + 1));
            ck_assert_int_eq(old != NULL, there[k]);
            if (old)
                ck_assert_uint_eq(old->revision, rev[k]);
            stored_unref(old);
            there[k] = true;
            rev[k] = (uint64_t)step + 1;
        } else {
            struct stored *old = tree_remove(&t, key);
            ck_assert_int_eq(old != NULL, there[k]);
            stored_unref(old);
            there[k] = false;
        }
        if (step % 997 == 0) {
            if (snapshot) {
                size_t n = 0;
                struct tree_cursor c;
                tree_seek(&c, snapshot, "", false);
                struct stored *s;
                const char *last = "";
                while ((s = tree_next(&c))) {
                    int at = atoi(s->name + 1);
                    ck_assert(there_then[at]);
                    ck_assert_uint_eq(s->revision, rev_then[at]);
                    ck_assert_str_lt(last, s->key);
                    last = s->key;
                    n++;
                }
                ck_assert_uint_eq(n, tree_count(snapshot));
                tree_root_unref(snapshot);
            }
            snapshot = tree_snapshot(&t);
            memcpy(there_then, there, sizeof there);
            memcpy(rev_then, rev, sizeof rev);
            size_t n = 0;
            for (int i = 0; i < KEYS; i++)
                n += there[i];
            ck_assert_uint_eq(n, tree_count(snapshot));
        }
    }
    tree_root_unref(snapshot);
    for (int k = 0; k < KEYS; k++) {
        char key[64];
        snprintf(key, sizeof key, "/registry/pods/a/p%05d", k);
        struct stored *s = tree_find(t.root, key);
        ck_assert_int_eq(s != NULL, there[k]);
        struct stored *old = tree_remove(&t, key);
        stored_unref(old);
    }
    ck_assert_uint_eq(tree_count(t.root), 0);
    tree_clear(&t);
}
END_TEST

START_TEST(test_tree_seek)
{
    struct tree t;
    tree_init(&t);
    struct tree_cursor c;
    tree_seek(&c, t.root, "x", false);
    ck_assert_ptr_null(tree_next(&c));
    for (int i = 0; i < 1000; i += 2) {
        char key[64];
        snprintf(key, sizeof key, "/registry/pods/a/p%05d", i);
        ck_assert_ptr_null(tree_put(&t, make(key, 1)));
    }
    for (int i = 0; i < 998; i++) {
        char key[64];
        snprintf(key, sizeof key, "/registry/pods/a/p%05d", i);
        tree_seek(&c, t.root, key, false);
        ck_assert_int_eq(atoi(tree_next(&c)->name + 1), i % 2 ? i + 1 : i);
        tree_seek(&c, t.root, key, true);
        ck_assert_int_eq(atoi(tree_next(&c)->name + 1), i % 2 ? i + 1 : i + 2);
        struct tree_cursor end; /* c stands behind the object that it has given */
        tree_seek(&end, t.root, "/registry/pods/a0", false);
        ck_assert_uint_eq(tree_distance(&c, &end), (size_t)(998 - (i % 2 ? i + 1 : i + 2)) / 2);
        ck_assert_uint_eq(tree_distance(&end, &c), 0);
    }
    tree_seek(&c, t.root, "/registry/pods/a/p00998", true);
    ck_assert_ptr_null(tree_next(&c));
    tree_seek(&c, t.root, "/", false);
    ck_assert_int_eq(atoi(tree_next(&c)->name + 1), 0);
    tree_clear(&t);
}
END_TEST

/* --- stored --- */

START_TEST(test_stored_forms)
{
    static const char *const texts[] = {
        /* as we write it */
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\","
        "\"uid\":\"u\",\"labels\":{\"b\":\"c\"}},"
        "\"spec\":{\"nodeName\":\"n\",\"count\":7}}",
        /* as somebody else might */
        " {\"spec\":{\"count\":7,\"nodeName\":\"n\"}, "
        "\"metadata\":{\"resourceVersion\":\"1\",\"labels\":{\"b\":\"c\"},\"name\":\"x\","
        "\"namespace\":\"a\",\"uid\":\"u\"},\"apiVersion\":\"v1\",\"kind\":\"Pod\"}",
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"3\",\"name\":"
        "\"x\",\"namespace\":\"a\",\"uid\":\"u\","
        "\"labels\":{\"b\":\"c\"}},\"spec\":{\"nodeName\":\"n\",\"count\":7}}",
    };
    static const char expected_text[] =
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\",\"namespace\":\"a\","
        "\"uid\":\"u\",\"labels\":{\"b\":\"c\"},"
        "\"resourceVersion\":\"99\"},\"spec\":{\"nodeName\":\"n\",\"count\":7}}";
    cleanup_json cJSON *expected = json_parse(expected_text, sizeof expected_text - 1, NULL);
    ck_assert_ptr_nonnull(expected);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        cleanup_stored struct stored *s =
            stored_new(&pods, "/registry/pods/a/x", 99, texts[i], strlen(texts[i]), NULL);
        ck_assert_ptr_nonnull(s);
        ck_assert_uint_eq(s->len, strlen(s->json));
        cleanup_json cJSON *got = json_parse(s->json, s->len, NULL);
        ck_assert_str_eq(json_str(got, "metadata.resourceVersion"), "99");
        ck_assert(json_equal(got, expected));
        ck_assert_str_eq(s->name, "x");
        ck_assert_str_eq(s->ns, "a");
        ck_assert_str_eq(s->uid, "u");
        ck_assert_str_eq(s->labels[0], "b");
        ck_assert_str_eq(s->labels[1], "c");
        ck_assert_ptr_null(s->labels[2]);
        ck_assert_str_eq(s->fields[0], "n");
        ck_assert_str_eq(s->fields[1], "false");
        ck_assert_str_eq(s->fields[2], "7");
        cleanup_stored struct stored *later = stored_at_revision(s, 123456);
        cleanup_json cJSON *shown = json_parse(later->json, later->len, NULL);
        ck_assert_str_eq(json_str(shown, "metadata.resourceVersion"), "123456");
        ck_assert_str_eq(later->fields[2], "7");
        ck_assert_str_eq(later->labels[1], "c");
        ck_assert_str_eq(later->key, s->key);
    }
    static const char *const odd[] = {"{}", "{\"metadata\":{}}",
                                      "{\"kind\":\"P\\\"od\",\"metadata\":null}",
                                      "{\"metadata\":[1]}"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        cleanup_stored struct stored *s =
            stored_new(&pods, "/registry/pods/a/x", 5, odd[i], strlen(odd[i]), NULL);
        ck_assert_ptr_nonnull(s);
        ck_assert_str_eq(s->name, "x");
        cleanup_json cJSON *shown = json_parse(s->json, s->len, NULL);
        ck_assert_str_eq(json_str(shown, "metadata.resourceVersion"), "5");
    }
    ck_assert_ptr_null(stored_new(&pods, "/registry/pods/a/x", 5, "[1]", 3, NULL));
    ck_assert_ptr_null(stored_new(&pods, "/registry/pods/a/x", 5, "{\"a\"", 4, NULL));
    ck_assert_ptr_null(stored_new(&pods, "/registry/pods/a/x", 5, "", 0, NULL));
}
END_TEST

START_TEST(test_written_form_is_read_without_reprinting)
{
    static const char text[] = "{\"spec\":{},\"metadata\":{\"resourceVersion\":\"3\",\"name\":"
                               "\"x\"},\"apiVersion\":\"v1\",\"kind\":\"Pod\"}";
    cleanup_json cJSON *o = json_parse(text, sizeof text - 1, NULL);
    cleanup_buf struct buf b = {0};
    stored_print(o, &b);
    ck_assert_str_eq(
        b.data,
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\"},\"spec\":{}}");
    cleanup_stored struct stored *s =
        stored_new(&pods, "/registry/pods/a/x", 8, b.data, b.len, NULL);
    ck_assert_str_eq(s->json, "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{"
                              "\"resourceVersion\":\"8\",\"name\":\"x\"},\"spec\":{}}");
}
END_TEST

/* --- cache --- */

static struct storage *storage;
static struct cache *cache;

static void setup(void)
{
    storage = mem_alloc(sizeof *storage);
    cache = cache_new(storage, &pods);
    struct tree t;
    tree_init(&t);
    cache_load(cache, &t, 10);
    atomic_store(&storage->revision, 10);
}

static void teardown(void)
{
    cache_free(cache);
    free(storage);
}

struct recorder {
    struct cache_watcher base;
    struct buf text;
    int resets;
};

static void on_event(struct cache_watcher *w, struct cache_event *e)
{
    struct recorder *r = (struct recorder *)w;
    buf_printf(&r->text, "%s %s@%llu;", event_type_text[e->type], e->object->name,
               (unsigned long long)e->revision);
    struct encoded *line = cache_event_line(e, e->type);
    ck_assert(line == cache_event_line(e, e->type));
    ck_assert_int_eq(line->bytes[line->len - 1], '\n');
    cleanup_json cJSON *event = json_parse(line->bytes, line->len, NULL);
    ck_assert_str_eq(json_str(event, "type"), event_type_text[e->type]);
    cleanup_free char *revision = mem_printf("%llu", (unsigned long long)e->revision);
    ck_assert_str_eq(json_str(event, "object.metadata.resourceVersion"), revision);
}

static void on_reset(struct cache_watcher *w)
{
    ((struct recorder *)w)->resets++;
}

static void put(const char *name, uint64_t revision)
{
    cleanup_free char *key = mem_printf("/registry/pods/a/%s", name);
    cache_apply(cache, key, make(key, revision), revision);
    atomic_store(&storage->revision, revision);
}

static void del(const char *name, uint64_t revision)
{
    cleanup_free char *key = mem_printf("/registry/pods/a/%s", name);
    cache_apply(cache, key, NULL, revision);
    atomic_store(&storage->revision, revision);
}

static struct recorder recorder(uint64_t since)
{
    return (struct recorder){.base = {.since = since, .deliver = on_event, .reset = on_reset}};
}

START_TEST(test_events)
{
    struct recorder r = recorder(10), late = recorder(12), future = recorder(14);
    ck_assert(cache_watch(cache, &r.base, NULL));
    put("x", 11);
    put("y", 12);
    put("x", 13);
    ck_assert(cache_watch(cache, &late.base, NULL));
    ck_assert(cache_watch(cache, &future.base, NULL));
    del("x", 14);
    del("nothing", 15);
    put("x", 16);
    ck_assert_str_eq(buf_str(&r.text),
                     "ADDED x@11;ADDED y@12;MODIFIED x@13;DELETED x@14;ADDED x@16;");
    ck_assert_str_eq(buf_str(&late.text), "MODIFIED x@13;DELETED x@14;ADDED x@16;");
    ck_assert_str_eq(buf_str(&future.text), "ADDED x@16;");
    cache_unwatch(cache, &late.base);
    cache_unwatch(cache, &late.base);
    put("z", 17);
    ck_assert_str_eq(buf_str(&late.text), "MODIFIED x@13;DELETED x@14;ADDED x@16;");
    ck_assert_uint_eq(cache_watcher_count(cache), 2);
    cache_unwatch(cache, &r.base);
    cache_unwatch(cache, &future.base);
    buf_free(&r.text);
    buf_free(&late.text);
    buf_free(&future.text);
}
END_TEST

static struct buf transitions;

static void on_transition(struct cache_watcher *w, struct cache_event *e)
{
    (void)w;
    for (int as = 0; as < 3; as++) {
        struct encoded *line = cache_event_line(e, (enum event_type)as);
        cleanup_json cJSON *event = json_parse(line->bytes, line->len, NULL);
        buf_printf(&transitions, "%s n=%s@%s;", json_str(event, "type"),
                   json_str(event, "object.metadata.labels.n"),
                   json_str(event, "object.metadata.resourceVersion"));
    }
}

START_TEST(test_an_object_that_leaves_a_selector_is_shown_as_it_was)
{
    put("x", 11);
    struct cache_watcher w = {.since = 11, .deliver = on_transition, .reset = on_reset};
    ck_assert(cache_watch(cache, &w, NULL));
    put("x", 12);
    ck_assert_str_eq(buf_str(&transitions), "ADDED n=12@12;MODIFIED n=12@12;DELETED n=11@12;");
    cache_unwatch(cache, &w);
    buf_free(&transitions);
}
END_TEST

START_TEST(test_too_old)
{
    struct recorder r = recorder(9);
    cleanup_error struct error *err = NULL;
    ck_assert(!cache_watch(cache, &r.base, &err));
    ck_assert_int_eq(err->code, 410);
    ck_assert_str_eq(err->reason, "Expired");
    ck_assert_str_eq(err->message, "too old resource version: 9 (10)");
    /* The past is bounded: by count ... */
    for (uint64_t i = 0; i < 70000; i++)
        put(i % 2 ? "x" : "y", 11 + i);
    ck_assert_uint_le(cache->ring.count, 32768);
    ck_assert_uint_ge(cache->ring.count, 128);
    struct recorder old = recorder(cache->ring.floor - 1), kept = recorder(cache->ring.floor);
    ck_assert(!cache_watch(cache, &old.base, NULL));
    ck_assert(cache_watch(cache, &kept.base, NULL));
    size_t events = 0;
    for (const char *p = buf_str(&kept.text); (p = strchr(p, ';')); p++)
        events++;
    ck_assert_uint_eq(events, cache->ring.count);
    cache_unwatch(cache, &kept.base);
    buf_free(&kept.text);
}
END_TEST

START_TEST(test_the_past_is_bounded_by_bytes)
{
    cleanup_free char *padding = mem_alloc(100001);
    memset(padding, 'p', 100000);
    cleanup_free char *json = mem_printf(
        "{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"x\"},\"data\":\"%s\"}",
        padding);
    for (uint64_t i = 11; i < 1011; i++)
        cache_apply(cache, "/registry/pods/a/x",
                    stored_new(&pods, "/registry/pods/a/x", i, json, strlen(json), NULL), i);
    ck_assert_uint_le(cache->ring.bytes, 17 * 1024 * 1024);
}
END_TEST

START_TEST(test_list_and_watch_leave_no_gap)
{
    put("x", 11);
    struct recorder r = recorder(0);
    uint64_t revision;
    struct tree_root *root = cache_watch_list(cache, &r.base, &revision);
    ck_assert_uint_eq(revision, 11);
    ck_assert_uint_eq(tree_count(root), 1);
    put("y", 12);
    ck_assert_uint_eq(tree_count(root), 1);
    ck_assert_str_eq(buf_str(&r.text), "ADDED y@12;");
    tree_root_unref(root);
    cache_unwatch(cache, &r.base);
    buf_free(&r.text);
}
END_TEST

START_TEST(test_snapshots_are_remembered)
{
    put("x", 11);
    uint64_t revision;
    struct tree_root *root = cache_snapshot(cache, &revision);
    cache_remember(cache, root, revision);
    tree_root_unref(root);
    /* Other resources move on: the same snapshot still holds for later revisions. */
    atomic_store(&storage->revision, 20);
    root = cache_snapshot_at(cache, 15);
    ck_assert_ptr_nonnull(root);
    tree_root_unref(root);
    ck_assert_ptr_null(cache_snapshot_at(cache, 21));
    put("y", 22);
    root = cache_snapshot_at(cache, 11);
    ck_assert_ptr_nonnull(root);
    ck_assert_uint_eq(tree_count(root), 1);
    tree_root_unref(root);
    ck_assert_ptr_null(cache_snapshot_at(cache, 15));
    for (uint64_t i = 0; i < 40; i++) {
        put("z", 30 + i);
        root = cache_snapshot(cache, &revision);
        cache_remember(cache, root, revision);
        cache_remember(cache, root, revision);
        tree_root_unref(root);
    }
    ck_assert_ptr_null(cache_snapshot_at(cache, 11));
}
END_TEST

START_TEST(test_get)
{
    put("x", 11);
    cleanup_stored struct stored *s = cache_get(cache, "a", "x");
    ck_assert_ptr_nonnull(s);
    ck_assert_ptr_null(cache_get(cache, "b", "x"));
    ck_assert_ptr_null(cache_get(cache, "", "x"));
    cleanup_free char *long_name = mem_alloc(5000);
    memset(long_name, 'n', 4999);
    ck_assert_ptr_null(cache_get(cache, "a", long_name));
}
END_TEST

START_TEST(test_loading_anew_resets_watchers)
{
    struct recorder r = recorder(10);
    ck_assert(cache_watch(cache, &r.base, NULL));
    put("x", 11);
    struct tree t;
    tree_init(&t);
    cache_load(cache, &t, 50);
    ck_assert_int_eq(r.resets, 1);
    cache_unwatch(cache, &r.base);
    ck_assert_ptr_null(cache_get(cache, "a", "x"));
    struct recorder old = recorder(11);
    ck_assert(!cache_watch(cache, &old.base, NULL));
    buf_free(&r.text);
}
END_TEST

static atomic_bool stop;

static void *list_all_the_time(void *arg)
{
    (void)arg;
    while (!atomic_load(&stop)) {
        uint64_t revision;
        struct tree_root *root = cache_snapshot(cache, &revision);
        struct tree_cursor c;
        tree_seek(&c, root, "", false);
        size_t n = 0;
        struct stored *s;
        while ((s = tree_next(&c))) {
            ck_assert_uint_le(s->revision, revision);
            n++;
        }
        ck_assert_uint_eq(n, tree_count(root));
        tree_root_unref(root);
    }
    return NULL;
}

START_TEST(test_readers_beside_the_writer)
{
    pthread_t t[3];
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_create(&t[i], NULL, list_all_the_time, NULL);
    for (uint64_t i = 0; i < 20000; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", rand() % 500);
        if (rand() % 3)
            put(name, 11 + i);
        else
            del(name, 11 + i);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cacher");
    TCase *t = tcase_create("tree");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_tree_against_a_model);
    tcase_add_test(t, test_tree_seek);
    tcase_add_test(t, test_stored_forms);
    tcase_add_test(t, test_written_form_is_read_without_reprinting);
    suite_add_tcase(s, t);
    t = tcase_create("cache");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_events);
    tcase_add_test(t, test_an_object_that_leaves_a_selector_is_shown_as_it_was);
    tcase_add_test(t, test_too_old);
    tcase_add_test(t, test_the_past_is_bounded_by_bytes);
    tcase_add_test(t, test_list_and_watch_leave_no_gap);
    tcase_add_test(t, test_snapshots_are_remembered);
    tcase_add_test(t, test_get);
    tcase_add_test(t, test_loading_anew_resets_watchers);
    tcase_add_test(t, test_readers_beside_the_writer);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
