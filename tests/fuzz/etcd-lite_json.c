/* Fuzz target: JSON requests of the gateway, and what is printed back. The first byte chooses the
 * message. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "etcd-lite/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct msg_type *const types[] = {
        &txn_request_type,   &range_request_type,        &put_request_type,
        &watch_request_type, &delete_range_request_type, &lease_time_to_live_request_type,
        &member_type,        &watch_response_type};
    if (size < 1)
        return 0;
    const struct msg_type *t = types[data[0] % (sizeof(types) / sizeof(types[0]))];
    struct arena a = {0};
    struct error *e = NULL;
    void *msg = arena_alloc(&a, t->size);
    if (msg_parse_json(t, (const char *)data + 1, size - 1, NULL, msg, &a, &e)) {
        if (t == &txn_request_type)
            check_txn(msg);
        /* Printed and read again, it is the same: also through the wire format. */
        struct buf text = {0}, again = {0}, wire = {0};
        msg_print_json(t, msg, &text);
        msg_encode(t, msg, &wire);
        if (wire.len != msg_wire_size(t, msg))
            abort();
        void *copy = arena_alloc(&a, t->size);
        if (!msg_decode(t, buf_str(&wire), wire.len, copy, &a))
            abort();
        msg_print_json(t, copy, &again);
        if (text.len != again.len || memcmp(buf_str(&text), buf_str(&again), text.len) != 0)
            abort();
        memset(copy, 0, t->size);
        if (!msg_parse_json(t, text.data, text.len, NULL, copy, &a, NULL))
            abort();
        buf_free(&text);
        buf_free(&again);
        buf_free(&wire);
    }
    error_free(e);
    arena_free(&a);
    return 0;
}
