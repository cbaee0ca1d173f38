/* The arithmetic of rolling updates, proportional scaling, revisions and progress. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/rollout.h"

static cJSON *parse(const char *text)
{
    struct error *e = NULL;
    cJSON *o = json_parse(text, strlen(text), &e);
    ck_assert_msg(o != NULL, "%s: %s", error_message(e), text);
    return o;
}

static cJSON *deployment(int replicas, const char *surge, const char *unavailable)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"web\",\"generation\":1},\"spec\":{\"replicas\":%d,"
                   "\"strategy\":{\"type\":\"RollingUpdate\","
                   "\"rollingUpdate\":{\"maxSurge\":%s,\"maxUnavailable\":%s}}},\"status\":{}}",
                   replicas, surge, unavailable);
    return parse(text);
}

/* created: seconds within one minute. */
static cJSON *set(const char *name, int replicas, int available, int created)
{
    cleanup_free char *text =
        mem_printf("{\"metadata\":{\"name\":\"%s\",\"creationTimestamp\":\"2026-01-01T00:00:%"
                   "02dZ\"},\"spec\":{\"replicas\":%d},"
                   "\"status\":{\"replicas\":%d,\"readyReplicas\":%d,\"availableReplicas\":%d}}",
                   name, created, replicas, replicas, available, available);
    return parse(text);
}

START_TEST(fenceposts_round_as_kubernetes_does)
{
    static const struct {
        int replicas;
        const char *surge, *unavailable;
        int want_surge, want_unavailable;
    } cases[] = {
        {10, "\"25%\"", "\"25%\"", 3, 2}, {3, "\"25%\"", "\"25%\"", 1, 0},
        {1, "\"25%\"", "\"25%\"", 1, 0},  {4, "0", "0", 0, 1},
        {10, "0", "\"5%\"", 0, 1},        {10, "2", "1", 2, 1},
        {0, "\"25%\"", "\"25%\"", 0, 1},  {5, "\"100%\"", "\"0%\"", 5, 0},
        {7, "\"33%\"", "\"33%\"", 3, 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_json cJSON *d = deployment(cases[i].replicas, cases[i].surge, cases[i].unavailable);
        int64_t s, u;
        rollout_fenceposts(d, &s, &u);
        ck_assert_int_eq(s, cases[i].want_surge);
        ck_assert_int_eq(u, cases[i].want_unavailable);
    }
    cleanup_json cJSON *none = deployment(0, "0", "0");
    ck_assert_int_eq(max_unavailable(none), 0);
    cleanup_json cJSON *many = deployment(3, "0", "10");
    ck_assert_int_eq(max_unavailable(many), 3);
}
END_TEST

START_TEST(new_set_grows_into_the_room_that_surge_leaves)
{
    cleanup_json cJSON *d = deployment(10, "2", "0");
    cleanup_json cJSON *old = set("old", 10, 10, 1), *new_set = set("new", 0, 0, 2);
    cJSON *all[] = {old, new_set};
    ck_assert_int_eq(new_set_replicas(d, all, 2, new_set), 2);
    json_set_int(old, "spec.replicas", 4);
    json_set_int(new_set, "spec.replicas", 7);
    ck_assert_int_eq(new_set_replicas(d, all, 2, new_set), 8);
    json_set_int(old, "spec.replicas", 0);
    ck_assert_int_eq(new_set_replicas(d, all, 2, new_set), 10); /* never more than wanted */
    json_set_int(old, "spec.replicas", 12);
    ck_assert_int_eq(new_set_replicas(d, all, 2, new_set), 7); /* no room: stays */
    json_set_str(d, "spec.strategy.type", "Recreate");
    ck_assert_int_eq(new_set_replicas(d, all, 2, new_set), 10);
}
END_TEST

START_TEST(old_pods_go_only_as_new_ones_become_available)
{
    cleanup_json cJSON *d = deployment(10, "2", "3");
    cleanup_json cJSON *old = set("old", 10, 10, 1), *new_set = set("new", 2, 0, 2);
    cJSON *olds[] = {old};
    ck_assert_int_eq(old_pods_to_remove(d, olds, 1, new_set), 3);
    json_set_int(new_set, "status.availableReplicas", 2);
    ck_assert_int_eq(old_pods_to_remove(d, olds, 1, new_set), 5);
    ck_assert_int_eq(old_pods_to_remove(d, olds, 1, NULL), 3);
    json_set_int(old, "spec.replicas", 0);
    ck_assert_int_eq(old_pods_to_remove(d, olds, 1, new_set), 0);
    /* A broken template: its pods never get available, the old ones stay. */
    json_set_int(old, "spec.replicas", 7);
    json_set_int(new_set, "spec.replicas", 5);
    json_set_int(new_set, "status.availableReplicas", 0);
    ck_assert_int_eq(old_pods_to_remove(d, olds, 1, new_set), 0);
}
END_TEST

static void check_sizes(cJSON *d, cJSON **sets, size_t n, const char *first, const int64_t *want)
{
    int64_t sizes[8];
    proportional_sizes(d, sets, n, sizes);
    ck_assert_str_eq(meta_name(sets[0]), first);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(sizes[i], want[i]);
}

START_TEST(scaling_amid_a_rollout_is_proportional)
{
    /* From Kubernetes' documentation: 10 replicas, surge 3, 8 old + 5 new; scaled to 15: 5 more, 3
     * for the larger, 2 for the other. */
    cleanup_json cJSON *d = deployment(15, "3", "2");
    cleanup_json cJSON *old = set("old", 8, 8, 1), *new_set = set("new", 5, 0, 2);
    set_replicas_annotations(old, 10, 13);
    set_replicas_annotations(new_set, 10, 13);
    cJSON *sets[] = {new_set, old};
    check_sizes(d, sets, 2, "old", (int64_t[]){11, 7});
    /* Down to 5: most 8. */
    json_set_int(d, "spec.replicas", 5);
    check_sizes(d, sets, 2, "old", (int64_t[]){5, 3});
    /* To nothing. */
    json_set_int(d, "spec.replicas", 0);
    check_sizes(d, sets, 2, "old", (int64_t[]){0, 0});
    /* Equal sizes: the newer one gets what rounding leaves. */
    json_set_int(d, "spec.replicas", 6);
    json_set(d, "spec.strategy.rollingUpdate.maxSurge", cJSON_CreateNumber(0));
    json_set_int(old, "spec.replicas", 2);
    json_set_int(new_set, "spec.replicas", 2);
    set_replicas_annotations(old, 4, 4);
    set_replicas_annotations(new_set, 4, 4);
    check_sizes(d, sets, 2, "new", (int64_t[]){3, 3});
    json_set_int(d, "spec.replicas", 5);
    cJSON *again[] = {old, new_set};
    check_sizes(d, again, 2, "new", (int64_t[]){3, 2});
}
END_TEST

START_TEST(revisions_and_their_history)
{
    cleanup_json cJSON *d = deployment(3, "1", "0");
    meta_set_annotation(d, "kubernetes.io/change-cause", "kubectl set image");
    meta_set_annotation(d, "kubectl.kubernetes.io/last-applied-configuration", "{}");
    meta_set_annotation(d, REVISION_ANNOTATION, "7");
    cleanup_json cJSON *s = set("web-1", 0, 0, 1);
    ck_assert(set_new_set_annotations(d, s, 1, false));
    ck_assert_str_eq(meta_annotation(s, REVISION_ANNOTATION), "1");
    ck_assert_str_eq(meta_annotation(s, DESIRED_REPLICAS_ANNOTATION), "3");
    ck_assert_str_eq(meta_annotation(s, MAX_REPLICAS_ANNOTATION), "4");
    ck_assert_str_eq(meta_annotation(s, "kubernetes.io/change-cause"), "kubectl set image");
    ck_assert_ptr_null(meta_annotation(s, "kubectl.kubernetes.io/last-applied-configuration"));
    ck_assert_ptr_null(meta_annotation(s, REVISION_HISTORY_ANNOTATION));
    ck_assert(!set_new_set_annotations(d, s, 1, true));
    ck_assert(set_new_set_annotations(d, s, 3, true));
    ck_assert(set_new_set_annotations(d, s, 5, true));
    ck_assert_str_eq(meta_annotation(s, REVISION_ANNOTATION), "5");
    ck_assert_str_eq(meta_annotation(s, REVISION_HISTORY_ANNOTATION), "1,3");
    ck_assert(!set_new_set_annotations(d, s, 2, true)); /* never backwards */
    ck_assert_str_eq(meta_annotation(s, REVISION_ANNOTATION), "5");
    for (int i = 6; i < 1200; i++)
        set_new_set_annotations(d, s, i, true);
    ck_assert_uint_le(strlen(meta_annotation(s, REVISION_HISTORY_ANNOTATION)), 2000);
    ck_assert_str_eq(strrchr(meta_annotation(s, REVISION_HISTORY_ANNOTATION), ','), ",1198");
}
END_TEST

START_TEST(the_new_set_is_found_by_its_template)
{
    cleanup_json cJSON *d = parse("{\"spec\":{\"template\":{\"metadata\":{\"labels\":{\"app\":"
                                  "\"web\"}},\"spec\":{\"a\":1,\"b\":2}}}}");
    cleanup_json cJSON *older = parse("{\"metadata\":{\"name\":\"x\",\"creationTimestamp\":\"2026-"
                                      "01-01T00:00:01Z\"},\"spec\":{\"template\":"
                                      "{\"metadata\":{\"labels\":{\"pod-template-hash\":\"h\","
                                      "\"app\":\"web\"},\"creationTimestamp\":null},"
                                      "\"spec\":{\"b\":2,\"a\":1}}}}");
    cleanup_json cJSON *newer = json_dup(older);
    json_set_str(newer, "metadata.creationTimestamp", "2026-01-01T00:00:02Z");
    cleanup_json cJSON *other = json_dup(older);
    json_set_int(other, "spec.template.spec.a", 2);
    cJSON *sets[] = {other, newer, older};
    ck_assert_ptr_eq(find_new_set(d, sets, 3), older);
    ck_assert_ptr_null(find_new_set(d, sets, 1));
}
END_TEST

START_TEST(progress_complete_and_timeout)
{
    cleanup_json cJSON *d = deployment(3, "1", "0");
    json_set_int(d, "spec.progressDeadlineSeconds", 60);
    cleanup_json cJSON *done = parse("{\"replicas\":3,\"updatedReplicas\":3,\"availableReplicas\":"
                                     "3,\"readyReplicas\":3,\"observedGeneration\":1}");
    ck_assert(deployment_complete(d, done));
    json_set_int(d, "metadata.generation", 2);
    ck_assert(!deployment_complete(d, done));
    ck_assert(deployment_progressing(d, done));
    json_set(d, "status", json_dup(done));
    ck_assert(!deployment_progressing(d, done));

    deployment_condition_set(done, "Progressing", "True", "ReplicaSetUpdated", "m", NULL);
    int64_t since =
        json_time(condition_find(json_get(done, "conditions"), "Progressing"), "lastUpdateTime", 0);
    ck_assert(!deployment_timed_out(d, done, since + 60));
    ck_assert(deployment_timed_out(d, done, since + 61));
    deployment_condition_set(done, "Progressing", "True", "NewReplicaSetAvailable", "m", NULL);
    ck_assert(!deployment_timed_out(d, done, since + 1000));
    deployment_condition_set(done, "Progressing", "False", "ProgressDeadlineExceeded", "m", NULL);
    ck_assert(deployment_timed_out(d, done, since));
    json_set_int(d, "spec.progressDeadlineSeconds", 2147483647);
    ck_assert(!has_progress_deadline(d));
    ck_assert(!deployment_timed_out(d, done, since + 1000));
}
END_TEST

START_TEST(conditions_move_with_their_status_only)
{
    cleanup_json cJSON *s = cJSON_CreateObject();
    deployment_condition_set(s, "Progressing", "True", "A", "one", "2020-01-01T00:00:00Z");
    deployment_condition_set(s, "Progressing", "True", "A", "two", NULL);
    const cJSON *c = condition_find(json_get(s, "conditions"), "Progressing");
    ck_assert_str_eq(json_str(c, "message"), "one");
    deployment_condition_set(s, "Progressing", "True", "B", "three", NULL);
    c = condition_find(json_get(s, "conditions"), "Progressing");
    ck_assert_str_eq(json_str(c, "lastTransitionTime"), "2020-01-01T00:00:00Z");
    ck_assert_str_ne(json_str(c, "lastUpdateTime"), "2020-01-01T00:00:00Z");
    deployment_condition_set(s, "Progressing", "False", "B", "four", NULL);
    c = condition_find(json_get(s, "conditions"), "Progressing");
    ck_assert_str_ne(json_str(c, "lastTransitionTime"), "2020-01-01T00:00:00Z");
    ck_assert_int_eq(cJSON_GetArraySize(json_get(s, "conditions")), 1);
}
END_TEST

START_TEST(status_counts)
{
    cleanup_json cJSON *d = deployment(4, "1", "1");
    cleanup_json cJSON *old = set("old", 2, 2, 1), *new_set = set("new", 3, 1, 2);
    cJSON *all[] = {old, new_set};
    cleanup_json cJSON *s = deployment_status(d, all, 2, new_set);
    ck_assert_int_eq(json_int(s, "replicas", -1), 5);
    ck_assert_int_eq(json_int(s, "updatedReplicas", -1), 3);
    ck_assert_int_eq(json_int(s, "availableReplicas", -1), 3);
    ck_assert_int_eq(json_int(s, "unavailableReplicas", -1), 2);
    ck_assert_str_eq(json_str(condition_find(json_get(s, "conditions"), "Available"), "reason"),
                     "MinimumReplicasAvailable");
    json_set_int(old, "status.availableReplicas", 1);
    cleanup_json cJSON *fewer = deployment_status(d, all, 2, new_set);
    ck_assert_str_eq(json_str(condition_find(json_get(fewer, "conditions"), "Available"), "status"),
                     "False");
    cleanup_json cJSON *none = deployment_status(d, all, 0, NULL);
    ck_assert_ptr_null(json_get(none, "replicas"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rollout");
    TCase *t = tcase_create("rollout");
    tcase_add_test(t, fenceposts_round_as_kubernetes_does);
    tcase_add_test(t, new_set_grows_into_the_room_that_surge_leaves);
    tcase_add_test(t, old_pods_go_only_as_new_ones_become_available);
    tcase_add_test(t, scaling_amid_a_rollout_is_proportional);
    tcase_add_test(t, revisions_and_their_history);
    tcase_add_test(t, the_new_set_is_found_by_its_template);
    tcase_add_test(t, progress_complete_and_timeout);
    tcase_add_test(t, conditions_move_with_their_status_only);
    tcase_add_test(t, status_counts);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
