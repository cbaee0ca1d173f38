#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "etcd-lite/server_internal.h"

#define TICK_MS 100
#define PROGRESS_MS                                                                                \
    200 /* how often watchers that want it hear of a revision that brought them nothing */
#define MAX_IN_FLIGHT    4 /* entries; what comes meanwhile goes into the next one together */
#define MAX_ENTRY_BYTES  (1u << 20)
#define MAX_ENTRY_OPS    1024
#define HAND_OVER_MS     500
#define COLLECT_VERSIONS 500 /* freed in one go, between other work */

int64_t server_now_ms(void)
{
    return time_monotonic_ms();
}

/* --- queues --- */
void queue_push(struct op_queue *q, struct op *op)
{
    op->next = NULL;
    if (!q->head)
        q->tail = &q->head;
    *q->tail = op;
    q->tail = &op->next;
}

void queue_push_front(struct op_queue *q, struct op *op)
{
    if (!q->head)
        q->tail = &op->next;
    op->next = q->head;
    q->head = op;
}

struct op *queue_pop(struct op_queue *q)
{
    struct op *op = q->head;
    if (op)
        q->head = op->next;
    return op;
}

void queue_append(struct op_queue *q, struct op_queue *from)
{
    if (!from->head)
        return;
    if (!q->head)
        q->tail = &q->head;
    *q->tail = from->head;
    q->tail = from->tail;
    from->head = NULL;
}

void op_set_command(struct op *op, const struct command *c)
{
    msg_encode(&command_type, c, &op->wire);
}

void op_finish(struct server *s, struct op *op, enum kv_status status)
{
    buf_free(&op->wire);
    op->done(s, op, status);
}

void queue_expire(struct server *s, struct op_queue *q, int64_t now)
{
    struct op_queue all = {0};
    queue_append(&all, q);
    for (struct op *op; (op = queue_pop(&all));)
        if (op->deadline_ms > now)
            queue_push(q, op);
        else
            op_finish(s, op, s->leader || op->was_sent ? KV_TIMEOUT : KV_NO_LEADER);
}

static void queue_fail(struct server *s, struct op_queue *q, enum kv_status status)
{
    for (struct op *op; (op = queue_pop(q));)
        op_finish(s, op, status);
}

/* --- proposals --- */
static void pending_add(struct server *s, struct op *op)
{
    struct op **b = &s->pending[op->seq % PENDING_BUCKETS];
    op->next = *b;
    *b = op;
    s->n_pending++;
}

struct op *pending_take(struct server *s, uint64_t seq)
{
    for (struct op **p = &s->pending[seq % PENDING_BUCKETS]; *p; p = &(*p)->next)
        if ((*p)->seq == seq) {
            struct op *op = *p;
            *p = op->next;
            s->n_pending--;
            return op;
        }
    return NULL;
}

/* Puts those that `lost` picks (all if NULL) into q, in order of their numbers. */
static int by_seq(const void *a, const void *b)
{
    const struct op *x = *(struct op *const *)a, *y = *(struct op *const *)b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static void pending_collect(struct server *s, uint64_t before_term, int64_t expired_ms,
                            struct op_queue *q)
{
    if (!s->n_pending)
        return;
    struct op **found = mem_alloc(s->n_pending * sizeof(struct op *));
    size_t n = 0;
    for (size_t b = 0; b < PENDING_BUCKETS; b++)
        for (struct op **p = &s->pending[b]; *p;) {
            if ((*p)->term < before_term || (*p)->deadline_ms <= expired_ms) {
                found[n++] = *p;
                *p = (*p)->next;
            } else {
                p = &(*p)->next;
            }
        }
    s->n_pending -= n;
    qsort(found, n, sizeof(struct op *), by_seq);
    for (size_t i = 0; i < n; i++)
        queue_push(q, found[i]);
    free(found);
}

void proposals_settled(struct server *s)
{
    /* Counting entries may go wrong when connections break; that nothing is pending is certain. */
    s->in_flight = s->n_pending && s->in_flight ? s->in_flight - 1 : 0;
}

void proposals_refused(struct server *s, const uint64_t *seqs, size_t n)
{
    struct op_queue back = {0};
    for (size_t i = 0; i < n; i++) {
        struct op *op = pending_take(s, seqs[i]);
        if (op)
            queue_push(&back, op);
    }
    queue_append(&back, &s->unsent);
    queue_append(&s->unsent, &back);
    proposals_settled(s);
    s->forward_blocked = true;
}

void proposals_lost_before(struct server *s, uint64_t term)
{
    struct op_queue back = {0};
    pending_collect(s, term, INT64_MIN, &back);
    if (back.head)
        log_info("Proposing again what a former leader did not commit", "term",
                 log_int((long long)term));
    queue_append(&back, &s->unsent);
    queue_append(&s->unsent, &back);
    s->in_flight = 0;
}

void proposals_unknown(struct server *s)
{
    struct op_queue lost = {0};
    pending_collect(s, UINT64_MAX, INT64_MIN, &lost);
    queue_fail(s, &lost, KV_TIMEOUT_LEADER_LOST);
    s->in_flight = 0;
}

static void on_revoked(struct server *s, struct op *op, enum kv_status status);

/* That a lease has expired is judged by one leader's clock, and its successor gives the full time
 * again (it may have answered keep-alives since): what a former leader has not committed must not
 * reach the log through the new one. */
static bool is_stale_revocation(const struct server *s, const struct op *op)
{
    return op->done == on_revoked && (!node_is_leader(s) || op->term != s->raft.current_term);
}

/* Moves operations from `unsent` into one entry. They stay in `batch`, which may remain empty. */
static void fill_entry(struct server *s, struct buf *entry, struct op_queue *batch)
{
    size_t n = 0;
    entry_begin(entry, s->origin);
    while (s->unsent.head && n < MAX_ENTRY_OPS &&
           (n == 0 || entry->len + s->unsent.head->wire.len < MAX_ENTRY_BYTES)) {
        struct op *op = queue_pop(&s->unsent);
        if (is_stale_revocation(s, op)) {
            op_finish(s, op, KV_NOT_LEADER);
            continue;
        }
        if (!op->seq)
            op->seq = ++s->next_seq;
        entry_add(entry, op->seq, buf_str(&op->wire), op->wire.len);
        queue_push(batch, op);
        n++;
    }
    entry_finish(entry);
}

void proposals_flush(struct server *s)
{
    cleanup_buf struct buf entry = {0};
    while (s->unsent.head && s->in_flight < MAX_IN_FLIGHT && !s->stopping) {
        bool leader = node_is_leader(s);
        if (!leader && (!s->leader || s->leader == s->o.member_id || s->forward_blocked))
            return;
        struct op_queue batch = {0};
        buf_clear(&entry);
        uint64_t term = s->raft.current_term;
        bool sent;
        int rc = 0;
        if (leader) {
            fill_entry(s, &entry, &batch);
            if (!batch.head)
                continue;
            sent = node_propose(s, entry.data, entry.len, &rc);
        } else {
            buf_add(&entry, &term, sizeof(term));
            struct buf body = {0};
            fill_entry(s, &body, &batch);
            buf_add(&entry, body.data, body.len);
            buf_free(&body);
            if (!batch.head)
                continue;
            sent = peers_send(s->peers, s->leader, FRAME_PROPOSE, entry.data, entry.len);
        }
        if (!sent) {
            if (rc == RAFT_NOSPACE || rc == RAFT_TOOBIG || rc == RAFT_NOMEM) {
                queue_fail(s, &batch, rc == RAFT_TOOBIG ? KV_REQUEST_TOO_LARGE : KV_NO_SPACE);
                continue;
            }
            queue_append(&batch, &s->unsent);
            queue_append(&s->unsent, &batch);
            s->forward_blocked = !leader;
            return;
        }
        s->in_flight++;
        for (struct op *op; (op = queue_pop(&batch));) {
            op->term = term;
            op->was_sent = true;
            pending_add(s, op);
        }
    }
}

static void on_own_done(struct server *s, struct op *op, enum kv_status status)
{
    (void)s;
    (void)status;
    free(op);
}

void server_propose(struct server *s, const struct command *c)
{
    struct op *op = mem_alloc(sizeof(*op));
    op->kind = OP_PROPOSE;
    op->done = on_own_done;
    op->deadline_ms = server_now_ms() + REQUEST_TIMEOUT_MS;
    op_set_command(op, c);
    queue_push(&s->unsent, op);
}

/* --- publishing our name and client URLs --- */
static void on_published(struct server *s, struct op *op, enum kv_status status)
{
    s->publish_in_flight = false;
    s->published = status == KV_OK;
    free(op);
}

static void publish(struct server *s)
{
    if (s->published || s->publish_in_flight || !s->leader)
        return;
    const struct member_info *known = state_member(&s->state, s->o.member_id);
    if (known && strcmp(known->name, s->o.name) == 0) {
        size_t i = 0;
        while (s->o.client_urls[i] && known->client_urls[i] &&
               strcmp(s->o.client_urls[i], known->client_urls[i]) == 0)
            i++;
        if (!s->o.client_urls[i] && !known->client_urls[i]) {
            s->published = true;
            return;
        }
    }
    cleanup_arena struct arena a = {0};
    struct member m = {.id = (int64_t)s->o.member_id, .name = {s->o.name, strlen(s->o.name)}};
    for (size_t i = 0; s->o.client_urls[i]; i++)
        *(struct bytes *)msg_list_add(&m.client_urls, sizeof(struct bytes), &a) =
            (struct bytes){s->o.client_urls[i], strlen(s->o.client_urls[i])};
    struct op *op = mem_alloc(sizeof(*op));
    op->kind = OP_PROPOSE;
    op->done = on_published;
    op->deadline_ms = server_now_ms() + REQUEST_TIMEOUT_MS;
    op_set_command(op, &(struct command){.publish = &m});
    s->publish_in_flight = true;
    queue_push(&s->unsent, op);
}

/* --- lease expiry --- */
static void on_revoked(struct server *s, struct op *op, enum kv_status status)
{
    if (status != KV_OK && status != KV_LEASE_NOT_FOUND && status != KV_STOPPED)
        lessor_retry(s->state.leases, op->lease, server_now_ms());
    free(op);
}

static void expire_leases(struct server *s, int64_t now)
{
    if (!node_is_leader(s) || s->noop_applied != s->raft.current_term)
        return;
    struct lease *l;
    for (int i = 0; i < 1000 && (l = lessor_expired(s->state.leases, now)); i++) {
        struct lease_id_request r = {l->id};
        struct op *op = mem_alloc(sizeof(*op));
        op->kind = OP_PROPOSE;
        op->done = on_revoked;
        op->lease = l->id;
        op->term = s->raft.current_term;
        op->deadline_ms = now + REQUEST_TIMEOUT_MS;
        op_set_command(op, &(struct command){.lease_revoke = &r});
        queue_push(&s->unsent, op);
    }
}

/* --- the loop --- */
static void on_collect(uv_idle_t *idle)
{
    struct server *s = idle->data;
    pthread_rwlock_wrlock(&s->state.lock);
    bool more = mvcc_collect(s->state.kv, COLLECT_VERSIONS);
    pthread_rwlock_unlock(&s->state.lock);
    if (!more) {
        uv_idle_stop(&s->collector);
        s->collecting = false;
    }
}

static bool has_garbage(const struct server *s)
{
    const struct mvcc *m = s->state.kv;
    return mvcc_log_size(m) > 0 && mvcc_log_at(m, 0)->mod < mvcc_compact_revision(m) &&
           !mvcc_is_held(m);
}

void server_work(struct server *s)
{
    if (s->stopping)
        return;
    node_look(s);
    if (s->restored_state) {
        s->restored_state = false;
        proposals_unknown(s);
        if (s->watches)
            watch_resync(s->watches);
        atomic_store(&s->wake_watches, true);
    }
    members_work(s);
    proposals_flush(s);
    reads_work(s);
    snapshots_work(s->snapshots);
    node_tell_commit(s);
    if (s->watches && atomic_exchange(&s->wake_watches, false) &&
        watch_catch_up(s->watches, s->state.kv)) {
        atomic_store(&s->wake_watches, true);
        uv_async_send(&s->wake);
    }
    if (!s->collecting && has_garbage(s)) {
        s->collecting = true;
        uv_idle_start(&s->collector, on_collect);
    }
}

static void on_check(uv_check_t *check)
{
    server_work(check->data);
}

static void stop_now(struct server *s);

static void on_wake(uv_async_t *async)
{
    struct server *s = async->data;
    struct op_queue in = {0};
    pthread_mutex_lock(&s->inbox_lock);
    queue_append(&in, &s->inbox);
    pthread_mutex_unlock(&s->inbox_lock);
    for (struct op *op; (op = queue_pop(&in));) {
        if (s->stopping)
            op_finish(s, op, KV_STOPPED);
        else if (op->kind == OP_CALL)
            op_finish(s, op, KV_OK);
        else
            queue_push(op->kind == OP_PROPOSE  ? &s->unsent
                       : op->kind == OP_MEMBER ? &s->changes
                                               : &s->reads,
                       op);
    }
    if (atomic_load(&s->stop_requested))
        stop_now(s);
}

static void on_tick(uv_timer_t *timer)
{
    struct server *s = timer->data;
    int64_t now = server_now_ms();
    s->forward_blocked = false;
    queue_expire(s, &s->unsent, now);
    struct op_queue late = {0};
    pending_collect(s, 0, now, &late);
    if (late.head)
        proposals_settled(s);
    queue_fail(s, &late, KV_TIMEOUT);
    reads_tick(s, now);
    members_tick(s, now);
    snapshots_tick(s->snapshots, now);
    expire_leases(s, now);
    publish(s);
    if (s->watches && now - s->last_progress_ms >= PROGRESS_MS) {
        s->last_progress_ms = now;
        watch_send_progress(s->watches, s->state.kv, NULL);
        atomic_store(&s->wake_watches, true);
    }
    server_work(s);
}

static void *run(void *arg)
{
    struct server *s = arg;
    pthread_setname_np(pthread_self(), "raft");
    uv_run(&s->loop, UV_RUN_DEFAULT);
    return NULL;
}

/* --- start and stop --- */
struct server *server_start(const struct server_options *o, struct error **err)
{
    struct server *s = mem_alloc(sizeof(*s));
    s->o = *o;
    s->origin.member = o->member_id;
    if (o->watch_sink)
        s->watches = watch_hub_new(o->watch_sink);
    if (getrandom(&s->origin.boot, sizeof(s->origin.boot), 0) != sizeof(s->origin.boot))
        s->origin.boot = (uint64_t)time_now_micros();
    pthread_mutex_init(&s->inbox_lock, NULL);
    state_init(&s->state, server_now_ms);
    uv_loop_init(&s->loop);
    uv_async_init(&s->loop, &s->wake, on_wake);
    uv_timer_init(&s->loop, &s->tick);
    uv_check_init(&s->loop, &s->check);
    uv_idle_init(&s->loop, &s->collector);
    s->wake.data = s->tick.data = s->check.data = s->collector.data = s;
    bool ok = node_init(s, err);
    if (ok) {
        uv_timer_start(&s->tick, on_tick, TICK_MS, TICK_MS);
        uv_check_start(&s->check, on_check);
        if (!thread_start(&s->thread, run, s)) {
            error_setf(err, "cannot start the raft thread");
            ok = false;
        }
    }
    if (!ok) {
        s->thread = 0;
        stop_now(s);
        uv_run(&s->loop, UV_RUN_DEFAULT);
        server_free(s);
        return NULL;
    }
    return s;
}

static void close_all(struct server *s)
{
    if (s->closing) /* closing raft also ends a hand-over */
        return;
    s->closing = true;
    node_close(s);
    uv_close((uv_handle_t *)&s->tick, NULL);
    uv_close((uv_handle_t *)&s->check, NULL);
    uv_close((uv_handle_t *)&s->collector, NULL);
    uv_close((uv_handle_t *)&s->wake, NULL);
}

static void on_handed_over(struct server *s)
{
    close_all(s);
}

static void on_hand_over_timeout(uv_timer_t *timer)
{
    close_all(timer->data);
}

static void stop_now(struct server *s)
{
    if (s->stopping)
        return;
    s->stopping = true;
    queue_fail(s, &s->unsent, KV_STOPPED);
    struct op_queue lost = {0};
    pending_collect(s, UINT64_MAX, INT64_MIN, &lost);
    queue_fail(s, &lost, KV_STOPPED);
    reads_fail_all(s, KV_STOPPED);
    members_fail_all(s, KV_STOPPED);
    /* A leader that goes in peace lets another lead first: nobody waits for an election. */
    if (node_hand_over(s, on_handed_over))
        uv_timer_start(&s->tick, on_hand_over_timeout, HAND_OVER_MS, 0);
    else
        close_all(s);
}

void server_stop(struct server *s)
{
    /* Nothing may be sent to the loop after it has been told to end. */
    pthread_mutex_lock(&s->inbox_lock);
    s->closed = true;
    atomic_store(&s->stop_requested, true);
    uv_async_send(&s->wake);
    pthread_mutex_unlock(&s->inbox_lock);
    pthread_join(s->thread, NULL);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    node_free(s);
    watch_hub_free(s->watches);
    uv_loop_close(&s->loop);
    state_clear(&s->state);
    pthread_mutex_destroy(&s->inbox_lock);
    free(s);
}

void server_submit(struct server *s, struct op *op)
{
    op->deadline_ms = server_now_ms() + REQUEST_TIMEOUT_MS;
    pthread_mutex_lock(&s->inbox_lock);
    bool closed = s->closed;
    if (!closed) {
        bool was_empty = !s->inbox.head;
        queue_push(&s->inbox, op);
        if (was_empty)
            uv_async_send(&s->wake);
    }
    pthread_mutex_unlock(&s->inbox_lock);
    if (closed)
        op_finish(s, op, KV_STOPPED);
}

void server_wake_watches(struct server *s)
{
    if (atomic_exchange(&s->wake_watches, true))
        return;
    pthread_mutex_lock(&s->inbox_lock);
    if (!s->closed)
        uv_async_send(&s->wake);
    pthread_mutex_unlock(&s->inbox_lock);
}

struct offload {
    uv_work_t req;
    void (*work)(void *data);
    void *data;
};

static void on_offload(uv_work_t *req)
{
    struct offload *o = (struct offload *)req;
    o->work(o->data);
}

static void on_offloaded(uv_work_t *req, int status)
{
    (void)status;
    free(req);
}

void server_offload(struct server *s, void (*work)(void *data), void *data)
{
    struct offload *o = mem_alloc(sizeof(*o));
    o->work = work;
    o->data = data;
    uv_queue_work(&s->loop, &o->req, on_offload, on_offloaded);
}

void server_defragment(struct server *s)
{
    snapshots_want_base(s->snapshots);
}

struct state *server_state(struct server *s)
{
    return &s->state;
}

const char *server_data_dir(const struct server *s)
{
    return s->o.data_dir;
}

struct watch_hub *server_watches(struct server *s)
{
    return s->watches;
}

bool server_ready(struct server *s)
{
    return atomic_load(&s->ready);
}

bool server_failed(const struct server *s)
{
    return atomic_load(&s->failed);
}

void server_fill_header(struct server *s, struct response_header *h)
{
    h->cluster_id = (int64_t)s->o.cluster_id;
    h->member_id = (int64_t)s->o.member_id;
    h->raft_term = (int64_t)atomic_load(&s->seen_term);
}

void server_get_status(struct server *s, struct server_status *out)
{
    *out = (struct server_status){.leader = atomic_load(&s->seen_leader),
                                  .term = atomic_load(&s->seen_term),
                                  .index = atomic_load(&s->seen_index),
                                  .applied = atomic_load(&s->seen_applied),
                                  .bytes = atomic_load(&s->seen_bytes)};
    out->is_learner = atomic_load(&s->seen_learner);
    out->is_leader = out->leader == s->o.member_id;
}
