/* Control group arithmetic and directories, back-off, the pool. */
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/backoff.h"
#include "kubelet/cgroup.h"
#include "kubelet/pool.h"
#include "kubelet/volume/atomic.h"

static cJSON *parse(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s", error_message(err));
    return o;
}

START_TEST(shares_and_quota)
{
    ck_assert_int_eq(cpu_shares(0), 2);
    ck_assert_int_eq(cpu_shares(1), 2);
    ck_assert_int_eq(cpu_shares(100), 102);
    ck_assert_int_eq(cpu_shares(1000), 1024);
    ck_assert_int_eq(cpu_shares(INT64_MAX), 262144);
    ck_assert_int_eq(cpu_shares(-5), 2);
    ck_assert_int_eq(cpu_quota(200, 100000), 20000);
    ck_assert_int_eq(cpu_quota(1, 100000), 1000); /* the kernel takes no less */
    ck_assert_int_eq(cpu_quota(0, 100000), 0);
    ck_assert_int_gt(cpu_quota(INT64_MAX, 100000), 0);
    ck_assert_int_eq(cpu_weight(2), 1);
    ck_assert_int_eq(cpu_weight(1024), 39);
    ck_assert_int_eq(cpu_weight(262144), 10000);
}
END_TEST

START_TEST(oom_scores)
{
    int64_t node = 4000;
    ck_assert_int_eq(oom_score("Guaranteed", 100, node, false, -1000), -997);
    ck_assert_int_eq(oom_score("BestEffort", 0, node, false, -1000), 1000);
    ck_assert_int_eq(oom_score("Burstable", 1000, node, false, -1000), 750);
    ck_assert_int_eq(oom_score("Burstable", 0, node, false, -1000), 999);
    ck_assert_int_eq(oom_score("Burstable", 4000, node, false, -1000), 3);
    ck_assert_int_eq(oom_score("BestEffort", 0, node, true, -1000), -997);
    /* Without the capability a score is only ever raised. */
    ck_assert_int_eq(oom_score("Guaranteed", 100, node, false, 0), 0);
    ck_assert_int_eq(oom_score("Burstable", 1000, node, false, 800), 800);
}
END_TEST

START_TEST(limits_of_pods)
{
    struct cgroup_limits l;
    cleanup_json cJSON *guaranteed = parse(
        "{\"spec\":{\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{\"cpu\":\"500m\",\"memory\":\"64Mi\"},"
        "\"limits\":{\"cpu\":\"500m\",\"memory\":\"64Mi\"}}}]}}");
    cgroup_pod_limits(guaranteed, 100, &l);
    ck_assert_int_eq(l.cpu_shares, 512);
    ck_assert_int_eq(l.cpu_quota, 50000);
    ck_assert_int_eq(l.memory, 64 << 20);
    ck_assert_int_eq(l.pids, 100);
    cleanup_json cJSON *burstable = parse("{\"spec\":{\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{\"cpu\":\"1\"},"
                                          "\"limits\":{\"memory\":\"1Gi\"}}},{\"name\":\"b\"}]}}");
    cgroup_pod_limits(burstable, -1, &l);
    ck_assert_int_eq(l.cpu_shares, 1024);
    ck_assert_int_eq(l.cpu_quota, -1);
    ck_assert_int_eq(l.memory, -1); /* b has no limit, so the pod has none */
    cleanup_json cJSON *besteffort = parse("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}");
    cgroup_pod_limits(besteffort, -1, &l);
    ck_assert_int_eq(l.cpu_shares, 2);
    ck_assert_int_eq(l.memory, -1);
    /* An init container counts as far as it exceeds the others; a sidecar counts always. */
    cleanup_json cJSON *init = parse(
        "{\"spec\":{\"initContainers\":[{\"name\":\"i\",\"resources\":{\"requests\":{\"cpu\":\"3\"}}},{\"name\":\"s\","
        "\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":\"1\"}}},{\"name\":\"j\",\"resources\":{\"requests\":"
        "{\"cpu\":\"2500m\"}}}],\"containers\":[{\"name\":\"a\",\"resources\":{\"requests\":{\"cpu\":\"1\"}}}]}}");
    cgroup_pod_limits(init, -1, &l);
    ck_assert_int_eq(l.cpu_shares, cpu_shares(3500));
}
END_TEST

static void put(const char *dir, const char *file)
{
    struct error *err = NULL;
    ck_assert(make_directories(dir, 0755, &err));
    cleanup_free char *path = mem_printf("%s/%s", dir, file);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
}

static char *slurp(const char *path)
{
    struct buf b = {0};
    ck_assert_msg(buf_read_file(&b, path, NULL), "%s", path);
    return buf_take(&b);
}

/* Plain directories in place of the kernel's: what is made and written where. */
START_TEST(directories_of_v1)
{
    char root[] = "/tmp/skiff-cgroup-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    static const char *const names[] = {"cpu,cpuacct", "memory", "pids", "cpuset", "unified"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        cleanup_free char *dir = mem_printf("%s/%s", root, names[i]);
        put(dir, "cgroup.procs");
    }
    cleanup_free char *link = mem_printf("%s/cpu", root);
    ck_assert_int_eq(symlink("cpu,cpuacct", link), 0);
    /* The kernel makes a group's files; here they are made before. */
    cleanup_free char *cpu = mem_printf("%s/cpu,cpuacct/host/kubepods/burstable/podu1", root);
    cleanup_free char *memory = mem_printf("%s/memory/host/kubepods/burstable/podu1", root);
    put(cpu, "cpu.shares");
    put(cpu, "cpu.cfs_quota_us");
    put(memory, "memory.limit_in_bytes");
    struct cgroups *g = cgroups_new(root, "/host/");
    ck_assert(!cgroups_v2(g));
    cleanup_free char *path = cgroups_pod_path(g, "Burstable", "u1");
    ck_assert_str_eq(path, "/host/kubepods/burstable/podu1");
    struct cgroup_limits l = {512, 50000, 1 << 20, -1};
    struct error *err = NULL;
    ck_assert_msg(cgroups_ensure_pod(g, path, &l, &err), "%s", error_message(err));
    cleanup_free char *shares_path = mem_printf("%s/cpu.shares", cpu);
    cleanup_free char *memory_path = mem_printf("%s/memory.limit_in_bytes", memory);
    cleanup_free char *shares = slurp(shares_path), *limit = slurp(memory_path);
    ck_assert_str_eq(shares, "512");
    ck_assert_str_eq(limit, "1048576");
    cleanup_free char *cpuset = mem_printf("%s/cpuset/host/kubepods/burstable/podu1", root);
    cleanup_free char *unified = mem_printf("%s/unified/host", root);
    ck_assert_int_eq(access(cpuset, F_OK), 0);
    ck_assert_int_ne(access(unified, F_OK), 0);
    /* What runc made beside v1 goes with the pod. */
    cleanup_free char *beside = mem_printf("%s/unified/host/kubepods/burstable/podu1/c1", root);
    ck_assert(make_directories(beside, 0755, NULL));
    ck_assert_int_eq(unlink(shares_path), 0);
    cleanup_free char *quota_path = mem_printf("%s/cpu.cfs_quota_us", cpu);
    ck_assert_int_eq(unlink(quota_path), 0);
    ck_assert_int_eq(unlink(memory_path), 0);
    ck_assert_msg(cgroups_remove_pod(g, path, &err), "%s", error_message(err));
    ck_assert_int_ne(access(beside, F_OK), 0);
    ck_assert_int_ne(access(cpu, F_OK), 0);
    cgroups_free(g);
    ck_assert(remove_tree(root, NULL));
}
END_TEST

START_TEST(directories_of_v2)
{
    char root[] = "/tmp/skiff-cgroup-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    put(root, "cgroup.controllers");
    cleanup_free char *dir = mem_printf("%s/kubepods/podu2", root);
    put(dir, "cpu.weight");
    put(dir, "cpu.max");
    put(dir, "memory.max");
    struct cgroups *g = cgroups_new(root, "/");
    ck_assert(cgroups_v2(g));
    cleanup_free char *path = cgroups_pod_path(g, "Guaranteed", "u2");
    ck_assert_str_eq(path, "/kubepods/podu2");
    struct cgroup_limits l = {1024, 50000, 1 << 20, -1};
    ck_assert(cgroups_ensure_pod(g, path, &l, NULL));
    cleanup_free char *weight_path = mem_printf("%s/cpu.weight", dir), *max_path = mem_printf("%s/cpu.max", dir);
    cleanup_free char *weight = slurp(weight_path), *max = slurp(max_path);
    ck_assert_str_eq(weight, "39");
    ck_assert_str_eq(max, "50000 100000");
    cgroups_free(g);
    ck_assert(remove_tree(root, NULL));
}
END_TEST

START_TEST(backoff_doubles_and_forgets)
{
    struct backoff_limits l = {10000, 300000};
    struct backoff b = {0};
    int64_t now = 1000000, left = 0;
    ck_assert(!backoff_active(&b, l, now, now, NULL)); /* the first failure is acted on at once */
    static const int64_t want[] = {10000, 20000, 40000, 80000, 160000, 300000, 300000};
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        backoff_next(&b, l, now, now);
        ck_assert_int_eq(b.delay_ms, want[i]);
        ck_assert(backoff_active(&b, l, now, now + want[i] - 1, &left));
        ck_assert_int_eq(left, 1);
        ck_assert(!backoff_active(&b, l, now, now + want[i], &left));
        now += want[i];
    }
    now += 600001; /* it ran for longer than ten minutes */
    ck_assert(!backoff_active(&b, l, now, now, NULL));
    backoff_next(&b, l, now, now);
    ck_assert_int_eq(b.delay_ms, 10000);
    char text[32];
    ck_assert_str_eq(backoff_text(10000, text), "10s");
    ck_assert_str_eq(backoff_text(160000, text), "2m40s");
    ck_assert_str_eq(backoff_text(300000, text), "5m0s");
}
END_TEST

static atomic_int ran;
static atomic_int order[8];
static void count(void *arg)
{
    (void)arg;
    atomic_fetch_add(&ran, 1);
}
static void note(void *arg)
{
    atomic_store(&order[atomic_fetch_add(&ran, 1)], (int)(intptr_t)arg);
}
static void block(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        usleep(1000);
    atomic_fetch_add(&ran, 1);
}

static void wait_ran(int n)
{
    for (int i = 0; i < 5000 && atomic_load(&ran) < n; i++)
        usleep(1000);
    ck_assert_int_eq(atomic_load(&ran), n);
}

START_TEST(pool_runs_everything)
{
    atomic_store(&ran, 0);
    struct pool *p = pool_new(4);
    for (int i = 0; i < 1000; i++)
        pool_run(p, count, NULL);
    wait_ran(1000);
    pool_stop(p);
    pool_free(p);
}
END_TEST

START_TEST(pool_timers_fire_in_order_beside_blocked_jobs)
{
    atomic_store(&ran, 0);
    struct pool *p = pool_new(1); /* of several threads one may overtake another */
    pool_run_after(p, 60, note, (void *)3);
    pool_run_after(p, 20, note, (void *)1);
    pool_run_after(p, 40, note, (void *)2);
    wait_ran(3);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(atomic_load(&order[i]), i + 1);
    pool_stop(p);
    pool_free(p);
    p = pool_new(4);
    /* A job that blocks must not keep timers or other jobs. */
    atomic_store(&ran, 0);
    static atomic_bool go;
    atomic_store(&go, false);
    pool_run(p, block, &go);
    pool_run_after(p, 10, count, NULL);
    pool_run(p, count, NULL);
    wait_ran(2);
    atomic_store(&go, true);
    wait_ran(3);
    pool_run_after(p, 1000000, count, NULL);
    pool_stop(p);
    ck_assert_int_eq(atomic_load(&ran), 3);
    pool_free(p); /* calls it, so that it lets go */
    ck_assert_int_eq(atomic_load(&ran), 4);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kubelet math");
    TCase *t = tcase_create("all");
    tcase_add_test(t, shares_and_quota);
    tcase_add_test(t, oom_scores);
    tcase_add_test(t, limits_of_pods);
    tcase_add_test(t, directories_of_v1);
    tcase_add_test(t, directories_of_v2);
    tcase_add_test(t, backoff_doubles_and_forgets);
    tcase_add_test(t, pool_runs_everything);
    tcase_add_test(t, pool_timers_fire_in_order_beside_blocked_jobs);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
