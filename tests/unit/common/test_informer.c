#include <check.h>
#include "common/informer.h"
#include "tests/unit/common/fake_api.h"

struct record {
    struct informer *informer;
    pthread_mutex_t lock;
    struct buf log; /* "+a ~a -a " */
    atomic_int events;
    atomic_int store_lags; /* the store did not yet show what a handler was told */
};

static void on_event(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    struct record *r = userdata;
    const struct kube_object *o = new_object ? new_object : old;
    cleanup_object struct kube_object *stored = informer_get(r->informer, o->key);
    if ((event == INFORMER_DELETED) != (stored == NULL))
        atomic_fetch_add(&r->store_lags, 1);
    pthread_mutex_lock(&r->lock);
    buf_printf(&r->log, "%c%s ", "+~-"[event], o -> key);
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add(&r->events, 1);
}

static struct informer *start(struct kube_client *c, struct record *r, const char *ns)
{
    struct informer_options o = {.client = c, .api_version = "v1", .resource = "pods", .ns = ns};
    struct informer *i = informer_new(&o);
    memset(r, 0, sizeof(*r));
    pthread_mutex_init(&r->lock, NULL);
    r->informer = i;
    informer_add_handler(i, on_event, r);
    informer_add_index(i, "node", informer_index_node_name);
    informer_add_index(i, "controller", informer_index_controller_uid);
    informer_start(i);
    ck_assert(informer_wait_synced(i));
    return i;
}

/* The log so far, and empties it; caller frees. */
static char *take(struct record *r)
{
    pthread_mutex_lock(&r->lock);
    char *s = buf_take(&r->log);
    pthread_mutex_unlock(&r->lock);
    return s;
}

static void end(struct fake_api *a, struct kube_client *c, struct informer *i, struct record *r)
{
    ck_assert_int_eq(atomic_load(&r->store_lags), 0);
    informer_free(i);
    buf_free(&r->log);
    kube_client_free(c);
    fake_api_free(a);
}

#define EXPECT_LOG(r, count, want)                                                                           \
    do {                                                                                                     \
        fake_eventually(atomic_load(&(r)->events) >= (count));                                               \
        cleanup_free char *log_ = take(r);                                                                   \
        ck_assert_str_eq(log_, want);                                                                        \
    } while (0)

#define POD(ns, name) "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"" ns "\"}}"

START_TEST(list_and_watch)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct record r;
    fake_add(a, "v1/pods",
             "{\"metadata\":{\"name\":\"a\",\"namespace\":\"x\",\"managedFields\":[{\"manager\":\"m\"}]},"
             "\"spec\":{\"nodeName\":\"n1\"}}");
    struct informer *i = start(c, &r, NULL);
    EXPECT_LOG(&r, 1, "+x/a ");
    ck_assert_ptr_nonnull(strstr(a->last_list_query, "resourceVersion=0"));
    cleanup_object struct kube_object *o = informer_get_ns(i, "x", "a");
    ck_assert_ptr_nonnull(o);
    ck_assert_str_eq(json_str_or(o->json, "kind", ""), "Pod");
    ck_assert_str_eq(json_str_or(o->json, "apiVersion", ""), "v1");
    ck_assert_ptr_null(json_path(o->json, "metadata.managedFields"));
    ck_assert_int_eq((int)informer_resource_version(i), 101);

    fake_add(a, "v1/pods", POD("y", "b"));
    fake_change(a, "v1/pods", "x", "a", "{\"spec\":{\"nodeName\":\"n2\"}}");
    fake_delete(a, "v1/pods", "y", "b");
    EXPECT_LOG(&r, 4, "+y/b ~x/a -y/b ");
    /* The old reference did not change. */
    ck_assert_str_eq(json_str_or(o->json, "spec.nodeName", ""), "n1");
    cleanup_objects struct kube_object_list n1 = {0}, n2 = {0}, all = {0}, x = {0};
    informer_by_index(i, "node", "n1", &n1);
    informer_by_index(i, "node", "n2", &n2);
    informer_by_index(i, "namespace", "x", &x);
    informer_list(i, &all);
    ck_assert_uint_eq(n1.count, 0);
    ck_assert_uint_eq(n2.count, 1);
    ck_assert_uint_eq(x.count, 1);
    ck_assert_uint_eq(all.count, 1);
    fake_eventually(informer_resource_version(i) == 104);
    end(a, c, i, &r);
}
END_TEST

START_TEST(resumes_after_disconnect)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct record r;
    struct informer *i = start(c, &r, "x");
    fake_eventually(fake_counter(a, &a->watches) == 1);
    fake_add(a, "v1/pods", POD("x", "a"));
    fake_eventually(atomic_load(&r.events) == 1);
    /* Changes during the gap arrive by the next watch, without a list. */
    fake_break_watches(a);
    fake_add(a, "v1/pods", POD("x", "b"));
    fake_delete(a, "v1/pods", "x", "a");
    EXPECT_LOG(&r, 3, "+x/a +x/b -x/a ");
    ck_assert_int_eq(fake_counter(a, &a->lists), 1);
    end(a, c, i, &r);
}
END_TEST

START_TEST(lists_again_on_410)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct record r;
    fake_add(a, "v1/pods", POD("x", "stays"));
    fake_add(a, "v1/pods", POD("x", "changes"));
    fake_add(a, "v1/pods", POD("x", "goes"));
    fake_add(a, "v1/pods", POD("x", "reborn"));
    struct informer *i = start(c, &r, NULL);
    fake_eventually(atomic_load(&r.events) == 4);
    fake_eventually(fake_counter(a, &a->watches) == 1);
    free(take(&r));
    /* While the informer is cut off, the history that it would need goes away. */
    pthread_mutex_lock(&a->lock);
    a->fail_requests = 1;
    a->fail_code = 503;
    pthread_mutex_unlock(&a->lock);
    fake_break_watches(a);
    fake_change(a, "v1/pods", "x", "changes", "{\"spec\":{\"x\":1}}");
    fake_delete(a, "v1/pods", "x", "goes");
    fake_delete(a, "v1/pods", "x", "reborn");
    fake_add(a, "v1/pods", POD("x", "reborn"));
    fake_expire(a);
    fake_eventually(atomic_load(&r.events) >= 8);
    cleanup_free char *log = take(&r);
    ck_assert_ptr_nonnull(strstr(log, "~x/changes "));
    ck_assert_ptr_nonnull(strstr(log, "-x/goes "));
    ck_assert_ptr_nonnull(strstr(log, "-x/reborn +x/reborn "));
    ck_assert_ptr_null(strstr(log, "stays"));
    ck_assert_int_eq(fake_counter(a, &a->consistent_lists), 1);
    fake_add(a, "v1/pods", POD("x", "new"));
    EXPECT_LOG(&r, 9, "+x/new ");
    end(a, c, i, &r);
}
END_TEST

START_TEST(error_event_and_bookmark)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct record r;
    struct informer *i = start(c, &r, NULL);
    fake_eventually(fake_counter(a, &a->watches) == 1);
    fake_send_raw(
        a,
        "{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"500\"}}}\n");
    fake_eventually(informer_resource_version(i) == 500);
    /* Not of this world: skipped. */
    fake_send_raw(a, "nonsense\n{\"type\":\"ADDED\"}\n{\"type\":\"ADDED\",\"object\":7}\n[]\n");
    fake_send_raw(
        a, "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\"}}\n");
    fake_eventually(fake_counter(a, &a->consistent_lists) == 1);
    fake_eventually(fake_counter(a, &a->watches) == 2);
    ck_assert_int_eq(atomic_load(&r.events), 0);
    end(a, c, i, &r);
}
END_TEST

START_TEST(waits_for_a_server)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    fake_add(a, "v1/pods", POD("x", "a"));
    a->fail_requests = 2;
    a->fail_code = 500;
    struct record r;
    struct informer *i = start(c, &r, NULL);
    EXPECT_LOG(&r, 1, "+x/a ");
    end(a, c, i, &r);
}
END_TEST

START_TEST(survives_a_restart)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct record r;
    struct informer *i = start(c, &r, NULL);
    fake_eventually(fake_counter(a, &a->watches) == 1);
    int port = httpd_port(a->httpd);
    fake_break_watches(a);
    httpd_stop(a->httpd);
    fake_add(a, "v1/pods", POD("x", "a"));
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    fake_listen(a, port);
    int64_t start_ms = time_monotonic_ms();
    EXPECT_LOG(&r, 1, "+x/a ");
    ck_assert_int_lt(time_monotonic_ms() - start_ms, 3000);
    ck_assert_int_eq(fake_counter(a, &a->lists), 1);
    end(a, c, i, &r);
}
END_TEST

START_TEST(stops_at_once)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct record r;
    struct informer *i = start(c, &r, NULL);
    fake_eventually(fake_counter(a, &a->watches) == 1);
    int64_t start_ms = time_monotonic_ms();
    end(a, c, i, &r);
    ck_assert_int_lt(time_monotonic_ms() - start_ms, 2000);
}
END_TEST

START_TEST(many_objects)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    for (int n = 0; n < 300; n++) {
        cleanup_free char *text =
            mem_printf("{\"metadata\":{\"name\":\"p%d\",\"namespace\":\"x\",\"ownerReferences\":[{\"uid\":"
                       "\"o%d\",\"controller\":true},{\"uid\":\"other\"}]}}",
                       n, n % 3);
        fake_add(a, "v1/pods", text);
    }
    struct record r;
    struct informer *i = start(c, &r, NULL);
    cleanup_objects struct kube_object_list owned = {0}, other = {0}, all = {0};
    informer_by_index(i, "controller", "o1", &owned);
    informer_by_index(i, "controller", "other", &other);
    ck_assert_uint_eq(owned.count, 100);
    ck_assert_uint_eq(other.count, 0);
    for (int n = 0; n < 300; n += 2) {
        cleanup_free char *name = mem_printf("p%d", n);
        fake_delete(a, "v1/pods", "x", name);
    }
    fake_eventually(atomic_load(&r.events) == 450);
    informer_list(i, &all);
    ck_assert_uint_eq(all.count, 150);
    end(a, c, i, &r);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("informer");
    TCase *t = tcase_create("informer");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, list_and_watch);
    tcase_add_test(t, resumes_after_disconnect);
    tcase_add_test(t, lists_again_on_410);
    tcase_add_test(t, error_event_and_bookmark);
    tcase_add_test(t, waits_for_a_server);
    tcase_add_test(t, survives_a_restart);
    tcase_add_test(t, stops_at_once);
    tcase_add_test(t, many_objects);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
