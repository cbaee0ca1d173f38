/* Pods that the kubelet itself ends: evicted under pressure, over a limit, or when the node shuts
 * down. */
#include "common/mem.h"
#include "kubelet/pod/pod.h"
#include "common/json.h"

bool pod_end_by_kubelet(struct pod *p, const char *reason, const char *message,
                        int64_t grace_seconds)
{
    pthread_mutex_lock(&p->lock);
    bool can = !p->end_phase && !p->terminating && !p->removed &&
               !pod_is_terminal(p->object->json) &&
               !json_str(p->object->json, "metadata.deletionTimestamp");
    if (can) {
        p->end_phase = mem_strdup("Failed");
        p->end_reason = mem_strdup(reason);
        p->end_message = mem_strdup(message);
        p->ended_by_kubelet = true;
        p->end_grace = grace_seconds;
    }
    pthread_mutex_unlock(&p->lock);
    if (can)
        pod_wake(p);
    return can;
}

bool pod_evict(struct pod *p, const char *message, int64_t grace_seconds)
{
    if (!pod_end_by_kubelet(p, "Evicted", message, grace_seconds))
        return false;
    pthread_mutex_lock(&p->lock);
    cleanup_object struct kube_object *o = kube_object_ref(p->object);
    pthread_mutex_unlock(&p->lock);
    kubelet_event(p->kubelet, o->json, NULL, "Warning", "Evicted", "%s", message);
    return true;
}
