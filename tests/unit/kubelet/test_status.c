/* Phases, conditions and container statuses; the node's conditions and CNI configuration. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/node/node.h"
#include "kubelet/pod/status.h"
#include "kubelet/volume/atomic.h"

static cJSON *parse(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s: %s", error_message(err), text);
    return o;
}

#define RUNNING   "{\"running\":{}}"
#define WAITING   "{\"waiting\":{}}"
#define DONE      "{\"terminated\":{\"exitCode\":0}}"
#define FAILED    "{\"terminated\":{\"exitCode\":1}}"

START_TEST(phases)
{
    static const struct {
        const char *policy, *init, *a, *b, *last_a; /* states; last_a: lastState of a */
        bool terminal;
        const char *want;
    } cases[] = {
        {"Always", NULL, WAITING, WAITING, NULL, false, "Pending"},
        {"Always", NULL, RUNNING, WAITING, NULL, false, "Pending"},
        {"Always", NULL, RUNNING, RUNNING, NULL, false, "Running"},
        {"Always", NULL, DONE, DONE, NULL, false, "Running"},
        {"Always", NULL, WAITING, RUNNING, FAILED, false, "Running"}, /* between two runs */
        {"OnFailure", NULL, DONE, DONE, NULL, false, "Succeeded"},
        {"OnFailure", NULL, FAILED, DONE, NULL, false, "Running"},
        {"OnFailure", NULL, RUNNING, DONE, NULL, false, "Running"},
        {"Never", NULL, DONE, DONE, NULL, false, "Succeeded"},
        {"Never", NULL, FAILED, DONE, NULL, false, "Failed"},
        {"Never", NULL, FAILED, RUNNING, NULL, false, "Running"},
        {"Always", RUNNING, WAITING, WAITING, NULL, false, "Pending"},
        {"Always", FAILED, WAITING, WAITING, NULL, false, "Pending"},
        {"Never", FAILED, WAITING, WAITING, NULL, false, "Failed"},
        {"Always", DONE, RUNNING, RUNNING, NULL, false, "Running"},
        {"Always", NULL, DONE, DONE, NULL, true, "Succeeded"}, /* deleted, ended well */
        {"Always", NULL, FAILED, DONE, NULL, true, "Failed"},
        {"Always", NULL, WAITING, WAITING, NULL, true, "Failed"}, /* deleted before it ran */
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        cleanup_free char *pod_text =
            mem_printf("{\"spec\":{\"restartPolicy\":\"%s\",%s\"containers\":[{\"name\":\"a\"},{\"name\":\"b\"}]}}", cases[i].policy,
                       cases[i].init ? "\"initContainers\":[{\"name\":\"i\"}]," : "");
        cleanup_free char *init_text = mem_printf("[{\"name\":\"i\",\"state\":%s}]", cases[i].init ? cases[i].init : "{}");
        cleanup_free char *text = mem_printf("[{\"name\":\"a\",\"state\":%s,\"lastState\":%s},{\"name\":\"b\",\"state\":%s}]", cases[i].a,
                                             cases[i].last_a ? cases[i].last_a : "{}", cases[i].b);
        cleanup_json cJSON *pod = parse(pod_text), *init = parse(init_text), *statuses = parse(text);
        const char *got = status_phase(pod, init, statuses, cases[i].terminal);
        ck_assert_msg(strcmp(got, cases[i].want) == 0, "case %zu: %s, not %s", i, got, cases[i].want);
    }
}
END_TEST

static const cJSON *condition(const cJSON *status, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_get(status, "conditions"))
    {
        if (strcmp(json_str_or(c, "type", ""), type) == 0)
            return c;
    }
    ck_abort_msg("no condition %s", type);
}

static struct runtime_container instance(const char *name, enum container_state state, int exit_code, int restarts)
{
    struct runtime_container c = {.id = (char *)"c1", .sandbox_id = (char *)"s1", .name = (char *)name, .state = state,
                                  .exit_code = exit_code, .restart_count = restarts, .image = (char *)"i:1",
                                  .image_ref = (char *)"sha256:1", .started_at = 1000000000, .has_status = true};
    c.finished_at = state == CONTAINER_EXITED ? 2000000000 : 0;
    return c;
}

START_TEST(status_of_a_running_pod)
{
    cleanup_json cJSON *pod = parse("{\"metadata\":{\"generation\":2},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"i:1\","
                                    "\"resources\":{\"requests\":{\"cpu\":\"1\"}}}],\"readinessGates\":[{\"conditionType\":\"gate\"}]}}");
    struct runtime_sandbox sandbox = {.id = (char *)"s1", .ready = true};
    struct runtime_container c = instance("a", CONTAINER_RUNNING, 0, 1);
    struct pod_container_state s = {.name = (char *)"a", .kind = CONTAINER_MAIN, .instance = (char *)"c1", .started = true};
    struct runtime_sandboxes sandboxes = {&sandbox, 1};
    struct runtime_containers containers = {&c, 1};
    struct status_input in = {.pod = pod, .sandboxes = &sandboxes, .containers = &containers, .states = &s, .state_count = 1,
                              .pod_ips = "10.0.0.2", .host_ip = "10.9.0.1", .now = 1000};
    cleanup_json cJSON *unready = status_compute(&in);
    ck_assert_str_eq(json_str(unready, "phase"), "Running");
    ck_assert_str_eq(json_str(condition(unready, "Ready"), "status"), "False");
    ck_assert_str_eq(json_str(condition(unready, "Ready"), "reason"), "ContainersNotReady");
    ck_assert_str_eq(json_str(condition(unready, "ContainersReady"), "message"), "containers with unready status: [a]");
    ck_assert_str_eq(json_str(condition(unready, "PodReadyToStartContainers"), "status"), "True");
    ck_assert_str_eq(json_str(condition(unready, "Initialized"), "status"), "True");
    ck_assert_str_eq(json_str(unready, "podIP"), "10.0.0.2");
    ck_assert_str_eq(json_str(unready, "startTime"), "1970-01-01T00:16:40Z");
    ck_assert_str_eq(json_str(unready, "qosClass"), "Burstable");
    const cJSON *cs = json_get(unready, "containerStatuses")->child;
    ck_assert_str_eq(json_str(cs, "state.running.startedAt"), "1970-01-01T00:00:01Z");
    ck_assert_str_eq(json_str(cs, "containerID"), "containerd://c1");
    ck_assert_int_eq(json_int(cs, "restartCount", -1), 1);

    /* Ready, but for the gate; the other conditions keep the times of their transitions. */
    s.ready = true;
    in.old_status = unready;
    in.now = 2000;
    cleanup_json cJSON *gated = status_compute(&in);
    ck_assert_str_eq(json_str(condition(gated, "ContainersReady"), "status"), "True");
    ck_assert_str_eq(json_str(condition(gated, "Ready"), "reason"), "ReadinessGatesNotReady");
    ck_assert_str_eq(json_str(condition(gated, "Ready"), "message"),
                     "corresponding condition of pod readiness gate \"gate\" does not exist.");
    ck_assert_str_eq(json_str(condition(gated, "Ready"), "lastTransitionTime"), "1970-01-01T00:16:40Z");
    ck_assert_str_eq(json_str(condition(gated, "ContainersReady"), "lastTransitionTime"), "1970-01-01T00:33:20Z");
    ck_assert_str_eq(json_str(gated, "startTime"), "1970-01-01T00:16:40Z");
    json_set(pod, "status.conditions", parse("[{\"type\":\"gate\",\"status\":\"True\"}]"));
    cleanup_json cJSON *ready = status_compute(&in);
    ck_assert_str_eq(json_str(condition(ready, "Ready"), "status"), "True");

    /* Waiting for its next run. */
    c = instance("a", CONTAINER_EXITED, 1, 1);
    s.waiting_reason = (char *)"CrashLoopBackOff";
    s.waiting_message = (char *)"back-off 10s";
    cleanup_json cJSON *looping = status_compute(&in);
    cs = json_get(looping, "containerStatuses")->child;
    ck_assert_str_eq(json_str(cs, "state.waiting.reason"), "CrashLoopBackOff");
    ck_assert_int_eq(json_int(cs, "lastState.terminated.exitCode", -1), 1);
    ck_assert_str_eq(json_str(cs, "lastState.terminated.reason"), "Error");
    ck_assert(!json_bool(cs, "ready", true));
    ck_assert_str_eq(json_str(looping, "phase"), "Running");

    /* At its end the last state is what it is; after the runtime has forgotten it, what was reported. */
    in.terminal = true;
    cleanup_json cJSON *ended = status_compute(&in);
    ck_assert_str_eq(json_str(ended, "phase"), "Failed");
    ck_assert_int_eq(json_int(json_get(ended, "containerStatuses")->child, "state.terminated.exitCode", -1), 1);
    in.old_status = ended;
    in.pod_ips = NULL;
    containers.count = sandboxes.count = 0;
    cleanup_json cJSON *forgotten = status_compute(&in);
    ck_assert_str_eq(json_str(forgotten, "phase"), "Failed");
    ck_assert_int_eq(json_int(json_get(forgotten, "containerStatuses")->child, "state.terminated.exitCode", -1), 1);
    ck_assert_str_eq(json_str(forgotten, "podIP"), "10.0.0.2");
    ck_assert_str_eq(json_str(condition(forgotten, "PodReadyToStartContainers"), "status"), "False");
}
END_TEST

START_TEST(status_while_initializing)
{
    cleanup_json cJSON *pod = parse("{\"spec\":{\"initContainers\":[{\"name\":\"i\"},{\"name\":\"s\",\"restartPolicy\":\"Always\"}],"
                                    "\"containers\":[{\"name\":\"a\"}]}}");
    struct runtime_sandboxes sandboxes = {0};
    struct runtime_container c[2] = {instance("i", CONTAINER_RUNNING, 0, 0)};
    struct runtime_containers containers = {c, 1};
    struct pod_container_state s[] = {{.name = (char *)"i", .kind = CONTAINER_INIT, .instance = (char *)"c1", .started = true},
                                      {.name = (char *)"s", .kind = CONTAINER_SIDECAR},
                                      {.name = (char *)"a", .kind = CONTAINER_MAIN}};
    struct status_input in = {.pod = pod, .sandboxes = &sandboxes, .containers = &containers, .states = s, .state_count = 3,
                              .host_ip = "10.9.0.1", .now = 1000};
    cleanup_json cJSON *one = status_compute(&in);
    ck_assert_str_eq(json_str(one, "phase"), "Pending");
    ck_assert_str_eq(json_str(condition(one, "Initialized"), "message"), "containers with incomplete status: [i s]");
    ck_assert_str_eq(json_str(json_get(one, "containerStatuses")->child, "state.waiting.reason"), "PodInitializing");
    c[0] = instance("i", CONTAINER_EXITED, 0, 0);
    cleanup_json cJSON *two = status_compute(&in);
    ck_assert_str_eq(json_str(condition(two, "Initialized"), "message"), "containers with incomplete status: [s]");
    ck_assert(json_bool(json_get(two, "initContainerStatuses")->child, "ready", false));
    c[1] = instance("s", CONTAINER_RUNNING, 0, 0);
    c[1].id = (char *)"c2";
    s[1].instance = (char *)"c2";
    s[1].started = s[1].ready = true;
    containers.count = 2;
    cleanup_json cJSON *three = status_compute(&in);
    ck_assert_str_eq(json_str(condition(three, "Initialized"), "status"), "True");
    ck_assert_str_eq(json_str(json_get(three, "containerStatuses")->child, "state.waiting.reason"), "ContainerCreating");
}
END_TEST

START_TEST(status_of_a_rejected_pod)
{
    cleanup_json cJSON *pod = parse("{\"spec\":{\"containers\":[{\"name\":\"a\"}]}}");
    struct runtime_sandboxes sandboxes = {0};
    struct runtime_containers containers = {0};
    struct status_input in = {.pod = pod, .sandboxes = &sandboxes, .containers = &containers, .end_phase = "Failed",
                              .end_reason = "OutOfcpu", .end_message = "Pod was rejected: ...", .terminal = true, .now = 5};
    cleanup_json cJSON *s = status_compute(&in);
    ck_assert_str_eq(json_str(s, "phase"), "Failed");
    ck_assert_str_eq(json_str(s, "reason"), "OutOfcpu");
    ck_assert_ptr_null(json_get(s, "containerStatuses"));
    ck_assert_str_eq(json_str(condition(s, "Ready"), "reason"), "PodFailed");
}
END_TEST

/* --- the node --- */

static const cJSON *in_array(const cJSON *a, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, a)
    {
        if (strcmp(json_str_or(c, "type", ""), type) == 0)
            return c;
    }
    ck_abort_msg("no %s", type);
}

START_TEST(node_readiness)
{
    struct node_pressure calm = {0}, full = {.disk = true};
    cleanup_json cJSON *ready = node_conditions(NULL, &calm, NULL, NULL, 1000);
    ck_assert_str_eq(json_str(in_array(ready, "Ready"), "reason"), "KubeletReady");
    ck_assert_str_eq(json_str(in_array(ready, "MemoryPressure"), "reason"), "KubeletHasSufficientMemory");
    cleanup_json cJSON *later =
        node_conditions(ready, &full, NULL, "NetworkReady=false reason:NetworkPluginNotReady message:cni", 2000);
    ck_assert_str_eq(json_str(in_array(later, "Ready"), "status"), "False");
    ck_assert_str_eq(json_str(in_array(later, "Ready"), "message"),
                     "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni");
    ck_assert_str_eq(json_str(in_array(later, "Ready"), "lastTransitionTime"), "1970-01-01T00:33:20Z");
    ck_assert_str_eq(json_str(in_array(later, "DiskPressure"), "status"), "True");
    ck_assert_str_eq(json_str(in_array(later, "PIDPressure"), "lastTransitionTime"), "1970-01-01T00:16:40Z");
    ck_assert_str_eq(json_str(in_array(later, "PIDPressure"), "lastHeartbeatTime"), "1970-01-01T00:33:20Z");
}
END_TEST

START_TEST(node_facts)
{
    struct node_config c = {.system_reserved = "cpu=100m,memory=64Mi", .kube_reserved = "cpu=100m", .runtime = "containerd://1"};
    struct node_facts f;
    struct error *err = NULL;
    ck_assert_msg(node_read_facts(&c, "/", 110, &f, &err), "%s", error_message(err));
    ck_assert_int_eq(f.allocatable_cpu_milli, f.cpu_milli - 200);
    ck_assert_int_eq(f.allocatable_memory, f.memory - (64 << 20));
    cleanup_json cJSON *status = cJSON_CreateObject();
    node_set_facts(status, &f, &c);
    ck_assert_str_eq(json_map_str(json_get(status, "capacity"), "pods"), "110");
    ck_assert_ptr_nonnull(strstr(json_map_str(json_get(status, "allocatable"), "cpu"), "m"));
    ck_assert_str_eq(json_str(status, "nodeInfo.operatingSystem"), "linux");
    static const char *const bad[] = {"cpu", "cpu=x", "memory=-1Gi", "cpu=100000"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        c.system_reserved = bad[i];
        cleanup_error struct error *why = NULL;
        ck_assert_msg(!node_read_facts(&c, "/", 110, &f, &why), "%s", bad[i]);
    }
}
END_TEST

START_TEST(cni)
{
    char root[] = "/tmp/skiff-cni-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(root));
    cleanup_free char *dir = mem_printf("%s/net.d", root), *file = mem_printf("%s/10-skiff.conflist", dir);
    bool changed = false;
    ck_assert(cni_configure(dir, "10.244.3.0/24", "127.0.0.1", &changed, NULL));
    ck_assert(changed);
    struct buf b = {0};
    ck_assert(buf_read_file(&b, file, NULL));
    cleanup_json cJSON *conf = parse(buf_str(&b));
    ck_assert_str_eq(json_str(cJSON_GetArrayItem(json_get(conf, "plugins"), 0), "type"), "bridge");
    ck_assert_ptr_nonnull(strstr(buf_str(&b), "10.244.3.0/24"));
    ck_assert_ptr_nonnull(strstr(buf_str(&b), "\"mtu\": 65536")); /* loopback's */
    buf_free(&b);
    ck_assert(cni_configure(dir, "10.244.3.0/24,fd00:244:3::/64", "192.0.2.1", &changed, NULL));
    ck_assert(changed);
    ck_assert(buf_read_file(&b, file, NULL));
    cleanup_json cJSON *dual = parse(buf_str(&b));
    const cJSON *ipam = json_get(json_get(dual, "plugins")->child, "ipam");
    cleanup_free char *ranges = json_text(json_get(ipam, "ranges")), *routes = json_text(json_get(ipam, "routes"));
    ck_assert_str_eq(ranges, "[[{\"subnet\":\"10.244.3.0/24\"}],[{\"subnet\":\"fd00:244:3::/64\"}]]");
    ck_assert_str_eq(routes, "[{\"dst\":\"0.0.0.0/0\"},{\"dst\":\"::/0\"}]");
    buf_free(&b);
    ck_assert(cni_configure(dir, "10.244.3.0/24", "127.0.0.1", &changed, NULL));
    ck_assert(cni_configure(dir, "10.244.3.0/24", "127.0.0.1", &changed, NULL));
    ck_assert(!changed);
    ck_assert(!cni_configure(dir, "\"}],\"x", "127.0.0.1", &changed, NULL));
    /* The user's own is left alone. */
    cleanup_free char *own = mem_printf("%s/05-mine.conf", dir);
    ck_assert(buf_write_file_atomic(own, "{}", 2, 0644, NULL));
    ck_assert(cni_configure(dir, "10.244.4.0/24", "127.0.0.1", &changed, NULL));
    ck_assert(!changed);
    ck_assert(remove_tree(root, NULL));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kubelet status");
    TCase *t = tcase_create("all");
    tcase_add_test(t, phases);
    tcase_add_test(t, status_of_a_running_pod);
    tcase_add_test(t, status_while_initializing);
    tcase_add_test(t, status_of_a_rejected_pod);
    tcase_add_test(t, node_readiness);
    tcase_add_test(t, node_facts);
    tcase_add_test(t, cni);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
