/* The client's request, sent on as it came; the answer, passed back as it comes. */
#include "apiserver/registry/proxy.h"
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "apiserver/registry/kubelet_client.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/tunnel.h"

enum { QUEUE_MAX = 1 << 20, HEADERS_MAX = 128 * 1024 };

/* RFC 9110 section 7.6.1: between two neighbours only. */
static bool hop_by_hop(const char *name)
{
    static const char *const names[] = {"Connection",       "Keep-Alive", "Proxy-Authenticate",
                                        "Proxy-Connection", "TE",         "Proxy-Authorization",
                                        "Trailer",          "Upgrade",    "Transfer-Encoding"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcasecmp(name, names[i]))
            return true;
    return false;
}

struct transfer {
    struct write *w;
    CURL *curl;
    struct curl_slist *headers;
    struct httpd_stream *stream; /* NULL until the answer's headers are there */
    struct buf lines;            /* the answer's header lines, each ended by a NUL */
    char prefix[1024];           /* where the proxied server's "/" is seen by the client */
    bool no_body;
    bool gone; /* atomic */
};

/* --- the request --- */

/* Who asks here proves it to us alone. */
static bool is_for_us(const char *name)
{
    return !strcasecmp(name, "Authorization") || !strncasecmp(name, "Impersonate-", 12);
}

static void pass_header(void *ctx, const char *name, const char *value)
{
    struct transfer *t = ctx;
    if (hop_by_hop(name) || is_for_us(name) || !strcasecmp(name, "Host") ||
        !strcasecmp(name, "Content-Length") || !strcasecmp(name, "Expect") ||
        !strncasecmp(name, "X-Forwarded-", 12))
        return;
    cleanup_free char *line = mem_printf(*value ? "%s: %s" : "%s;", name, value);
    t->headers = curl_slist_append(t->headers, line);
}

static void add_header(struct transfer *t, const char *name, const char *value)
{
    cleanup_free char *line = mem_printf("%s: %s", name, value);
    t->headers = curl_slist_append(t->headers, line);
}

static void prepare_headers(struct transfer *t)
{
    struct httpd_request *http = t->w->req->http;
    httpd_headers_prefixed(http, "", pass_header, t);
    const char *host = httpd_header(http, "Host"), *before = httpd_header(http, "X-Forwarded-For");
    cleanup_free char *from = mem_strdup(httpd_client_address(http));
    char *port = from ? strrchr(from, ':') : NULL;
    if (port)
        *port = 0;
    cleanup_free char *chain =
        mem_printf("%s%s%s", before ? before : "", before ? ", " : "", from ? from : "");
    add_header(t, "X-Forwarded-For", chain);
    add_header(t, "X-Forwarded-Uri", httpd_raw_path(http));
    add_header(t, "X-Forwarded-Proto", "https");
    if (host)
        add_header(t, "X-Forwarded-Host", host);
    t->headers = curl_slist_append(t->headers, "Expect:");
}

/* --- the answer --- */

static void client_gone(void *userdata)
{
    struct transfer *t = userdata;
    __atomic_store_n(&t->gone, true, __ATOMIC_RELEASE);
}

/* A redirection within the server leads through us again. */
static void add_location(struct transfer *t, const char *value)
{
    struct httpd_request *http = t->w->req->http;
    const char *path = value;
    char *server = NULL;
    curl_easy_getinfo(t->curl, CURLINFO_EFFECTIVE_URL, &server);
    const char *host = server ? strstr(server, "://") : NULL;
    if (host) {
        size_t n = (size_t)(host + 3 - server) + strcspn(host + 3, "/?");
        if (!strncmp(value, server, n) && (!value[n] || value[n] == '/'))
            path = value + n;
    }
    bool inside = path != value || (*value == '/' && value[1] != '/');
    cleanup_free char *rewritten =
        inside ? mem_printf("%s%s", t->prefix, *path ? path : "/") : mem_strdup(value);
    httpd_add_header(http, "Location", rewritten);
}

static void start_answer(struct transfer *t)
{
    struct httpd_request *http = t->w->req->http;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    cleanup_free char *type = NULL;
    const char *end = t->lines.data ? t->lines.data + t->lines.len : NULL;
    for (char *line = t->lines.data; line && line < end; line += strlen(line) + 1) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        cleanup_free char *name = mem_strndup(line, (size_t)(value - line));
        value += 1 + strspn(value + 1, " \t");
        if (hop_by_hop(name) || !strcasecmp(name, "Content-Length"))
            continue;
        if (!strcasecmp(name, "Content-Type")) {
            free(type);
            type = mem_strdup(value);
        } else if (!strcasecmp(name, "Location")) {
            add_location(t, value);
        } else {
            httpd_add_header(http, name, value);
        }
    }
    http = api_answered(t->w->req, (int)status);
    if (t->no_body || status == 204 || status == 304)
        httpd_reply(http, (int)status, type, "", 0);
    else
        t->stream = httpd_stream_start(http, (int)status, type, QUEUE_MAX, client_gone, t);
}

static size_t on_header(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t n = size * count, len = n;
    while (len && (data[len - 1] == '\r' || data[len - 1] == '\n'))
        len--;
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (len >= 5 && !strncmp(data, "HTTP/", 5)) {
        t->lines.len = 0; /* after a 100 Continue */
    } else if (len) {
        if (t->lines.len + len > HEADERS_MAX || memchr(data, 0, len))
            return 0;
        buf_add(&t->lines, data, len);
        buf_addc(&t->lines, 0);
    } else if (status >= 200 && t->w->req->http) {
        start_answer(t);
    }
    return n;
}

static size_t on_body(char *data, size_t size, size_t count, void *userdata)
{
    struct transfer *t = userdata;
    size_t n = size * count;
    return !t->stream || httpd_stream_write_wait(t->stream, data, n) ? n : 0;
}

static int on_progress(void *userdata, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    struct transfer *t = userdata;
    return __atomic_load_n(&t->gone, __ATOMIC_ACQUIRE);
}

static void configure(struct transfer *t, const struct proxy_target *target, const char *url)
{
    struct httpd_request *http = t->w->req->http;
    CURL *c = t->curl;
    size_t len = 0;
    const char *body = httpd_body(http, &len), *method = httpd_method(http);
    curl_easy_setopt(c, CURLOPT_URL, url);
    kubelet_client_configure(c, target->is_kubelet ? t->w->req->config : NULL);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, NULL);
    if (!strcmp(method, "HEAD")) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else {
        if (len || !strcmp(method, "POST") || !strcmp(method, "PUT") || !strcmp(method, "PATCH")) {
            curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
            curl_easy_setopt(c, CURLOPT_COPYPOSTFIELDS, body); /* it may outlive the request */
            if (!httpd_header(http, "Content-Type"))
                t->headers = curl_slist_append(t->headers, "Content-Type:");
        }
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method);
    }
    if (!httpd_header(http, "Accept"))
        t->headers = curl_slist_append(t->headers, "Accept:");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, t->headers);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
}

static void reply_unreachable(struct write *w, const char *why)
{
    cleanup_error struct error *err = NULL;
    error_set(&err, 503, "ServiceUnavailable", "error trying to reach service: %s", why);
    err->details = mem_strdup("{}");
    api_reply_error(w->req, err);
}

static void pass(struct write *w, const struct proxy_target *target, const char *path)
{
    struct transfer t = {.w = w, .curl = curl_easy_init()};
    struct httpd_request *http = w->req->http;
    cleanup_free char *url = mem_printf("%s%s", target->server, path);
    char reason[CURL_ERROR_SIZE] = "";
    const char *raw = httpd_raw_path(http), *rest = proxy_rest(raw);
    snprintf(t.prefix, sizeof t.prefix, "%.*s", (int)(rest - raw), *rest ? raw : "");
    t.no_body = !strcmp(httpd_method(http), "HEAD");
    prepare_headers(&t);
    configure(&t, target, url);
    curl_easy_setopt(t.curl, CURLOPT_ERRORBUFFER, reason);
    CURLcode rc = t.curl ? curl_easy_perform(t.curl) : CURLE_FAILED_INIT;
    if (t.stream) {
        httpd_stream_end(t.stream);
    } else if (w->req->http) {
        reply_unreachable(w, *reason ? reason : curl_easy_strerror(rc));
    }
    curl_easy_cleanup(t.curl);
    curl_slist_free_all(t.headers);
    buf_free(&t.lines);
}

static void upgrade(struct write *w, const struct proxy_target *target, const char *path)
{
    const struct api_config *c = w->req->config;
    cleanup_error struct error *failure = NULL;
    struct tunnel_target to = {.server = target->server, .path = path};
    if (target->is_kubelet) {
        to.client_certificate = c->kubelet_client_certificate;
        to.client_key = c->kubelet_client_key;
        to.authority = c->kubelet_certificate_authority;
    }
    struct tunnel *t = tunnel_open(w->req->http, &to, &failure);
    if (t) {
        tunnel_run(t, api_answered(w->req, tunnel_status(t)));
        return;
    }
    reply_unreachable(w, error_message(failure));
}

/* Relative links in a page at "/" need the slash. */
static void redirect_to_root(struct write *w)
{
    struct httpd_request *http = w->req->http;
    const char *query = httpd_query_string(http);
    cleanup_free char *to = mem_printf("%s/%s%s", httpd_raw_path(http), *query ? "?" : "", query);
    httpd_add_header(http, "Location", to);
    httpd_reply(api_answered(w->req, 301), 301, NULL, "", 0);
}

void proxy_handle(struct write *w)
{
    struct httpd_request *http = w->req->http;
    const char *rest = proxy_rest(httpd_raw_path(http)), *query = httpd_query_string(http),
               *method = httpd_method(http);
    bool upgrades = tunnel_wanted(http);
    if (!*rest && !upgrades && (!strcmp(method, "GET") || !strcmp(method, "HEAD"))) {
        redirect_to_root(w);
        return;
    }
    cleanup_error struct error *err = NULL;
    struct proxy_target target;
    if (!proxy_find(w, &target, &err)) {
        api_reply_error(w->req, err);
        proxy_target_clear(&target);
        return;
    }
    cleanup_free char *path = mem_printf("%s%s%s", *rest ? rest : "/", *query ? "?" : "", query);
    if (upgrades)
        upgrade(w, &target, path);
    else
        pass(w, &target, path);
    proxy_target_clear(&target);
}
