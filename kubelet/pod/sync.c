/* One pass over a pod: look at what is, decide what it should be, take the next steps, report. */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/metrics.h"
#include "kubelet/pod/pod.h"
#include "kubelet/pod/resize.h"
#include <string.h>

/* States for the containers that the spec names; of those that are known already, the old ones. */
static void update_states(struct pod *p, const struct kube_object *o)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(o->json, &all);
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < all.count; i++) {
        if (pod_state(p, all.items[i].name))
            continue;
        p->states = mem_realloc(p->states, (p->state_count + 1) * sizeof(*p->states));
        p->states[p->state_count++] =
            (struct pod_container_state){.name = mem_strdup(all.items[i].name), .kind = all.items[i].kind};
    }
    pthread_mutex_unlock(&p->lock);
}

static void end_pod(struct pod *p, const char *phase, const char *reason, const char *message)
{
    pthread_mutex_lock(&p->lock);
    if (!p->end_phase) {
        p->end_phase = mem_strdup(phase);
        p->end_reason = mem_strdup(reason);
        p->end_message = mem_strdup(message);
    }
    pthread_mutex_unlock(&p->lock);
}

/* activeDeadlineSeconds counts from the pod's start on this node. */
static void check_deadline(struct pod *p, const struct kube_object *o)
{
    int64_t limit = json_int(o->json, "spec.activeDeadlineSeconds", 0), started = 0;
    const char *text = json_str(p->status, "startTime");
    if (!text)
        text = json_str(o->json, "status.startTime");
    if (limit <= 0 || !text || !time_parse(text, &started))
        return;
    int64_t left_ms = limit * 1000 - (time_now_micros() - started) / 1000;
    if (left_ms > 0) {
        pod_wake_after(p, left_ms);
        return;
    }
    kubelet_event(p->kubelet, o->json, NULL, "Normal", "DeadlineExceeded",
                  "Pod was active on the node longer than the specified deadline");
    end_pod(p, "Failed", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
}

/* containerd tells the end of a container before its own CRI part has taken note of it. */
static void look_again(struct pod *p)
{
    enum { LOOKS = 8 };
    pthread_mutex_lock(&p->lock);
    bool again = false;
    for (size_t i = 0; p->ended_id && i < p->containers.count; i++)
        again = again || (strcmp(p->containers.items[i].id, p->ended_id) == 0 &&
                          p->containers.items[i].state == CONTAINER_RUNNING);
    for (size_t i = 0; p->ended_id && i < p->sandboxes.count; i++)
        again = again || (strcmp(p->sandboxes.items[i].id, p->ended_id) == 0 && p->sandboxes.items[i].ready);
    int looks = p->ended_looks++;
    if (!again || looks >= LOOKS) {
        free(p->ended_id);
        p->ended_id = NULL;
        again = false;
    }
    pthread_mutex_unlock(&p->lock);
    if (again)
        pod_wake_after(p, 5 << looks);
}

void pod_sync(struct pod *p)
{
    struct kubelet *k = p->kubelet;
    if (atomic_load(&k->stopping))
        return;
    pthread_mutex_lock(&p->lock);
    cleanup_object struct kube_object *o = kube_object_ref(p->object);
    bool removed = p->removed, settled = p->settled, delete_ready = p->delete_ready;
    pthread_mutex_unlock(&p->lock);
    update_states(p, o);
    cleanup_error struct error *failure = NULL;
    if (!(settled && delete_ready) && !pod_refresh_runtime(p, &failure)) {
        log_debug(1, "Could not list a pod's containers", "pod", p->key, "err", error_message(failure));
        pod_wake_after(p, 1000);
        return;
    }
    look_again(p);
    int64_t began = time_now_micros();
    bool ending = false;
    if (p->is_static && !p->admitted && !removed) { /* a file's new content waits until the old pod has ended */
        cleanup_pod struct pod *before = pods_predecessor(p);
        if (before)
            return;
    }
    bool deleting = json_str(o->json, "metadata.deletionTimestamp") != NULL;
    if (!deleting && !removed && !p->end_phase && !pod_is_terminal(o->json) && !p->terminating) {
        if (!p->admitted && !pods_admit(p, o)) {
            pod_update_status(p, o);
            return; /* it comes back when its phase is known to the API; nothing of it runs here */
        }
        check_deadline(p, o);
    }
    cleanup_object struct kube_object *run = NULL; /* the pod with the resources that it was given */
    if (deleting || removed || p->end_phase || p->terminating || pod_is_terminal(o->json) || pod_is_done(p, o)) {
        ending = true;
        run = kube_object_ref(o);
        pod_sync_terminating(p, o);
    } else {
        run = pod_allocate(p, o);
        pod_sync_containers(p, run);
        cleanup_error struct error *lost = NULL;
        if (!pod_refresh_runtime(p, &lost))
            pod_wake_after(p, 1000);
    }
    bool first = !p->status;
    pod_update_status(p, run);
    kubelet_metrics_pod_sync(ending ? "terminate" : "sync", (double)(time_now_micros() - began) / 1e6);
    if (p->first_seen_ms && strcmp(json_str_or(p->status, "phase", ""), "Running") == 0) {
        kubelet_metrics_pod_start((double)(time_monotonic_ms() - p->first_seen_ms) / 1000);
        p->first_seen_ms = 0;
    }
    pod_arm_probes(p, o);
    if (first && p->admitted && !p->terminating)
        check_deadline(p, o); /* its start is known now */
}
