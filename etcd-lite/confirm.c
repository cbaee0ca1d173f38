/* Linearizable reads without writing to the log (Raft, section 6.4).
 *
 * The leader notes its commit index, then asks the members whether its term is still theirs. If a
 * majority says so after the read came in, no other leader can have been elected before, so nothing
 * newer can have been acknowledged: state at the noted index is recent enough. It does not do so
 * before an entry of its own term is applied, for only then its commit index is known to be the
 * cluster's. Reads that come while a round is on its way share the next one. A follower asks the
 * leader for such an index and waits until its own state has reached it. */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/server_internal.h"

#define ROUND_RETRY_MS 100

static void on_remote_done(struct server *s, struct op *op, enum kv_status status);

/* --- leases, once it is sure that we lead --- */
static void answer_lease(struct server *s, struct op *op)
{
    struct lease *l = lessor_find(s->state.leases, op->lease);
    int64_t now = server_now_ms();
    if (!l || l->revoking || l->expiry_ms <= now) {
        op->ttl = -1;
        return;
    }
    if (op->renew)
        lessor_renew(s->state.leases, l, now);
    op->ttl = op->renew ? l->ttl : (l->expiry_ms - now) / 1000;
}

static bool can_lead_reads(const struct server *s)
{
    return node_is_leader(s) && s->noop_applied == s->raft.current_term;
}

static void confirmed(struct server *s, struct op_queue *ops, uint64_t index)
{
    struct op_queue all = {0};
    queue_append(&all, ops);
    for (struct op *op; (op = queue_pop(&all));) {
        op->index = index;
        if (op->remote_id && op->kind == OP_READ)
            op_finish(s, op, KV_OK); /* the asking member does the waiting */
        else
            queue_push(&s->waiting, op);
    }
}

static void finish_waiting(struct server *s)
{
    uint64_t applied = raft_last_applied(&s->raft);
    struct op_queue all = {0};
    queue_append(&all, &s->waiting);
    for (struct op *op; (op = queue_pop(&all));) {
        if (op->index > applied) {
            queue_push(&s->waiting, op);
            continue;
        }
        /* A lease asked of the leader has its answer already (was_sent); else the clock is here. */
        if (op->kind == OP_LEASE && !op->was_sent) {
            if (!can_lead_reads(s)) {
                queue_push(&s->reads, op);
                continue;
            }
            answer_lease(s, op);
        }
        op_finish(s, op, KV_OK);
    }
}

/* --- as the leader --- */
static void send_pings(struct server *s)
{
    uint64_t ping[2] = {s->raft.current_term, s->round_id};
    for (unsigned i = 0; i < s->raft.configuration.n; i++) {
        const struct raft_server *m = &s->raft.configuration.servers[i];
        if (m->role == RAFT_VOTER && m->id != s->o.member_id)
            peers_send(s->peers, m->id, FRAME_PING, ping, sizeof(ping));
    }
    s->round_sent_ms = server_now_ms();
}

static void start_round(struct server *s)
{
    s->round_id++;
    s->round_index = s->raft.commit_index;
    s->round_acks = 0;
    queue_append(&s->round, &s->reads);
    if (node_voters(s) <= 1) {
        confirmed(s, &s->round, s->round_index);
        return;
    }
    s->round_active = true;
    send_pings(s);
}

static void end_round(struct server *s)
{
    s->round_active = false;
    queue_append(&s->retry, &s->round);
}

static void on_pong(struct server *s, uint64_t from, uint64_t round, bool same_term)
{
    if (!s->round_active || round != s->round_id || !same_term || !node_is_leader(s))
        return;
    for (unsigned i = 0; i < s->round_acks; i++)
        if (s->acked[i] == from)
            return;
    bool voter = false;
    for (unsigned i = 0; i < s->raft.configuration.n; i++)
        voter |= s->raft.configuration.servers[i].id == from &&
                 s->raft.configuration.servers[i].role == RAFT_VOTER;
    if (!voter || s->round_acks >= MAX_MEMBERS)
        return;
    s->acked[s->round_acks++] = from;
    if (s->round_acks + 1 > node_voters(s) / 2) {
        s->round_active = false;
        confirmed(s, &s->round, s->round_index);
    }
}

/* --- as a follower --- */
static void ask_leader(struct server *s)
{
    struct op_queue leases = {0}, all = {0};
    queue_append(&all, &s->reads);
    bool asked_any = s->asked_active;
    for (struct op *op; (op = queue_pop(&all));) {
        if (op->remote_id)
            op_finish(s, op, KV_NOT_LEADER); /* asked of us as the leader, which we are not */
        else if (op->kind == OP_LEASE)
            queue_push(&leases, op);
        else if (asked_any)
            queue_push(&s->reads, op); /* the next question */
        else
            queue_push(&s->asked, op);
    }
    if (!asked_any && s->asked.head) {
        uint64_t id = ++s->asked_id;
        s->asked_active = peers_send(s->peers, s->leader, FRAME_READ_INDEX, &id, sizeof(id));
        if (!s->asked_active)
            queue_append(&s->retry, &s->asked);
    }
    for (struct op *op; (op = queue_pop(&leases));) {
        uint64_t question[3] = {++s->next_lease_id, op->renew, (uint64_t)op->lease};
        op->seq = question[0];
        queue_push(peers_send(s->peers, s->leader, FRAME_LEASE, question, sizeof(question))
                       ? &s->asked_leases
                       : &s->retry,
                   op);
    }
}

static void on_read_index_answer(struct server *s, uint64_t id, uint64_t status, uint64_t index)
{
    if (!s->asked_active || id != s->asked_id)
        return;
    s->asked_active = false;
    if (status == KV_OK)
        confirmed(s, &s->asked, index);
    else
        queue_append(&s->retry, &s->asked);
}

static void on_lease_answer(struct server *s, uint64_t id, uint64_t status, int64_t ttl,
                            uint64_t index)
{
    struct op_queue all = {0};
    queue_append(&all, &s->asked_leases);
    for (struct op *op; (op = queue_pop(&all));) {
        if (op->seq != id) {
            queue_push(&s->asked_leases, op);
        } else if (status != KV_OK) {
            queue_push(&s->retry, op);
        } else {
            op->ttl = ttl;
            op->index = index;
            op->was_sent = true;
            queue_push(&s->waiting, op);
        }
    }
}

/* --- questions of other members --- */
static void on_remote_done(struct server *s, struct op *op, enum kv_status status)
{
    uint64_t answer[4] = {op->remote_id, status, op->index, 0};
    if (op->kind == OP_READ) {
        peers_answer(s->peers, op->connection, FRAME_READ_INDEX_ANSWER, answer,
                     3 * sizeof(uint64_t));
    } else {
        answer[2] = (uint64_t)op->ttl;
        answer[3] = op->index;
        peers_answer(s->peers, op->connection, FRAME_LEASE_ANSWER, answer, sizeof(answer));
    }
    free(op);
}

static struct op *remote_op(struct server *s, enum op_kind kind, uint64_t connection, uint64_t id)
{
    struct op *op = mem_alloc(sizeof(*op));
    op->kind = kind;
    op->connection = connection;
    op->remote_id = id;
    op->done = on_remote_done;
    op->deadline_ms = server_now_ms() + REQUEST_TIMEOUT_MS;
    queue_push(&s->reads, op);
    return op;
}

static void on_propose(struct server *s, uint64_t from, uint64_t connection, const uint8_t *p,
                       size_t len)
{
    struct entry_reader r;
    if (len < 8 || !entry_open(&r, p + 8, len - 8) || r.origin.member != from)
        return;
    int rc;
    if (node_is_leader(s) && s->raft.current_term == frame_u64(p) &&
        node_propose(s, p + 8, len - 8, &rc))
        return;
    cleanup_buf struct buf seqs = {0};
    uint64_t seq;
    while (entry_next_seq(&r, &seq))
        buf_add(&seqs, &seq, sizeof(seq));
    peers_answer(s->peers, connection, FRAME_PROPOSE_REFUSED, buf_str(&seqs), seqs.len);
}

void reads_on_frame(struct server *s, uint64_t from, uint64_t connection, uint8_t type,
                    const uint8_t *p, size_t len)
{
    switch (type) {
    case FRAME_CHANGE:
    case FRAME_CHANGE_ANSWER:
        members_on_frame(s, connection, type, p, len);
        break;
    case FRAME_PROPOSE:
        on_propose(s, from, connection, p, len);
        break;
    case FRAME_PROPOSE_REFUSED: {
        uint64_t *seqs = mem_alloc(len + 8);
        memcpy(seqs, p, len);
        proposals_refused(s, seqs, len / 8);
        free(seqs);
        break;
    }
    case FRAME_PING:
        if (len >= 16) {
            uint64_t pong[2] = {frame_u64(p + 8), s->raft.current_term == frame_u64(p)};
            peers_answer(s->peers, connection, FRAME_PONG, pong, sizeof(pong));
        }
        break;
    case FRAME_PONG:
        if (len >= 16)
            on_pong(s, from, frame_u64(p), frame_u64(p + 8) == 1);
        break;
    case FRAME_READ_INDEX:
        if (len >= 8 && frame_u64(p))
            remote_op(s, OP_READ, connection, frame_u64(p));
        break;
    case FRAME_READ_INDEX_ANSWER:
        if (len >= 24)
            on_read_index_answer(s, frame_u64(p), frame_u64(p + 8), frame_u64(p + 16));
        break;
    case FRAME_LEASE:
        if (len >= 24 && frame_u64(p)) {
            struct op *op = remote_op(s, OP_LEASE, connection, frame_u64(p));
            op->renew = frame_u64(p + 8) == 1;
            op->lease = (int64_t)frame_u64(p + 16);
        }
        break;
    case FRAME_LEASE_ANSWER:
        if (len >= 32)
            on_lease_answer(s, frame_u64(p), frame_u64(p + 8), (int64_t)frame_u64(p + 16),
                            frame_u64(p + 24));
        break;
    }
}

/* --- what moves them --- */
void reads_work(struct server *s)
{
    if (s->reads.head) {
        if (can_lead_reads(s)) {
            if (!s->round_active)
                start_round(s);
        } else if (!node_is_leader(s) && s->leader && s->leader != s->o.member_id) {
            ask_leader(s);
        }
    }
    if (s->waiting.head)
        finish_waiting(s);
}

void reads_leader_changed(struct server *s)
{
    members_leader_lost(s);
    s->round_active = s->asked_active = false;
    queue_append(&s->reads, &s->round);
    queue_append(&s->reads, &s->asked);
    queue_append(&s->reads, &s->asked_leases);
    queue_append(&s->reads, &s->retry);
}

void reads_peer_up(struct server *s, uint64_t peer)
{
    if (s->round_active)
        send_pings(s);
    if (peer == s->leader) {
        s->forward_blocked = false;
        queue_append(&s->reads, &s->retry);
    }
}

void reads_peer_down(struct server *s, uint64_t peer)
{
    if (peer != s->leader)
        return;
    s->in_flight = 0; /* what was on its way may be lost: it must not keep others waiting */
    s->asked_active = false;
    queue_append(&s->retry, &s->asked);
    queue_append(&s->retry, &s->asked_leases);
    members_leader_lost(s);
}

void reads_tick(struct server *s, int64_t now)
{
    struct op_queue *queues[] = {&s->reads, &s->retry,        &s->round,
                                 &s->asked, &s->asked_leases, &s->waiting};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++)
        queue_expire(s, queues[i], now);
    queue_append(&s->reads, &s->retry);
    if (s->round_active && now - s->round_sent_ms >= ROUND_RETRY_MS) {
        if (node_is_leader(s))
            send_pings(s);
        else
            end_round(s);
    }
}

void reads_fail_all(struct server *s, enum kv_status status)
{
    struct op_queue *queues[] = {&s->reads, &s->retry,        &s->round,
                                 &s->asked, &s->asked_leases, &s->waiting};
    for (size_t i = 0; i < ARRAY_LEN(queues); i++)
        for (struct op *op; (op = queue_pop(queues[i]));)
            op_finish(s, op, status);
}
