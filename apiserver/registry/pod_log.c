/* pods/log: the kubelet's answer, passed through as it comes. Runs on a thread of its own, so it
 * may block: a client that reads slowly slows the kubelet down, and one that is gone ends the
 * transfer. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/registry/kubelet_client.h"
#include "apiserver/registry/pod_node.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"

enum { KUBELET_PORT = 10250, ERROR_BODY_MAX = 10000, QUEUE_MAX = 1 << 20 };

struct log_options {
    const char *container, *since_time;
    bool follow, previous, timestamps;
    int64_t tail, since, limit; /* -1: not given */
    const char *stream;
};

/* --- what is asked for --- */

static bool parse_bool(struct write *w, const char *name, bool *out, struct error **err)
{
    const char *text = httpd_query(w->req->http, name);
    *out = text && (!strcmp(text, "true") || !strcmp(text, "1") || !*text);
    if (!text || *out || !strcmp(text, "false") || !strcmp(text, "0"))
        return true;
    api_error_bad_request(err, "strconv.ParseBool: parsing \"%s\": invalid syntax", text);
    return false;
}

static bool parse_int(struct write *w, const char *name, int64_t least, int64_t *out,
                      struct field_errors *errors, struct error **err)
{
    const char *text = httpd_query(w->req->http, name);
    *out = -1;
    if (!text || !*text)
        return true;
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    if (*end || errno) {
        api_error_bad_request(err, "strconv.ParseInt: parsing \"%s\": %s", text,
                              errno ? "value out of range" : "invalid syntax");
        return false;
    }
    if (v < least)
        field_invalid_int(errors, PATH_ROOT(name), v, "must be greater than %s",
                          least ? "0" : "or equal to 0");
    *out = v;
    return true;
}

static bool parse_options(struct write *w, struct log_options *o, struct error **err)
{
    struct httpd_request *http = w->req->http;
    cleanup_field_errors struct field_errors errors = {0};
    *o = (struct log_options){
        .container = httpd_query(http, "container"),
        .since_time = httpd_query(http, "sinceTime"),
        .stream = httpd_query(http, "stream"),
    };
    if (!parse_bool(w, "follow", &o->follow, err) ||
        !parse_bool(w, "previous", &o->previous, err) ||
        !parse_bool(w, "timestamps", &o->timestamps, err) ||
        !parse_int(w, "tailLines", 0, &o->tail, &errors, err) ||
        !parse_int(w, "limitBytes", 1, &o->limit, &errors, err) ||
        !parse_int(w, "sinceSeconds", 1, &o->since, &errors, err))
        return false;
    int64_t micros;
    if (o->since_time && *o->since_time && !time_parse(o->since_time, &micros)) {
        api_error_bad_request(
            err,
            "parsing time \"%s\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"%s\" as \"2006\"",
            o->since_time, o->since_time);
        return false;
    }
    if (o->since >= 0 && o->since_time && *o->since_time)
        field_forbidden(&errors, PATH_ROOT(""),
                        "at most one of `sinceTime` or `sinceSeconds` may be specified");
    if (o->stream && *o->stream && strcmp(o->stream, "All") && strcmp(o->stream, "Stdout") &&
        strcmp(o->stream, "Stderr"))
        field_not_supported(&errors, PATH_ROOT("stream"), o->stream, "All,Stderr,Stdout");
    return field_errors_check(&errors, "", "PodLogOptions", w->name, err);
}

/* --- where it is --- */

static void add_names(struct buf *b, const cJSON *containers)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, containers)
        buf_printf(b, "%s%s", c == containers->child ? "" : " ", json_str_or(c, "name", ""));
}

static bool has_container(const cJSON *pod, const char *name)
{
    static const char *const lists[] = {"spec.containers", "spec.initContainers",
                                        "spec.ephemeralContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const cJSON *c;
        cJSON_ArrayForEach(
            c, json_path(pod, lists[i])) if (!strcmp(json_str_or(c, "name", ""), name)) return true;
    }
    return false;
}

const char *pod_choose_container(const cJSON *pod, const char *wanted, struct error **err)
{
    const char *name = json_str_or(pod, "metadata.name", "");
    if (wanted && *wanted) {
        if (has_container(pod, wanted))
            return wanted;
        api_error_bad_request(err, "container %s is not valid for pod %s", wanted, name);
        return NULL;
    }
    const cJSON *containers = json_path(pod, "spec.containers"),
                *init = json_path(pod, "spec.initContainers");
    int n = cJSON_GetArraySize(containers);
    if (n == 1)
        return json_str_or(containers->child, "name", "");
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "a container name must be specified for pod %s", name);
    if (n > 1) {
        buf_adds(&b, ", choose one of: [");
        add_names(&b, containers);
        buf_addc(&b, ']');
        if (cJSON_GetArraySize(init)) {
            buf_adds(&b, " or one of the init containers: [");
            add_names(&b, init);
            buf_addc(&b, ']');
        }
    }
    api_error_bad_request(err, "%s", buf_str(&b));
    return NULL;
}

char *pod_node_url(struct write *w, const char *node_name, struct error **err)
{
    cleanup_stored struct stored *s =
        storage_get(w->req->storage, resource_find("", "v1", "nodes"), "", node_name, err);
    cleanup_json cJSON *node = s ? json_parse(s->json, s->len, err) : NULL;
    if (!node)
        return NULL;
    static const char *const preferred[] = {"InternalIP", "Hostname", "ExternalIP"};
    int64_t port = json_int(node, "status.daemonEndpoints.kubeletEndpoint.Port", 0);
    for (size_t i = 0; i < ARRAY_LEN(preferred); i++) {
        const cJSON *a;
        cJSON_ArrayForEach(a, json_path(node, "status.addresses"))
        {
            const char *address = json_str_or(a, "address", "");
            if (!strcmp(json_str_or(a, "type", ""), preferred[i]) && *address)
                return mem_printf(strchr(address, ':') ? "https://[%s]:%lld" : "https://%s:%lld",
                                  address, (long long)(port ? port : KUBELET_PORT));
        }
    }
    error_set(err, 500, "InternalError",
              "Internal error occurred: no preferred addresses found; known addresses: []");
    return NULL;
}

static void add_parameter(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%c%s=", strchr(buf_str(b), '?') ? '&' : '?', name);
    buf_add_urlencoded(b, value);
}

static void add_number(struct buf *b, const char *name, int64_t value)
{
    cleanup_free char *text = mem_printf("%lld", (long long)value);
    if (value >= 0)
        add_parameter(b, name, text);
}

/* True with an empty url: the pod has no node yet, and so no log. */
static bool log_url(struct write *w, const struct log_options *o, struct buf *url,
                    struct error **err)
{
    cleanup_stored struct stored *s = storage_get(w->req->storage, w->stored, w->ns, w->name, err);
    cleanup_json cJSON *pod = s ? json_parse(s->json, s->len, err) : NULL;
    const char *container = pod ? pod_choose_container(pod, o->container, err) : NULL;
    if (!container)
        return false;
    const char *node = json_str_or(pod, "spec.nodeName", "");
    if (!*node)
        return true;
    cleanup_free char *base = pod_node_url(w, node, err);
    if (!base)
        return false;
    buf_printf(url, "%s/containerLogs/%s/%s/", base, w->ns, w->name);
    buf_add_urlencoded(url, container);
    if (o->follow)
        add_parameter(url, "follow", "true");
    if (o->previous)
        add_parameter(url, "previous", "true");
    if (o->timestamps)
        add_parameter(url, "timestamps", "true");
    if (o->since_time && *o->since_time)
        add_parameter(url, "sinceTime", o->since_time);
    add_number(url, "sinceSeconds", o->since);
    add_number(url, "tailLines", o->tail);
    add_number(url, "limitBytes", o->limit);
    if (o->stream && *o->stream)
        add_parameter(url, "stream", o->stream);
    return true;
}

/* --- passing it on --- */

struct transfer {
    struct write *w;
    CURL *curl;
    struct httpd_stream *stream; /* NULL until the kubelet said 200 */
    struct buf error_body;
    bool gone; /* atomic */
};

static void client_gone(void *userdata)
{
    struct transfer *t = userdata;
    __atomic_store_n(&t->gone, true, __ATOMIC_RELEASE);
}

static void start_stream(struct transfer *t)
{
    struct httpd_request *http = api_answered(t->w->req, 200);
    t->stream = httpd_stream_start(http, 200, "text/plain", QUEUE_MAX, client_gone, t);
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t n = size * count;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        if (t->error_body.len < ERROR_BODY_MAX)
            buf_add(&t->error_body, data, n);
        return n;
    }
    if (!t->stream)
        start_stream(t);
    return httpd_stream_write_wait(t->stream, data, n) ? n : 0;
}

/* A follower's client sees the answer begin, also while the container is silent. */
static size_t on_header(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t n = size * count;
    bool end = n <= 2 && (*data == '\r' || *data == '\n');
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (end && status == 200 && !t->stream)
        start_stream(t);
    return n;
}

static int on_progress(void *userdata, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct transfer *t = userdata;
    return __atomic_load_n(&t->gone, __ATOMIC_ACQUIRE);
}

static void kubelet_error(struct write *w, long status, const char *text, struct error **err)
{
    switch (status) {
    case 400:
        error_set(err, 400, "BadRequest", "%s", text);
        break;
    case 404:
        error_set(err, 404, "NotFound",
                  "the server could not find the requested resource ( pods/log %s)", w->name);
        break;
    case 401:
        error_set(err, 401, "Unauthorized",
                  "the server has asked for the client to provide credentials ( pods/log %s)",
                  w->name);
        break;
    case 403:
        error_set(err, 403, "Forbidden", "%s ( pods/log %s)", *text ? text : "forbidden", w->name);
        break;
    default:
        error_set(err, 500, "InternalError", "Internal error occurred: %s",
                  *text ? text : "the kubelet gave no reason");
        break;
    }
}

static void configure(struct transfer *t, const char *url)
{
    const struct api_config *config = t->w->req->config;
    CURL *c = t->curl;
    curl_easy_setopt(c, CURLOPT_URL, url);
    kubelet_client_configure(c, config);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
}

static void pass_through(struct write *w, const char *url)
{
    struct transfer t = {.w = w, .curl = curl_easy_init()};
    cleanup_error struct error *err = NULL;
    if (!t.curl) {
        error_set(&err, 500, "InternalError", "Internal error occurred: libcurl");
        api_reply_error(w->req, err);
        return;
    }
    char reason[CURL_ERROR_SIZE] = "";
    configure(&t, url);
    curl_easy_setopt(t.curl, CURLOPT_ERRORBUFFER, reason);
    CURLcode rc = curl_easy_perform(t.curl);
    long status = 0;
    curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &status);
    if (t.stream) {
        httpd_stream_end(t.stream);
    } else {
        if (status >= 300)
            kubelet_error(w, status, buf_str(&t.error_body), &err);
        else
            error_set(&err, 500, "InternalError", "Get \"%s\": %s", url,
                      *reason ? reason : curl_easy_strerror(rc));
        api_reply_error(w->req, err);
    }
    curl_easy_cleanup(t.curl);
    buf_free(&t.error_body);
}

void pod_log(struct write *w)
{
    cleanup_error struct error *err = NULL;
    struct log_options o;
    cleanup_buf struct buf url = {0};
    if (!parse_options(w, &o, &err) || !log_url(w, &o, &url, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    if (url.len)
        pass_through(w, buf_str(&url));
    else
        httpd_reply(api_answered(w->req, 200), 200, "text/plain", "", 0);
}
