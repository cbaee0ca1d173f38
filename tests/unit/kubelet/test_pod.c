/* Whole pods against a runtime and an API server inside the test: start, restart, end, adoption. */
#include <check.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <unistd.h>
#include "fake_runtime.h"
#include "kubelet/kubelet.h"
#include "kubelet/pod/pod.h"
#include "kubelet/volume/atomic.h"

static struct fake_runtime runtime;
static struct kubelet k;
static pthread_mutex_t api_lock = PTHREAD_MUTEX_INITIALIZER;
static cJSON *stored; /* the pod in the API; NULL when deleted */
static int patches, version;
static bool api_down;
static char events[65536];

static void merge(cJSON *to, const cJSON *patch)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, patch)
    {
        if (cJSON_IsNull(e))
            cJSON_DeleteItemFromObjectCaseSensitive(to, e->string);
        else if (cJSON_IsObject(e) && cJSON_IsObject(json_get(to, e->string)))
            merge(json_get(to, e->string), e);
        else
            json_map_set(to, e->string, json_dup(e));
    }
}

static cJSON *request(void *userdata, const char *method, const char *path, const char *type, const cJSON *body,
                      struct error **err)
{
    (void)userdata, (void)type;
    cJSON *answer = NULL;
    pthread_mutex_lock(&api_lock);
    if (api_down) {
        error_setf(err, "connection refused");
    } else if (strstr(path, "/services")) {
        answer = json_parse("{\"items\":[],\"metadata\":{}}", 26, NULL);
    } else if (!stored || !strstr(path, "/pods/web")) {
        error_set(err, 404, "NotFound", "not found");
    } else if (strcmp(method, "PATCH") == 0) {
        patches++;
        ck_assert_str_eq(json_str(body, "metadata.uid"), "u1");
        merge(stored, body);
        char text[32];
        snprintf(text, sizeof(text), "%d", ++version);
        json_set_str(stored, "metadata.resourceVersion", text);
        answer = json_dup(stored);
    } else if (strcmp(method, "DELETE") == 0) {
        ck_assert_int_eq(json_int(body, "gracePeriodSeconds", -1), 0);
        ck_assert_str_eq(json_str(body, "preconditions.uid"), "u1");
        answer = stored;
        stored = NULL;
    }
    pthread_mutex_unlock(&api_lock);
    return answer;
}

static void event(void *userdata, const cJSON *object, const char *field, const char *type, const char *reason,
                  const char *message)
{
    (void)userdata, (void)object;
    pthread_mutex_lock(&api_lock);
    size_t n = strlen(events);
    snprintf(events + n, sizeof(events) - n, "%s %s %s %s\n", type, reason, field ? field : "-", message);
    pthread_mutex_unlock(&api_lock);
}

static char root[64];

static void setup(void)
{
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ck_assert_int_eq(mount("tmpfs", "/var/log", "tmpfs", 0, NULL), 0);
    strcpy(root, "/tmp/skiff-pod-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    memset(&runtime, 0, sizeof(runtime));
    pthread_mutex_init(&runtime.lock, NULL);
    runtime.image_present = true;
    memset(&k, 0, sizeof(k));
    k.node_name = (char *)"n1";
    k.node_ip = (char *)"10.0.0.1";
    k.root_dir = root;
    k.api = (struct kubelet_api){request, event, NULL};
    k.cri = (struct cri){fake_call, &runtime};
    k.pool = pool_new(16);
    k.objects = object_cache_new(&k.api);
    k.cgroups = cgroups_new(root, "/");
    k.translate = (struct translate_node){.cluster_dns = "", .cluster_domain = "cluster.local", .resolv_conf = ""};
    k.volumes = (struct volume_node){root, &k.api, k.objects, NULL, NULL, NULL};
    k.allocatable_cpu_milli = 2000;
    k.allocatable_memory = 1 << 30;
    k.max_pods = 110;
    k.version = (char *)"1.36";
    pthread_mutex_init(&k.lock, NULL);
    pthread_mutex_init(&k.runtime_lock, NULL);
    version = 1;
}

static void forget_all(void)
{
    while (k.pod_count) {
        struct pod *p = pod_ref(k.pods[0]);
        pods_forget(p);
        pod_unref(p);
    }
    free(k.pods);
    k.pods = NULL;
}

static void teardown(void)
{
    atomic_store(&k.stopping, true);
    pool_stop(k.pool);
    forget_all();
    pool_free(k.pool);
    object_cache_free(k.objects);
    cgroups_free(k.cgroups);
    pthread_mutex_destroy(&k.lock);
    cJSON_Delete(stored);
    stored = NULL;
    remove_tree(root, NULL);
}

/* Another kubelet process: nothing of what the old one knew. */
static void restart_kubelet(void)
{
    atomic_store(&k.stopping, true);
    pool_stop(k.pool);
    forget_all();
    pool_free(k.pool);
    k.pool = pool_new(16);
    atomic_store(&k.stopping, false);
}

static void tell(enum informer_event e)
{
    pthread_mutex_lock(&api_lock);
    struct kube_object *o = kube_object_new(json_dup(stored));
    pthread_mutex_unlock(&api_lock);
    pods_handle_event(&k, e, e == INFORMER_ADDED ? NULL : o, e == INFORMER_DELETED ? NULL : o);
    kube_object_unref(o);
}

static void create(const char *spec)
{
    cleanup_free char *text = mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web\",\"namespace\":\"default\","
                                         "\"uid\":\"u1\",\"resourceVersion\":\"1\"},\"spec\":%s}", spec);
    stored = json_parse(text, strlen(text), NULL);
    ck_assert_ptr_nonnull(stored);
    tell(INFORMER_ADDED);
}

static void change(const char *path, cJSON *value)
{
    pthread_mutex_lock(&api_lock);
    json_set(stored, path, value);
    char text[32];
    snprintf(text, sizeof(text), "%d", ++version);
    json_set_str(stored, "metadata.resourceVersion", text);
    pthread_mutex_unlock(&api_lock);
}

static void delete_pod(int grace)
{
    change("metadata.deletionTimestamp", cJSON_CreateString("2026-01-01T00:00:00Z"));
    change("metadata.deletionGracePeriodSeconds", cJSON_CreateNumber(grace));
    tell(INFORMER_UPDATED);
}

static void change_runtime(void (*fn)(void))
{
    pthread_mutex_lock(&runtime.lock);
    fn();
    pthread_mutex_unlock(&runtime.lock);
    pods_relist(&k, true);
}

/* Waits until the stored pod's status has a value at a path; NULL: until the pod is gone. */
static void wait_for(const char *path, const char *want)
{
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&api_lock);
        const char *got = path && stored ? json_str(stored, path) : NULL;
        bool ok = path ? got && strcmp(got, want) == 0 : stored == NULL;
        pthread_mutex_unlock(&api_lock);
        if (ok)
            return;
        usleep(1000);
    }
    cleanup_free char *text = stored ? json_text(json_get(stored, "status")) : mem_strdup("gone");
    ck_abort_msg("%s is not %s: %s\ncalls: %s\nevents: %s", path, want, text, runtime.calls, events);
}

/* The state of the first container's status: "running", "waiting" or "terminated" must be there. */
static void wait_state(const char *array, const char *state)
{
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&api_lock);
        const cJSON *s = json_path(stored, array);
        bool ok = s && s->child && json_path(s->child, state);
        pthread_mutex_unlock(&api_lock);
        if (ok)
            return;
        usleep(1000);
    }
    cleanup_free char *text = json_text(json_get(stored, "status"));
    ck_abort_msg("%s is not %s: %s\ncalls: %s", array, state, text, runtime.calls);
}

static void wait_restarts(int want)
{
    int64_t got = -1;
    for (int i = 0; i < 5000 && got != want; i++) {
        pthread_mutex_lock(&api_lock);
        const cJSON *s = json_path(stored, "status.containerStatuses");
        got = s ? json_int(s->child, "restartCount", -1) : -1;
        pthread_mutex_unlock(&api_lock);
        usleep(1000);
    }
    ck_assert_int_eq(got, want);
}

static void wait_call(const char *text)
{
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&runtime.lock);
        bool ok = strstr(runtime.calls, text) != NULL;
        pthread_mutex_unlock(&runtime.lock);
        if (ok)
            return;
        usleep(1000);
    }
    ck_abort_msg("no call %s in: %s", text, runtime.calls);
}

static void wait_event(const char *text)
{
    for (int i = 0; i < 5000; i++) {
        pthread_mutex_lock(&api_lock);
        bool ok = strstr(events, text) != NULL;
        pthread_mutex_unlock(&api_lock);
        if (ok)
            return;
        usleep(1000);
    }
    ck_abort_msg("no event %s in: %s", text, events);
}

static int calls(const char *text)
{
    int n = 0;
    pthread_mutex_lock(&runtime.lock);
    for (const char *p = runtime.calls; (p = strstr(p, text)); p++)
        n++;
    pthread_mutex_unlock(&runtime.lock);
    return n;
}

static void settle(void)
{
    usleep(150000);
}

#define SIMPLE "{\"containers\":[{\"name\":\"app\",\"image\":\"i:1\"}]}"

START_TEST(starts_and_reports)
{
    create(SIMPLE);
    wait_state("status.containerStatuses", "state.running");
    wait_for("status.phase", "Running");
    wait_for("status.podIP", "10.244.0.5");
    ck_assert_str_eq(runtime.calls, "RunPodSandbox Create(app) Start(app) ");
    settle();
    ck_assert_int_le(patches, 2); /* no status is sent twice */
    wait_event("Normal Pulled spec.containers{app} Container image \"i:1\" already present on machine");
    wait_event("Normal Created spec.containers{app} Created container: app");
    wait_event("Normal Started spec.containers{app} Started container app");
}
END_TEST

static void app_fails(void)
{
    fake_exit(&runtime, fake_newest(&runtime, "app"), 7);
}
static void app_succeeds(void)
{
    fake_exit(&runtime, fake_newest(&runtime, "app"), 0);
}

START_TEST(restarts_with_backoff)
{
    create(SIMPLE);
    wait_call("Start(app)");
    wait_state("status.containerStatuses", "state.running");
    change_runtime(app_fails);
    wait_call("Start(app) Create(app) Start(app)"); /* at once for the first time */
    wait_state("status.containerStatuses", "lastState.terminated");
    wait_state("status.containerStatuses", "state.running");
    wait_restarts(1);
    change_runtime(app_fails);
    wait_state("status.containerStatuses", "state.waiting");
    const cJSON *s = json_path(stored, "status.containerStatuses")->child;
    ck_assert_str_eq(json_str(s, "state.waiting.reason"), "CrashLoopBackOff");
    ck_assert_str_eq(json_str(s, "state.waiting.message"),
                     "back-off 10s restarting failed container=app pod=web_default(u1)");
    ck_assert_int_eq(json_int(s, "lastState.terminated.exitCode", -1), 7);
    settle();
    ck_assert_int_eq(calls("Start(app)"), 2);
    ck_assert_str_eq(json_str(stored, "status.phase"), "Running");
}
END_TEST

START_TEST(ends_by_itself)
{
    create("{\"restartPolicy\":\"Never\",\"containers\":[{\"name\":\"app\",\"image\":\"i:1\"}]}");
    wait_call("Start(app)");
    wait_state("status.containerStatuses", "state.running");
    change_runtime(app_succeeds);
    wait_for("status.phase", "Succeeded");
    wait_call("StopPodSandbox");
    settle();
    ck_assert_int_eq(calls("Start(app)"), 1);
    ck_assert_int_eq(calls("Remove"), 0); /* its logs stay until it is deleted */
    delete_pod(30);
    wait_for(NULL, NULL);
    ck_assert_int_eq(calls("Remove(app)"), 1);
    ck_assert_int_eq(calls("RemovePodSandbox"), 1);
}
END_TEST

START_TEST(is_deleted_with_grace)
{
    create("{\"containers\":[{\"name\":\"app\",\"image\":\"i:1\",\"lifecycle\":{\"preStop\":{\"exec\":{\"command\":[\"goodbye\"]}}}}]}");
    wait_state("status.containerStatuses", "state.running");
    delete_pod(20);
    wait_for(NULL, NULL);
    ck_assert_ptr_nonnull(strstr(runtime.calls, "Exec(app,goodbye) Stop(app,20) StopPodSandbox Remove(app) RemovePodSandbox "));
    wait_event("Normal Killing spec.containers{app} Stopping container app");
    cleanup_free char *dir = mem_printf("%s/pods/u1", root);
    ck_assert_int_ne(access(dir, F_OK), 0);
    ck_assert_int_ne(access("/var/log/pods/default_web_u1", F_OK), 0);
}
END_TEST

START_TEST(is_deleted_by_force_meanwhile)
{
    create(SIMPLE);
    wait_state("status.containerStatuses", "state.running");
    pthread_mutex_lock(&runtime.lock);
    runtime.stop_ignored = true; /* it does not end by itself */
    pthread_mutex_unlock(&runtime.lock);
    delete_pod(300);
    wait_call("Stop(app,300)");
    pthread_mutex_lock(&runtime.lock);
    runtime.stop_ignored = false;
    pthread_mutex_unlock(&runtime.lock);
    tell(INFORMER_DELETED); /* --force --grace-period=0 */
    wait_call("RemovePodSandbox");
    settle();
    pthread_mutex_lock(&k.lock);
    ck_assert_uint_eq(k.pod_count, 0);
    pthread_mutex_unlock(&k.lock);
    ck_assert_ptr_nonnull(stored); /* there was nothing to delete any more */
}
END_TEST

START_TEST(initializes_in_order)
{
    create("{\"initContainers\":[{\"name\":\"one\",\"image\":\"i\"},{\"name\":\"side\",\"image\":\"i\",\"restartPolicy\":\"Always\"},"
           "{\"name\":\"two\",\"image\":\"i\"}],\"containers\":[{\"name\":\"app\",\"image\":\"i\"}]}");
    wait_state("status.initContainerStatuses", "state.running");
    settle();
    ck_assert_int_eq(calls("Create("), 1);
    pthread_mutex_lock(&runtime.lock);
    fake_exit(&runtime, fake_newest(&runtime, "one"), 0);
    pthread_mutex_unlock(&runtime.lock);
    pods_relist(&k, true);
    wait_call("Start(side) Create(two) Start(two)");
    settle();
    ck_assert_int_eq(calls("Create(app)"), 0);
    pthread_mutex_lock(&runtime.lock);
    fake_exit(&runtime, fake_newest(&runtime, "two"), 0);
    pthread_mutex_unlock(&runtime.lock);
    pods_relist(&k, true);
    wait_state("status.containerStatuses", "state.running");
    /* The sidecar outlives the others at the end. */
    delete_pod(10);
    wait_for(NULL, NULL);
    const char *app = strstr(runtime.calls, "Stop(app"), *side = strstr(runtime.calls, "Stop(side");
    ck_assert(app && side && app < side);
}
END_TEST

START_TEST(fails_in_initialization)
{
    create("{\"restartPolicy\":\"Never\",\"initContainers\":[{\"name\":\"one\",\"image\":\"i\"}],\"containers\":[{\"name\":\"app\",\"image\":\"i\"}]}");
    wait_state("status.initContainerStatuses", "state.running");
    pthread_mutex_lock(&runtime.lock);
    fake_exit(&runtime, fake_newest(&runtime, "one"), 1);
    pthread_mutex_unlock(&runtime.lock);
    pods_relist(&k, true);
    wait_for("status.phase", "Failed");
    settle();
    ck_assert_int_eq(calls("Create(app)"), 0);
}
END_TEST

/* The first container's "ready" as the API has it; false before there is a status. */
static bool stored_ready(void)
{
    pthread_mutex_lock(&api_lock);
    const cJSON *statuses = json_path(stored, "status.containerStatuses");
    bool ready = statuses && json_bool(statuses->child, "ready", false);
    pthread_mutex_unlock(&api_lock);
    return ready;
}

START_TEST(is_adopted_after_a_restart)
{
    create("{\"containers\":[{\"name\":\"app\",\"image\":\"i:1\",\"readinessProbe\":{\"exec\":{\"command\":[\"true\"]},\"periodSeconds\":1}}]}");
    wait_call("Exec(app,true)");
    for (int i = 0; i < 3000 && !stored_ready(); i++)
        usleep(1000);
    ck_assert(stored_ready());
    restart_kubelet();
    int before = patches;
    /* A field that a newer API server would default: no reason to start anything anew. */
    pthread_mutex_lock(&api_lock);
    json_set_str(json_path(stored, "spec.containers")->child, "terminationMessagePolicy", "File");
    pthread_mutex_unlock(&api_lock);
    tell(INFORMER_ADDED);
    settle();
    ck_assert_int_eq(calls("Start(app)"), 1);
    ck_assert_int_eq(calls("Stop"), 0);
    ck_assert_int_eq(patches, before); /* and it was ready all the time */
    /* Another image is one. */
    pthread_mutex_lock(&api_lock);
    json_set_str(json_path(stored, "spec.containers")->child, "image", "i:2");
    pthread_mutex_unlock(&api_lock);
    change("metadata.generation", cJSON_CreateNumber(2));
    tell(INFORMER_UPDATED);
    wait_call("Stop(app,30) Create(app) Start(app)");
    wait_event("Container app definition changed, will be restarted");
}
END_TEST

static void lose_sandbox(void)
{
    runtime.sandboxes[0].ready = false;
}

START_TEST(gets_a_new_sandbox)
{
    create(SIMPLE);
    wait_state("status.containerStatuses", "state.running");
    change_runtime(lose_sandbox);
    wait_call("StopPodSandbox RunPodSandbox Create(app) Start(app)");
    wait_state("status.containerStatuses", "state.running");
    ck_assert_int_eq(runtime.sandboxes[1].attempt, 1);
    wait_event("Normal SandboxChanged - Pod sandbox changed, it will be killed and re-created.");
    wait_restarts(1);
}
END_TEST

START_TEST(survives_failures_around_it)
{
    runtime.fail_sandbox = true;
    create(SIMPLE);
    wait_call("RunPodSandbox RunPodSandbox"); /* tried again */
    wait_for("status.phase", "Pending");
    wait_event("Warning FailedCreatePodSandBox - Failed to create pod sandbox: rpc error: code = Unknown desc = no network");
    pthread_mutex_lock(&runtime.lock);
    runtime.fail_sandbox = false;
    pthread_mutex_unlock(&runtime.lock);
    wait_state("status.containerStatuses", "state.running");
    /* Without the API the container is started again all the same; what happened is told later. */
    pthread_mutex_lock(&api_lock);
    api_down = true;
    pthread_mutex_unlock(&api_lock);
    change_runtime(app_fails);
    wait_call("Start(app) Create(app) Start(app)");
    pthread_mutex_lock(&api_lock);
    api_down = false;
    pthread_mutex_unlock(&api_lock);
    wait_state("status.containerStatuses", "lastState.terminated");
}
END_TEST

START_TEST(waits_for_its_image)
{
    runtime.image_present = false;
    create(SIMPLE);
    wait_call("Pull(i:1)");
    wait_state("status.containerStatuses", "state.waiting");
    wait_event("ImagePullBackOff");
    wait_event("Normal Pulling spec.containers{app} Pulling image \"i:1\"");
    wait_event("Warning Failed spec.containers{app} Error: ErrImagePull");
    wait_event("Normal BackOff spec.containers{app} Back-off pulling image \"i:1\"");
    wait_state("status.containerStatuses", "state.waiting");
    ck_assert_int_eq(calls("Pull"), 1);
    ck_assert_int_eq(calls("Create"), 0);
}
END_TEST

START_TEST(is_killed_by_its_liveness_probe)
{
    create("{\"terminationGracePeriodSeconds\":4,\"containers\":[{\"name\":\"app\",\"image\":\"i:1\",\"livenessProbe\":{\"exec\":{\"command\":"
           "[\"false\"]},\"periodSeconds\":1,\"failureThreshold\":2}}]}");
    wait_call("Exec(app,false) Exec(app,false) Stop(app,4) Create(app) Start(app)");
    wait_event("Warning Unhealthy spec.containers{app} Liveness probe failed: ");
    wait_event("Normal Killing spec.containers{app} Container app failed liveness probe, will be restarted");
}
END_TEST

START_TEST(is_not_admitted)
{
    create("{\"containers\":[{\"name\":\"app\",\"image\":\"i:1\",\"resources\":{\"requests\":{\"cpu\":\"3\"}}}]}");
    wait_for("status.phase", "Failed");
    wait_for("status.reason", "OutOfcpu");
    wait_for("status.message",
             "Pod was rejected: Node didn't have enough resource: cpu, requested: 3000, used: 0, capacity: 2000");
    settle();
    ck_assert_str_eq(runtime.calls, "");
}
END_TEST

START_TEST(runs_out_of_time)
{
    create("{\"activeDeadlineSeconds\":1,\"terminationGracePeriodSeconds\":2,\"containers\":[{\"name\":\"app\",\"image\":\"i:1\"}]}");
    wait_state("status.containerStatuses", "state.running");
    wait_for("status.reason", "DeadlineExceeded");
    wait_for("status.phase", "Failed");
    wait_call("Stop(app,2)");
    settle();
    ck_assert_int_eq(calls("Start(app)"), 1);
}
END_TEST

START_TEST(orphans_are_ended)
{
    create(SIMPLE);
    wait_state("status.containerStatuses", "state.running");
    restart_kubelet();
    pods_relist(&k, false); /* the API's pods are not known yet: hands off */
    settle();
    ck_assert_int_eq(calls("Stop"), 0);
    pods_relist(&k, true);
    wait_call("RemovePodSandbox");
    ck_assert_int_eq(calls("Remove(app)"), 1);
}
END_TEST

int main(void)
{
    if (getuid() != 0) {
        printf("skipped: needs a mount namespace of its own\n");
        return 0;
    }
    Suite *s = suite_create("kubelet pods");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, starts_and_reports);
    tcase_add_test(t, restarts_with_backoff);
    tcase_add_test(t, ends_by_itself);
    tcase_add_test(t, is_deleted_with_grace);
    tcase_add_test(t, is_deleted_by_force_meanwhile);
    tcase_add_test(t, initializes_in_order);
    tcase_add_test(t, fails_in_initialization);
    tcase_add_test(t, is_adopted_after_a_restart);
    tcase_add_test(t, gets_a_new_sandbox);
    tcase_add_test(t, survives_failures_around_it);
    tcase_add_test(t, waits_for_its_image);
    tcase_add_test(t, is_killed_by_its_liveness_probe);
    tcase_add_test(t, is_not_admitted);
    tcase_add_test(t, runs_out_of_time);
    tcase_add_test(t, orphans_are_ended);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? 1 : 0;
}
