/* libraft with raft_guard, on disks and a network that the test holds in its hands: members die, and are cut off, at the very
 * point where a change of membership is half-way. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "etcd-lite/raft_guard.h"

#define NODES 4

struct disk { /* survives its member */
    raft_term term;
    raft_id vote;
    raft_index first; /* of entries */
    struct raft_entry entries[64];
    size_t n;
    bool has_snapshot;
    struct raft_snapshot snapshot;
};
struct letter {
    struct letter *next;
    unsigned from, to;
    struct raft_message message;
};
struct written { /* on its way to the disk, or of a message that is on its way */
    struct written *next;
    struct raft_io_append *append;
    const struct raft_entry *entries;
    unsigned n;
    raft_index index;
    struct raft_io_send *send;
    int status;
    struct raft_io_snapshot_put *put;
};
static struct node {
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_guard guard;
    struct disk disk;
    bool runs, disk_is_slow;
    raft_io_tick_cb tick;
    raft_io_recv_cb recv;
    struct written *todo;
    raft_index next_write;
    unsigned applied;
} nodes[NODES + 1];
static struct letter *letters;
static bool cut[NODES + 1][NODES + 1];
static raft_time now;

struct raft_guard *raft_guard_of(struct raft_io *io)
{
    return &((struct node *)io->impl)->guard;
}

static struct raft_buffer dup_buffer(const struct raft_buffer *b)
{
    struct raft_buffer copy = {raft_malloc(b->len), b->len};
    memcpy(copy.base, b->base, b->len);
    return copy;
}

/* All in one piece, as libraft wants what it receives and loads. */
static struct raft_entry *dup_entries(const struct raft_entry *from, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        bytes += from[i].buf.len;
    if (n == 0)
        return NULL;
    struct raft_entry *to = raft_malloc(n * sizeof(*to));
    char *batch = raft_malloc(bytes), *p = batch;
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
        to[i].batch = batch;
        to[i].buf.base = memcpy(p, from[i].buf.base, from[i].buf.len);
        p += from[i].buf.len;
    }
    return to;
}

/* --- raft_io --- */
static int io_init(struct raft_io *io, raft_id id, const char *address)
{
    (void)io, (void)id, (void)address;
    return 0;
}

static void io_close(struct raft_io *io, raft_io_close_cb cb)
{
    cb(io);
}

static int io_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot, raft_index *start,
                   struct raft_entry *entries[], size_t *n)
{
    struct node *me = io->impl;
    *term = me->disk.term;
    *vote = me->disk.vote;
    *snapshot = NULL;
    *start = me->disk.first;
    *entries = dup_entries(me->disk.entries, me->disk.n);
    *n = me->disk.n;
    return 0;
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct node *me = io->impl;
    (void)msecs;
    me->tick = tick;
    me->recv = recv;
    return 0;
}

static void disk_add(struct disk *d, const struct raft_entry *e)
{
    ck_assert_uint_lt(d->n, 64);
    d->entries[d->n] = *e;
    d->entries[d->n].batch = NULL;
    d->entries[d->n++].buf = dup_buffer(&e->buf);
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *c)
{
    struct node *me = io->impl;
    struct raft_entry e = {.term = 1, .type = RAFT_CHANGE};
    raft_configuration_encode(c, &e.buf);
    me->disk.term = me->disk.first = 1;
    disk_add(&me->disk, &e);
    raft_free(e.buf.base);
    return 0;
}

static int io_set_term(struct raft_io *io, raft_term term)
{
    ((struct node *)io->impl)->disk.term = term;
    ((struct node *)io->impl)->disk.vote = 0;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id vote)
{
    ((struct node *)io->impl)->disk.vote = vote;
    return 0;
}

static struct written *add_todo(struct node *me)
{
    struct written *w = calloc(1, sizeof(*w)), **end = &me->todo;
    while (*end)
        end = &(*end)->next;
    return *end = w;
}

static int io_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *m, raft_io_send_cb cb)
{
    struct node *me = io->impl;
    unsigned from = (unsigned)(me - nodes), to = (unsigned)m->server_id;
    struct written *w = add_todo(me);
    w->send = req;
    req->cb = cb;
    if (cut[from][to] || !nodes[to].runs) {
        w->status = RAFT_NOCONNECTION;
        return 0;
    }
    struct letter *l = calloc(1, sizeof(*l)), **end = &letters;
    while (*end)
        end = &(*end)->next;
    *end = l;
    *l = (struct letter){NULL, from, to, *m};
    if (m->type == RAFT_IO_APPEND_ENTRIES)
        l->message.append_entries.entries = dup_entries(m->append_entries.entries, m->append_entries.n_entries);
    ck_assert_int_ne(m->type, RAFT_IO_INSTALL_SNAPSHOT);
    return 0;
}

static int io_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                     raft_io_append_cb cb)
{
    struct node *me = io->impl;
    struct written *w = add_todo(me);
    w->append = req;
    w->entries = entries;
    w->n = n;
    w->index = me->next_write;
    me->next_write += n;
    req->cb = cb;
    return 0;
}

static int io_truncate(struct raft_io *io, raft_index index)
{
    struct node *me = io->impl;
    while (me->disk.n && me->disk.first + me->disk.n > index)
        raft_free(me->disk.entries[--me->disk.n].buf.base);
    me->next_write = index;
    return 0;
}

static int io_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                           const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb)
{
    struct node *me = io->impl;
    (void)trailing;
    (void)snapshot;
    me->disk.has_snapshot = true;
    add_todo(me)->put = req;
    req->cb = cb;
    return 0;
}

static raft_time io_time(struct raft_io *io)
{
    (void)io;
    return now;
}

/* Different for each, so that they don't stand for election together. */
static int io_random(struct raft_io *io, int min, int max)
{
    return min + (max - min) * (int)((struct node *)io->impl - nodes) / (NODES + 1);
}

/* --- the state machine: counts --- */
static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    (void)buf;
    ((struct node *)fsm->data)->applied++;
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n)
{
    struct node *me = fsm->data;
    if (me->raft.configuration_uncommitted_index)
        return RAFT_BUSY;
    *bufs = raft_malloc(sizeof(**bufs));
    (*bufs)[0] = (struct raft_buffer){raft_calloc(1, 8), 8};
    *n = 1;
    return 0;
}

/* --- members --- */
static void start(unsigned i)
{
    struct node *me = &nodes[i];
    char address[2] = {(char)('0' + i), 0};
    me->io = (struct raft_io){.version = 1,
                              .impl = me,
                              .init = io_init,
                              .close = io_close,
                              .load = io_load,
                              .start = io_start,
                              .bootstrap = io_bootstrap,
                              .set_term = io_set_term,
                              .set_vote = io_set_vote,
                              .send = io_send,
                              .append = io_append,
                              .truncate = io_truncate,
                              .snapshot_put = io_snapshot_put,
                              .time = io_time,
                              .random = io_random};
    me->fsm = (struct raft_fsm){.version = 1, .data = me, .apply = fsm_apply, .snapshot = fsm_snapshot};
    me->applied = 0;
    if (!me->disk.first)
        me->disk.first = 1;
    me->next_write = me->disk.first + me->disk.n;
    raft_guard_init(&me->guard, &me->raft, &me->io);
    ck_assert_int_eq(raft_init(&me->raft, &me->io, &me->fsm, i, address), 0);
    raft_set_election_timeout(&me->raft, 100);
    raft_set_heartbeat_timeout(&me->raft, 20);
    raft_set_pre_vote(&me->raft, true);
    ck_assert_int_eq(raft_start(&me->raft), 0);
    raft_guard_started(&me->guard);
    me->runs = true;
}

static void bootstrap(unsigned voters)
{
    struct raft_configuration c;
    raft_configuration_init(&c);
    for (unsigned i = 1; i <= voters; i++)
        raft_configuration_add(&c, i, (char[]){(char)('0' + i), 0}, RAFT_VOTER);
    for (unsigned i = 1; i <= voters; i++) {
        nodes[i].io.impl = &nodes[i];
        io_bootstrap(&nodes[i].io, &c);
    }
    raft_configuration_close(&c);
    for (unsigned i = 1; i <= voters; i++)
        start(i);
}

static void on_closed(struct raft *r)
{
    (void)r;
}

/* What is not on disk is lost, and so is what is on its way from it. */
static void kill_node(unsigned i)
{
    struct node *me = &nodes[i];
    me->runs = false;
    for (struct written *w; (w = me->todo);) {
        me->todo = w->next;
        if (w->append)
            w->append->cb(w->append, RAFT_CANCELED);
        if (w->send && w->send->cb)
            w->send->cb(w->send, RAFT_CANCELED);
        if (w->put)
            w->put->cb(w->put, RAFT_CANCELED);
        free(w);
    }
    raft_close(&me->raft, on_closed);
    raft_guard_free(&me->guard);
    me->guard = (struct raft_guard){0};
}

static void do_writes(struct node *me)
{
    struct written **at = &me->todo;
    while (*at) {
        struct written *w = *at;
        if (w->append && me->disk_is_slow) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        if (w->append) {
            for (unsigned i = 0; i < w->n; i++)
                disk_add(&me->disk, &w->entries[i]);
            w->append->cb(w->append, 0);
        } else if (w->put) {
            w->put->cb(w->put, 0);
        } else if (w->send->cb) {
            w->send->cb(w->send, w->status);
        }
        free(w);
        at = &me->todo;
    }
}

static void deliver(struct letter *l)
{
    struct node *me = &nodes[l->to];
    char address[2] = {(char)('0' + l->from), 0};
    if (me->runs && !cut[l->from][l->to]) {
        l->message.server_id = l->from;
        l->message.server_address = address;
        me->recv(&me->io, &l->message);
    } else if (l->message.type == RAFT_IO_APPEND_ENTRIES && l->message.append_entries.n_entries) {
        raft_free(l->message.append_entries.entries[0].batch);
        raft_free(l->message.append_entries.entries);
    }
    free(l);
}

static void step(void)
{
    now += 5;
    for (unsigned i = 1; i <= NODES; i++)
        if (nodes[i].runs) {
            do_writes(&nodes[i]);
            nodes[i].tick(&nodes[i].io);
        }
    for (struct letter *l = letters, *next; l; l = next) {
        next = l->next;
        letters = next;
        deliver(l);
        next = letters;
    }
}

static void steps(unsigned n)
{
    while (n-- > 0)
        step();
}

static void cut_off(unsigned i, bool is)
{
    for (unsigned k = 1; k <= NODES; k++)
        cut[i][k] = cut[k][i] = is && k != i;
}

static bool leads(unsigned i)
{
    return nodes[i].runs && raft_state(&nodes[i].raft) == RAFT_LEADER;
}

static void await_leader(unsigned i)
{
    for (unsigned n = 0; n < 400 && !leads(i); n++)
        step();
    ck_assert_msg(leads(i), "member %u does not lead", i);
}

static unsigned await_leader_but(unsigned other)
{
    for (unsigned n = 0; n < 400; n++, step())
        for (unsigned i = 1; i <= NODES; i++)
            if (i != other && leads(i))
                return i;
    ck_abort_msg("nobody leads");
}

static void on_applied(struct raft_apply *req, int status, void *result)
{
    (void)status, (void)result;
    free(req);
}

static void put(unsigned i)
{
    struct raft_buffer b = {raft_calloc(1, 8), 8};
    ck_assert_int_eq(raft_apply(&nodes[i].raft, calloc(1, sizeof(struct raft_apply)), &b, 1, on_applied), 0);
}

static struct raft_change change;
static int changed;
static void on_changed(struct raft_change *req, int status)
{
    (void)req;
    changed = status == 0 ? 1 : -1;
}

static int role(unsigned at, unsigned of)
{
    const struct raft_configuration *c = &nodes[at].raft.configuration;
    for (unsigned i = 0; i < c->n; i++)
        if (c->servers[i].id == of)
            return c->servers[i].role;
    return -1;
}

static void do_change(int rc)
{
    ck_assert_int_eq(rc, 0);
    for (unsigned n = 0; n < 100 && !changed; n++)
        step();
    ck_assert_int_eq(changed, 1);
    changed = 0;
}

static void teardown(void)
{
    for (unsigned i = 1; i <= NODES; i++) {
        if (nodes[i].runs)
            kill_node(i);
        while (nodes[i].disk.n)
            raft_free(nodes[i].disk.entries[--nodes[i].disk.n].buf.base);
    }
    memset(cut, 0, sizeof(cut));
    while (letters) {
        struct letter *l = letters;
        letters = l->next;
        deliver(l);
    }
    memset(nodes, 0, sizeof(nodes));
    changed = 0;
}

/* The leader dies when it has made the second member a voter, and before that one could hear of it. Without its vote nobody
 * would ever lead again. */
START_TEST(second_voter)
{
    bootstrap(1);
    start(2);
    await_leader(1);
    put(1);
    do_change(raft_add(&nodes[1].raft, &change, 2, "2", on_changed));
    do_change(raft_assign(&nodes[1].raft, &change, 2, RAFT_STANDBY, on_changed));
    steps(20);
    ck_assert_int_eq(role(2, 2), RAFT_STANDBY);
    cut_off(2, true);
    ck_assert_int_eq(raft_assign(&nodes[1].raft, &change, 2, RAFT_VOTER, on_changed), 0);
    do_writes(&nodes[1]);
    ck_assert_int_eq(role(1, 2), RAFT_VOTER);
    kill_node(1);
    changed = 0;
    cut_off(2, false);
    start(1);
    ck_assert_int_eq(role(1, 2), RAFT_VOTER);
    await_leader(1);
    put(1);
    steps(20);
    ck_assert_int_eq(role(2, 2), RAFT_VOTER);
    ck_assert_uint_eq(nodes[2].applied, 2);
}
END_TEST

/* A member is added by a leader that is cut off; another leads, and the change is undone. */
static void lose_change(bool restart)
{
    await_leader(1);
    cut_off(1, true);
    ck_assert_int_eq(raft_add(&nodes[1].raft, &change, 4, "4", on_changed), 0);
    do_writes(&nodes[1]);
    ck_assert_int_eq(role(1, 4), RAFT_SPARE);
    if (restart)
        kill_node(1);
    put(await_leader_but(1));
    steps(10);
    cut_off(1, false);
    if (restart) {
        start(1);
        ck_assert_int_eq(role(1, 4), RAFT_SPARE);
        ck_assert_uint_ne(nodes[1].raft.configuration_uncommitted_index, 0);
    }
    steps(60);
    for (unsigned i = 1; i <= 3; i++) {
        ck_assert_int_eq(role(i, 4), -1);
        ck_assert_uint_eq(nodes[i].raft.configuration.n, 3);
        ck_assert_uint_eq(nodes[i].raft.configuration_uncommitted_index, 0);
    }
    ck_assert_uint_eq(nodes[1].raft.last_applied, nodes[2].raft.last_applied);
}

START_TEST(lost_change)
{
    bootstrap(3);
    lose_change(false);
}
END_TEST

/* After a restart libraft takes the last change in the log for committed. */
START_TEST(lost_change_and_restart)
{
    bootstrap(3);
    lose_change(true);
}
END_TEST

/* The former configuration is in a snapshot only. */
START_TEST(lost_change_and_snapshot)
{
    bootstrap(3);
    await_leader(1);
    for (unsigned i = 0; i < 8; i++) {
        put(1);
        steps(3);
    }
    raft_set_snapshot_trailing(&nodes[1].raft, 2);
    raft_set_snapshot_threshold(&nodes[1].raft, 1);
    put(1);
    steps(10);
    raft_set_snapshot_threshold(&nodes[1].raft, 1u << 30);
    ck_assert(nodes[1].disk.has_snapshot);
    ck_assert_uint_gt(nodes[1].raft.log.offset, 1);
    lose_change(false);
}
END_TEST

/* A change is followed when it is on disk. A member that stood for election before would never follow it. */
START_TEST(no_election_in_between)
{
    bootstrap(3);
    await_leader(1);
    nodes[2].disk_is_slow = true;
    do_change(raft_add(&nodes[1].raft, &change, 4, "4", on_changed)); /* member 3 is the majority */
    steps(5);
    ck_assert_int_eq(role(2, 4), -1);
    cut_off(2, true);
    steps(100);
    ck_assert_int_eq(raft_state(&nodes[2].raft), RAFT_FOLLOWER);
    nodes[2].disk_is_slow = false;
    steps(1);
    ck_assert_int_eq(role(2, 4), RAFT_SPARE);
    cut_off(2, false);
    steps(100);
    ck_assert_int_eq(role(2, 4), RAFT_SPARE);
}
END_TEST

/* Figure 8 of the Raft paper: what a majority has may yet be replaced, if it is of a former term. */
START_TEST(former_term)
{
    bootstrap(3);
    await_leader(1);
    put(1);
    steps(10);
    cut_off(1, true);
    put(1); /* (c) only here */
    do_writes(&nodes[1]);
    raft_index c = raft_last_index(&nodes[1].raft);
    kill_node(1);
    unsigned second = await_leader_but(1), third = 5 - second;
    cut_off(second, true);
    put(second); /* another, at the same place, only there */
    do_writes(&nodes[second]);
    kill_node(second);
    cut_off(1, false);
    start(1);
    await_leader(1);
    for (unsigned n = 0; n < 200 && raft_last_index(&nodes[third].raft) < c; n++)
        step();
    steps(20);
    ck_assert_uint_eq(raft_last_index(&nodes[third].raft), c); /* a majority has it */
    ck_assert_uint_lt(nodes[1].raft.commit_index, c);
    put(1);
    steps(20);
    ck_assert_uint_eq(nodes[1].raft.commit_index, c + 1);
    /* The other comes back too late. */
    cut_off(second, false);
    start(second);
    steps(100);
    ck_assert_uint_eq(nodes[second].raft.commit_index, c + 1);
}
END_TEST

static bool on_disk(unsigned i, raft_index index, raft_term term)
{
    const struct disk *d = &nodes[i].disk;
    return index < d->first + d->n && d->entries[index - d->first].term == term;
}

/* A member that has entries of a former leader agrees to a heartbeat; while its answer is on its way, the new leader appends
 * others at the same places. */
START_TEST(longer_log)
{
    bootstrap(3);
    await_leader(1);
    put(1);
    steps(10);
    cut_off(1, true);
    for (unsigned i = 0; i < 3; i++)
        put(1);
    do_writes(&nodes[1]);
    unsigned lead = await_leader_but(1), third = 5 - lead;
    steps(20);
    cut_off(third, true);
    cut[1][lead] = cut[lead][1] = false;
    bool done = false;
    for (unsigned n = 0; n < 20 && !done; n++) {
        now += 5;
        do_writes(&nodes[lead]);
        nodes[lead].tick(&nodes[lead].io);
        for (struct letter *l; (l = letters);) {
            letters = l->next;
            if (l->from == 1 && l->message.type == RAFT_IO_APPEND_ENTRIES_RESULT && !l->message.append_entries_result.rejected &&
                !done) {
                done = true;
                for (unsigned i = 0; i < 3; i++)
                    put(lead);
                do_writes(&nodes[lead]);
            }
            deliver(l);
        }
    }
    ck_assert(done);
    raft_index commit = nodes[lead].raft.commit_index;
    ck_assert(on_disk(1, commit, nodes[lead].disk.entries[commit - 1].term));
    for (unsigned i = 0; i < 4; i++) {
        step();
        commit = nodes[lead].raft.commit_index;
        ck_assert(on_disk(1, commit, nodes[lead].disk.entries[commit - 1].term));
    }
    ck_assert_uint_eq(commit, raft_last_index(&nodes[lead].raft));
}
END_TEST

START_TEST(decoding)
{
    struct raft_configuration c, back;
    struct raft_buffer b;
    raft_configuration_init(&c);
    raft_configuration_add(&c, 7, "https://a:1", RAFT_VOTER);
    raft_configuration_add(&c, 1ull << 63, "b", RAFT_STANDBY);
    ck_assert_int_eq(raft_configuration_encode(&c, &b), 0);
    raft_configuration_close(&c);
    ck_assert_int_eq(raft_guard_decode(&b, &back), 0);
    ck_assert_uint_eq(back.n, 2);
    ck_assert_str_eq(back.servers[0].address, "https://a:1");
    ck_assert_uint_eq(back.servers[1].id, 1ull << 63);
    ck_assert_int_eq(back.servers[1].role, RAFT_STANDBY);
    raft_configuration_close(&back);
    for (size_t n = 0; n < 39; n++) { /* cut short: refused, nothing read beyond */
        struct raft_buffer piece = {malloc(n + 1), n};
        memcpy(piece.base, b.base, n);
        ck_assert_int_ne(raft_guard_decode(&piece, &back), 0);
        free(piece.base);
    }
    raft_free(b.base);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("raft_guard");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, NULL, teardown);
    tcase_add_test(t, second_voter);
    tcase_add_test(t, lost_change);
    tcase_add_test(t, lost_change_and_restart);
    tcase_add_test(t, lost_change_and_snapshot);
    tcase_add_test(t, no_election_in_between);
    tcase_add_test(t, former_term);
    tcase_add_test(t, longer_log);
    tcase_add_test(t, decoding);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
