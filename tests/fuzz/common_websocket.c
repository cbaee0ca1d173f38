/* Frames of WebSocket clients, in pieces of any size: the same messages whatever the pieces. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/websocket.h"

static void take(void *ctx, const void *p, size_t n, bool begins)
{
    struct buf *b = ctx;
    if (begins)
        buf_addc(b, '|');
    if (n)
        buf_add(b, p, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    size_t piece = data[0] + 1u;
    cleanup_buf struct buf whole = {0}, whole_reply = {0}, parts = {0}, parts_reply = {0};
    struct websocket a = {0}, b = {0};
    data++, size--;
    bool open = websocket_feed(&a, data, size, take, &whole, &whole_reply), other = true;
    for (size_t at = 0; other && at < size; at += piece)
        other = websocket_feed(&b, data + at, size - at < piece ? size - at : piece, take, &parts,
                               &parts_reply);
    assert(open == other);
    assert(whole.len == parts.len && !memcmp(buf_str(&whole), buf_str(&parts), whole.len));
    assert(whole_reply.len == parts_reply.len);
    return 0;
}
