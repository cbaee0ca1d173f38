/* What the parts of the server share: server.c (hand-over, proposals), confirm.c (reads and
 * leases), raft_node.c (libraft). All on the raft thread. */
#pragma once
#include <pthread.h>
#include <raft.h>
#include <raft/uv.h>
#include <stdatomic.h>
#include "etcd-lite/entry.h"
#include "etcd-lite/peer.h"
#include "etcd-lite/raft_guard.h"
#include "etcd-lite/server.h"
#include "etcd-lite/raft_receive.h"
#include "etcd-lite/raft_snapshot.h"
#include "etcd-lite/transport.h"

#define REQUEST_TIMEOUT_MS 7000 /* etcd: 5 s and two election timeouts */
#define PENDING_BUCKETS    4096
#define MAX_MEMBERS        16

struct op_queue {
    struct op *head, **tail; /* tail NULL: empty */
};
void queue_push(struct op_queue *q, struct op *op);
void queue_push_front(struct op_queue *q, struct op *op);
struct op *queue_pop(struct op_queue *q);
void queue_append(struct op_queue *q, struct op_queue *from); /* from is empty afterwards */

struct server {
    struct server_options o;
    uv_loop_t loop;
    pthread_t thread;
    uv_async_t wake;
    uv_timer_t tick;
    uv_check_t check;
    uv_idle_t collector;
    bool collecting;

    pthread_mutex_t inbox_lock;
    struct op_queue inbox;
    bool closed; /* under inbox_lock: nothing is taken any more */
    atomic_bool wake_watches, stop_requested, failed, ready, seen_learner;
    atomic_uint_fast64_t seen_leader, seen_term, seen_index, seen_applied,
        seen_bytes;

    struct state state;
    struct watch_hub *watches;
    int64_t last_progress_ms;

    /* raft_node.c */
    struct transport *transport;
    struct peers *peers;
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_guard guard;
    struct split_append *failed_appends;
    int (*uv_append)(struct raft_io *io, struct raft_io_append *req,
                     const struct raft_entry entries[], unsigned n, raft_io_append_cb cb);
    int (*uv_start)(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv);
    raft_io_tick_cb raft_tick;
    raft_index told[MAX_MEMBERS]; /* as the leader: what each member knows to be committed */
    bool raft_inited, stopping, closing;
    struct raft_transfer transfer;
    void (*handed_over)(struct server *s);
    struct snapshots *snapshots;
    struct raft_receivers receivers;
    raft_io_recv_cb raft_recv;
    bool restored_state; /* a snapshot replaced the state: look after it */

    /* member_change.c */
    struct op_queue changes;       /* to be begun */
    struct op_queue asked_changes; /* given to the leader */
    struct op_queue settling;      /* in the log, until raft's configuration has followed */
    uint64_t next_change_id, init_proposed /* term */;
    struct raft_change change;
    bool change_active;
    int64_t change_not_before_ms;
    raft_index seen_configuration[2];
    bool members_changed, removed, ever_had_leader;
    int64_t removed_at_ms;
    uint64_t strangers[MAX_MEMBERS]; /* members that say we belong to another cluster */
    size_t n_strangers;

    /* What we last saw of raft. */
    int role;
    uint64_t term, leader;
    bool fast_election;

    /* server.c: proposals */
    struct entry_origin origin;
    uint64_t next_seq;
    struct op_queue unsent;
    struct op *pending[PENDING_BUCKETS]; /* by seq */
    size_t n_pending;
    unsigned in_flight;                   /* entries of ours, not yet applied */
    bool forward_blocked;                 /* the leader we know refused: wait for news */
    uint64_t noop_proposed, noop_applied; /* terms */
    bool publish_in_flight, published;

    /* confirm.c: reads */
    struct op_queue reads; /* to be confirmed */
    struct op_queue retry; /* to be asked again at the next tick or news */
    struct op_queue round; /* being confirmed by us as the leader */
    uint64_t round_id, round_index;
    int64_t round_sent_ms;
    unsigned round_acks;
    uint64_t acked[MAX_MEMBERS];
    bool round_active;
    struct op_queue asked; /* being confirmed by the leader */
    uint64_t asked_id;
    bool asked_active;
    struct op_queue asked_leases;
    uint64_t next_lease_id;
    struct op_queue waiting; /* confirmed, until the state has reached op->index */
};

int64_t server_now_ms(void);
void op_finish(struct server *s, struct op *op, enum kv_status status);
void server_fail(struct server *s, const char *what, const char *why); /* data are damaged */
void server_fail_advised(struct server *s, const char *what, const char *why, const char *advice);
/* Does whatever can be done now; after every turn of the event loop. */
void server_work(struct server *s);

/* server.c */
void server_propose(struct server *s, const struct command *c); /* nobody waits for it */
void proposals_flush(struct server *s);
void proposals_refused(struct server *s, const uint64_t *seqs, size_t n);
/* No proposal of an earlier term that is not applied by now ever will be: they are sent again. */
void proposals_lost_before(struct server *s, uint64_t term);
/* An entry of ours was applied, refused, or given up. */
void proposals_settled(struct server *s);
/* It is not known what became of the outstanding proposals. */
void proposals_unknown(struct server *s);
struct op *pending_take(struct server *s, uint64_t seq);

/* confirm.c */
void reads_work(struct server *s);
void reads_leader_changed(struct server *s);
void reads_tick(struct server *s, int64_t now);
void reads_fail_all(struct server *s, enum kv_status status);
void reads_on_frame(struct server *s, uint64_t from, uint64_t connection, uint8_t type,
                    const uint8_t *p, size_t len);
void reads_peer_up(struct server *s, uint64_t peer);
void reads_peer_down(struct server *s, uint64_t peer);
void queue_expire(struct server *s, struct op_queue *q, int64_t now);

/* member_change.c */
void members_look(struct server *s); /* notices changes */
void members_work(struct server *s);
void members_tick(struct server *s, int64_t now);
void members_leader_lost(struct server *s);
void members_fail_all(struct server *s, enum kv_status status);
void members_on_frame(struct server *s, uint64_t connection, uint8_t type, const uint8_t *p,
                      size_t len);
/* For the transport; userdata is the server. */
const char *members_resolve(void *userdata, uint64_t id, unsigned attempt);
bool members_is_removed(void *userdata, uint64_t id);
void members_on_refused(void *userdata, uint64_t by, enum transport_refusal why);
void members_on_query(void *userdata, uv_stream_t *stream);

/* raft_node.c */
bool node_init(struct server *s, struct error **err);
void node_look(struct server *s); /* notices changes of role, term and leader */
bool node_is_leader(const struct server *s);
unsigned node_voters(const struct server *s);
bool node_propose(struct server *s, const void *entry, size_t len, int *rc);
/* Lets followers know at once what is committed, rather than with the next heartbeat. */
void node_tell_commit(struct server *s);
/* True when another member is being made leader; then done is called. */
bool node_hand_over(struct server *s, void (*done)(struct server *s));
void node_close(struct server *s);
void node_free(struct server *s);
