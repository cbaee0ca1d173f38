#include "kubelet/server/server.h"
#include "common/component.h"
#include "common/httpd.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/pod/pod.h"
#include "kubelet/server/auth.h"
#include "kubelet/server/logs.h"
#include "kubelet/server/stream.h"
#include "kubelet/stats/stats.h"
#include <string.h>
#include <unistd.h>

static void reply_text(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* --- logs --- */

struct log_request {
    struct kubelet *k;
    struct httpd_request *request;
    struct httpd_stream *stream;
    struct log_reader *reader;
    struct log_options options;
    char *path, *container_id;
    struct pod *pod;
};

static void log_request_free(struct log_request *j)
{
    if (j->reader)
        log_reader_free(j->reader);
    pod_unref(j->pod);
    free(j->path);
    free(j->container_id);
    free(j);
}

static void reader_left(void *userdata)
{
    struct log_request *j = userdata;
    log_reader_cancel(j->reader);
}

static bool write_log(void *userdata, const void *p, size_t n)
{
    enum { PIECE = 32 * 1024 };
    struct log_request *j = userdata;
    for (const char *at = p; n > 0;) {
        size_t piece = n < PIECE ? n : PIECE;
        if (!httpd_stream_write_wait(j->stream, at, piece))
            return false;
        at += piece;
        n -= piece;
    }
    return true;
}

static bool container_runs(void *userdata)
{
    struct log_request *j = userdata;
    pthread_mutex_lock(&j->pod->lock);
    bool runs = false;
    for (size_t i = 0; i < j->pod->containers.count; i++)
        if (strcmp(j->pod->containers.items[i].id, j->container_id) == 0)
            runs = j->pod->containers.items[i].state != CONTAINER_EXITED;
    pthread_mutex_unlock(&j->pod->lock);
    return runs;
}

static void serve_log(void *arg)
{
    struct log_request *j = arg;
    if (access(j->path, R_OK) != 0) {
        cleanup_free char *text = mem_printf("failed to try resolving symlinks in path \"%s\": lstat %s: no such file or directory",
                                             j->path, j->path);
        reply_text(j->request, 500, text);
        log_request_free(j);
        return;
    }
    j->stream = httpd_stream_start(j->request, 200, "text/plain", 256 * 1024, reader_left, j);
    cleanup_error struct error *failure = NULL;
    if (!logs_read(j->reader, j->path, j->container_id, &j->options, container_runs, write_log, j, &failure))
        log_warn("Could not read a log", "path", j->path, "err", error_message(failure));
    httpd_stream_end(j->stream);
    log_request_free(j);
}

/* A number in the query; false if it is none or below min. */
static bool query_number(struct httpd_request *r, const char *name, int64_t min, int64_t *out)
{
    const char *text = httpd_query(r, name);
    if (!text)
        return true;
    char *end;
    *out = strtoll(text, &end, 10);
    return *text && !*end && *out >= min;
}

static bool query_bool(struct httpd_request *r, const char *name)
{
    const char *text = httpd_query(r, name);
    return text && (!*text || strcmp(text, "true") == 0 || strcmp(text, "1") == 0);
}

static bool read_log_options(struct httpd_request *r, struct log_options *o)
{
    *o = (struct log_options){.tail_lines = -1, .limit_bytes = -1};
    int64_t since_seconds = 0;
    if (!query_number(r, "tailLines", 0, &o->tail_lines) || !query_number(r, "limitBytes", 1, &o->limit_bytes) ||
        !query_number(r, "sinceSeconds", 1, &since_seconds))
        return false;
    if (since_seconds)
        o->since_us = time_now_micros() - since_seconds * 1000000;
    const char *since = httpd_query(r, "sinceTime");
    if (since && !time_parse(since, &o->since_us))
        return false;
    o->follow = query_bool(r, "follow");
    o->timestamps = query_bool(r, "timestamps");
    const char *stream = httpd_query(r, "stream");
    o->stream = stream && strcmp(stream, "Stdout") == 0 ? 1 : stream && strcmp(stream, "Stderr") == 0 ? 2 : 0;
    return true;
}

/* Why a container has no log yet, in Kubernetes' words. With the pod's lock held. */
static char *why_no_log(const struct pod *p, const char *container)
{
    const char *reason = "ContainerCreating";
    static const char *const arrays[] = {"containerStatuses", "initContainerStatuses"};
    for (size_t i = 0; i < ARRAY_LEN(arrays); i++) {
        const cJSON *s;
        cJSON_ArrayForEach(s, json_get(p->status, arrays[i]))
        {
            if (strcmp(json_str_or(s, "name", ""), container) == 0)
                reason = json_str_or(s, "state.waiting.reason", reason);
        }
    }
    if (strcmp(reason, "ErrImagePull") == 0)
        reason = "image can't be pulled";
    else if (strcmp(reason, "ImagePullBackOff") == 0)
        reason = "trying and failing to pull image";
    return mem_printf("container \"%s\" in pod \"%s\" is waiting to start: %s", container, p->object->name, reason);
}

/* /containerLogs/<namespace>/<pod>/<container> */
static void container_logs(struct kubelet *k, struct httpd_request *r, const char *rest)
{
    cleanup_free char *copy = mem_strdup(rest);
    char *save = NULL;
    const char *ns = strtok_r(copy, "/", &save), *name = strtok_r(NULL, "/", &save);
    const char *container = strtok_r(NULL, "/", &save);
    struct log_options options;
    if (!container || strtok_r(NULL, "/", &save)) {
        reply_text(r, 400, "{\"message\": \"missing container name.\"}");
        return;
    }
    if (!read_log_options(r, &options)) {
        reply_text(r, 400, "{\"message\": \"Unable to decode query.\"}");
        return;
    }
    cleanup_pod struct pod *p = pods_find(k, ns, name);
    if (!p) {
        cleanup_free char *text = mem_printf("pod \"%s\" not found\n", name);
        reply_text(r, 404, text);
        return;
    }
    bool previous = query_bool(r, "previous");
    cleanup_free char *path = NULL, *id = NULL, *why = NULL;
    int code = 400;
    pthread_mutex_lock(&p->lock);
    if (!pod_find_container(p->object->json, container, NULL)) {
        code = 404;
        why = mem_printf("container \"%s\" not found in pod \"%s\"", container, name);
    } else {
        /* Between two runs (back-off), the one that ended last is the previous one already. */
        const struct pod_container_state *state = pod_state(p, container);
        const struct runtime_container *newest = pod_instance(p, container, NULL);
        bool between = state && state->waiting_reason && newest && newest->state == CONTAINER_EXITED;
        int wanted = previous && !between ? 1 : 0, seen = 0;
        for (size_t i = 0; i < p->containers.count && !path; i++) {
            const struct runtime_container *c = &p->containers.items[i];
            if (strcmp(c->name, container) != 0 || c->state == CONTAINER_CREATED || seen++ != wanted)
                continue;
            path = mem_strdup(c->log_path);
            id = mem_strdup(c->id);
        }
        if (!path && previous)
            why = mem_printf("previous terminated container \"%s\" in pod \"%s\" not found", container, name);
        else if (!path)
            why = why_no_log(p, container);
    }
    pthread_mutex_unlock(&p->lock);
    if (!path) {
        reply_text(r, code, why);
        return;
    }
    struct log_request *j = mem_alloc(sizeof(*j));
    j->k = k;
    j->request = r;
    j->options = options;
    j->reader = log_reader_new();
    j->path = mem_strdup(path);
    j->container_id = mem_strdup(id);
    j->pod = pod_ref(p);
    httpd_defer(r);
    pool_run(k->pool, serve_log, j);
}

/* --- the rest --- */

static void list_pods(struct kubelet *k, struct httpd_request *r)
{
    cleanup_buf struct buf out = {0};
    buf_adds(&out, "{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":[");
    pthread_mutex_lock(&k->lock);
    size_t n = k->pod_count;
    struct pod **list = mem_alloc((n + 1) * sizeof(*list));
    for (size_t i = 0; i < n; i++)
        list[i] = pod_ref(k->pods[i]);
    pthread_mutex_unlock(&k->lock);
    for (size_t i = 0; i < n; i++) {
        pthread_mutex_lock(&list[i]->lock);
        cleanup_object struct kube_object *o = kube_object_ref(list[i]->object);
        pthread_mutex_unlock(&list[i]->lock);
        if (i)
            buf_addc(&out, ',');
        json_print(o->json, &out);
        pod_unref(list[i]);
    }
    free(list);
    buf_adds(&out, "]}\n");
    size_t len = out.len;
    httpd_reply_take(r, 200, "application/json", buf_take(&out), len);
}

/* --- resource usage: collected on a thread that may block --- */

struct stats_request {
    struct kubelet *k;
    struct httpd_request *request;
    enum { SUMMARY, SUMMARY_SMALL, RESOURCE, CADVISOR } kind;
};

static void serve_stats(void *arg)
{
    struct stats_request *j = arg;
    cleanup_stats struct node_stats s = {0};
    cleanup_buf struct buf out = {0};
    const char *type = "text/plain; version=0.0.4; charset=utf-8";
    stats_collect(j->k, j->kind == SUMMARY || j->kind == CADVISOR ? STATS_DISK | STATS_NETWORK : 0, &s);
    switch (j->kind) {
    case RESOURCE:
        stats_write_resource_metrics(&s, &out);
        break;
    case CADVISOR:
        stats_write_cadvisor_metrics(j->k, &s, &out);
        break;
    default:
        type = "application/json";
        stats_write_summary(j->k, &s, j->kind == SUMMARY_SMALL, &out);
    }
    size_t len = out.len;
    httpd_reply_take(j->request, 200, type, buf_take(&out), len);
    kubelet_release_soon(j->k);
    free(j);
}

static bool stats_path(struct kubelet *k, struct httpd_request *r, const char *path)
{
    static const char *const paths[] = {[SUMMARY] = "/stats/summary", [RESOURCE] = "/metrics/resource",
                                        [CADVISOR] = "/metrics/cadvisor"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!paths[i] || strcmp(path, paths[i]) != 0)
            continue;
        struct stats_request *j = mem_alloc(sizeof(*j));
        j->k = k;
        j->request = r;
        j->kind = i == SUMMARY && query_bool(r, "only_cpu_and_memory") ? SUMMARY_SMALL : i;
        httpd_defer(r);
        pool_run(k->pool, serve_stats, j);
        return true;
    }
    return false;
}

static void dispatch(struct kubelet *k, struct httpd_request *r)
{
    const char *path = httpd_path(r);
    if (stream_serve(k, r))
        return;
    if (strcmp(httpd_method(r), "GET") != 0 && strcmp(httpd_method(r), "HEAD") != 0) {
        reply_text(r, 405, "405: Method Not Allowed");
    } else if (strncmp(path, "/containerLogs/", 15) == 0) {
        container_logs(k, r, path + 15);
    } else if (strcmp(path, "/pods") == 0 || strcmp(path, "/pods/") == 0) {
        list_pods(k, r);
    } else if (stats_path(k, r, path)) {
        return;
    } else if (strcmp(path, "/healthz") == 0 || strcmp(path, "/livez") == 0 || strcmp(path, "/readyz") == 0) {
        reply_text(r, 200, "ok");
    } else if (strcmp(path, "/metrics") == 0) {
        cleanup_buf struct buf out = {0};
        metrics_render(&out);
        size_t len = out.len;
        httpd_reply_take(r, 200, "text/plain; version=0.0.4", buf_take(&out), len);
    } else {
        reply_text(r, 404, "404 page not found\n");
    }
}

/* --- who may --- */

struct asked {
    struct kubelet *k;
    struct httpd_request *request;
};
static struct server_auth *auth; /* made before the server starts */

static void act(struct kubelet *k, struct httpd_request *r, enum server_verdict verdict, const char *who)
{
    if (verdict == SERVER_ALLOWED) {
        dispatch(k, r);
    } else if (verdict == SERVER_UNKNOWN_USER) {
        reply_text(r, 401, "Unauthorized");
    } else {
        struct server_attributes want;
        server_attributes(httpd_method(r), httpd_path(r), &want);
        cleanup_free char *text =
            mem_printf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s%s%s])\n", who ? who : "", want.verb,
                       want.subresources[0], want.subresources[1] ? " " : "",
                       want.subresources[1] ? want.subresources[1] : "");
        reply_text(r, 403, text);
    }
}

static void ask(void *arg)
{
    struct asked *j = arg;
    cleanup_free char *who = NULL;
    enum server_verdict verdict = server_auth_ask(auth, j->request, &who);
    act(j->k, j->request, verdict, who);
    free(j);
}

static void handle(struct httpd_request *r, void *userdata)
{
    struct kubelet *k = userdata;
    cleanup_free char *who = NULL;
    enum server_verdict verdict = server_auth_known(auth, r, &who);
    if (verdict != SERVER_MUST_ASK) {
        act(k, r, verdict, who);
        return;
    }
    struct asked *j = mem_alloc(sizeof(*j));
    j->k = k;
    j->request = r;
    httpd_defer(r);
    pool_run(k->pool, ask, j);
}

struct httpd *server_start(struct kubelet *k, const struct server_options *o, struct error **err)
{
    auth = server_auth_new(k, o->anonymous);
    cleanup_free char *address =
        mem_printf(strchr(o->address, ':') ? "[%s]:%d" : "%s:%d", o->address, o->port);
    struct httpd_options options = {
        .address = address,
        .cert_file = o->cert_file,
        .key_file = o->key_file,
        .client_ca_file = o->client_ca_file,
        .threads = 1,
        .max_body = 64 * 1024,
        .idle_timeout_seconds = 60,
        .handler = handle,
        .userdata = k,
    };
    struct httpd *h = httpd_start(&options, err);
    if (!h)
        error_wrap(err, "serve on %s", address);
    return h;
}
