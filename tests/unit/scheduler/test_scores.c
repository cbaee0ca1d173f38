#include "tests/unit/scheduler/cluster.h"

/* Scores that one plugin gives to all nodes, in the order of their names n1, n2, ... */
static void scores_of(struct cluster *c, const struct plugin *p, const char *meta, const char *spec,
                      int64_t *out)
{
    cleanup_pod struct pod_info *pod = make_pod("incoming", meta, spec);
    struct reasons reasons = {0};
    struct cycle cycle;
    struct node_info *nodes[8];
    size_t count = c->cache.node_count;
    for (size_t i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%zu", i + 1);
        nodes[i] = cache_node(&c->cache, name);
        ck_assert_ptr_nonnull(nodes[i]);
        out[i] = 0;
    }
    cycle_begin(&cycle, pod, &c->cache, NULL, &reasons);
    cycle_pre_filter(&cycle);
    cycle.nodes = nodes;
    cycle.node_count = count;
    if (!p->pre_score || p->pre_score(&cycle))
        p->score(&cycle, out);
    else
        out[0] = -1;
    cycle_end(&cycle);
    reasons_clear(&reasons);
}

#define ASK(requests) "\"containers\":[{\"image\":\"app:1\",\"resources\":{\"requests\":{" requests "}}}]"
#define LABEL_WEB     "\"labels\":{\"app\":\"web\"}"

START_TEST(least_allocated)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_node(&c, "n2", "", "");
    add_pod(&c, "n1", "a", "", ASK("\"cpu\":\"2\",\"memory\":\"2Gi\""));
    scores_of(&c, &plugin_node_resources_fit, "", ASK("\"cpu\":\"1\",\"memory\":\"2Gi\""), s);
    ck_assert_int_eq(s[0], (25 + 50) / 2);
    ck_assert_int_eq(s[1], 75);
    /* Pods that ask for nothing count a little. */
    scores_of(&c, &plugin_node_resources_fit, "", "\"containers\":[{}]", s);
    ck_assert_int_eq(s[1], (97 + 97) / 2);
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1\""), "n2");
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(balanced)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_node(&c, "n2", "", "");
    add_pod(&c, "n1", "a", "", ASK("\"cpu\":\"2\""));
    scores_of(&c, &plugin_balanced_allocation, "", ASK("\"memory\":\"4Gi\""), s);
    ck_assert_int_eq(s[0], 100);
    ck_assert_int_eq(s[1], 75);
    scores_of(&c, &plugin_balanced_allocation, "", "\"containers\":[{}]", s);
    ck_assert_int_eq(s[0], -1); /* nothing to say */
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(prefer_no_schedule)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "",
             "\"spec\":{\"taints\":[{\"key\":\"a\",\"effect\":\"PreferNoSchedule\"},{\"key\":\"b\","
             "\"effect\":\"PreferNoSchedule\"}]}");
    add_node(&c, "n2", "", "\"spec\":{\"taints\":[{\"key\":\"a\",\"effect\":\"PreferNoSchedule\"}]}");
    add_node(&c, "n3", "", "");
    scores_of(&c, &plugin_taint_toleration, "", "", s);
    ck_assert_int_eq(s[0], 0);
    ck_assert_int_eq(s[1], 50);
    ck_assert_int_eq(s[2], 100);
    EXPECT_PLACE(&c, "", "", "n3");
    scores_of(&c, &plugin_taint_toleration, "", "\"tolerations\":[{\"operator\":\"Exists\"}]", s);
    ck_assert_int_eq(s[0], 100);
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(preferred_node_affinity)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "\"disk\":\"hdd\"", "");
    add_node(&c, "n2", "\"disk\":\"ssd\"", "");
    add_node(&c, "n3", "\"disk\":\"ssd\",\"fast\":\"yes\"", "");
    const char *spec = "\"affinity\":{\"nodeAffinity\":{\"preferredDuringSchedulingIgnoredDuringExecution\":["
                       "{\"weight\":30,\"preference\":{\"matchExpressions\":[{\"key\":\"disk\",\"operator\":"
                       "\"In\",\"values\":[\"ssd\"]}]}},"
                       "{\"weight\":30,\"preference\":{\"matchExpressions\":[{\"key\":\"fast\",\"operator\":"
                       "\"Exists\"}]}}]}}";
    scores_of(&c, &plugin_node_affinity, "", spec, s);
    ck_assert_int_eq(s[0], 0);
    ck_assert_int_eq(s[1], 50);
    ck_assert_int_eq(s[2], 100);
    EXPECT_PLACE(&c, "", spec, "n3");
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(soft_spread)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "\"zone\":\"a\"", "");
    add_node(&c, "n2", "\"zone\":\"b\"", "");
    add_node(&c, "n3", "", "");
    add_pod(&c, "n1", "w1", LABEL_WEB, "");
    add_pod(&c, "n1", "w2", LABEL_WEB, "");
    add_pod(&c, "n2", "w3", LABEL_WEB, "");
    const char *spec = "\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"zone\","
                       "\"whenUnsatisfiable\":\"ScheduleAnyway\","
                       "\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}}}]";
    scores_of(&c, &plugin_pod_topology_spread, LABEL_WEB, spec, s);
    /* log(2 + 2) = 1.39 for each pod: raw 3 and 1. */
    ck_assert_int_eq(s[0], 100 * (3 + 1 - 3) / 3);
    ck_assert_int_eq(s[1], 100);
    ck_assert_int_eq(s[2], 0); /* has no zone */
    scores_of(&c, &plugin_pod_topology_spread, LABEL_WEB, "", s);
    ck_assert_int_eq(s[0], -1); /* nobody owns the pod, no Service selects it */
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(preferred_pod_affinity)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "\"zone\":\"a\"", "");
    add_node(&c, "n2", "\"zone\":\"b\"", "");
    add_node(&c, "n3", "\"zone\":\"b\"", "");
    add_pod(&c, "n2", "w1", LABEL_WEB, "");
#define PREFERRED(kind)                                                                                      \
    "\"affinity\":{\"" kind                                                                                  \
    "\":{\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":10,\"podAffinityTerm\":{"          \
    "\"topologyKey\":\"zone\",\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}}}}]}}"
    scores_of(&c, &plugin_inter_pod_affinity, "", PREFERRED("podAffinity"), s);
    ck_assert_int_eq(s[0], 0);
    ck_assert_int_eq(s[1], 100);
    ck_assert_int_eq(s[2], 100);
    scores_of(&c, &plugin_inter_pod_affinity, "", PREFERRED("podAntiAffinity"), s);
    ck_assert_int_eq(s[0], 100);
    ck_assert_int_eq(s[1], 0);
    scores_of(&c, &plugin_inter_pod_affinity, "", "", s);
    ck_assert_int_eq(s[0], -1);
    /* The wishes of pods that run already count too. */
    add_pod(&c, "n1", "fan", "", PREFERRED("podAffinity"));
    scores_of(&c, &plugin_inter_pod_affinity, LABEL_WEB, "", s);
    ck_assert_int_eq(s[0], 100);
    ck_assert_int_eq(s[1], 0);
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(image_locality)
{
    struct cluster c;
    int64_t s[8];
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    cleanup_object struct kube_object *o =
        kube_object_new(parse_json("{\"metadata\":{\"name\":\"n2\"},\"status\":{\"images\":[{\"names\":["
                                   "\"app:1\"],\"sizeBytes\":1048576000}]}}"));
    cache_set_node(&c.cache, o);
    scores_of(&c, &plugin_image_locality, "", ASK(""), s);
    ck_assert_int_eq(s[0], 0);
    ck_assert_int_eq(s[1], (int64_t)(100.0 * (500 - 23) / (1000 - 23)));
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(ties_are_broken_by_chance)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_node(&c, "n2", "", "");
    int first = 0;
    for (int i = 0; i < 200; i++) {
        cleanup_free char *got = place_of(&c, "", "");
        first += !strcmp(got, "n1");
    }
    ck_assert_int_gt(first, 50);
    ck_assert_int_lt(first, 150);
    cache_destroy(&c.cache);
}
END_TEST

/* --- preemption --- */

static void preempting(struct cluster *c, const char *spec, struct outcome *o)
{
    cleanup_pod struct pod_info *p = make_pod("vip", "", spec);
    schedule_pod(p, &c->cache, NULL, &c->seed, o);
    ck_assert_ptr_null(o->node);
}

START_TEST(preemption_picks_the_least_harm)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_node(&c, "n2", "", "");
    add_pod(&c, "n1", "mid", "", "\"priority\":50," ASK("\"cpu\":\"4\""));
    add_pod(&c, "n2", "low-a", "", "\"priority\":10," ASK("\"cpu\":\"2\""));
    add_pod(&c, "n2", "low-b", "", "\"priority\":20," ASK("\"cpu\":\"2\""));
    struct outcome o;
    preempting(&c, "\"priority\":100," ASK("\"cpu\":\"2\""), &o);
    ck_assert_str_eq(o.message, "0/2 nodes are available: 2 Insufficient cpu.");
    ck_assert_str_eq(o.nominated, "n2");
    ck_assert_uint_eq(o.victim_count, 1);
    ck_assert_str_eq(o.victims[0]->name, "low-a");
    outcome_clear(&o);
    /* Nothing was really moved. */
    ck_assert_int_eq(cache_node(&c.cache, "n2")->requested.cpu, 4000);
    ck_assert_uint_eq(cache_node(&c.cache, "n2")->pod_count, 2);
    /* Both must go when more is wanted. */
    preempting(&c, "\"priority\":30," ASK("\"cpu\":\"4\""), &o);
    ck_assert_str_eq(o.nominated, "n2");
    ck_assert_uint_eq(o.victim_count, 2);
    outcome_clear(&o);
    /* Nobody is less important. */
    preempting(&c, "\"priority\":10," ASK("\"cpu\":\"4\""), &o);
    ck_assert_ptr_null(o.nominated);
    ck_assert_str_eq(
        o.message,
        "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No preemption "
        "victims found for incoming pod.");
    outcome_clear(&o);
    preempting(&c, "\"priority\":100,\"preemptionPolicy\":\"Never\"," ASK("\"cpu\":\"4\""), &o);
    ck_assert_str_eq(o.message, "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible due "
                                "to preemptionPolicy=Never.");
    outcome_clear(&o);
    /* Removing the less important is not enough. */
    add_pod(&c, "n2", "high", "", "\"priority\":900," ASK("\"example.com/gpu\":\"2\""));
    add_pod(&c, "n1", "high1", "", "\"priority\":900," ASK("\"example.com/gpu\":\"2\""));
    preempting(&c, "\"priority\":100," ASK("\"example.com/gpu\":\"1\""), &o);
    ck_assert_str_eq(
        o.message,
        "0/2 nodes are available: 2 Insufficient example.com/gpu. preemption: 0/2 nodes are available: 2 "
        "Insufficient example.com/gpu.");
    outcome_clear(&o);
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(nominated_pods_keep_their_room)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    cleanup_pod struct pod_info *vip = make_pod("vip", "", "\"priority\":100," ASK("\"cpu\":\"3\""));
    cache_nominate(&c.cache, vip, "n1");
    EXPECT_PLACE(&c, "", "\"priority\":10," ASK("\"cpu\":\"2\""),
                 "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No "
                 "preemption victims found for "
                 "incoming pod.");
    EXPECT_PLACE(&c, "", "\"priority\":10," ASK("\"cpu\":\"1\""), "n1");
    EXPECT_PLACE(&c, "", "\"priority\":200," ASK("\"cpu\":\"4\""), "n1"); /* more important: may overtake */
    cache_nominate(&c.cache, vip, NULL);
    EXPECT_PLACE(&c, "", "\"priority\":10," ASK("\"cpu\":\"2\""), "n1");
    cache_destroy(&c.cache);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("scores");
    TCase *t = tcase_create("scores");
    tcase_add_test(t, least_allocated);
    tcase_add_test(t, balanced);
    tcase_add_test(t, prefer_no_schedule);
    tcase_add_test(t, preferred_node_affinity);
    tcase_add_test(t, soft_spread);
    tcase_add_test(t, preferred_pod_affinity);
    tcase_add_test(t, image_locality);
    tcase_add_test(t, ties_are_broken_by_chance);
    tcase_add_test(t, preemption_picks_the_least_harm);
    tcase_add_test(t, nominated_pods_keep_their_room);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
