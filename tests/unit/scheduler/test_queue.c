#include <check.h>
#include <pthread.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "scheduler/queue.h"

static const struct queue_options fast = {
    .backoff_initial_ms = 40, .backoff_max_ms = 100, .unschedulable_max_ms = 400};

static struct pod_info *pod(const char *name, int priority, const char *spec_more)
{
    cleanup_free char *text = mem_printf(
        "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"x\",\"uid\":\"%s\"},\"spec\":{\"priority\":%d%s}}",
        name, name, priority, spec_more);
    cleanup_object struct kube_object *o = kube_object_new(json_parse(text, strlen(text), NULL));
    return pod_info_new(o);
}

static void add(struct queue *q, const char *name, int priority)
{
    cleanup_pod struct pod_info *p = pod(name, priority, "");
    queue_set(q, p);
}

static struct queued_pod *expect(struct queue *q, const char *name)
{
    struct queued_pod *qp = queue_pop(q);
    ck_assert_ptr_nonnull(qp);
    ck_assert_str_eq(qp->pod->name, name);
    return qp;
}

START_TEST(by_priority_then_age)
{
    struct queue *q = queue_new(&fast);
    add(q, "low", 0);
    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    add(q, "later", 0);
    add(q, "high", 1000);
    queue_done(q, expect(q, "high"));
    queue_done(q, expect(q, "low"));
    queue_done(q, expect(q, "later"));
    ck_assert_int_eq(queue_count(q).active, 0);
    queue_close(q);
    ck_assert_ptr_null(queue_pop(q));
    queue_free(q);
}
END_TEST

START_TEST(unschedulable_waits_for_its_event)
{
    struct queue *q = queue_new(&fast);
    add(q, "a", 0);
    int64_t start = time_monotonic_ms();
    queue_retry(q, expect(q, "a"), EVENT_NODE_ADD | EVENT_POD_DELETE);
    ck_assert_int_eq(queue_count(q).unschedulable, 1);
    queue_event(q, EVENT_NODE_LABEL);
    ck_assert_int_eq(queue_count(q).unschedulable, 1);
    queue_event(q, EVENT_POD_DELETE);
    ck_assert_int_eq(queue_count(q).unschedulable, 0);
    ck_assert_int_eq(queue_count(q).backoff, 1);
    /* Nothing else to do: taken before its back-off ends. */
    struct queued_pod *qp = expect(q, "a");
    ck_assert_int_eq(qp->attempts, 2);
    ck_assert_int_lt(time_monotonic_ms() - start, 40);
    queue_done(q, qp);
    queue_free(q);
}
END_TEST

START_TEST(event_while_in_flight_counts)
{
    struct queue *q = queue_new(&fast);
    add(q, "a", 0);
    struct queued_pod *qp = expect(q, "a");
    queue_event(q, EVENT_NODE_ADD);
    queue_retry(q, qp, EVENT_NODE_ADD);
    ck_assert_int_eq(queue_count(q).unschedulable, 0);
    qp = expect(q, "a");
    queue_event(q, EVENT_NODE_LABEL); /* not one that helps */
    queue_retry(q, qp, EVENT_NODE_ADD);
    ck_assert_int_eq(queue_count(q).unschedulable, 1);
    queue_free(q);
}
END_TEST

START_TEST(errors_back_off)
{
    struct queue *q = queue_new(&fast);
    add(q, "a", 0);
    static const int least[] = {40, 80, 100};
    for (int i = 0; i < 3; i++) {
        struct queued_pod *qp = expect(q, "a");
        int64_t start = time_monotonic_ms();
        queue_retry(q, qp, 0);
        qp = expect(q, "a");
        int64_t took = time_monotonic_ms() - start;
        ck_assert_int_ge(took, least[i] - 1);
        ck_assert_int_lt(took, 2000);
        queue_retry(q, qp, EVENT_NODE_ADD);
        queue_event(q, EVENT_NODE_ADD);
        if (i == 0) {
            /* attempts: 1, 2 -> the next error waits 2^2 times */
            qp = expect(q, "a");
            ck_assert_int_eq(qp->attempts, 3);
            queue_done(q, qp);
            add(q, "a", 0);
            queue_retry(q, expect(q, "a"), EVENT_NODE_ADD);
            queue_event(q, EVENT_NODE_ADD);
        }
    }
    queue_free(q);
}
END_TEST

START_TEST(flushed_after_a_while)
{
    struct queue *q = queue_new(&fast);
    add(q, "a", 0);
    int64_t start = time_monotonic_ms();
    queue_retry(q, expect(q, "a"), EVENT_NODE_ADD);
    struct queued_pod *qp = expect(q, "a");
    ck_assert_int_ge(time_monotonic_ms() - start, 399);
    queue_done(q, qp);
    queue_free(q);
}
END_TEST

START_TEST(updates)
{
    struct queue *q = queue_new(&fast);
    add(q, "a", 0);
    queue_retry(q, expect(q, "a"), EVENT_NODE_ADD);
    /* The same spec again (a status that we wrote ourselves): stays. */
    add(q, "a", 0);
    ck_assert_int_eq(queue_count(q).unschedulable, 1);
    /* A new toleration could help. */
    cleanup_pod struct pod_info *changed = pod("a", 0, ",\"tolerations\":[{\"operator\":\"Exists\"}]");
    queue_set(q, changed);
    struct queued_pod *qp = expect(q, "a");
    ck_assert_ptr_eq(qp->pod, changed);
    /* A change while in flight. */
    cleanup_pod struct pod_info *again = pod("a", 0, ",\"nodeSelector\":{}");
    queue_set(q, again);
    ck_assert_ptr_eq(qp->pod, changed);
    queue_retry(q, qp, EVENT_NODE_ADD);
    qp = expect(q, "a");
    ck_assert_ptr_eq(qp->pod, again);
    /* Removed while in flight. */
    queue_remove(q, "a");
    queue_retry(q, qp, EVENT_NODE_ADD);
    struct queue_counts c = queue_count(q);
    ck_assert_int_eq(c.active + c.backoff + c.unschedulable, 0);
    add(q, "b", 0);
    queue_remove(q, "b");
    queue_remove(q, "never-seen");
    ck_assert_int_eq(queue_count(q).active, 0);
    queue_free(q);
}
END_TEST

START_TEST(gates)
{
    struct queue *q = queue_new(&fast);
    cleanup_pod struct pod_info *gated = pod("a", 0, ",\"schedulingGates\":[{\"name\":\"x\"}]");
    queue_set(q, gated);
    ck_assert_int_eq(queue_count(q).gated, 1);
    ck_assert_int_eq(queue_count(q).active, 0);
    queue_event(q, EVENT_ALL);
    ck_assert_int_eq(queue_count(q).gated, 1);
    add(q, "a", 0);
    queue_done(q, expect(q, "a"));
    queue_free(q);
}
END_TEST

static void *pop_late(void *arg)
{
    return queue_pop(arg);
}

START_TEST(pop_wakes)
{
    struct queue *q = queue_new(&fast);
    pthread_t t;
    void *got;
    pthread_create(&t, NULL, pop_late, q);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    add(q, "a", 0);
    pthread_join(t, &got);
    ck_assert_str_eq(((struct queued_pod *)got)->pod->name, "a");
    queue_done(q, got);
    pthread_create(&t, NULL, pop_late, q);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    queue_close(q);
    pthread_join(t, &got);
    ck_assert_ptr_null(got);
    queue_free(q);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("queue");
    TCase *t = tcase_create("queue");
    tcase_add_test(t, by_priority_then_age);
    tcase_add_test(t, unschedulable_waits_for_its_event);
    tcase_add_test(t, event_while_in_flight_counts);
    tcase_add_test(t, errors_back_off);
    tcase_add_test(t, flushed_after_a_while);
    tcase_add_test(t, updates);
    tcase_add_test(t, gates);
    tcase_add_test(t, pop_wakes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
