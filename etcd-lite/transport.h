/* Connections between members: plain TCP, or mutual TLS. Each starts with a short greeting that
 * names the cluster, both members and what the connection carries: raft messages (handed to
 * libraft) or our own RPC (peer.h). */
#pragma once
#include <raft.h>
#include <raft/uv.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

#define URL_MAX 512

enum connection_kind {
    CONNECTION_RAFT = 1,
    CONNECTION_RPC = 2,
    CONNECTION_MEMBERS = 3 /* from whom is not a member yet: who belongs to the cluster? */
};
enum transport_refusal {
    REFUSED_OTHER_CLUSTER = 'C',
    REFUSED_OTHER_MEMBER = 'M',
    REFUSED_REMOVED = 'R'
};

struct transport_options {
    uv_loop_t *loop;
    const char *listen_url;                     /* "https://10.0.0.1:2380"; NULL: only connects */
    const char *cert_file, *key_file, *ca_file; /* for https */
    uint64_t cluster_id, member_id;
    const char *advertise_url;
    /* A member has opened an RPC connection to us; the stream is the receiver's. */
    void (*on_rpc)(void *userdata, uint64_t from, uv_stream_t *stream);
    /* Or a raft connection, likewise; not before libraft has started. */
    void (*on_raft)(void *userdata, uint64_t from, const char *address, uv_stream_t *stream);
    /* Where raft finds a member, one of its URLs after the other; NULL: there is no such member. */
    const char *(*resolve)(void *userdata, uint64_t id, unsigned attempt);
    bool (*is_removed)(void *userdata, uint64_t id); /* such members are turned away */
    void (*on_refused)(void *userdata, uint64_t by, enum transport_refusal why);
    /* Somebody asks for the members; the stream is the receiver's. */
    void (*on_query)(void *userdata, uv_stream_t *stream);
    void *userdata;
};
struct transport;
struct transport *transport_new(const struct transport_options *o, struct error **err);
/* The face that libraft sees. What it has for addresses is not used. */
struct raft_uv_transport *transport_raft(struct transport *t);

/* done is called once, later, with a stream or NULL. Streams are closed with
 * transport_close_stream. */
typedef void transport_connected(void *userdata, uv_stream_t *stream);
bool transport_connect(struct transport *t, enum connection_kind kind, uint64_t to, const char *url,
                       transport_connected *done, void *userdata);
void transport_close_stream(uv_stream_t *stream);
/* Ends listening and pending connects (whose done is called); free when the loop has run dry. */
void transport_stop(struct transport *t);
void transport_free(struct transport *t);

struct url {
    bool tls;
    char host[256];
    char port[8];
};
bool url_parse(const char *text, struct url *out, struct error **err);
