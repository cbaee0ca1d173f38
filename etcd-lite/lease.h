/* Leases: granted and revoked through the log, so every member knows them with their keys; expiry
 * is watched by the leader alone, on its own monotonic clock. A new leader starts every lease anew
 * with its full time, as etcd does. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "etcd-lite/mvcc.h"

#define LEASE_MIN_TTL 2 /* seconds; shorter grants are raised to it (etcd: 1.5 election timeouts)  \
                         */
#define LEASE_MAX_TTL 9000000000

struct lease {
    int64_t id;
    int64_t ttl;       /* seconds, as granted */
    int64_t expiry_ms; /* monotonic; meaningful on the leader */
    struct kv_key **keys;
    uint32_t n_keys, cap_keys;
    uint32_t heap_slot;
    bool revoking; /* a revocation has been proposed */
    struct lease *next_in_bucket;
};

struct lessor;
struct lessor *lessor_new(void);
void lessor_free(struct lessor *l);
size_t lessor_count(const struct lessor *l);

struct lease *lessor_find(const struct lessor *l, int64_t id);
/* NULL when the id is taken. */
struct lease *lessor_grant(struct lessor *l, int64_t id, int64_t ttl, int64_t now_ms);
void lessor_remove(struct lessor *l, struct lease *lease); /* its keys are detached, not deleted */
void lessor_attach(struct lease *lease, struct kv_key *k);
void lessor_detach(struct lease *lease, struct kv_key *k);
/* All leases, sorted by time left. Caller frees the array. */
struct lease **lessor_list(const struct lessor *l, size_t *n);

/* --- the leader's clock --- */
void lessor_promote(struct lessor *l, int64_t now_ms); /* all leases start anew */
void lessor_renew(struct lessor *l, struct lease *lease, int64_t now_ms);
/* The next lease that has expired and whose revocation has not been proposed; it is marked so. */
struct lease *lessor_expired(struct lessor *l, int64_t now_ms);
/* The revocation failed: it is tried again later. */
void lessor_retry(struct lessor *l, int64_t id, int64_t now_ms);
int64_t lessor_next_expiry(const struct lessor *l); /* INT64_MAX when there is none */
