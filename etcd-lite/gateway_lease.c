#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "etcd-lite/gateway_internal.h"

void handle_lease_grant(struct gateway *g, struct httpd_request *req)
{
    struct call *c = call_new(g, req);
    if (!call_parse(c, &lease_grant_request_type))
        return;
    struct lease_grant_request *r = c->request;
    /* The number is drawn here, once, so that all members grant the same. */
    while (r->id == 0) {
        if (getrandom(&r->id, sizeof(r->id), 0) != sizeof(r->id))
            r->id = server_state(g->server)->now_ms();
        r->id &= INT64_MAX;
    }
    if (r->ttl > LEASE_MAX_TTL) {
        call_fail(c, KV_LEASE_TTL_TOO_LARGE);
        return;
    }
    op_set_command(&c->op, &(struct command){.lease_grant = r});
    call_submit(c, OP_PROPOSE, call_on_proposed);
}

void handle_lease_revoke(struct gateway *g, struct httpd_request *req)
{
    struct call *c = call_new(g, req);
    if (!call_parse(c, &lease_id_request_type))
        return;
    op_set_command(&c->op, &(struct command){.lease_revoke = c->request});
    call_submit(c, OP_PROPOSE, call_on_proposed);
}

/* --- keep-alive: a stream of requests, each answered in turn --- */
static void on_renewed(struct server *s, struct op *op, enum kv_status status);

static void renew_next(struct call *c)
{
    const struct lease_id_request *r = (const struct lease_id_request *)c->many.items + c->next;
    if (c->next == c->many.n) {
        size_t len = c->out.len;
        httpd_reply_take(c->req, 200, "application/json", buf_take(&c->out), len);
        call_free(c);
        return;
    }
    c->op.lease = r->id;
    c->op.kind = OP_LEASE;
    c->op.renew = true;
    c->op.done = on_renewed;
    c->op.was_sent = false;
    server_submit(c->g->server, &c->op);
}

static void on_renewed(struct server *s, struct op *op, enum kv_status status)
{
    (void)s;
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    /* A lease that is gone is answered without a time to live, not with an error. */
    struct lease_keep_alive_response resp = {call_header(c), op->lease, op->ttl > 0 ? op->ttl : 0};
    buf_adds(&c->out, "{\"result\":");
    msg_print_json(&lease_keep_alive_response_type, &resp, &c->out);
    buf_adds(&c->out, "}\n");
    c->next++;
    renew_next(c);
}

void handle_lease_keep_alive(struct gateway *g, struct httpd_request *req)
{
    struct call *c = call_new(g, req);
    size_t len, used;
    const char *body = httpd_body(req, &len);
    do {
        cleanup_error struct error *e = NULL;
        struct lease_id_request *r = msg_list_add(&c->many, sizeof(*r), &c->arena);
        if (!msg_parse_json(&lease_id_request_type, body, len, &used, r, &c->arena, &e)) {
            reply_error(req, 400, kv_status_info(KV_INVALID_ARGUMENT)->grpc_code, error_message(e));
            call_free(c);
            return;
        }
        body += used;
        len -= used;
    } while (len > 0);
    httpd_defer(req);
    renew_next(c);
}

/* --- looking --- */
static void on_looked(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    const struct lease_time_to_live_request *r = c->request;
    struct lease_time_to_live_response resp = {
        .header = call_header(c), .id = r->id, .ttl = op->ttl};
    const struct lease *l = op->ttl >= 0 ? lessor_find(server_state(s)->leases, r->id) : NULL;
    if (l) {
        resp.granted_ttl = l->ttl;
        for (uint32_t i = 0; r->keys && i < l->n_keys; i++)
            *(struct bytes *)msg_list_add(&resp.keys, sizeof(struct bytes), &c->arena) =
                kv_key_bytes(l->keys[i]);
    } else {
        resp.ttl = -1;
    }
    call_answer(c, &lease_time_to_live_response_type, &resp);
}

void handle_lease_time_to_live(struct gateway *g, struct httpd_request *req)
{
    struct call *c = call_new(g, req);
    if (!call_parse(c, &lease_time_to_live_request_type))
        return;
    c->op.lease = ((struct lease_time_to_live_request *)c->request)->id;
    call_submit(c, OP_LEASE, on_looked);
}

static void on_listed(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct lease_leases_response resp = {.header = call_header(c)};
    size_t n;
    struct lease **all = lessor_list(server_state(s)->leases, &n);
    for (size_t i = 0; i < n; i++)
        ((struct lease_status *)msg_list_add(&resp.leases, sizeof(struct lease_status), &c->arena))
            ->id = all[i]->id;
    free(all);
    call_answer(c, &lease_leases_response_type, &resp);
}

void handle_lease_leases(struct gateway *g, struct httpd_request *req)
{
    struct call *c = call_new(g, req);
    if (call_parse(c, &empty_type))
        call_submit(c, OP_READ, on_listed);
}
