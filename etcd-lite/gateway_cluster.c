/* Cluster and maintenance calls, and what monitors ask for. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/gateway_internal.h"

static void on_status(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct server_status st;
    server_get_status(s, &st);
    int64_t size = (int64_t)mvcc_bytes(server_state(s)->kv);
    struct status_response resp = {.header = call_header(c),
                                   .version = {API_VERSION, strlen(API_VERSION)},
                                   .db_size = size,
                                   .db_size_in_use = size,
                                   .leader = (int64_t)st.leader,
                                   .raft_index = (int64_t)st.index,
                                   .raft_term = (int64_t)st.term,
                                   .raft_applied_index = (int64_t)st.applied,
                                   .is_learner = st.is_learner};
    if (!st.leader) {
        static const char no_leader[] = "etcdserver: no leader";
        *(struct bytes *)msg_list_add(&resp.errors, sizeof(struct bytes), &c->arena) =
            (struct bytes){no_leader, sizeof(no_leader) - 1};
    }
    struct msg_list alarms = {0};
    state_list_alarms(server_state(s), ALARM_NONE, &c->arena, &alarms);
    const struct alarm_member *alarm = alarms.items;
    for (size_t i = 0; i < alarms.n; i++) {
        char text[80];
        int n = snprintf(text, sizeof(text), "memberID:%llu alarm:%s ",
                         (unsigned long long)alarm[i].member_id,
                         alarm[i].alarm == ALARM_NOSPACE ? "NOSPACE" : "CORRUPT");
        *(struct bytes *)msg_list_add(&resp.errors, sizeof(struct bytes), &c->arena) =
            (struct bytes){arena_dup(&c->arena, text, (size_t)n), (size_t)n};
    }
    call_answer(c, &status_response_type, &resp);
}

void handle_status(struct call *c)
{
    if (call_parse(c, &empty_type))
        call_submit(c, OP_CALL, on_status);
}

/* --- alarms --- */
static void on_alarm_raised(struct server *s, struct op *op, enum kv_status status)
{
    (void)s;
    (void)status; /* it is raised again by the next request that does not fit */
    free(op);
}

enum kv_status call_check_quota(struct call *c, size_t cost)
{
    struct server *s = c->g->server;
    struct server_status st;
    server_get_status(s, &st);
    if (!c->g->quota || st.bytes + cost <= c->g->quota)
        return KV_OK;
    struct response_header self = {0};
    server_fill_header(s, &self);
    struct state *state = server_state(s);
    pthread_rwlock_rdlock(&state->lock);
    bool raised = state_has_alarm(state, ALARM_NOSPACE);
    pthread_rwlock_unlock(&state->lock);
    if (!raised) {
        log_warn("The space quota is exceeded: raising an alarm", "bytes",
                 log_int((long long)st.bytes), "quota", log_int((long long)c->g->quota));
        struct op *op = mem_alloc(sizeof(*op));
        op->kind = OP_PROPOSE;
        op->done = on_alarm_raised;
        op_set_command(op, &(struct command){.alarm = &(struct alarm_request){
                                                 ALARM_ACTIVATE, self.member_id, ALARM_NOSPACE}});
        server_submit(s, op);
    }
    return KV_NO_SPACE;
}

static void on_alarms_confirmed(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct alarm_response resp = {.header = call_header(c)};
    state_list_alarms(server_state(s), ((struct alarm_request *)c->request)->alarm, &c->arena,
                      &resp.alarms);
    call_answer(c, &alarm_response_type, &resp);
}

void handle_alarm(struct call *c)
{
    if (!call_parse(c, &alarm_request_type))
        return;
    struct alarm_request *r = c->request;
    if (r->action == ALARM_GET) {
        call_submit(c, OP_READ, on_alarms_confirmed);
    } else if (r->action > ALARM_DEACTIVATE ||
               (r->action == ALARM_ACTIVATE && r->alarm != ALARM_NOSPACE)) {
        call_fail(c, KV_UNIMPLEMENTED);
    } else {
        op_set_command(&c->op, &(struct command){.alarm = r});
        call_submit(c, OP_PROPOSE, call_on_proposed);
    }
}

/* The files of the snapshot become one, in the background; what malloc holds unused goes back to
 * the kernel. */
void handle_defragment(struct call *c)
{
    if (!call_parse(c, &empty_type))
        return;
    malloc_trim(0);
    server_defragment(c->g->server);
    struct header_response resp = {call_header(c)};
    call_answer(c, &header_response_type, &resp);
}

void handle_hash_kv(struct call *c)
{
    if (!call_parse(c, &hash_kv_request_type))
        return;
    const struct hash_kv_request *r = c->request;
    struct hash_kv_response resp = {.header = call_header(c)};
    struct state *st = server_state(c->g->server);
    pthread_rwlock_rdlock(&st->lock);
    enum kv_status status = KV_OK;
    if (r->revision > mvcc_revision(st->kv))
        status = KV_FUTURE_REVISION;
    else if (r->revision > 0 && r->revision < mvcc_compact_revision(st->kv))
        status = KV_COMPACTED;
    else
        resp.hash = mvcc_hash(st->kv, r->revision > 0 ? r->revision : mvcc_revision(st->kv));
    resp.compact_revision = mvcc_compact_revision(st->kv);
    pthread_rwlock_unlock(&st->lock);
    if (status)
        call_fail(c, status);
    else
        call_answer(c, &hash_kv_response_type, &resp);
}

/* Of all that is kept. */
void handle_hash(struct call *c)
{
    if (!call_parse(c, &empty_type))
        return;
    struct hash_kv_response resp = {.header = call_header(c)};
    struct state *st = server_state(c->g->server);
    pthread_rwlock_rdlock(&st->lock);
    resp.hash = mvcc_hash(st->kv, mvcc_revision(st->kv));
    pthread_rwlock_unlock(&st->lock);
    call_answer(c, &hash_kv_response_type, &resp);
}

/* --- handing the lead to another member --- */
static void on_moved(struct server *s, bool moved, void *data)
{
    (void)s;
    struct call *c = data;
    struct header_response resp = {call_header(c)};
    if (moved)
        call_answer(c, &header_response_type, &resp);
    else
        call_fail(c, KV_TIMEOUT);
}

static void on_move_here(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    const struct move_leader_request *r = c->request;
    if (!status)
        status = server_move_leader(s, (uint64_t)r->target_id, on_moved, c);
    if (status)
        call_fail(c, status);
}

void handle_move_leader(struct call *c)
{
    if (call_parse(c, &move_leader_request_type))
        call_submit(c, OP_CALL, on_move_here);
}

/* --- monitors --- */
void handle_version(struct gateway *g, struct httpd_request *req)
{
    (void)g;
    static const char text[] = "{\"etcdserver\":\"" API_VERSION "\",\"etcdcluster\":\"3.5.0\"}";
    httpd_reply(req, 200, "application/json", text, sizeof(text) - 1);
}

void handle_health(struct gateway *g, struct httpd_request *req)
{
    static const char good[] = "{\"health\":\"true\",\"reason\":\"\"}",
                      bad[] = "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}",
                      full[] = "{\"health\":\"false\",\"reason\":\"ALARM NOSPACE\"}";
    const char *exclude = httpd_query(req, "exclude");
    struct state *st = server_state(g->server);
    pthread_rwlock_rdlock(&st->lock);
    bool alarm = state_has_alarm(st, ALARM_NOSPACE) && !(exclude && strcmp(exclude, "NOSPACE") == 0);
    pthread_rwlock_unlock(&st->lock);
    if (alarm)
        httpd_reply(req, 503, "application/json", full, sizeof(full) - 1);
    else if (server_ready(g->server))
        httpd_reply(req, 200, "application/json", good, sizeof(good) - 1);
    else
        httpd_reply(req, 503, "application/json", bad, sizeof(bad) - 1);
}

static void gauge(struct buf *b, const char *name, const char *type, const char *help, double value)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", name, help, name, type, name, value);
}

void handle_metrics(struct gateway *g, struct httpd_request *req)
{
    struct server_status st;
    server_get_status(g->server, &st);
    struct state *state = server_state(g->server);
    cleanup_buf struct buf b = {0};
    metrics_render(&b);
    gauge(&b, "etcd_server_has_leader", "gauge",
          "Whether or not a leader exists. 1 is existence, 0 is not.", st.leader != 0);
    gauge(&b, "etcd_server_is_leader", "gauge",
          "Whether or not this member is a leader. 1 if is, 0 otherwise.", st.is_leader);
    gauge(&b, "etcd_server_proposals_applied_total", "gauge",
          "The index of the last log entry that was applied.", (double)st.applied);
    gauge(&b, "etcd_server_proposals_committed_total", "gauge",
          "The index of the last entry in the log.", (double)st.index);
    pthread_rwlock_rdlock(&state->lock);
    size_t bytes = mvcc_bytes(state->kv), keys = mvcc_key_count(state->kv),
           history = mvcc_log_size(state->kv);
    int64_t revision = mvcc_revision(state->kv), compact = mvcc_compact_revision(state->kv);
    size_t leases = lessor_count(state->leases);
    pthread_rwlock_unlock(&state->lock);
    gauge(&b, "etcd_mvcc_db_total_size_in_bytes", "gauge",
          "Bytes of memory that keys, values and history take.", (double)bytes);
    gauge(&b, "etcd_mvcc_db_total_size_in_use_in_bytes", "gauge",
          "The same: nothing is allocated and unused.", (double)bytes);
    gauge(&b, "etcd_debugging_mvcc_keys_total", "gauge", "Total number of keys.", (double)keys);
    gauge(&b, "etcd_debugging_mvcc_current_revision", "gauge", "The current revision of store.",
          (double)revision);
    gauge(&b, "etcd_debugging_mvcc_compact_revision", "gauge",
          "The revision of the last compaction in store.", (double)compact);
    gauge(&b, "skiff_mvcc_history_versions", "gauge", "Versions since the last compaction.",
          (double)history);
    gauge(&b, "skiff_leases", "gauge", "Leases granted and not revoked.", (double)leases);
    httpd_reply(req, 200, "text/plain; version=0.0.4", b.data, b.len);
}
