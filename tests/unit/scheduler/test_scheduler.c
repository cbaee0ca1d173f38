/* The whole scheduler against an API inside this process. */
#include <check.h>
#include "scheduler/scheduler.h"
#include "tests/unit/common/fake_api.h"

struct world {
    struct fake_api *api;
    struct kube_client *client;
    struct scheduler *scheduler;
};

static void begin(struct world *w)
{
    w->api = fake_api_new();
    w->client = fake_client(w->api);
    const struct scheduler_options o = {
        .client = w->client,
        .scheduler_name = "default-scheduler",
        .queue = {.backoff_initial_ms = 50, .backoff_max_ms = 200, .unschedulable_max_ms = 300000}};
    w->scheduler = scheduler_new(&o);
}

static void end(struct world *w)
{
    scheduler_free(w->scheduler);
    kube_client_free(w->client);
    fake_api_free(w->api);
}

static void add_node(struct world *w, const char *name, const char *cpu)
{
    cleanup_free char *text =
        mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\",\"labels\":{"
                   "\"kubernetes.io/hostname\":\"%s\"}},\"status\":{\"allocatable\":{\"cpu\":\"%s\","
                   "\"memory\":\"8Gi\",\"pods\":\"110\"}}}",
                   name, name, cpu);
    fake_add(w->api, "v1/nodes", text);
}

static void add_pod(struct world *w, const char *name, const char *cpu, const char *more)
{
    cleanup_free char *text = mem_printf(
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"default\","
        "\"labels\":{\"app\":\"web\"}},\"spec\":{\"schedulerName\":\"default-scheduler\",\"containers\":[{"
        "\"name\":\"c\",\"resources\":{\"requests\":{\"cpu\":\"%s\"}}}]%s%s}}",
        name, cpu, *more ? "," : "", more);
    fake_add(w->api, "v1/pods", text);
}

static bool is_on(struct world *w, const char *pod, const char *node)
{
    cleanup_free char *got = fake_field(w->api, "v1/pods", "default", pod, "spec.nodeName");
    return node ? !strcmp(got, node) : *got != 0;
}

/* Is there an event for the pod with this reason and message? */
static bool has_event(struct world *w, const char *pod, const char *reason, const char *message)
{
    bool found = false;
    pthread_mutex_lock(&w->api->lock);
    for (struct fake_object *o = w->api->objects; o; o = o->next)
        found = found || (!strcmp(o->collection, "v1/events") &&
                          !strcmp(json_str_or(o->json, "involvedObject.name", ""), pod) &&
                          !strcmp(json_str_or(o->json, "reason", ""), reason) &&
                          !strcmp(json_str_or(o->json, "message", ""), message));
    pthread_mutex_unlock(&w->api->lock);
    return found;
}

static bool condition_is(struct world *w, const char *pod, const char *reason, const char *message)
{
    cleanup_free char *text = fake_field(w->api, "v1/pods", "default", pod, "status.conditions");
    return strstr(text, "\"PodScheduled\"") && strstr(text, "\"False\"") && strstr(text, reason) &&
           strstr(text, message);
}

START_TEST(binds)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "4");
    add_pod(&w, "before", "1", "");
    scheduler_run(w.scheduler);
    fake_eventually(is_on(&w, "before", "n1"));
    int64_t start = time_monotonic_ms();
    add_pod(&w, "after", "1", "");
    fake_eventually(is_on(&w, "after", "n1"));
    ck_assert_int_lt(time_monotonic_ms() - start, 1000);
    fake_eventually(has_event(&w, "after", "Scheduled", "Successfully assigned default/after to n1"));
    end(&w);
}
END_TEST

START_TEST(not_before_it_leads)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "4");
    add_pod(&w, "a", "1", "");
    fake_eventually(scheduler_synced(w.scheduler));
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    ck_assert(!is_on(&w, "a", NULL));
    scheduler_run(w.scheduler);
    fake_eventually(is_on(&w, "a", "n1"));
    end(&w);
}
END_TEST

START_TEST(unschedulable_then_a_node_comes)
{
    struct world w;
    begin(&w);
    scheduler_run(w.scheduler);
    add_pod(&w, "a", "2", "");
    fake_eventually(condition_is(&w, "a", "Unschedulable", "no nodes available to schedule pods"));
    fake_eventually(has_event(&w, "a", "FailedScheduling", "no nodes available to schedule pods"));
    add_node(&w, "small", "1");
    const char *message = "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
                          "1 Preemption is not "
                          "helpful for scheduling.";
    fake_eventually(condition_is(&w, "a", "Unschedulable", message));
    fake_eventually(has_event(&w, "a", "FailedScheduling", message));
    int64_t start = time_monotonic_ms();
    add_node(&w, "big", "4");
    fake_eventually(is_on(&w, "a", "big"));
    ck_assert_int_lt(time_monotonic_ms() - start, 1000);
    end(&w);
}
END_TEST

START_TEST(room_is_made_by_deletion_and_by_change)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "1");
    scheduler_run(w.scheduler);
    add_pod(&w, "a", "1", "");
    fake_eventually(is_on(&w, "a", "n1"));
    add_pod(&w, "b", "1", "");
    fake_eventually(condition_is(&w, "b", "Unschedulable", "Insufficient cpu"));
    fake_delete(w.api, "v1/pods", "default", "a");
    fake_eventually(is_on(&w, "b", "n1"));
    add_pod(&w, "c", "1", "");
    fake_eventually(condition_is(&w, "c", "Unschedulable", "Insufficient cpu"));
    /* A finished pod holds nothing. */
    fake_change(w.api, "v1/pods", "default", "b", "{\"status\":{\"phase\":\"Succeeded\"}}");
    fake_eventually(is_on(&w, "c", "n1"));
    add_pod(&w, "d", "1", "\"nodeSelector\":{\"disk\":\"ssd\"}");
    fake_eventually(condition_is(&w, "d", "Unschedulable", "affinity/selector"));
    fake_change(
        w.api, "v1/nodes", "", "n1",
        "{\"metadata\":{\"labels\":{\"disk\":\"ssd\"}},\"status\":{\"allocatable\":{\"cpu\":\"2\"}}}");
    fake_eventually(is_on(&w, "d", "n1"));
    end(&w);
}
END_TEST

START_TEST(leaves_others_alone)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "4");
    scheduler_run(w.scheduler);
    fake_add(w.api, "v1/pods",
             "{\"metadata\":{\"name\":\"other\",\"namespace\":\"default\"},\"spec\":{\"schedulerName\":"
             "\"mine\"}}");
    add_pod(&w, "gated", "1", "\"schedulingGates\":[{\"name\":\"g\"}]");
    fake_add(w.api, "v1/pods",
             "{\"metadata\":{\"name\":\"leaving\",\"namespace\":\"default\",\"deletionTimestamp\":"
             "\"2026-01-01T00:00:00Z\"},\"spec\":{}}");
    add_pod(&w, "a", "1", "");
    fake_eventually(is_on(&w, "a", "n1"));
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    ck_assert(!is_on(&w, "other", NULL));
    ck_assert(!is_on(&w, "gated", NULL));
    ck_assert(!is_on(&w, "leaving", NULL));
    fake_change(w.api, "v1/pods", "default", "gated", "{\"spec\":{\"schedulingGates\":null}}");
    fake_eventually(is_on(&w, "gated", "n1"));
    end(&w);
}
END_TEST

START_TEST(failed_bindings_are_tried_again)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "1");
    scheduler_run(w.scheduler);
    fake_eventually(scheduler_synced(w.scheduler));
    pthread_mutex_lock(&w.api->lock);
    w.api->refuse_writes = true;
    pthread_mutex_unlock(&w.api->lock);
    add_pod(&w, "a", "1", "");
    fake_eventually(fake_counter(w.api, &w.api->lists) >= 5);
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    ck_assert(!is_on(&w, "a", NULL));
    pthread_mutex_lock(&w.api->lock);
    w.api->refuse_writes = false;
    pthread_mutex_unlock(&w.api->lock);
    fake_eventually(is_on(&w, "a", "n1"));
    end(&w);
}
END_TEST

START_TEST(spreads_replicas_over_hosts)
{
    struct world w;
    begin(&w);
    fake_add(w.api, "v1/services",
             "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\"},\"spec\":{\"selector\":{\"app\":"
             "\"web\"}}}");
    add_node(&w, "n1", "16");
    add_node(&w, "n2", "8");
    fake_eventually(scheduler_synced(w.scheduler));
    scheduler_run(w.scheduler);
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof(name), "p%d", i);
        add_pod(&w, name, "100m", "");
        fake_eventually(is_on(&w, name, NULL));
    }
    int on_first = 0;
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof(name), "p%d", i);
        on_first += is_on(&w, name, "n1");
    }
    ck_assert_int_eq(on_first, 3);
    end(&w);
}
END_TEST

START_TEST(never_overcommits)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "2");
    add_node(&w, "n2", "2");
    scheduler_run(w.scheduler);
    for (int i = 0; i < 30; i++) {
        char name[32];
        snprintf(name, sizeof(name), "p%d", i);
        add_pod(&w, name, "100m", "");
    }
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof(name), "q%d", i);
        add_pod(&w, name, "100m", "");
    }
    int placed = 0, waiting = 0;
    int64_t until = time_monotonic_ms() + 10000;
    do {
        placed = waiting = 0;
        for (int i = 0; i < 50; i++) {
            char name[32];
            snprintf(name, sizeof(name), "%c%d", i < 30 ? 'p' : 'q', i < 30 ? i : i - 30);
            placed += is_on(&w, name, NULL);
            waiting += condition_is(&w, name, "Unschedulable", "2 Insufficient cpu");
        }
    } while ((placed < 40 || waiting < 10) && time_monotonic_ms() < until);
    ck_assert_int_eq(placed, 40);
    ck_assert_int_eq(waiting, 10);
    end(&w);
}
END_TEST

START_TEST(preempts)
{
    struct world w;
    begin(&w);
    add_node(&w, "n1", "1");
    scheduler_run(w.scheduler);
    add_pod(&w, "low", "1", "\"priority\":1");
    fake_eventually(is_on(&w, "low", "n1"));
    add_pod(&w, "vip", "1", "\"priority\":1000");
    fake_eventually(is_on(&w, "vip", "n1"));
    cleanup_free char *gone = fake_field(w.api, "v1/pods", "default", "low", "metadata.name");
    ck_assert_str_eq(gone, "");
    fake_eventually(has_event(&w, "vip", "FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu."));
    end(&w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("scheduler");
    TCase *t = tcase_create("scheduler");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, binds);
    tcase_add_test(t, not_before_it_leads);
    tcase_add_test(t, unschedulable_then_a_node_comes);
    tcase_add_test(t, room_is_made_by_deletion_and_by_change);
    tcase_add_test(t, leaves_others_alone);
    tcase_add_test(t, failed_bindings_are_tried_again);
    tcase_add_test(t, spreads_replicas_over_hosts);
    tcase_add_test(t, never_overcommits);
    tcase_add_test(t, preempts);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
