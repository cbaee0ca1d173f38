/* /exec/<namespace>/<pod>[/<uid>]/<container>, /attach/... alike, /portForward/<namespace>/<pod>[/<uid>].
 *
 * Each runs on a thread of its own, not on the pool's: pods that are exec'ed into without end must never keep the kubelet
 * from its work, so there is a limit of their own, too. */
#include "kubelet/server/stream.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/tunnel.h"
#include "kubelet/pod/pod.h"
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>

enum { STREAMS_MAX = 256, STACK_SIZE = 512 * 1024, COMMAND_MAX = 4096, PORTS_MAX = 64 };

static atomic_int running;

enum stream_kind { STREAM_EXEC, STREAM_ATTACH, STREAM_PORT_FORWARD };

struct stream {
    struct kubelet *kubelet;
    struct httpd_request *request;
    enum stream_kind kind;
    char *path; /* what follows the kind, cut into the following */
    const char *ns, *pod, *uid, *container; /* uid may be NULL; container is for exec and attach */
};

static void stream_free(struct stream *s)
{
    free(s->path);
    free(s);
}

static void reply_text(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* A Status, not a text: kubectl reads the body of a refused upgrade as YAML first, and of a text like "rpc error: code = ..." it
 * makes a Status without a message. */
char *stream_failure(const struct error *err)
{
    cleanup_json cJSON *status = cJSON_CreateObject();
    cJSON_AddStringToObject(status, "kind", "Status");
    cJSON_AddStringToObject(status, "apiVersion", "v1");
    cJSON_AddObjectToObject(status, "metadata");
    cJSON_AddStringToObject(status, "status", "Failure");
    cJSON_AddStringToObject(status, "message", error_message(err));
    cJSON_AddNumberToObject(status, "code", err->code ? err->code : 500);
    return cJSON_PrintUnformatted(status);
}

static void reply_failure(struct httpd_request *r, const struct error *err)
{
    int status = err->code ? err->code : 500;
    if (strstr(error_message(err), ": ")) {
        cleanup_free char *body = stream_failure(err);
        httpd_reply(r, status, "application/json", body, strlen(body));
    } else {
        reply_text(r, status, error_message(err));
    }
}

static bool flag(const struct httpd_request *r, const char *name)
{
    const char *text = httpd_query(r, name);
    return text && (strcmp(text, "1") == 0 || strcmp(text, "true") == 0);
}

static bool read_ports(const struct httpd_request *r, int32_t *ports, size_t *count, struct error **err)
{
    const char *values[PORTS_MAX];
    size_t n = httpd_query_all(r, "port", values, PORTS_MAX);
    if (n > PORTS_MAX) {
        error_set(err, 400, "BadRequest", "too many ports");
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        char *end;
        long port = strtol(values[i], &end, 10);
        if (!*values[i] || *end || port < 1 || port > 65535) {
            error_set(err, 400, "BadRequest", "invalid port \"%s\"", values[i]);
            return false;
        }
        ports[(*count)++] = (int32_t)port;
    }
    return true;
}

/* The id of the running container, or of the sandbox. The caller's; NULL with an error. */
static char *find_target(const struct stream *s, struct error **err)
{
    cleanup_pod struct pod *p = pods_find(s->kubelet, s->ns, s->pod);
    if (!p || (s->uid && strcmp(s->uid, p->uid) != 0)) {
        error_set(err, 404, "NotFound", "pod does not exist");
        return NULL;
    }
    char *id = NULL;
    pthread_mutex_lock(&p->lock);
    if (s->kind == STREAM_PORT_FORWARD) {
        const struct runtime_sandbox *sandbox = pod_current_sandbox(p);
        if (sandbox && sandbox->ready)
            id = mem_strdup(sandbox->id);
        else
            error_set(err, 500, "", "unable to find running pod %s_%s", s->pod, s->ns);
    } else {
        const struct runtime_container *c = pod_instance(p, s->container, NULL);
        if (c && c->state == CONTAINER_RUNNING)
            id = mem_strdup(c->id);
        else
            error_set(err, 500, "", "container not found (\"%s\")", s->container);
    }
    pthread_mutex_unlock(&p->lock);
    return id;
}

/* Asks the runtime; where it waits for the client. */
static char *ask_runtime(const struct stream *s, struct error **err)
{
    const struct httpd_request *r = s->request;
    struct cri_stream streams = {.in = flag(r, "input"), .out = flag(r, "output"), .tty = flag(r, "tty")};
    streams.err = flag(r, "error") && !streams.tty; /* a terminal has one output */
    if (s->kind != STREAM_PORT_FORWARD && !streams.in && !streams.out && !streams.err) {
        error_set(err, 400, "BadRequest", "you must specify at least 1 of stdin, stdout, stderr");
        return NULL;
    }
    cleanup_free char *id = find_target(s, err);
    if (!id)
        return NULL;
    char *url = NULL;
    if (s->kind == STREAM_EXEC) {
        cleanup_free const char **command = mem_alloc(COMMAND_MAX * sizeof(*command));
        size_t n = httpd_query_all(r, "command", command, COMMAND_MAX);
        if (n > COMMAND_MAX)
            error_set(err, 400, "BadRequest", "too many arguments");
        else
            cri_exec(&s->kubelet->cri, id, command, n, &streams, &url, err);
    } else if (s->kind == STREAM_ATTACH) {
        cri_attach(&s->kubelet->cri, id, &streams, &url, err);
    } else {
        int32_t ports[PORTS_MAX];
        size_t n = 0;
        if (read_ports(r, ports, &n, err))
            cri_port_forward(&s->kubelet->cri, id, ports, n, &url, err);
    }
    return url;
}

/* kubectl's way to forward ports since 1.31. Runtimes do not know it. */
static const char spdy_in_websocket[] = "SPDY/3.1+portforward.k8s.io";

static bool asks_for(const struct httpd_request *r, const char *protocol)
{
    const char *upgrade = httpd_header(r, "Upgrade");
    return upgrade && strcasecmp(upgrade, "websocket") == 0 &&
           httpd_header_lists(r, "Sec-WebSocket-Protocol", protocol);
}

static struct tunnel *open_tunnel(const struct stream *s, struct error **err)
{
    cleanup_free char *url = ask_runtime(s, err);
    if (!url)
        return NULL;
    char *host = strstr(url, "://"), *slash = host ? strchr(host + 3, '/') : NULL;
    if (!slash) {
        error_set(err, 500, "", "the runtime gave no URL for the stream");
        return NULL;
    }
    cleanup_free char *server = mem_strndup(url, (size_t)(slash - url));
    struct tunnel_target target = {.server = server, .path = slash};
    if (s->kind == STREAM_PORT_FORWARD && asks_for(s->request, spdy_in_websocket)) {
        target.unwrapped = "portforward.k8s.io";
        target.wrapped = spdy_in_websocket;
    }
    return tunnel_open(s->request, &target, err);
}

static void *run(void *arg)
{
    struct stream *s = arg;
    cleanup_error struct error *err = NULL;
    struct tunnel *t = open_tunnel(s, &err);
    if (t)
        tunnel_run(t, s->request);
    else
        reply_failure(s->request, err);
    stream_free(s);
    atomic_fetch_sub(&running, 1);
    return NULL;
}

static bool start_thread(struct stream *s)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    pthread_t thread;
    int rc = pthread_create(&thread, &attr, run, s);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

static struct stream *parse_path(const char *path)
{
    static const char *const kinds[] = {"/exec/", "/attach/", "/portForward/"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(path, kinds[i], n) != 0)
            continue;
        struct stream *s = mem_alloc(sizeof(*s));
        s->kind = (enum stream_kind)i;
        s->path = mem_strdup(path + n);
        char *save = NULL;
        s->ns = strtok_r(s->path, "/", &save);
        s->pod = strtok_r(NULL, "/", &save);
        const char *third = strtok_r(NULL, "/", &save), *fourth = strtok_r(NULL, "/", &save);
        if (s->kind == STREAM_PORT_FORWARD) {
            s->uid = third;
        } else {
            s->container = fourth ? fourth : third;
            s->uid = fourth ? third : NULL;
        }
        bool complete = s->pod && (s->kind == STREAM_PORT_FORWARD ? !fourth : s->container != NULL);
        if (complete && !strtok_r(NULL, "/", &save))
            return s;
        stream_free(s);
        return NULL;
    }
    return NULL;
}

bool stream_serve(struct kubelet *k, struct httpd_request *r)
{
    struct stream *s = parse_path(httpd_path(r));
    if (!s)
        return false;
    s->kubelet = k;
    s->request = r;
    bool known = strcmp(httpd_method(r), "GET") == 0 || strcmp(httpd_method(r), "POST") == 0;
    if (!known || !tunnel_wanted(r)) {
        reply_text(r, known ? 400 : 405, known ? "Upgrade request required" : "405: Method Not Allowed");
        stream_free(s);
        return true;
    }
    if (atomic_fetch_add(&running, 1) >= STREAMS_MAX) {
        atomic_fetch_sub(&running, 1);
        reply_text(r, 429, "too many streams are open on this node");
        stream_free(s);
        return true;
    }
    httpd_defer(r);
    if (!start_thread(s)) {
        atomic_fetch_sub(&running, 1);
        log_error("No thread for a stream");
        reply_text(r, 500, "no thread to be had");
        stream_free(s);
    }
    return true;
}
