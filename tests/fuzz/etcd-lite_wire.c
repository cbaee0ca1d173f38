/* Fuzz target: protobuf messages, as gRPC clients send them. The first byte chooses the message. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "etcd-lite/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct msg_type *const types[] = {
        &range_request_type,   &put_request_type,   &delete_range_request_type,
        &txn_request_type,     &watch_request_type, &lease_time_to_live_request_type,
        &hash_kv_request_type, &member_type,        &command_type,
        &watch_response_type};
    if (size < 1)
        return 0;
    const struct msg_type *t = types[data[0] % (sizeof(types) / sizeof(types[0]))];
    struct arena a = {0};
    void *msg = arena_alloc(&a, t->size);
    if (msg_decode(t, data + 1, size - 1, msg, &a)) {
        if (t == &range_request_type)
            check_range(msg);
        else if (t == &put_request_type)
            check_put(msg);
        else if (t == &delete_range_request_type)
            check_delete_range(msg);
        else if (t == &txn_request_type)
            check_txn(msg);
        /* What is written is read as the same. */
        struct buf wire = {0}, again = {0}, text = {0};
        msg_encode(t, msg, &wire);
        if (wire.len != msg_wire_size(t, msg))
            abort();
        void *copy = arena_alloc(&a, t->size);
        if (!msg_decode(t, buf_str(&wire), wire.len, copy, &a))
            abort();
        msg_encode(t, copy, &again);
        if (wire.len != again.len || memcmp(buf_str(&wire), buf_str(&again), wire.len) != 0)
            abort();
        msg_print_json(t, msg, &text);
        buf_free(&text);
        buf_free(&wire);
        buf_free(&again);
    }
    arena_free(&a);
    return 0;
}
