/* The server's end of a WebSocket (RFC 6455), without I/O of its own: bytes in, bytes out. No
 * extensions. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"

enum websocket_opcode {
    WEBSOCKET_CONTINUATION = 0,
    WEBSOCKET_TEXT = 1,
    WEBSOCKET_BINARY = 2,
    WEBSOCKET_CLOSE = 8,
    WEBSOCKET_PING = 9,
    WEBSOCKET_PONG = 10,
};
enum { WEBSOCKET_CONTROL_MAX = 125 };

/* Zero-initialized. */
struct websocket {
    unsigned char head[14], control[WEBSOCKET_CONTROL_MAX];
    size_t head_len, control_len;
    uint64_t at, len; /* of the frame's payload */
    bool in_payload;
    bool in_message; /* fragments of it have come, not the last */
    bool closed;
};
/* Takes what the client sent. Each piece of a message goes to data(), begins: it is its first,
 * perhaps empty. Answers (pong, close) are appended to reply. False when the client closed or broke
 * the protocol: nothing more of his is to be read; reply has the close frame. */
bool websocket_feed(struct websocket *w, const void *bytes, size_t n,
                    void (*data)(void *ctx, const void *p, size_t n, bool begins), void *ctx,
                    struct buf *reply);
/* Appends a whole frame. */
void websocket_frame(struct buf *out, enum websocket_opcode opcode, const void *p, size_t n);
/* status: RFC 6455 section 7.4.1. */
void websocket_close_frame(struct buf *out, unsigned status);
/* Appends Sec-WebSocket-Accept for the client's Sec-WebSocket-Key. */
void websocket_accept(struct buf *out, const char *key);
