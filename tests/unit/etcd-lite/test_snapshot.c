/* The state saved bit by bit, loaded whole or by what a copy lacks. */
#include "snapshot_test.h"
#include <pthread.h>
#include <sys/stat.h>

static struct state s;
static char dir[] = "/tmp/test_snapshot.XXXXXX";
static struct snapshot_list saved;
static int files;

static void setup(void)
{
    state_init(&s, test_now_ms);
    mvcc_saved(s.kv, 0);
    strcpy(dir + sizeof(dir) - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    files = 0;
}

static void teardown(void)
{
    state_clear(&s);
    remove_files(&saved, dir);
}

static struct snapshot_file write_base(void)
{
    struct snapshot_file f = {0};
    atomic_bool stop = false;
    snprintf(f.name, sizeof(f.name), "%d.base", files++);
    ck_assert(snapshot_base_write(&s, dir, &f, &stop, NULL));
    return f;
}

/* A new base (or NULL) takes the place of what it makes needless. */
static void save(const struct snapshot_file *base)
{
    struct snapshot_changes *c = snapshot_changes_begin(&s, snapshot_list_revision(&saved));
    if (base) {
        struct snapshot_list l = {0};
        snapshot_list_add(&l, base);
        for (size_t i = 0; i < saved.n; i++)
            if (saved.files[i].kind == SNAPSHOT_CHANGES && saved.files[i].to > base->from)
                snapshot_list_add(&l, &saved.files[i]);
        snapshot_list_clear(&saved);
        saved = l;
    }
    save_changes(&s, c, &saved, dir, files++);
}

static void check_same(struct state *copy)
{
    ck_assert_int_eq(mvcc_revision(copy->kv), mvcc_revision(s.kv));
    ck_assert_int_eq(mvcc_compact_revision(copy->kv), mvcc_compact_revision(s.kv));
    ck_assert_uint_eq(mvcc_key_count(copy->kv), mvcc_key_count(s.kv));
    ck_assert_uint_eq(mvcc_hash(copy->kv, mvcc_revision(s.kv)),
                      mvcc_hash(s.kv, mvcc_revision(s.kv)));
    ck_assert_uint_eq(lessor_count(copy->leases), lessor_count(s.leases));
    int64_t low = mvcc_compact_revision(s.kv);
    size_t a = mvcc_log_seek(s.kv, low), b = mvcc_log_seek(copy->kv, low);
    ck_assert_uint_eq(mvcc_log_size(s.kv) - a, mvcc_log_size(copy->kv) - b);
    for (; a < mvcc_log_size(s.kv); a++, b++) {
        const struct kv_version *x = mvcc_log_at(s.kv, a), *y = mvcc_log_at(copy->kv, b);
        ck_assert(x->mod == y->mod && x->sub == y->sub && x->version == y->version);
    }
}

static void check_load(struct state *into)
{
    struct buf b = {0};
    struct snapshot_list l;
    snapshot_list_encode(&saved, &b);
    ck_assert(snapshot_list_decode(&l, b.data, b.len, NULL));
    buf_free(&b);
    struct error *e = NULL;
    ck_assert_msg(snapshot_load(into, &l, dir, &e), "%s", error_message(e));
    snapshot_list_clear(&l);
    check_same(into);
}

static void change(uint64_t *seed, int step)
{
    char key[16], value[40], end[16];
    unsigned k = chance(seed, 40), what = chance(seed, 20);
    snprintf(key, sizeof(key), "k%02u", k);
    snprintf(value, sizeof(value), "value %d", step);
    if (what < 12) {
        put(&s, key, value, what == 0 && lessor_find(s.leases, 7) ? 7 : 0);
    } else if (what < 16) {
        snprintf(end, sizeof(end), "k%02u", k + 1 + chance(seed, 5));
        delete_range(&s, key, end);
    } else if (what == 16) {
        compact(&s, mvcc_revision(s.kv) - chance(seed, 10));
    } else if (what == 17) {
        struct arena a = {0};
        struct apply_result r;
        struct lease_grant_request g = {10, 7};
        struct lease_id_request rv = {7};
        struct command c = {.lease_grant = lessor_find(s.leases, 7) ? NULL : &g,
                            .lease_revoke = lessor_find(s.leases, 7) ? &rv : NULL};
        state_apply(&s, &c, &a, &r);
        arena_free(&a);
    } else {
        mvcc_collect(s.kv, chance(seed, 20));
    }
}

START_TEST(random_walk)
{
    uint64_t seed = (uint64_t)_i * 977 + 5;
    struct snapshot_file base;
    bool base_ready = false;
    struct state follower;
    state_init(&follower, test_now_ms);
    for (int step = 0; step < 1500; step++) {
        change(&seed, step);
        switch (chance(&seed, 40)) {
        case 0:
        case 1:
            if (base_ready && chance(&seed, 2)) {
                save(&base);
                base_ready = false;
            } else {
                save(NULL);
            }
            if (chance(&seed, 2)) {
                struct state fresh;
                state_init(&fresh, test_now_ms);
                check_load(&fresh);
                state_clear(&fresh);
            } else {
                check_load(&follower);
            }
            break;
        case 2:
            if (!base_ready)
                base = write_base();
            base_ready = true;
            break;
        default:;
        }
    }
    state_clear(&follower);
}
END_TEST

static atomic_bool writing;

static void *base_thread(void *arg)
{
    struct snapshot_file *f = arg;
    *f = write_base();
    atomic_store(&writing, false);
    return NULL;
}

/* The base is written while keys come, change and go under it. */
START_TEST(base_under_changes)
{
    uint64_t seed = 3;
    char key[16];
    for (int i = 0; i < 30000; i++) {
        snprintf(key, sizeof(key), "k%02u-%05d", chance(&seed, 40), i);
        put(&s, key, "a value of some length, so that it takes more than one block", 0);
    }
    save(NULL);
    struct snapshot_file base;
    pthread_t thread;
    atomic_store(&writing, true);
    ck_assert_int_eq(pthread_create(&thread, NULL, base_thread, &base), 0);
    for (int step = 0; atomic_load(&writing) || step < 1000; step++) {
        pthread_rwlock_wrlock(&s.lock);
        change(&seed, step);
        pthread_rwlock_unlock(&s.lock);
    }
    pthread_join(thread, NULL);
    ck_assert_int_le(base.from, base.to);
    for (int step = 0; step < 100; step++)
        change(&seed, step);
    save(&base);
    struct state fresh;
    state_init(&fresh, test_now_ms);
    check_load(&fresh);
    state_clear(&fresh);
}
END_TEST

/* What changed is written once, not with all the rest; what compaction freed before it was saved is
 * still told of. */
START_TEST(only_what_changed)
{
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "key%d", i);
        put(&s, key, "value", 0);
    }
    save(NULL);
    put(&s, "key1", "other", 0);
    delete_range(&s, "key2", "");
    compact(&s, mvcc_revision(s.kv));
    collect_all(&s);
    ck_assert_ptr_null(mvcc_find(s.kv, B("key2x")));
    size_t position;
    ck_assert_uint_eq(mvcc_unsaved(s.kv, &position), 2);
    save(NULL);
    ck_assert_uint_eq(mvcc_unsaved(s.kv, &position), 0);
    ck_assert(saved.files[1].bytes < 300 && saved.files[0].bytes > 10000);
    struct state fresh;
    state_init(&fresh, test_now_ms);
    check_load(&fresh);
    ck_assert_str_eq(value_at(&fresh, "key1", 0), "other");
    ck_assert_str_eq(value_at(&fresh, "key2", 0), "");
    state_clear(&fresh);
}
END_TEST

/* A key with more history than a block holds. */
START_TEST(one_long_history)
{
    static char value[4001];
    memset(value, 'x', 4000);
    for (int i = 0; i < 300; i++)
        put(&s, i % 100 == 99 ? "b" : "a", value, 0);
    struct snapshot_file base = write_base();
    save(&base);
    struct state fresh;
    state_init(&fresh, test_now_ms);
    check_load(&fresh);
    state_clear(&fresh);
}
END_TEST

START_TEST(news)
{
    struct snapshot_list l = {0}, n;
    struct snapshot_file all[] = {{.name = "b", .kind = SNAPSHOT_BASE, .from = 10, .to = 15},
                                  {.name = "c1", .kind = SNAPSHOT_CHANGES, .from = 8, .to = 12},
                                  {.name = "c2", .kind = SNAPSHOT_CHANGES, .from = 12, .to = 20},
                                  {.name = "c3", .kind = SNAPSHOT_CHANGES, .from = 20, .to = 20}};
    for (size_t i = 0; i < 4; i++)
        snapshot_list_add(&l, &all[i]);
    struct {
        int64_t have;
        bool some;
        size_t n;
    } cases[] = {{0, false, 4}, {7, false, 4}, {8, true, 3},
                 {12, true, 2}, {19, true, 2}, {20, true, 1}};
    for (size_t i = 0; i < 6; i++) {
        ck_assert_int_eq(snapshot_list_news(&l, cases[i].have, &n), cases[i].some);
        ck_assert_uint_eq(n.n, cases[i].n);
        snapshot_list_clear(&n);
    }
    snapshot_list_clear(&l);
}
END_TEST

START_TEST(damage)
{
    for (int i = 0; i < 200; i++)
        put(&s, i % 2 ? "a" : "b", "1234567890", 0);
    save(NULL);
    /* The list. */
    struct buf b = {0};
    struct snapshot_list l;
    snapshot_list_encode(&saved, &b);
    for (size_t bit = 0; bit < b.len * 8; bit++) {
        b.data[bit / 8] ^= (char)(1 << bit % 8);
        bool ok = snapshot_list_decode(&l, b.data, b.len, NULL);
        ck_assert_msg(!ok || (bit / 8 >= 20 && bit / 8 < 24), "bit %zu", bit);
        snapshot_list_clear(&l);
        b.data[bit / 8] ^= (char)(1 << bit % 8);
    }
    buf_free(&b);
    /* The file. */
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", dir, saved.files[0].name);
    ck_assert(buf_read_file(&b, path, NULL));
    ck_assert_uint_eq(b.len, saved.files[0].bytes);
    for (size_t byte = 0; byte < b.len; byte += 37) {
        b.data[byte] ^= 0x20;
        ck_assert(buf_write_file_atomic(path, b.data, b.len, 0600, NULL));
        struct error *e = NULL;
        ck_assert(!snapshot_file_read(dir, &saved.files[0], NULL, NULL, &e));
        ck_assert_ptr_nonnull(strstr(error_message(e), "is damaged"));
        error_free(e);
        b.data[byte] ^= 0x20;
    }
    ck_assert(buf_write_file_atomic(path, b.data, b.len - 1, 0600, NULL));
    ck_assert(!snapshot_file_read(dir, &saved.files[0], NULL, NULL, NULL));
    ck_assert(buf_write_file_atomic(path, b.data, b.len, 0600, NULL));
    ck_assert(snapshot_file_read(dir, &saved.files[0], NULL, NULL, NULL));
    buf_free(&b);
}
END_TEST

START_TEST(other_format)
{
    struct snapshot_list l = {0}, got;
    struct snapshot_file f = {.name = "a.changes", .kind = SNAPSHOT_CHANGES, .to = 7};
    cleanup_buf struct buf b = {0};
    cleanup_error struct error *e = NULL;
    snapshot_list_add(&l, &f);
    snapshot_list_encode(&l, &b);
    ck_assert(!snapshot_list_is_foreign(b.data, b.len));
    b.data[8] = 2;
    ck_assert(snapshot_list_is_foreign(b.data, b.len));
    ck_assert(!snapshot_list_decode(&got, b.data, b.len, &e));
    ck_assert_str_eq(error_message(e),
                     "the snapshot has format 2, and this program reads format 3 only");
    snapshot_list_clear(&l);
}
END_TEST

START_TEST(names)
{
    ck_assert(snapshot_name_is_good("0190-ab.changes"));
    ck_assert(!snapshot_name_is_good(""));
    ck_assert(!snapshot_name_is_good("../raft/metadata1"));
    ck_assert(!snapshot_name_is_good(".."));
    ck_assert(!snapshot_name_is_good("/etc/passwd"));
}
END_TEST

static bool exists(const char *name)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) == 0;
}

static void touch(const char *name)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    ck_assert(buf_write_file_atomic(path, "x", 1, 0600, NULL));
}

START_TEST(sweeping)
{
    put(&s, "a", "1", 0);
    save(NULL);
    struct buf b = {0};
    char path[300], raft[200];
    snprintf(raft, sizeof(raft), "%s/raft", dir);
    ck_assert_int_eq(mkdir(raft, 0700), 0);
    snapshot_list_encode(&saved, &b);
    snprintf(path, sizeof(path), "%s/snapshot-1-2-3", raft);
    ck_assert(buf_write_file_atomic(path, b.data, b.len, 0600, NULL));
    buf_free(&b);
    touch("old.base");
    touch("half.changes.tmp");
    touch("now.base.tmp");
    struct snapshot_list keep = {0};
    struct snapshot_file now = {.name = "now.base"};
    snapshot_list_add(&keep, &now);
    snapshot_files_sweep(dir, raft, &keep);
    ck_assert(exists("0.changes") && exists("now.base.tmp"));
    ck_assert(!exists("old.base") && !exists("half.changes.tmp"));
    snapshot_list_clear(&keep);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(raft), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snapshot");
    TCase *t = tcase_create("snapshot");
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, random_walk, 0, 20);
    tcase_add_test(t, base_under_changes);
    tcase_add_test(t, only_what_changed);
    tcase_add_test(t, one_long_history);
    tcase_add_test(t, news);
    tcase_add_test(t, damage);
    tcase_add_test(t, other_format);
    tcase_add_test(t, names);
    tcase_add_test(t, sweeping);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
