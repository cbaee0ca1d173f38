/* A client of etcd's v3 API by its JSON gateway (paths under /v3/), over libcurl. Thread-safe.
 * Connections are kept; requests go to the server that answered last, and to the next one when it
 * does not. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

struct etcd_options {
    const char *servers;                        /* comma-separated URLs */
    const char *ca_file, *cert_file, *key_file; /* NULL: none */
};
struct etcd_client;
struct etcd_client *etcd_client_new(const struct etcd_options *o, struct error **err);
void etcd_client_free(struct etcd_client *c);

enum etcd_outcome {
    ETCD_DONE,
    ETCD_FAILED,  /* it was not done: refused, or no server could be reached */
    ETCD_UNKNOWN, /* it was sent, and nobody knows whether it was done */
};
/* One request. `again`: it may be sent twice without harm (reads), so that a lost answer is asked
 * for again until timeout_ms. On ETCD_DONE *answer is the caller's. resent (may be NULL): the
 * answer may be the one to a second copy of the request. */
enum etcd_outcome etcd_call(struct etcd_client *c, const char *path, const char *body, bool again,
                            int timeout_ms, cJSON **answer, bool *resent, struct error **err);
/* Asks which server leads the others and goes on with that one: a follower passes writes on and
 * learns of them later. Waits at most half a second for each. True when the server was changed. */
bool etcd_prefer_leader(struct etcd_client *c);
bool etcd_error_compacted(const struct error *e);
bool etcd_error_no_lease(const struct error *e);

/* A watch on everything from a revision on. on_result is called with each answer (borrowed) on the
 * calling thread; false ends the watch. Returns when the stream has ended, for whatever reason. */
struct etcd_watch;
struct etcd_watch *etcd_watch_new(struct etcd_client *c);
void etcd_watch_free(struct etcd_watch *w);
bool etcd_watch_run(struct etcd_watch *w, uint64_t start_revision,
                    bool (*on_result)(void *userdata, const cJSON *result), void *userdata,
                    struct error **err);
/* From any thread: ends a running etcd_watch_run() or the next one; the one after that tries
 * another server. */
void etcd_watch_break(struct etcd_watch *w);

/* int64 in protobuf's JSON form: a string (or a number). */
uint64_t etcd_uint(const cJSON *o, const char *name);
/* Base64 member, decoded; b is appended to. */
bool etcd_bytes(const cJSON *o, const char *name, struct buf *b);
/* Appends "name":"<base64>" */
void etcd_add_bytes(struct buf *b, const char *name, const void *p, size_t n);
/* The revision in answer.header. */
uint64_t etcd_header_revision(const cJSON *answer);
