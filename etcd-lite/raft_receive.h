/* What comes in on raft's connections. libraft's own receiver believes lengths and counts as they
 * come, and so dies of a malformed message; this one checks them, and closes the connection.
 * (What libraft sends it still sends itself.) */
#pragma once
#include <raft.h>
#include <raft/uv.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- messages, as libraft 0.15 writes them --- */
#define RAFT_PREAMBLE    16 /* type, length of the header; little-endian, as all integers */
#define RAFT_HEADER_MAX  ((size_t)2 << 20)
#define RAFT_PAYLOAD_MAX ((size_t)1 << 30)
/* Fills in msg but for who sent it; payload: how many bytes follow the header. On failure nothing
 * is left behind. */
bool raft_decode_header(uint64_t type, const uint8_t *header, size_t len, struct raft_message *msg,
                        size_t *payload);
/* The payload (raft_malloc'd; NULL when there is none) becomes msg's; false, and all is freed, when
 * it does not hold what the header says. */
bool raft_decode_payload(struct raft_message *msg, void *payload, size_t len);
void raft_message_clear(struct raft_message *msg); /* frees what a header has filled in */

/* --- connections --- */
struct raft_receivers {
    struct raft_receiver *head;
    struct raft_io *io;
    /* As libraft's: owns what is in the message. */
    raft_io_recv_cb on_message;
};
/* Takes the stream. */
void raft_receive(struct raft_receivers *r, uint64_t from, const char *address,
                  uv_stream_t *stream);
void raft_receivers_close(struct raft_receivers *r); /* then run the loop dry */
