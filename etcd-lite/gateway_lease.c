#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "etcd-lite/gateway_internal.h"

#define LEASE_OVERHEAD 64 /* bytes, as the quota counts it */

void handle_lease_grant(struct call *c)
{
    if (!call_parse(c, &lease_grant_request_type))
        return;
    struct lease_grant_request *r = c->request;
    /* The number is drawn here, once, so that all members grant the same. */
    while (r->id == 0) {
        if (getrandom(&r->id, sizeof(r->id), 0) != sizeof(r->id))
            r->id = server_state(c->g->server)->now_ms();
        r->id &= INT64_MAX;
    }
    if (r->ttl > LEASE_MAX_TTL) {
        call_fail(c, KV_LEASE_TTL_TOO_LARGE);
        return;
    }
    enum kv_status status = call_check_quota(c, LEASE_OVERHEAD);
    if (status) {
        call_fail(c, status);
        return;
    }
    op_set_command(&c->op, &(struct command){.lease_grant = r});
    call_submit(c, OP_PROPOSE, call_on_proposed);
}

void handle_lease_revoke(struct call *c)
{
    if (!call_parse(c, &lease_id_request_type))
        return;
    op_set_command(&c->op, &(struct command){.lease_revoke = c->request});
    call_submit(c, OP_PROPOSE, call_on_proposed);
}

/* --- keep-alive: a stream of requests, each answered in turn --- */
static void on_renewed(struct server *s, struct op *op, enum kv_status status);

static void renew(struct call *c, int64_t id)
{
    c->op.lease = id;
    c->op.renew = true;
    c->op.was_sent = false;
    call_submit(c, OP_LEASE, on_renewed);
}

/* HTTP: the body brought all requests; the answers go together. */
static void renew_next(struct call *c)
{
    if (c->next < c->many.n) {
        renew(c, ((const struct lease_id_request *)c->many.items)[c->next].id);
        return;
    }
    size_t len = c->out.len;
    httpd_reply_take(c->req, 200, "application/json", buf_take(&c->out), len);
    call_free(c);
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
    if (c->rpc) {
        struct rpc *r = c->rpc;
        call_send(c, &lease_keep_alive_response_type, &resp);
        call_free(c);
        rpc_read(r);
        return;
    }
    buf_adds(&c->out, "{\"result\":");
    msg_print_json(&lease_keep_alive_response_type, &resp, &c->out);
    buf_adds(&c->out, "}\n");
    c->next++;
    renew_next(c);
}

void handle_lease_keep_alive(struct call *c)
{
    if (c->rpc) {
        if (call_parse(c, &lease_id_request_type))
            renew(c, ((struct lease_id_request *)c->request)->id);
    } else if (call_parse_many(c, &lease_id_request_type)) {
        renew_next(c);
    }
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

void handle_lease_time_to_live(struct call *c)
{
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

void handle_lease_leases(struct call *c)
{
    if (call_parse(c, &empty_type))
        call_submit(c, OP_READ, on_listed);
}
