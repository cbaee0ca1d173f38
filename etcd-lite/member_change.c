/* Changes of membership. A change is a command in the log, like any other; when it is applied, the
 * replicated state says who shall belong to the cluster (members.h). The leader then brings
 * libraft's configuration in line with it, one server at a time, whenever the two differ: so it
 * does not matter who leads by then, and who died in between.
 *
 * A member that is added as a voter first gets all data as a stand-by and votes from then on: until
 * it has started, it does not count, and the cluster needs it for nothing. A leader that shall go
 * makes another member lead, which then removes it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/server_internal.h"

#define RETRY_MS   500
#define GOODBYE_MS 300          /* for answers that are on their way */
#define NEARLY     512          /* entries that a member may be behind when it is made a voter */
enum { PROGRESS_PIPELINE = 1 }; /* libraft's: the member follows, messages are not held back */
enum { SETTLED_WHEN_APPLIED, SETTLED_WHEN_GONE, SETTLED_WHEN_VOTER };

static const char *id_text(uint64_t id, char text[20])
{
    snprintf(text, 20, "%016" PRIx64, id);
    return text;
}

static bool leads(const struct server *s)
{
    return node_is_leader(s) && s->noop_applied == s->raft.current_term;
}

static const struct raft_server *find_server(const struct server *s, uint64_t id)
{
    for (unsigned i = 0; i < s->raft.configuration.n; i++)
        if (s->raft.configuration.servers[i].id == id)
            return &s->raft.configuration.servers[i];
    return NULL;
}

static const struct raft_progress *progress_of(const struct server *s, const struct raft_server *r)
{
    return &s->raft.leader_state.progress[r - s->raft.configuration.servers];
}

/* --- where members are --- */
const char *members_resolve(void *userdata, uint64_t id, unsigned attempt)
{
    const struct server *s = userdata;
    const struct member_info *m = state_member(&s->state, id);
    size_t n = 0;
    while (m && m->peer_urls[n])
        n++;
    if (n)
        return m->peer_urls[attempt % n];
    for (size_t i = 0; i < s->o.n_members; i++)
        if (s->o.members[i].id == id && !state_member_removed(&s->state, id))
            return s->o.members[i].peer_url;
    return NULL;
}

/* Removed, and no longer needed to complete the removal. */
bool members_is_removed(void *userdata, uint64_t id)
{
    const struct server *s = userdata;
    return state_member_removed(&s->state, id) && !find_server(s, id) &&
           s->raft.configuration_uncommitted_index == 0;
}

static void connect_to(struct server *s, uint64_t id, const char *address)
{
    const struct member_info *m = state_member(&s->state, id);
    if (id == s->o.member_id)
        return;
    if (m && *m->peer_urls) {
        peers_set(s->peers, id, m->peer_urls);
        return;
    }
    const char *url = members_resolve(s, id, 0);
    url = url ? url : address;
    if (url)
        peers_set(s->peers, id, (char *[]){(char *)url, NULL});
}

static void connect_members(struct server *s)
{
    for (size_t i = 0; i < s->state.n_members; i++)
        connect_to(s, s->state.members[i].id, NULL);
    for (unsigned i = 0; i < s->raft.configuration.n; i++)
        connect_to(s, s->raft.configuration.servers[i].id,
                   s->raft.configuration.servers[i].address);
    if (s->raft.configuration.n == 0) /* joining: we know only what we were told */
        for (size_t i = 0; i < s->o.n_members; i++)
            connect_to(s, s->o.members[i].id, s->o.members[i].peer_url);
    raft_id leader;
    const char *address;
    raft_leader(&s->raft, &leader, &address);
    if (leader && !state_member(&s->state, leader)) /* still joining: it told us where it is */
        connect_to(s, leader, address);
    for (size_t i = 0; i < s->state.n_removed; i++)
        if (members_is_removed(s, s->state.removed[i]))
            peers_drop(s->peers, s->state.removed[i]);
}

/* --- when it is us who was removed --- */
static void goodbye(struct server *s)
{
    if (s->removed)
        return;
    char text[20];
    s->removed = true;
    s->removed_at_ms = server_now_ms();
    log_warn("This member was removed from the cluster, and ends", "member",
             id_text(s->o.member_id, text), "advice", REMOVED_ADVICE);
    if (s->o.note)
        s->o.note(s->o.note_data, true);
}

void members_on_refused(void *userdata, uint64_t by, enum transport_refusal why)
{
    struct server *s = userdata;
    if (why == REFUSED_REMOVED)
        goodbye(s);
    if (why != REFUSED_OTHER_CLUSTER || s->ever_had_leader)
        return;
    size_t n = 0;
    while (n < s->n_strangers && s->strangers[n] != by)
        n++;
    if (n == s->n_strangers && n < MAX_MEMBERS)
        s->strangers[s->n_strangers++] = by;
    /* One of them may have gone astray; when most say so, it is us. */
    if (s->n_strangers > s->raft.configuration.n / 2 && !atomic_exchange(&s->failed, true)) {
        log_error("Cluster ID mismatch: the members at the other peer URLs belong to another "
                  "cluster than the data directory of this one",
                  "advice",
                  "start this member with the data directory that belongs to it; or, to make it a "
                  "member of that cluster, remove the data directory, add it there with `etcdctl "
                  "member add`, and start it with --initial-cluster-state=existing");
        component_request_stop();
    }
}

/* --- noticing --- */
static void settle(struct server *s);

void members_look(struct server *s)
{
    const struct raft *r = &s->raft;
    if (r->configuration_index != s->seen_configuration[0] ||
        r->configuration_uncommitted_index != s->seen_configuration[1] || s->members_changed) {
        s->seen_configuration[0] = r->configuration_index;
        s->seen_configuration[1] = r->configuration_uncommitted_index;
        s->members_changed = false;
        memset(s->told, 0, sizeof(s->told));
        settle(s); /* a member that was removed may be waiting for the answer */
        connect_members(s);
    }
    if (s->o.joining && r->configuration.n > 0) {
        s->o.joining = false;
        if (s->o.note)
            s->o.note(s->o.note_data, false);
    }
    if (r->configuration.n > 0 && members_is_removed(s, s->o.member_id))
        goodbye(s);
    const struct member_info *self = state_member(&s->state, s->o.member_id);
    atomic_store(&s->seen_learner, self && self->learner);
    s->ever_had_leader |= s->leader != 0;
}

/* --- requests --- */
static bool is_settled(const struct server *s, const struct op *op)
{
    const struct raft_server *r = find_server(s, op->member);
    bool committed = s->raft.configuration_uncommitted_index == 0;
    if (s->removed && op->member == s->o.member_id)
        return true;
    switch (op->settled_when) {
    case SETTLED_WHEN_GONE:
        return !r && committed;
    case SETTLED_WHEN_VOTER:
        return r ? r->role == RAFT_VOTER && committed : !state_member(&s->state, op->member);
    default:
        return raft_last_applied((struct raft *)&s->raft) >= op->index;
    }
}

static void settle(struct server *s)
{
    struct op_queue all = {0};
    queue_append(&all, &s->settling);
    for (struct op *op; (op = queue_pop(&all));)
        if (is_settled(s, op))
            op_finish(s, op, KV_OK);
        else
            queue_push(&s->settling, op);
}

static enum kv_status check_promotion(const struct server *s, uint64_t id)
{
    const struct member_info *m = state_member(&s->state, id);
    if (!m || !m->learner)
        return KV_OK; /* applying it gives the error */
    const struct raft_server *r = find_server(s, id);
    if (!r || r->role != RAFT_STANDBY || !peers_is_up(s->peers, id))
        return KV_LEARNER_NOT_READY;
    const struct raft_progress *p = progress_of(s, r);
    return p->state == PROGRESS_PIPELINE &&
                   p->match_index >= raft_last_index((struct raft *)&s->raft) / 10 * 9
               ? KV_OK
               : KV_LEARNER_NOT_READY;
}

/* As etcd with --strict-reconfig-check: no change that could cost the majority. */
static enum kv_status check(const struct server *s, const struct command *c)
{
    if (c->member_update)
        return KV_OK;
    enum kv_status status =
        c->member_promote ? check_promotion(s, (uint64_t)c->member_promote->id) : KV_OK;
    if (!status)
        status = members_check_quorum(&s->state, c);
    if (status || c->member_promote)
        return status;
    size_t voters = 0, up = 0;
    for (size_t i = 0; i < s->state.n_members; i++) {
        const struct member_info *m = &s->state.members[i];
        voters += !m->learner;
        up += !m->learner && (m->id == s->o.member_id || peers_is_up(s->peers, m->id));
    }
    if (c->member_add)
        return up == voters ? KV_OK : KV_UNHEALTHY_CLUSTER;
    uint64_t id = (uint64_t)c->member_remove->id;
    const struct member_info *m = state_member(&s->state, id);
    if (!m || m->learner || (id != s->o.member_id && !peers_is_up(s->peers, id)))
        return KV_OK; /* one that is down is no part of the majority that works */
    return up - 1 < 1 + (voters - 1) / 2 ? KV_UNHEALTHY_CLUSTER : KV_OK;
}

struct proposal {
    struct op op; /* first */
    struct op *change;
};

/* What the second of two attempts hears when the first has made the change after all. */
static bool says_made(enum kv_status status)
{
    return status == KV_MEMBER_NOT_FOUND || status == KV_MEMBER_EXISTS ||
           status == KV_MEMBER_NOT_LEARNER;
}

static void on_applied(struct server *s, struct op *op, enum kv_status status)
{
    struct proposal *p = (struct proposal *)op;
    struct op *change = p->change;
    free(p);
    /* This is called while the entry is being applied. */
    change->index = raft_last_applied(&s->raft) + 1;
    if (status && !(change->was_sent && says_made(status)))
        op_finish(s, change, status);
    else
        queue_push(&s->settling, change);
}

/* What a change is about; false when it is none. */
static bool understand(struct op *op, struct command *c, struct arena *a)
{
    if (!msg_decode(&command_type, op->wire.data, op->wire.len, c, a) ||
        (!c->member_add && !c->member_remove && !c->member_promote && !c->member_update))
        return false;
    op->member = (uint64_t)(c->member_add       ? c->member_add->id
                            : c->member_remove  ? c->member_remove->id
                            : c->member_promote ? c->member_promote->id
                                                : c->member_update->id);
    op->settled_when = c->member_remove    ? SETTLED_WHEN_GONE
                       : c->member_promote ? SETTLED_WHEN_VOTER
                                           : SETTLED_WHEN_APPLIED;
    return true;
}

/* A change that was given to a leader that is gone: has it been made? (Asked for again, an update
 * does no harm.) */
static bool is_made(const struct server *s, const struct op *op, const struct command *c)
{
    const struct member_info *m = state_member(&s->state, op->member);
    return (c->member_remove && state_member_removed(&s->state, op->member)) ||
           (c->member_add && m) || (c->member_promote && m && !m->learner);
}

static void begin(struct server *s, struct op *op, const struct command *c)
{
    enum kv_status status = check(s, c);
    if (status) {
        op_finish(s, op, status);
        return;
    }
    struct proposal *p = mem_alloc(sizeof(*p));
    p->change = op;
    p->op.kind = OP_PROPOSE;
    p->op.done = on_applied;
    p->op.deadline_ms = op->deadline_ms;
    buf_add(&p->op.wire, op->wire.data, op->wire.len);
    queue_push(&s->unsent, &p->op);
}

static bool ask_leader(struct server *s, struct op *op)
{
    cleanup_buf struct buf b = {0};
    op->seq = ++s->next_change_id;
    buf_add(&b, &op->seq, sizeof(op->seq));
    buf_add(&b, op->wire.data, op->wire.len);
    bool sent = peers_send(s->peers, s->leader, FRAME_CHANGE, b.data, b.len);
    op->asked_twice |= sent && op->was_sent;
    op->was_sent |= sent;
    return sent;
}

static void start_changes(struct server *s)
{
    struct op_queue all = {0};
    queue_append(&all, &s->changes);
    for (struct op *op; (op = queue_pop(&all));) {
        cleanup_arena struct arena a = {0};
        struct command c = {0};
        if (!understand(op, &c, &a))
            op_finish(s, op, KV_INVALID_ARGUMENT);
        else if (op->was_sent && (s->removed || is_made(s, op, &c)))
            queue_push(&s->settling, op);
        else if (leads(s) && s->state.members_known)
            begin(s, op, &c);
        else if (op->remote_id && !node_is_leader(s))
            op_finish(s, op, KV_NOT_LEADER);
        else if (!op->remote_id && s->leader && !node_is_leader(s) && ask_leader(s, op))
            queue_push(&s->asked_changes, op);
        else
            queue_push(&s->changes, op);
    }
}

static void on_remote_change(struct server *s, struct op *op, enum kv_status status)
{
    uint64_t answer[3] = {op->remote_id, status, op->index};
    peers_answer(s->peers, op->connection, FRAME_CHANGE_ANSWER, answer, sizeof(answer));
    free(op);
}

static void on_answer(struct server *s, uint64_t id, uint64_t status, uint64_t index)
{
    struct op_queue all = {0};
    queue_append(&all, &s->asked_changes);
    for (struct op *op; (op = queue_pop(&all));) {
        if (op->seq != id) {
            queue_push(&s->asked_changes, op);
        } else if (status == KV_NOT_LEADER) {
            queue_push(&s->changes, op);
        } else if (op->asked_twice && status < KV_STATUS_COUNT &&
                   says_made((enum kv_status)status)) {
            queue_push(&s->settling, op);
        } else if (status) {
            op_finish(s, op, status < KV_STATUS_COUNT ? (enum kv_status)status : KV_TIMEOUT);
        } else {
            op->index = index;
            op->settled_when = SETTLED_WHEN_APPLIED;
            queue_push(&s->settling, op);
        }
    }
}

void members_on_frame(struct server *s, uint64_t connection, uint8_t type, const uint8_t *p,
                      size_t len)
{
    if (type == FRAME_CHANGE && len > 8 && frame_u64(p)) {
        struct op *op = mem_alloc(sizeof(*op));
        op->kind = OP_MEMBER;
        op->connection = connection;
        op->remote_id = frame_u64(p);
        op->done = on_remote_change;
        op->deadline_ms = server_now_ms() + REQUEST_TIMEOUT_MS;
        buf_add(&op->wire, p + 8, len - 8);
        queue_push(&s->changes, op);
    } else if (type == FRAME_CHANGE_ANSWER && len >= 24) {
        on_answer(s, frame_u64(p), frame_u64(p + 8), frame_u64(p + 16));
    }
}

/* It is not known what became of what was given to the leader: that shows in the state, or it is
 * asked for again. */
void members_leader_lost(struct server *s)
{
    queue_append(&s->changes, &s->asked_changes);
}

/* --- as the leader: raft's configuration follows the state --- */
static void on_changed(struct raft_change *req, int status)
{
    struct server *s = req->data;
    s->change_active = false;
    if (status != 0 && !s->closing)
        log_warn("A change of raft's configuration has failed", "reason", raft_strerror(status));
    if (status != 0)
        s->change_not_before_ms = server_now_ms() + RETRY_MS;
}

static void try_change(struct server *s, const char *what, uint64_t id, int rc)
{
    char text[20];
    s->change_active = rc == 0;
    if (rc == 0) {
        log_info("Changing raft's configuration", "change", what, "member", id_text(id, text));
        return;
    }
    log_warn("Cannot change raft's configuration yet", "change", what, "member", id_text(id, text),
             "reason", raft_errmsg(&s->raft));
    s->change_not_before_ms = server_now_ms() + RETRY_MS;
}

static void on_moved_away(struct server *s, bool moved, void *data)
{
    (void)data;
    s->change_active = false;
    if (!moved)
        s->change_not_before_ms = server_now_ms() + RETRY_MS;
}

/* We shall go: the voter that has most leads from now on. */
static void step_aside(struct server *s)
{
    const struct raft_server *heir = NULL;
    for (unsigned i = 0; i < s->raft.configuration.n; i++) {
        const struct raft_server *r = &s->raft.configuration.servers[i];
        if (r->role == RAFT_VOTER && r->id != s->o.member_id && state_member(&s->state, r->id) &&
            peers_is_up(s->peers, r->id) &&
            (!heir || progress_of(s, r)->match_index > progress_of(s, heir)->match_index))
            heir = r;
    }
    s->change_active = heir && server_move_leader(s, heir->id, on_moved_away, NULL) == KV_OK;
    if (!s->change_active)
        s->change_not_before_ms = server_now_ms() + RETRY_MS;
}

static void propose_init(struct server *s)
{
    cleanup_arena struct arena a = {0};
    struct member_list_response all = {0};
    for (unsigned i = 0; i < s->raft.configuration.n; i++) {
        const struct raft_server *r = &s->raft.configuration.servers[i];
        struct member *m = msg_list_add(&all.members, sizeof(*m), &a);
        const char *url = members_resolve(s, r->id, 0);
        url = url ? url : r->address;
        m->id = (int64_t)r->id;
        m->is_learner = r->role != RAFT_VOTER;
        *(struct bytes *)msg_list_add(&m->peer_urls, sizeof(struct bytes), &a) =
            (struct bytes){url, strlen(url)};
        for (size_t k = 0; k < s->o.n_members; k++)
            if (s->o.members[k].id == r->id && s->o.members[k].name)
                m->name = (struct bytes){s->o.members[k].name, strlen(s->o.members[k].name)};
    }
    s->init_proposed = s->raft.current_term;
    server_propose(s, &(struct command){.members_init = &all});
}

static void reconcile(struct server *s)
{
    struct raft *r = &s->raft;
    if (!leads(s) || s->change_active || r->configuration_uncommitted_index || r->transfer ||
        r->leader_state.promotee_id || server_now_ms() < s->change_not_before_ms)
        return;
    if (!s->state.members_known) {
        if (s->init_proposed != r->current_term)
            propose_init(s);
        return;
    }
    s->change.data = s;
    for (unsigned i = 0; i < r->configuration.n; i++) {
        const struct raft_server *m = &r->configuration.servers[i];
        if (state_member(&s->state, m->id))
            continue;
        const raft_id id = m->id; /* m goes with the old configuration */
        if (id == s->o.member_id)
            step_aside(s);
        else
            try_change(s, "remove", id, raft_remove(r, &s->change, id, on_changed));
        return;
    }
    for (size_t i = 0; i < s->state.n_members; i++) {
        const struct member_info *m = &s->state.members[i];
        const struct raft_server *have = find_server(s, m->id);
        if (!have) {
            /* An address that is no other's: libraft wants so, and remembers old ones. */
            cleanup_free char *address = mem_strdup(*m->peer_urls ? *m->peer_urls : "");
            for (unsigned k = 0; k < r->configuration.n; k++)
                if (strcmp(r->configuration.servers[k].address, address) == 0) {
                    free(address);
                    address = mem_printf("%016" PRIx64, m->id);
                    break;
                }
            try_change(s, "add", m->id, raft_add(r, &s->change, m->id, address, on_changed));
            return;
        }
        if (have->role == RAFT_SPARE) {
            try_change(s, "replicate to", m->id,
                       raft_assign(r, &s->change, m->id, RAFT_STANDBY, on_changed));
            return;
        }
        const struct raft_progress *p = progress_of(s, have);
        if (have->role == RAFT_STANDBY && !m->learner && p->state == PROGRESS_PIPELINE &&
            p->recent_recv && p->match_index + NEARLY >= raft_last_index(r)) {
            try_change(s, "let vote", m->id,
                       raft_assign(r, &s->change, m->id, RAFT_VOTER, on_changed));
            return;
        }
    }
}

void members_work(struct server *s)
{
    if (s->changes.head)
        start_changes(s);
    if (s->settling.head)
        settle(s);
    reconcile(s);
}

void members_tick(struct server *s, int64_t now)
{
    queue_expire(s, &s->changes, now);
    queue_expire(s, &s->asked_changes, now);
    queue_expire(s, &s->settling, now);
    if (s->removed && now - s->removed_at_ms >= GOODBYE_MS)
        component_request_stop();
}

void members_fail_all(struct server *s, enum kv_status status)
{
    struct op_queue *queues[] = {&s->changes, &s->asked_changes, &s->settling};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++)
        for (struct op *op; (op = queue_pop(queues[i]));)
            op_finish(s, op, status);
}

/* --- somebody who wants to join asks who belongs to the cluster --- */
struct reply {
    uv_write_t req;
    uv_stream_t *stream;
    struct buf data;
};

static void on_replied(uv_write_t *w, int status)
{
    (void)status;
    struct reply *r = (struct reply *)w;
    transport_close_stream(r->stream);
    buf_free(&r->data);
    free(r);
}

void members_on_query(void *userdata, uv_stream_t *stream)
{
    struct server *s = userdata;
    cleanup_arena struct arena a = {0};
    struct response_header h = {0};
    struct member_list_response resp = {.header = &h};
    server_fill_header(s, &h);
    members_list(&s->state, &a, &resp.members);
    struct reply *r = mem_alloc(sizeof(*r));
    uint32_t len = (uint32_t)msg_wire_size(&member_list_response_type, &resp);
    buf_add(&r->data, &len, sizeof(len));
    msg_encode(&member_list_response_type, &resp, &r->data);
    r->stream = stream;
    uv_buf_t b = uv_buf_init(r->data.data, (unsigned)r->data.len);
    if (uv_write(&r->req, stream, &b, 1, on_replied) != 0) {
        transport_close_stream(stream);
        buf_free(&r->data);
        free(r);
    }
}
