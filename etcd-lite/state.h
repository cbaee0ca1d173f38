/* The replicated state machine: all that the raft log builds up. Applying the same log gives the
 * same state on every member, so nothing here looks at clocks, chance or who leads. */
#pragma once
#include <pthread.h>
#include "etcd-lite/api.h"
#include "etcd-lite/lease.h"
#include "etcd-lite/members.h"
#include "etcd-lite/mvcc.h"
#include "etcd-lite/status.h"

struct state {
    /* The raft thread writes under the write lock and reads without; all others read under the read
     * lock. */
    pthread_rwlock_t lock;
    struct mvcc *kv;
    struct lessor *leases;
    struct member_info *members;
    size_t n_members;
    bool members_known; /* who belongs to the cluster; else only what members said of themselves */
    uint64_t *removed;  /* members that were; they never come back */
    size_t n_removed;
    struct alarm_member *alarms; /* active */
    size_t n_alarms;
    /* Monotonic milliseconds for lease deadlines, which are no part of the state. */
    int64_t (*now_ms)(void);
};
void state_init(struct state *s, int64_t (*now_ms)(void));
void state_clear(struct state *s);
/* alarm.c. While NOSPACE is active for any member, nothing is added. */
void state_add_alarm(struct state *s, int64_t member, int64_t alarm);
bool state_has_alarm(const struct state *s, int64_t alarm);
void state_list_alarms(const struct state *s, int64_t alarm, struct arena *a, struct msg_list *out);
void state_apply_alarm(struct state *s, const struct alarm_request *r, struct arena *a,
                       struct alarm_response *out);
bool txn_puts(const struct txn_request *t); /* may, by either branch */

/* The answer to a command; only the one that fits is set. Keys and values point into the store: use
 * them before the state changes again. Headers carry the revision only; whoever answers the client
 * adds the rest. */
struct apply_result {
    enum kv_status status;
    const struct msg_type *type; /* of response; NULL on failure */
    void *response;
    struct response_header *header; /* response's */
};
/* Needs the write lock. */
void state_apply(struct state *s, const struct command *c, struct arena *a,
                 struct apply_result *out);

/* Needs the read lock, or the raft thread. pins: NULL, or gets all versions that the answer points
 * into, referenced, so that it may be used after the lock is given up (kv_unref each). */
struct version_pins {
    struct kv_version **items;
    size_t n, cap;
};
void version_pins_clear(struct version_pins *p);
enum kv_status state_range(const struct state *s, const struct range_request *r, struct arena *a,
                           struct range_response *out, struct version_pins *pins);
void key_value_fill(struct key_value *out, const struct kv_version *v);

/* Checks that need no state; etcd makes them before a request enters the log. */
#define TXN_MAX_OPS 128
enum kv_status check_range(const struct range_request *r);
enum kv_status check_put(const struct put_request *r);
enum kv_status check_delete_range(const struct delete_range_request *r);
enum kv_status check_txn(const struct txn_request *r);
