/* Thresholds, ranking and limits of eviction; rotation of logs; which images go. */
#include <check.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/eviction/eviction.h"
#include "kubelet/garbage/garbage.h"
#include "kubelet/pod/admit.h"
#include "kubelet/stats/stats.h"

#define MI ((int64_t)1 << 20)

START_TEST(test_parse)
{
    struct thresholds t;
    struct error *err = NULL;
    struct eviction_flags f = {"memory.available<100Mi,nodefs.available<10%",
                               "memory.available<1Gi", "memory.available=1m30s",
                               "nodefs.available=1Gi"};
    ck_assert_msg(thresholds_parse(&f, &t, &err), "%s", error_message(err));
    ck_assert_uint_eq(t.count, 3);
    ck_assert(t.items[0].hard && !t.items[2].hard);
    ck_assert_int_eq(t.items[2].grace_ms, 90000);
    ck_assert_int_eq(t.items[1].reclaim, 1024 * MI);
    ck_assert_int_eq(threshold_value(&t.items[1], 1000), 100);
    ck_assert_int_eq(thresholds_hard_reserve(&t, SIGNAL_MEMORY, 0), 100 * MI);
    ck_assert_int_eq(thresholds_hard_reserve(&t, SIGNAL_PIDS, 5), 0);
    struct eviction_flags none = {"", NULL, NULL, NULL};
    ck_assert(thresholds_parse(&none, &t, &err));
    ck_assert_uint_eq(t.count, 0);
}
END_TEST

START_TEST(test_parse_bad)
{
    static char *const bad[][4] = {
        {"memory.available", "", "", ""},
        {"memory.avail<1Mi", "", "", ""},
        {"memory.available<-5", "", "", ""},
        {"memory.available<101%", "", "", ""},
        {"memory.available<nan%", "", "", ""},
        {"memory.available<1Mi,memory.available<2Mi", "", "", ""},
        {"", "memory.available<1Mi", "", ""},
        {"", "memory.available<1Mi", "memory.available=x", ""},
        {"", "", "", "memory.available=lots"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct thresholds t;
        cleanup_error struct error *err = NULL;
        struct eviction_flags f = {bad[i][0], bad[i][1], bad[i][2], bad[i][3]};
        ck_assert_msg(!thresholds_parse(&f, &t, &err), "%zu", i);
        ck_assert_ptr_nonnull(err);
    }
}
END_TEST

START_TEST(test_decide)
{
    struct thresholds t;
    struct eviction_flags f = {"memory.available<100,nodefs.available<50", "pid.available<10",
                               "pid.available=5s", "memory.available=20"};
    ck_assert(thresholds_parse(&f, &t, NULL));
    struct eviction_state s = {0};
    struct observation o[SIGNAL_COUNT] = {[SIGNAL_MEMORY] = {true, 100, 1000},
                                          [SIGNAL_NODEFS] = {true, 60, 1000},
                                          [SIGNAL_PIDS] = {true, 9, 100}};
    struct eviction_decision d = eviction_decide(&s, &t, o, 1000, 10000);
    ck_assert_uint_eq(d.pressure, PRESSURE_PID); /* told at once, acted on after its grace */
    ck_assert_int_eq(d.act_on, -1);
    d = eviction_decide(&s, &t, o, 6000, 10000);
    ck_assert_int_eq(t.items[d.act_on].signal, SIGNAL_PIDS);
    o[SIGNAL_MEMORY].available = 99;
    o[SIGNAL_NODEFS].available = 10;
    d = eviction_decide(&s, &t, o, 7000, 10000);
    ck_assert_int_eq(t.items[d.act_on].signal, SIGNAL_MEMORY); /* first of all */
    ck_assert_uint_eq(d.pressure, PRESSURE_MEMORY | PRESSURE_DISK | PRESSURE_PID);
    o[SIGNAL_MEMORY].available = 110; /* not yet 20 more than the threshold */
    o[SIGNAL_NODEFS].available = 50;
    o[SIGNAL_PIDS].known = false; /* neither met nor over */
    d = eviction_decide(&s, &t, o, 8000, 10000);
    ck_assert_int_eq(t.items[d.act_on].signal, SIGNAL_MEMORY);
    o[SIGNAL_MEMORY].available = 120;
    o[SIGNAL_PIDS] = (struct observation){true, 50, 100};
    d = eviction_decide(&s, &t, o, 9000, 10000);
    ck_assert_int_eq(d.act_on, -1);
    ck_assert_uint_eq(d.pressure, PRESSURE_MEMORY | PRESSURE_DISK |
                                      PRESSURE_PID); /* for the transition period */
    d = eviction_decide(&s, &t, o, 17500, 10000);
    ck_assert_uint_eq(d.pressure, PRESSURE_MEMORY | PRESSURE_PID); /* last seen at 8000 */
    d = eviction_decide(&s, &t, o, 18000, 10000);
    ck_assert_uint_eq(d.pressure, 0);
}
END_TEST

START_TEST(test_rank)
{
    struct candidate c[] = {
        {.usage = 50, .request = 100, .priority = 0, .index = 0},     /* within its request */
        {.usage = 500, .request = 100, .priority = 1000, .index = 1}, /* beyond, important */
        {.usage = 150, .request = 100, .priority = 0, .index = 2},    /* beyond by 50 */
        {.usage = 160, .request = 0, .priority = 0, .index = 3},      /* beyond by 160 */
        {.usage = 90, .request = 100, .priority = -5, .index = 4},
    };
    eviction_rank(c, ARRAY_LEN(c), true);
    static const size_t wanted[] = {3, 2, 1, 4, 0};
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        ck_assert_uint_eq(c[i].index, wanted[i]);
    eviction_rank(c, ARRAY_LEN(c), false);
    static const size_t by_use[] = {4, 3, 2, 0, 1};
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        ck_assert_uint_eq(c[i].index, by_use[i]);
}
END_TEST

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_ptr_nonnull(o);
    return o;
}

START_TEST(test_refuses)
{
    cleanup_json cJSON *best = parse("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}");
    cleanup_json cJSON *burst = parse("{\"spec\":{\"containers\":[{\"name\":\"a\",\"resources\":{"
                                      "\"requests\":{\"cpu\":\"1\"}}}]}}");
    cleanup_json cJSON *tolerant =
        parse("{\"spec\":{\"containers\":[{\"name\":\"a\"}],\"tolerations\":[{\"key\":"
              "\"node.kubernetes.io/memory-pressure\",\"operator\":\"Exists\"}]}}");
    cleanup_json cJSON *critical =
        parse("{\"spec\":{\"priority\":2000000000,\"containers\":[{\"name\":\"a\"}]}}");
    ck_assert_ptr_null(eviction_refuses(best, 0));
    cleanup_free char *why = eviction_refuses(best, PRESSURE_MEMORY);
    ck_assert_str_eq(why, "The node had condition: [MemoryPressure]. ");
    ck_assert_ptr_null(eviction_refuses(burst, PRESSURE_MEMORY));
    ck_assert_ptr_null(eviction_refuses(tolerant, PRESSURE_MEMORY));
    ck_assert_ptr_null(eviction_refuses(critical, PRESSURE_DISK));
    cleanup_free char *two = eviction_refuses(burst, PRESSURE_DISK | PRESSURE_MEMORY);
    ck_assert_str_eq(two, "The node had condition: [MemoryPressure DiskPressure]. ");
}
END_TEST

START_TEST(test_sysctls)
{
#define WITH(name, rest)                                                                           \
    "{\"spec\":{" rest "\"securityContext\":{\"sysctls\":[{\"name\":\"" name                       \
    "\",\"value\":\"1\"}]}}}"
    static const struct {
        const char *pod, *allowed, *message;
    } cases[] = {
        {WITH("net.ipv4.tcp_syncookies", ""), NULL, NULL},
        {WITH("net/ipv4/tcp_syncookies", ""), NULL, NULL},
        {WITH("kernel.msgmax", ""), NULL, "forbidden sysctl: \"kernel.msgmax\" not allowlisted"},
        {WITH("kernel.msgmax", ""), "kernel.msg*", NULL},
        {WITH("net.core.somaxconn", ""), "kernel.msg*,net.core.somaxconn", NULL},
        {WITH("vm.swappiness", ""), "vm.*", "forbidden sysctl: \"vm.swappiness\" not allowlisted"},
        {WITH("net.ipv4.tcp_syncookies", "\"hostNetwork\":true,"), NULL,
         "forbidden sysctl: \"net.ipv4.tcp_syncookies\" not allowed with host net enabled"},
        {WITH("kernel.shm_rmid_forced", "\"hostIPC\":true,"), NULL,
         "forbidden sysctl: \"kernel.shm_rmid_forced\" not allowed with host ipc enabled"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *pod = parse(cases[i].pod);
        cleanup_free char *message = admit_sysctls(pod, cases[i].allowed);
        ck_assert_pstr_eq(message, cases[i].message);
    }
}
END_TEST

START_TEST(test_local_limits)
{
    struct kube_object *o =
        kube_object_new(parse("{\"metadata\":{\"name\":\"p\",\"namespace\":\"n\",\"uid\":\"u\","
                              "\"resourceVersion\":\"1\"},\"spec\":{"
                              "\"volumes\":[{\"name\":\"d\",\"emptyDir\":{\"sizeLimit\":\"1Mi\"}}],"
                              "\"containers\":[{\"name\":\"a\","
                              "\"resources\":{\"limits\":{\"ephemeral-storage\":\"4Mi\"}}},{"
                              "\"name\":\"b\",\"resources\":{\"limits\":{"
                              "\"ephemeral-storage\":\"2Mi\"}}}]}}"));
    ck_assert(eviction_has_local_limits(o->json));
    struct container_stats c[] = {{.name = "a", .rootfs_bytes = 1}, {.name = "b", .log_bytes = 1}};
    struct volume_stats v = {.name = "d", .ephemeral = true, .used = 1};
    struct pod_stats p = {
        .object = o, .containers = c, .container_count = 2, .volumes = &v, .volume_count = 1};
    ck_assert_ptr_null(eviction_over_local_limit(&p));
    v.used = (uint64_t)MI + 1;
    cleanup_free char *volume = eviction_over_local_limit(&p);
    ck_assert_str_eq(volume, "Usage of EmptyDir volume \"d\" exceeds the limit \"1Mi\". ");
    v.used = 0;
    c[1].log_bytes = 2 * (uint64_t)MI + 1;
    cleanup_free char *container = eviction_over_local_limit(&p);
    ck_assert_str_eq(container, "Container b exceeded its local ephemeral storage limit \"2Mi\". ");
    c[0].rootfs_bytes = 5 * (uint64_t)MI;
    cleanup_free char *pod = eviction_over_local_limit(&p);
    ck_assert_str_eq(
        pod, "Pod ephemeral local storage usage exceeds the total limit of containers 6Mi. ");
    kube_object_unref(o);
}
END_TEST

START_TEST(test_images)
{
    const struct image_seen images[] = {
        {"used", 100, 0, 900, true},    {"young", 100, 950, 0, false},
        {"never", 100, 10, 0, false},   {"lately", 100, 0, 800, false},
        {"before", 100, 0, 300, false},
    };
    size_t out[5];
    int64_t found;
    ck_assert_uint_eq(images_to_free(images, 5, 150, 1000, 100, out, &found), 2);
    ck_assert_str_eq(images[out[0]].id, "never");
    ck_assert_str_eq(images[out[1]].id, "before");
    ck_assert_int_eq(found, 200);
    ck_assert_uint_eq(images_to_free(images, 5, 100000, 1000, 100, out, &found), 3);
    ck_assert_int_eq(found, 300);
    ck_assert_uint_eq(images_to_free(images, 5, 0, 1000, 100, out, &found), 0);
}
END_TEST

/* --- logs --- */

static char dir[64], log_path[96];
static bool runtime_answers;

static void put(const char *path, size_t bytes)
{
    cleanup_fclose FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    for (size_t i = 0; i < bytes; i++)
        fputc('x', f);
}

static bool reopen(void *userdata, struct error **err)
{
    (void)userdata;
    if (!runtime_answers) {
        error_setf(err, "it is down");
        return false;
    }
    put(log_path, 0);
    return true;
}

static size_t count_files(const char *end)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        n += e->d_name[0] != '.' &&
             (!*end || (len > strlen(end) && strcmp(e->d_name + len - strlen(end), end) == 0));
    }
    closedir(d);
    return n;
}

START_TEST(test_rotate)
{
    strcpy(dir, "/tmp/test-rotate-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(log_path, sizeof(log_path), "%s/0.log", dir);
    runtime_answers = true;
    put(log_path, 99);
    ck_assert(!log_rotate(log_path, 100, 3, reopen, NULL, NULL)); /* too small */
    put(log_path, 100);
    cleanup_free char *old = mem_printf("%s.20200101-000000.gz", log_path),
                      *older = mem_printf("%s.20190101-000000", log_path);
    cleanup_free char *torn = mem_printf("%s.20200101-000001.tmp", log_path),
                      *other = mem_printf("%s/1.log", dir);
    put(old, 1);
    put(older, 1);
    put(torn, 1);
    put(other, 1);
    struct error *err = NULL;
    ck_assert_msg(log_rotate(log_path, 100, 3, reopen, NULL, &err), "%s", error_message(err));
    ck_assert_int_ne(access(older, F_OK), 0);
    ck_assert_int_ne(access(torn, F_OK), 0);
    ck_assert_int_eq(access(old, F_OK), 0);
    ck_assert_int_eq(access(other, F_OK), 0);
    ck_assert_uint_eq(count_files(""), 4); /* 0.log, the rotated one, one older, another log */
    /* The runtime is down: the log keeps its name. */
    runtime_answers = false;
    cleanup_free char *command = mem_printf("rm -f %s.2*", log_path);
    ck_assert_int_eq(system(command), 0);
    put(log_path, 200);
    ck_assert(!log_rotate(log_path, 100, 3, reopen, NULL, &err));
    ck_assert_str_eq(error_message(err), "it is down");
    error_free(err);
    struct stat st;
    ck_assert_int_eq(stat(log_path, &st), 0);
    ck_assert_int_eq(st.st_size, 200);
    ck_assert_uint_eq(count_files(""), 2);
    /* What was rotated before is compressed at the next turn. */
    cleanup_free char *plain = mem_printf("%s.20210101-000000", log_path);
    put(plain, 1000);
    runtime_answers = true;
    ck_assert(log_rotate(log_path, 100, 5, reopen, NULL, NULL));
    ck_assert_uint_eq(count_files(".gz"), 1);
    cleanup_free char *check = mem_printf("zcat %s.gz | wc -c | grep -qx 1000", plain);
    ck_assert_int_eq(system(check), 0);
    cleanup_free char *clean = mem_printf("rm -rf %s", dir);
    ck_assert_int_eq(system(clean), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("eviction");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_parse);
    tcase_add_test(t, test_parse_bad);
    tcase_add_test(t, test_decide);
    tcase_add_test(t, test_rank);
    tcase_add_test(t, test_refuses);
    tcase_add_test(t, test_sysctls);
    tcase_add_test(t, test_local_limits);
    tcase_add_test(t, test_images);
    tcase_add_test(t, test_rotate);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
