/* One member: the raft thread with the replicated state, and the way for other threads to ask it.
 *
 * An operation (struct op) is handed over by server_submit() from any thread and comes back through
 * its done(), on the raft thread. Promises:
 *  - OP_PROPOSE: KV_OK only after a majority has the command on disk and it was applied here. The
 * command is applied at most once: it is proposed again only when it surely is not and will not be
 * in the log.
 *  - OP_READ: when done, the local state has everything that was acknowledged before the operation
 * was submitted (Raft, section 6.4, without writing to the log).
 *  - OP_LEASE: renews or looks at a lease where its clock runs, on the leader.
 *  - OP_MEMBER: a change of membership; when done, raft follows it too, and the local state has it.
 *  - OP_CALL: done() just runs on the raft thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"
#include "etcd-lite/state.h"
#include "etcd-lite/watch.h"

struct server;
struct op;

enum op_kind { OP_PROPOSE, OP_READ, OP_LEASE, OP_CALL, OP_MEMBER };
typedef void op_done(struct server *s, struct op *op, enum kv_status status);
struct op {
    enum op_kind kind;
    struct buf wire; /* OP_PROPOSE, OP_MEMBER: the encoded command */
    int64_t lease;   /* OP_LEASE */
    bool renew;
    op_done *done; /* owns the op from then on */
    void *data;
    /* Results. */
    struct apply_result *result; /* OP_PROPOSE; valid during done() */
    int64_t ttl;                 /* OP_LEASE: seconds left; -1 when there is no such lease */
    /* The server's. */
    struct op *next;
    uint64_t seq, term, index;
    int64_t deadline_ms;
    uint64_t connection, remote_id; /* asked by another member */
    bool was_sent;
    uint64_t member; /* OP_MEMBER */
    int settled_when;
    bool asked_twice;
};
void op_set_command(struct op *op, const struct command *c);

#define REMOVED_ADVICE                                                                             \
    "its data directory may be deleted; to take this host back, add it as a new member"

struct server_options {
    const char *name, *data_dir;
    uint64_t cluster_id, member_id;
    struct cluster_member {
        uint64_t id;
        char *name, *peer_url;
    } * members; /* of a new cluster, or of the one that is joined; self included */
    size_t n_members;
    bool fresh;   /* the data directory is new: bootstrap */
    bool joining; /* the members send us the log */
    /* Something is to be remembered in the data directory: this member was removed, or it has the
     * log that it joined for. Raft thread. */
    void (*note)(void *data, bool removed);
    void *note_data;
    const char *listen_peer_url, *advertise_peer_url;
    const char *peer_cert_file, *peer_key_file, *peer_ca_file;
    const char *const *client_urls; /* advertised, NULL-terminated */
    unsigned heartbeat_ms, election_ms;
    unsigned snapshot_count; /* log entries, at most, between snapshots; 0: by their bytes only */
    const struct watch_sink *watch_sink; /* NULL: no watches */
};
struct server *server_start(const struct server_options *o, struct error **err);
void server_stop(struct server *s); /* waits; outstanding operations end with KV_STOPPED */
void server_free(struct server *s);

void server_submit(struct server *s, struct op *op);
struct state *server_state(struct server *s);
const char *server_data_dir(const struct server *s);
struct watch_hub *server_watches(struct server *s); /* raft thread */
/* Runs on the raft thread, soon: a watcher that was behind may have room. Any thread. */
void server_wake_watches(struct server *s);
/* Runs work on a helper thread. Raft thread. */
void server_offload(struct server *s, void (*work)(void *data), void *data);
bool server_ready(struct server *s); /* a leader is known and this member follows it; any thread */
void server_fill_header(struct server *s,
                        struct response_header *h); /* cluster, member, term; any thread */

struct server_status { /* any thread */
    uint64_t leader, term, index, applied;
    size_t bytes; /* what the store takes */
    bool is_leader, is_learner;
};
void server_get_status(struct server *s, struct server_status *out);
/* Makes another member the leader; done is told whether it worked (raft thread), unless this fails. */
enum kv_status server_move_leader(struct server *s, uint64_t to,
                                  void (*done)(struct server *s, bool moved, void *data),
                                  void *data);
/* Writes all data anew in the background, soon. Any thread. */
void server_defragment(struct server *s);
/* Members as raft knows them (raft thread). */
void server_list_members(struct server *s, struct arena *a, struct msg_list *out);
/* True when the process must end because the member failed (disk, corruption): any thread. */
bool server_failed(const struct server *s);
