/* Messages: JSON as grpc-gateway maps it, the wire format, and what malformed input does. The fuzz
 * targets are run here too, over mutations of a small corpus (the same at every run). */
#include "snapshot_test.h"

#define LLVMFuzzerTestOneInput fuzz_json
#include "tests/fuzz/etcd-lite_json.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_entry
#define no_time                no_time_entry
#include "tests/fuzz/etcd-lite_entry.c"
#undef LLVMFuzzerTestOneInput
#undef no_time
#define LLVMFuzzerTestOneInput fuzz_snapshot
#define no_time                no_time_snapshot
#define list                   snapshot_files
#include "tests/fuzz/etcd-lite_snapshot.c"
#undef LLVMFuzzerTestOneInput
#undef no_time
#undef list

static struct arena a;

static void setup(void)
{
    a = (struct arena){0};
}

static void teardown(void)
{
    arena_free(&a);
}

static const char *parse_error(const struct msg_type *t, const char *json)
{
    static char text[300];
    struct error *e = NULL;
    bool ok = msg_parse_json(t, json, strlen(json), NULL, arena_alloc(&a, t->size), &a, &e);
    snprintf(text, sizeof(text), "%s", ok ? "" : error_message(e));
    error_free(e);
    return text;
}

START_TEST(json_in)
{
    struct range_request r = {0};
    const char *json =
        " {\"key\":\"Zm9v\", \"range_end\" : "
        "\"Zm9w\",\"limit\":\"10\",\"revision\":7,\"sortOrder\":\"DESCEND\",\"sort_target\":3,"
        "\"keys_only\":true,\"minModRevision\":\"-1\",\"count_only\":null}\n";
    ck_assert(msg_parse_json(&range_request_type, json, strlen(json), NULL, &r, &a, NULL));
    ck_assert(bytes_are(r.key, "foo") && bytes_are(r.range_end, "fop") && r.limit == 10 &&
              r.revision == 7);
    ck_assert(r.sort_order == SORT_DESCEND && r.sort_target == SORT_BY_MOD && r.keys_only &&
              r.min_mod_revision == -1 && !r.count_only);
    struct member m = {0};
    json = "{\"ID\":\"18446744073709551615\",\"name\":\"\\u00e4\\n\\ud83d\\ude00\",\"peerURLs\":["
           "\"a\",\"b\"],\"clientURLs\":[]}";
    ck_assert(msg_parse_json(&member_type, json, strlen(json), NULL, &m, &a, NULL));
    ck_assert((uint64_t)m.id == UINT64_MAX && bytes_are(m.name, "\xc3\xa4\n\xf0\x9f\x98\x80") &&
              m.peer_urls.n == 2 && m.client_urls.n == 0);
    /* Several documents, one after another. */
    json = "{\"create_request\":{}} {\"progress_request\":{}}";
    struct watch_request w = {0};
    size_t used;
    ck_assert(msg_parse_json(&watch_request_type, json, strlen(json), &used, &w, &a, NULL));
    ck_assert(w.create_request && !w.progress_request && used == 22);
}
END_TEST

START_TEST(json_errors)
{
    ck_assert_str_eq(parse_error(&range_request_type, "{}"), "");
    ck_assert_str_eq(
        parse_error(&range_request_type,
                    "{\"kez\":1,\"key\":\"YQ==\",\"new\":{\"a\":[1,\"b\",{}],\"c\":null}}"),
        "");
    ck_assert(*parse_error(&range_request_type, "{\"new\":{\"a\":[1,]}}"));
    static const char *const bad[] = {"",
                                      "{",
                                      "[]",
                                      "{\"key\"}",
                                      "{\"key\":1}",
                                      "{\"key\":\"*\"}",
                                      "{\"limit\":\"x\"}",
                                      "{\"limit\":1.5}",
                                      "{\"limit\":99999999999999999999}",
                                      "{\"serializable\":1}",
                                      "{} {}",
                                      "{\"key\":\"\\x\"}",
                                      "{\"sort_order\":\"UP\"}",
                                      "{\"limit\":}",
                                      "{\"key\":\"YQ==\",}",
                                      "nul",
                                      "{\"key\":\"Y\n\"}",
                                      "{\"limit\":[1]}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ck_assert_msg(*parse_error(&range_request_type, bad[i]), "%s", bad[i]);
    struct buf deep = {0};
    for (int i = 0; i < 100000; i++)
        buf_adds(&deep, "{\"success\":[{\"request_txn\":");
    ck_assert_str_eq(parse_error(&txn_request_type, deep.data), "exceeded max depth");
    buf_free(&deep);
}
END_TEST

START_TEST(json_out)
{
    struct key_value kv = {
        .key = B("foo"), .create_revision = 2, .mod_revision = INT64_MAX, .version = 1};
    struct event e = {.type = EVENT_DELETE, .kv = &kv};
    struct response_header h = {.cluster_id = -1, .revision = -5};
    struct watch_response r = {
        .header = &h, .created = true, .cancel_reason = B("a\"\x01"), .events = {&e, 1}};
    struct buf b = {0};
    msg_print_json(&watch_response_type, &r, &b);
    ck_assert_str_eq(
        b.data, "{\"header\":{\"cluster_id\":\"18446744073709551615\",\"revision\":\"-5\"},"
                "\"created\":true,\"cancel_reason\":\"a\\\"\\u0001\","
                "\"events\":[{\"type\":\"DELETE\",\"kv\":{\"key\":\"Zm9v\",\"create_revision\":"
                "\"2\",\"mod_revision\":\"9223372036854775807\",\"version\":\"1\"}}]}");
    buf_free(&b);
    struct empty none;
    msg_print_json(&empty_type, &none, &b);
    ck_assert_str_eq(b.data, "{}");
    buf_free(&b);
}
END_TEST

START_TEST(wire)
{
    /* Field 1 "foo", field 2 "bar", field 3 = 300, and a field that we don't know. */
    static const char put_bytes[] = "\x0a\x03"
                                    "foo\x12\x03"
                                    "bar\x18\xac\x02\xfa\x01\x02zz\x20\x01";
    struct put_request p = {0};
    ck_assert(msg_decode(&put_request_type, put_bytes, sizeof(put_bytes) - 1, &p, &a));
    ck_assert(bytes_are(p.key, "foo") && bytes_are(p.value, "bar") && p.lease == 300 && p.prev_kv);
    struct buf b = {0};
    msg_encode(&put_request_type, &p, &b);
    ck_assert_uint_eq(b.len, msg_wire_size(&put_request_type, &p));
    ck_assert(b.len == 15 && memcmp(b.data, put_bytes, 13) == 0);
    buf_free(&b);
    for (size_t n = 1; n < sizeof(put_bytes) - 1;
         n++) { /* cut anywhere: no crash, and never more than was there */
        char *cut = malloc(n);
        memcpy(cut, put_bytes, n);
        struct put_request q = {0};
        msg_decode(&put_request_type, cut, n, &q, &a);
        free(cut);
    }
    /* Packed and unpacked lists of numbers. */
    struct watch_request w = {0};
    ck_assert(msg_decode(&watch_request_type, "\x0a\x06\x2a\x02\x00\x01\x28\x01", 8, &w, &a));
    ck_assert_uint_eq(w.create_request->filters.n, 3);
    static const char endless[] = "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    ck_assert(!msg_decode(&put_request_type, endless, sizeof(endless) - 1, &p, &a));
    char deep[600];
    for (int i = 0; i < 300; i++) { /* txn in success in txn ... with lengths that cannot be */
        deep[2 * i] = i % 2 ? 0x22 : 0x12;
        deep[2 * i + 1] = 0x7f;
    }
    struct txn_request t = {0};
    ck_assert(!msg_decode(&txn_request_type, deep, sizeof(deep), &t, &a));
}
END_TEST

/* --- the fuzz targets, over a small corpus --- */
static void mutate(int (*target)(const uint8_t *, size_t), const uint8_t *seed_input, size_t len,
                   unsigned rounds)
{
    uint64_t seed = len * 31 + 7;
    target(seed_input, len);
    for (unsigned i = 0; i < rounds; i++) {
        size_t n = len;
        uint8_t *copy = malloc(len + 8); /* exactly sized below, so that sanitizers see overruns */
        memcpy(copy, seed_input, len);
        for (unsigned k = 1 + chance(&seed, 4); k > 0 && n > 0; k--) {
            size_t at = chance(&seed, (unsigned)n);
            switch (chance(&seed, 4)) {
            case 0:
                copy[at] ^= (uint8_t)(1 << chance(&seed, 8));
                break;
            case 1:
                copy[at] = (uint8_t)chance(&seed, 256);
                break;
            case 2:
                n = at;
                break;
            default: {
                size_t from = chance(&seed, (unsigned)n), size = n - (from > at ? from : at);
                memmove(copy + at, copy + from, size < 9 ? size : 9);
            }
            }
        }
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, copy, n);
        target(exact, n);
        free(exact);
        free(copy);
    }
}

START_TEST(fuzz_corpus_json)
{
    static const char *const corpus[] = {
        ("0{\"compare\":[{\"target\":\"VALUE\",\"key\":\"YQ==\",\"value\":\"Yg==\"}],\"success\":[{"
         "\"request_put\":{\"key\":\"YQ==\"}},{\"request_txn\":"
         "{\"failure\":[{\"request_delete_range\":{\"key\":\"Yg==\",\"range_end\":\"AA==\"}}]}}]}"),
        "1{\"key\":\"YQ==\",\"sort_order\":\"ASCEND\",\"limit\":\"5\"}",
        "3{\"create_request\":{\"key\":\"YQ==\",\"filters\":[\"NOPUT\",1],\"start_revision\":\"5\"}"
        "}",
        "6{\"ID\":\"5\",\"name\":\"\\u00e4\\\"x\",\"peerURLs\":[\"http://a:1\"]}",
    };
    for (size_t i = 0; i < sizeof(corpus) / sizeof(corpus[0]); i++)
        mutate(fuzz_json, (const uint8_t *)corpus[i], strlen(corpus[i]), 3000);
}
END_TEST

START_TEST(fuzz_corpus_entry)
{
    /* put a=b; grant lease 5; put with the lease; txn; revoke; compact to 2; delete all */
    struct buf in = {0};
    struct put_request p1 = {.key = B("a"), .value = B("b")}, p2 = {.key = B("c"), .lease = 5};
    struct lease_grant_request g = {10, 5};
    struct lease_id_request rv = {5};
    struct compaction_request c = {.revision = 2};
    struct delete_range_request d = {.key = {"", 1}, .range_end = {"", 1}, .prev_kv = true};
    struct request_op op = {.put = &p1};
    struct compare cmp = {.target = COMPARE_VALUE, .key = B("a"), .value = B("b")};
    struct txn_request t = {.compare = {&cmp, 1}, .success = {&op, 1}};
    struct command all[] = {{.put = &p1},        {.lease_grant = &g},   {.put = &p2},
                            {.txn = &t},         {.lease_revoke = &rv}, {.compaction = &c},
                            {.delete_range = &d}};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct buf wire = {0};
        msg_encode(&command_type, &all[i], &wire);
        buf_addc(&in, (char)wire.len);
        buf_add(&in, wire.data, wire.len);
        buf_free(&wire);
    }
    mutate(fuzz_entry, (const uint8_t *)in.data, in.len, 5000);
    buf_free(&in);
}
END_TEST

START_TEST(fuzz_corpus_snapshot)
{
    struct state s;
    state_init(&s, test_now_ms);
    char long_value[600];
    memset(long_value, 'x', sizeof(long_value));
    put(&s, "a", "1", 0);
    put(&s, "a", "2", 0);
    put(&s, "b", "", 0);
    struct put_request big = {.key = B("big"), .value = {long_value, sizeof(long_value)}};
    struct lease_grant_request g = {10, 5};
    struct apply_result r;
    state_apply(&s, &(struct command){.put = &big}, &a, &r);
    state_apply(&s, &(struct command){.lease_grant = &g}, &a, &r);
    put(&s, "c", "leased", 5);
    delete_range(&s, "b", "");
    char dir[] = "/tmp/test_msg.XXXXXX", path[100];
    struct snapshot_list saved = {0};
    struct buf b = {0};
    ck_assert_ptr_nonnull(mkdtemp(dir));
    mvcc_saved(s.kv, 0);
    save_changes(&s, snapshot_changes_begin(&s, 0), &saved, dir, 1);
    snprintf(path, sizeof(path), "%s/%s", dir, saved.files[0].name);
    ck_assert(buf_read_file(&b, path, NULL));
    /* What was restored is the same, leases included. */
    struct state copy;
    state_init(&copy, test_now_ms);
    ck_assert(snapshot_load(&copy, &saved, dir, NULL));
    ck_assert_uint_eq(mvcc_hash(copy.kv, mvcc_revision(s.kv)),
                      mvcc_hash(s.kv, mvcc_revision(s.kv)));
    ck_assert_uint_eq(lessor_find(copy.leases, 5)->n_keys, 1);
    state_clear(&copy);
    state_clear(&s);
    /* The records without the file's and the block's header. */
    mutate(fuzz_snapshot, (const uint8_t *)b.data + 16, b.len - 16, 5000);
    buf_free(&b);
    struct snapshot_file base = saved.files[0];
    snapshot_list_add(&saved, &base);
    saved.files[0].kind = SNAPSHOT_BASE;
    mutate(fuzz_snapshot, (const uint8_t *)saved.files, saved.n * sizeof(*saved.files), 5000);
    remove_files(&saved, dir);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("msg");
    TCase *t = tcase_create("msg");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, json_in);
    tcase_add_test(t, json_errors);
    tcase_add_test(t, json_out);
    tcase_add_test(t, wire);
    tcase_add_test(t, fuzz_corpus_json);
    tcase_add_test(t, fuzz_corpus_entry);
    tcase_add_test(t, fuzz_corpus_snapshot);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
