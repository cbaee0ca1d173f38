/* Objects as no API server should send them: nothing may crash. */
#include "tests/unit/scheduler/cluster.h"

static const char pod_text[] =
    "{\"metadata\":{\"name\":\"p\",\"namespace\":\"default\",\"uid\":\"u\",\"labels\":{\"app\":\"web\"},"
    "\"ownerReferences\":[{\"kind\":"
    "\"ReplicaSet\",\"controller\":true,\"name\":\"rs\"}],\"creationTimestamp\":\"2026-01-01T00:00:00Z\"},"
    "\"spec\":{\"priority\":5,"
    "\"nodeSelector\":{\"a\":\"b\"},\"overhead\":{\"cpu\":\"1m\"},\"tolerations\":[{\"key\":\"k\","
    "\"operator\":\"Exists\"}],"
    "\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":[{\"hostPort\":80}],\"resources\":{"
    "\"requests\":{\"cpu\":\"1\","
    "\"example.com/"
    "x\":\"1\"}}}],\"initContainers\":[{\"restartPolicy\":\"Always\",\"resources\":{\"requests\":{\"cpu\":1}}"
    "}],"
    "\"affinity\":{\"nodeAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":{"
    "\"nodeSelectorTerms\":[{\"matchExpressions\":[{"
    "\"key\":\"a\",\"operator\":\"Gt\",\"values\":[\"1\"]}],\"matchFields\":[{\"key\":\"metadata.name\","
    "\"operator\":\"In\",\"values\":["
    "\"n1\"]}]}]},\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":1,\"preference\":{"
    "\"matchExpressions\":[{\"key\":\"a\","
    "\"operator\":\"In\",\"values\":[\"b\"]}]}}]},\"podAffinity\":{"
    "\"requiredDuringSchedulingIgnoredDuringExecution\":[{\"topologyKey\":"
    "\"kubernetes.io/"
    "hostname\",\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}},\"namespaces\":[\"x\"]}]},"
    "\"podAntiAffinity\":{"
    "\"preferredDuringSchedulingIgnoredDuringExecution\":[{\"weight\":3,\"podAffinityTerm\":{\"topologyKey\":"
    "\"kubernetes.io/hostname\","
    "\"labelSelector\":{\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"In\",\"values\":[\"web\"]}]}}}]"
    "}},"
    "\"topologySpreadConstraints\":[{\"maxSkew\":1,\"topologyKey\":\"kubernetes.io/"
    "hostname\",\"whenUnsatisfiable\":\"DoNotSchedule\","
    "\"matchLabelKeys\":[\"app\"],\"labelSelector\":{\"matchLabels\":{\"app\":\"web\"}}},{\"maxSkew\":1,"
    "\"topologyKey\":\"a\","
    "\"whenUnsatisfiable\":\"ScheduleAnyway\",\"labelSelector\":{}}]},\"status\":{\"phase\":\"Pending\","
    "\"conditions\":[{\"type\":"
    "\"PodScheduled\",\"status\":\"False\"}]}}";

static const char node_text[] =
    "{\"metadata\":{\"name\":\"n1\",\"labels\":{\"kubernetes.io/"
    "hostname\":\"n1\",\"a\":\"b\"}},\"spec\":{\"unschedulable\":false,\"taints\":[{"
    "\"key\":\"k\",\"value\":\"v\",\"effect\":\"PreferNoSchedule\"}]},\"status\":{\"allocatable\":{\"cpu\":"
    "\"4\",\"memory\":\"8Gi\",\"pods\":"
    "\"10\"},\"images\":[{\"names\":[\"i:latest\"],\"sizeBytes\":99999999}]}}";

static int count_nodes(const cJSON *o)
{
    int n = 1;
    for (const cJSON *c = o->child; c; c = c->next)
        n += count_nodes(c);
    return n;
}

static cJSON *nth(cJSON *o, int *n, cJSON **parent)
{
    for (cJSON *c = o->child; c; c = c->next) {
        if (--*n == 0) {
            *parent = o;
            return c;
        }
        cJSON *found = nth(c, n, parent);
        if (found)
            return found;
    }
    return NULL;
}

/* The document with its which-th value replaced by something of another kind. */
static cJSON *mutated(const char *text, int which, int kind)
{
    static const char *const values[] = {"null",
                                         "7",
                                         "\"\"",
                                         "[]",
                                         "{}",
                                         "[[1,\"x\",{}]]",
                                         "{\"\":{\"a\":[]}}",
                                         "true",
                                         "-1e300",
                                         "\"9999999999999999999999Ei\""};
    cJSON *o = parse_json(text);
    int n = which;
    cJSON *parent = NULL, *target = nth(o, &n, &parent);
    if (target) {
        cJSON *value = parse_json(values[(size_t)kind % ARRAY_LEN(values)]);
        if (cJSON_IsArray(parent)) {
            cJSON_ReplaceItemViaPointer(parent, target, value);
        } else {
            char *name = mem_strdup(target->string);
            json_map_set(parent, name, value);
            free(name);
        }
    }
    return o;
}

static void try_one(cJSON *pod, cJSON *node)
{
    struct cluster c;
    cluster_init(&c);
    add_node(&c, "n0", "", "");
    pod_info_strip(pod);
    cleanup_object struct kube_object *n = kube_object_new(node);
    cleanup_object struct kube_object *o = kube_object_new(pod);
    cache_set_node(&c.cache, n);
    add_pod(&c, "n0", "neighbour", "\"labels\":{\"app\":\"web\"}",
            "\"affinity\":{\"podAntiAffinity\":{\"requiredDuringSchedulingIgnoredDuringExecution\":[{"
            "\"labelSelector\":{},\"topologyKey\":"
            "\"zone\"}]}}");
    cleanup_pod struct pod_info *p = pod_info_new(o);
    struct outcome out;
    schedule_pod(p, &c.cache, NULL, &c.seed, &out);
    ck_assert(out.node || out.message);
    if (out.node) {
        cache_assume(&c.cache, p, out.node);
        cache_forget(&c.cache, p->uid);
    }
    outcome_clear(&out);
    pod_object_terminal(o->json);
    cache_destroy(&c.cache);
}

START_TEST(any_value_of_a_pod)
{
    cleanup_json cJSON *whole = parse_json(pod_text);
    int n = count_nodes(whole);
    for (int which = 0; which < n; which++)
        for (int kind = 0; kind < 10; kind++)
            try_one(mutated(pod_text, which, kind), parse_json(node_text));
}
END_TEST

START_TEST(any_value_of_a_node)
{
    cleanup_json cJSON *whole = parse_json(node_text);
    int n = count_nodes(whole);
    for (int which = 0; which < n; which++)
        for (int kind = 0; kind < 10; kind++)
            try_one(parse_json(pod_text), mutated(node_text, which, kind));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hostile");
    TCase *t = tcase_create("hostile");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, any_value_of_a_pod);
    tcase_add_test(t, any_value_of_a_node);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
