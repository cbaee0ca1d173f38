#include "kubelet/shutdown/shutdown.h"
#include <signal.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/node/node.h"
#include "kubelet/pod/pod.h"

static struct { /* settled at start */
    struct kubelet *k;
    struct shutdown_options options;
    struct node_agent *agent;
} going;

static bool running(struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    bool r = p->admitted && !p->resources_released && !p->settled;
    pthread_mutex_unlock(&p->lock);
    return r;
}

static int64_t grace_of(struct pod *p, int64_t seconds)
{
    pthread_mutex_lock(&p->lock);
    int64_t own = json_int(p->object->json, "spec.terminationGracePeriodSeconds", 30);
    pthread_mutex_unlock(&p->lock);
    return own < seconds ? own : seconds;
}

static bool is_critical(struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    bool critical = pod_is_critical(p->object->json);
    pthread_mutex_unlock(&p->lock);
    return critical;
}

/* Ends the pods of one kind and waits for them, at most for their time. */
static void end_kind(struct kubelet *k, bool critical, int64_t time_ms)
{
    enum { LOOK_MS = 100 };
    int64_t deadline = time_monotonic_ms() + time_ms;
    struct pod **list = pods_all(k);
    for (size_t i = 0; list[i]; i++)
        if (is_critical(list[i]) == critical && running(list[i]))
            pod_end_by_kubelet(list[i], "Terminated",
                               "Pod was terminated in response to imminent node shutdown.",
                               grace_of(list[i], time_ms / 1000));
    for (size_t i = 0; list[i]; i++)
        while (is_critical(list[i]) == critical && running(list[i]) &&
               time_monotonic_ms() < deadline)
            nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
    pods_free_list(list);
}

void shutdown_run(struct kubelet *k, const struct shutdown_options *o, struct node_agent *agent)
{
    if (atomic_exchange(&k->shutting_down, true))
        return;
    log_info("Shutdown manager detected new shutdown event, ending pods");
    node_agent_report(agent);
    node_agent_event(agent, "Normal", "Shutdown", "Shutdown manager detected shutdown event");
    if (o->grace_ms <= 0)
        return;
    end_kind(k, false, o->grace_ms - o->critical_grace_ms);
    end_kind(k, true, o->critical_grace_ms);
    log_info("Shutdown manager completed processing shutdown event, node will shutdown shortly");
}

static void power_signal(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPWR);
}

void shutdown_block_signal(void)
{
    sigset_t set;
    power_signal(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void *wait_for_signal(void *arg)
{
    (void)arg;
    sigset_t set;
    power_signal(&set);
    int got;
    while (sigwait(&set, &got) != 0)
        ;
    shutdown_run(going.k, &going.options, going.agent);
    return NULL;
}

void shutdown_start(struct kubelet *k, const struct shutdown_options *o, struct node_agent *agent)
{
    going.k = k;
    going.options = *o;
    going.agent = agent;
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 128 * 1024);
    if (pthread_create(&thread, &attr, wait_for_signal, NULL) != 0)
        log_warn("No thread to wait for a shutdown of the node");
    pthread_attr_destroy(&attr);
}
