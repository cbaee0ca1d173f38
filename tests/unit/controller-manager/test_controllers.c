/* Controllers at work against an API in this process. */
#include <check.h>
#include "tests/unit/controller-manager/cluster.h"
#include "controller-manager/rollout.h"

#define TEMPLATE(image)                                                                            \
    "{\"metadata\":{\"labels\":{\"app\":\"web\"}},\"spec\":{\"containers\":[{\"name\":\"c\","      \
    "\"image\":\"" image "\",\"ports\":[{\"name\":\"http\","                                       \
    "\"containerPort\":8080}]}]}}"

#define DEPLOYMENT(replicas, image)                                                                \
    "{\"apiVersion\":\"apps/"                                                                      \
    "v1\",\"kind\":\"Deployment\",\"metadata\":{\"name\":\"web\",\"namespace\":\"x\","             \
    "\"generation\":1},\"spec\":{\"replicas\":" #replicas                                          \
    ",\"revisionHistoryLimit\":10,\"progressDeadlineSeconds\":600,\"selector\":{\"matchLabels\":{" \
    "\"app\":\"web\"}},\"strategy\":{\"type\":"                                                    \
    "\"RollingUpdate\",\"rollingUpdate\":{\"maxSurge\":\"25%\",\"maxUnavailable\":\"25%\"}},"      \
    "\"template\":" TEMPLATE(image) "}}"

static struct cluster *begin(const char *controllers)
{
    struct cluster *c = cluster_new();
    cluster_add(c, "v1/namespaces",
                "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\"},"
                "\"spec\":{\"finalizers\":[\"kubernetes\"]},"
                "\"status\":{\"phase\":\"Active\"}}");
    cluster_add(c, "v1/nodes",
                "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n1\"},\"spec\":{"
                "},\"status\":{\"conditions\":[{\"type\":"
                "\"Ready\",\"status\":\"True\"}]}}");
    struct manager_options o;
    manager_default_options(&o);
    o.namespace_settle_ms = 50;
    cluster_start(c, controllers, &o);
    return c;
}

static bool field_is(struct cluster *c, const char *collection, const char *ns, const char *name,
                     const char *path, const char *want)
{
    cleanup_free char *have = fake_field(c->api, collection, ns, name, path);
    return strcmp(have, want) == 0;
}
#define deployment_is(c, path, want) field_is(c, "apps/v1/deployments", "x", "web", path, want)

static bool has_condition(struct cluster *c, const char *collection, const char *ns,
                          const char *name, const char *type, const char *reason)
{
    cleanup_free char *text = fake_field(c->api, collection, ns, name, "status.conditions");
    cleanup_json cJSON *conditions = json_parse(text, strlen(text), NULL);
    return strcmp(json_str_or(condition_find(conditions, type), "reason", ""), reason) == 0;
}

static bool revision_is(const cJSON *set, const void *revision)
{
    const char *have = meta_annotation(set, REVISION_ANNOTATION);
    return have && strcmp(have, revision) == 0;
}

static int64_t set_size(struct cluster *c, const char *revision)
{
    cleanup_json cJSON *set = cluster_find(c, "apps/v1/replicasets", revision_is, revision);
    return set ? spec_replicas(set) : -1;
}

static bool event_is(const cJSON *event, const void *reason)
{
    return strcmp(json_str_or(event, "reason", ""), reason) == 0;
}

static bool ready_pod(const cJSON *pod, const void *unused)
{
    (void)unused;
    return pod_ready(pod);
}

static bool has_ready_pod(struct cluster *c)
{
    cleanup_json cJSON *pod = cluster_find(c, "v1/pods", ready_pod, NULL);
    return pod != NULL;
}

static bool field_has(struct cluster *c, const char *collection, const char *ns, const char *name,
                      const char *path, const char *part)
{
    cleanup_free char *have = fake_field(c->api, collection, ns, name, path);
    return strstr(have, part) != NULL;
}

static bool has_event(struct cluster *c, const char *reason, const char *message_part)
{
    cleanup_json cJSON *e = cluster_find(c, "v1/events", event_is, reason);
    return e && strstr(json_str_or(e, "message", ""), message_part);
}

START_TEST(a_deployment_becomes_pods)
{
    struct cluster *c = begin("replicaset-controller,deployment-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(3, "a:1"));
    fake_eventually(cluster_count(c, "v1/pods", "x") == 3);
    ck_assert_int_eq(cluster_count(c, "apps/v1/replicasets", "x"), 1);
    fake_eventually(has_condition(c, "apps/v1/deployments", "x", "web", "Available",
                                  "MinimumReplicasUnavailable"));
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "3"));
    fake_eventually(has_condition(c, "apps/v1/deployments", "x", "web", "Available",
                                  "MinimumReplicasAvailable"));
    fake_eventually(has_condition(c, "apps/v1/deployments", "x", "web", "Progressing",
                                  "NewReplicaSetAvailable"));
    cleanup_json cJSON *set = cluster_find(c, "apps/v1/replicasets", NULL, NULL);
    const char *hash = json_map_str(meta_labels(set), "pod-template-hash");
    ck_assert_ptr_nonnull(hash);
    cleanup_free char *name = mem_printf("web-%s", hash);
    ck_assert_str_eq(meta_name(set), name);
    ck_assert_str_eq(meta_annotation(set, REVISION_ANNOTATION), "1");
    ck_assert_str_eq(meta_annotation(set, MAX_REPLICAS_ANNOTATION), "4");
    cleanup_json cJSON *pod = cluster_find(c, "v1/pods", NULL, NULL);
    ck_assert_str_eq(json_map_str(meta_labels(pod), "pod-template-hash"), hash);
    cleanup_free char *scaled = mem_printf("Scaled up replica set %s from 0 to 3", name);
    fake_eventually(has_event(c, "ScalingReplicaSet", scaled));
    fake_eventually(has_event(c, "SuccessfulCreate", "Created pod: web-"));
    ck_assert(cluster_count(c, "v1/pods", "x") == 3);
    cluster_free(c);
}
END_TEST

START_TEST(a_rollout_and_its_undo)
{
    struct cluster *c = begin("replicaset-controller,deployment-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(4, "a:1"));
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "4"));
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"metadata\":{\"generation\":2},\"spec\":{\"template\":" TEMPLATE("a:2") "}}");
    /* Nothing becomes ready: with 25% of 4 at most one more and one fewer. */
    fake_eventually(set_size(c, "2") == 2 && set_size(c, "1") == 3);
    with_kubelets(c, set_size(c, "2") == 4 && set_size(c, "1") == 0 &&
                         deployment_is(c, "status.updatedReplicas", "4"));
    with_kubelets(c, has_condition(c, "apps/v1/deployments", "x", "web", "Progressing",
                                   "NewReplicaSetAvailable") &&
                         deployment_is(c, "status.observedGeneration", "2"));
    /* Undo is a patch back to the first template: its ReplicaSet gets revision 3. */
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"metadata\":{\"generation\":3},\"spec\":{\"template\":" TEMPLATE("a:1") "}}");
    with_kubelets(c, set_size(c, "3") == 4 && set_size(c, "2") == 0 &&
                         deployment_is(c, "status.observedGeneration", "3"));
    ck_assert_int_eq(cluster_count(c, "apps/v1/replicasets", "x"), 2);
    cleanup_json cJSON *set = cluster_find(c, "apps/v1/replicasets", revision_is, "3");
    ck_assert_str_eq(meta_annotation(set, REVISION_HISTORY_ANNOTATION), "1");
    with_kubelets(c, cluster_count(c, "v1/pods", "x") == 4);
    cluster_free(c);
}
END_TEST

START_TEST(recreate_paused_and_history_limit)
{
    struct cluster *c = begin("replicaset-controller,deployment-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(2, "a:1"));
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"spec\":{\"strategy\":{\"type\":\"Recreate\",\"rollingUpdate\":null},"
                "\"revisionHistoryLimit\":1}}");
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "2"));
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"metadata\":{\"generation\":2},\"spec\":{\"template\":" TEMPLATE("a:2") "}}");
    /* No new ReplicaSet before the old pods have ended, which needs their kubelet. */
    fake_eventually(set_size(c, "1") == 0);
    nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    ck_assert_int_eq(set_size(c, "2"), -1);
    with_kubelets(c, set_size(c, "2") == 2 && deployment_is(c, "status.updatedReplicas", "2") &&
                         deployment_is(c, "status.observedGeneration", "2"));
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"metadata\":{\"generation\":3},\"spec\":{\"paused\":true,\"template\":" TEMPLATE(
                    "a:3") "}}");
    fake_eventually(
        has_condition(c, "apps/v1/deployments", "x", "web", "Progressing", "DeploymentPaused"));
    /* Paused: a new size is followed, a new template not. */
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"metadata\":{\"generation\":4},\"spec\":{\"replicas\":3}}");
    with_kubelets(c, set_size(c, "2") == 3 && deployment_is(c, "status.observedGeneration", "4"));
    fake_eventually(cluster_count(c, "apps/v1/replicasets", "x") ==
                    1); /* revisionHistoryLimit 1: revision 1 went */
    fake_change(c->api, "apps/v1/deployments", "x", "web",
                "{\"metadata\":{\"generation\":5},\"spec\":{\"paused\":false}}");
    with_kubelets(c, set_size(c, "3") == 3 && deployment_is(c, "status.updatedReplicas", "3"));
    with_kubelets(c, set_size(c, "2") == 0);
    cluster_free(c);
}
END_TEST

START_TEST(pods_are_replaced_adopted_released)
{
    struct cluster *c = begin("replicaset-controller");
    cluster_add(c, "v1/pods",
                "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"stray\","
                "\"namespace\":\"x\",\"labels\":{\"app\":\"web\"}},\"spec\":{},"
                "\"status\":{\"phase\":\"Running\"}}");
    cluster_add(c, "apps/v1/replicasets",
                "{\"apiVersion\":\"apps/"
                "v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"rs\",\"namespace\":\"x\","
                "\"generation\":1},"
                "\"spec\":{\"replicas\":3,\"selector\":{\"matchLabels\":{\"app\":\"web\"}},"
                "\"template\":" TEMPLATE("a:1") "}}");
    fake_eventually(cluster_count(c, "v1/pods", "x") == 3);
    fake_eventually(field_is(c, "apps/v1/replicasets", "x", "rs", "status.replicas", "3"));
    cleanup_free char *refs =
        fake_field(c->api, "v1/pods", "x", "stray", "metadata.ownerReferences");
    ck_assert_ptr_nonnull(strstr(refs, "\"rs\""));
    /* Released when its labels no longer match, and replaced. */
    fake_change(c->api, "v1/pods", "x", "stray", "{\"metadata\":{\"labels\":{\"app\":\"other\"}}}");
    fake_eventually(field_is(c, "v1/pods", "x", "stray", "metadata.ownerReferences", "[]"));
    fake_eventually(cluster_count(c, "v1/pods", "x") == 4);
    /* A pod that is deleted is replaced. */
    with_kubelets(c, field_is(c, "apps/v1/replicasets", "x", "rs", "status.readyReplicas", "3"));
    cleanup_json cJSON *pod = cluster_find(c, "v1/pods", ready_pod, NULL);
    fake_delete(c->api, "v1/pods", "x", meta_name(pod));
    fake_eventually(cluster_count(c, "v1/pods", "x") == 4);
    fake_change(c->api, "apps/v1/replicasets", "x", "rs", "{\"spec\":{\"replicas\":0}}");
    with_kubelets(c, field_is(c, "apps/v1/replicasets", "x", "rs", "status.replicas", "0"));
    with_kubelets(c, cluster_count(c, "v1/pods", "x") <= 1);
    cluster_free(c);
}
END_TEST

START_TEST(never_one_pod_too_many)
{
    struct cluster *c = begin("replicaset-controller");
    cluster_add(c, "apps/v1/replicasets",
                "{\"apiVersion\":\"apps/"
                "v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"rs\",\"namespace\":\"x\","
                "\"generation\":1},"
                "\"spec\":{\"replicas\":60,\"selector\":{\"matchLabels\":{\"app\":\"web\"}},"
                "\"template\":" TEMPLATE("a:1") "}}");
    int most = 0;
    int64_t until = time_monotonic_ms() + 10000;
    while (!field_is(c, "apps/v1/replicasets", "x", "rs", "status.replicas", "60") &&
           time_monotonic_ms() < until) {
        /* Each of these wakes the controller while its own pods are on their way to the cache. */
        fake_change(c->api, "apps/v1/replicasets", "x", "rs",
                    "{\"metadata\":{\"annotations\":{\"touch\":\"me\"}}}");
        int n = cluster_count(c, "v1/pods", "x");
        most = n > most ? n : most;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    ck_assert_int_eq(cluster_count(c, "v1/pods", "x"), 60);
    ck_assert_int_eq(most > 60, 0);
    /* An API that fails for a while: in the end exactly as many as wanted. */
    pthread_mutex_lock(&c->api->lock);
    c->api->fail_requests = 12;
    c->api->fail_code = 503;
    pthread_mutex_unlock(&c->api->lock);
    fake_change(c->api, "apps/v1/replicasets", "x", "rs", "{\"spec\":{\"replicas\":70}}");
    fake_eventually(field_is(c, "apps/v1/replicasets", "x", "rs", "status.replicas", "70"));
    ck_assert_int_eq(cluster_count(c, "v1/pods", "x"), 70);
    cluster_free(c);
}
END_TEST

#define BALANCER(name, spec)                                                                       \
    "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"" name                   \
    "\",\"namespace\":\"x\"},\"spec\":{\"type\":\"LoadBalancer\",\"clusterIP\":\"10.96.0.9\"" spec \
    ",\"ports\":[{\"port\":80,\"protocol\":\"TCP\"}]}}"
#define SHOWS(name, want)                                                                          \
    field_is(c, "v1/services", "x", name, "status.loadBalancer.ingress", want)
#define ONE(ip) "[{\"ip\":\"" ip "\",\"ipMode\":\"VIP\"}]"

static void patch_service(struct cluster *c, const char *name, const char *text)
{
    cleanup_free char *path = kube_path_new("v1", "services", "x", name, NULL);
    cleanup_json cJSON *patch = json_parse(text, strlen(text), NULL);
    cleanup_json cJSON *answer = kube_merge_patch(c->client, path, patch, NULL);
    ck_assert_ptr_nonnull(answer);
}

START_TEST(load_balancers_get_addresses)
{
    struct cluster *c = cluster_new();
    struct manager_options o;
    manager_default_options(&o);
    o.load_balancer_ranges = "192.0.2.0/29,fd00:2::/120";
    cluster_add(c, "v1/services",
                "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"had\","
                "\"namespace\":\"x\"},\"spec\":{\"type\":\"LoadBalancer\",\"clusterIP\":\"10.96.0.1\"},"
                "\"status\":{\"loadBalancer\":{\"ingress\":" ONE("192.0.2.1") "}}}");
    cluster_start(c, "service-lb-controller", &o);
    cluster_add(c, "v1/services", BALANCER("classy", ",\"loadBalancerClass\":\"a/b\""));
    cluster_add(c, "v1/services", BALANCER("asks", ",\"loadBalancerIP\":\"192.0.2.4\""));
    fake_eventually(SHOWS("asks", ONE("192.0.2.4")));
    cluster_add(c, "v1/services", BALANCER("robs", ",\"loadBalancerIP\":\"192.0.2.1\""));
    cluster_add(c, "v1/services", BALANCER("dual", ",\"ipFamilies\":[\"IPv6\",\"IPv4\"]"));
    fake_eventually(SHOWS("dual", "[{\"ip\":\"fd00:2::1\",\"ipMode\":\"VIP\"},{\"ip\":\"192.0.2.2\","
                                  "\"ipMode\":\"VIP\"}]"));
    ck_assert(SHOWS("had", ONE("192.0.2.1")));
    ck_assert(SHOWS("classy", "") && SHOWS("robs", ""));
    /* Three are left; the fourth Service finds nothing until another goes. */
    static const char *const more[] = {BALANCER("m1", ""), BALANCER("m2", ""), BALANCER("m3", "")};
    for (size_t i = 0; i < ARRAY_LEN(more); i++)
        cluster_add(c, "v1/services", more[i]);
    fake_eventually(!SHOWS("m1", "") && !SHOWS("m2", "") && !SHOWS("m3", ""));
    cluster_add(c, "v1/services", BALANCER("m4", ""));
    cleanup_free char *freed =
        fake_field(c->api, "v1/services", "x", "m1", "status.loadBalancer.ingress");
    cleanup_free char *path = kube_path_new("v1", "services", "x", "m1", NULL);
    ck_assert(kube_delete(c->client, path, NULL, -1, NULL, NULL));
    fake_eventually(SHOWS("m4", freed));
    /* No load balancer any more: no address any more. */
    patch_service(c, "asks", "{\"spec\":{\"type\":\"ClusterIP\"}}");
    fake_eventually(SHOWS("asks", ""));
    cluster_free(c);
}
END_TEST

START_TEST(endpoints_are_mirrored)
{
    struct cluster *c = begin("endpointslice-mirroring-controller");
    cluster_add(c, "v1/services",
                "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"db\","
                "\"namespace\":\"x\"},\"spec\":{\"clusterIP\":\"10.96.0.9\",\"ports\":[{\"port\":80}]}}");
    cluster_add(c, "v1/endpoints",
                "{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":\"db\","
                "\"namespace\":\"x\",\"labels\":{\"l\":\"1\"}},\"subsets\":[{\"addresses\":[{\"ip\":"
                "\"192.0.2.1\"},{\"ip\":\"fd00::1\"}],\"notReadyAddresses\":[{\"ip\":\"192.0.2.2\"}],"
                "\"ports\":[{\"port\":5432}]}]}");
    cluster_add(c, "v1/endpoints",
                "{\"apiVersion\":\"v1\",\"kind\":\"Endpoints\",\"metadata\":{\"name\":\"nobody\","
                "\"namespace\":\"x\"},\"subsets\":[{\"addresses\":[{\"ip\":\"192.0.2.1\"}]}]}");
    fake_eventually(cluster_count(c, "discovery.k8s.io/v1/endpointslices", "x") == 2);
    cleanup_json cJSON *e = cluster_find(c, "discovery.k8s.io/v1/endpointslices", NULL, NULL);
    bool v4 = strcmp(json_str(e, "addressType"), "IPv4") == 0;
    const cJSON *endpoints = json_get(e, "endpoints");
    ck_assert_int_eq(cJSON_GetArraySize(endpoints), v4 ? 2 : 1);
    if (v4)
        ck_assert(!json_bool(endpoints->child->next, "conditions.ready", true));
    ck_assert_int_eq(json_int(json_get(e, "ports")->child, "port", 0), 5432);
    ck_assert_str_eq(json_map_str(meta_labels(e), "endpointslice.kubernetes.io/managed-by"),
                     "endpointslicemirroring-controller.k8s.io");
    ck_assert_str_eq(json_map_str(meta_labels(e), "l"), "1");
    ck_assert_str_eq(json_str(controller_ref(e), "kind"), "Endpoints");
    /* A selector: the Endpoints are the controller's own from now on. */
    patch_service(c, "db", "{\"spec\":{\"selector\":{\"a\":\"b\"}}}");
    fake_eventually(cluster_count(c, "discovery.k8s.io/v1/endpointslices", "x") == 0);
    cluster_free(c);
}
END_TEST

START_TEST(traffic_stays_near)
{
    struct cluster *c = begin("endpointslice-controller");
    cluster_add(c, "v1/nodes",
                "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n2\",\"labels\":{"
                "\"topology.kubernetes.io/zone\":\"blue\"}},\"spec\":{}}");
    cluster_add(c, "v1/pods",
                "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\",\"namespace\":\"x\","
                "\"labels\":{\"a\":\"b\"}},\"spec\":{\"nodeName\":\"n2\",\"containers\":[{\"name\":\"c\"}]},"
                "\"status\":{\"phase\":\"Running\",\"podIP\":\"10.0.0.1\",\"podIPs\":[{\"ip\":\"10.0.0.1\"}],"
                "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}");
    cluster_add(c, "v1/services",
                "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"s\","
                "\"namespace\":\"x\"},\"spec\":{\"clusterIP\":\"10.96.0.9\",\"selector\":{\"a\":\"b\"},"
                "\"trafficDistribution\":\"PreferSameNode\",\"ports\":[{\"port\":80}]}}");
    cJSON *e = NULL;
    fake_eventually(
        (cJSON_Delete(e), e = cluster_find(c, "discovery.k8s.io/v1/endpointslices", NULL, NULL),
         cJSON_GetArraySize(json_get(e, "endpoints")) == 1));
    cleanup_free char *hints = json_text(json_get(json_get(e, "endpoints")->child, "hints"));
    ck_assert_str_eq(hints, "{\"forZones\":[{\"name\":\"blue\"}],\"forNodes\":[{\"name\":\"n2\"}]}");
    patch_service(c, "s", "{\"spec\":{\"trafficDistribution\":null}}");
    fake_eventually(
        (cJSON_Delete(e), e = cluster_find(c, "discovery.k8s.io/v1/endpointslices", NULL, NULL),
         !json_get(json_get(e, "endpoints")->child, "hints")));
    cJSON_Delete(e);
    cluster_free(c);
}
END_TEST

START_TEST(endpoints_follow_readiness)
{
    struct cluster *c =
        begin("endpoints-controller,endpointslice-controller,replicaset-controller");
    cluster_add(c, "v1/services",
                "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\","
                "\"namespace\":\"x\",\"labels\":{\"l\":\"1\"}},\"spec\":{"
                "\"clusterIP\":\"10.96.0.9\",\"selector\":{\"app\":\"web\"},\"ports\":[{\"port\":"
                "80,\"targetPort\":\"http\",\"protocol\":\"TCP\"}]}}");
    fake_eventually(cluster_count(c, "discovery.k8s.io/v1/endpointslices", "x") == 1);
    fake_eventually(cluster_count(c, "v1/endpoints", "x") == 1);
    cluster_add(c, "apps/v1/replicasets",
                "{\"apiVersion\":\"apps/"
                "v1\",\"kind\":\"ReplicaSet\",\"metadata\":{\"name\":\"rs\",\"namespace\":\"x\","
                "\"generation\":1},"
                "\"spec\":{\"replicas\":2,\"selector\":{\"matchLabels\":{\"app\":\"web\"}},"
                "\"template\":" TEMPLATE("a:1") "}}");
    with_kubelets(c, field_is(c, "apps/v1/replicasets", "x", "rs", "status.readyReplicas", "2"));
    cJSON *e = NULL;
    fake_eventually((cJSON_Delete(e), e = cluster_find(c, "v1/endpoints", NULL, NULL),
                     cJSON_GetArraySize(json_get(cJSON_GetArrayItem(json_get(e, "subsets"), 0),
                                                 "addresses")) == 2));
    ck_assert_int_eq(
        json_int(json_get(cJSON_GetArrayItem(json_get(e, "subsets"), 0), "ports")->child, "port",
                 0),
        8080);
    ck_assert_str_eq(json_map_str(meta_labels(e), "l"), "1");
    fake_eventually(
        (cJSON_Delete(e), e = cluster_find(c, "discovery.k8s.io/v1/endpointslices", NULL, NULL),
         cJSON_GetArraySize(json_get(e, "endpoints")) == 2 &&
             json_bool(json_get(e, "endpoints")->child->next, "conditions.ready", false)));
    ck_assert_int_eq(cluster_count(c, "discovery.k8s.io/v1/endpointslices", "x"),
                     1); /* the placeholder was taken over */
    ck_assert_str_eq(json_map_str(meta_labels(e), "kubernetes.io/service-name"), "web");
    ck_assert_str_eq(json_map_str(meta_labels(e), "endpointslice.kubernetes.io/managed-by"),
                     "endpointslice-controller.k8s.io");
    ck_assert_str_eq(json_str(e, "addressType"), "IPv4");
    ck_assert_str_eq(json_str(controller_ref(e), "kind"), "Service");
    const cJSON *endpoint = json_get(e, "endpoints")->child;
    ck_assert_str_eq(json_str(endpoint, "nodeName"), "n1");
    ck_assert_str_eq(json_str(endpoint, "targetRef.kind"), "Pod");
    ck_assert(json_bool(endpoint, "conditions.serving", false) &&
              !json_bool(endpoint, "conditions.terminating", true));
    /* One becomes unready. */
    const char *pod = json_str(endpoint, "targetRef.name");
    fake_change(c->api, "v1/pods", "x", pod,
                "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\"}]}}");
    int64_t before = time_monotonic_ms();
    fake_eventually((cJSON_Delete(e), e = cluster_find(c, "v1/endpoints", NULL, NULL),
                     cJSON_GetArraySize(json_get(cJSON_GetArrayItem(json_get(e, "subsets"), 0),
                                                 "notReadyAddresses")) == 1));
    ck_assert_int_lt(time_monotonic_ms() - before, 2000);
    cJSON_Delete(e);
    fake_delete(c->api, "v1/services", "x", "web");
    fake_eventually(cluster_count(c, "v1/endpoints", "x") == 0);
    cluster_free(c);
}
END_TEST

static void delete_with(struct cluster *c, const char *collection, const char *name,
                        const char *policy)
{
    const char *slash = strrchr(collection, '/');
    cleanup_free char *version = mem_strndup(collection, (size_t)(slash - collection));
    cleanup_free char *path =
        kube_path_new(version, slash + 1, strcmp(slash + 1, "namespaces") ? "x" : NULL, name, NULL);
    ck_assert(kube_delete(c->client, path, NULL, -1, policy, NULL));
}

START_TEST(deletion_in_the_background)
{
    struct cluster *c = begin("*,-namespace-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(2, "a:1"));
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "2"));
    delete_with(c, "apps/v1/deployments", "web", "Background");
    ck_assert_int_eq(cluster_count(c, "apps/v1/deployments", "x"), 0);
    with_kubelets(c, cluster_count(c, "apps/v1/replicasets", "x") == 0 &&
                         cluster_count(c, "v1/pods", "x") == 0);
    cluster_free(c);
}
END_TEST

START_TEST(deletion_in_the_foreground)
{
    struct cluster *c = begin("*,-namespace-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(2, "a:1"));
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "2"));
    delete_with(c, "apps/v1/deployments", "web", "Foreground");
    /* The pods are asked to go; as long as they have not, their owners stay. */
    cJSON *pod = NULL;
    fake_eventually(
        (cJSON_Delete(pod), pod = cluster_find(c, "v1/pods", NULL, NULL), meta_deleting(pod)));
    cJSON_Delete(pod);
    ck_assert_int_eq(cluster_count(c, "apps/v1/deployments", "x"), 1);
    ck_assert_int_eq(cluster_count(c, "apps/v1/replicasets", "x"), 1);
    with_kubelets(c, cluster_count(c, "apps/v1/deployments", "x") == 0);
    ck_assert_int_eq(cluster_count(c, "v1/pods", "x"), 0);
    ck_assert_int_eq(cluster_count(c, "apps/v1/replicasets", "x"), 0);
    cluster_free(c);
}
END_TEST

START_TEST(deletion_that_orphans)
{
    struct cluster *c = begin("*,-namespace-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(2, "a:1"));
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "2"));
    delete_with(c, "apps/v1/deployments", "web", "Orphan");
    fake_eventually(cluster_count(c, "apps/v1/deployments", "x") == 0);
    cleanup_json cJSON *set = cluster_find(c, "apps/v1/replicasets", NULL, NULL);
    ck_assert_ptr_nonnull(set);
    ck_assert_ptr_null(controller_ref(set));
    ck_assert_int_eq(cluster_count(c, "v1/pods", "x"), 2);
    /* A new deployment of the same template adopts it. */
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(2, "a:1"));
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "2"));
    ck_assert_int_eq(cluster_count(c, "apps/v1/replicasets", "x"), 1);
    cluster_free(c);
}
END_TEST

START_TEST(absent_and_foreign_owners)
{
    struct cluster *c = begin("garbage-collector-controller");
    cluster_add(c, "v1/configmaps",
                "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"owner\","
                "\"namespace\":\"x\"}}");
    cleanup_free char *uid = fake_field(c->api, "v1/configmaps", "x", "owner", "metadata.uid");
    cleanup_free char *kept =
        mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"kept\","
                   "\"namespace\":\"x\",\"ownerReferences\":[{\"apiVersion\":"
                   "\"v1\",\"kind\":\"ConfigMap\",\"name\":\"owner\",\"uid\":\"%s\"},{"
                   "\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"name\":\"gone\","
                   "\"uid\":\"none\"}]}}",
                   uid);
    cluster_add(c, "v1/secrets", kept);
    cluster_add(c, "v1/secrets",
                "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"lost\","
                "\"namespace\":\"x\",\"ownerReferences\":[{\"apiVersion\":\"v1\","
                "\"kind\":\"ConfigMap\",\"name\":\"owner\",\"uid\":\"another-uid\"}]}}");
    cluster_add(c, "v1/secrets",
                "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"unknown\","
                "\"namespace\":\"x\",\"ownerReferences\":[{\"apiVersion\":"
                "\"example.com/v1\",\"kind\":\"Thing\",\"name\":\"t\",\"uid\":\"t\"}]}}");
    fake_eventually(field_is(c, "v1/secrets", "x", "lost", "metadata.name", ""));
    /* One owner left: the dangling reference goes, the object stays. */
    fake_eventually(!field_has(c, "v1/secrets", "x", "kept", "metadata.ownerReferences", "gone"));
    ck_assert(field_is(c, "v1/secrets", "x", "unknown", "metadata.name", "unknown"));
    fake_delete(c->api, "v1/configmaps", "x", "owner");
    fake_eventually(field_is(c, "v1/secrets", "x", "kept", "metadata.name", ""));
    ck_assert(field_is(c, "v1/secrets", "x", "unknown", "metadata.name",
                       "unknown")); /* of a kind that nobody knows: hands off */
    cluster_free(c);
}
END_TEST

START_TEST(a_namespace_goes_with_all_it_has)
{
    struct cluster *c = begin("*");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(2, "a:1"));
    cluster_add(c, "v1/secrets",
                "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"metadata\":{\"name\":\"held\","
                "\"namespace\":\"x\",\"finalizers\":[\"example.com/hold\"]}}");
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "2"));
    fake_eventually(field_is(c, "v1/serviceaccounts", "x", "default", "metadata.name", "default"));
    delete_with(c, "v1/namespaces", "x", "Background");
    with_kubelets(c, cluster_count(c, "v1/pods", "x") == 0);
    fake_eventually(has_condition(c, "v1/namespaces", "", "x", "NamespaceContentRemaining",
                                  "SomeResourcesRemain"));
    fake_eventually(has_condition(c, "v1/namespaces", "", "x", "NamespaceFinalizersRemaining",
                                  "SomeFinalizersRemain"));
    fake_eventually(has_condition(c, "v1/namespaces", "", "x", "NamespaceDeletionContentFailure",
                                  "ContentDeleted"));
    fake_eventually(cluster_count(c, "apps/v1/deployments", "x") == 0 &&
                    cluster_count(c, "v1/serviceaccounts", "x") == 0);
    fake_change(c->api, "v1/secrets", "x", "held", "{\"metadata\":{\"finalizers\":[]}}");
    fake_delete(c->api, "v1/secrets", "x", "held");
    fake_eventually(cluster_count(c, "v1/namespaces", NULL) == 0);
    cluster_free(c);
}
END_TEST

static bool no_execute(const cJSON *node, const void *key)
{
    const cJSON *t;
    cJSON_ArrayForEach(
        t, json_path(node, "spec.taints")) if (!strcmp(json_str_or(t, "key", ""), key) &&
                                               !strcmp(json_str_or(t, "effect", ""),
                                                       "NoExecute")) return true;
    return false;
}

static bool any_node(struct cluster *c, const char *taint)
{
    cleanup_json cJSON *n = cluster_find(c, "v1/nodes", no_execute, taint);
    return n != NULL;
}

static void add_node(struct cluster *c, const char *name)
{
    cleanup_free char *text = mem_printf(
        "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"%s\"},\"spec\":{}}", name);
    cluster_add(c, "v1/nodes", text);
}

START_TEST(a_returned_node_gets_its_old_ranges)
{
    struct cluster *c = cluster_new();
    struct manager_options o;
    manager_default_options(&o);
    o.cluster_cidr = "10.244.0.0/16,fd00:244::/56";
    cluster_start(c, "node-ipam-controller", &o);
#define RANGES(name, want) field_is(c, "v1/nodes", "", name, "spec.podCIDRs", want)
    add_node(c, "n1");
    fake_eventually(RANGES("n1", "[\"10.244.0.0/24\",\"fd00:244::/64\"]"));
    ck_assert(field_is(c, "v1/nodes", "", "n1", "spec.podCIDR", "10.244.0.0/24"));
    add_node(c, "n2");
    fake_eventually(RANGES("n2", "[\"10.244.1.0/24\",\"fd00:244:0:1::/64\"]"));
    ck_assert(kube_delete(c->client, "/api/v1/nodes/n1", NULL, -1, NULL, NULL));
    add_node(c, "n3"); /* another's range is not the first that it gets */
    fake_eventually(RANGES("n3", "[\"10.244.2.0/24\",\"fd00:244:0:2::/64\"]"));
    add_node(c, "n1");
    fake_eventually(RANGES("n1", "[\"10.244.0.0/24\",\"fd00:244::/64\"]"));
    cluster_free(c);
}
END_TEST

START_TEST(a_silent_node_is_tainted_and_emptied)
{
    struct cluster *c = cluster_new();
    struct manager_options o;
    manager_default_options(&o);
    o.node_monitor_period_ms = 50;
    o.node_monitor_grace_period_ms = 1500;
    o.cluster_cidr = "10.244.0.0/16";
    cluster_add(c, "v1/nodes",
                "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n1\"},\"spec\":{"
                "},\"status\":{\"conditions\":[{\"type\":"
                "\"Ready\",\"status\":\"True\",\"lastHeartbeatTime\":\"1\"}]}}");
    cluster_add(c, "v1/nodes",
                "{\"apiVersion\":\"v1\",\"kind\":\"Node\",\"metadata\":{\"name\":\"n2\"},\"spec\":{"
                "\"podCIDR\":\"10.244.0.0/24\"},\"status\":{\"conditions\":[{"
                "\"type\":\"Ready\",\"status\":\"True\",\"lastHeartbeatTime\":\"1\"}]}}");
    cluster_add(c, "coordination.k8s.io/v1/leases",
                "{\"metadata\":{\"name\":\"n2\",\"namespace\":\"kube-node-lease\"},\"spec\":{"
                "\"renewTime\":\"0\"}}");
    static const char *const pods[][2] = {
        {"plain", "[]"},
        {"patient", "[{\"key\":\"node.kubernetes.io/"
                    "unreachable\",\"operator\":\"Exists\",\"tolerationSeconds\":2}]"},
        {"stoic", "[{\"operator\":\"Exists\"}]"}};
    for (size_t i = 0; i < ARRAY_LEN(pods); i++) {
        cleanup_free char *text =
            mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%s\","
                       "\"namespace\":\"x\"},\"spec\":{\"nodeName\":\"n1\","
                       "\"tolerations\":%s},\"status\":{\"phase\":\"Running\",\"conditions\":[{"
                       "\"type\":\"Ready\",\"status\":\"True\"}]}}",
                       pods[i][0], pods[i][1]);
        cluster_add(c, "v1/pods", text);
    }
    cluster_start(c,
                  "node-lifecycle-controller,taint-"
                  "eviction-controller,node-ipam-controller",
                  &o);
    fake_eventually(field_is(c, "v1/nodes", "", "n1", "spec.podCIDR", "10.244.1.0/24"));
    /* n2 renews its Lease, n1 is silent. */
    int64_t until = time_monotonic_ms() + 10000;
    for (int i = 0; time_monotonic_ms() < until && !any_node(c, "node.kubernetes.io/unreachable");
         i++) {
        cleanup_free char *patch = mem_printf("{\"spec\":{\"renewTime\":\"%d\"}}", i);
        fake_change(c->api, "coordination.k8s.io/v1/leases", "kube-node-lease", "n2", patch);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    cleanup_json cJSON *bad =
        cluster_find(c, "v1/nodes", no_execute, "node.kubernetes.io/unreachable");
    ck_assert_ptr_nonnull(bad);
    ck_assert_str_eq(meta_name(bad), "n1");
    cleanup_free char *conditions = fake_field(c->api, "v1/nodes", "", "n1", "status.conditions");
    ck_assert_ptr_nonnull(strstr(conditions, "Kubelet stopped posting node status."));
    ck_assert(has_condition(c, "v1/nodes", "", "n1", "Ready", "NodeStatusUnknown"));
    ck_assert(has_condition(c, "v1/nodes", "", "n1", "MemoryPressure", "NodeStatusNeverUpdated"));
    cJSON *pod = NULL;
    fake_eventually((cJSON_Delete(pod), pod = cluster_find(c, "v1/pods", NULL, NULL),
                     cluster_count(c, "v1/pods", NULL) > 0 &&
                         !field_is(c, "v1/pods", "x", "plain", "metadata.deletionTimestamp", "")));
    cJSON_Delete(pod);
    fake_eventually(
        has_condition(c, "v1/pods", "x", "plain", "DisruptionTarget", "DeletionByTaintManager"));
    fake_eventually(!has_ready_pod(c));
    ck_assert(field_is(c, "v1/pods", "x", "patient", "metadata.deletionTimestamp", ""));
    /* Keep n2 alive while the patient one's time runs out. */
    for (int i = 1000; time_monotonic_ms() < until &&
                       field_is(c, "v1/pods", "x", "patient", "metadata.deletionTimestamp", "");
         i++) {
        cleanup_free char *patch = mem_printf("{\"spec\":{\"renewTime\":\"%d\"}}", i);
        fake_change(c->api, "coordination.k8s.io/v1/leases", "kube-node-lease", "n2", patch);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    ck_assert(!field_is(c, "v1/pods", "x", "patient", "metadata.deletionTimestamp", ""));
    ck_assert(field_is(c, "v1/pods", "x", "stoic", "metadata.deletionTimestamp", ""));
    ck_assert(!any_node(c, "node.kubernetes.io/not-ready"));
    /* It comes back: no taint stays. */
    fake_change(c->api, "v1/nodes", "", "n1",
                "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\","
                "\"lastHeartbeatTime\":\"2\"}]}}");
    fake_eventually(!any_node(c, "node.kubernetes.io/unreachable"));
    fake_eventually(has_event(c, "NodeNotReady", "n"));
    fake_eventually(has_event(c, "RegisteredNode", "Registered Node n"));
    fake_eventually(has_event(c, "TaintManagerEviction", "Marking for deletion Pod x/"));
    cluster_free(c);
}
END_TEST

START_TEST(silence_of_the_api_is_not_that_of_nodes)
{
    struct cluster *c = cluster_new();
    struct manager_options o;
    manager_default_options(&o);
    o.node_monitor_period_ms = 50;
    o.node_monitor_grace_period_ms = 1000;
    cluster_add(c, "v1/nodes",
                "{\"metadata\":{\"name\":\"n1\"},\"spec\":{},\"status\":{\"conditions\":[{\"type\":"
                "\"Ready\",\"status\":\"True\",\"lastHeartbeatTime\":\"1\"}]}}");
    cluster_start(c, "node-lifecycle-controller", &o);
    fake_eventually(has_event(c, "RegisteredNode", "n1"));
    /* The API is away for longer than the grace period. */
    pthread_mutex_lock(&c->api->lock);
    c->api->fail_requests = 1000000;
    c->api->fail_code = 503;
    pthread_mutex_unlock(&c->api->lock);
    nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 500000000}, NULL);
    pthread_mutex_lock(&c->api->lock);
    c->api->fail_requests = 0;
    pthread_mutex_unlock(&c->api->lock);
    /* The node has its whole time again: well after the API is back it is not given up... */
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
    ck_assert(!has_condition(c, "v1/nodes", "", "n1", "Ready", "NodeStatusUnknown"));
    /* ... but in the end, as it really is silent. */
    fake_eventually(has_condition(c, "v1/nodes", "", "n1", "Ready", "NodeStatusUnknown"));
    cluster_free(c);
}
END_TEST

START_TEST(pods_of_gone_nodes_and_too_many_terminated)
{
    struct cluster *c = cluster_new();
    struct manager_options o;
    manager_default_options(&o);
    o.pod_gc_period_ms = 50;
    o.pod_gc_quarantine_ms = 100;
    o.terminated_pod_gc_threshold = 2;
    cluster_add(c, "v1/nodes",
                "{\"metadata\":{\"name\":\"n1\"},\"spec\":{},\"status\":{\"conditions\":[{\"type\":"
                "\"Ready\",\"status\":\"True\"}]}}");
    cluster_add(c, "v1/pods",
                "{\"metadata\":{\"name\":\"lost\",\"namespace\":\"x\"},\"spec\":{\"nodeName\":"
                "\"gone\"},\"status\":{\"phase\":\"Running\"}}");
    cluster_add(c, "v1/pods",
                "{\"metadata\":{\"name\":\"fine\",\"namespace\":\"x\"},\"spec\":{\"nodeName\":"
                "\"n1\"},\"status\":{\"phase\":\"Running\"}}");
    for (int i = 0; i < 4; i++) {
        cleanup_free char *text =
            mem_printf("{\"metadata\":{\"name\":\"done-%d\",\"namespace\":\"x\","
                       "\"creationTimestamp\":\"2026-01-01T00:00:0%dZ\"},\"spec\":{\"nodeName\":"
                       "\"n1\"},\"status\":{\"phase\":\"Succeeded\"}}",
                       i, i);
        cluster_add(c, "v1/pods", text);
    }
    cluster_start(c, "pod-garbage-collector-controller", &o);
    fake_eventually(cluster_count(c, "v1/pods", "x") == 3);
    ck_assert(field_is(c, "v1/pods", "x", "done-0", "metadata.name", ""));
    ck_assert(field_is(c, "v1/pods", "x", "done-3", "metadata.name", "done-3"));
    ck_assert(field_is(c, "v1/pods", "x", "lost", "metadata.name", ""));
    ck_assert(field_is(c, "v1/pods", "x", "fine", "metadata.name", "fine"));
    cluster_free(c);
}
END_TEST

START_TEST(another_manager_goes_on_where_one_stopped)
{
    struct cluster *c = begin("replicaset-controller,deployment-controller");
    cluster_add(c, "apps/v1/deployments", DEPLOYMENT(5, "a:1"));
    fake_eventually(cluster_count(c, "v1/pods", "x") > 0);
    cluster_stop_manager(c);
    cluster_start(c, "replicaset-controller,deployment-controller", NULL);
    with_kubelets(c, deployment_is(c, "status.availableReplicas", "5"));
    ck_assert_int_eq(cluster_count(c, "v1/pods", "x"), 5);
    ck_assert_int_eq(cluster_count(c, "apps/v1/replicasets", "x"), 1);
    cluster_free(c);
}
END_TEST

/* A case for each, so that CK_RUN_CASE chooses one. */
static void add(Suite *s, const TTest *test, const char *name)
{
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test);
    suite_add_tcase(s, t);
}
#define ADD(s, test) add(s, test, #test)

extern int log_verbosity;
int main(void)
{
    log_verbosity = getenv("V") ? atoi(getenv("V")) : 0;
    Suite *s = suite_create("controllers");
    ADD(s, a_deployment_becomes_pods);
    ADD(s, a_rollout_and_its_undo);
    ADD(s, recreate_paused_and_history_limit);
    ADD(s, pods_are_replaced_adopted_released);
    ADD(s, never_one_pod_too_many);
    ADD(s, load_balancers_get_addresses);
    ADD(s, endpoints_are_mirrored);
    ADD(s, traffic_stays_near);
    ADD(s, endpoints_follow_readiness);
    ADD(s, deletion_in_the_background);
    ADD(s, deletion_in_the_foreground);
    ADD(s, deletion_that_orphans);
    ADD(s, absent_and_foreign_owners);
    ADD(s, a_namespace_goes_with_all_it_has);
    ADD(s, a_returned_node_gets_its_old_ranges);
    ADD(s, a_silent_node_is_tainted_and_emptied);
    ADD(s, silence_of_the_api_is_not_that_of_nodes);
    ADD(s, pods_of_gone_nodes_and_too_many_terminated);
    ADD(s, another_manager_goes_on_where_one_stopped);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
