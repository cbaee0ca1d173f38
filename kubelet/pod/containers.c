/* Which containers of a pod should run, and in which order they come up.
 * https://kubernetes.io/docs/concepts/workloads/pods/init-containers/
 * https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/ */
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/metrics.h"
#include "kubelet/pod/pod.h"
#include "kubelet/pod/resize.h"
#include <string.h>
#include <unistd.h>

static const struct backoff_limits restart_limits = {10000, 300000};
static const struct backoff_limits retry_limits = {500, 122000};

/* --- trying again what failed for the whole pod (volumes, sandbox) --- */

static bool retry_waits(struct pod *p)
{
    int64_t now = time_now_micros() / 1000, remaining = 0;
    pthread_mutex_lock(&p->lock);
    bool waits = p->retry_failed_ms && backoff_active(&p->retry, retry_limits, p->retry_failed_ms, now, &remaining);
    pthread_mutex_unlock(&p->lock);
    if (waits)
        pod_wake_after(p, remaining);
    return waits;
}

static void retry_later(struct pod *p)
{
    int64_t now = time_now_micros() / 1000;
    pthread_mutex_lock(&p->lock);
    backoff_next(&p->retry, retry_limits, now, now);
    p->retry_failed_ms = now;
    int64_t delay = p->retry.delay_ms;
    pthread_mutex_unlock(&p->lock);
    pod_wake_after(p, delay);
}

static void retry_over(struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    p->retry = (struct backoff){0};
    p->retry_failed_ms = 0;
    pthread_mutex_unlock(&p->lock);
}

/* --- the sandbox --- */

/* The runtime's name for the pod's RuntimeClass; NULL for its default.
 * https://kubernetes.io/docs/concepts/containers/runtime-class/ */
static bool runtime_handler(struct kubelet *k, const cJSON *pod, char **handler, struct error **err)
{
    const char *name = json_str(pod, "spec.runtimeClassName");
    if (!name || !*name)
        return true;
    cleanup_free char *path = kube_path_new("node.k8s.io/v1", "runtimeclasses", NULL, name, NULL);
    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *class = k->api.request(k->api.userdata, "GET", path, NULL, NULL, &failure);
    if (class)
        *handler = mem_strdup(json_str_or(class, "handler", ""));
    else if (failure && failure->code == 404)
        error_setf(err, "failed to get sandbox runtime: RuntimeClass.node.k8s.io \"%s\" not found", name);
    else
        error_setf(err, "failed to get sandbox runtime: %s", error_message(failure));
    return class != NULL;
}

/* Called by the worker: the current sandbox, made anew when it is missing or broken. NULL: not yet. */
static const struct runtime_sandbox *ensure_sandbox(struct pod *p, const struct kube_object *o)
{
    struct kubelet *k = p->kubelet;
    const struct runtime_sandbox *current = pod_current_sandbox(p);
    if (current && current->ready && (pod_host_network(o->json) || current->ip))
        return current;
    if (current && current->ready && !current->has_status) { /* its status could not be read: not a reason to end it */
        pod_wake_after(p, 1000);
        return NULL;
    }
    cleanup_error struct error *failure = NULL;
    uint32_t attempt = current ? current->attempt + 1 : 0;
    if (current) {
        kubelet_event(k, o->json, NULL, "Normal", "SandboxChanged",
                      "Pod sandbox changed, it will be killed and re-created.");
        for (size_t i = 0; i < p->sandboxes.count; i++) {
            if (!cri_stop_sandbox(&k->cri, p->sandboxes.items[i].id, &failure)) {
                log_warn("Could not stop a sandbox", "pod", p->key, "err", error_message(failure));
                retry_later(p);
                return NULL;
            }
        }
        pod_refresh_runtime(p, NULL); /* its containers have ended; `current` is not valid any more */
    }
    pthread_mutex_lock(&k->runtime_lock);
    cleanup_free char *not_ready = mem_strdup(k->network_not_ready);
    pthread_mutex_unlock(&k->runtime_lock);
    if (not_ready && !pod_host_network(o->json)) {
        if (!p->network_waiting_told)
            kubelet_event(k, o->json, NULL, "Warning", "NetworkNotReady", "network is not ready: container runtime network not ready: %s",
                          not_ready);
        p->network_waiting_told = true;
        pod_wake_after(p, 2000); /* and at once when the network is there */
        return NULL;
    }
    cleanup_arena struct arena a = {0};
    cleanup_free char *cgroup = cgroups_pod_path(k->cgroups, pod_qos(o->json), p->uid);
    cleanup_free char *id = NULL;
    cri_sandbox_config *config =
        translate_sandbox(&a, &k->translate, o->json, attempt, cgroup);
    cleanup_free char *handler = NULL;
    if (!runtime_handler(k, o->json, &handler, &failure) || !cri_run_sandbox(&k->cri, config, handler, &id, &failure)) {
        kubelet_event(k, o->json, NULL, "Warning", "FailedCreatePodSandBox", "Failed to create pod sandbox: %s",
                      error_message(failure));
        retry_later(p);
        return NULL;
    }
    retry_over(p);
    kubelet_metrics_started_pod();
    if (!pod_refresh_runtime(p, &failure)) {
        log_warn("Could not list a pod's containers", "pod", p->key, "err", error_message(failure));
        pod_wake_after(p, 1000);
        return NULL;
    }
    current = pod_current_sandbox(p);
    if (!current || !current->ready)
        pod_wake_after(p, 200);
    return current && current->ready ? current : NULL;
}

/* --- containers --- */

/* May a container that ended be started again yet? Otherwise says so and comes back when it may. */
static bool restart_waits(struct pod *p, const struct kube_object *o, struct pod_container_state *s,
                          const struct runtime_container *ended)
{
    int64_t now = time_now_micros() / 1000, ended_ms = ended->finished_at / 1000000, remaining = 0;
    if (ended_ms <= 0)
        ended_ms = ended->created_at / 1000000;
    if (s->pulling || s->image_ref || s->pull_error)
        return false; /* it was its turn already */
    if (!backoff_active(&s->restart_backoff, restart_limits, ended_ms, now, &remaining)) {
        backoff_next(&s->restart_backoff, restart_limits, ended_ms, now);
        return false;
    }
    char delay[32];
    backoff_text(s->restart_backoff.delay_ms, delay);
    cleanup_free char *message =
        mem_printf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, s->name,
                   json_str_or(o->json, "metadata.name", ""), json_str_or(o->json, "metadata.namespace", ""), p->uid);
    pthread_mutex_lock(&p->lock);
    bool told = s->waiting_message && strcmp(s->waiting_message, message) == 0;
    pod_set_waiting(s, "CrashLoopBackOff", message);
    cleanup_free char *path = pod_field_path(s);
    pthread_mutex_unlock(&p->lock);
    if (!told)
        kubelet_event(p->kubelet, o->json, path, "Warning", "BackOff",
                      "Back-off restarting failed container %s in pod %s_%s(%s)", s->name,
                      json_str_or(o->json, "metadata.name", ""), json_str_or(o->json, "metadata.namespace", ""),
                      p->uid);
    pod_wake_after(p, remaining);
    return true;
}

/* Keeps the newest dead container of a name (for `kubectl logs --previous`), removes older ones with their logs. */
static void prune(struct pod *p, const char *name)
{
    bool seen_running = false, kept = false;
    for (size_t i = 0; i < p->containers.count; i++) {
        const struct runtime_container *c = &p->containers.items[i];
        if (strcmp(c->name, name) != 0)
            continue;
        if (c->state == CONTAINER_RUNNING && !seen_running) {
            seen_running = true;
        } else if (c->state == CONTAINER_EXITED) {
            if (!kept) {
                kept = true;
            } else {
                if (c->log_path && *c->log_path)
                    unlink(c->log_path);
                cri_remove_container(&p->kubelet->cri, c->id, NULL);
            }
        }
    }
}

/* A container that is known to run: is it still the one that the pod wants, and alive? */
static void check_running(struct pod *p, const struct kube_object *o, struct pod_container_state *s,
                          const cJSON *spec, const struct runtime_container *c)
{
    cleanup_free char *message = NULL;
    pthread_mutex_lock(&p->lock);
    if (!s->instance || strcmp(s->instance, c->id) != 0) {
        /* Found running (we were restarted): what was reported of this very container still holds. */
        free(s->instance);
        s->instance = mem_strdup(c->id);
        s->started = !json_get(spec, "startupProbe");
        s->ready = !json_get(spec, "readinessProbe");
        s->post_start_running = false;
        s->probing = 0;
        const cJSON *e;
        cJSON_ArrayForEach(e, json_get(pod_reported_status(p, o), container_kind_status(s->kind)))
        {
            const char *id = json_str(e, "containerID");
            if (id && strncmp(id, "containerd://", 13) == 0 && strcmp(id + 13, c->id) == 0) {
                s->started = s->started || json_bool(e, "started", false);
                s->ready = s->ready || json_bool(e, "ready", false);
            }
        }
    }
    if (!s->stopping) {
        if (s->kill_reason)
            message = strcmp(s->kill_reason, "FailedPostStartHook") == 0
                          ? mem_printf("FailedPostStartHook")
                          : mem_printf("Container %s failed %s probe, will be restarted", s->name, s->kill_reason);
        else if (c->hash && c->hash != container_hash(spec))
            message = mem_printf("Container %s definition changed, will be restarted", s->name);
        int64_t grace = json_int(o->json, "spec.terminationGracePeriodSeconds", 30);
        if (s->kill_reason) {
            const char *probe = strcmp(s->kill_reason, "startup") == 0 ? "startupProbe" : "livenessProbe";
            grace = json_int(json_get(spec, probe), "terminationGracePeriodSeconds", grace);
        }
        if (message)
            pod_kill_container(p, s, c->id, grace, message);
    }
    pthread_mutex_unlock(&p->lock);
}

static bool was_started(struct pod *p, const struct kube_object *o, const struct pod_container *want)
{
    bool found = pod_instance(p, want->name, NULL) != NULL;
    pthread_mutex_lock(&p->lock);
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(pod_reported_status(p, o), container_kind_status(want->kind)))
    {
        found = found || (strcmp(json_str_or(e, "name", ""), want->name) == 0 && json_str(e, "containerID"));
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

/* Starts it if it should run and does not. True when containers after it may come up. */
static bool bring_up(struct pod *p, const struct kube_object *o, const struct pod_container *want,
                     const struct runtime_sandbox *sandbox, bool initialized, bool *resized)
{
    struct pod_container_state *s = pod_state(p, want->name);
    struct runtime_container *c = pod_instance(p, want->name, sandbox->id);
    if (c && c->state == CONTAINER_RUNNING) {
        check_running(p, o, s, want->spec, c);
        if (want->kind != CONTAINER_EPHEMERAL && !s->stopping && !pod_actuate(p, o, s, want->spec, c))
            *resized = false;
        pthread_mutex_lock(&p->lock);
        bool up = want->kind == CONTAINER_SIDECAR ? s->started && !s->post_start_running : want->kind >= CONTAINER_MAIN;
        pthread_mutex_unlock(&p->lock);
        return up || initialized;
    }
    if (want->kind == CONTAINER_EPHEMERAL && !c && was_started(p, o, want))
        return true; /* once only, whatever became of it */
    if (c && c->state == CONTAINER_UNKNOWN) { /* the runtime lost sight of it: end it for certain, then start anew */
        pthread_mutex_lock(&p->lock);
        if (!s->stopping)
            pod_kill_container(p, s, c->id, 0, "Container is in unknown state, try killing it");
        pthread_mutex_unlock(&p->lock);
        return initialized;
    }
    if (want->kind == CONTAINER_INIT) {
        if (initialized || (c && c->state == CONTAINER_EXITED && c->exit_code == 0))
            return true;
    }
    if (c && c->state == CONTAINER_EXITED) {
        if (want->kind != CONTAINER_SIDECAR && !container_restarts(o->json, want, c->exit_code))
            return want->kind >= CONTAINER_MAIN;
        if (restart_waits(p, o, s, c))
            return initialized;
    }
    bool ok = pod_start_container(p, o, s, want->spec, sandbox);
    if (ok)
        prune(p, want->name);
    bool no_wait = want->kind != CONTAINER_INIT && s->started && !s->post_start_running;
    return initialized || (ok && no_wait);
}

static void refresh_volumes(struct pod *p, const struct kube_object *o)
{
    enum { REFRESH_MS = 60000 };
    int64_t now = time_monotonic_ms();
    if (!volumes_need_refresh(o->json))
        return;
    if (p->refreshed_ms && now - p->refreshed_ms < REFRESH_MS) {
        pod_wake_after(p, REFRESH_MS - (now - p->refreshed_ms));
        return;
    }
    p->refreshed_ms = now;
    pod_wake_after(p, REFRESH_MS);
}

void pod_sync_containers(struct pod *p, const struct kube_object *o)
{
    struct kubelet *k = p->kubelet;
    if (retry_waits(p))
        return;
    cleanup_error struct error *failure = NULL;
    cleanup_free char *cgroup = cgroups_pod_path(k->cgroups, pod_qos(o->json), p->uid);
    struct cgroup_limits limits;
    cgroup_pod_limits(o->json, k->pod_max_pids, &limits);
    if (p->resizing)
        cgroup_limits_widen(&p->limits, &limits); /* first for what grows */
    else
        p->limits = limits;
    if (!cgroups_ensure_pod(k->cgroups, cgroup, &p->limits, &failure)) {
        kubelet_event(k, o->json, NULL, "Warning", "FailedCreatePodContainer",
                      "unable to ensure pod container exists: %s", error_message(failure));
        retry_later(p);
        return;
    }
    pthread_mutex_lock(&p->lock);
    struct downward_source downward;
    pod_downward(p, o, &downward);
    cleanup_free char *ips = mem_strdup(downward.pod_ips);
    downward.pod_ips = ips;
    const struct runtime_sandbox *was = pod_current_sandbox(p);
    bool running = was && was->ready;
    pthread_mutex_unlock(&p->lock);
    /* A first mount shows what the API has now: it may be a minute until it is renewed. */
    if (!volumes_ensure(&k->volumes, &downward, running ? 5000 : 0, &failure)) {
        kubelet_event(k, o->json, NULL, "Warning", "FailedMount", "%s", error_message(failure));
        if (!running) {
            retry_later(p);
            return;
        }
    }
    refresh_volumes(p, o);
    const struct runtime_sandbox *sandbox = ensure_sandbox(p, o);
    if (!sandbox)
        return;

    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(o->json, &all);
    bool initialized = false;
    for (size_t i = 0; i < all.count; i++)
        if (all.items[i].kind == CONTAINER_MAIN && pod_instance(p, all.items[i].name, sandbox->id))
            initialized = true;
    bool resized = true;
    bool up = true; /* an init container waits for the one before, ephemeral ones for none */
    for (size_t i = 0; i < all.count; i++) {
        if (!up && all.items[i].kind != CONTAINER_EPHEMERAL)
            continue;
        bool came_up = bring_up(p, o, &all.items[i], sandbox, initialized, &resized);
        up = came_up || all.items[i].kind >= CONTAINER_MAIN;
    }
    if (p->resizing && resized) { /* now that no container is above them, the pod's own limits may shrink */
        p->limits = limits;
        cgroups_ensure_pod(k->cgroups, cgroup, &limits, NULL);
    }
    pod_resize_settle(p, o, resized);
}

bool pod_is_done(struct pod *p, const struct kube_object *o)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(o->json, &all);
    bool any = false;
    for (size_t i = 0; i < all.count; i++) {
        const struct runtime_container *c = pod_instance(p, all.items[i].name, NULL);
        bool ended = c && c->state == CONTAINER_EXITED;
        if (all.items[i].kind == CONTAINER_INIT) {
            if (ended && c->exit_code != 0 && !container_restarts(o->json, &all.items[i], c->exit_code))
                return true; /* the pod failed in its initialization */
        } else if (all.items[i].kind == CONTAINER_MAIN) {
            if (!ended || container_restarts(o->json, &all.items[i], c->exit_code))
                return false;
            any = true;
        }
    }
    return any;
}
