#include <arpa/inet.h>
#include <check.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "common/component.h"
#include "common/mem.h"

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, n), 0);
    getsockname(fd, (struct sockaddr *)&a, &n);
    close(fd);
    return ntohs(a.sin_port);
}

static size_t collect(char *p, size_t size, size_t n, void *userdata)
{
    buf_add(userdata, p, size * n);
    return size * n;
}

static long get(int port, const char *method, const char *path, struct buf *body)
{
    cleanup_free char *url = mem_printf("http://127.0.0.1:%d%s", port, path);
    CURL *h = curl_easy_init();
    long status = 0;
    buf_clear(body);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, body);
    ck_assert_int_eq(curl_easy_perform(h), CURLE_OK);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(h);
    return status;
}

static bool ready(void *userdata, struct error **why)
{
    if (atomic_load((atomic_bool *)userdata))
        return true;
    error_setf(why, "[-]informer-sync failed: not started yet");
    return false;
}

START_TEST(health_and_metrics)
{
    atomic_bool is_ready = false;
    struct error *err = NULL;
    cleanup_buf struct buf body = {0};
    const struct component_server_options o = {
        .bind_address = "127.0.0.1", .port = free_port(), .ready = ready, .userdata = &is_ready};
    ck_assert_msg(component_serve(&o, &err) != NULL, "%s", error_message(err));
    ck_assert_int_eq(get(o.port, "GET", "/healthz", &body), 200);
    ck_assert_str_eq(body.data, "ok");
    ck_assert_int_eq(get(o.port, "GET", "/livez", &body), 200);
    ck_assert_int_eq(get(o.port, "GET", "/readyz", &body), 503);
    ck_assert_ptr_nonnull(strstr(body.data, "[-]informer-sync failed"));
    atomic_store(&is_ready, true);
    ck_assert_int_eq(get(o.port, "GET", "/readyz", &body), 200);
    metric_add(metric_new(METRIC_COUNTER, "tested_total", "Tests.", "", NULL), "", 1);
    ck_assert_int_eq(get(o.port, "GET", "/metrics", &body), 200);
    ck_assert_ptr_nonnull(strstr(body.data, "\ntested_total 1\n"));
    ck_assert_int_eq(get(o.port, "GET", "/nothing", &body), 404);
    ck_assert_int_eq(get(o.port, "POST", "/healthz", &body), 405);
    /* The port is taken now. */
    ck_assert_ptr_null(component_serve(&o, &err));
    ck_assert_ptr_nonnull(err);
    error_free(err);
}
END_TEST

START_TEST(no_port_no_server)
{
    const struct component_server_options o = {.port = 0};
    struct component_server *s = component_serve(&o, NULL);
    ck_assert_ptr_nonnull(s);
    free(s);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("component_server");
    TCase *t = tcase_create("component_server");
    tcase_add_test(t, health_and_metrics);
    tcase_add_test(t, no_port_no_server);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
