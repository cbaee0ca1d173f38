#include <check.h>
#include "common/recorder.h"
#include "tests/unit/common/fake_api.h"

static cJSON *pod(const char *name)
{
    cleanup_free char *text = mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%"
                                         "s\",\"namespace\":\"x\",\"uid\":\"u-%s\","
                                         "\"resourceVersion\":\"7\"}}",
                                         name, name);
    return json_parse(text, strlen(text), NULL);
}

static int count_events(struct fake_api *a)
{
    int n = 0;
    pthread_mutex_lock(&a->lock);
    for (struct fake_object *o = a->objects; o; o = o->next)
        n += !strcmp(o->collection, "v1/events");
    pthread_mutex_unlock(&a->lock);
    return n;
}

START_TEST(what_is_written)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct recorder *r = recorder_new(c, "kubelet", "worker-1");
    cleanup_json cJSON *p = pod("web");
    recorder_event_field(r, p, "spec.containers{app}", "Warning", "BackOff", "Back-off restarting %s", "it");
    recorder_flush(r, 5000);
    ck_assert_int_eq(count_events(a), 1);
    static const struct {
        const char *path, *value;
    } want[] = {{"involvedObject.kind", "Pod"},
                {"involvedObject.name", "web"},
                {"involvedObject.namespace", "x"},
                {"involvedObject.uid", "u-web"},
                {"involvedObject.apiVersion", "v1"},
                {"involvedObject.resourceVersion", "7"},
                {"involvedObject.fieldPath", "spec.containers{app}"},
                {"type", "Warning"},
                {"reason", "BackOff"},
                {"message", "Back-off restarting it"},
                {"source.component", "kubelet"},
                {"source.host", "worker-1"},
                {"reportingComponent", "kubelet"},
                {"reportingInstance", "worker-1"},
                {"count", "1"}};
    char *name = mem_strdup(a->objects->name);
    ck_assert(!strncmp(name, "web.", 4));
    ck_assert_uint_ge(strlen(name), 4 + 15);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        cleanup_free char *got = fake_field(a, "v1/events", "x", name, want[i].path);
        ck_assert_msg(!strcmp(got, want[i].value), "%s: %s", want[i].path, got);
    }
    /* The same again: counted up. */
    recorder_event_field(r, p, "spec.containers{app}", "Warning", "BackOff", "Back-off restarting %s", "it");
    recorder_event_field(r, p, "spec.containers{app}", "Warning", "BackOff", "Back-off restarting %s", "it");
    recorder_flush(r, 5000);
    ck_assert_int_eq(count_events(a), 1);
    cleanup_free char *count = fake_field(a, "v1/events", "x", name, "count");
    ck_assert_str_eq(count, "3");
    /* The event expired meanwhile: made anew, the count goes on. */
    fake_delete(a, "v1/events", "x", name);
    recorder_event_field(r, p, "spec.containers{app}", "Warning", "BackOff", "Back-off restarting %s", "it");
    recorder_flush(r, 5000);
    ck_assert_int_eq(count_events(a), 1);
    cleanup_free char *again = fake_field(a, "v1/events", "x", a->objects->name, "count");
    ck_assert_str_eq(again, "4");
    free(name);
    recorder_free(r);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(cluster_scoped)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct recorder *r = recorder_new(c, "kubelet", NULL);
    const char *text = "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n1\"}}";
    cleanup_json cJSON *node = json_parse(text, strlen(text), NULL);
    recorder_event(r, node, "Normal", "Starting", "Starting");
    recorder_flush(r, 5000);
    ck_assert_int_eq(count_events(a), 1);
    ck_assert_str_eq(a->objects->ns, "default");
    recorder_free(r);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(floods_are_cut)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct recorder *r = recorder_new(c, "x", NULL);
    cleanup_json cJSON *p = pod("loud"), *q = pod("calm");
    for (int i = 0; i < 100; i++)
        recorder_event(r, p, "Normal", "Noise", "message %d", i);
    recorder_event(r, q, "Normal", "Quiet", "one");
    recorder_flush(r, 10000);
    /* Nine of their own, then combined ones, of which all but the first count up one event. */
    int n = count_events(a);
    ck_assert_int_eq(n, 9 + 1 + 1);
    int combined = 0, counted = 0;
    pthread_mutex_lock(&a->lock);
    for (struct fake_object *o = a->objects; o; o = o->next) {
        if (strstr(json_str_or(o->json, "message", ""), "(combined from similar events): message")) {
            combined++;
            counted = (int)json_int(o->json, "count", 0);
        }
    }
    pthread_mutex_unlock(&a->lock);
    ck_assert_int_eq(combined, 1);
    ck_assert_int_eq(counted, 25 - 9); /* the burst that one object may use */
    recorder_free(r);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(retries_and_never_blocks)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    a->fail_requests = 1;
    a->fail_code = 503;
    struct recorder *r = recorder_new(c, "x", NULL);
    cleanup_json cJSON *p = pod("p");
    recorder_event(r, p, "Normal", "A", "a");
    recorder_flush(r, 5000);
    ck_assert_int_eq(count_events(a), 1);
    /* The API refuses for good: adding thousands takes no time, and freeing neither. */
    pthread_mutex_lock(&a->lock);
    a->refuse_writes = true;
    pthread_mutex_unlock(&a->lock);
    int64_t start = time_monotonic_ms();
    for (int i = 0; i < 3000; i++) {
        cleanup_free char *name = mem_printf("p%d", i);
        cleanup_json cJSON *o = pod(name);
        recorder_event(r, o, "Normal", "B", "b");
    }
    recorder_free(r);
    ck_assert_int_lt(time_monotonic_ms() - start, 10000);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recorder");
    TCase *t = tcase_create("recorder");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, what_is_written);
    tcase_add_test(t, cluster_scoped);
    tcase_add_test(t, floods_are_cut);
    tcase_add_test(t, retries_and_never_blocks);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
