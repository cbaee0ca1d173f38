/* Maintenance.Snapshot: the whole state as a database file, in pieces, then their SHA-256. */
#include <errno.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/backup.h"
#include "etcd-lite/gateway_internal.h"

#define PIECE  (128u << 10)
#define SHA256 32

enum { GRPC_UNKNOWN = 2 };

struct download {
    struct op op; /* first: gives the store back */
    struct call *call;
    struct backup *backup;
    int fd;
    uint64_t size, sent;
    gnutls_hash_hd_t hash;
    bool hash_sent;
};

static void finish(struct download *d, int code, const char *message)
{
    rpc_finish(d->call->rpc, code, message);
    if (d->fd >= 0)
        close(d->fd);
    if (d->hash)
        gnutls_hash_deinit(d->hash, NULL);
    call_free(d->call);
    free(d);
}

static void on_piece_sent(void *owner);

static void send_next(struct download *d)
{
    static const char failed[] = "etcdserver: error sending snapshot";
    char digest[SHA256];
    cleanup_free char *piece = NULL;
    struct snapshot_response resp = {0};
    if (rpc_is_gone(d->call->rpc)) {
        finish(d, GRPC_UNKNOWN, failed);
        return;
    }
    if (d->sent == d->size) {
        if (d->hash_sent) {
            finish(d, 0, NULL);
            return;
        }
        gnutls_hash_output(d->hash, digest);
        d->hash_sent = true;
        resp.blob = (struct bytes){digest, SHA256};
    } else {
        size_t want = d->size - d->sent < PIECE ? (size_t)(d->size - d->sent) : PIECE;
        piece = mem_alloc(want);
        ssize_t n;
        do
            n = pread(d->fd, piece, want, (off_t)d->sent);
        while (n < 0 && errno == EINTR);
        if (n <= 0) {
            finish(d, GRPC_UNKNOWN, failed);
            return;
        }
        d->sent += (uint64_t)n;
        gnutls_hash(d->hash, piece, (size_t)n);
        resp.remaining_bytes = (int64_t)(d->size - d->sent);
        resp.blob = (struct bytes){piece, (size_t)n};
    }
    struct buf b = {0};
    msg_encode(&snapshot_response_type, &resp, &b);
    size_t len = b.len;
    rpc_send(d->call->rpc, buf_take(&b), len, on_piece_sent, d);
}

/* One piece is on its way at a time: a slow client costs no memory. */
static void on_piece_sent(void *owner)
{
    send_next(owner);
}

static void on_given_back(struct server *s, struct op *op, enum kv_status status)
{
    (void)status;
    struct download *d = (struct download *)op;
    struct state *st = server_state(s);
    pthread_rwlock_wrlock(&st->lock); /* after the server has stopped, this is not its thread */
    backup_end(d->backup);
    pthread_rwlock_unlock(&st->lock);
    if (d->fd < 0)
        finish(d, GRPC_UNKNOWN, "etcdserver: cannot write the snapshot");
    else
        send_next(d);
}

static void write_file(void *data)
{
    struct download *d = data;
    struct server *s = d->call->g->server;
    cleanup_error struct error *e = NULL;
    d->fd = backup_write(d->backup, server_data_dir(s), &d->size, &e);
    if (d->fd >= 0 && gnutls_hash_init(&d->hash, GNUTLS_DIG_SHA256) < 0) {
        close(d->fd);
        d->fd = -1;
    }
    if (e)
        log_error("Cannot make a backup", "err", error_message(e));
    d->op.kind = OP_CALL;
    d->op.done = on_given_back;
    server_submit(s, &d->op);
}

static void begin(struct server *s, struct op *op, enum kv_status status)
{
    struct call *c = (struct call *)op;
    if (status) {
        call_fail(c, status);
        return;
    }
    struct server_status st;
    server_get_status(s, &st);
    struct download *d = mem_alloc(sizeof(*d));
    d->call = c;
    d->backup = backup_begin(server_state(s), st.applied);
    server_offload(s, write_file, d);
}

void handle_snapshot(struct call *c)
{
    if (call_parse(c, &empty_type))
        call_submit(c, OP_CALL, begin);
}
