/* A raft log entry: a batch of commands from one member, with what identifies each, under a
 * checksum. */
#pragma once
#include <raft.h>
#include "common/buf.h"
#include "etcd-lite/api.h"

#define ENTRY_VERSION 1

struct entry_origin {
    uint64_t member;
    uint64_t boot; /* drawn at each start of that member */
};
/* Starts an entry in an empty buffer; then add commands; then finish. */
void entry_begin(struct buf *b, struct entry_origin origin);
void entry_add(struct buf *b, uint64_t seq, const void *wire, size_t len);
void entry_finish(struct buf *b);
/* A copy that libraft may own. */
bool entry_to_raft(const void *data, size_t len, struct raft_buffer *out);

struct entry_reader {
    struct entry_origin origin;
    const uint8_t *p, *end;
    uint32_t left;
};
/* False when it is no entry, of an unknown version, or damaged. */
bool entry_open(struct entry_reader *r, const void *data, size_t len);
/* The next command; false at the end (then left is 0) or if malformed. Bytes in the command point
 * into the entry. */
bool entry_next(struct entry_reader *r, uint64_t *seq, struct command *c, struct arena *a);
/* Skips decoding. */
bool entry_next_seq(struct entry_reader *r, uint64_t *seq);
