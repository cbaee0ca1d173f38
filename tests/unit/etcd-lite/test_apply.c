/* Commands: transactions, leases, compaction, as etcd answers them. */
#include "kv_test.h"
#include "etcd-lite/entry.h"

static struct state s;
static struct arena a;
static struct apply_result r;

static void setup(void)
{
    state_init(&s, test_now_ms);
    a = (struct arena){0};
}

static void teardown(void)
{
    arena_free(&a);
    state_clear(&s);
}

/* Requests are written as clients write them. */
static struct txn_response *txn(const char *json)
{
    struct error *e = NULL;
    struct txn_request *t = arena_alloc(&a, sizeof(*t));
    if (!msg_parse_json(&txn_request_type, json, strlen(json), NULL, t, &a, &e))
        ck_abort_msg("%s", error_message(e));
    r = (struct apply_result){.status = check_txn(t)};
    if (!r.status)
        state_apply(&s, &(struct command){.txn = t}, &a, &r);
    return r.response;
}

START_TEST(compare_targets)
{
    put(&s, "k", "m", 0);
    put(&s, "k", "m", 0); /* create 2, mod 3, version 2; key "aw==", value "bQ==" */
    static const struct {
        const char *compare;
        bool holds;
    } cases[] = {
        {"\"target\":\"VERSION\",\"version\":\"2\"", true},
        {"\"target\":\"VERSION\",\"version\":\"1\"", false},
        {"\"target\":0,\"result\":\"GREATER\",\"version\":1", true},
        {"\"target\":\"CREATE\",\"create_revision\":\"2\"", true},
        {"\"target\":\"CREATE\",\"createRevision\":\"3\"", false},
        {"\"target\":\"MOD\",\"result\":\"LESS\",\"mod_revision\":\"4\"", true},
        {"\"target\":\"MOD\",\"result\":\"LESS\",\"mod_revision\":\"3\"", false},
        {"\"target\":\"MOD\",\"result\":\"NOT_EQUAL\",\"mod_revision\":\"3\"", false},
        {"\"target\":\"VALUE\",\"value\":\"bQ==\"", true},
        {"\"target\":\"VALUE\",\"result\":\"GREATER\",\"value\":\"bA==\"", true},
        {"\"target\":\"VALUE\",\"result\":1,\"value\":\"bQ==\"", false},
        {"\"target\":\"LEASE\",\"lease\":\"0\"", true},
        {"\"target\":\"LEASE\",\"lease\":\"1\"", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char json[200];
        snprintf(json, sizeof(json), "{\"compare\":[{\"key\":\"aw==\",%s}]}", cases[i].compare);
        ck_assert_msg(txn(json)->succeeded == cases[i].holds, "%s", cases[i].compare);
    }
    /* An absent key: numbers are 0, a value it has none. */
    ck_assert(txn("{\"compare\":[{\"key\":\"eA==\",\"target\":\"MOD\",\"mod_revision\":\"0\"}]}")
                  ->succeeded);
    ck_assert(!txn("{\"compare\":[{\"key\":\"eA==\",\"target\":\"VALUE\",\"result\":\"NOT_EQUAL\","
                   "\"value\":\"bQ==\"}]}")
                   ->succeeded);
    /* A range: all must hold. */
    put(&s, "l", "x", 0);
    ck_assert(txn("{\"compare\":[{\"key\":\"aw==\",\"range_end\":\"bQ==\",\"target\":\"MOD\","
                  "\"result\":\"GREATER\",\"mod_revision\":2}]}")
                  ->succeeded);
    ck_assert(!txn("{\"compare\":[{\"key\":\"aw==\",\"range_end\":\"bQ==\",\"target\":\"MOD\","
                   "\"result\":\"GREATER\",\"mod_revision\":3}]}")
                   ->succeeded);
}
END_TEST

START_TEST(one_revision_and_what_it_sees)
{
    int64_t before = mvcc_revision(s.kv);
    struct txn_response *t = txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\",\"value\":\"MQ=="
                                 "\"}},{\"request_range\":{\"key\":\"YQ==\"}},"
                                 "{\"request_put\":{\"key\":\"Yg==\"}},{\"request_delete_range\":{"
                                 "\"key\":\"Yw==\",\"range_end\":\"AA==\"}}]}");
    ck_assert(t->succeeded && t->responses.n == 4);
    struct response_op *op = t->responses.items;
    ck_assert_uint_eq(op[1].range->kvs.n, 1);
    ck_assert_int_eq(op[3].delete_range->deleted, 0);
    ck_assert_int_eq(mvcc_revision(s.kv), before + 1);
    ck_assert_int_eq(t->header->revision, before + 1);
    ck_assert_uint_eq(mvcc_log_size(s.kv), 2);
    ck_assert_uint_eq(mvcc_log_at(s.kv, 1)->sub, 1);
    /* The comparison failed and nothing is to be done then. */
    t = txn("{\"compare\":[{\"key\":\"YQ==\",\"target\":\"VERSION\",\"version\":\"9\"}],"
            "\"success\":[{\"request_put\":{\"key\":\"YQ==\"}}]}");
    ck_assert(!t->succeeded && t->responses.n == 0);
    ck_assert_int_eq(mvcc_revision(s.kv), before + 1);
}
END_TEST

START_TEST(nested)
{
    put(&s, "a", "1", 0);
    /* The inner comparison sees the state before the transaction, as in etcd. */
    struct txn_response *t =
        txn("{\"success\":[{\"request_put\":{\"key\":\"Yg==\",\"value\":\"Mg==\"}},"
            "{\"request_txn\":{\"compare\":[{\"key\":\"Yg==\",\"target\":\"CREATE\",\"create_"
            "revision\":\"0\"}],"
            "\"success\":[{\"request_put\":{\"key\":\"Yw==\",\"value\":\"Mw==\"}}],\"failure\":[{"
            "\"request_put\":{\"key\":\"ZA==\"}}]}}]}");
    struct response_op *op = t->responses.items;
    ck_assert(op[1].txn->succeeded);
    ck_assert_str_eq(value_at(&s, "c", 0), "3");
    ck_assert_ptr_null(mvcc_find(s.kv, B("d")));
}
END_TEST

START_TEST(whole_or_not_at_all)
{
    int64_t before = mvcc_revision(s.kv);
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{\"request_put\":{\"key\":\"Yg==\","
        "\"lease\":\"99\"}}]}");
    ck_assert_int_eq(r.status, KV_LEASE_NOT_FOUND);
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{\"request_range\":{\"key\":\"Yg==\","
        "\"revision\":\"99\"}}]}");
    ck_assert_int_eq(r.status, KV_FUTURE_REVISION);
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{\"request_put\":{\"key\":\"Yg==\","
        "\"ignore_value\":true}}]}");
    ck_assert_int_eq(r.status, KV_KEY_NOT_FOUND);
    ck_assert_int_eq(mvcc_revision(s.kv), before);
    ck_assert_ptr_null(mvcc_find(s.kv, B("a")));
}
END_TEST

START_TEST(refused_before_the_log)
{
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{\"request_put\":{\"key\":\"YQ==\"}}]"
        "}");
    ck_assert_int_eq(r.status, KV_DUPLICATE_KEY);
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{\"request_delete_range\":{\"key\":"
        "\"YQ==\",\"range_end\":\"Yg==\"}}]}");
    ck_assert_int_eq(r.status, KV_DUPLICATE_KEY);
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},{\"request_txn\":{\"failure\":[{"
        "\"request_put\":{\"key\":\"YQ==\"}}]}}]}");
    ck_assert_int_eq(r.status, KV_DUPLICATE_KEY);
    txn("{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}}],\"failure\":[{\"request_put\":{"
        "\"key\":\"YQ==\"}}]}");
    ck_assert_int_eq(r.status, KV_OK);
    txn("{\"success\":[{\"request_txn\":{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}}],"
        "\"failure\":[{\"request_put\":{\"key\":\"YQ==\"}}]}}]}");
    ck_assert_int_eq(r.status, KV_OK);
    txn("{\"compare\":[{\"target\":\"MOD\"}]}");
    ck_assert_int_eq(r.status, KV_EMPTY_KEY);
    txn("{\"success\":[{}]}");
    ck_assert_int_eq(r.status, KV_KEY_NOT_FOUND);
    struct buf b = {0};
    buf_adds(&b, "{\"success\":[");
    for (int i = 0; i <= TXN_MAX_OPS; i++)
        buf_printf(&b, "%s{\"request_range\":{\"key\":\"YQ==\"}}", i ? "," : "");
    buf_adds(&b, "]}");
    txn(b.data);
    ck_assert_int_eq(r.status, KV_TOO_MANY_OPS);
    buf_free(&b);
    ck_assert_int_eq(
        check_put(&(struct put_request){.key = B("a"), .value = B("b"), .ignore_value = true}),
        KV_VALUE_PROVIDED);
    ck_assert_int_eq(
        check_put(&(struct put_request){.key = B("a"), .lease = 1, .ignore_lease = true}),
        KV_LEASE_PROVIDED);
}
END_TEST

START_TEST(put_options)
{
    put(&s, "a", "1", 0);
    struct put_request p = {.key = B("a"), .ignore_value = true, .prev_kv = true};
    state_apply(&s, &(struct command){.put = &p}, &a, &r);
    ck_assert_str_eq(value_at(&s, "a", 0), "1");
    ck_assert_int_eq(((struct put_response *)r.response)->prev_kv->version, 1);
}
END_TEST

static enum kv_status grant(int64_t id, int64_t ttl)
{
    struct lease_grant_request g = {ttl, id};
    state_apply(&s, &(struct command){.lease_grant = &g}, &a, &r);
    return r.status;
}

static enum kv_status revoke_lease(int64_t id)
{
    struct lease_id_request q = {id};
    state_apply(&s, &(struct command){.lease_revoke = &q}, &a, &r);
    return r.status;
}

START_TEST(leases_and_keys)
{
    ck_assert_int_eq(grant(7, 1), KV_OK);
    ck_assert_int_eq(((struct lease_grant_response *)r.response)->ttl, LEASE_MIN_TTL);
    ck_assert_int_eq(grant(7, 10), KV_LEASE_EXISTS);
    ck_assert_int_eq(grant(8, LEASE_MAX_TTL + 1), KV_LEASE_TTL_TOO_LARGE);
    ck_assert_int_eq(grant(9, 10), KV_OK);
    ck_assert_int_eq(put(&s, "a", "", 6), KV_LEASE_NOT_FOUND);
    put(&s, "a", "", 7);
    put(&s, "b", "", 7);
    put(&s, "c", "", 7);
    put(&s, "b", "", 9); /* moves to another lease */
    put(&s, "d", "", 7);
    delete_range(&s, "d", "");
    put(&s, "c", "", 0); /* leaves its lease */
    ck_assert_uint_eq(lessor_find(s.leases, 7)->n_keys, 1);
    ck_assert_uint_eq(lessor_find(s.leases, 9)->n_keys, 1);
    put(&s, "e", "", 7);
    int64_t before = mvcc_revision(s.kv);
    ck_assert_int_eq(revoke_lease(7), KV_OK);
    ck_assert_int_eq(mvcc_revision(s.kv), before + 1); /* all keys in one revision */
    ck_assert_ptr_null(mvcc_visible(mvcc_find(s.kv, B("a")), 0));
    ck_assert_ptr_null(mvcc_visible(mvcc_find(s.kv, B("e")), 0));
    ck_assert_ptr_nonnull(mvcc_visible(mvcc_find(s.kv, B("b")), 0));
    ck_assert_ptr_nonnull(mvcc_visible(mvcc_find(s.kv, B("c")), 0));
    ck_assert_int_eq(revoke_lease(7), KV_LEASE_NOT_FOUND);
}
END_TEST

START_TEST(lease_clock)
{
    test_clock_ms = 1000;
    grant(1, 10);
    grant(2, 5);
    grant(3, 20);
    ck_assert_int_eq(lessor_next_expiry(s.leases), 6000);
    ck_assert_ptr_null(lessor_expired(s.leases, 5999));
    lessor_renew(s.leases, lessor_find(s.leases, 2), 5999); /* to 10999 */
    ck_assert_ptr_null(lessor_expired(s.leases, 10999 - 0 - 1));
    struct lease *l = lessor_expired(s.leases, 11000);
    ck_assert_int_eq(l->id, 2);
    l = lessor_expired(s.leases, 11000);
    ck_assert_int_eq(l->id, 1);
    ck_assert_ptr_null(lessor_expired(s.leases, 11000)); /* each is proposed once */
    lessor_retry(s.leases, 1, 11100);
    ck_assert_int_eq(lessor_expired(s.leases, 11100)->id, 1);
    lessor_promote(s.leases, 50000);
    ck_assert_int_eq(lessor_next_expiry(s.leases), 55000);
    ck_assert(!lessor_find(s.leases, 1)->revoking);
    size_t n;
    struct lease **all = lessor_list(s.leases, &n);
    ck_assert(n == 3 && all[0]->id == 2 && all[2]->id == 3);
    free(all);
    for (int64_t id = 100; id < 1100; id++)
        grant(id, 2 + id * 7919 % 500);
    int64_t last = 0;
    for (int i = 0; i < 1003; i++) {
        int64_t at = lessor_next_expiry(s.leases);
        ck_assert(at >= last);
        last = at;
        lessor_remove(s.leases, lessor_expired(s.leases, at));
        break;
    }
    while (lessor_count(s.leases)) {
        int64_t at = lessor_next_expiry(s.leases);
        l = lessor_expired(s.leases, at);
        ck_assert_ptr_nonnull(l);
        ck_assert_ptr_eq(lessor_find(s.leases, l->id), l);
        lessor_remove(s.leases, l);
    }
}
END_TEST

START_TEST(entries)
{
    struct buf e = {0}, wire = {0};
    struct put_request p = {.key = B("k"), .value = B("v")};
    struct noop_request noop = {12};
    entry_begin(&e, (struct entry_origin){1, 2});
    msg_encode(&command_type, &(struct command){.put = &p}, &wire);
    entry_add(&e, 100, wire.data, wire.len);
    buf_clear(&wire);
    msg_encode(&command_type, &(struct command){.noop = &noop}, &wire);
    entry_add(&e, 101, wire.data, wire.len);
    entry_finish(&e);
    ck_assert_uint_eq(e.len % 8, 0);
    struct entry_reader reader;
    ck_assert(entry_open(&reader, e.data, e.len));
    ck_assert(reader.origin.member == 1 && reader.origin.boot == 2 && reader.left == 2);
    uint64_t seq;
    struct command c;
    ck_assert(entry_next(&reader, &seq, &c, &a));
    ck_assert(seq == 100 && c.put && bytes_are(c.put->key, "k") && bytes_are(c.put->value, "v") &&
              !c.noop);
    ck_assert(entry_next(&reader, &seq, &c, &a));
    ck_assert(seq == 101 && c.noop->term == 12);
    ck_assert(!entry_next(&reader, &seq, &c, &a));
    ck_assert_uint_eq(reader.left, 0);
    /* Any flipped bit is noticed (padding apart). */
    uint32_t size;
    memcpy(&size, e.data + 24, sizeof(size));
    for (size_t bit = 0; bit < size * 8; bit++) {
        e.data[bit / 8] ^= (char)(1 << bit % 8);
        ck_assert_msg(!entry_open(&reader, e.data, e.len), "bit %zu", bit);
        e.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t n = 0; n < size; n++)
        ck_assert(!entry_open(&reader, e.data, n));
    buf_free(&e);
    buf_free(&wire);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("apply");
    TCase *t = tcase_create("apply");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, compare_targets);
    tcase_add_test(t, one_revision_and_what_it_sees);
    tcase_add_test(t, nested);
    tcase_add_test(t, whole_or_not_at_all);
    tcase_add_test(t, refused_before_the_log);
    tcase_add_test(t, put_options);
    tcase_add_test(t, leases_and_keys);
    tcase_add_test(t, lease_clock);
    tcase_add_test(t, entries);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
