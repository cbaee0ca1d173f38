/* What happens to containers, as it happens: CRI's GetContainerEvents where the runtime has it (containerd
 * 1.7), else containerd's own event stream on the same socket, else a listing every second. */
#include "common/log.h"
#include "common/mem.h"
#include "kubelet/cri/containerd_events.pb-c.h"
#include "kubelet/cri/cri.h"
#include "kubelet/cri/rpc.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

static struct events {
    struct rpc_client *client;
    void (*changed)(void *userdata, const char *id, bool ended);
    void (*lost)(void *userdata);
    void *userdata;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    atomic_bool live;
} events = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER}; /* one per process, owned by its thread */

static bool on_cri_event(void *userdata, const void *message, size_t len)
{
    (void)userdata;
    Runtime__V1__ContainerEventResponse *e = runtime__v1__container_event_response__unpack(NULL, len, message);
    if (e) {
        atomic_store(&events.live, true);
        events.changed(events.userdata, e->container_id,
                       e->container_event_type == RUNTIME__V1__CONTAINER_EVENT_TYPE__CONTAINER_STOPPED_EVENT);
        runtime__v1__container_event_response__free_unpacked(e, NULL);
    }
    return true;
}

static bool on_containerd_event(void *userdata, const void *message, size_t len)
{
    (void)userdata;
    Containerd__Services__Events__V1__Envelope *e =
        containerd__services__events__v1__envelope__unpack(NULL, len, message);
    if (!e)
        return true;
    if (e->event && (strcmp(e->topic, "/tasks/exit") == 0 || strcmp(e->topic, "/tasks/start") == 0)) {
        Containerd__Services__Events__V1__TaskEvent *t =
            containerd__services__events__v1__task_event__unpack(NULL, e->event->value.len, e->event->value.data);
        /* An exec'ed process of a container exits with an id of its own: no change of the container. A start has a
         * number in that place of the message, which reads as an absent id. */
        if (t && (!*t->id || strcmp(t->id, t->container_id) == 0))
            events.changed(events.userdata, t->container_id, strcmp(e->topic, "/tasks/exit") == 0);
        if (t)
            containerd__services__events__v1__task_event__free_unpacked(t, NULL);
    }
    containerd__services__events__v1__envelope__free_unpacked(e, NULL);
    return true;
}

static bool run_cri_stream(struct error **err)
{
    return rpc_server_stream(events.client, "/runtime.v1.RuntimeService/GetContainerEvents", "", 0, on_cri_event, NULL,
                             err);
}

static bool run_containerd_stream(struct error **err)
{
    Containerd__Services__Events__V1__SubscribeRequest request =
        CONTAINERD__SERVICES__EVENTS__V1__SUBSCRIBE_REQUEST__INIT;
    char *filters[] = {"namespace==k8s.io,topic~=\"^/tasks/(exit|start)$\""};
    request.filters = filters;
    request.n_filters = 1;
    uint8_t bytes[256];
    size_t len = containerd__services__events__v1__subscribe_request__pack(&request, bytes);
    return rpc_server_stream(events.client, "/containerd.services.events.v1.Events/Subscribe", bytes, len,
                             on_containerd_event, NULL, err);
}

/* True when stopping. */
static bool pause_ms(long ms)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ms % 1000 * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&events.lock);
    while (!events.stopping && pthread_cond_timedwait(&events.wake, &events.lock, &until) == 0)
        ;
    bool stopping = events.stopping;
    pthread_mutex_unlock(&events.lock);
    return stopping;
}

static void *events_main(void *unused)
{
    (void)unused;
    enum { CRI, CONTAINERD, NONE } source = CRI;
    do {
        cleanup_error struct error *e = NULL;
        atomic_store(&events.live, source != NONE);
        events.lost(events.userdata); /* what happened before the stream was open */
        if (source == CRI)
            run_cri_stream(&e);
        else if (source == CONTAINERD)
            run_containerd_stream(&e);
        atomic_store(&events.live, false);
        if (e && e->code == 501) {
            log_info("The runtime has no such event stream", "stream", source == CRI ? "CRI" : "containerd");
            source = source == CRI ? CONTAINERD : NONE;
            continue;
        }
        if (source != NONE)
            log_debug(2, "Event stream ended", "err", error_message(e));
    } while (!pause_ms(source == NONE ? 1000 : 200));
    return NULL;
}

void cri_events_start(struct rpc_client *client, void (*changed)(void *userdata, const char *id, bool ended),
                      void (*lost)(void *userdata), void *userdata)
{
    events.client = client;
    events.changed = changed;
    events.lost = lost;
    events.userdata = userdata;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 * 1024);
    pthread_create(&events.thread, &attr, events_main, NULL);
    pthread_attr_destroy(&attr);
}

void cri_events_stop(void)
{
    pthread_mutex_lock(&events.lock);
    events.stopping = true;
    pthread_cond_broadcast(&events.wake);
    pthread_mutex_unlock(&events.lock);
    rpc_client_stop(events.client);
    pthread_join(events.thread, NULL);
}

bool cri_events_live(void)
{
    return atomic_load(&events.live);
}
