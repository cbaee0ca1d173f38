#include "etcd-lite/entry.h"
#include <string.h>
#include <zlib.h>

/* Little-endian. crc covers all that follows it. size excludes the padding (libraft wants multiples
 * of 8). */
struct header {
    uint16_t magic;
    uint16_t version;
    uint32_t crc;
    uint64_t member, boot;
    uint32_t size, count;
};
struct item {
    uint64_t seq;
    uint32_t len;
    uint32_t reserved;
};
#define MAGIC    0x4b53 /* "SK" */
#define CRC_FROM (offsetof(struct header, crc) + sizeof(uint32_t))

void entry_begin(struct buf *b, struct entry_origin origin)
{
    struct header h = {
        .magic = MAGIC, .version = ENTRY_VERSION, .member = origin.member, .boot = origin.boot};
    buf_add(b, &h, sizeof(h));
}

void entry_add(struct buf *b, uint64_t seq, const void *wire, size_t len)
{
    struct item item = {.seq = seq, .len = (uint32_t)len};
    buf_add(b, &item, sizeof(item));
    buf_add(b, wire, len);
    uint32_t count;
    memcpy(&count, b->data + offsetof(struct header, count), sizeof(count));
    count++;
    memcpy(b->data + offsetof(struct header, count), &count, sizeof(count));
}

void entry_finish(struct buf *b)
{
    uint32_t size = (uint32_t)b->len;
    memcpy(b->data + offsetof(struct header, size), &size, sizeof(size));
    uint32_t crc = (uint32_t)crc32(0, (const Bytef *)b->data + CRC_FROM, (uInt)(b->len - CRC_FROM));
    memcpy(b->data + offsetof(struct header, crc), &crc, sizeof(crc));
    static const char zeros[8];
    buf_add(b, zeros, (8 - b->len % 8) % 8);
}

bool entry_to_raft(const void *data, size_t len, struct raft_buffer *out)
{
    out->base = raft_malloc(len);
    out->len = len;
    if (!out->base)
        return false;
    memcpy(out->base, data, len);
    return true;
}

bool entry_open(struct entry_reader *r, const void *data, size_t len)
{
    struct header h;
    if (len < sizeof(h))
        return false;
    memcpy(&h, data, sizeof(h));
    if (h.magic != MAGIC || h.version != ENTRY_VERSION || h.size < sizeof(h) || h.size > len)
        return false;
    if ((uint32_t)crc32(0, (const Bytef *)data + CRC_FROM, (uInt)(h.size - CRC_FROM)) != h.crc)
        return false;
    *r = (struct entry_reader){{h.member, h.boot},
                               (const uint8_t *)data + sizeof(h),
                               (const uint8_t *)data + h.size,
                               h.count};
    return true;
}

static bool next(struct entry_reader *r, uint64_t *seq, const uint8_t **body, size_t *len)
{
    struct item item;
    if (r->left == 0 || (size_t)(r->end - r->p) < sizeof(item))
        return false;
    memcpy(&item, r->p, sizeof(item));
    if (item.len > (size_t)(r->end - r->p) - sizeof(item))
        return false;
    *seq = item.seq;
    *body = r->p + sizeof(item);
    *len = item.len;
    r->p += sizeof(item) + item.len;
    r->left--;
    return true;
}

bool entry_next(struct entry_reader *r, uint64_t *seq, struct command *c, struct arena *a)
{
    const uint8_t *body;
    size_t len;
    memset(c, 0, sizeof(*c));
    return next(r, seq, &body, &len) && msg_decode(&command_type, body, len, c, a);
}

bool entry_next_seq(struct entry_reader *r, uint64_t *seq)
{
    const uint8_t *body;
    size_t len;
    return next(r, seq, &body, &len);
}
