#include "etcd-lite/gateway.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "etcd-lite/gateway_internal.h"

#define HTTP_THREADS 2

static const struct route {
    const char *path;
    bool get; /* else POST */
    gateway_handler *handler;
} routes[] = {
    {"/v3/kv/range", false, handle_range},
    {"/v3/kv/put", false, handle_put},
    {"/v3/kv/deleterange", false, handle_delete_range},
    {"/v3/kv/txn", false, handle_txn},
    {"/v3/kv/compaction", false, handle_compaction},
    {"/v3/watch", false, handle_watch},
    {"/v3/lease/grant", false, handle_lease_grant},
    {"/v3/lease/revoke", false, handle_lease_revoke},
    {"/v3/kv/lease/revoke", false, handle_lease_revoke},
    {"/v3/lease/keepalive", false, handle_lease_keep_alive},
    {"/v3/lease/timetolive", false, handle_lease_time_to_live},
    {"/v3/kv/lease/timetolive", false, handle_lease_time_to_live},
    {"/v3/lease/leases", false, handle_lease_leases},
    {"/v3/kv/lease/leases", false, handle_lease_leases},
    {"/v3/maintenance/status", false, handle_status},
    {"/v3/maintenance/alarm", false, handle_alarm},
    {"/v3/maintenance/defragment", false, handle_defragment},
    {"/v3/maintenance/hash", false, handle_hash},
    {"/v3/cluster/member/list", false, handle_member_list},
    {"/version", true, handle_version},
    {"/health", true, handle_health},
    {"/healthz", true, handle_health},
    {"/livez", true, handle_version},
    {"/readyz", true, handle_health},
    {"/metrics", true, handle_metrics},
};

void reply_error(struct httpd_request *req, int http_status, int grpc_code, const char *message)
{
    cleanup_buf struct buf b = {0};
    buf_adds(&b, "{\"error\":");
    json_print_string(message, strlen(message), &b);
    buf_adds(&b, ",\"message\":");
    json_print_string(message, strlen(message), &b);
    buf_printf(&b, ",\"code\":%d}", grpc_code);
    httpd_reply(req, http_status, "application/json", b.data, b.len);
}

/* --- calls --- */
struct call *call_new(struct gateway *g, struct httpd_request *req)
{
    struct call *c = mem_alloc(sizeof(*c));
    c->g = g;
    c->req = req;
    return c;
}

void call_free(struct call *c)
{
    arena_free(&c->arena);
    buf_free(&c->out);
    free(c);
}

bool call_parse(struct call *c, const struct msg_type *t)
{
    size_t len;
    const char *body = httpd_body(c->req, &len);
    cleanup_error struct error *e = NULL;
    c->request = arena_alloc(&c->arena, t->size);
    while (len > 0 && (*body == ' ' || *body == '\n' || *body == '\r' || *body == '\t')) {
        body++;
        len--;
    }
    if (len == 0 || msg_parse_json(t, body, len, NULL, c->request, &c->arena, &e))
        return true;
    reply_error(c->req, 400, kv_status_info(KV_INVALID_ARGUMENT)->grpc_code, error_message(e));
    call_free(c);
    return false;
}

void call_submit(struct call *c, enum op_kind kind, op_done *done)
{
    c->op.kind = kind;
    c->op.done = done;
    httpd_defer(c->req);
    server_submit(c->g->server, &c->op);
}

void call_fail(struct call *c, enum kv_status status)
{
    const struct kv_status_info *i = kv_status_info(status);
    reply_error(c->req, i->http_status, i->grpc_code, i->message);
    call_free(c);
}

void call_answer(struct call *c, const struct msg_type *t, const void *response)
{
    struct buf b = {0};
    msg_print_json(t, response, &b);
    size_t len = b.len;
    httpd_reply_take(c->req, 200, "application/json", buf_take(&b), len);
    call_free(c);
}

struct response_header *call_header(struct call *c)
{
    struct response_header *h = arena_alloc(&c->arena, sizeof(*h));
    struct state *st = server_state(c->g->server);
    server_fill_header(c->g->server, h);
    pthread_rwlock_rdlock(&st->lock);
    h->revision = mvcc_revision(st->kv);
    pthread_rwlock_unlock(&st->lock);
    return h;
}

void call_on_proposed(struct server *s, struct op *op, enum kv_status status)
{
    (void)s;
    struct call *c = (struct call *)op;
    if (status)
        call_fail(c, status);
    else
        call_answer(c, op->result->type, op->result->response);
}

/* --- requests --- */
static void handle(struct httpd_request *req, void *userdata)
{
    struct gateway *g = userdata;
    const char *path = httpd_path(req);
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(routes[i].path, path) != 0)
            continue;
        const char *method = httpd_method(req);
        if (routes[i].get ? strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0
                          : strcmp(method, "POST") == 0)
            routes[i].handler(g, req);
        else
            reply_error(req, 405, kv_status_info(KV_UNIMPLEMENTED)->grpc_code,
                        "Method Not Allowed");
        return;
    }
    reply_error(req, 404, kv_status_info(KV_LEASE_NOT_FOUND)->grpc_code, "Not Found");
}

static void too_large(struct httpd_request *req, void *userdata)
{
    (void)userdata;
    const struct kv_status_info *i = kv_status_info(KV_REQUEST_TOO_LARGE);
    reply_error(req, i->http_status, i->grpc_code, i->message);
}

struct gateway *gateway_start(struct server *s, const struct gateway_options *o, struct error **err)
{
    struct gateway *g = mem_alloc(sizeof(*g));
    g->server = s;
    g->max_request = o->max_request;
    pthread_mutex_init(&g->lock, NULL);
    struct httpd_options h = {.address = o->address,
                              .cert_file = o->cert_file,
                              .key_file = o->key_file,
                              .client_ca_file = o->ca_file,
                              .require_client_cert = o->client_cert_auth,
                              .threads = HTTP_THREADS,
                              /* base64 and JSON around what max_request counts */
                              .max_body = o->max_request * 2 + 65536,
                              .handler = handle,
                              .too_large = too_large,
                              .userdata = g};
    g->httpd = httpd_start(&h, err);
    if (!g->httpd) {
        pthread_mutex_destroy(&g->lock);
        free(g);
        return NULL;
    }
    return g;
}

int gateway_port(const struct gateway *g)
{
    return httpd_port(g->httpd);
}

void gateway_stop(struct gateway *g)
{
    if (!g)
        return;
    gateway_end_streams(g);
    httpd_stop(g->httpd);
    pthread_mutex_destroy(&g->lock);
    free(g);
}
