#include <check.h>
#include "common/leader_election.h"
#include "tests/unit/common/fake_api.h"

#define LEASES "coordination.k8s.io/v1/leases"

struct candidate {
    struct leader_election *election;
    atomic_int started, lost;
};

static void on_started(void *userdata)
{
    atomic_fetch_add(&((struct candidate *)userdata)->started, 1);
}

static void on_lost(void *userdata)
{
    atomic_fetch_add(&((struct candidate *)userdata)->lost, 1);
}

static void stand(struct candidate *k, struct kube_client *c, const char *identity)
{
    struct leader_election_options o = {.client = c,
                                        .ns = "kube-system",
                                        .name = "kube-test",
                                        .identity = identity,
                                        .lease_duration_ms = 1000,
                                        .renew_deadline_ms = 600,
                                        .retry_period_ms = 50};
    *k = (struct candidate){0};
    k->election = leader_election_start(&o, on_started, on_lost, k);
}

static bool field_is(struct fake_api *a, const char *path, const char *value)
{
    cleanup_free char *got = fake_field(a, LEASES, "kube-system", "kube-test", path);
    return !strcmp(got, value);
}

START_TEST(one_leads_and_hands_over)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct candidate one, two;
    stand(&one, c, "one");
    fake_eventually(atomic_load(&one.started) == 1);
    ck_assert(leader_election_is_leader(one.election));
    ck_assert(field_is(a, "spec.holderIdentity", "one"));
    ck_assert(field_is(a, "spec.leaseTransitions", "0"));
    ck_assert(field_is(a, "spec.leaseDurationSeconds", "1"));
    cleanup_free char *renewed = fake_field(a, LEASES, "kube-system", "kube-test", "spec.renewTime");
    ck_assert_uint_eq(strlen(renewed), strlen("2026-11-24T10:26:08.123456Z"));
    cleanup_free char *acquired = fake_field(a, LEASES, "kube-system", "kube-test", "spec.acquireTime");
    fake_eventually(!field_is(a, "spec.renewTime", renewed));
    ck_assert(field_is(a, "spec.acquireTime", acquired));
    stand(&two, c, "two");
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 300000000}, NULL);
    ck_assert_int_eq(atomic_load(&two.started), 0);
    int64_t start = time_monotonic_ms();
    leader_election_release(one.election);
    fake_eventually(atomic_load(&two.started) == 1);
    ck_assert_int_lt(time_monotonic_ms() - start, 900); /* not waiting for the lease to run out */
    ck_assert(field_is(a, "spec.holderIdentity", "two"));
    ck_assert(field_is(a, "spec.leaseTransitions", "1"));
    ck_assert_int_eq(atomic_load(&one.lost), 0);
    leader_election_release(two.election);
    ck_assert(field_is(a, "spec.holderIdentity", ""));
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(dead_leader_is_replaced)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    /* Its clock is far ahead: only what we see counts. */
    fake_add(
        a, LEASES,
        "{\"metadata\":{\"name\":\"kube-test\",\"namespace\":\"kube-system\"},\"spec\":{\"holderIdentity\":"
        "\"dead\","
        "\"leaseDurationSeconds\":1,\"renewTime\":\"2099-01-01T00:00:00.000000Z\",\"leaseTransitions\":4}}");
    struct candidate one;
    int64_t start = time_monotonic_ms();
    stand(&one, c, "one");
    fake_eventually(atomic_load(&one.started) == 1);
    ck_assert_int_ge(time_monotonic_ms() - start, 1000);
    ck_assert(field_is(a, "spec.leaseTransitions", "5"));
    leader_election_release(one.election);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(lost_when_it_cannot_renew)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct candidate one;
    stand(&one, c, "one");
    fake_eventually(atomic_load(&one.started) == 1);
    int64_t start = time_monotonic_ms();
    pthread_mutex_lock(&a->lock);
    a->refuse_writes = true;
    pthread_mutex_unlock(&a->lock);
    fake_eventually(atomic_load(&one.lost) == 1);
    int64_t took = time_monotonic_ms() - start;
    ck_assert_int_ge(took, 400);
    ck_assert_int_lt(took, 1000); /* before another may take over */
    ck_assert(!leader_election_is_leader(one.election));
    leader_election_release(one.election);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(a_hanging_server_does_not_prolong_it)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct candidate one;
    stand(&one, c, "one");
    fake_eventually(atomic_load(&one.started) == 1);
    pthread_mutex_lock(&a->lock);
    a->hold_next_write = true;
    a->refuse_writes = true;
    pthread_mutex_unlock(&a->lock);
    int64_t start = time_monotonic_ms();
    fake_eventually(atomic_load(&one.lost) == 1);
    ck_assert_int_lt(time_monotonic_ms() - start, 1000);
    leader_election_release(one.election);
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(short_trouble_is_survived)
{
    struct fake_api *a = fake_api_new();
    struct kube_client *c = fake_client(a);
    struct candidate one;
    stand(&one, c, "one");
    fake_eventually(atomic_load(&one.started) == 1);
    pthread_mutex_lock(&a->lock);
    a->fail_requests = 3;
    a->fail_code = 503;
    pthread_mutex_unlock(&a->lock);
    fake_eventually(fake_counter(a, &a->fail_requests) == 0);
    /* Somebody touched the lease, but it is still ours. */
    fake_change(a, LEASES, "kube-system", "kube-test", "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    cleanup_free char *renewed = fake_field(a, LEASES, "kube-system", "kube-test", "spec.renewTime");
    fake_eventually(!field_is(a, "spec.renewTime", renewed));
    ck_assert_int_eq(atomic_load(&one.lost), 0);
    ck_assert(field_is(a, "metadata.labels.a", "b"));
    /* Somebody else took it: we are no longer leader. */
    fake_change(a, LEASES, "kube-system", "kube-test", "{\"spec\":{\"holderIdentity\":\"usurper\"}}");
    fake_eventually(atomic_load(&one.lost) == 1);
    leader_election_release(one.election);
    ck_assert(field_is(a, "spec.holderIdentity", "usurper"));
    kube_client_free(c);
    fake_api_free(a);
}
END_TEST

START_TEST(identity)
{
    cleanup_free char *a = leader_election_identity(), *b = leader_election_identity();
    ck_assert_str_ne(a, b);
    ck_assert_ptr_nonnull(strchr(a, '_'));
    ck_assert_uint_eq(strlen(strrchr(a, '_') + 1), 36);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("leader_election");
    TCase *t = tcase_create("leader_election");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, one_leads_and_hands_over);
    tcase_add_test(t, dead_leader_is_replaced);
    tcase_add_test(t, lost_when_it_cannot_renew);
    tcase_add_test(t, a_hanging_server_does_not_prolong_it);
    tcase_add_test(t, short_trouble_is_survived);
    tcase_add_test(t, identity);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
