/* Probes: settings, verdicts, and single looks at servers on loopback. */
#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/httpd.h"
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/probe/check.h"
#include "kubelet/probe/probe.h"

static cJSON *parse(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s", error_message(err));
    return o;
}

START_TEST(settings)
{
    struct probe_settings s;
    probe_settings_from_json(NULL, &s);
    ck_assert_int_eq(s.initial_delay_ms, 0);
    ck_assert_int_eq(s.period_ms, 10000);
    ck_assert_int_eq(s.timeout_ms, 1000);
    ck_assert_int_eq(s.success_threshold, 1);
    ck_assert_int_eq(s.failure_threshold, 3);
    cleanup_json cJSON *p = parse("{\"initialDelaySeconds\":3,\"periodSeconds\":2,\"timeoutSeconds\":4,\"successThreshold\":5,\"failureThreshold\":6}");
    probe_settings_from_json(p, &s);
    ck_assert_int_eq(s.initial_delay_ms, 3000);
    ck_assert_int_eq(s.period_ms, 2000);
    ck_assert_int_eq(s.timeout_ms, 4000);
    ck_assert_int_eq(s.success_threshold, 5);
    ck_assert_int_eq(s.failure_threshold, 6);
    cleanup_json cJSON *odd = parse("{\"periodSeconds\":-1,\"timeoutSeconds\":1e18,\"initialDelaySeconds\":-7}");
    probe_settings_from_json(odd, &s);
    ck_assert_int_eq(s.period_ms, 10000);
    ck_assert_int_eq(s.initial_delay_ms, 0);
    ck_assert_int_eq(s.timeout_ms, 1000000000);
}
END_TEST

START_TEST(verdicts)
{
    struct probe_settings s = {.success_threshold = 2, .failure_threshold = 3};
    struct probe_run r = {0};
    ck_assert(!probe_count(&r, &s, CHECK_SUCCESS));
    ck_assert(probe_count(&r, &s, CHECK_SUCCESS));
    ck_assert(!probe_count(&r, &s, CHECK_FAILURE));
    ck_assert(!probe_count(&r, &s, CHECK_FAILURE));
    ck_assert(!probe_count(&r, &s, CHECK_UNKNOWN)); /* says nothing, forgets nothing */
    ck_assert(probe_count(&r, &s, CHECK_FAILURE));
    ck_assert(!probe_count(&r, &s, CHECK_SUCCESS)); /* in a row, that is */
    ck_assert(!probe_count(&r, &s, CHECK_FAILURE));
}
END_TEST

static void answer(struct httpd_request *r, void *userdata)
{
    (void)userdata;
    const char *path = httpd_path(r);
    if (strcmp(path, "/ok") == 0) {
        const char *agent = httpd_header(r, "User-Agent"), *extra = httpd_header(r, "X-Extra"), *accept = httpd_header(r, "Accept");
        cleanup_free char *body = mem_printf("%s|%s|%s", agent ? agent : "", extra ? extra : "", accept ? accept : "");
        httpd_reply(r, 200, "text/plain", body, strlen(body));
    } else if (strcmp(path, "/redirect") == 0) {
        httpd_add_header(r, "Location", "/ok");
        httpd_reply(r, 302, "text/plain", "", 0);
    } else if (strcmp(path, "/away") == 0) {
        httpd_add_header(r, "Location", "http://192.0.2.1/x");
        httpd_reply(r, 301, "text/plain", "", 0);
    } else if (strcmp(path, "/loop") == 0) {
        httpd_add_header(r, "Location", "/loop");
        httpd_reply(r, 302, "text/plain", "", 0);
    } else if (strcmp(path, "/big") == 0) {
        char *body = malloc(100000);
        memset(body, 'x', 100000);
        httpd_reply_take(r, 200, "text/plain", body, 100000);
    } else {
        httpd_reply(r, 503, "text/plain", "no", 2);
    }
}

static enum check_result look(int port, const char *path, int timeout_ms, struct buf *message)
{
    cleanup_free char *text = mem_printf("{\"path\":\"%s\",\"port\":\"web\",\"httpHeaders\":[{\"name\":\"X-Extra\",\"value\":\"1\"},"
                                         "{\"name\":\"Bad\\r\\nName\",\"value\":\"x\"}]}", path);
    cleanup_free char *container_text = mem_printf("{\"ports\":[{\"name\":\"web\",\"containerPort\":%d}]}", port);
    cleanup_json cJSON *http = parse(text), *container = parse(container_text);
    struct check_http c;
    struct error *err = NULL;
    ck_assert_msg(check_http_from_json(http, container, "127.0.0.1", &c, &err), "%s", error_message(err));
    enum check_result r = check_http(&c, timeout_ms, "1.36", message);
    check_http_clear(&c);
    return r;
}

START_TEST(http)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
    struct httpd_options o = {.address = "127.0.0.1:0", .threads = 1, .max_body = 1000, .handler = answer};
    struct error *err = NULL;
    struct httpd *h = httpd_start(&o, &err);
    ck_assert_msg(h != NULL, "%s", error_message(err));
    int port = httpd_port(h);
    struct buf m = {0};
    ck_assert_int_eq(look(port, "/ok", 1000, &m), CHECK_SUCCESS);
    ck_assert_str_eq(buf_str(&m), "kube-probe/1.36|1|*/*");
    buf_clear(&m);
    ck_assert_int_eq(look(port, "/redirect", 1000, &m), CHECK_SUCCESS);
    ck_assert_int_eq(look(port, "/away", 1000, &m), CHECK_SUCCESS); /* it answers; where to is not asked */
    ck_assert_int_eq(look(port, "/loop", 5000, &m), CHECK_SUCCESS);
    buf_clear(&m);
    ck_assert_int_eq(look(port, "/big", 1000, &m), CHECK_SUCCESS);
    ck_assert_uint_le(m.len, 10240);
    buf_clear(&m);
    ck_assert_int_eq(look(port, "/none", 1000, &m), CHECK_FAILURE);
    ck_assert_str_eq(buf_str(&m), "HTTP probe failed with statuscode: 503");
    httpd_stop(h);
    buf_clear(&m);
    ck_assert_int_eq(look(port, "/ok", 1000, &m), CHECK_FAILURE);
    cleanup_free char *refused =
        mem_printf("Get \"http://127.0.0.1:%d/ok\": dial tcp 127.0.0.1:%d: connect: connection refused", port, port);
    ck_assert_str_eq(buf_str(&m), refused);
    buf_free(&m);
}
END_TEST

/* A port that accepts connections (by its backlog) and never says anything. */
static int silent_port(int *fd)
{
    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    ck_assert_int_eq(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(listen(*fd, 4), 0);
    ck_assert_int_eq(getsockname(*fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

START_TEST(tcp_and_silence)
{
    int fd, port = silent_port(&fd);
    struct buf m = {0};
    ck_assert_int_eq(check_tcp("127.0.0.1", port, 1000, &m), CHECK_SUCCESS);
    ck_assert_int_eq(look(port, "/ok", 150, &m), CHECK_FAILURE);
    ck_assert_ptr_nonnull(strstr(buf_str(&m), "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"));
    close(fd);
    buf_clear(&m);
    ck_assert_int_eq(check_tcp("127.0.0.1", port, 1000, &m), CHECK_FAILURE);
    cleanup_free char *refused = mem_printf("dial tcp 127.0.0.1:%d: connect: connection refused", port);
    ck_assert_str_eq(buf_str(&m), refused);
    buf_free(&m);
}
END_TEST

START_TEST(ports)
{
    cleanup_json cJSON *c = parse("{\"ports\":[{\"name\":\"web\",\"containerPort\":8080}]}");
    static const struct {
        const char *json;
        int want;
    } cases[] = {{"80", 80}, {"\"web\"", 8080}, {"\"81\"", 81}, {"\"none\"", -1}, {"0", -1}, {"70000", -1}, {"null", -1}, {"\"\"", -1}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *p = parse(cases[i].json);
        ck_assert_int_eq(check_port(p, c), cases[i].want);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kubelet probes");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 20);
    tcase_add_test(t, settings);
    tcase_add_test(t, verdicts);
    tcase_add_test(t, http);
    tcase_add_test(t, tcp_and_silence);
    tcase_add_test(t, ports);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
