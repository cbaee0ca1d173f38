/* gRPC calls over a Unix socket, by gRPC core's C API: blocking unary calls with a deadline, and
 * server streams. Thread-safe. Bytes in, bytes out; protobuf stays with the caller. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

struct rpc_client;
/* endpoint: "unix:///run/containerd/containerd.sock" or a plain path. Connects lazily, and again
 * after the server went away. */
struct rpc_client *rpc_client_new(const char *endpoint);
void rpc_client_free(struct rpc_client *c);

/* Errors carry a code (404 NotFound, 409 AlreadyExists, 501 Unimplemented, 503 Unavailable, 504
 * DeadlineExceeded, 499 Canceled, otherwise 500), that word as reason, and the server's message in the
 * form "rpc error: code = NotFound desc = ...". timeout_ms 0: no deadline. The answer is appended. */
bool rpc_unary(struct rpc_client *c, const char *method, const void *request, size_t len,
               int64_t timeout_ms, struct buf *answer, struct error **err);
/* Calls on_message on this thread for each message until the stream ends, on_message returns false, or
 * rpc_client_stop() is called. Returns true when the server ended the stream without an error. */
bool rpc_server_stream(struct rpc_client *c, const char *method, const void *request, size_t len,
                       bool (*on_message)(void *userdata, const void *message, size_t len),
                       void *userdata, struct error **err);
/* Cancels the streams that are open; later ones end at once. */
void rpc_client_stop(struct rpc_client *c);
