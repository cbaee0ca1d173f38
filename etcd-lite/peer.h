/* Our own messages between members, beside raft's: forwarded proposals, leadership confirmation,
 * leases. Each member keeps one connection to every other; requests go out on it and their answers
 * come back on it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "etcd-lite/transport.h"

/* Frames: length (of type and payload), type, payload; integers are little-endian, 8 bytes. */
enum frame_type {
    FRAME_PROPOSE = 1,       /* term, entry */
    FRAME_PROPOSE_REFUSED,   /* sequence numbers: surely not in the log */
    FRAME_PING,              /* term, round */
    FRAME_PONG,              /* round, 1 if the term is still current */
    FRAME_READ_INDEX,        /* id */
    FRAME_READ_INDEX_ANSWER, /* id, status, index */
    FRAME_LEASE,             /* id, 1 renew or 0 look, lease */
    FRAME_LEASE_ANSWER,      /* id, status, time to live, index */
    FRAME_CHANGE,            /* id, encoded command: a change of membership, for the leader */
    FRAME_CHANGE_ANSWER,     /* id, status, index */
    FRAME_FILE,              /* offset, name: a piece of one of the snapshot's files, please */
    FRAME_FILE_ANSWER,       /* offset, 1 if it is there, bytes: none at the end */
};
#define FRAME_MAX (64u << 20)

struct peers;
struct peers_options {
    uv_loop_t *loop;
    struct transport *transport;
    /* connection: to answer on. */
    void (*on_frame)(void *userdata, uint64_t from, uint64_t connection, uint8_t type,
                     const uint8_t *payload, size_t len);
    void (*on_up)(void *userdata, uint64_t peer);   /* requests can be sent */
    void (*on_down)(void *userdata, uint64_t peer); /* answers to what was sent won't come */
    void *userdata;
};
struct peers *peers_new(const struct peers_options *o);
/* Keeps a connection to the member, at one of the URLs (NULL-terminated; copied). When they are
 * others than before, it connects anew. */
void peers_set(struct peers *p, uint64_t id, char *const *urls);
/* Ends all connections to and from a member, for good. */
void peers_drop(struct peers *p, uint64_t id);
bool peers_is_up(const struct peers *p, uint64_t id);
void peers_accept(struct peers *p, uint64_t from, uv_stream_t *stream); /* takes the stream */
/* False when there is no connection. Copies. */
bool peers_send(struct peers *p, uint64_t id, uint8_t type, const void *payload, size_t len);
/* On the connection that a request came on; dropped when that is gone. */
void peers_answer(struct peers *p, uint64_t connection, uint8_t type, const void *payload,
                  size_t len);
void peers_stop(struct peers *p); /* closes all; then run the loop dry */
void peers_free(struct peers *p);

static inline uint64_t frame_u64(const uint8_t *p)
{
    uint64_t v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}
