/* The server of every component: health checks for anybody, metrics for clients of the cluster's CA. */
#include "common/component.h"
#include <string.h>
#include "common/httpd.h"
#include "common/log.h"
#include "common/mem.h"

struct component_server {
    struct httpd *httpd;
    bool (*ready)(void *userdata, struct error **why);
    void *userdata;
    bool authenticated; /* /metrics wants a client certificate */
};

static void reply_text(struct httpd_request *r, int status, const char *text)
{
    httpd_reply(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void handle(struct httpd_request *r, void *userdata)
{
    struct component_server *s = userdata;
    const char *path = httpd_path(r), *method = httpd_method(r);
    if (strcmp(method, "GET") && strcmp(method, "HEAD")) {
        reply_text(r, 405, "method not allowed\n");
        return;
    }
    if (!strcmp(path, "/healthz") || !strcmp(path, "/livez")) {
        reply_text(r, 200, "ok");
        return;
    }
    if (!strcmp(path, "/readyz")) {
        cleanup_error struct error *why = NULL;
        if (!s->ready || s->ready(s->userdata, &why)) {
            reply_text(r, 200, "ok");
        } else {
            cleanup_free char *text = mem_printf("%s\nreadyz check failed\n", error_message(why));
            reply_text(r, 503, text);
        }
        return;
    }
    if (!strcmp(path, "/metrics")) {
        if (s->authenticated && !httpd_client_cn(r)) {
            static const char forbidden[] =
                "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","
                "\"message\":"
                "\"forbidden: User \\\"system:anonymous\\\" cannot get path \\\"/metrics\\\"\","
                "\"reason\":\"Forbidden\",\"details\":{},\"code\":403}";
            httpd_reply(r, 403, "application/json", forbidden, sizeof(forbidden) - 1);
            return;
        }
        struct buf b = {0};
        metrics_render(&b);
        size_t n = b.len;
        httpd_reply_take(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_take(&b), n);
        return;
    }
    reply_text(r, 404, "404 page not found\n");
}

struct component_server *component_serve(const struct component_server_options *o, struct error **err)
{
    struct component_server *s = mem_alloc(sizeof(*s));
    s->ready = o->ready;
    s->userdata = o->userdata;
    s->authenticated = o->cert_file && o->client_ca_file;
    if (o->port == 0)
        return s;
    const char *host = o->bind_address && *o->bind_address ? o->bind_address : "0.0.0.0";
    cleanup_free char *address = mem_printf(strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, o->port);
    const struct httpd_options options = {
        .address = address,
        .cert_file = o->cert_file,
        .key_file = o->key_file,
        .client_ca_file = o->client_ca_file,
        .threads = 1,
        .max_body = 64 * 1024,
        .idle_timeout_seconds = 60,
        .handler = handle,
        .userdata = s,
    };
    s->httpd = httpd_start(&options, err);
    if (!s->httpd) {
        error_wrap(err, "serving on %s", address);
        free(s);
        return NULL;
    }
    log_info("Serving", "address", address);
    return s;
}
