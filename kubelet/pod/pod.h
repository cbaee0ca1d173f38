/* A pod on this node and its worker. A pod is synced by one thread at a time, whenever something about it changed:
 * its object, one of its containers, a probe's result, a timer. A sync only makes short calls; what takes long (pulling
 * an image, stopping a container, a hook) runs as a job of its own that asks for a sync when it is done. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "kubelet/backoff.h"
#include "kubelet/kubelet.h"
#include "kubelet/pod/spec.h"

/* What the kubelet knows of a container beyond what the runtime tells. */
struct pod_container_state {
    char *name;
    enum container_kind kind;
    /* why it is not running; NULL reason: "ContainerCreating" or "PodInitializing" */
    char *waiting_reason, *waiting_message;
    struct backoff restart_backoff;
    /* image */
    bool pulling;
    char *image_ref;        /* what was found or pulled; NULL: look */
    char *pull_error;       /* of the last pull */
    int64_t pull_failed_ms; /* wall clock */
    bool pull_backoff_told; /* the event was written */
    struct backoff pull_backoff;
    /* the running instance that the following is about */
    char *instance; /* container id */
    bool started, ready;
    bool post_start_running;
    char *kill_reason; /* must be killed and why; set by probes, hooks */
    /* stopping */
    char *stopping; /* container id with a stop under way */
    int64_t stop_deadline_ms; /* monotonic */
    /* probe sessions under way for `instance`, one bit a kind */
    unsigned probing;
    cJSON *applied; /* resources that it runs with: resize.h; NULL: not known */
};

struct pod {
    atomic_int refs;
    struct kubelet *kubelet;
    char *uid, *key; /* key: "namespace/name" */
    bool is_static;  /* of a file on this node: static.h */

    pthread_mutex_t lock; /* guards all below */
    struct kube_object *object; /* the newest known */
    struct kube_object *mirror; /* of a static pod: how the API shows it; NULL if it does not (yet) */
    bool removed;               /* it is gone from the API */
    bool queued, running, again;
    char *ended_id; /* an event told its end, but the runtime's listing may not show it yet */
    int ended_looks;
    int64_t timer_at; /* monotonic ms of the earliest wake-up under way; 0: none */

    struct runtime_sandboxes sandboxes;   /* newest first; written by the worker only */
    struct runtime_containers containers; /* newest first; written by the worker only */
    struct pod_container_state *states;
    size_t state_count;

    int64_t first_seen_ms; /* monotonic; 0 once it was seen running */
    bool admitted;
    char *end_phase, *end_reason, *end_message; /* rejected, evicted or past its deadline: it must end */
    bool ended_by_kubelet;   /* with end_phase: the DisruptionTarget condition, and end_grace seconds to end */
    int64_t end_grace;
    bool terminating;
    int64_t terminating_since_ms; /* monotonic */
    int64_t grace_seconds;
    bool resources_released; /* no container, volume or control group is left */
    bool settled;            /* its status is final: not computed again */
    struct backoff retry;    /* volumes, sandbox: the last failure */
    int64_t retry_failed_ms;
    bool network_waiting_told;
    int64_t refreshed_ms; /* volumes' content, monotonic */

    /* in-place resize (resize.c) */
    cJSON *allocation;              /* {container: resources} that the pod was given */
    struct kube_object *effective;  /* the object with these, while the spec asks for others; else NULL */
    char *resize_reason, *resize_message; /* why it waits; NULL: it does not */
    char *resize_error;                   /* of the last try */
    bool resizing;                        /* given, but not all containers have it yet */
    struct cgroup_limits limits;          /* of the pod's control group, as set last */

    cJSON *status;          /* as computed last; owned */
    bool status_dirty, status_busy;
    int status_failures;
    char *status_sent;      /* JSON text of what the API took from us ... */
    char *status_sent_at;   /* ... and the resourceVersion that came of it */
    bool delete_ready;      /* it may go from the API: nothing of it is left here */
};

/* --- life --- */
struct pod *pod_new(struct kubelet *k, struct kube_object *object); /* takes a reference of its own */
struct pod *pod_ref(struct pod *p);
void pod_unref(struct pod *p);
void pod_cleanup(struct pod **p);
#define cleanup_pod __attribute__((cleanup(pod_cleanup)))

/* --- the worker --- */
void pod_wake(struct pod *p);
void pod_wake_after(struct pod *p, int64_t delay_ms);
void pod_sync(struct pod *p); /* one pass; called by the worker, and by tests */

/* --- pieces of a sync, in their own files; called by the worker without the lock --- */
bool pod_refresh_runtime(struct pod *p, struct error **err);                        /* runtime.c */
void pod_sync_containers(struct pod *p, const struct kube_object *o);               /* containers.c: start what should run */
/* The pod came to its end: all main containers are done and will not be started again. */
bool pod_is_done(struct pod *p, const struct kube_object *o);
void pod_sync_terminating(struct pod *p, const struct kube_object *o);              /* terminate.c */
void pod_kill_container(struct pod *p, struct pod_container_state *s, const char *id, int64_t grace_seconds,
                        const char *message);                                       /* terminate.c; with the lock held */
void pod_update_status(struct pod *p, const struct kube_object *o);                 /* report.c */
bool pod_start_container(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const cJSON *spec,
                         const struct runtime_sandbox *sandbox);                    /* start.c */
enum image_result { IMAGE_READY, IMAGE_LATER };
enum image_result pod_image(struct pod *p, const struct kube_object *o, struct pod_container_state *s,
                            const cJSON *spec);                                     /* image.c */
void pod_arm_probes(struct pod *p, const struct kube_object *o);                    /* probe/prober.c */
/* Runs a lifecycle handler; false with what went wrong. */
bool pod_run_hook(struct pod *p, const cJSON *pod, const cJSON *container, const char *container_id, const cJSON *handler,
                  int64_t timeout_ms, struct error **err);                          /* hook.c */

/* Ends the pod as Failed for a reason of the node's own; false if it ends already. Any thread. */
bool pod_end_by_kubelet(struct pod *p, const char *reason, const char *message, int64_t grace_seconds); /* evict.c */
bool pod_evict(struct pod *p, const char *message, int64_t grace_seconds); /* the same as "Evicted", with its event */

/* --- questions; with the lock held --- */
struct pod_container_state *pod_state(struct pod *p, const char *name);
const struct runtime_sandbox *pod_current_sandbox(const struct pod *p); /* newest; NULL if none */
/* The newest instance of a container; in_sandbox NULL: of any. */
struct runtime_container *pod_instance(struct pod *p, const char *name, const char *in_sandbox);
/* PodStatus in the API, of a static pod that of its mirror; NULL if there is none. */
const cJSON *pod_reported_status(const struct pod *p, const struct kube_object *o);
const char *pod_ips(const struct pod *p); /* comma-joined; NULL if not known yet */
void pod_set_waiting(struct pod_container_state *s, const char *reason, const char *message);
void pod_downward(const struct pod *p, const struct kube_object *o, struct downward_source *out);
char *pod_field_path(const struct pod_container_state *s); /* "spec.containers{app}", caller frees */

/* --- all pods (manager.c) --- */
void pods_handle_event(void *kubelet, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *new_object); /* an informer_handler */
struct pod *pods_find_uid(struct kubelet *k, const char *uid); /* a reference or NULL */
struct pod *pods_find(struct kubelet *k, const char *ns, const char *name);
void pods_forget(struct pod *p); /* when it is gone from the API and released */
/* References to all pods, NULL-terminated; free with pods_free_list. */
struct pod **pods_all(struct kubelet *k);
void pods_free_list(struct pod **list);
void pods_wake_all(struct kubelet *k);
/* A pod that was not known; its worker begins. */
void pods_add(struct kubelet *k, struct kube_object *o, bool is_static);
struct pod **pods_all(struct kubelet *k); /* references, NULL-terminated: pods_free_list() */
void pods_free_list(struct pod **list);
/* Another pod of its name that has not ended yet: a reference or NULL. */
struct pod *pods_predecessor(struct pod *p);
/* Compares what runs with what was known and wakes pods that changed. collect: also ends what no pod of the API owns. */
void pods_relist(struct kubelet *k, bool collect);
/* A container or sandbox changed: its pod is woken. */
void pods_container_changed(struct kubelet *k, const char *id, bool ended);
void pods_collect_garbage(struct kubelet *k); /* directories, logs, control groups of pods that are gone */
bool pods_admit(struct pod *p, const struct kube_object *o);
/* What the pods of this node but one were given together. */
void pods_used(struct kubelet *k, const struct pod *but, int64_t *pods, struct pod_resources *out);
/* The requests of burstable pods changed. */
void pods_weigh(struct kubelet *k);
