/* The end of containers and of pods.
 * https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/pod/pod.h"
#include "kubelet/pod/resize.h"
#include "kubelet/pod/static.h"
#include "kubelet/volume/atomic.h"
#include <string.h>
#include <unistd.h>

#define MINIMUM_GRACE 2 /* seconds that remain for TERM after a preStop hook used its time up */

struct stop {
    struct pod *pod;
    struct kube_object *object;
    char *container, *id, *message;
    int64_t grace;
    bool hook; /* preStop first */
};

static void stop_container(void *arg)
{
    struct stop *j = arg;
    struct pod *p = j->pod;
    const cJSON *spec = pod_find_container(j->object->json, j->container, NULL);
    const cJSON *handler = json_path(spec, "lifecycle.preStop");
    int64_t grace = j->grace;
    pthread_mutex_lock(&p->lock);
    struct pod_container_state *s = pod_state(p, j->container);
    cleanup_free char *path = s ? pod_field_path(s) : NULL;
    pthread_mutex_unlock(&p->lock);
    if (j->message)
        kubelet_event(p->kubelet, j->object->json, path, "Normal", "Killing", "%s", j->message);
    if (handler && j->hook && grace > 0) {
        int64_t started = time_monotonic_ms();
        cleanup_error struct error *failure = NULL;
        if (!pod_run_hook(p, j->object->json, spec, j->id, handler, grace * 1000, &failure))
            kubelet_event(p->kubelet, j->object->json, path, "Warning", "FailedPreStopHook", "PreStopHook failed");
        grace -= (time_monotonic_ms() - started) / 1000;
        if (grace < MINIMUM_GRACE)
            grace = MINIMUM_GRACE;
    }
    cleanup_error struct error *failure = NULL;
    bool ok = cri_stop_container(&p->kubelet->cri, j->id, grace, &failure);
    if (!ok && failure->code != 404)
        log_warn("Could not stop a container", "pod", p->key, "container", j->container, "err", error_message(failure));
    pthread_mutex_lock(&p->lock);
    s = pod_state(p, j->container);
    if (s && s->stopping && strcmp(s->stopping, j->id) == 0) {
        free(s->stopping);
        s->stopping = NULL;
        if (ok) {
            free(s->kill_reason);
            s->kill_reason = NULL;
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (ok || (failure && failure->code == 404))
        pod_wake(p);
    else
        pod_wake_after(p, 1000);
    pod_unref(p);
    kube_object_unref(j->object);
    free(j->container);
    free(j->id);
    free(j->message);
    free(j);
}

void pod_kill_container(struct pod *p, struct pod_container_state *s, const char *id, int64_t grace_seconds,
                        const char *message)
{
    struct stop *j = mem_alloc(sizeof(*j));
    j->pod = pod_ref(p);
    j->object = kube_object_ref(p->object);
    j->container = mem_strdup(s->name);
    j->id = mem_strdup(id);
    j->grace = grace_seconds;
    bool again = s->stopping && strcmp(s->stopping, id) == 0; /* only with less grace: no second event or hook */
    j->hook = !again;
    j->message = again ? NULL : mem_strdup(message);
    if (!again) {
        free(s->stopping);
        s->stopping = mem_strdup(id);
    }
    s->stop_deadline_ms = time_monotonic_ms() + grace_seconds * 1000;
    pool_run(p->kubelet->pool, stop_container, j);
}

/* --- the pod --- */

/* Stops one running container unless that is under way with as little grace. With the lock held. */
static void stop_one(struct pod *p, struct pod_container_state *s, const struct runtime_container *c,
                     int64_t deadline_ms)
{
    int64_t grace = (deadline_ms - time_monotonic_ms() + 999) / 1000;
    grace = grace < 0 ? 0 : grace;
    if (s->stopping && strcmp(s->stopping, c->id) == 0 && s->stop_deadline_ms <= deadline_ms + 1000)
        return;
    cleanup_free char *message = mem_printf("Stopping container %s", s->name);
    pod_kill_container(p, s, c->id, grace, message);
}

/* Containers that run, of one kind; starts stopping them. Sidecars go one by one, last started first. */
static size_t stop_kind(struct pod *p, bool sidecars, int64_t deadline_ms)
{
    size_t running = 0;
    for (size_t i = p->state_count; i-- > 0;) {
        struct pod_container_state *s = &p->states[i];
        if ((s->kind == CONTAINER_SIDECAR) != sidecars)
            continue;
        for (size_t n = 0; n < p->containers.count; n++) {
            const struct runtime_container *c = &p->containers.items[n];
            if (strcmp(c->name, s->name) != 0 || (c->state != CONTAINER_RUNNING && c->state != CONTAINER_UNKNOWN))
                continue;
            running++;
            stop_one(p, s, c, deadline_ms);
            if (sidecars)
                return running;
        }
    }
    return running;
}

/* Takes everything of the pod off the node but what the runtime keeps for its logs. */
static bool release(struct pod *p, const struct kube_object *o, struct error **err)
{
    struct kubelet *k = p->kubelet;
    for (size_t i = 0; i < p->sandboxes.count; i++)
        if (p->sandboxes.items[i].ready && !cri_stop_sandbox(&k->cri, p->sandboxes.items[i].id, err))
            return false;
    if (!volumes_teardown(&k->volumes, p->uid, err))
        return false;
    cleanup_free char *cgroup = cgroups_pod_path(k->cgroups, pod_qos(o->json), p->uid);
    return cgroups_remove_pod(k->cgroups, cgroup, err);
}

static bool remove_from_runtime(struct pod *p, const struct kube_object *o, struct error **err)
{
    struct kubelet *k = p->kubelet;
    for (size_t i = 0; i < p->containers.count; i++) {
        const struct runtime_container *c = &p->containers.items[i];
        cleanup_free char *link = mem_printf("/var/log/containers/%s_%s_%s-%s.log", json_str_or(o->json, "metadata.name", ""),
                                             json_str_or(o->json, "metadata.namespace", ""), c->name, c->id);
        unlink(link);
        if (!cri_remove_container(&k->cri, c->id, err))
            return false;
    }
    for (size_t i = 0; i < p->sandboxes.count; i++)
        if (!cri_remove_sandbox(&k->cri, p->sandboxes.items[i].id, err))
            return false;
    cleanup_free char *logs = pod_log_dir(o->json);
    remove_tree(logs, NULL);
    return true;
}

void pod_sync_terminating(struct pod *p, const struct kube_object *o)
{
    pthread_mutex_lock(&p->lock);
    int64_t now = time_monotonic_ms();
    bool asked = json_str(o->json, "metadata.deletionTimestamp") != NULL;
    int64_t grace = json_int(o->json, "spec.terminationGracePeriodSeconds", 30);
    if (asked)
        grace = json_int(o->json, "metadata.deletionGracePeriodSeconds", grace);
    else if (p->ended_by_kubelet)
        grace = p->end_grace;
    else if (p->removed && !p->is_static)
        grace = 1; /* deleted by force: nobody waits */
    if (grace < 1 && (asked || p->removed))
        grace = 1;
    if (!p->terminating) {
        p->terminating = true;
        p->terminating_since_ms = now;
        p->grace_seconds = grace;
    } else if (grace < p->grace_seconds) { /* shortened meanwhile: counted from now */
        p->grace_seconds = grace;
        p->terminating_since_ms = now;
    }
    int64_t deadline = p->terminating_since_ms + p->grace_seconds * 1000;
    size_t running = stop_kind(p, false, deadline);
    if (!running)
        running = stop_kind(p, true, deadline);
    bool done = p->resources_released, delete = asked || p->removed;
    pthread_mutex_unlock(&p->lock);
    if (running)
        return;

    cleanup_error struct error *failure = NULL;
    if (!done) {
        if (!release(p, o, &failure)) {
            log_warn("Could not release a pod's resources", "pod", p->key, "err", error_message(failure));
            pod_wake_after(p, 1000);
            return;
        }
        pod_update_status(p, o); /* while the runtime still knows how the containers ended */
        pthread_mutex_lock(&p->lock);
        p->resources_released = true;
        p->settled = true;
        pthread_mutex_unlock(&p->lock);
        pods_retry_resizes(p->kubelet); /* there may be room now */
        log_debug(1, "Pod ended", "pod", p->key, "uid", p->uid);
    }
    if (!delete)
        return;
    if (!remove_from_runtime(p, o, &failure)) {
        log_warn("Could not remove a pod's containers", "pod", p->key, "err", error_message(failure));
        pod_wake_after(p, 1000);
        return;
    }
    pthread_mutex_lock(&p->lock);
    runtime_containers_clear(&p->containers);
    runtime_sandboxes_clear(&p->sandboxes);
    bool gone = p->removed;
    p->delete_ready = true;
    pthread_mutex_unlock(&p->lock);
    if (gone && p->is_static)
        static_pod_ended(p);
    if (gone)
        pods_forget(p);
}
