#include "etcd-lite/raft_snapshot.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "etcd-lite/fetch.h"
#include "etcd-lite/server_internal.h"
#include "etcd-lite/snapshot.h"

/* After so much log what has changed is saved: a thirtieth of the data, within these bounds. Then
 * some log is kept for members that are a little behind: else they fetch files. */
#define NEVER          (1u << 30) /* libraft counts entries, we bytes */
#define ENTRY_OVERHEAD 128        /* what libraft keeps of an entry beside its bytes */
#define LOG_BYTES_MIN  ((size_t)1 << 20)
#define LOG_BYTES_MAX  ((size_t)32 << 20)
#define LOG_SHARE      30
#define TRAILING_MIN   16 /* entries */
#define TRAILING_MAX   8192
#define BASE_BYTES_MIN ((uint64_t)16 << 20) /* changes that are worth no new base */
#define CHANGES_MAX    200                  /* files */

#define FORMAT_ADVICE                                                                              \
    "nothing is damaged: start the etcd-lite that wrote it, or replace this member by a fresh one "  \
    "(etcdctl member remove, member add), or restore a backup (etcd-lite restore)"

struct snapshots {
    struct server *server;
    char *dir, *raft_dir;
    size_t log_bytes; /* since the last snapshot */
    unsigned log_entries;
    unsigned names; /* given to files so far */
    struct snapshot_list saved;

    /* Saving changes. */
    struct snapshot_changes *changes;
    struct snapshot_list taking, kept;
    struct snapshot_file taken;
    bool taken_ok, may_sweep;
    struct buf list; /* what libraft stores */
    struct raft_buffer list_buffer;

    /* A new base. */
    uv_work_t base_work;
    bool base_running, base_ok, base_ready;
    atomic_bool base_stop, base_wanted;
    struct snapshot_file base, base_made; /* the second is its thread's */

    struct fetch *fetch;
};

static void new_name(struct snapshots *sn, struct snapshot_file *f, const char *kind)
{
    memset(f, 0, sizeof(*f));
    snprintf(f->name, sizeof(f->name), "%012" PRIx64 "-%x-%08" PRIx64 ".%s",
             (uint64_t)time_now_micros() / 1000, sn->names++ & 0xfff,
             sn->server->o.member_id & 0xffffffff, kind);
}

/* --- a new base --- */
static void write_base(uv_work_t *work)
{
    struct snapshots *sn = work->data;
    cleanup_error struct error *e = NULL;
    sn->base_ok =
        snapshot_base_write(&sn->server->state, sn->dir, &sn->base_made, &sn->base_stop, &e);
    if (!sn->base_ok && !atomic_load(&sn->base_stop))
        log_warn("Cannot write a new base of the snapshot", "err", error_message(e));
}

static void on_base_written(uv_work_t *work, int status)
{
    struct snapshots *sn = work->data;
    (void)status;
    sn->base_running = false;
    sn->base_ready = sn->base_ok && !atomic_load(&sn->base_stop);
    if (!sn->base_ready)
        return;
    sn->base = sn->base_made;
    raft_set_snapshot_threshold(&sn->server->raft, 1); /* the base is used by the next list */
}

static bool wants_base(const struct snapshots *sn)
{
    uint64_t base = 0, changes = 0;
    for (size_t i = 0; i < sn->saved.n; i++)
        *(sn->saved.files[i].kind == SNAPSHOT_BASE ? &base : &changes) += sn->saved.files[i].bytes;
    return sn->saved.n > CHANGES_MAX || changes > (base > BASE_BYTES_MIN ? base : BASE_BYTES_MIN);
}

static void start_base(struct snapshots *sn)
{
    new_name(sn, &sn->base, "base");
    sn->base_made = sn->base;
    atomic_store(&sn->base_stop, false);
    sn->base_work.data = sn;
    sn->base_running =
        uv_queue_work(&sn->server->loop, &sn->base_work, write_base, on_base_written) == 0;
}

static void drop_base(struct snapshots *sn)
{
    atomic_store(&sn->base_stop, true);
    sn->base_ready = false;
}

/* --- saving changes --- */
void snapshots_note_applied(struct snapshots *sn, size_t bytes)
{
    sn->log_bytes += bytes + ENTRY_OVERHEAD;
    sn->log_entries++;
    size_t limit = mvcc_bytes(sn->server->state.kv) / LOG_SHARE;
    limit = limit < LOG_BYTES_MIN ? LOG_BYTES_MIN : limit > LOG_BYTES_MAX ? LOG_BYTES_MAX : limit;
    unsigned count = sn->server->o.snapshot_count;
    if (sn->log_bytes > limit || (count && sn->log_entries >= count))
        raft_set_snapshot_threshold(&sn->server->raft, 1);
}

static void keep(struct snapshots *sn, const struct snapshot_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        snapshot_list_add(&sn->kept, &l->files[i]);
}

/* How many entries stay in the log. */
static unsigned trailing(const struct snapshots *sn)
{
    size_t bytes = sn->log_bytes / 2, entry = sn->log_bytes / (sn->log_entries + 1) + 1;
    size_t n = (bytes < LOG_BYTES_MIN ? LOG_BYTES_MIN : bytes) / entry, max = TRAILING_MAX;
    if (sn->server->o.snapshot_count && max > sn->server->o.snapshot_count / 2)
        max = sn->server->o.snapshot_count / 2;
    n = n > max ? max : n;
    return (unsigned)(n < TRAILING_MIN ? TRAILING_MIN : n);
}

static int on_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct server *s = fsm->data;
    struct snapshots *sn = s->snapshots;
    if (sn->changes || s->raft.configuration_uncommitted_index) /* see raft_guard.c, 3 */
        return RAFT_BUSY;
    *bufs = NULL;
    *n_bufs = 0;
    raft_set_snapshot_trailing(&s->raft, trailing(sn));
    raft_set_snapshot_threshold(&s->raft, NEVER);
    sn->log_bytes = sn->log_entries = 0;

    snapshot_list_clear(&sn->taking);
    if (sn->base_ready) {
        snapshot_list_add(&sn->taking, &sn->base);
        for (size_t i = 0; i < sn->saved.n; i++)
            if (sn->saved.files[i].kind == SNAPSHOT_CHANGES &&
                sn->saved.files[i].to > sn->base.from)
                snapshot_list_add(&sn->taking, &sn->saved.files[i]);
    } else {
        snapshot_list_copy(&sn->taking, &sn->saved);
    }
    new_name(sn, &sn->taken, "changes");
    snapshot_list_clear(&sn->kept);
    keep(sn, &sn->saved);
    keep(sn, &sn->taking);
    snapshot_list_add(&sn->kept, &sn->taken);
    snapshot_list_add(&sn->kept, &sn->base);
    fetch_keep(sn->fetch, &sn->kept);
    sn->may_sweep = !fetch_is_serving(sn->fetch, server_now_ms());
    sn->taken_ok = false;
    sn->changes = snapshot_changes_begin(&s->state, snapshot_list_revision(&sn->saved));
    return 0;
}

static int on_snapshot_async(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct snapshots *sn = ((struct server *)fsm->data)->snapshots;
    cleanup_error struct error *e = NULL;
    if (sn->may_sweep)
        snapshot_files_sweep(sn->dir, sn->raft_dir, &sn->kept);
    if (!snapshot_changes_write(sn->changes, sn->dir, &sn->taken, &e)) {
        log_warn("Cannot save what has changed; trying again later", "err", error_message(e));
        return RAFT_IOERR;
    }
    snapshot_list_add(&sn->taking, &sn->taken);
    buf_clear(&sn->list);
    snapshot_list_encode(&sn->taking, &sn->list);
    sn->list_buffer = (struct raft_buffer){sn->list.data, sn->list.len};
    *bufs = &sn->list_buffer;
    *n_bufs = 1;
    sn->taken_ok = true;
    return 0;
}

/* Also when libraft could not store its part: our file is there, and the next list goes on from it.
 */
static int on_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct server *s = fsm->data;
    struct snapshots *sn = s->snapshots;
    *bufs = NULL;
    *n_bufs = 0;
    snapshot_changes_end(sn->changes);
    sn->changes = NULL;
    if (!sn->taken_ok)
        return 0;
    if (sn->taking.files[0].kind == SNAPSHOT_BASE &&
        strcmp(sn->taking.files[0].name, sn->base.name) == 0)
        sn->base_ready = false;
    snapshot_list_clear(&sn->saved);
    sn->saved = sn->taking;
    sn->taking = (struct snapshot_list){NULL, 0};
    mvcc_saved(s->state.kv, snapshot_list_revision(&sn->saved));
    if (!sn->base_running && !sn->base_ready && !s->stopping && wants_base(sn))
        start_base(sn);
    return 0;
}

/* --- restoring --- */
static int on_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct server *s = fsm->data;
    struct snapshots *sn = s->snapshots;
    cleanup_error struct error *e = NULL;
    struct snapshot_list l;
    int64_t began = server_now_ms();
    drop_base(sn);
    if (snapshot_list_is_foreign(buf->base, buf->len)) {
        snapshot_list_decode(&l, buf->base, buf->len, &e);
        server_fail_advised(s, "Cannot restore from a snapshot", error_message(e), FORMAT_ADVICE);
        return RAFT_INVALID;
    }
    if (!snapshot_list_decode(&l, buf->base, buf->len, &e) ||
        !snapshot_load(&s->state, &l, sn->dir, &e)) {
        snapshot_list_clear(&l);
        server_fail(s, "Cannot restore from a snapshot", error_message(e));
        return RAFT_CORRUPT;
    }
    raft_free(buf->base);
    snapshot_list_clear(&sn->saved);
    sn->saved = l;
    mvcc_saved(s->state.kv, snapshot_list_revision(&l));
    s->restored_state = s->members_changed = true;
    sn->log_bytes = sn->log_entries = 0;
    log_info("Restored a snapshot", "revision", log_int(mvcc_revision(s->state.kv)), "files",
             log_int((long long)l.n), "ms", log_int(server_now_ms() - began));
    return 0;
}

/* --- messages --- */
bool snapshots_take_message(struct snapshots *sn, const struct raft_message *msg)
{
    if (msg->type != RAFT_IO_INSTALL_SNAPSHOT || sn->server->stopping)
        return false;
    const struct raft_install_snapshot *a = &msg->install_snapshot;
    if (a->term < sn->server->raft.current_term ||
        a->last_index <= sn->server->raft.log.snapshot.last_index)
        return false; /* libraft will have none of it */
    fetch_offer(sn->fetch, msg, &sn->saved);
    return true;
}

void snapshots_work(struct snapshots *sn)
{
    /* libraft ignores what comes while it stores a snapshot of its own. */
    struct server *s = sn->server;
    if (!sn->changes && !s->raft.snapshot.put.data && s->raft.snapshot.pending.term == 0)
        fetch_deliver(sn->fetch);
}

void snapshots_tick(struct snapshots *sn, int64_t now_ms)
{
    fetch_tick(sn->fetch, now_ms);
    if (!sn->base_running && !sn->base_ready && !sn->server->stopping &&
        atomic_exchange(&sn->base_wanted, false))
        start_base(sn);
}

void snapshots_want_base(struct snapshots *sn)
{
    atomic_store(&sn->base_wanted, true);
}

void snapshots_on_frame(struct snapshots *sn, uint64_t from, uint64_t connection, uint8_t type,
                        const uint8_t *p, size_t len)
{
    fetch_on_frame(sn->fetch, from, connection, type, p, len);
}

/* --- start and stop --- */
struct snapshots *snapshots_new(struct server *s, const char *dir, const char *raft_dir)
{
    struct snapshots *sn = mem_alloc(sizeof(*sn));
    sn->server = s;
    sn->dir = mem_strdup(dir);
    sn->raft_dir = mem_strdup(raft_dir);
    sn->fetch = fetch_new(s, dir);
    return sn;
}

void snapshots_set_fsm(struct snapshots *sn, struct raft_fsm *fsm)
{
    (void)sn;
    fsm->snapshot = on_snapshot;
    fsm->snapshot_async = on_snapshot_async;
    fsm->snapshot_finalize = on_snapshot_finalize;
    fsm->restore = on_restore;
}

void snapshots_started(struct snapshots *sn)
{
    snapshot_files_sweep(sn->dir, sn->raft_dir, &sn->saved);
    mvcc_saved(sn->server->state.kv, snapshot_list_revision(&sn->saved));
    raft_set_snapshot_threshold(&sn->server->raft, NEVER);
}

void snapshots_stop(struct snapshots *sn)
{
    atomic_store(&sn->base_stop, true);
    fetch_stop(sn->fetch);
}

void snapshots_free(struct snapshots *sn)
{
    if (!sn)
        return;
    snapshot_changes_end(sn->changes);
    fetch_free(sn->fetch);
    snapshot_list_clear(&sn->saved);
    snapshot_list_clear(&sn->taking);
    snapshot_list_clear(&sn->kept);
    buf_free(&sn->list);
    free(sn->dir);
    free(sn->raft_dir);
    free(sn);
}
