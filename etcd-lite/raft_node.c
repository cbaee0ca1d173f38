/* libraft: how it is set up, what it applies. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "common/component.h"
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/log_files.h"
#include "etcd-lite/server_internal.h"

#define DAMAGE_ADVICE                                                                              \
    "its data is damaged: check the disk; replace this member by a fresh one (etcdctl member "      \
    "remove, member add), or restore a backup"

/* Until the first leader is known, elections are tried fast: there is nobody to disturb (and
 * pre-votes keep a member that comes back from disturbing a leader that it has not heard of yet).
 */
#define FIRST_ELECTION_MS 60
#define CATCH_UP_MS       2000 /* a member that is to vote lacks little by then, or is gone */
#define TICK_MS           25

/* libraft refuses to append at once more than a segment holds (8 MB), yet a leader sends all that a
 * member lacks in one message. */
#define APPEND_MAX_BYTES (4u << 20)

struct split_append {
    struct split_append *next; /* of those that failed */
    struct server *server;
    struct raft_io_append *req;
    unsigned left;
    int status;
    struct raft_io_append pieces[];
};

/* A leader that goes on after its disk refused a write frees entries twice: libraft forgets what it
 * had appended, appends others with the same numbers, and then hears that more of the first have
 * failed. So libraft does not hear of the failure before it closes; the member ends (as etcd does),
 * and whoever supervises it starts it again, with the log that the disk really has. */
static void hold_failed_append(struct server *s, struct split_append *sp)
{
    sp->next = s->failed_appends;
    s->failed_appends = sp;
    if (!atomic_exchange(&s->failed, true))
        log_error("Cannot write the log", "err",
                  *s->io.errmsg ? s->io.errmsg : raft_strerror(sp->status), "status",
                  log_int(sp->status), "advice",
                  "make room on the disk (or check it), then start this member again");
    atomic_store(&s->ready, false);
    component_request_stop();
}

static void cancel_failed_appends(struct server *s)
{
    for (struct split_append *sp; (sp = s->failed_appends);) {
        s->failed_appends = sp->next;
        struct raft_io_append *req = sp->req;
        free(sp);
        req->cb(req, RAFT_CANCELED);
    }
}

static void on_piece(struct raft_io_append *piece, int status)
{
    struct split_append *sp = piece->data;
    struct server *s = sp->server;
    if (status != 0)
        sp->status = status;
    if (--sp->left > 0)
        return;
    if (sp->status != 0 && sp->status != RAFT_CANCELED && !s->closing) {
        hold_failed_append(s, sp);
        return;
    }
    struct raft_io_append *req = sp->req;
    status = sp->status;
    free(sp);
    req->cb(req, status);
}

static int split_append(struct raft_io *io, struct raft_io_append *req,
                        const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct server *s = ((struct raft *)io->data)->data;
    if (atomic_load(&s->failed))
        return RAFT_IOERR;
    unsigned *cuts = mem_alloc((n + 1) * sizeof(*cuts)), count = 0;
    size_t size = 0;
    for (unsigned i = 0; i < n; i++) {
        if (i > 0 && size + entries[i].buf.len + 16 > APPEND_MAX_BYTES) {
            cuts[count++] = i;
            size = 0;
        }
        size += entries[i].buf.len + 16;
    }
    cuts[count++] = n;
    struct split_append *sp = mem_alloc(sizeof(*sp) + count * sizeof(sp->pieces[0]));
    sp->req = req;
    sp->server = s;
    sp->left = count;
    req->cb = cb;
    int rc = 0;
    for (unsigned k = 0, from = 0; k < count; from = cuts[k++]) {
        sp->pieces[k].data = sp;
        rc = rc ? rc : s->uv_append(io, &sp->pieces[k], entries + from, cuts[k] - from, on_piece);
        if (rc && k == 0) {
            free(cuts);
            free(sp);
            return rc;
        }
        if (rc) {
            /* What was given to the disk cannot be taken back; the whole has failed when that is
             * done. */
            sp->status = rc;
            sp->left -= count - k;
            break;
        }
    }
    free(cuts);
    return 0;
}

/* --- applying --- */
struct outcome {
    struct op *op;
    struct apply_result result;
};

static int on_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct server *s = fsm->data;
    *result = NULL;
    struct entry_reader r;
    if (!entry_open(&r, buf->base, buf->len)) {
        server_fail(s, "A log entry cannot be read", "it is damaged or of a newer version");
        return RAFT_MALFORMED;
    }
    bool ours = r.origin.member == s->origin.member && r.origin.boot == s->origin.boot;
    cleanup_arena struct arena arena = {0};
    struct outcome *outcomes = arena_alloc(&arena, (r.left + 1) * sizeof(*outcomes));
    size_t n = 0;
    int64_t before = mvcc_revision(s->state.kv);
    uint64_t seq, noop = 0;
    struct command c;
    pthread_rwlock_wrlock(&s->state.lock);
    while (entry_next(&r, &seq, &c, &arena)) {
        struct apply_result res;
        if (c.noop && (uint64_t)c.noop->term > noop)
            noop = (uint64_t)c.noop->term;
        state_apply(&s->state, &c, &arena, &res);
        s->members_changed |= members_is_command(&c);
        struct op *op = ours ? pending_take(s, seq) : NULL;
        if (op)
            outcomes[n++] = (struct outcome){op, res};
    }
    pthread_rwlock_unlock(&s->state.lock);
    if (r.left > 0) {
        server_fail(s, "A log entry cannot be read", "a command in it is malformed");
        return RAFT_MALFORMED;
    }
    if (ours)
        proposals_settled(s);
    for (size_t i = 0; i < n; i++) {
        struct apply_result *res = &outcomes[i].result;
        if (res->header)
            server_fill_header(s, res->header);
        outcomes[i].op->result = res;
        op_finish(s, outcomes[i].op, res->status);
    }
    if (s->watches && mvcc_revision(s->state.kv) > before)
        watch_notify(s->watches, s->state.kv, mvcc_log_seek(s->state.kv, before + 1));
    if (noop > s->noop_applied) {
        s->noop_applied = noop;
        proposals_lost_before(s, noop);
        if (node_is_leader(s) && s->raft.current_term == noop)
            lessor_promote(s->state.leases, server_now_ms());
    }
    snapshots_note_applied(s->snapshots, buf->len);
    return 0;
}

/* --- roles --- */
void server_fail_advised(struct server *s, const char *what, const char *why, const char *advice)
{
    if (!atomic_exchange(&s->failed, true))
        log_error(what, "reason", why, "advice", advice);
    atomic_store(&s->ready, false);
    component_request_stop();
}

void server_fail(struct server *s, const char *what, const char *why)
{
    server_fail_advised(s, what, why, DAMAGE_ADVICE);
}

bool node_is_leader(const struct server *s)
{
    return raft_state((struct raft *)&s->raft) == RAFT_LEADER;
}

unsigned node_voters(const struct server *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->raft.configuration.n; i++)
        n += s->raft.configuration.servers[i].role == RAFT_VOTER;
    return n;
}

/* --- telling followers what is committed ---
 * A follower applies, and so answers its clients, when it hears from the leader that its entries
 * are committed. libraft tells it with the next entries or the next heartbeat, up to 100 ms later.
 * So a heartbeat is made due as soon as there is news, by way of libraft's own tick. */
static void on_message(struct raft_io *io, struct raft_message *msg)
{
    struct server *s = ((struct raft *)io->data)->data;
    if (!snapshots_take_message(s->snapshots, msg))
        s->raft_recv(io, msg);
}

static int capture_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
                         raft_io_recv_cb recv)
{
    struct server *s = ((struct raft *)io->data)->data;
    s->raft_tick = tick;
    s->raft_recv = recv;
    s->receivers.io = io;
    s->receivers.on_message = on_message;
    return s->uv_start(io, msecs, tick, recv);
}

/* Entries that are sent to a member carry the commit index; it can use it as far as its log
 * reaches. */
static raft_index tellable(const struct server *s, unsigned i)
{
    raft_index match = s->raft.leader_state.progress[i].match_index;
    return match < s->raft.commit_index ? match : s->raft.commit_index;
}

static void note_told(struct server *s)
{
    for (unsigned i = 0; i < s->raft.configuration.n && i < MAX_MEMBERS; i++)
        s->told[i] = tellable(s, i);
}

void node_tell_commit(struct server *s)
{
    enum { PROGRESS_PIPELINE = 1 }; /* libraft's: the member follows, messages are not held back */
    if (!node_is_leader(s) || !s->raft_tick)
        return;
    bool news = false;
    for (unsigned i = 0; i < s->raft.configuration.n && i < MAX_MEMBERS; i++) {
        struct raft_progress *p = &s->raft.leader_state.progress[i];
        if (s->raft.configuration.servers[i].id == s->o.member_id ||
            p->state != PROGRESS_PIPELINE || s->told[i] >= tellable(s, i))
            continue;
        s->told[i] = tellable(s, i);
        p->last_send = 0;
        news = true;
    }
    if (news)
        s->raft_tick(&s->io);
}

static void on_proposed(struct raft_apply *req, int status, void *result)
{
    (void)status; /* what became of it shows in the log */
    (void)result;
    free(req);
}

bool node_propose(struct server *s, const void *entry, size_t len, int *rc)
{
    struct raft_buffer buf;
    if (!entry_to_raft(entry, len, &buf)) {
        *rc = RAFT_NOMEM;
        return false;
    }
    struct raft_apply *req = mem_alloc(sizeof(*req));
    *rc = raft_apply(&s->raft, req, &buf, 1, on_proposed);
    if (*rc != 0) {
        raft_free(buf.base);
        free(req);
        return false;
    }
    note_told(s);
    return true;
}

static void propose_noop(struct server *s)
{
    struct noop_request noop = {(int64_t)s->raft.current_term};
    cleanup_buf struct buf wire = {0}, entry = {0};
    msg_encode(&command_type, &(struct command){.noop = &noop}, &wire);
    entry_begin(&entry, s->origin);
    entry_add(&entry, ++s->next_seq, wire.data, wire.len);
    entry_finish(&entry);
    int rc;
    if (node_propose(s, entry.data, entry.len, &rc))
        s->noop_proposed = s->raft.current_term;
}

static const char *id_text(uint64_t id, char text[20])
{
    snprintf(text, 20, "%016" PRIx64, id);
    return id ? text : "none";
}

void node_look(struct server *s)
{
    raft_id leader = 0;
    const char *address;
    int role = raft_state(&s->raft);
    raft_leader(&s->raft, &leader, &address);
    if (role != s->role || s->raft.current_term != s->term || leader != s->leader) {
        static const char *const names[] = {"unavailable", "follower", "candidate", "leader"};
        char text[20];
        if (role != s->role || leader != s->leader)
            log_info("Raft", "role", names[role], "term", log_int((long long)s->raft.current_term),
                     "leader", id_text(leader, text));
        s->role = role;
        s->term = s->raft.current_term;
        s->leader = leader;
        s->forward_blocked = false;
        s->members_changed = true;
        memset(s->told, 0, sizeof(s->told));
        if (leader && s->fast_election) {
            s->fast_election = false;
            raft_set_heartbeat_timeout(&s->raft, s->o.heartbeat_ms);
            /* libraft's call for this would keep a follower's drawn timeout, and start a leader's
             * timer. */
            s->raft.election_timeout = s->o.election_ms;
            if (role == RAFT_FOLLOWER)
                s->raft.follower_state.randomized_election_timeout =
                    s->o.election_ms + (unsigned)rand() % s->o.election_ms;
        }
        reads_leader_changed(s);
        if (role == RAFT_UNAVAILABLE)
            server_fail(s, "Raft has stopped", raft_errmsg(&s->raft));
    }
    members_look(s);
    if (role == RAFT_LEADER && s->noop_proposed != s->raft.current_term)
        propose_noop(s);
    atomic_store(&s->seen_leader, leader);
    atomic_store(&s->seen_bytes, mvcc_bytes(s->state.kv));
    atomic_store(&s->seen_term, s->raft.current_term);
    atomic_store(&s->seen_index, raft_last_index(&s->raft));
    atomic_store(&s->seen_applied, raft_last_applied(&s->raft));
    atomic_store(&s->ready, !atomic_load(&s->failed) && leader != 0 &&
                                (role == RAFT_LEADER
                                     ? s->noop_applied == s->raft.current_term
                                     : raft_last_applied(&s->raft) > 0 &&
                                           raft_last_applied(&s->raft) >= s->raft.commit_index));
}

void server_list_members(struct server *s, struct arena *a, struct msg_list *out)
{
    members_list(&s->state, a, out);
}

struct raft_guard *raft_guard_of(struct raft_io *io)
{
    return &((struct server *)((struct raft *)io->data)->data)->guard;
}

/* --- connections --- */
static void on_rpc(void *userdata, uint64_t from, uv_stream_t *stream)
{
    struct server *s = userdata;
    peers_accept(s->peers, from, stream);
}

static void on_raft(void *userdata, uint64_t from, const char *address, uv_stream_t *stream)
{
    struct server *s = userdata;
    if (s->closing)
        transport_close_stream(stream);
    else
        raft_receive(&s->receivers, from, address, stream);
}

static void on_frame(void *userdata, uint64_t from, uint64_t connection, uint8_t type,
                     const uint8_t *payload, size_t len)
{
    struct server *s = userdata;
    if (s->stopping)
        return;
    if (type == FRAME_FILE || type == FRAME_FILE_ANSWER)
        snapshots_on_frame(s->snapshots, from, connection, type, payload, len);
    else
        reads_on_frame(s, from, connection, type, payload, len);
}

static void on_up(void *userdata, uint64_t peer)
{
    struct server *s = userdata;
    if (!s->stopping)
        reads_peer_up(s, peer);
}

static void on_down(void *userdata, uint64_t peer)
{
    struct server *s = userdata;
    if (!s->stopping)
        reads_peer_down(s, peer);
}

/* --- start and stop --- */
static bool check_rc(struct server *s, int rc, const char *what, struct error **err)
{
    if (rc == 0)
        return true;
    error_setf(err, "%s: %s (%s)%s", what, raft_errmsg(&s->raft), raft_strerror(rc),
               rc == RAFT_CORRUPT ? "; " DAMAGE_ADVICE : "");
    return false;
}

static bool bootstrap(struct server *s, struct error **err)
{
    struct raft_configuration conf;
    raft_configuration_init(&conf);
    int rc = 0;
    for (size_t i = 0; i < s->o.n_members && rc == 0; i++)
        rc =
            raft_configuration_add(&conf, s->o.members[i].id, s->o.members[i].peer_url, RAFT_VOTER);
    if (rc == 0)
        rc = raft_bootstrap(&s->raft, &conf);
    raft_configuration_close(&conf);
    /* It was done before, and the process died before it could note so. */
    return rc == RAFT_CANTBOOTSTRAP || check_rc(s, rc, "cannot start a new cluster", err);
}

bool node_init(struct server *s, struct error **err)
{
    cleanup_free char *dir = mem_printf("%s/member/raft", s->o.data_dir);
    struct transport_options to = {.loop = &s->loop,
                                   .listen_url = s->o.listen_peer_url,
                                   .cert_file = s->o.peer_cert_file,
                                   .key_file = s->o.peer_key_file,
                                   .ca_file = s->o.peer_ca_file,
                                   .cluster_id = s->o.cluster_id,
                                   .member_id = s->o.member_id,
                                   .advertise_url = s->o.advertise_peer_url,
                                   .on_rpc = on_rpc,
                                   .on_raft = on_raft,
                                   .resolve = members_resolve,
                                   .is_removed = members_is_removed,
                                   .on_refused = members_on_refused,
                                   .on_query = members_on_query,
                                   .userdata = s};
    s->transport = transport_new(&to, err);
    if (!s->transport)
        return false;
    s->peers =
        peers_new(&(struct peers_options){&s->loop, s->transport, on_frame, on_up, on_down, s});
    cleanup_free char *snapshots = mem_printf("%s/member/snap", s->o.data_dir);
    if (mkdir(snapshots, 0700) < 0 && errno != EEXIST) {
        error_set_errno(err, errno, "cannot make the directory %s", snapshots);
        return false;
    }
    s->snapshots = snapshots_new(s, snapshots, dir);
    s->fsm = (struct raft_fsm){.version = 3, .data = s, .apply = on_apply};
    snapshots_set_fsm(s->snapshots, &s->fsm);
    int rc = raft_uv_init(&s->io, &s->loop, dir, transport_raft(s->transport));
    if (rc != 0) {
        error_setf(err, "cannot use the directory %s: %s", dir, raft_strerror(rc));
        return false;
    }
    s->io.version = 2; /* libraft 0.15 has async_work but forgets to say so */
    raft_uv_set_connect_retry_delay(&s->io, 50);
    raft_uv_set_snapshot_compression(&s->io, false);
    /* A damaged log must be told, not mended by throwing parts of it away. */
    raft_uv_set_auto_recovery(&s->io, false);
    s->uv_append = s->io.append;
    s->io.append = split_append;
    s->uv_start = s->io.start;
    s->io.start = capture_start;
    raft_guard_init(&s->guard, &s->raft, &s->io);
    rc = raft_init(&s->raft, &s->io, &s->fsm, s->o.member_id, s->o.advertise_peer_url);
    if (rc != 0) {
        error_setf(err, "cannot use the data directory %s: %s", dir,
                   *s->io.errmsg ? s->io.errmsg : raft_strerror(rc));
        raft_uv_close(&s->io);
        return false;
    }
    s->raft_inited = true;
    s->raft.data = s;
    if (s->o.fresh && !bootstrap(s, err))
        return false;
    s->fast_election = true;
    raft_set_pre_vote(&s->raft, true);
    raft_set_heartbeat_timeout(&s->raft, TICK_MS);
    raft_set_election_timeout(&s->raft, FIRST_ELECTION_MS);
    raft_set_snapshot_threshold(&s->raft, 1u << 30); /* entries; raft_snapshot.c counts bytes */
    raft_set_install_snapshot_timeout(&s->raft, 3000);
    raft_set_max_catch_up_round_duration(&s->raft, CATCH_UP_MS);
    cleanup_error struct error *damage = NULL;
    if (!log_files_check(dir, &damage)) {
        error_setf(err, "cannot start from the log on disk: %s; " DAMAGE_ADVICE,
                   error_message(damage));
        return false;
    }
    if (!check_rc(s, raft_start(&s->raft), "cannot start from the log on disk", err))
        return false;
    raft_guard_started(&s->guard);
    if (s->raft.configuration.n == 0 && !s->o.joining) {
        error_setf(
            err, "the data directory %s has lost its log: remove it and let this member join anew",
            s->o.data_dir);
        return false;
    }
    snapshots_started(s->snapshots);
    s->members_changed = true;
    members_look(s);
    return true;
}

static void on_raft_closed(struct raft *r)
{
    struct server *s = r->data;
    raft_uv_close(&s->io);
}

static void on_transferred(struct raft_transfer *req)
{
    struct server *s = req->data;
    s->handed_over(s);
}

bool node_hand_over(struct server *s, void (*done)(struct server *s))
{
    if (!s->raft_inited || s->failed || !node_is_leader(s) || node_voters(s) < 2)
        return false;
    s->handed_over = done;
    s->transfer.data = s;
    return raft_transfer(&s->raft, &s->transfer, 0, on_transferred) == 0;
}

struct move {
    struct raft_transfer transfer;
    struct server *server;
    void (*done)(struct server *s, bool moved, void *data);
    void *data;
};

static void on_move_done(struct raft_transfer *req)
{
    struct move *m = (struct move *)req;
    node_look(m->server);
    m->done(m->server, !node_is_leader(m->server), m->data);
    free(m);
}

enum kv_status server_move_leader(struct server *s, uint64_t to,
                                  void (*done)(struct server *s, bool moved, void *data),
                                  void *data)
{
    if (!node_is_leader(s))
        return KV_NOT_LEADER;
    bool voter = false;
    for (unsigned i = 0; i < s->raft.configuration.n; i++)
        voter |= s->raft.configuration.servers[i].id == to &&
                 s->raft.configuration.servers[i].role == RAFT_VOTER;
    if (!voter || to == s->o.member_id)
        return KV_BAD_TRANSFEREE;
    struct move *m = mem_alloc(sizeof(*m));
    m->server = s;
    m->done = done;
    m->data = data;
    if (raft_transfer(&s->raft, &m->transfer, to, on_move_done) == 0)
        return KV_OK;
    free(m);
    return KV_TOO_MANY_REQUESTS; /* another one is on its way */
}

void node_close(struct server *s)
{
    if (s->peers)
        peers_stop(s->peers);
    cancel_failed_appends(s);
    raft_receivers_close(&s->receivers);
    if (s->snapshots)
        snapshots_stop(s->snapshots);
    if (s->raft_inited)
        raft_close(&s->raft, on_raft_closed); /* stops the transport too */
    else if (s->transport)
        transport_stop(s->transport);
}

void node_free(struct server *s)
{
    snapshots_free(s->snapshots);
    raft_guard_free(&s->guard);
    peers_free(s->peers);
    transport_free(s->transport);
}
