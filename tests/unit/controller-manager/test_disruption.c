/* The disruption controller against an API in this process. */
#include <check.h>
#include "tests/unit/controller-manager/cluster.h"

#define POD(name, owner, ready)                                                                    \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"x\",\"labels\":{\"app\":\"a\"}" owner    \
    "},\"status\":{\"phase\":\"Running\",\"conditions\":[{\"type\":\"Ready\",\"status\":\"" ready  \
    "\"}]}}"
#define OWNED                                                                                      \
    ",\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"set\","  \
    "\"uid\":\"uid-1\",\"controller\":true}]"
#define SET(more)                                                                                  \
    "{\"metadata\":{\"name\":\"set\",\"namespace\":\"x\",\"uid\":\"uid-1\"" more                   \
    "},\"spec\":{\"replicas\":2}}"
#define BUDGET(spec, status)                                                                       \
    "{\"metadata\":{\"name\":\"b\",\"namespace\":\"x\",\"generation\":3},\"spec\":{\"selector\":{" \
    "\"matchLabels\":{\"app\":\"a\"}}," spec "},\"status\":{" status "}}"

static bool status_is(struct cluster *c, const char *member, const char *want)
{
    cleanup_free char *path = mem_printf("status.%s", member);
    cleanup_free char *have = fake_field(c->api, "policy/v1/poddisruptionbudgets", "x", "b", path);
    return strcmp(have, want) == 0;
}

static bool reason_is(struct cluster *c, const char *reason)
{
    cleanup_free char *text =
        fake_field(c->api, "policy/v1/poddisruptionbudgets", "x", "b", "status.conditions");
    cleanup_json cJSON *conditions = json_parse(text, strlen(text), NULL);
    return !strcmp(json_str_or(condition_find(conditions, "DisruptionAllowed"), "reason", ""),
                   reason);
}

/* The set comes first: the API gives it uid-1. */
static struct cluster *begin(const char *budget)
{
    struct cluster *c = cluster_new();
    cluster_add(c, "apps/v1/replicasets", SET(""));
    cluster_add(c, "v1/pods", POD("p1", OWNED, "True"));
    cluster_add(c, "v1/pods", POD("p2", OWNED, "True"));
    cluster_add(c, "v1/pods", POD("p3", OWNED, "False"));
    cluster_add(c, "policy/v1/poddisruptionbudgets", budget);
    cluster_start(c, "disruption-controller", NULL);
    return c;
}

START_TEST(min_available)
{
    struct cluster *c = begin(BUDGET("\"minAvailable\":1", ""));
    fake_eventually(status_is(c, "disruptionsAllowed", "1"));
    ck_assert(status_is(c, "expectedPods", "3"));
    ck_assert(status_is(c, "currentHealthy", "2"));
    ck_assert(status_is(c, "desiredHealthy", "1"));
    ck_assert(status_is(c, "observedGeneration", "3"));
    ck_assert(reason_is(c, "SufficientPods"));
    cluster_free(c);
}
END_TEST

/* A percentage is one of what the owner wants, rounded up. */
START_TEST(percentages_of_the_owners_scale)
{
    struct cluster *c = begin(BUDGET("\"maxUnavailable\":\"30%\"", ""));
    fake_eventually(status_is(c, "expectedPods", "2"));
    ck_assert(status_is(c, "desiredHealthy", "1"));
    ck_assert(status_is(c, "disruptionsAllowed", "1"));
    cluster_free(c);
}
END_TEST

/* An evicted pod counts as gone until it is, or until two minutes have passed. */
START_TEST(evicted_pods)
{
    char now[TIME_TEXT_MAX], old[TIME_TEXT_MAX];
    cleanup_free char *status = mem_printf(
        "\"disruptedPods\":{\"p1\":\"%s\",\"p2\":\"%s\",\"gone\":\"%s\"}",
        time_format(time_now_seconds(), now), time_format(time_now_seconds() - 300, old), now);
    cleanup_free char *budget =
        mem_printf("{\"metadata\":{\"name\":\"b\",\"namespace\":\"x\",\"generation\":1},\"spec\":{"
                   "\"selector\":{"
                   "\"matchLabels\":{\"app\":\"a\"}},\"minAvailable\":1},\"status\":{%s}}",
                   status);
    struct cluster *c = begin(budget);
    fake_eventually(status_is(c, "currentHealthy", "1"));
    ck_assert(status_is(c, "disruptionsAllowed", "0"));
    ck_assert(reason_is(c, "InsufficientPods"));
    cleanup_free char *want = mem_printf("{\"p1\":\"%s\"}", now);
    ck_assert(status_is(c, "disruptedPods", want));
    cluster_free(c);
}
END_TEST

/* Nothing may go while nobody knows how many there should be. */
START_TEST(unknown_owner)
{
    struct cluster *c = begin(BUDGET("\"maxUnavailable\":1", "\"disruptionsAllowed\":1"));
    fake_eventually(status_is(c, "disruptionsAllowed", "1"));
    cluster_add(c, "v1/pods",
                POD("stray",
                    ",\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\","
                    "\"name\":\"other\",\"uid\":\"u-other\",\"controller\":true}]",
                    "True"));
    fake_eventually(status_is(c, "disruptionsAllowed", "0"));
    ck_assert(reason_is(c, "SyncFailed"));
    cluster_free(c);
}
END_TEST

static bool was_taken_back(struct cluster *c)
{
    cleanup_free char *text = fake_field(c->api, "v1/pods", "x", "p", "status.conditions");
    cleanup_json cJSON *conditions = json_parse(text, strlen(text), NULL);
    const cJSON *target = condition_find(conditions, "DisruptionTarget");
    return !strcmp(json_str_or(target, "status", ""), "False") && !json_get(target, "reason");
}

START_TEST(a_disruption_that_never_came)
{
    struct cluster *c = cluster_new();
    cluster_add(
        c, "v1/pods",
        "{\"metadata\":{\"name\":\"p\",\"namespace\":\"x\"},\"status\":{\"phase\":\"Running\","
        "\"conditions\":[{\"type\":\"DisruptionTarget\",\"status\":\"True\",\"reason\":\"r\","
        "\"lastTransitionTime\":\"2026-01-01T00:00:00Z\"}]}}");
    cluster_start(c, "disruption-controller", NULL);
    fake_eventually(was_taken_back(c));
    cluster_free(c);
}
END_TEST

extern int log_verbosity;
int main(void)
{
    Suite *s = suite_create("disruption");
    TCase *t = tcase_create("disruption");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, min_available);
    tcase_add_test(t, percentages_of_the_owners_scale);
    tcase_add_test(t, evicted_pods);
    tcase_add_test(t, unknown_owner);
    tcase_add_test(t, a_disruption_that_never_came);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
