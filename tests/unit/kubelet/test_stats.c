/* Resource usage: what is read from control groups and /proc, rates, and who may see it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "common/mem.h"
#include "kubelet/server/auth.h"
#include "kubelet/stats/stats.h"

static char root[64];

static void put(const char *file, const char *text)
{
    cleanup_free char *path = mem_printf("%s/%s", root, file);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0755);
        *p = '/';
    }
    ck_assert(buf_write_file_atomic(path, text, strlen(text), 0644, NULL));
}

static void setup(void)
{
    strcpy(root, "/tmp/test-stats-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static void teardown(void)
{
    cleanup_free char *command = mem_printf("rm -rf %s", root);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(test_cgroup_v1)
{
    put("cpu,cpuacct/cgroup.procs", "");
    put("memory/cgroup.procs", "");
    put("pids/cgroup.procs", "");
    put("cpu,cpuacct/h/kubepods/podx/cpuacct.usage", "123456789\n");
    put("memory/h/kubepods/podx/memory.usage_in_bytes", "1000000\n");
    put("memory/h/kubepods/podx/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/h/kubepods/podx/memory.stat",
        "inactive_file 1\ntotal_rss 700\ntotal_pgfault 5\ntotal_pgmajfault 2\ntotal_inactive_file "
        "400000\n");
    put("pids/h/kubepods/podx/pids.current", "7\n");
    put("memory/h/kubepods/podx/c/cgroup.procs", "4711\n");
    struct cgroups *g = cgroups_new(root, "/h");
    struct cgroup_usage u;
    usage_of_cgroup(g, "/h/kubepods/podx", &u);
    ck_assert(u.has_cpu && u.has_memory && u.has_pids);
    ck_assert_uint_eq(u.cpu_ns, 123456789);
    ck_assert_uint_eq(u.working_set, 600000);
    ck_assert_uint_eq(u.rss, 700);
    ck_assert_uint_eq(u.page_faults, 5);
    ck_assert_uint_eq(u.major_page_faults, 2);
    ck_assert_uint_eq(u.memory_limit, 0); /* the kernel's "none" */
    ck_assert_uint_eq(u.pids, 7);
    ck_assert_int_eq(usage_any_pid(g, "/h/kubepods/podx"), 4711);
    usage_of_cgroup(g, "/h/kubepods/gone", &u);
    ck_assert(!u.has_cpu && !u.has_memory && !u.has_pids);
    cgroups_free(g);
}
END_TEST

START_TEST(test_cgroup_v2)
{
    put("cgroup.controllers", "cpu memory pids\n");
    put("kubepods/podx/cpu.stat", "usage_usec 2500\nuser_usec 1\n");
    put("kubepods/podx/memory.current", "5000\n");
    put("kubepods/podx/memory.max", "max\n");
    put("kubepods/podx/memory.stat", "anon 10\ninactive_file 9000\npgfault 3\n");
    put("kubepods/podx/memory.swap.current", "12\n");
    struct cgroups *g = cgroups_new(root, "/");
    struct cgroup_usage u;
    usage_of_cgroup(g, "/kubepods/podx", &u);
    ck_assert_uint_eq(u.cpu_ns, 2500000);
    ck_assert_uint_eq(u.memory, 5000);
    ck_assert_uint_eq(u.working_set, 0); /* never below zero */
    ck_assert_uint_eq(u.memory_limit, 0);
    ck_assert_uint_eq(u.swap, 12);
    ck_assert(!u.has_pids);
    cgroups_free(g);
}
END_TEST

START_TEST(test_net_dev)
{
    static const char text[] =
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs "
        "drop fifo colls carrier compressed\n"
        "    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
        "  eth0:1000 10 3 0 0 0 0 0 2000 20 4 0 0 0 0 0\n"
        "broken: x\n";
    struct net_interface i[4];
    ck_assert_uint_eq(usage_parse_net_dev(text, i, 4), 1);
    ck_assert_str_eq(i[0].name, "eth0");
    ck_assert_uint_eq(i[0].rx_bytes, 1000);
    ck_assert_uint_eq(i[0].rx_errors, 3);
    ck_assert_uint_eq(i[0].tx_bytes, 2000);
    ck_assert_uint_eq(i[0].tx_errors, 4);
    ck_assert_uint_eq(usage_parse_net_dev("", i, 4), 0);
    ck_assert_uint_eq(usage_parse_net_dev("eth0:", i, 4), 0);
}
END_TEST

static bool note(struct rates *r, int64_t ms, uint64_t cpu_ms, uint64_t *nanocores)
{
    struct cgroup_usage u = {
        .time_us = 1000000 + ms * 1000, .has_cpu = true, .cpu_ns = cpu_ms * 1000000};
    int64_t window;
    return rates_note(r, "/a", &u, nanocores, &window);
}

START_TEST(test_rates)
{
    struct rates *r = rates_new();
    uint64_t rate = 0;
    ck_assert(!note(r, 0, 0, &rate));
    ck_assert(!note(r, 1000, 1000, &rate)); /* too short to tell */
    ck_assert(note(r, 10000, 5000, &rate));
    ck_assert_uint_eq(rate, 500000000);
    ck_assert(note(r, 11000, 5000, &rate)); /* over eleven seconds, from the older look */
    ck_assert_uint_eq(rate, 454545454);
    ck_assert(note(r, 20000, 15000, &rate));
    ck_assert_uint_eq(rate, 1000000000);
    ck_assert(!note(r, 30000, 10, &rate)); /* a new group under the old name */
    ck_assert(note(r, 40000, 10, &rate));
    ck_assert_uint_eq(rate, 0);
    rates_expire(r, 1000000 + 40000000 + 61000000);
    ck_assert(!note(r, 200000, 10, &rate));
    rates_free(r);
}
END_TEST

START_TEST(test_attributes)
{
    static const struct {
        const char *method, *path, *verb, *first, *second;
    } cases[] = {
        {"GET", "/stats/summary", "get", "stats", NULL},
        {"GET", "/metrics", "get", "metrics", NULL},
        {"GET", "/metrics/cadvisor", "get", "metrics", NULL},
        {"GET", "/metricsx", "get", "proxy", NULL},
        {"GET", "/logs/x", "get", "log", NULL},
        {"GET", "/containerLogs/a/b/c", "get", "proxy", NULL},
        {"POST", "/exec/a/b/c", "create", "proxy", NULL},
        {"GET", "/pods", "get", "pods", "proxy"},
        {"GET", "/healthz", "get", "healthz", "proxy"},
        {"BREW", "/pods", "", "pods", "proxy"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct server_attributes a;
        server_attributes(cases[i].method, cases[i].path, &a);
        ck_assert_str_eq(a.verb, cases[i].verb);
        ck_assert_str_eq(a.subresources[0], cases[i].first);
        ck_assert_pstr_eq(a.subresources[1], cases[i].second);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stats");
    TCase *t = tcase_create("usage");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_cgroup_v1);
    tcase_add_test(t, test_cgroup_v2);
    suite_add_tcase(s, t);
    t = tcase_create("rest");
    tcase_add_test(t, test_net_dev);
    tcase_add_test(t, test_rates);
    tcase_add_test(t, test_attributes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
