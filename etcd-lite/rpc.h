/* A gRPC server on gRPC core: messages in, messages out, for any method. What they mean is the
 * caller's.
 *
 * A call (struct rpc) belongs to whoever got its first message, until rpc_finish(), which must come
 * exactly once. Sending, reading and finishing may be done on any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

struct rpc_server;
struct rpc;

struct rpc_method {
    const char *path; /* "/etcdserverpb.KV/Range" */
    /* A message has come (malloc'd, taken). The first is read without being asked for, each further
     * one by rpc_read(). NULL: the client sends no more, or is gone. */
    void (*on_message)(void *userdata, struct rpc *r, char *message, size_t len);
    /* The client is gone. Not called during or after rpc_finish(); must not call rpc_*. May be NULL. */
    void (*on_gone)(struct rpc *r);
    const void *data; /* for on_message */
};
struct rpc_server_options {
    const struct rpc_method *methods;
    size_t n_methods;
    size_t max_message; /* bytes, of requests */
    void *userdata;
};
struct rpc_server *rpc_server_start(const struct rpc_server_options *o, struct error **err);
/* Serves an accepted plain connection (non-blocking); takes the socket. Any thread. */
void rpc_server_add(struct rpc_server *s, int fd);
/* Cancels all calls, waits until each is finished, and frees. */
void rpc_server_stop(struct rpc_server *s);

const struct rpc_method *rpc_get_method(const struct rpc *r);
void rpc_set_data(struct rpc *r, void *data);
void *rpc_data(const struct rpc *r);
/* The value of a metadata entry is `value`. While the first message is handled. */
bool rpc_metadata_is(const struct rpc *r, const char *name, const char *value);

/* Asks for the next message; one at a time. */
void rpc_read(struct rpc *r);
/* Queues a message; takes data (malloc'd). release (may be NULL) is called once, when it has been
 * handed to the network or never will be, on any thread but not during this call unless the client
 * is gone. */
void rpc_send(struct rpc *r, char *data, size_t len, void (*release)(void *owner), void *owner);
/* The client is gone: nothing arrives any more. */
bool rpc_is_gone(struct rpc *r);
/* Ends the call after what is queued, with a gRPC status, and gives it up. */
void rpc_finish(struct rpc *r, int code, const char *message);
