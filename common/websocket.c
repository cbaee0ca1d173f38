#include "common/websocket.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <string.h>

#include "common/mem.h"

enum { FIN = 0x80, MASKED = 0x80, STATUS_NORMAL = 1000, STATUS_PROTOCOL = 1002 };

void websocket_frame(struct buf *out, enum websocket_opcode opcode, const void *p, size_t n)
{
    unsigned char head[10] = {(unsigned char)(FIN | opcode)};
    size_t width = n < 126 ? 0 : n <= UINT16_MAX ? 2 : 8;
    head[1] = (unsigned char)(width == 0 ? n : width == 2 ? 126 : 127);
    for (size_t i = 0; i < width; i++)
        head[2 + i] = (unsigned char)((uint64_t)n >> 8 * (width - 1 - i));
    buf_add(out, head, 2 + width);
    if (n)
        buf_add(out, p, n);
}

void websocket_close_frame(struct buf *out, unsigned status)
{
    unsigned char code[2] = {(unsigned char)(status >> 8), (unsigned char)status};
    websocket_frame(out, WEBSOCKET_CLOSE, code, sizeof code);
}

void websocket_accept(struct buf *out, const char *key)
{
    cleanup_free char *text = mem_printf("%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    unsigned char digest[20] = {0};
    gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest);
    buf_add_base64(out, digest, sizeof digest);
}

static bool end(struct websocket *w, unsigned status, struct buf *reply)
{
    w->closed = true;
    websocket_close_frame(reply, status);
    return false;
}

static bool is_control(const struct websocket *w)
{
    return w->head[0] & 8;
}

/* How long the header is, as far as its bytes tell. */
static size_t head_wanted(const struct websocket *w)
{
    unsigned len = w->head_len < 2 ? 0 : w->head[1] & 0x7f;
    return w->head_len < 2 ? 2 : (len == 126 ? 4u : len == 127 ? 10u : 2u) + 4;
}

static bool head_is_sound(const struct websocket *w)
{
    unsigned opcode = w->head[0] & 15;
    if (w->head[0] & 0x70 || !(w->head[1] & MASKED)) /* clients must mask */
        return false;
    if (is_control(w))
        return w->head[0] & FIN && (w->head[1] & 0x7f) <= WEBSOCKET_CONTROL_MAX &&
               opcode <= WEBSOCKET_PONG;
    return opcode <= WEBSOCKET_BINARY && w->in_message == (opcode == WEBSOCKET_CONTINUATION);
}

static void begin_payload(struct websocket *w)
{
    unsigned width = (w->head[1] & 0x7f) == 126 ? 2 : (w->head[1] & 0x7f) == 127 ? 8 : 0;
    w->at = 0;
    w->len = width ? 0 : w->head[1] & 0x7f;
    for (unsigned i = 0; i < width; i++)
        w->len = w->len << 8 | w->head[2 + i];
    w->control_len = 0;
    w->in_payload = true;
}

static void unmask(struct websocket *w, unsigned char *p, size_t n)
{
    const unsigned char *mask = w->head + w->head_len - 4;
    for (size_t i = 0; i < n; i++)
        p[i] ^= mask[(w->at + i) & 3];
}

static bool end_frame(struct websocket *w, struct buf *reply)
{
    unsigned opcode = w->head[0] & 15;
    if (opcode == WEBSOCKET_PING)
        websocket_frame(reply, WEBSOCKET_PONG, w->control, w->control_len);
    if (!is_control(w))
        w->in_message = !(w->head[0] & FIN);
    w->in_payload = false;
    w->head_len = 0;
    return opcode != WEBSOCKET_CLOSE || end(w, STATUS_NORMAL, reply);
}

bool websocket_feed(struct websocket *w, const void *bytes, size_t n,
                    void (*data)(void *ctx, const void *p, size_t n, bool begins), void *ctx,
                    struct buf *reply)
{
    const unsigned char *p = bytes;
    unsigned char plain[4096];
    while (n && !w->closed) {
        if (!w->in_payload) {
            w->head[w->head_len++] = *p++;
            n--;
            if (w->head_len == 2 && !head_is_sound(w))
                return end(w, STATUS_PROTOCOL, reply);
            if (w->head_len < head_wanted(w))
                continue;
            begin_payload(w);
            if (!is_control(w))
                data(ctx, plain, 0, (w->head[0] & 15) != WEBSOCKET_CONTINUATION);
        }
        size_t take = n < sizeof plain ? n : sizeof plain;
        if (take > w->len - w->at)
            take = (size_t)(w->len - w->at);
        if (take) {
            memcpy(plain, p, take);
            unmask(w, plain, take);
            if (is_control(w)) {
                memcpy(w->control + w->control_len, plain, take);
                w->control_len += take;
            } else {
                data(ctx, plain, take, false);
            }
            w->at += take;
            p += take;
            n -= take;
        }
        if (w->at == w->len && !end_frame(w, reply))
            return false;
    }
    return !w->closed;
}
