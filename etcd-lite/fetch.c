#include "etcd-lite/fetch.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/server_internal.h"

#define PIECE      ((size_t)1 << 20)
#define ASK_AGAIN  1000  /* ms without an answer */
#define GIVE_UP    10000 /* ms without progress */
#define SERVING_MS 30000 /* a fetch may pause so long before files go */

struct fetch {
    struct server *server;
    char *dir;
    int64_t served_ms;
    bool stopped;

    bool active, ready;
    struct raft_message msg;   /* ours, with its address, configuration and data */
    struct snapshot_list list; /* what libraft will be given */
    struct snapshot_list missing;
    size_t at;
    struct snapshot_out *out;
    uint64_t offset, fetched;
    int64_t began_ms, progress_ms, asked_ms;
    /* Writing a piece, on another thread. */
    uv_work_t work;
    bool working, failed;
    struct buf piece;
};

struct fetch *fetch_new(struct server *s, const char *dir)
{
    struct fetch *f = mem_alloc(sizeof(*f));
    f->server = s;
    f->dir = mem_strdup(dir);
    f->served_ms = -SERVING_MS;
    return f;
}

static void free_message(const struct raft_install_snapshot *a)
{
    raft_free(a->data.base);
    raft_configuration_close((struct raft_configuration *)&a->conf);
}

static void forget(struct fetch *f)
{
    f->active = f->ready = false;
    free((char *)f->msg.server_address);
    f->msg = (struct raft_message){0};
    snapshot_list_clear(&f->list);
    snapshot_list_clear(&f->missing);
    buf_free(&f->piece);
}

static void abandon(struct fetch *f, const char *why)
{
    if (!f->active || f->working)
        return;
    log_warn("Fetching a snapshot from another member has failed", "reason", why);
    snapshot_out_abandon(f->out);
    f->out = NULL;
    free_message(&f->msg.install_snapshot);
    forget(f);
}

static void ask(struct fetch *f, int64_t now)
{
    const struct snapshot_file *file = &f->missing.files[f->at];
    char frame[8 + SNAPSHOT_NAME_MAX];
    size_t n = strlen(file->name);
    memcpy(frame, &f->offset, 8);
    memcpy(frame + 8, file->name, n);
    f->asked_ms = now;
    peers_send(f->server->peers, f->msg.server_id, FRAME_FILE, frame, 8 + n);
}

static void next_file(struct fetch *f)
{
    cleanup_error struct error *e = NULL;
    int64_t now = server_now_ms();
    f->offset = 0;
    if (f->at == f->missing.n) {
        f->ready = true;
        log_info("Fetched a snapshot", "files", log_int((long long)f->missing.n), "bytes",
                 log_int((long long)f->fetched), "ms", log_int(now - f->began_ms));
        return;
    }
    f->out = snapshot_out_open(f->dir, f->missing.files[f->at].name, false, &e);
    if (f->out)
        ask(f, now);
    else
        abandon(f, error_message(e));
}

void fetch_offer(struct fetch *f, const struct raft_message *msg, const struct snapshot_list *saved)
{
    const struct raft_install_snapshot *a = &msg->install_snapshot;
    cleanup_error struct error *e = NULL;
    struct snapshot_list offered = {0}, news = {0};
    if (f->active || f->stopped || !snapshot_list_decode(&offered, a->data.base, a->data.len, &e)) {
        if (e)
            log_error("A member sends a snapshot that cannot be used", "reason", error_message(e));
        free_message(a);
        return;
    }
    f->active = true;
    f->msg = *msg;
    f->msg.server_address = mem_strdup(msg->server_address);
    if (snapshot_list_news(&offered, snapshot_list_revision(saved), &news) &&
        saved->n + news.n <= SNAPSHOT_FILES_MAX)
        snapshot_list_copy(&f->list, saved);
    else
        news.n = 0;
    const struct snapshot_list *more = news.n ? &news : &offered;
    for (size_t i = 0; i < more->n; i++)
        if (!snapshot_list_find(&f->list, more->files[i].name))
            snapshot_list_add(&f->list, &more->files[i]);
    for (size_t i = 0; i < f->list.n; i++)
        if (!snapshot_list_find(saved, f->list.files[i].name) &&
            !snapshot_file_exists(f->dir, &f->list.files[i]))
            snapshot_list_add(&f->missing, &f->list.files[i]);
    snapshot_list_clear(&news);
    snapshot_list_clear(&offered);
    f->at = 0;
    f->fetched = 0;
    f->began_ms = f->progress_ms = server_now_ms();
    next_file(f);
}

void fetch_deliver(struct fetch *f)
{
    if (!f->ready || f->stopped)
        return;
    cleanup_buf struct buf b = {0};
    snapshot_list_encode(&f->list, &b);
    struct raft_message msg = f->msg;
    struct raft_buffer *data = &msg.install_snapshot.data;
    raft_free(data->base);
    data->base = raft_malloc(b.len);
    data->len = b.len;
    if (!data->base)
        abort();
    memcpy(data->base, b.data, b.len);
    f->msg.server_address = NULL;
    forget(f);
    f->server->raft_recv(&f->server->io, &msg);
    free((char *)msg.server_address);
}

void fetch_tick(struct fetch *f, int64_t now)
{
    if (!f->active || f->ready || f->working)
        return;
    if (now - f->progress_ms > GIVE_UP)
        abandon(f, "no progress");
    else if (now - f->asked_ms > ASK_AGAIN)
        ask(f, now);
}

/* --- pieces that come --- */
static bool is_whole(const struct fetch *f)
{
    return f->offset + f->piece.len == f->missing.files[f->at].bytes;
}

static void write_piece(uv_work_t *work)
{
    struct fetch *f = work->data;
    cleanup_error struct error *e = NULL;
    const struct snapshot_file *file = &f->missing.files[f->at];
    bool ok = snapshot_out_add(f->out, buf_str(&f->piece), f->piece.len, &e);
    if (ok && is_whole(f)) {
        struct snapshot_out *out = f->out;
        f->out = NULL;
        ok = snapshot_out_finish(out, &e) && snapshot_file_read(f->dir, file, NULL, NULL, &e);
    }
    if (!ok)
        log_warn("Cannot store a file of a snapshot", "err", error_message(e));
    f->failed = !ok;
}

static void on_piece_written(uv_work_t *work, int status)
{
    struct fetch *f = work->data;
    (void)status;
    f->working = false;
    f->progress_ms = server_now_ms();
    bool whole = is_whole(f);
    f->offset += f->piece.len;
    f->fetched += f->piece.len;
    buf_clear(&f->piece);
    if (f->failed || f->stopped) {
        abandon(f, f->stopped ? "stopping" : "see above");
    } else if (whole) {
        f->at++;
        next_file(f);
    } else {
        ask(f, f->progress_ms);
    }
}

/* offset, 1 if the file is there, bytes */
static void on_answer(struct fetch *f, uint64_t from, const uint8_t *p, size_t len)
{
    if (len < 9 || !f->active || f->ready || f->working || from != f->msg.server_id ||
        frame_u64(p) != f->offset)
        return;
    size_t n = len - 9;
    uint64_t left = f->missing.files[f->at].bytes - f->offset;
    if (p[8] != 1 || n == 0 || n > left) {
        abandon(f, "the sender has it no more");
        return;
    }
    buf_clear(&f->piece);
    buf_add(&f->piece, p + 9, n);
    f->work.data = f;
    f->working = true;
    if (uv_queue_work(&f->server->loop, &f->work, write_piece, on_piece_written) != 0) {
        f->working = false;
        abandon(f, "no thread");
    }
}

/* --- pieces that others ask for --- */
struct serving {
    uv_work_t work;
    struct fetch *f;
    uint64_t connection, offset;
    char name[SNAPSHOT_NAME_MAX];
    size_t len;
    char *answer;
};

static void read_piece(uv_work_t *work)
{
    struct serving *v = work->data;
    cleanup_free char *path = mem_printf("%s/%s", v->f->dir, v->name);
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    while (v->len < PIECE) {
        ssize_t n = pread(fd, v->answer + 9 + v->len, PIECE - v->len, (off_t)(v->offset + v->len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        v->len += (size_t)n;
    }
    v->answer[8] = 1;
}

static void on_piece_read(uv_work_t *work, int status)
{
    struct serving *v = work->data;
    (void)status;
    if (!v->f->stopped)
        peers_answer(v->f->server->peers, v->connection, FRAME_FILE_ANSWER, v->answer, 9 + v->len);
    free(v->answer);
    free(v);
}

static void serve(struct fetch *f, uint64_t connection, const uint8_t *p, size_t len)
{
    if (len <= 8 || len - 8 >= SNAPSHOT_NAME_MAX || f->stopped)
        return;
    struct serving *v = mem_alloc(sizeof(*v));
    v->f = f;
    v->connection = connection;
    v->offset = frame_u64(p);
    memcpy(v->name, p + 8, len - 8);
    v->work.data = v;
    if (!snapshot_name_is_good(v->name) || v->offset > INT64_MAX - PIECE) {
        free(v);
        return;
    }
    f->served_ms = server_now_ms();
    v->answer = malloc(9 + PIECE);
    if (!v->answer)
        abort();
    memcpy(v->answer, &v->offset, 8);
    v->answer[8] = 0;
    if (uv_queue_work(&f->server->loop, &v->work, read_piece, on_piece_read) != 0) {
        free(v->answer);
        free(v);
    }
}

void fetch_on_frame(struct fetch *f, uint64_t from, uint64_t connection, uint8_t type,
                    const uint8_t *p, size_t len)
{
    if (type == FRAME_FILE)
        serve(f, connection, p, len);
    else if (type == FRAME_FILE_ANSWER)
        on_answer(f, from, p, len);
}

/* --- the rest --- */
void fetch_keep(const struct fetch *f, struct snapshot_list *keep)
{
    for (size_t i = 0; f->active && i < f->list.n; i++)
        snapshot_list_add(keep, &f->list.files[i]);
}

bool fetch_is_serving(const struct fetch *f, int64_t now)
{
    return now - f->served_ms < SERVING_MS;
}

void fetch_stop(struct fetch *f)
{
    f->stopped = true;
    abandon(f, "stopping");
}

void fetch_free(struct fetch *f)
{
    if (!f)
        return;
    free(f->dir);
    free(f);
}
