#include "kubelet/pod/pod.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include <stdarg.h>
#include <string.h>

void kubelet_event(struct kubelet *k, const cJSON *object, const char *field_path, const char *type, const char *reason,
                   const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (k->api.event)
        k->api.event(k->api.userdata, object, field_path, type, reason, text ? text : "");
}

static void release(void *arg)
{
    struct kubelet *k = arg;
    atomic_store(&k->release_due, false);
    mem_release_idle();
}

void kubelet_release_soon(struct kubelet *k)
{
    enum { LATER_MS = 800 };
    if (!atomic_load(&k->stopping) && !atomic_exchange(&k->release_due, true))
        pool_run_after(k->pool, LATER_MS, release, k);
}

/* --- life --- */

struct pod *pod_new(struct kubelet *k, struct kube_object *object)
{
    struct pod *p = mem_alloc(sizeof(*p));
    atomic_init(&p->refs, 1);
    p->kubelet = k;
    p->uid = mem_strdup(object->uid);
    p->key = mem_strdup(object->key);
    p->object = kube_object_ref(object);
    p->first_seen_ms = time_monotonic_ms();
    pthread_mutex_init(&p->lock, NULL);
    return p;
}

struct pod *pod_ref(struct pod *p)
{
    if (p)
        atomic_fetch_add(&p->refs, 1);
    return p;
}

static void state_clear(struct pod_container_state *s)
{
    char *all[] = {s->name,     s->waiting_reason, s->waiting_message, s->image_ref,
                   s->pull_error, s->instance,     s->kill_reason,     s->stopping};
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        free(all[i]);
    cJSON_Delete(s->applied);
}

void pod_unref(struct pod *p)
{
    if (!p || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    for (size_t i = 0; i < p->state_count; i++)
        state_clear(&p->states[i]);
    free(p->states);
    runtime_sandboxes_clear(&p->sandboxes);
    runtime_containers_clear(&p->containers);
    kube_object_unref(p->object);
    kube_object_unref(p->mirror);
    kube_object_unref(p->effective);
    cJSON_Delete(p->allocation);
    free(p->resize_reason);
    free(p->resize_message);
    free(p->resize_error);
    cJSON_Delete(p->status);
    free(p->status_sent);
    free(p->status_sent_at);
    free(p->end_phase);
    free(p->end_reason);
    free(p->end_message);
    free(p->ended_id);
    free(p->uid);
    free(p->key);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void pod_cleanup(struct pod **p)
{
    pod_unref(*p);
}

/* --- the worker --- */

static void work(void *arg)
{
    struct pod *p = arg; /* with the reference that pod_wake() took */
    pthread_mutex_lock(&p->lock);
    p->queued = false;
    p->running = true;
    pthread_mutex_unlock(&p->lock);
    pod_sync(p);
    kubelet_release_soon(p->kubelet);
    pthread_mutex_lock(&p->lock);
    p->running = false;
    bool again = p->again;
    p->again = false;
    pthread_mutex_unlock(&p->lock);
    if (again)
        pod_wake(p);
    pod_unref(p);
}

void pod_wake(struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    bool run = false;
    if (p->running)
        p->again = true;
    else if (!p->queued)
        run = p->queued = true;
    pthread_mutex_unlock(&p->lock);
    if (run)
        pool_run(p->kubelet->pool, work, pod_ref(p));
}

static void timer_fired(void *arg)
{
    cleanup_pod struct pod *p = arg;
    pthread_mutex_lock(&p->lock);
    if (p->timer_at && p->timer_at <= time_monotonic_ms())
        p->timer_at = 0;
    pthread_mutex_unlock(&p->lock);
    pod_wake(p);
}

void pod_wake_after(struct pod *p, int64_t delay_ms)
{
    int64_t at = time_monotonic_ms() + (delay_ms > 0 ? delay_ms : 0);
    pthread_mutex_lock(&p->lock);
    bool set = !p->timer_at || at < p->timer_at;
    if (set)
        p->timer_at = at;
    pthread_mutex_unlock(&p->lock);
    if (set)
        pool_run_after(p->kubelet->pool, delay_ms, timer_fired, pod_ref(p));
}

/* --- questions --- */

struct pod_container_state *pod_state(struct pod *p, const char *name)
{
    for (size_t i = 0; i < p->state_count; i++)
        if (strcmp(p->states[i].name, name) == 0)
            return &p->states[i];
    return NULL;
}

const struct runtime_sandbox *pod_current_sandbox(const struct pod *p)
{
    return p->sandboxes.count ? &p->sandboxes.items[0] : NULL;
}

struct runtime_container *pod_instance(struct pod *p, const char *name, const char *in_sandbox)
{
    for (size_t i = 0; i < p->containers.count; i++) {
        struct runtime_container *c = &p->containers.items[i];
        if (strcmp(c->name, name) == 0 && (!in_sandbox || strcmp(c->sandbox_id, in_sandbox) == 0))
            return c;
    }
    return NULL;
}

const cJSON *pod_reported_status(const struct pod *p, const struct kube_object *o)
{
    const struct kube_object *shown = p->is_static ? p->mirror : o;
    return shown ? json_get(shown->json, "status") : NULL;
}

const char *pod_ips(const struct pod *p)
{
    const struct runtime_sandbox *s = pod_current_sandbox(p);
    if (pod_host_network(p->object->json))
        return p->kubelet->node_ip;
    return s && s->ip ? s->ip : NULL;
}

void pod_set_waiting(struct pod_container_state *s, const char *reason, const char *message)
{
    char *r = mem_strdup(reason), *m = mem_strdup(message);
    free(s->waiting_reason);
    free(s->waiting_message);
    s->waiting_reason = r;
    s->waiting_message = m;
}

void pod_downward(const struct pod *p, const struct kube_object *o, struct downward_source *out)
{
    const struct kubelet *k = p->kubelet;
    *out = (struct downward_source){
        .pod = o->json,
        .node_name = k->node_name,
        .host_ip = k->node_ip,
        .pod_ips = pod_ips(p),
        .allocatable_cpu_milli = k->allocatable_cpu_milli,
        .allocatable_memory = k->allocatable_memory,
        .allocatable_ephemeral = k->allocatable_ephemeral,
    };
}

char *pod_field_path(const struct pod_container_state *s)
{
    return mem_printf("spec.%s{%s}", container_kind_field(s->kind), s->name);
}
