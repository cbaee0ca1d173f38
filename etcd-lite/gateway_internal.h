#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "common/httpd.h"
#include "etcd-lite/front.h"
#include "etcd-lite/gateway.h"
#include "etcd-lite/rpc.h"

struct watch_stream;
struct gateway {
    struct server *server;
    struct front *front;
    struct httpd *httpd;
    size_t max_request, quota;
    pthread_mutex_t lock; /* of streams */
    struct watch_stream *streams;
    pthread_mutex_t rpc_lock;
    struct rpc_server *rpc; /* NULL until the first gRPC client comes */
    bool rpc_failed;
    atomic_bool stopping;
};

/* One request on its way: by HTTP (req), in JSON, or by gRPC (rpc), in protobuf. */
struct call {
    struct op op; /* first: op.done gets it back */
    struct gateway *g;
    struct httpd_request *req;
    struct rpc *rpc;
    char *message; /* gRPC: what came; the request points into it */
    size_t message_len;
    struct arena arena;
    void *request; /* parsed */
    /* HTTP: several requests in one body */
    size_t next;
    struct msg_list many;
    struct buf out;
};
void call_free(struct call *c);
/* Parses what came into call->request; answers and frees the call on failure. An empty JSON body is
 * {}. */
bool call_parse(struct call *c, const struct msg_type *t);
/* HTTP: one or more JSON documents, into call->many. */
bool call_parse_many(struct call *c, const struct msg_type *t);
void call_submit(struct call *c, enum op_kind kind, op_done *done);
/* These answer and free the call. */
void call_fail(struct call *c, enum kv_status status);
void call_answer(struct call *c, const struct msg_type *t, const void *response);
/* gRPC: one message of a stream; the call goes on. */
void call_send(struct call *c, const struct msg_type *t, const void *response);
/* What a change may add must fit into the quota; if it does not, the alarm is raised. */
enum kv_status call_check_quota(struct call *c, size_t cost);
struct response_header *call_header(struct call *c); /* with the current revision; any thread */
/* op_done for proposals: answers with their result. */
void call_on_proposed(struct server *s, struct op *op, enum kv_status status);
void reply_error(struct httpd_request *req, int http_status, int grpc_code, const char *message);

typedef void gateway_handler(struct call *c);
/* A learner answers what concerns itself, and reads of what it has; etcd's clients go elsewhere with
 * all else. Answers and frees the call when it is refused. */
bool call_refused_by_learner(struct call *c, gateway_handler *handler);
gateway_handler handle_range, handle_put, handle_delete_range, handle_txn, handle_compaction,
    handle_watch, handle_lease_grant, handle_lease_revoke, handle_lease_keep_alive,
    handle_lease_time_to_live, handle_lease_leases, handle_status, handle_alarm, handle_defragment,
    handle_hash, handle_hash_kv, handle_member_list, handle_member_add,
    handle_member_remove, handle_member_update, handle_member_promote, handle_move_leader,
    handle_snapshot;
typedef void monitor_handler(struct gateway *g, struct httpd_request *req);
monitor_handler handle_version, handle_health, handle_metrics;
void gateway_end_streams(struct gateway *g);
void watch_on_gone(struct rpc *r);

/* gateway_rpc.c: takes a plain connection whose client speaks HTTP/2. */
void gateway_add_rpc(void *gateway, int fd);
