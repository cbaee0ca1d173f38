#include "etcd-lite/gateway.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "etcd-lite/gateway_internal.h"

#define HTTP_THREADS 2

enum { GRPC_INTERNAL = 13 };

static const struct route {
    const char *path;
    gateway_handler *handler; /* POST */
    monitor_handler *monitor; /* GET */
} routes[] = {
    {"/v3/kv/range", handle_range, NULL},
    {"/v3/kv/put", handle_put, NULL},
    {"/v3/kv/deleterange", handle_delete_range, NULL},
    {"/v3/kv/txn", handle_txn, NULL},
    {"/v3/kv/compaction", handle_compaction, NULL},
    {"/v3/watch", handle_watch, NULL},
    {"/v3/lease/grant", handle_lease_grant, NULL},
    {"/v3/lease/revoke", handle_lease_revoke, NULL},
    {"/v3/kv/lease/revoke", handle_lease_revoke, NULL},
    {"/v3/lease/keepalive", handle_lease_keep_alive, NULL},
    {"/v3/lease/timetolive", handle_lease_time_to_live, NULL},
    {"/v3/kv/lease/timetolive", handle_lease_time_to_live, NULL},
    {"/v3/lease/leases", handle_lease_leases, NULL},
    {"/v3/kv/lease/leases", handle_lease_leases, NULL},
    {"/v3/maintenance/status", handle_status, NULL},
    {"/v3/maintenance/alarm", handle_alarm, NULL},
    {"/v3/maintenance/defragment", handle_defragment, NULL},
    {"/v3/maintenance/hash", handle_hash_kv, NULL},
    {"/v3/maintenance/transfer-leadership", handle_move_leader, NULL},
    {"/v3/cluster/member/list", handle_member_list, NULL},
    {"/v3/cluster/member/add", handle_member_add, NULL},
    {"/v3/cluster/member/remove", handle_member_remove, NULL},
    {"/v3/cluster/member/update", handle_member_update, NULL},
    {"/v3/cluster/member/promote", handle_member_promote, NULL},
    {"/version", NULL, handle_version},
    {"/health", NULL, handle_health},
    {"/healthz", NULL, handle_health},
    {"/livez", NULL, handle_version},
    {"/readyz", NULL, handle_health},
    {"/metrics", NULL, handle_metrics},
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
void call_free(struct call *c)
{
    arena_free(&c->arena);
    buf_free(&c->out);
    free(c->message);
    free(c);
}

static bool parse_failed(struct call *c, const char *why)
{
    if (c->rpc)
        rpc_finish(c->rpc, GRPC_INTERNAL, why);
    else
        reply_error(c->req, 400, kv_status_info(KV_INVALID_ARGUMENT)->grpc_code, why);
    call_free(c);
    return false;
}

bool call_parse(struct call *c, const struct msg_type *t)
{
    c->request = arena_alloc(&c->arena, t->size);
    if (c->rpc)
        return msg_decode(t, c->message, c->message_len, c->request, &c->arena) ||
               parse_failed(c, "grpc: error unmarshalling request");
    size_t len;
    const char *body = httpd_body(c->req, &len);
    cleanup_error struct error *e = NULL;
    while (len > 0 && (*body == ' ' || *body == '\n' || *body == '\r' || *body == '\t')) {
        body++;
        len--;
    }
    return len == 0 || msg_parse_json(t, body, len, NULL, c->request, &c->arena, &e) ||
           parse_failed(c, error_message(e));
}

bool call_parse_many(struct call *c, const struct msg_type *t)
{
    size_t len, used;
    const char *body = httpd_body(c->req, &len);
    do {
        cleanup_error struct error *e = NULL;
        void *request = msg_list_add(&c->many, t->size, &c->arena);
        if (!msg_parse_json(t, body, len, &used, request, &c->arena, &e))
            return parse_failed(c, error_message(e));
        body += used;
        len -= used;
    } while (len > 0);
    return true;
}

void call_submit(struct call *c, enum op_kind kind, op_done *done)
{
    c->op.kind = kind;
    c->op.done = done;
    if (c->req)
        httpd_defer(c->req);
    server_submit(c->g->server, &c->op);
}

void call_fail(struct call *c, enum kv_status status)
{
    const struct kv_status_info *i = kv_status_info(status);
    if (c->rpc)
        rpc_finish(c->rpc, i->grpc_code, i->message);
    else
        reply_error(c->req, i->http_status, i->grpc_code, i->message);
    call_free(c);
}

void call_send(struct call *c, const struct msg_type *t, const void *response)
{
    struct buf b = {0};
    msg_encode(t, response, &b);
    size_t len = b.len;
    rpc_send(c->rpc, buf_take(&b), len, NULL, NULL);
}

void call_answer(struct call *c, const struct msg_type *t, const void *response)
{
    if (c->rpc) {
        call_send(c, t, response);
        rpc_finish(c->rpc, 0, NULL);
    } else {
        struct buf b = {0};
        msg_print_json(t, response, &b);
        size_t len = b.len;
        httpd_reply_take(c->req, 200, "application/json", buf_take(&b), len);
    }
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

bool call_refused_by_learner(struct call *c, gateway_handler *handler)
{
    struct server_status st;
    server_get_status(c->g->server, &st);
    /* Whether a range may be read here is seen when it is parsed. */
    if (!st.is_learner || handler == handle_range || handler == handle_status ||
        handler == handle_snapshot)
        return false;
    call_fail(c, KV_NOT_FOR_LEARNER);
    return true;
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
        if (routes[i].monitor && (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)) {
            routes[i].monitor(g, req);
        } else if (routes[i].handler && strcmp(method, "POST") == 0) {
            struct call *c = mem_alloc(sizeof(*c));
            c->g = g;
            c->req = req;
            if (!call_refused_by_learner(c, routes[i].handler))
                routes[i].handler(c);
        } else {
            reply_error(req, 405, kv_status_info(KV_UNIMPLEMENTED)->grpc_code,
                        "Method Not Allowed");
        }
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

static void add_http(void *gateway, int fd, const struct sockaddr *from, socklen_t from_len)
{
    struct gateway *g = gateway;
    httpd_add_connection(g->httpd, fd, from, from_len);
}

static void gateway_free(struct gateway *g)
{
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->rpc_lock);
    free(g);
}

struct gateway *gateway_start(struct server *s, const struct gateway_options *o, struct error **err)
{
    struct gateway *g = mem_alloc(sizeof(*g));
    g->server = s;
    g->max_request = o->max_request;
    g->quota = o->quota;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->rpc_lock, NULL);
    struct httpd_options h = {.cert_file = o->cert_file,
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
        gateway_free(g);
        return NULL;
    }
    struct front_options f = {.address = o->address,
                              .cert_file = o->cert_file,
                              .key_file = o->key_file,
                              .ca_file = o->ca_file,
                              .client_cert_auth = o->client_cert_auth,
                              .http = add_http,
                              .grpc = gateway_add_rpc,
                              .userdata = g};
    g->front = front_start(&f, err);
    if (!g->front) {
        httpd_stop(g->httpd);
        gateway_free(g);
        return NULL;
    }
    return g;
}

int gateway_port(const struct gateway *g)
{
    return front_port(g->front);
}

void gateway_stop(struct gateway *g)
{
    if (!g)
        return;
    front_close(g->front);
    /* Under each lock, so that whoever looked before is through. */
    pthread_mutex_lock(&g->lock);
    pthread_mutex_lock(&g->rpc_lock);
    atomic_store(&g->stopping, true);
    pthread_mutex_unlock(&g->rpc_lock);
    pthread_mutex_unlock(&g->lock);
    gateway_end_streams(g);
    rpc_server_stop(g->rpc);
    front_free(g->front);
    httpd_stop(g->httpd);
    gateway_free(g);
}
