#include <check.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/unit/common/fake_api.h"

static char *write_temp(const char *text)
{
    char *path = mem_strdup("/tmp/skiff-kubeconfig-XXXXXX");
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    return path;
}

START_TEST(kubeconfig)
{
    cleanup_free char *path = write_temp(
        "apiVersion: v1\nkind: Config\ncurrent-context: two\n"
        "clusters:\n- name: c1\n  cluster: {server: 'https://wrong:1'}\n"
        "- name: c2\n  cluster:\n    server: https://127.0.0.1:6443\n    certificate-authority-data: Q0E=\n"
        "contexts:\n- name: one\n  context: {cluster: c1, user: u1}\n- name: two\n  context: {cluster: c2, "
        "user: u2}\n"
        "users:\n- name: u2\n  user:\n    client-certificate: pki/me.crt\n    client-key-data: S0VZ\n");
    struct kube_client_config c;
    struct error *err = NULL;
    ck_assert_msg(kube_client_config_load(path, &c, &err), "%s", error_message(err));
    ck_assert_str_eq(c.server, "https://127.0.0.1:6443");
    ck_assert_str_eq(c.ca_data, "CA");
    ck_assert_ptr_null(c.ca_file);
    ck_assert_str_eq(c.cert_file, "/tmp/pki/me.crt");
    ck_assert_str_eq(c.key_data, "KEY");
    ck_assert_ptr_null(c.token);
    kube_client_config_clear(&c);
    unlink(path);
}
END_TEST

START_TEST(bad_kubeconfigs)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no current-context"},
        {"a: [", "line "},
        {"current-context: x", "context \"x\" does not exist"},
        {"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]",
         "no server found for cluster \"c\""},
        {"current-context: x\ncontexts: [{name: x, context: {cluster: c}}]\nclusters: [{name: c, cluster: "
         "{server: a, "
         "certificate-authority-data: '%%'}}]",
         "certificate-authority-data is not base64"},
        {"[1,2]", "no current-context"},
        {"just text", "no current-context"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_free char *path = write_temp(cases[i].text);
        struct kube_client_config c;
        cleanup_error struct error *err = NULL;
        ck_assert(!kube_client_config_load(path, &c, &err));
        ck_assert_msg(strstr(error_message(err), cases[i].message) != NULL, "%s", error_message(err));
        unlink(path);
    }
}
END_TEST

START_TEST(paths)
{
    cleanup_free char *a = kube_path_new("v1", "pods", "default", "web", "status");
    ck_assert_str_eq(a, "/api/v1/namespaces/default/pods/web/status");
    cleanup_free char *b = kube_path_new("apps/v1", "deployments", NULL, NULL, NULL);
    ck_assert_str_eq(b, "/apis/apps/v1/deployments");
    cleanup_free char *c = kube_path_new("rbac.authorization.k8s.io/v1", "clusterroles", "", "a:b", "");
    ck_assert_str_eq(c, "/apis/rbac.authorization.k8s.io/v1/clusterroles/a%3Ab");
}
END_TEST

START_TEST(requests)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    cleanup_json cJSON *pod = cJSON_CreateObject();
    json_set_str(pod, "metadata.name", "p");
    cleanup_json cJSON *made = kube_create(c, "/api/v1/namespaces/default/pods", pod, NULL);
    ck_assert_str_eq(json_str_or(made, "metadata.namespace", ""), "default");
    struct error *err = NULL;
    ck_assert_ptr_null(kube_create(c, "/api/v1/namespaces/default/pods", pod, &err));
    ck_assert_int_eq(err->code, 409);
    ck_assert(kube_error_is(err, "AlreadyExists"));
    ck_assert_str_eq(err->details, "{\"name\":\"x\"}");
    error_free(err);
    err = NULL;
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "spec.nodeName", "n1");
    cleanup_json cJSON *patched = kube_merge_patch(c, "/api/v1/namespaces/default/pods/p", patch, NULL);
    ck_assert_str_eq(json_str_or(patched, "spec.nodeName", ""), "n1");
    /* An old copy is refused. */
    ck_assert_ptr_null(kube_update(c, "/api/v1/namespaces/default/pods/p", made, &err));
    ck_assert(kube_error_is(err, "Conflict"));
    error_free(err);
    err = NULL;
    cleanup_json cJSON *got = kube_get(c, "/api/v1/namespaces/default/pods/p", NULL);
    ck_assert_str_eq(json_str_or(got, "spec.nodeName", ""), "n1");
    ck_assert(kube_delete(c, "/api/v1/namespaces/default/pods/p", "uid-1", 0, "Background", NULL));
    ck_assert(!kube_delete(c, "/api/v1/namespaces/default/pods/p", NULL, -1, NULL, &err));
    ck_assert_int_eq(err->code, 404);
    ck_assert(kube_error_is(err, "NotFound"));
    error_free(err);
    err = NULL;
    /* Nobody listens: an error without a code. */
    fake_api_free(a);
    ck_assert_ptr_null(kube_get(c, "/api/v1/pods", &err));
    ck_assert_int_eq(err->code, 0);
    error_free(err);
    kube_client_free(c);
}
END_TEST

START_TEST(timeout)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    a->hold_next_write = true;
    struct error *err = NULL;
    cleanup_json cJSON *o = cJSON_CreateObject();
    int64_t start = time_monotonic_ms();
    ck_assert_ptr_null(kube_request_timeout(c, "POST", "/api/v1/namespaces/x/pods", NULL, o, 150, &err));
    ck_assert_int_lt(time_monotonic_ms() - start, 5000);
    ck_assert_int_eq(err->code, 0);
    error_free(err);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

struct shared {
    struct kube_client *client;
    int id;
};

static void *hammer(void *arg)
{
    struct shared *s = arg;
    long failures = 0;
    for (int i = 0; i < 50; i++) {
        cleanup_json cJSON *o = cJSON_CreateObject();
        cleanup_free char *name = mem_printf("p-%d-%d", s->id, i);
        json_set_str(o, "metadata.name", name);
        cleanup_json cJSON *made = kube_create(s->client, "/api/v1/namespaces/x/pods", o, NULL);
        cleanup_free char *path = kube_path_new("v1", "pods", "x", name, NULL);
        cleanup_json cJSON *got = kube_get(s->client, path, NULL);
        failures += !made || !got || strcmp(json_str_or(got, "metadata.name", ""), name);
    }
    return (void *)failures;
}

START_TEST(threads)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct shared s[8];
    pthread_t t[8];
    for (int i = 0; i < 8; i++) {
        s[i] = (struct shared){c, i};
        pthread_create(&t[i], NULL, hammer, &s[i]);
    }
    for (int i = 0; i < 8; i++) {
        void *failures;
        pthread_join(t[i], &failures);
        ck_assert_ptr_null(failures);
    }
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

struct lines {
    struct buf text;
    atomic_int count;
    int stop_after;
};

static bool on_line(void *userdata, const char *line, size_t len)
{
    struct lines *l = userdata;
    buf_add(&l->text, line, len);
    buf_addc(&l->text, '|');
    atomic_fetch_add(&l->count, 1);
    return !l->stop_after || atomic_load(&l->count) < l->stop_after;
}

struct streaming {
    struct kube_client *client;
    struct lines lines;
    volatile bool stop;
    bool quiet, ok;
    int idle_ms;
    struct error *err;
};

static void *run_stream(void *arg)
{
    struct streaming *s = arg;
    s->ok =
        (s->quiet ? kube_stream_quiet : kube_stream)(s->client, "/api/v1/pods?watch=1&resourceVersion=100",
                                                     on_line, &s->lines, &s->stop, s->idle_ms, &s->err);
    return NULL;
}

START_TEST(streams)
{
    struct fake_api *a = fake_api_new();
    struct streaming s = {.client = fake_client(a)};
    pthread_t t;
    pthread_create(&t, NULL, run_stream, &s);
    fake_eventually(fake_counter(a, &a->watches) == 1);
    fake_send_raw(a, "one\ntw");
    fake_send_raw(a, "o\n\nthree\n");
    fake_eventually(atomic_load(&s.lines.count) == 3);
    fake_break_watches(a);
    pthread_join(t, NULL);
    ck_assert(s.ok);
    ck_assert_str_eq(s.lines.text.data, "one|two|three|");
    buf_free(&s.lines.text);
    /* Stopped from outside, polled and woken. */
    for (int quiet = 0; quiet < 2; quiet++) {
        s.quiet = quiet;
        s.stop = false;
        pthread_create(&t, NULL, run_stream, &s);
        fake_eventually(fake_counter(a, &a->watches) == 2 + quiet);
        int64_t start = time_monotonic_ms();
        __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
        if (quiet)
            kube_stream_wake(s.client, &s.stop);
        pthread_join(t, NULL);
        ck_assert(s.ok);
        ck_assert_int_lt(time_monotonic_ms() - start, 2000);
    }
    /* Silence. */
    s.stop = false;
    s.idle_ms = 100;
    pthread_create(&t, NULL, run_stream, &s);
    pthread_join(t, NULL);
    ck_assert(!s.ok);
    ck_assert_int_eq(s.err->code, 0);
    error_free(s.err);
    s.err = NULL;
    /* A refusal. */
    fake_expire(a);
    pthread_create(&t, NULL, run_stream, &s);
    pthread_join(t, NULL);
    ck_assert(!s.ok);
    ck_assert_int_eq(s.err->code, 410);
    ck_assert(kube_error_is(s.err, "Expired"));
    error_free(s.err);
    kube_client_free(s.client);
    fake_api_free(a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kube_client");
    TCase *t = tcase_create("kube_client");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, kubeconfig);
    tcase_add_test(t, bad_kubeconfigs);
    tcase_add_test(t, paths);
    tcase_add_test(t, requests);
    tcase_add_test(t, timeout);
    tcase_add_test(t, threads);
    tcase_add_test(t, streams);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
