#include "tests/unit/scheduler/cluster.h"

#define NO_HELP1   " preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
#define NO_HELP2   " preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
#define NO_VICTIM1 " preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."

START_TEST(no_nodes)
{
    struct cluster c;
    cluster_init(&c);
    EXPECT_PLACE(&c, "", "", "no nodes available to schedule pods");
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(resources)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_pod(&c, "n1", "a", "",
            "\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"3\",\"memory\":\"1Gi\"}}}]");
#define ASK(requests) "\"containers\":[{\"resources\":{\"requests\":{" requests "}}}]"
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1\""), "n1");
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1001m\""), "0/1 nodes are available: 1 Insufficient cpu." NO_VICTIM1);
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"100\""), "0/1 nodes are available: 1 Insufficient cpu." NO_HELP1);
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"2\",\"memory\":\"7.5Gi\""),
                 "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory." NO_VICTIM1);
    EXPECT_PLACE(&c, "", ASK("\"ephemeral-storage\":\"11Gi\""),
                 "0/1 nodes are available: 1 Insufficient ephemeral-storage." NO_HELP1);
    EXPECT_PLACE(&c, "", ASK("\"example.com/gpu\":\"2\""), "n1");
    EXPECT_PLACE(&c, "", ASK("\"example.com/gpu\":\"3\""),
                 "0/1 nodes are available: 1 Insufficient example.com/gpu." NO_HELP1);
    EXPECT_PLACE(&c, "", ASK("\"example.com/tpu\":\"1\""),
                 "0/1 nodes are available: 1 Insufficient example.com/tpu." NO_HELP1);
    /* Init containers count by their peak, sidecars always, overhead on top. */
    EXPECT_PLACE(
        &c, "",
        ASK("\"cpu\":\"500m\"") ",\"initContainers\":[{\"resources\":{\"requests\":{\"cpu\":\"1\"}}}]", "n1");
    EXPECT_PLACE(&c, "",
                 ASK("\"cpu\":\"500m\"") ",\"initContainers\":[{\"restartPolicy\":\"Always\",\"resources\":{"
                                         "\"requests\":{\"cpu\":"
                                         "\"600m\"}}}]",
                 "0/1 nodes are available: 1 Insufficient cpu." NO_VICTIM1);
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"900m\"") ",\"overhead\":{\"cpu\":\"101m\"}",
                 "0/1 nodes are available: 1 Insufficient cpu." NO_VICTIM1);
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"9\"") ",\"resources\":{\"requests\":{\"cpu\":\"1\"}}", "n1");
    for (int i = 0; i < 9; i++) {
        char name[32];
        snprintf(name, sizeof(name), "p%d", i);
        add_pod(&c, "n1", name, "", "");
    }
    EXPECT_PLACE(&c, "", "", "0/1 nodes are available: 1 Too many pods." NO_VICTIM1);
    cache_lock(&c.cache);
    cache_remove_pod(&c.cache, "p3");
    cache_unlock(&c.cache);
    EXPECT_PLACE(&c, "", "", "n1");
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(sidecar_math)
{
    struct resources r = {0};
    /* Sidecar 1 (100m), init (500m, runs beside it), sidecar 2 (200m), containers 300m: max(600,
     * 100+200+300). */
    cleanup_json cJSON *spec =
        parse_json("{\"containers\":[{\"resources\":{\"requests\":{\"cpu\":\"300m\"}}}],\"initContainers\":["
                   "{\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":\"100m\"}}},"
                   "{\"resources\":{\"requests\":{\"cpu\":\"550m\",\"memory\":\"1Gi\"}}},"
                   "{\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":\"200m\"}}}]}");
    resources_of_pod(&r, spec, 0);
    ck_assert_int_eq(r.cpu, 650);
    ck_assert_int_eq(r.memory, 1 << 30);
    resources_clear(&r);
    resources_of_pod(&r, spec, 1);
    ck_assert_int_eq(r.memory, (1 << 30) + (200 << 20));
    resources_clear(&r);
}
END_TEST

START_TEST(taints)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "",
             "\"spec\":{\"taints\":[{\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoSchedule\"}]}");
    add_node(&c, "n2", "",
             "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoExecute\"}]}");
    EXPECT_PLACE(
        &c, "", "",
        "0/2 nodes are available: 1 node(s) had untolerated taint {k: v}, 1 node(s) had untolerated taint "
        "{node.kubernetes.io/unreachable: }." NO_HELP2);
#define TOLERATE(members) "\"tolerations\":[{" members "}]"
    EXPECT_PLACE(&c, "",
                 TOLERATE("\"key\":\"k\",\"operator\":\"Equal\",\"value\":\"v\",\"effect\":\"NoSchedule\""),
                 "n1");
    EXPECT_PLACE(&c, "", TOLERATE("\"key\":\"k\",\"value\":\"v\""), "n1");
    EXPECT_PLACE(&c, "", TOLERATE("\"key\":\"node.kubernetes.io/unreachable\",\"operator\":\"Exists\""),
                 "n2");
    static const char *const useless[] = {"\"key\":\"k\",\"value\":\"w\"",
                                          "\"key\":\"k\",\"value\":\"v\",\"effect\":\"NoExecute\"",
                                          "\"key\":\"other\",\"operator\":\"Exists\""};
    for (size_t i = 0; i < ARRAY_LEN(useless); i++) {
        cleanup_free char *spec = mem_printf(TOLERATE("%s"), useless[i]);
        cleanup_free char *got = place_of(&c, "", spec);
        ck_assert_msg(!strncmp(got, "0/2", 3), "%s", useless[i]);
    }
    cleanup_free char *anywhere = place_of(&c, "", TOLERATE("\"operator\":\"Exists\""));
    ck_assert(!strcmp(anywhere, "n1") || !strcmp(anywhere, "n2"));
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(mixed_message)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_node(
        &c, "n2", "",
        "\"spec\":{\"taints\":[{\"key\":\"node.kubernetes.io/unreachable\",\"effect\":\"NoSchedule\"}]}");
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"5\""),
                 "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint "
                 "{node.kubernetes.io/unreachable: }." NO_HELP2);
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"4\"") ",\"nodeSelector\":{\"a\":\"b\"}",
                 "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) "
                 "had untolerated taint "
                 "{node.kubernetes.io/unreachable: }." NO_HELP2);
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(unschedulable_and_name)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "\"spec\":{\"unschedulable\":true}");
    EXPECT_PLACE(&c, "", "", "0/1 nodes are available: 1 node(s) were unschedulable." NO_HELP1);
    EXPECT_PLACE(&c, "", TOLERATE("\"key\":\"node.kubernetes.io/unschedulable\",\"operator\":\"Exists\""),
                 "n1");
    EXPECT_PLACE(&c, "", TOLERATE("\"operator\":\"Exists\"") ",\"nodeName\":\"other\"",
                 "0/1 nodes are available: 1 node(s) didn't match the requested node name." NO_HELP1);
    cache_destroy(&c.cache);
}
END_TEST

#define REQUIRED(terms)                                                                                      \
    "\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{"                   \
    "\"nodeSelectorTerms\":[" terms "]}}}"
#define NO_MATCH "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector." NO_HELP1

START_TEST(node_affinity)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "\"disk\":\"ssd\",\"gen\":\"7\"", "");
    EXPECT_PLACE(&c, "", "\"nodeSelector\":{\"disk\":\"ssd\"}", "n1");
    EXPECT_PLACE(&c, "", "\"nodeSelector\":{\"disk\":\"ssd\",\"gen\":\"8\"}", NO_MATCH);
    static const struct {
        const char *expression;
        bool fits;
    } cases[] = {
        {"{\"key\":\"disk\",\"operator\":\"In\",\"values\":[\"hdd\",\"ssd\"]}", true},
        {"{\"key\":\"disk\",\"operator\":\"In\",\"values\":[\"hdd\"]}", false},
        {"{\"key\":\"disk\",\"operator\":\"NotIn\",\"values\":[\"hdd\"]}", true},
        {"{\"key\":\"none\",\"operator\":\"NotIn\",\"values\":[\"hdd\"]}", true},
        {"{\"key\":\"disk\",\"operator\":\"NotIn\",\"values\":[\"ssd\"]}", false},
        {"{\"key\":\"disk\",\"operator\":\"Exists\"}", true},
        {"{\"key\":\"none\",\"operator\":\"Exists\"}", false},
        {"{\"key\":\"none\",\"operator\":\"DoesNotExist\"}", true},
        {"{\"key\":\"gen\",\"operator\":\"Gt\",\"values\":[\"6\"]}", true},
        {"{\"key\":\"gen\",\"operator\":\"Gt\",\"values\":[\"7\"]}", false},
        {"{\"key\":\"gen\",\"operator\":\"Lt\",\"values\":[\"8\"]}", true},
        {"{\"key\":\"disk\",\"operator\":\"Lt\",\"values\":[\"8\"]}", false},
        {"{\"key\":\"disk\",\"operator\":\"Exists\"},{\"key\":\"none\",\"operator\":\"Exists\"}", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_free char *spec = mem_printf(REQUIRED("{\"matchExpressions\":[%s]}"), cases[i].expression);
        cleanup_free char *got = place_of(&c, "", spec);
        ck_assert_msg(!strcmp(got, cases[i].fits ? "n1" : NO_MATCH), "%s: %s", cases[i].expression, got);
    }
    /* Terms are alternatives; an empty one matches nothing. */
    EXPECT_PLACE(
        &c, "",
        REQUIRED(
            "{\"matchExpressions\":[{\"key\":\"none\",\"operator\":\"Exists\"}]},{\"matchFields\":[{\"key\":"
            "\"metadata.name\",\"operator\":\"In\",\"values\":[\"n1\"]}]}"),
        "n1");
    EXPECT_PLACE(&c, "", REQUIRED("{}"), NO_MATCH);
    add_node(&c, "n2", "", "");
    /* As a DaemonSet's pods: other nodes are not looked at. */
    EXPECT_PLACE(
        &c, "",
        REQUIRED("{\"matchFields\":[{\"key\":\"metadata.name\",\"operator\":\"In\",\"values\":[\"n2\"]}]}"),
        "n2");
    EXPECT_PLACE(
        &c, "",
        ASK("\"cpu\":\"5\"") "," REQUIRED("{\"matchFields\":[{\"key\":\"metadata.name\",\"operator\":\"In\","
                                          "\"values\":[\"n2\"]}]}"),
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't satisfy plugin(s) "
        "[NodeAffinity]." NO_HELP2);
    cache_destroy(&c.cache);
}
END_TEST

#define PORT(members) "\"containers\":[{\"ports\":[{\"containerPort\":80," members "}]}]"
START_TEST(ports)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    add_pod(&c, "n1", "a", "", PORT("\"hostPort\":8080,\"hostIP\":\"127.0.0.1\""));
    const char *taken =
        "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports." NO_VICTIM1;
    EXPECT_PLACE(&c, "", PORT("\"hostPort\":8080"), taken);
    EXPECT_PLACE(&c, "", PORT("\"hostPort\":8080,\"hostIP\":\"127.0.0.1\""), taken);
    EXPECT_PLACE(&c, "", PORT("\"hostPort\":8080,\"hostIP\":\"127.0.0.2\""), "n1");
    EXPECT_PLACE(&c, "", PORT("\"hostPort\":8080,\"protocol\":\"UDP\""), "n1");
    EXPECT_PLACE(&c, "", PORT("\"hostPort\":8081"), "n1");
    EXPECT_PLACE(&c, "", PORT("\"name\":\"x\""), "n1");
    cache_destroy(&c.cache);
}
END_TEST

#define LABEL_WEB "\"labels\":{\"app\":\"web\"}"
#define SPREAD(members)                                                                                      \
    "\"topologySpreadConstraints\":[{\"maxSkew\":1,\"whenUnsatisfiable\":\"DoNotSchedule\","                 \
    "\"labelSelector\":{\"matchLabels\":{"                                                                   \
    "\"app\":\"web\"}}," members "}]"

START_TEST(topology_spread)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "\"zone\":\"a\"", "");
    add_node(&c, "n2", "\"zone\":\"b\"", "");
    add_node(&c, "n3", "", "");
    add_pod(&c, "n1", "w1", LABEL_WEB, "");
    add_pod(&c, "n1", "other", "\"labels\":{\"app\":\"db\"}", "");
    EXPECT_PLACE(&c, LABEL_WEB, SPREAD("\"topologyKey\":\"zone\""), "n2");
    add_pod(&c, "n2", "w2", LABEL_WEB, "");
    add_pod(&c, "n2", "w3", LABEL_WEB, "");
    EXPECT_PLACE(&c, LABEL_WEB, SPREAD("\"topologyKey\":\"zone\""), "n1");
    EXPECT_PLACE(&c, LABEL_WEB,
                 "\"nodeSelector\":{\"zone\":\"b\"}," SPREAD(
                     "\"nodeAffinityPolicy\":\"Ignore\",\"topologyKey\":\"zone\""),
                 "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints, 2 node(s) "
                 "didn't match Pod's node "
                 "affinity/selector. preemption: 0/3 nodes are available: 1 No preemption victims found for "
                 "incoming pod, 2 "
                 "Preemption is not helpful for scheduling.");
    /* With the pod's affinity honoured, zone b is all there is. */
    EXPECT_PLACE(&c, LABEL_WEB, "\"nodeSelector\":{\"zone\":\"b\"}," SPREAD("\"topologyKey\":\"zone\""),
                 "n2");
    EXPECT_PLACE(&c, LABEL_WEB, SPREAD("\"topologyKey\":\"rack\""),
                 "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints (missing "
                 "required label). "
                 "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.");
    /* Three domains are wanted: the third is empty, so that no domain may have more than one. */
    cleanup_free char *got = place_of(&c, LABEL_WEB, SPREAD("\"minDomains\":3,\"topologyKey\":\"zone\""));
    ck_assert_msg(
        !strncmp(got,
                 "0/3 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing",
                 80),
        "%s", got);
    cache_destroy(&c.cache);
}
END_TEST

#define POD_AFFINITY(kind, terms)                                                                            \
    "\"affinity\":{\"" kind "\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[" terms "]}}"
#define NEAR_WEB "{\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}},\"topologyKey\":\"zone\"}"

START_TEST(pod_affinity)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "\"zone\":\"a\"", "");
    add_node(&c, "n2", "\"zone\":\"b\"", "");
    /* Nobody to be near to, unless the pod is the first of its kind. */
    EXPECT_PLACE(&c, "", POD_AFFINITY("podAffinity", NEAR_WEB),
                 "0/2 nodes are available: 2 node(s) didn't match pod affinity rules." NO_HELP2);
    cleanup_free char *first = place_of(&c, LABEL_WEB, POD_AFFINITY("podAffinity", NEAR_WEB));
    ck_assert(first[0] == 'n');
    add_pod(&c, "n1", "w1", LABEL_WEB, "");
    EXPECT_PLACE(&c, "", POD_AFFINITY("podAffinity", NEAR_WEB), "n1");
    EXPECT_PLACE(&c, "", POD_AFFINITY("podAntiAffinity", NEAR_WEB), "n2");
    add_pod(&c, "n2", "w2", LABEL_WEB, "");
    EXPECT_PLACE(&c, "", POD_AFFINITY("podAntiAffinity", NEAR_WEB),
                 "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. preemption: 0/2 "
                 "nodes are available: 2 No "
                 "preemption victims found for incoming pod.");
    /* An existing pod keeps others away from its zone. */
    add_pod(&c, "n2", "hermit", "",
            POD_AFFINITY("podAntiAffinity", "{\"labelSelector\":{},\"topologyKey\":\"zone\"}"));
    EXPECT_PLACE(&c, "", "", "n1");
    EXPECT_PLACE(&c, "", "\"nodeSelector\":{\"zone\":\"b\"}",
                 "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 node(s) "
                 "didn't satisfy existing "
                 "pods anti-affinity rules. preemption: 0/2 nodes are available: 1 No preemption victims "
                 "found for incoming pod, 1 "
                 "Preemption is not helpful for scheduling.");
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(affinity_namespaces)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "\"zone\":\"a\"", "");
    cleanup_object struct kube_object *ns =
        kube_object_new(parse_json("{\"metadata\":{\"name\":\"team\",\"labels\":{\"kind\":\"team\"}}}"));
    cache_set_namespace(&c.cache, ns, "team");
    cleanup_object struct kube_object *o =
        kube_object_new(parse_json("{\"metadata\":{\"name\":\"w\",\"namespace\":\"team\",\"uid\":\"w\","
                                   "\"labels\":{\"app\":\"web\"}},\"spec\":{\"nodeName\":\"n1\"}}"));
    cleanup_pod struct pod_info *p = pod_info_new(o);
    cache_set_pod(&c.cache, p);
#define TERM(more) "{\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}},\"topologyKey\":\"zone\"" more "}"
    static const struct {
        const char *more;
        bool fits;
    } cases[] = {
        {"", false},
        {",\"namespaces\":[\"team\"]", true},
        {",\"namespaces\":[\"other\"]", false},
        {",\"namespaceSelector\":{}", true},
        {",\"namespaceSelector\":{\"matchLabels\":{\"kind\":\"team\"}}", true},
        {",\"namespaceSelector\":{\"matchLabels\":{\"kind\":\"x\"}}", false},
        {",\"namespaces\":[\"team\"],\"namespaceSelector\":{\"matchLabels\":{\"kind\":\"x\"}}", true}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_free char *spec = mem_printf(POD_AFFINITY("podAffinity", TERM("%s")), cases[i].more);
        cleanup_free char *got = place_of(&c, "", spec);
        ck_assert_msg((got[0] == 'n') == cases[i].fits, "%s: %s", cases[i].more, got);
    }
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(nodes_come_and_go)
{
    struct cluster c;
    cluster_init(&c);
    /* A pod may be seen before its node is. */
    add_pod(&c, "n1", "a", "", ASK("\"cpu\":\"4\""));
    EXPECT_PLACE(&c, "", "", "no nodes available to schedule pods");
    add_node(&c, "n1", "", "");
    add_node(&c, "n2", "", "");
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1\""), "n2");
    cache_remove_node(&c.cache, "n2");
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1\""), "0/1 nodes are available: 1 Insufficient cpu." NO_VICTIM1);
    cache_remove_pod(&c.cache, "a");
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1\""), "n1");
    cache_remove_node(&c.cache, "n1");
    cache_remove_node(&c.cache, "n1");
    ck_assert_uint_eq(c.cache.nodes_by_name.count, 0);
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(assumed_pods)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n1", "", "");
    cleanup_pod struct pod_info *p = make_pod("a", "", ASK("\"cpu\":\"4\""));
    cache_assume(&c.cache, p, cache_node(&c.cache, "n1"));
    ck_assert(cache_has_pod(&c.cache, "a"));
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"1\""), "0/1 nodes are available: 1 Insufficient cpu." NO_VICTIM1);
    cache_forget(&c.cache, "a");
    ck_assert(!cache_has_pod(&c.cache, "a"));
    EXPECT_PLACE(&c, "", ASK("\"cpu\":\"4\""), "n1");
    /* Confirmed by the API, it is not forgotten; it counts once. */
    cache_assume(&c.cache, p, cache_node(&c.cache, "n1"));
    cleanup_pod struct pod_info *confirmed = make_pod("a", "", ASK("\"cpu\":\"4\"") ",\"nodeName\":\"n1\"");
    ck_assert_uint_eq(cache_set_pod(&c.cache, confirmed), EVENT_POD_ADD);
    cache_forget(&c.cache, "a");
    ck_assert(cache_has_pod(&c.cache, "a"));
    ck_assert_int_eq(cache_node(&c.cache, "n1")->requested.cpu, 4000);
    cleanup_pod struct pod_info *smaller = make_pod("a", "", ASK("\"cpu\":\"1\"") ",\"nodeName\":\"n1\"");
    ck_assert_uint_eq(cache_set_pod(&c.cache, smaller), EVENT_POD_SCALE_DOWN);
    ck_assert_int_eq(cache_node(&c.cache, "n1")->requested.cpu, 1000);
    cache_destroy(&c.cache);
}
END_TEST

START_TEST(node_events)
{
    struct cluster c;
    cluster_init(&c);
    static const struct {
        const char *node;
        unsigned events;
    } steps[] = {
        {"{\"metadata\":{\"name\":\"n\"}}", EVENT_NODE_ADD},
        {"{\"metadata\":{\"name\":\"n\",\"annotations\":{\"a\":\"b\"}}}", 0},
        {"{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\"}}}", EVENT_NODE_LABEL},
        {"{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"unschedulable\":true}}",
         EVENT_NODE_TAINT},
        {"{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\"}},\"spec\":{\"taints\":[{\"key\":\"x\"}]}}",
         EVENT_NODE_TAINT},
        {"{\"metadata\":{\"name\":\"n\",\"labels\":{\"a\":\"b\"}},\"status\":{\"allocatable\":{\"cpu\":\"1\"}"
         "}}",
         EVENT_NODE_TAINT | EVENT_NODE_ALLOCATABLE},
    };
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        cleanup_object struct kube_object *o = kube_object_new(parse_json(steps[i].node));
        ck_assert_uint_eq(cache_set_node(&c.cache, o), steps[i].events);
    }
    cache_destroy(&c.cache);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("filters");
    TCase *t = tcase_create("filters");
    tcase_add_test(t, no_nodes);
    tcase_add_test(t, resources);
    tcase_add_test(t, sidecar_math);
    tcase_add_test(t, taints);
    tcase_add_test(t, mixed_message);
    tcase_add_test(t, unschedulable_and_name);
    tcase_add_test(t, node_affinity);
    tcase_add_test(t, ports);
    tcase_add_test(t, topology_spread);
    tcase_add_test(t, pod_affinity);
    tcase_add_test(t, affinity_namespaces);
    tcase_add_test(t, nodes_come_and_go);
    tcase_add_test(t, assumed_pods);
    tcase_add_test(t, node_events);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
