/* The store against a model that keeps every state it ever had. */
#include "snapshot_test.h"
#include "etcd-lite/snapshot.h"

static struct state s;

static void setup(void)
{
    state_init(&s, test_now_ms);
}

static void teardown(void)
{
    state_clear(&s);
}

START_TEST(revisions_and_versions)
{
    ck_assert_int_eq(mvcc_revision(s.kv), 1);
    put(&s, "a", "1", 0);
    put(&s, "a", "2", 0);
    struct kv_version *v = mvcc_visible(mvcc_find(s.kv, B("a")), 0);
    ck_assert_int_eq(v->create, 2);
    ck_assert_int_eq(v->mod, 3);
    ck_assert_int_eq(v->version, 2);
    ck_assert_int_eq(delete_range(&s, "a", ""), 1);
    ck_assert_int_eq(delete_range(&s, "a", ""), 0);
    ck_assert_int_eq(mvcc_revision(s.kv), 4); /* nothing deleted: no revision */
    put(&s, "a", "3", 0);
    v = mvcc_visible(mvcc_find(s.kv, B("a")), 0);
    ck_assert_int_eq(v->create, 5);
    ck_assert_int_eq(v->version, 1);
    ck_assert_str_eq(value_at(&s, "a", 2), "1");
    ck_assert_str_eq(value_at(&s, "a", 3), "2");
    ck_assert_str_eq(value_at(&s, "a", 4), "");
}
END_TEST

START_TEST(ranges)
{
    put(&s, "a", "", 0);
    put(&s, "b", "", 0);
    put(&s, "ba", "", 0);
    put(&s, "c", "", 0);
    struct arena a = {0};
    struct range_response r = {0};
    struct range_request q = {.key = B("b"), .range_end = B("c")};
    ck_assert_int_eq(state_range(&s, &q, &a, &r, NULL), KV_OK);
    ck_assert_int_eq(r.count, 2);
    q.range_end = (struct bytes){"", 1};
    r = (struct range_response){0};
    state_range(&s, &q, &a, &r, NULL);
    ck_assert_int_eq(r.count, 3);
    q.limit = 2;
    r = (struct range_response){0};
    state_range(&s, &q, &a, &r, NULL);
    ck_assert(r.count == 3 && r.kvs.n == 2 && r.more);
    q.sort_order = SORT_DESCEND;
    q.limit = 1;
    r = (struct range_response){0};
    state_range(&s, &q, &a, &r, NULL);
    ck_assert(r.kvs.n == 1 && r.more && bytes_are(((struct key_value *)r.kvs.items)->key, "c"));
    q = (struct range_request){
        .key = B("a"), .range_end = B("d"), .min_mod_revision = 3, .max_mod_revision = 4};
    r = (struct range_response){0};
    state_range(&s, &q, &a, &r, NULL);
    ck_assert(r.kvs.n == 2 && r.count == 4 && !r.more);
    q = (struct range_request){.key = B("a"), .range_end = B("d"), .count_only = true};
    r = (struct range_response){0};
    state_range(&s, &q, &a, &r, NULL);
    ck_assert(r.kvs.n == 0 && r.count == 4);
    q = (struct range_request){.key = B("a"), .revision = 99};
    ck_assert_int_eq(state_range(&s, &q, &a, &r, NULL), KV_FUTURE_REVISION);
    arena_free(&a);
}
END_TEST

START_TEST(compaction_frees)
{
    size_t empty = mvcc_bytes(s.kv);
    for (int i = 0; i < 1000; i++)
        put(&s, i % 2 ? "odd" : "even", "some value", 0);
    delete_range(&s, "even", "");
    size_t full = mvcc_bytes(s.kv);
    ck_assert_int_eq(compact(&s, mvcc_revision(s.kv) + 1), KV_FUTURE_REVISION);
    ck_assert_int_eq(compact(&s, mvcc_revision(s.kv)), KV_OK);
    ck_assert_int_eq(compact(&s, mvcc_revision(s.kv)), KV_COMPACTED);
    collect_all(&s);
    put(&s, "z", "", 0);
    compact(&s, mvcc_revision(s.kv));
    collect_all(&s);
    ck_assert(mvcc_bytes(s.kv) < full / 100);
    ck_assert(mvcc_bytes(s.kv) > empty);
    ck_assert_ptr_null(mvcc_find(s.kv, B("even")));
    ck_assert_str_eq(value_at(&s, "odd", 0), "some value");
    ck_assert_uint_eq(mvcc_key_count(s.kv), 2);
}
END_TEST

START_TEST(held_store_keeps_versions)
{
    put(&s, "a", "1", 0);
    put(&s, "a", "2", 0);
    put(&s, "a", "3", 0);
    mvcc_hold(s.kv);
    compact(&s, mvcc_revision(s.kv));
    ck_assert(!mvcc_collect(s.kv, 100));
    ck_assert_str_eq(value_at(&s, "a", 2), "1");
    mvcc_release(s.kv);
    collect_all(&s);
    ck_assert_str_eq(value_at(&s, "a", 2), "");
}
END_TEST

/* --- the model --- */
#define KEYS  12
#define STEPS 600

struct model_state {
    char value[KEYS][16]; /* "" absent */
};

static void random_walk(uint64_t seed, bool with_snapshots)
{
    static struct model_state history[STEPS + 2];
    struct model_state now = {0};
    int64_t compacted = 0;
    struct snapshot_list saved = {0};
    char dir[] = "/tmp/test_mvcc.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(dir));
    mvcc_saved(s.kv, 0);
    history[1] = now;
    for (int step = 0; step < STEPS; step++) {
        char key[8], value[16];
        unsigned k = chance(&seed, KEYS), what = chance(&seed, 20);
        snprintf(key, sizeof(key), "k%02u", k);
        snprintf(value, sizeof(value), "v%d", step);
        int64_t before = mvcc_revision(s.kv);
        if (what < 11) {
            put(&s, key, value, 0);
            strcpy(now.value[k], value);
        } else if (what < 16) {
            char end[8];
            unsigned to = k + 1 + chance(&seed, 3), deleted = 0;
            snprintf(end, sizeof(end), "k%02u", to);
            for (unsigned i = k; i < to && i < KEYS; i++) {
                deleted += now.value[i][0] != 0;
                now.value[i][0] = 0;
            }
            ck_assert_int_eq(delete_range(&s, key, end), deleted);
        } else if (what == 16 && before > 20) {
            int64_t at = before - chance(&seed, 15);
            enum kv_status st = compact(&s, at);
            ck_assert_int_eq(st, at <= compacted ? KV_COMPACTED : KV_OK);
            if (st == KV_OK)
                compacted = at;
        } else if (what == 17) {
            mvcc_collect(s.kv, chance(&seed, 10));
        } else if (what == 18 && with_snapshots) {
            struct snapshot_changes *c = snapshot_changes_begin(&s, snapshot_list_revision(&saved));
            put(&s, "later", "not in it", 0);
            save_changes(&s, c, &saved, dir, step);
            uint32_t hash = mvcc_hash(s.kv, before);
            state_clear(&s);
            state_init(&s, test_now_ms);
            ck_assert(snapshot_load(&s, &saved, dir, NULL));
            mvcc_saved(s.kv, before);
            ck_assert_int_eq(mvcc_revision(s.kv), before);
            ck_assert_uint_eq(mvcc_hash(s.kv, before), hash);
        }
        if (mvcc_revision(s.kv) > before)
            history[mvcc_revision(s.kv)] = now;
        /* Look at some revision that is not compacted. */
        int64_t low = compacted > 1 ? compacted : 1,
                at = low + chance(&seed, (unsigned)(mvcc_revision(s.kv) - low + 1));
        size_t alive = 0;
        for (unsigned i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "k%02u", i);
            ck_assert_str_eq(value_at(&s, key, at), history[at].value[i]);
            ck_assert_str_eq(value_at(&s, key, 0), now.value[i]);
            alive += now.value[i][0] != 0;
        }
        ck_assert_uint_eq(mvcc_key_count(s.kv), alive);
        /* The log has all of history, in order. */
        size_t from = mvcc_log_seek(s.kv, low + 1);
        int64_t last = low;
        for (size_t i = from; i < mvcc_log_size(s.kv); i++) {
            int64_t mod = mvcc_log_at(s.kv, i)->mod;
            ck_assert(mod == last || mod == last + 1);
            last = mod;
        }
        ck_assert_int_eq(last, mvcc_revision(s.kv));
    }
    remove_files(&saved, dir);
}

START_TEST(against_a_model)
{
    random_walk((uint64_t)_i * 7919 + 1, false);
}
END_TEST

START_TEST(against_a_model_with_snapshots)
{
    random_walk((uint64_t)_i * 104729 + 1, true);
}
END_TEST

START_TEST(many_keys_in_order)
{
    uint64_t seed = 5;
    char key[16];
    for (int i = 0; i < 20000; i++) {
        snprintf(key, sizeof(key), "%08x", chance(&seed, 1u << 30));
        put(&s, key, "", 0);
    }
    size_t n = 0;
    struct kv_key *last = NULL;
    for (struct kv_key *k = mvcc_seek(s.kv, B("")); k; last = k, k = mvcc_next(k), n++)
        ck_assert(!last || bytes_compare(kv_key_bytes(last), kv_key_bytes(k)) < 0);
    ck_assert_uint_eq(n, mvcc_key_count(s.kv));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mvcc");
    TCase *t = tcase_create("mvcc");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, revisions_and_versions);
    tcase_add_test(t, ranges);
    tcase_add_test(t, compaction_frees);
    tcase_add_test(t, held_store_keeps_versions);
    tcase_add_loop_test(t, against_a_model, 0, 20);
    tcase_add_loop_test(t, against_a_model_with_snapshots, 0, 20);
    tcase_add_test(t, many_keys_in_order);
    suite_add_tcase(suite, t);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
