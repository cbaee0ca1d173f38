/* Which containers start again, what ephemeral ones count for, and limits while a pod is resized. */
#include <check.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/cgroup.h"
#include "kubelet/pod/status.h"

static cJSON *parse(const char *text)
{
    cJSON *o = json_parse(text, strlen(text), NULL);
    ck_assert_msg(o != NULL, "%s", text);
    return o;
}

static bool again(const char *policy, const char *container, enum container_kind kind, int code)
{
    cleanup_free char *text = mem_printf("{\"spec\":{\"restartPolicy\":\"%s\"}}", policy);
    cleanup_json cJSON *pod = parse(text), *spec = parse(container);
    struct pod_container c = {spec, "c", kind};
    return container_restarts(pod, &c, code);
}

START_TEST(test_restarts)
{
    ck_assert(again("Always", "{}", CONTAINER_MAIN, 0));
    ck_assert(!again("OnFailure", "{}", CONTAINER_MAIN, 0));
    ck_assert(again("OnFailure", "{}", CONTAINER_MAIN, 1));
    ck_assert(!again("Never", "{}", CONTAINER_MAIN, 1));
    /* Its own policy goes before its pod's, its rules before both. */
    ck_assert(!again("Always", "{\"restartPolicy\":\"Never\"}", CONTAINER_MAIN, 1));
    ck_assert(again("Never", "{\"restartPolicy\":\"Always\"}", CONTAINER_MAIN, 0));
#define RULES(op) \
    "{\"restartPolicy\":\"Never\",\"restartPolicyRules\":[{\"action\":\"Restart\",\"exitCodes\":{\"operator\":\"" op "\",\"values\":[42,43]}}]}"
    ck_assert(again("Never", RULES("In"), CONTAINER_MAIN, 43));
    ck_assert(!again("Never", RULES("In"), CONTAINER_MAIN, 1));
    ck_assert(again("Never", RULES("NotIn"), CONTAINER_MAIN, 1));
    ck_assert(!again("Always", "{}", CONTAINER_EPHEMERAL, 1));
    ck_assert(!again("Never", "{\"restartPolicy\":\"Never\",\"restartPolicyRules\":{\"x\":[1]}}", CONTAINER_MAIN, 1));
}
END_TEST

START_TEST(test_ephemeral)
{
    cleanup_json cJSON *pod = parse("{\"metadata\":{},\"spec\":{\"containers\":[{\"name\":\"a\"}],\"ephemeralContainers\":[{\"name\":\"e\","
                                    "\"resources\":{\"requests\":{\"cpu\":\"1\"}}}]}}");
    struct pod_resources r;
    pod_effective_resources(pod, &r);
    ck_assert_int_eq(r.cpu_request_milli, 0);
    ck_assert_str_eq(pod_qos(pod), "BestEffort");
    struct runtime_container items[] = {{.id = (char *)"1", .name = (char *)"a", .state = CONTAINER_RUNNING},
                                        {.id = (char *)"2", .name = (char *)"e", .state = CONTAINER_EXITED, .exit_code = 3}};
    struct runtime_containers containers = {items, 2};
    struct runtime_sandboxes sandboxes = {0};
    struct pod_container_state states[] = {{.name = (char *)"a", .kind = CONTAINER_MAIN, .instance = (char *)"1", .started = true, .ready = true},
                                           {.name = (char *)"e", .kind = CONTAINER_EPHEMERAL, .instance = (char *)"2"}};
    struct status_input in = {.pod = pod, .sandboxes = &sandboxes, .containers = &containers, .states = states, .state_count = 2};
    cleanup_json cJSON *status = status_compute(&in);
    ck_assert_str_eq(json_str(status, "phase"), "Running");
    const cJSON *e = json_get(status, "ephemeralContainerStatuses")->child;
    ck_assert_int_eq(json_int(e, "state.terminated.exitCode", -1), 3);
    ck_assert_ptr_null(json_get(e, "started"));
    const cJSON *c;
    cJSON_ArrayForEach(c, json_get(status, "conditions"))
    {
        if (strcmp(json_str_or(c, "type", ""), "Ready") == 0)
            ck_assert_str_eq(json_str(c, "status"), "True"); /* whatever the ephemeral one does */
    }
}
END_TEST

START_TEST(test_widen)
{
    struct cgroup_limits now = {100, 50000, 1000, 10}, next = {50, -1, 2000, 20};
    cgroup_limits_widen(&now, &next);
    ck_assert_int_eq(now.cpu_shares, 100);
    ck_assert_int_eq(now.cpu_quota, -1);
    ck_assert_int_eq(now.memory, 2000);
    ck_assert_int_eq(now.pids, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lifecycle");
    TCase *t = tcase_create("lifecycle");
    tcase_add_test(t, test_restarts);
    tcase_add_test(t, test_ephemeral);
    tcase_add_test(t, test_widen);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
