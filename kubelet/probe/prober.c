/* Probes of running containers. A session looks after one probe of one container instance: it looks, waits its
 * period, looks again, and ends with the instance. No thread of its own: timers and jobs of the pool. */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/cri/rpc.h"
#include "kubelet/pod/pod.h"
#include "kubelet/probe/probe.h"
#include <string.h>

#define ERROR_RETRIES 3

struct session {
    struct pod *pod;
    char *container, *id;
    enum probe_kind kind;
    struct probe_settings settings;
    struct probe_run run;
};

/* grpc.health.v1.Health/Check. Its request is one string and its answer one enumeration, both field 1. */
static enum check_result look_grpc(const char *ip, int port, const char *service, int64_t timeout_ms,
                                   struct buf *message)
{
    cleanup_free char *target = mem_printf(strchr(ip, ':') ? "ipv6:[%s]:%d" : "ipv4:%s:%d", ip, port);
    struct rpc_client *client = rpc_client_new(target);
    cleanup_buf struct buf request = {0}, answer = {0};
    size_t len = strlen(service);
    if (len > 0 && len < 128) {
        buf_addc(&request, 0x0a);
        buf_addc(&request, (char)len);
        buf_adds(&request, service);
    }
    cleanup_error struct error *failure = NULL;
    bool ok = rpc_unary(client, "/grpc.health.v1.Health/Check", buf_str(&request), request.len, timeout_ms, &answer,
                        &failure);
    rpc_client_free(client);
    if (!ok) {
        if (failure->code == 503 || failure->code == 504)
            buf_printf(message, "timeout: failed to connect service \"%s\" within %llds: %s", strchr(target, ':') + 1,
                       (long long)timeout_ms / 1000, error_message(failure));
        else
            buf_printf(message, "error: health rpc failed: %s", error_message(failure));
        return CHECK_FAILURE;
    }
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    unsigned status = answer.len >= 2 && answer.data[0] == 0x08 ? (unsigned char)answer.data[1] : 0;
    if (status == 1)
        return CHECK_SUCCESS;
    buf_printf(message, "service unhealthy (responded with \"%s\")", names[status < 4 ? status : 0]);
    return CHECK_FAILURE;
}

static enum check_result look(struct session *x, const cJSON *pod, const cJSON *spec, const cJSON *probe, const char *ip,
                              struct buf *message)
{
    struct kubelet *k = x->pod->kubelet;
    const cJSON *action;
    (void)pod;
    if ((action = json_get(probe, "exec"))) {
        struct check_argv argv;
        check_argv_from_json(json_get(action, "command"), &argv);
        cleanup_error struct error *failure = NULL;
        int code = 0;
        bool ok = cri_exec_sync(&k->cri, x->id, argv.items, argv.count, x->settings.timeout_ms / 1000, message, &code,
                                &failure);
        check_argv_clear(&argv);
        if (ok)
            return code == 0 ? CHECK_SUCCESS : CHECK_FAILURE;
        bool timeout = failure->code == 504 || strstr(failure->message, "timed out") || strstr(failure->message, "timeout");
        buf_clear(message);
        if (timeout)
            buf_printf(message, "command timed out: %s", error_message(failure));
        else
            buf_adds(message, error_message(failure));
        return timeout ? CHECK_FAILURE : CHECK_UNKNOWN;
    }
    if ((action = json_get(probe, "httpGet"))) {
        struct check_http http;
        cleanup_error struct error *failure = NULL;
        if (!check_http_from_json(action, spec, ip, &http, &failure)) {
            buf_adds(message, error_message(failure));
            return CHECK_UNKNOWN;
        }
        enum check_result r = check_http(&http, x->settings.timeout_ms, k->version, message);
        check_http_clear(&http);
        return r;
    }
    if ((action = json_get(probe, "tcpSocket"))) {
        int port = check_port(json_get(action, "port"), spec);
        const char *host = json_str(action, "host");
        if (port < 0) {
            buf_adds(message, "couldn't find port of tcpSocket in the container");
            return CHECK_UNKNOWN;
        }
        return check_tcp(host && *host ? host : ip, port, x->settings.timeout_ms, message);
    }
    if ((action = json_get(probe, "grpc")))
        return look_grpc(ip, (int)json_int(action, "port", 0), json_str_or(action, "service", ""),
                         x->settings.timeout_ms, message);
    buf_adds(message, "missing probe handler");
    return CHECK_UNKNOWN;
}

static void end(struct session *x)
{
    pod_unref(x->pod);
    free(x->container);
    free(x->id);
    free(x);
}

/* Is there still something to look after? With the lock held. */
static struct pod_container_state *wanted(struct session *x)
{
    struct pod *p = x->pod;
    struct pod_container_state *s = pod_state(p, x->container);
    if (!s || !s->instance || strcmp(s->instance, x->id) != 0 || p->removed || p->resources_released)
        return NULL;
    struct runtime_container *c = NULL;
    for (size_t i = 0; i < p->containers.count && !c; i++)
        if (strcmp(p->containers.items[i].id, x->id) == 0)
            c = &p->containers.items[i];
    if (c && c->state == CONTAINER_EXITED)
        return NULL;
    if (x->kind == PROBE_STARTUP && s->started)
        return NULL;
    /* A pod that is being ended is not killed once more; its readiness goes on being watched. */
    if (x->kind != PROBE_READINESS && (p->terminating || s->kill_reason))
        return NULL;
    return s;
}

static void tell(struct session *x, const cJSON *pod, enum check_result r, const char *message)
{
    if (r == CHECK_SUCCESS)
        return;
    struct pod *p = x->pod;
    pthread_mutex_lock(&p->lock);
    struct pod_container_state *s = pod_state(p, x->container);
    cleanup_free char *path = s ? pod_field_path(s) : NULL;
    pthread_mutex_unlock(&p->lock);
    kubelet_event(p->kubelet, pod, path, "Warning", "Unhealthy", "%s probe %s: %s", probe_title(x->kind),
                  r == CHECK_FAILURE ? "failed" : "errored", message);
}

static void tick(void *arg)
{
    struct session *x = arg;
    struct pod *p = x->pod;
    int64_t began = time_monotonic_ms();
    pthread_mutex_lock(&p->lock);
    struct pod_container_state *s = wanted(x);
    cleanup_object struct kube_object *o = kube_object_ref(p->object);
    const char *ips = pod_ips(p);
    cleanup_free char *ip = ips ? mem_strndup(ips, strcspn(ips, ",")) : mem_strdup("");
    pthread_mutex_unlock(&p->lock);
    const cJSON *spec = pod_find_container(o->json, x->container, NULL);
    const cJSON *probe = json_get(spec, probe_field(x->kind));
    if (!s || !probe || atomic_load(&p->kubelet->stopping)) {
        end(x);
        return;
    }
    cleanup_buf struct buf message = {0};
    enum check_result r = CHECK_UNKNOWN;
    for (int i = 0; i < ERROR_RETRIES && r == CHECK_UNKNOWN; i++) {
        buf_clear(&message);
        r = look(x, o->json, spec, probe, ip, &message);
    }
    bool wake = false, told = true;
    pthread_mutex_lock(&p->lock);
    s = wanted(x); /* things may have changed meanwhile */
    if (!s) {
        told = false;
    } else if (probe_count(&x->run, &x->settings, r)) {
        bool good = r == CHECK_SUCCESS;
        if (x->kind == PROBE_READINESS) {
            wake = s->ready != good;
            s->ready = good;
        } else if (!good) {
            s->kill_reason = mem_strdup(x->kind == PROBE_STARTUP ? "startup" : "liveness");
            wake = true;
        } else if (x->kind == PROBE_STARTUP) {
            s->started = true;
            wake = true;
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (told)
        tell(x, o->json, r, buf_str(&message));
    if (wake)
        pod_wake(p);
    kubelet_release_soon(p->kubelet);
    int64_t spent = time_monotonic_ms() - began;
    pool_run_after(p->kubelet->pool, spent < x->settings.period_ms ? x->settings.period_ms - spent : 0, tick, x);
}

static void start_session(struct pod *p, struct pod_container_state *s, const cJSON *probe, enum probe_kind kind,
                          int64_t running_for_ms)
{
    struct session *x = mem_alloc(sizeof(*x));
    x->pod = pod_ref(p);
    x->container = mem_strdup(s->name);
    x->id = mem_strdup(s->instance);
    x->kind = kind;
    probe_settings_from_json(probe, &x->settings);
    s->probing |= 1u << kind;
    int64_t delay = x->settings.initial_delay_ms - running_for_ms;
    pool_run_after(p->kubelet->pool, delay > 0 ? delay : 0, tick, x);
}

void pod_arm_probes(struct pod *p, const struct kube_object *o)
{
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->state_count; i++) {
        struct pod_container_state *s = &p->states[i];
        const struct runtime_container *c = pod_instance(p, s->name, NULL);
        if (!c || c->state != CONTAINER_RUNNING || !s->instance || strcmp(s->instance, c->id) != 0 ||
            s->post_start_running || s->kind == CONTAINER_INIT ||
            s->kind == CONTAINER_EPHEMERAL)
            continue;
        const cJSON *spec = pod_find_container(o->json, s->name, NULL);
        int64_t running_for = time_now_micros() / 1000 - c->started_at / 1000000;
        for (enum probe_kind kind = PROBE_STARTUP; kind <= PROBE_READINESS; kind++) {
            const cJSON *probe = json_get(spec, probe_field(kind));
            /* The others wait for the startup probe's success. */
            bool due = kind == PROBE_STARTUP ? !s->started : s->started;
            if (kind == PROBE_LIVENESS && p->terminating)
                due = false;
            if (probe && due && !(s->probing & 1u << kind))
                start_session(p, s, probe, kind, running_for);
        }
    }
    pthread_mutex_unlock(&p->lock);
}
