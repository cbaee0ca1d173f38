/* Changes of membership. */
#include <string.h>
#include "common/mem.h"
#include "common/timefmt.h"
#include "etcd-lite/gateway_internal.h"

static void on_member_list(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct member_list_response resp = {.header = call_header(c)};
    server_list_members(s, &c->arena, &resp.members);
    call_answer(c, &member_list_response_type, &resp);
}

void handle_member_list(struct call *c)
{
    if (call_parse(c, &member_list_request_type))
        call_submit(c, ((struct member_list_request *)c->request)->linearizable ? OP_READ : OP_CALL,
                    on_member_list);
}

static void on_member_added(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct member_add_response resp = {.header = call_header(c)};
    server_list_members(s, &c->arena, &resp.members);
    struct member *m = resp.members.items;
    for (size_t i = 0; i < resp.members.n; i++)
        if (m[i].id == (int64_t)c->next)
            resp.member = &m[i];
    call_answer(c, &member_add_response_type, &resp);
}

void handle_member_add(struct call *c)
{
    if (!call_parse(c, &member_add_request_type))
        return;
    const struct member_add_request *r = c->request;
    enum kv_status status = members_check_urls(&r->peer_urls);
    if (status) {
        call_fail(c, status);
        return;
    }
    /* The number is drawn here, once, so that all members take the same. */
    struct member m = {.id = members_new_id(&r->peer_urls, time_now_micros()),
                       .peer_urls = r->peer_urls,
                       .is_learner = r->is_learner};
    c->next = (size_t)m.id;
    op_set_command(&c->op, &(struct command){.member_add = &m});
    call_submit(c, OP_MEMBER, on_member_added);
}

static void on_members_changed(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct members_response resp = {.header = call_header(c)};
    server_list_members(s, &c->arena, &resp.members);
    call_answer(c, &members_response_type, &resp);
}

void handle_member_remove(struct call *c)
{
    if (!call_parse(c, &member_id_request_type))
        return;
    op_set_command(&c->op, &(struct command){.member_remove = c->request});
    call_submit(c, OP_MEMBER, on_members_changed);
}

void handle_member_promote(struct call *c)
{
    if (!call_parse(c, &member_id_request_type))
        return;
    op_set_command(&c->op, &(struct command){.member_promote = c->request});
    call_submit(c, OP_MEMBER, on_members_changed);
}

void handle_member_update(struct call *c)
{
    if (!call_parse(c, &member_update_request_type))
        return;
    struct member_update_request *r = c->request;
    enum kv_status status = members_check_urls(&r->peer_urls);
    if (status) {
        call_fail(c, status);
        return;
    }
    op_set_command(&c->op, &(struct command){.member_update = r});
    call_submit(c, OP_MEMBER, on_members_changed);
}
