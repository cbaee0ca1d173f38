/* gRPC core, loaded when the first gRPC client comes: a member without any shall not carry its
 * memory. */
#pragma once
#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_posix.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include "common/error.h"

#define RPC_LIBRARY_FUNCTIONS(F)                                                                   \
    F(grpc_init)                                                                                   \
    F(grpc_shutdown)                                                                               \
    F(grpc_completion_queue_create_for_next)                                                       \
    F(grpc_completion_queue_next)                                                                  \
    F(grpc_completion_queue_shutdown)                                                              \
    F(grpc_completion_queue_destroy)                                                               \
    F(grpc_server_create)                                                                          \
    F(grpc_server_register_completion_queue)                                                       \
    F(grpc_server_start)                                                                           \
    F(grpc_server_request_call)                                                                    \
    F(grpc_server_shutdown_and_notify)                                                             \
    F(grpc_server_cancel_all_calls)                                                                \
    F(grpc_server_destroy)                                                                         \
    F(grpc_server_add_channel_from_fd)                                                             \
    F(grpc_insecure_server_credentials_create)                                                     \
    F(grpc_server_credentials_release)                                                             \
    F(grpc_call_start_batch)                                                                       \
    F(grpc_call_unref)                                                                             \
    F(grpc_call_details_init)                                                                      \
    F(grpc_call_details_destroy)                                                                   \
    F(grpc_metadata_array_init)                                                                    \
    F(grpc_metadata_array_destroy)                                                                 \
    F(grpc_raw_byte_buffer_create)                                                                 \
    F(grpc_byte_buffer_destroy)                                                                    \
    F(grpc_byte_buffer_length)                                                                     \
    F(grpc_byte_buffer_reader_init)                                                                \
    F(grpc_byte_buffer_reader_next)                                                                \
    F(grpc_byte_buffer_reader_destroy)                                                             \
    F(grpc_slice_new_with_user_data)                                                               \
    F(grpc_slice_from_copied_string)                                                               \
    F(grpc_slice_unref)                                                                            \
    F(gpr_set_log_function)                                                                        \
    F(gpr_inf_future)

struct rpc_library {
#define RPC_LIBRARY_MEMBER(name) __typeof__(&name) name;
    RPC_LIBRARY_FUNCTIONS(RPC_LIBRARY_MEMBER)
#undef RPC_LIBRARY_MEMBER
};
/* NULL when it is not installed. Stays loaded. Any thread. */
const struct rpc_library *rpc_library_load(struct error **err);
