#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/mem.h"
#include "common/timefmt.h"
#include "common/workqueue.h"

#define EXPECT(q, want)                                                                                      \
    do {                                                                                                     \
        cleanup_free char *k_ = workqueue_get(q);                                                            \
        ck_assert_ptr_nonnull(k_);                                                                           \
        ck_assert_str_eq(k_, want);                                                                          \
    } while (0)

START_TEST(order_and_uniqueness)
{
    struct workqueue *q = workqueue_new("t", 5, 1000);
    workqueue_add(q, "a");
    workqueue_add(q, "b");
    workqueue_add(q, "a");
    ck_assert_int_eq(workqueue_depth(q), 2);
    EXPECT(q, "a");
    workqueue_add(q, "a"); /* while worked on: not given out now */
    workqueue_add(q, "a");
    EXPECT(q, "b");
    ck_assert_int_eq(workqueue_depth(q), 0);
    workqueue_done(q, "a");
    ck_assert_int_eq(workqueue_depth(q), 1);
    EXPECT(q, "a");
    workqueue_done(q, "a");
    workqueue_done(q, "b");
    ck_assert_int_eq(workqueue_depth(q), 0);
    workqueue_shut_down(q);
    ck_assert_ptr_null(workqueue_get(q));
    workqueue_free(q);
}
END_TEST

START_TEST(delays)
{
    struct workqueue *q = workqueue_new("t", 5, 1000);
    int64_t start = time_monotonic_ms();
    workqueue_add_after(q, "late", 120);
    workqueue_add_after(q, "soon", 30);
    workqueue_add_after(q, "late", 60); /* earlier wins */
    workqueue_add_after(q, "late", 5000);
    workqueue_add_after(q, "now", 0);
    EXPECT(q, "now");
    EXPECT(q, "soon");
    ck_assert_int_ge(time_monotonic_ms() - start, 30);
    EXPECT(q, "late");
    int64_t took = time_monotonic_ms() - start;
    ck_assert_int_ge(took, 60);
    ck_assert_int_lt(took, 2000);
    workqueue_free(q);
}
END_TEST

START_TEST(back_off)
{
    struct workqueue *q = workqueue_new("t", 20, 50);
    static const int least[] = {20, 40, 50, 50};
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(workqueue_retries(q, "k"), i);
        int64_t start = time_monotonic_ms();
        workqueue_add_rate_limited(q, "k");
        EXPECT(q, "k");
        workqueue_done(q, "k");
        int64_t took = time_monotonic_ms() - start;
        ck_assert_int_ge(took, least[i]);
    }
    workqueue_forget(q, "k");
    ck_assert_int_eq(workqueue_retries(q, "k"), 0);
    workqueue_free(q);
}
END_TEST

/* Many producers and consumers: each key is worked on by one at a time, and its last change is seen. */
#define KEYS 50
struct shared {
    struct workqueue *q;
    atomic_int changed[KEYS], seen[KEYS], working[KEYS];
    atomic_int overlaps, processed;
};

static void *produce(void *arg)
{
    struct shared *s = arg;
    for (int i = 0; i < 4000; i++) {
        int k = rand() % KEYS;
        char key[16];
        snprintf(key, sizeof(key), "%d", k);
        atomic_fetch_add(&s->changed[k], 1);
        if (i % 10)
            workqueue_add(s->q, key);
        else
            workqueue_add_after(s->q, key, i % 3);
    }
    return NULL;
}

static void *consume(void *arg)
{
    struct shared *s = arg;
    char *key;
    while ((key = workqueue_get(s->q))) {
        int k = atoi(key);
        if (atomic_fetch_add(&s->working[k], 1))
            atomic_fetch_add(&s->overlaps, 1);
        atomic_store(&s->seen[k], atomic_load(&s->changed[k]));
        atomic_fetch_add(&s->processed, 1);
        atomic_fetch_sub(&s->working[k], 1);
        workqueue_done(s->q, key);
        free(key);
    }
    return NULL;
}

START_TEST(concurrency)
{
    struct shared *s = mem_alloc(sizeof(*s));
    s->q = workqueue_new("t", 5, 1000);
    pthread_t producers[4], consumers[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&consumers[i], NULL, consume, s);
        pthread_create(&producers[i], NULL, produce, s);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(producers[i], NULL);
    int64_t until = time_monotonic_ms() + 5000;
    for (;;) {
        bool all = workqueue_depth(s->q) == 0;
        for (int k = 0; k < KEYS; k++)
            all = all && atomic_load(&s->seen[k]) == atomic_load(&s->changed[k]);
        if (all || time_monotonic_ms() > until)
            break;
        usleep(1000);
    }
    workqueue_shut_down(s->q);
    for (int i = 0; i < 4; i++)
        pthread_join(consumers[i], NULL);
    ck_assert_int_eq(atomic_load(&s->overlaps), 0);
    for (int k = 0; k < KEYS; k++)
        ck_assert_int_eq(atomic_load(&s->seen[k]), atomic_load(&s->changed[k]));
    workqueue_free(s->q);
    free(s);
}
END_TEST

START_TEST(shutdown_drains)
{
    struct workqueue *q = workqueue_new("t", 5, 1000);
    workqueue_add(q, "a");
    workqueue_add_after(q, "never", 100000);
    workqueue_shut_down(q);
    workqueue_add(q, "too-late");
    EXPECT(q, "a");
    ck_assert_ptr_null(workqueue_get(q));
    workqueue_free(q);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("workqueue");
    TCase *t = tcase_create("workqueue");
    tcase_set_timeout(t, 30);
    tcase_add_test(t, order_and_uniqueness);
    tcase_add_test(t, delays);
    tcase_add_test(t, back_off);
    tcase_add_test(t, concurrency);
    tcase_add_test(t, shutdown_drains);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
