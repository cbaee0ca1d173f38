#include <check.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"

struct values {
    char *name, *list;
    int64_t count, period;
    bool on;
};

static bool parse(struct values *v, struct error **err, const char *const *args)
{
    char *argv[16] = {"prog"};
    int argc = 1;
    for (; args[argc - 1]; argc++)
        argv[argc] = (char *)args[argc - 1];
    const struct flag flags[] = {
        {"node-name", FLAG_STRING, &v->name, "a name"},  {"list", FLAG_STRINGS, &v->list, "names"},
        {"count", FLAG_INT, &v->count, "a number"},      {"period", FLAG_DURATION_MS, &v->period, "a time"},
        {"leader-elect", FLAG_BOOL, &v->on, "a switch"}, {NULL, 0, NULL, NULL}};
    return component_parse_flags(argc, argv, flags, "A program.", err);
}
#define PARSE(v, err, ...) parse(v, err, (const char *const[]){__VA_ARGS__, NULL})

START_TEST(flags)
{
    struct values v = {.name = mem_strdup("default"), .on = true};
    struct error *err = NULL;
    ck_assert(PARSE(&v, &err, "--node_name=x", "--list", "a", "--list=b,c", "--count=-5", "--period",
                    "1m30.5s", "--leader-elect=false", "-v=4"));
    ck_assert_str_eq(v.name, "x");
    ck_assert_str_eq(v.list, "a,b,c");
    ck_assert_int_eq(v.count, -5);
    ck_assert_int_eq(v.period, 90500);
    ck_assert(!v.on);
    ck_assert_int_eq(log_verbosity, 4);
    ck_assert(PARSE(&v, &err, "--leader-elect", "--period=250ms", "--v", "2", "--node-name="));
    ck_assert(v.on);
    ck_assert_int_eq(v.period, 250);
    ck_assert_int_eq(log_verbosity, 2);
    ck_assert_str_eq(v.name, "");
    free(v.name);
    free(v.list);
}
END_TEST

START_TEST(bad_flags)
{
    static const struct {
        const char *arg, *message;
    } cases[] = {
        {"--nope=1", "unknown flag: --nope"},
        {"--count=x", "invalid argument \"x\" for \"--count\" flag: must be an integer"},
        {"--count=99999999999999999999",
         "invalid argument \"99999999999999999999\" for \"--count\" flag: must be an integer"},
        {"--period=5", "invalid argument \"5\" for \"--period\" flag: must be a duration like \"1m30s\""},
        {"--leader-elect=maybe",
         "invalid argument \"maybe\" for \"--leader-elect\" flag: must be true or false"},
        {"--count", "flag needs an argument: --count"},
        {"stray", "unexpected argument \"stray\""},
        {"-x", "unknown flag: -x"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct values v = {0};
        cleanup_error struct error *err = NULL;
        ck_assert(!PARSE(&v, &err, cases[i].arg));
        ck_assert_str_eq(error_message(err), cases[i].message);
    }
}
END_TEST

START_TEST(help_and_version)
{
    struct values v = {.count = 3, .period = 15000, .on = true};
    struct error *err = NULL;
    ck_assert(!PARSE(&v, &err, "--help"));
    ck_assert(err == NULL);
    ck_assert(!PARSE(&v, &err, "--version"));
    ck_assert(err == NULL);
}
END_TEST

START_TEST(stop_by_signal)
{
    component_init_signals();
    ck_assert(!component_stopping());
    raise(SIGPIPE); /* harmless */
    kill(getpid(), SIGTERM);
    component_wait();
    ck_assert(component_stopping());
}
END_TEST

START_TEST(stop_by_request)
{
    component_init_signals();
    component_request_stop();
    component_wait();
    ck_assert(component_stopping());
}
END_TEST

START_TEST(metrics)
{
    static const double bounds[] = {.1, 1, 0};
    struct metric *c = metric_new(METRIC_COUNTER, "requests_total", "Requests.", "verb,code", NULL);
    struct metric *g = metric_new(METRIC_GAUGE, "depth", "Depth.", "", NULL);
    struct metric *h = metric_new(METRIC_HISTOGRAM, "latency_seconds", "Latency.", "verb", bounds);
    ck_assert_ptr_eq(c, metric_new(METRIC_COUNTER, "requests_total", "Requests.", "verb,code", NULL));
    metric_add(c,
               "GET\x1f"
               "200",
               1);
    metric_add(c,
               "GET\x1f"
               "200",
               2);
    metric_add(c, "a\"b\x1f", 1);
    metric_set(g, "", 7.5);
    metric_observe(h, "GET", 0.05);
    metric_observe(h, "GET", 0.1);
    metric_observe(h, "GET", 5);
    cleanup_buf struct buf b = {0};
    metrics_render(&b);
    static const char *const lines[] = {
        "# TYPE requests_total counter\n",
        "\nrequests_total{verb=\"GET\",code=\"200\"} 3\n",
        "\nrequests_total{verb=\"a\\\"b\",code=\"\"} 1\n",
        "\ndepth 7.5\n",
        "\nlatency_seconds_bucket{verb=\"GET\",le=\"0.1\"} 2\n",
        "\nlatency_seconds_bucket{verb=\"GET\",le=\"1\"} 2\n",
        "\nlatency_seconds_bucket{verb=\"GET\",le=\"+Inf\"} 3\n",
        "\nlatency_seconds_sum{verb=\"GET\"} 5.15\n",
        "\nlatency_seconds_count{verb=\"GET\"} 3\n",
        "\nprocess_resident_memory_bytes ",
        "\nprocess_start_time_seconds ",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        ck_assert_msg(strstr(b.data, lines[i]) != NULL, "%s not in:\n%s", lines[i], b.data);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("component");
    TCase *t = tcase_create("component");
    tcase_add_test(t, flags);
    tcase_add_test(t, bad_flags);
    tcase_add_test(t, help_and_version);
    tcase_add_test(t, stop_by_signal);
    tcase_add_test(t, stop_by_request);
    tcase_add_test(t, metrics);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
