#include "kubelet/cri/rpc.h"
#include "common/mem.h"
#include <assert.h>
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <pthread.h>
#include <string.h>

/* Each call has a completion queue of its own that the calling thread plucks: no thread of ours has to
 * hand results over, and an idle client polls nothing. */
struct rpc_client {
    grpc_channel *channel;
    pthread_mutex_t lock;
    grpc_call *stream; /* the open server stream, if any; guarded by lock */
    bool stopping;     /* guarded by lock */
};

static void silent_log(gpr_log_func_args *args)
{
    (void)args; /* a failed call is reported by its caller, with what it was doing */
}

struct rpc_client *rpc_client_new(const char *endpoint)
{
    gpr_set_log_function(silent_log);
    grpc_init();
    struct rpc_client *c = mem_alloc(sizeof(*c));
    pthread_mutex_init(&c->lock, NULL);
    cleanup_free char *target = endpoint[0] == '/' ? mem_printf("unix://%s", endpoint) : mem_strdup(endpoint);
    /* Small windows and no probing keep the buffers small; containerd answers through a local socket. */
    grpc_arg args[] = {
        {GRPC_ARG_INTEGER, GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, {.integer = 16 << 20}},
        {GRPC_ARG_INTEGER, GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, {.integer = 100}},
        /* How long one try may take: a busy containerd is slow to greet. */
        {GRPC_ARG_INTEGER, GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, {.integer = 5000}},
        {GRPC_ARG_INTEGER, GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, {.integer = 1000}},
        {GRPC_ARG_INTEGER, GRPC_ARG_HTTP2_BDP_PROBE, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_ENABLE_CHANNELZ, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_MAX_CHANNEL_TRACE_EVENT_MEMORY_PER_NODE, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_ENABLE_RETRIES, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_ENABLE_HTTP_PROXY, {.integer = 0}},
        {GRPC_ARG_INTEGER, GRPC_ARG_TCP_READ_CHUNK_SIZE, {.integer = 4096}},
        {GRPC_ARG_STRING, GRPC_ARG_DEFAULT_AUTHORITY, {.string = (char *)"localhost"}},
    };
    grpc_channel_args channel_args = {ARRAY_LEN(args), args};
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    c->channel = grpc_channel_create(target, credentials, &channel_args);
    grpc_channel_credentials_release(credentials);
    return c;
}

void rpc_client_free(struct rpc_client *c)
{
    if (!c)
        return;
    grpc_channel_destroy(c->channel);
    grpc_shutdown();
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* A call waits for a runtime that is starting, up to its deadline, instead of failing. Also, gRPC core has no threads of its own
 * for connecting: it gets on with that only while somebody waits in a call (or every five seconds). */
#define WAIT_FOR_SERVER GRPC_INITIAL_METADATA_WAIT_FOR_READY

static void status_error(grpc_status_code status, grpc_slice details, struct error **err)
{
    static const struct {
        const char *name;
        int http;
    } codes[] = {
        {"OK", 0},
        {"Canceled", 499},
        {"Unknown", 500},
        {"InvalidArgument", 400},
        {"DeadlineExceeded", 504},
        {"NotFound", 404},
        {"AlreadyExists", 409},
        {"PermissionDenied", 403},
        {"ResourceExhausted", 429},
        {"FailedPrecondition", 412},
        {"Aborted", 409},
        {"OutOfRange", 400},
        {"Unimplemented", 501},
        {"Internal", 500},
        {"Unavailable", 503},
        {"DataLoss", 500},
        {"Unauthenticated", 401},
    };
    size_t i = (size_t)status < ARRAY_LEN(codes) ? (size_t)status : GRPC_STATUS_UNKNOWN;
    error_set(err, codes[i].http, codes[i].name, "rpc error: code = %s desc = %.*s", codes[i].name,
              (int)GRPC_SLICE_LENGTH(details), (const char *)GRPC_SLICE_START_PTR(details));
}

static void append_message(grpc_byte_buffer *message, struct buf *out)
{
    grpc_byte_buffer_reader reader;
    if (!message || !grpc_byte_buffer_reader_init(&reader, message))
        return;
    grpc_slice slice;
    while (grpc_byte_buffer_reader_next(&reader, &slice)) {
        buf_add(out, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
        grpc_slice_unref(slice);
    }
    grpc_byte_buffer_reader_destroy(&reader);
}

static void drain_and_destroy(grpc_completion_queue *cq)
{
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq); /* a pluck queue without pending operations has nothing to drain */
}

static void pluck(grpc_completion_queue *cq, void *tag)
{
    grpc_completion_queue_pluck(cq, tag, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

bool rpc_unary(struct rpc_client *c, const char *method, const void *request, size_t len,
               int64_t timeout_ms, struct buf *answer, struct error **err)
{
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout_ms > 0)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice method_slice = grpc_slice_from_copied_string(method);
    grpc_call *call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, method_slice,
                                               NULL, deadline, NULL);
    grpc_slice request_slice = grpc_slice_from_copied_buffer(request, len);
    grpc_byte_buffer *send = grpc_raw_byte_buffer_create(&request_slice, 1);
    grpc_byte_buffer *received = NULL;
    grpc_metadata_array initial, trailing;
    grpc_metadata_array_init(&initial);
    grpc_metadata_array_init(&trailing);
    grpc_status_code status = GRPC_STATUS_UNKNOWN;
    grpc_slice details = grpc_empty_slice();
    grpc_op ops[6];
    memset(ops, 0, sizeof(ops));
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].flags = WAIT_FOR_SERVER;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = send;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &received;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &trailing;
    ops[5].data.recv_status_on_client.status = &status;
    ops[5].data.recv_status_on_client.status_details = &details;
    grpc_call_error started = grpc_call_start_batch(call, ops, ARRAY_LEN(ops), ops, NULL);
    assert(started == GRPC_CALL_OK);
    (void)started;
    pluck(cq, ops);

    bool ok = status == GRPC_STATUS_OK;
    if (ok)
        append_message(received, answer);
    else
        status_error(status, details, err);
    if (received)
        grpc_byte_buffer_destroy(received);
    grpc_byte_buffer_destroy(send);
    grpc_slice_unref(request_slice);
    grpc_slice_unref(method_slice);
    grpc_slice_unref(details);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    grpc_call_unref(call);
    drain_and_destroy(cq);
    return ok;
}

bool rpc_server_stream(struct rpc_client *c, const char *method, const void *request, size_t len,
                       bool (*on_message)(void *userdata, const void *message, size_t len),
                       void *userdata, struct error **err)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice method_slice = grpc_slice_from_copied_string(method);
    grpc_call *call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq, method_slice,
                                               NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    pthread_mutex_lock(&c->lock);
    c->stream = call;
    bool stopping = c->stopping;
    pthread_mutex_unlock(&c->lock);
    if (stopping)
        grpc_call_cancel(call, NULL);

    grpc_slice request_slice = grpc_slice_from_copied_buffer(request, len);
    grpc_byte_buffer *send = grpc_raw_byte_buffer_create(&request_slice, 1);
    grpc_metadata_array initial, trailing;
    grpc_metadata_array_init(&initial);
    grpc_metadata_array_init(&trailing);
    grpc_op start[4];
    memset(start, 0, sizeof(start));
    start[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    start[0].flags = WAIT_FOR_SERVER;
    start[1].op = GRPC_OP_SEND_MESSAGE;
    start[1].data.send_message.send_message = send;
    start[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    start[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    start[3].data.recv_initial_metadata.recv_initial_metadata = &initial;
    grpc_call_start_batch(call, start, ARRAY_LEN(start), start, NULL);
    pluck(cq, start);
    bool wanted = true;
    while (wanted) {
        grpc_byte_buffer *received = NULL;
        grpc_op op;
        memset(&op, 0, sizeof(op));
        op.op = GRPC_OP_RECV_MESSAGE;
        op.data.recv_message.recv_message = &received;
        grpc_call_start_batch(call, &op, 1, &op, NULL);
        pluck(cq, &op);
        if (!received)
            break;
        cleanup_buf struct buf message = {0};
        append_message(received, &message);
        grpc_byte_buffer_destroy(received);
        wanted = on_message(userdata, buf_str(&message), message.len);
    }
    if (!wanted)
        grpc_call_cancel(call, NULL);
    grpc_status_code status = GRPC_STATUS_UNKNOWN;
    grpc_slice details = grpc_empty_slice();
    grpc_op end;
    memset(&end, 0, sizeof(end));
    end.op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    end.data.recv_status_on_client.trailing_metadata = &trailing;
    end.data.recv_status_on_client.status = &status;
    end.data.recv_status_on_client.status_details = &details;
    grpc_call_start_batch(call, &end, 1, &end, NULL);
    pluck(cq, &end);

    pthread_mutex_lock(&c->lock);
    c->stream = NULL;
    pthread_mutex_unlock(&c->lock);
    bool ok = status == GRPC_STATUS_OK || !wanted;
    if (!ok)
        status_error(status, details, err);
    grpc_byte_buffer_destroy(send);
    grpc_slice_unref(request_slice);
    grpc_slice_unref(method_slice);
    grpc_slice_unref(details);
    grpc_metadata_array_destroy(&initial);
    grpc_metadata_array_destroy(&trailing);
    grpc_call_unref(call);
    drain_and_destroy(cq);
    return ok;
}

void rpc_client_stop(struct rpc_client *c)
{
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    if (c->stream)
        grpc_call_cancel(c->stream, NULL);
    pthread_mutex_unlock(&c->lock);
}
