/* libraft 0.15 and changes of membership. What is wrong, each with what is done about it:
 *
 * 1. Rolling a change back takes the former configuration from the log. When a snapshot has
 * replaced that part of the log, libraft follows a null pointer; when two changes are not known to
 * be committed, it goes back too far. -> before_truncation: we roll back, from the log or the
 *    latest snapshot, before libraft looks.
 * 2. After a restart the last change in the log counts as committed, whether it is or not: it is
 *    never rolled back. -> raft_guard_started marks it as uncommitted.
 * 3. A snapshot that is taken while a change is uncommitted carries it as if it were committed. ->
 *    on_snapshot (raft_node.c) waits.
 * 4. A member follows a change once it is on disk, and not at all if it stands for election in
 *    between. -> no elections while such a write is on its way.
 * 5. A member grants no vote when its own log does not say that it is a voter. If the leader that
 *    promoted it dies before it could say so, nobody is left who votes: a cluster that grows from
 * one to two members is dead. Raft (dissertation, 4.2.2) wants votes granted to whoever asks: only
 *    the candidate's configuration counts. -> with_vote.
 * 6. An entry of a former term counts as committed when a majority has it; but it may still be
 *    replaced by another leader's (Raft, figure 8). -> while the leader has nothing of its own term
 * on disk, libraft is kept from counting (as_follower, without_quorum).
 * 7. Entries that a leader sends from before the start of a member's log (which a snapshot has
 *    replaced) are appended behind its end. Leaders do send so: they start from the beginning with
 *    whoever could not be reached at first. -> trim.
 * 8. A member that agrees to a heartbeat reports all that it has, even what it has of former
 * leaders and the leader has not compared: this may be counted as a copy of what the leader has
 * since appended there, and so an entry be acknowledged that only the leader has. -> guard_send.
 * 9. The leader that removes itself breaks when it appends anything after that. ->
 *    member_change.c lets another member lead first.
 * 10. Spares get no entries, stand-bys do: a member that is added is made a stand-by at once. */
#include "etcd-lite/raft_guard.h"
#include <stdint.h>
#include <string.h>

/* --- libraft's log --- */
static size_t log_count(const struct raft_log *l)
{
    return l->front <= l->back ? l->back - l->front : l->size - l->front + l->back;
}

static const struct raft_entry *log_entry(const struct raft_log *l, raft_index i)
{
    if (i <= l->offset || i > l->offset + log_count(l))
        return NULL;
    return &l->entries[(l->front + (size_t)(i - l->offset - 1)) % l->size];
}

static raft_term log_term(const struct raft_log *l, raft_index i)
{
    const struct raft_entry *e = log_entry(l, i);
    return e ? e->term : i == l->snapshot.last_index ? l->snapshot.last_term : 0;
}

/* The last change of membership before `end`; 0 when the log has none. */
static raft_index last_change(const struct raft_log *l, raft_index end)
{
    raft_index last = l->offset + log_count(l);
    for (raft_index i = end - 1 < last ? end - 1 : last; i > l->offset; i--)
        if (log_entry(l, i)->type == RAFT_CHANGE)
            return i;
    return 0;
}

/* --- configurations --- */
static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v)); /* little-endian, as all machines that we run on */
    return v;
}

int raft_guard_decode(const struct raft_buffer *buf, struct raft_configuration *out)
{
    /* format (1 byte, 1); number of servers (8); of each: id (8), address and NUL, role (1). */
    const uint8_t *p = buf->base, *end = p + buf->len;
    raft_configuration_init(out);
    if (buf->len < 9 || *p != 1)
        return RAFT_MALFORMED;
    uint64_t n = get64(p + 1);
    p += 9;
    int rc = 0;
    while (n-- > 0 && rc == 0) {
        const uint8_t *nul = end - p > 9 ? memchr(p + 8, '\0', (size_t)(end - p) - 8) : NULL;
        rc = nul && nul + 1 < end
                 ? raft_configuration_add(out, get64(p), (const char *)p + 8, nul[1])
                 : RAFT_MALFORMED;
        if (rc == 0)
            p = nul + 2;
    }
    if (rc != 0) {
        raft_configuration_close(out);
        raft_configuration_init(out);
    }
    return rc;
}

static int copy(const struct raft_configuration *from, struct raft_configuration *to)
{
    raft_configuration_init(to);
    int rc = 0;
    for (unsigned i = 0; i < from->n && rc == 0; i++)
        rc = raft_configuration_add(to, from->servers[i].id, from->servers[i].address,
                                    from->servers[i].role);
    if (rc != 0)
        raft_configuration_close(to);
    return rc;
}

static void keep_snapshot_configuration(struct raft_guard *g, const struct raft_configuration *c,
                                        raft_index index)
{
    struct raft_configuration fresh;
    if (copy(c, &fresh) != 0)
        return;
    raft_configuration_close(&g->snapshot_configuration);
    g->snapshot_configuration = fresh;
    g->snapshot_configuration_index = index;
}

/* 1: the entries from `index` on are about to be thrown away. */
static void before_truncation(struct raft_guard *g, raft_index index)
{
    struct raft *r = g->raft;
    if (r->configuration_uncommitted_index < index && r->configuration_index < index)
        return;
    raft_index at = last_change(&r->log, index);
    struct raft_configuration c;
    if (at ? raft_guard_decode(&log_entry(&r->log, at)->buf, &c) != 0
           : copy(&g->snapshot_configuration, &c) != 0)
        return;
    if (!at)
        at = g->snapshot_configuration_index;
    raft_configuration_close(&r->configuration);
    r->configuration = c;
    r->configuration_uncommitted_index = 0;
    if (at > r->commit_index) {
        r->configuration_uncommitted_index = at;
        raft_index before = last_change(&r->log, at);
        r->configuration_index = before ? before : g->snapshot_configuration_index;
    } else {
        r->configuration_index = at;
    }
}

/* 7: what is committed here, the leader has as well. */
static void trim(struct raft *r, struct raft_append_entries *a)
{
    if (a->prev_log_index >= r->log.offset || a->n_entries == 0 ||
        r->commit_index < r->log.offset /* a snapshot is being installed */)
        return;
    raft_index drop = r->commit_index - a->prev_log_index;
    if (drop >= a->n_entries) {
        raft_free(a->entries[0].batch);
        raft_free(a->entries);
        a->entries = NULL;
        a->n_entries = 0;
    } else {
        a->n_entries -= (unsigned)drop;
        memmove(a->entries, a->entries + drop, a->n_entries * sizeof(*a->entries));
    }
    a->prev_log_index = r->commit_index;
    a->prev_log_term = log_term(&r->log, r->commit_index);
}

static void on_append_entries(struct raft_guard *g, struct raft_append_entries *a)
{
    struct raft *r = g->raft;
    if (a->term < r->current_term)
        return; /* it will be refused */
    trim(r, a);
    if (a->prev_log_index && log_term(&r->log, a->prev_log_index) != a->prev_log_term)
        return; /* this too */
    raft_index same = a->prev_log_index + a->n_entries;
    if (g->same_in_term != a->term || g->same_as_leader < same)
        g->same_as_leader = same;
    g->same_in_term = a->term;
    for (unsigned i = 0; i < a->n_entries; i++) {
        raft_index index = a->prev_log_index + 1 + i;
        raft_term have = log_term(&r->log, index);
        if (have == 0)
            return;
        if (have != a->entries[i].term) {
            if (index > r->commit_index)
                before_truncation(g, index);
            return;
        }
    }
}

/* 8 */
static int guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m,
                      raft_io_send_cb cb)
{
    struct raft_guard *g = raft_guard_of(io);
    struct raft *r = g->raft;
    if (m->type != RAFT_IO_APPEND_ENTRIES_RESULT || m->append_entries_result.rejected)
        return g->io_send(io, req, m, cb);
    struct raft_message copy = *m;
    raft_index same = r->commit_index;
    if (g->same_in_term == r->current_term && g->same_as_leader > same)
        same = g->same_as_leader;
    if (copy.append_entries_result.last_log_index > same)
        copy.append_entries_result.last_log_index = same;
    return g->io_send(io, req, &copy, cb);
}

/* --- 5 --- */
static void with_vote(struct raft_guard *g, struct raft_io *io, struct raft_message *m)
{
    struct raft *r = g->raft;
    struct raft_server *self = NULL;
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].id == r->id && r->state == RAFT_FOLLOWER)
            self = &r->configuration.servers[i];
    int role = self ? self->role : RAFT_VOTER;
    /* It also refuses as long as it knows of a leader, which who does not vote never forgets. */
    if (role != RAFT_VOTER && io->time(io) - r->election_timer_start >= r->election_timeout) {
        r->follower_state.current_leader.id = 0;
        raft_free(r->follower_state.current_leader.address);
        r->follower_state.current_leader.address = NULL;
    }
    if (self)
        self->role = RAFT_VOTER;
    g->recv(io, m);
    if (self)
        self->role = role;
}

/* --- 6 --- */
static bool counts_former_term(const struct raft *r)
{
    return r->state == RAFT_LEADER && log_term(&r->log, r->last_stored) < r->current_term;
}

static void without_quorum(struct raft_guard *g, struct raft_io *io, struct raft_message *m)
{
    struct raft *r = g->raft;
    raft_index stored = r->last_stored;
    r->last_stored = r->commit_index; /* "nothing new to count" */
    g->recv(io, m);
    r->last_stored = stored;
}

static void guard_recv(struct raft_io *io, struct raft_message *m)
{
    struct raft_guard *g = raft_guard_of(io);
    struct raft *r = g->raft;
    switch (m->type) {
    case RAFT_IO_APPEND_ENTRIES:
        on_append_entries(g, &m->append_entries);
        g->recv(io, m);
        break;
    case RAFT_IO_APPEND_ENTRIES_RESULT:
        if (counts_former_term(r))
            without_quorum(g, io, m);
        else
            g->recv(io, m);
        break;
    case RAFT_IO_REQUEST_VOTE:
        with_vote(g, io, m);
        break;
    case RAFT_IO_TIMEOUT_NOW:
        if (g->changes_in_flight == 0)
            g->recv(io, m);
        break;
    default:
        g->recv(io, m);
        break;
    }
}

/* --- 4 --- */
static void guard_tick(struct raft_io *io)
{
    struct raft_guard *g = raft_guard_of(io);
    struct raft *r = g->raft;
    if (g->changes_in_flight > 0 && r->state == RAFT_FOLLOWER)
        r->election_timer_start = io->time(io);
    g->tick(io);
}

static int guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick,
                       raft_io_recv_cb recv)
{
    struct raft_guard *g = raft_guard_of(io);
    g->tick = tick;
    g->recv = recv;
    return g->io_start(io, msecs, guard_tick, guard_recv);
}

struct guarded_append {
    struct raft_io_append req;
    struct raft_guard *guard;
    struct raft_io_append *theirs;
    bool has_change, by_leader;
};

static void on_appended(struct raft_io_append *req, int status)
{
    struct guarded_append *a = req->data;
    struct raft_guard *g = a->guard;
    struct raft *r = g->raft;
    struct raft_io_append *theirs = a->theirs;
    g->changes_in_flight -= a->has_change;
    /* 6: libraft advances last_stored in there, and counts at once: a write that this member began
     * as the leader of a former term may end in a later one. */
    raft_term next = log_term(&r->log, r->last_stored + 1);
    bool as_follower = status == 0 && a->by_leader && r->state == RAFT_LEADER && next != 0 &&
                       next < r->current_term;
    raft_free(a);
    if (!as_follower) {
        theirs->cb(theirs, status);
        return;
    }
    r->state = RAFT_FOLLOWER; /* nothing but whether we lead is looked at */
    theirs->cb(theirs, status);
    r->state = RAFT_LEADER;
    for (unsigned i = 0; i < r->configuration.n; i++)
        if (r->configuration.servers[i].id == r->id)
            r->leader_state.progress[i].match_index = r->last_stored;
}

static int guard_append(struct raft_io *io, struct raft_io_append *req,
                        const struct raft_entry entries[], unsigned n, raft_io_append_cb cb)
{
    struct raft_guard *g = raft_guard_of(io);
    struct guarded_append *a = raft_calloc(1, sizeof(*a));
    if (!a)
        return RAFT_NOMEM;
    for (unsigned i = 0; i < n; i++)
        a->has_change |= entries[i].type == RAFT_CHANGE;
    a->by_leader = g->raft->state == RAFT_LEADER;
    a->guard = g;
    a->theirs = req;
    a->req.data = a;
    req->cb = cb;
    int rc = g->io_append(io, &a->req, entries, n, on_appended);
    if (rc != 0)
        raft_free(a);
    else
        g->changes_in_flight += a->has_change;
    return rc;
}

/* --- 2 and the snapshot's configuration --- */
static int guard_load(struct raft_io *io, raft_term *term, raft_id *voted_for,
                      struct raft_snapshot **snapshot, raft_index *start_index,
                      struct raft_entry *entries[], size_t *n_entries)
{
    struct raft_guard *g = raft_guard_of(io);
    int rc = g->io_load(io, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rc == 0 && *snapshot)
        keep_snapshot_configuration(g, &(*snapshot)->configuration,
                                    (*snapshot)->configuration_index);
    return rc;
}

static int guard_snapshot_put(struct raft_io *io, unsigned trailing,
                              struct raft_io_snapshot_put *req,
                              const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct raft_guard *g = raft_guard_of(io);
    keep_snapshot_configuration(g, &snapshot->configuration, snapshot->configuration_index);
    return g->io_snapshot_put(io, trailing, req, snapshot, cb);
}

void raft_guard_started(struct raft_guard *g)
{
    struct raft *r = g->raft;
    raft_index last = last_change(&r->log, r->log.offset + log_count(&r->log) + 1);
    if (last <= r->commit_index || last <= g->snapshot_configuration_index)
        return;
    raft_index before = last_change(&r->log, last);
    r->configuration_uncommitted_index = last;
    r->configuration_index = before ? before : g->snapshot_configuration_index;
}

void raft_guard_init(struct raft_guard *g, struct raft *r, struct raft_io *io)
{
    g->raft = r;
    raft_configuration_init(&g->snapshot_configuration);
    g->io_load = io->load;
    io->load = guard_load;
    g->io_start = io->start;
    io->start = guard_start;
    g->io_send = io->send;
    io->send = guard_send;
    g->io_append = io->append;
    io->append = guard_append;
    g->io_snapshot_put = io->snapshot_put;
    io->snapshot_put = guard_snapshot_put;
}

void raft_guard_free(struct raft_guard *g)
{
    raft_configuration_close(&g->snapshot_configuration);
}
