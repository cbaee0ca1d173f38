#pragma once
#include <pthread.h>
#include <stdatomic.h>
#include "common/httpd.h"
#include "etcd-lite/gateway.h"

struct watch_stream;
struct gateway {
    struct server *server;
    struct httpd *httpd;
    size_t max_request;
    pthread_mutex_t lock; /* of streams */
    struct watch_stream *streams;
};

/* One request on its way. */
struct call {
    struct op op; /* first: op.done gets it back */
    struct gateway *g;
    struct httpd_request *req;
    struct arena arena;
    void *request; /* parsed */
    const struct msg_type *response_type;
    void *response;
    /* lease keep-alive: several in one */
    size_t next;
    struct msg_list many;
    struct buf out;
};
struct call *call_new(struct gateway *g, struct httpd_request *req);
void call_free(struct call *c);
/* Parses the body into call->request; answers and frees the call on failure. An empty body is {}.
 */
bool call_parse(struct call *c, const struct msg_type *t);
void call_submit(struct call *c, enum op_kind kind, op_done *done);
/* These answer and free the call. */
void call_fail(struct call *c, enum kv_status status);
void call_answer(struct call *c, const struct msg_type *t, const void *response);
struct response_header *call_header(struct call *c); /* with the current revision; any thread */
/* op_done for proposals: answers with their result. */
void call_on_proposed(struct server *s, struct op *op, enum kv_status status);
void reply_error(struct httpd_request *req, int http_status, int grpc_code, const char *message);

typedef void gateway_handler(struct gateway *g, struct httpd_request *req);
gateway_handler handle_range, handle_put, handle_delete_range, handle_txn, handle_compaction,
    handle_watch, handle_lease_grant, handle_lease_revoke, handle_lease_keep_alive,
    handle_lease_time_to_live, handle_lease_leases, handle_status, handle_alarm, handle_defragment,
    handle_hash, handle_member_list, handle_version, handle_health, handle_metrics;
void gateway_end_streams(struct gateway *g);
