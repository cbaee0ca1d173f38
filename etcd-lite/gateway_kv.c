#include <stdlib.h>
#include <string.h>
#include "etcd-lite/gateway_internal.h"

/* What a key takes beside its bytes, as the quota counts it. */
#define KEY_OVERHEAD 256

/* What etcd counts against --max-request-bytes: the request in protobuf. */
static bool too_large(const struct call *c, const struct msg_type *t)
{
    return msg_wire_size(t, c->request) > c->g->max_request;
}

static void propose(struct call *c, const struct command *cmd)
{
    op_set_command(&c->op, cmd);
    call_submit(c, OP_PROPOSE, call_on_proposed);
}

/* --- range --- */
/* Reads under the read lock, but prints without: the versions are pinned meanwhile. */
static void range_and_answer(void *data)
{
    struct call *c = data;
    struct state *st = server_state(c->g->server);
    struct range_response resp = {0};
    struct version_pins pins = {0};
    pthread_rwlock_rdlock(&st->lock);
    enum kv_status status = state_range(st, c->request, &c->arena, &resp, &pins);
    pthread_rwlock_unlock(&st->lock);
    if (status) {
        call_fail(c, status);
    } else {
        server_fill_header(c->g->server, resp.header);
        call_answer(c, &range_response_type, &resp);
    }
    version_pins_clear(&pins);
}

static void on_range_confirmed(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    const struct range_request *r = c->request;
    if (status) {
        call_fail(c, status);
        return;
    }
    if (r->range_end.n) {
        server_offload(s, range_and_answer, c);
        return;
    }
    struct range_response resp = {0};
    status = state_range(server_state(s), r, &c->arena, &resp, NULL);
    if (status) {
        call_fail(c, status);
        return;
    }
    server_fill_header(s, resp.header);
    call_answer(c, &range_response_type, &resp);
}

void handle_range(struct call *c)
{
    if (!call_parse(c, &range_request_type))
        return;
    const struct range_request *r = c->request;
    enum kv_status status = check_range(r);
    struct server_status st;
    server_get_status(c->g->server, &st);
    if (st.is_learner && !r->serializable)
        status = KV_NOT_FOR_LEARNER;
    if (status)
        call_fail(c, status);
    else if (r->serializable)
        range_and_answer(c);
    else
        call_submit(c, OP_READ, on_range_confirmed);
}

/* --- changes --- */
void handle_put(struct call *c)
{
    if (!call_parse(c, &put_request_type))
        return;
    enum kv_status status = check_put(c->request);
    if (!status && too_large(c, &put_request_type))
        status = KV_REQUEST_TOO_LARGE;
    if (!status)
        status = call_check_quota(c, KEY_OVERHEAD + msg_wire_size(&put_request_type, c->request));
    if (status)
        call_fail(c, status);
    else
        propose(c, &(struct command){.put = c->request});
}

void handle_delete_range(struct call *c)
{
    if (!call_parse(c, &delete_range_request_type))
        return;
    enum kv_status status = check_delete_range(c->request);
    if (!status && too_large(c, &delete_range_request_type))
        status = KV_REQUEST_TOO_LARGE;
    if (status)
        call_fail(c, status);
    else
        propose(c, &(struct command){.delete_range = c->request});
}

void handle_compaction(struct call *c)
{
    if (call_parse(c, &compaction_request_type))
        propose(c, &(struct command){.compaction = c->request});
}

/* --- transactions --- */
static bool only_reads(const struct txn_request *t);

static bool ops_only_read(const struct msg_list *ops)
{
    const struct request_op *op = ops->items;
    for (size_t i = 0; i < ops->n; i++)
        if (op[i].put || op[i].delete_range || (op[i].txn && !only_reads(op[i].txn)))
            return false;
    return true;
}

static bool only_reads(const struct txn_request *t)
{
    return ops_only_read(&t->success) && ops_only_read(&t->failure);
}

static bool ops_serializable(const struct msg_list *ops)
{
    const struct request_op *op = ops->items;
    for (size_t i = 0; i < ops->n; i++)
        if (!op[i].range || !op[i].range->serializable)
            return false;
    return true;
}

/* A transaction that changes nothing needs no place in the log. */
static void on_txn_confirmed(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    struct apply_result result = {.status = status};
    if (!status) {
        struct state *st = server_state(s);
        pthread_rwlock_wrlock(&st->lock);
        state_apply(st, &(struct command){.txn = c->request}, &c->arena, &result);
        pthread_rwlock_unlock(&st->lock);
    }
    if (result.status) {
        call_fail(c, result.status);
        return;
    }
    server_fill_header(s, result.header);
    call_answer(c, result.type, result.response);
}

void handle_txn(struct call *c)
{
    if (!call_parse(c, &txn_request_type))
        return;
    const struct txn_request *t = c->request;
    enum kv_status status = check_txn(t);
    if (!status && too_large(c, &txn_request_type))
        status = KV_REQUEST_TOO_LARGE;
    if (!status && txn_puts(t))
        status = call_check_quota(c, KEY_OVERHEAD + msg_wire_size(&txn_request_type, t));
    if (status)
        call_fail(c, status);
    else if (only_reads(t))
        call_submit(
            c, ops_serializable(&t->success) && ops_serializable(&t->failure) ? OP_CALL : OP_READ,
            on_txn_confirmed);
    else
        propose(c, &(struct command){.txn = c->request});
}
