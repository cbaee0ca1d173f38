/* etcd's v3 API messages (field names and numbers as in etcd's rpc.proto, kv.proto: the protocol),
 * and the one message that the raft log carries. */
#pragma once
#include "etcd-lite/msg.h"

#define API_VERSION "3.5.16" /* the etcd release whose behaviour is mirrored */

enum { SORT_NONE, SORT_ASCEND, SORT_DESCEND };
enum { SORT_BY_KEY, SORT_BY_VERSION, SORT_BY_CREATE, SORT_BY_MOD, SORT_BY_VALUE };
enum { COMPARE_EQUAL, COMPARE_GREATER, COMPARE_LESS, COMPARE_NOT_EQUAL };
enum { COMPARE_VERSION, COMPARE_CREATE, COMPARE_MOD, COMPARE_VALUE, COMPARE_LEASE };
enum { EVENT_PUT, EVENT_DELETE };
enum { FILTER_NOPUT, FILTER_NODELETE };
enum { ALARM_GET, ALARM_ACTIVATE, ALARM_DEACTIVATE };
enum { ALARM_NONE, ALARM_NOSPACE, ALARM_CORRUPT };

struct response_header {
    int64_t cluster_id, member_id, revision, raft_term;
};
struct key_value {
    struct bytes key;
    int64_t create_revision, mod_revision, version;
    struct bytes value;
    int64_t lease;
};
struct event {
    int64_t type;
    struct key_value *kv, *prev_kv;
};

struct range_request {
    struct bytes key, range_end;
    int64_t limit, revision, sort_order, sort_target;
    bool serializable, keys_only, count_only;
    int64_t min_mod_revision, max_mod_revision, min_create_revision, max_create_revision;
};
struct range_response {
    struct response_header *header;
    struct msg_list kvs; /* struct key_value */
    bool more;
    int64_t count;
};
struct put_request {
    struct bytes key, value;
    int64_t lease;
    bool prev_kv, ignore_value, ignore_lease;
};
struct put_response {
    struct response_header *header;
    struct key_value *prev_kv;
};
struct delete_range_request {
    struct bytes key, range_end;
    bool prev_kv;
};
struct delete_range_response {
    struct response_header *header;
    int64_t deleted;
    struct msg_list prev_kvs; /* struct key_value */
};
struct txn_request;
struct txn_response;
struct request_op { /* exactly one */
    struct range_request *range;
    struct put_request *put;
    struct delete_range_request *delete_range;
    struct txn_request *txn;
};
struct response_op {
    struct range_response *range;
    struct put_response *put;
    struct delete_range_response *delete_range;
    struct txn_response *txn;
};
struct compare {
    int64_t result, target;
    struct bytes key;
    int64_t version, create_revision, mod_revision;
    struct bytes value;
    int64_t lease;
    struct bytes range_end;
};
struct txn_request {
    struct msg_list compare;          /* struct compare */
    struct msg_list success, failure; /* struct request_op */
};
struct txn_response {
    struct response_header *header;
    bool succeeded;
    struct msg_list responses; /* struct response_op */
};
struct compaction_request {
    int64_t revision;
    bool physical;
};
struct header_response { /* any answer that carries nothing but the header */
    struct response_header *header;
};
struct empty {
    char unused;
};
struct hash_kv_request {
    int64_t revision;
};
struct hash_kv_response {
    struct response_header *header;
    int64_t hash, compact_revision;
};

struct watch_create_request {
    struct bytes key, range_end;
    int64_t start_revision;
    bool progress_notify;
    struct msg_list filters; /* int64_t */
    bool prev_kv;
    int64_t watch_id;
    bool fragment;
};
struct watch_cancel_request {
    int64_t watch_id;
};
struct watch_request {
    struct watch_create_request *create_request;
    struct watch_cancel_request *cancel_request;
    struct empty *progress_request;
};
struct watch_response {
    struct response_header *header;
    int64_t watch_id;
    bool created, canceled;
    int64_t compact_revision;
    struct bytes cancel_reason;
    bool fragment;
    struct msg_list events; /* struct event */
};

struct lease_grant_request {
    int64_t ttl, id;
};
struct lease_grant_response {
    struct response_header *header;
    int64_t id, ttl;
    struct bytes error;
};
struct lease_id_request { /* revoke, keep-alive */
    int64_t id;
};
struct lease_keep_alive_response {
    struct response_header *header;
    int64_t id, ttl;
};
struct lease_time_to_live_request {
    int64_t id;
    bool keys;
};
struct lease_time_to_live_response {
    struct response_header *header;
    int64_t id, ttl, granted_ttl;
    struct msg_list keys; /* struct bytes */
};
struct lease_record { /* as a backup has it */
    int64_t id, ttl;
};
struct lease_status {
    int64_t id;
};
struct lease_leases_response {
    struct response_header *header;
    struct msg_list leases; /* struct lease_status */
};

struct member {
    int64_t id;
    struct bytes name;
    struct msg_list peer_urls, client_urls; /* struct bytes */
    bool is_learner;
};
struct member_list_request {
    bool linearizable;
};
struct member_list_response {
    struct response_header *header;
    struct msg_list members; /* struct member */
};
struct member_add_request {
    struct msg_list peer_urls; /* struct bytes */
    bool is_learner;
};
struct member_add_response {
    struct response_header *header;
    struct member *member;
    struct msg_list members; /* struct member */
};
struct member_id_request { /* remove, promote */
    int64_t id;
};
struct member_update_request {
    int64_t id;
    struct msg_list peer_urls; /* struct bytes */
};
struct members_response { /* remove, update, promote */
    struct response_header *header;
    struct msg_list members; /* struct member */
};
struct status_response {
    struct response_header *header;
    struct bytes version;
    int64_t db_size, leader, raft_index, raft_term, raft_applied_index;
    struct msg_list errors; /* struct bytes */
    int64_t db_size_in_use;
    bool is_learner;
};
struct move_leader_request {
    int64_t target_id;
};
struct snapshot_response {
    struct response_header *header;
    int64_t remaining_bytes;
    struct bytes blob;
};
struct alarm_request {
    int64_t action, member_id, alarm;
};
struct alarm_member {
    int64_t member_id, alarm;
};
struct alarm_response {
    struct response_header *header;
    struct msg_list alarms; /* struct alarm_member */
};

/* What a raft log entry asks the state machine to do: exactly one. Numbers are of our own. */
struct noop_request {
    int64_t term; /* the term in which its proposer leads */
};
struct command {
    struct put_request *put;
    struct delete_range_request *delete_range;
    struct txn_request *txn;
    struct compaction_request *compaction;
    struct lease_grant_request *lease_grant;
    struct lease_id_request *lease_revoke;
    struct noop_request *noop;
    struct member *publish; /* a member's name and client URLs */
    struct alarm_request *alarm;
    /* Membership (members.h). */
    struct member *member_add; /* id, peer URLs, whether it is a learner */
    struct member_id_request *member_remove, *member_promote;
    struct member_update_request *member_update;
    struct member_list_response *members_init; /* a new cluster's first members */
};

extern const struct msg_type response_header_type, key_value_type, event_type, range_request_type,
    range_response_type, put_request_type, put_response_type, delete_range_request_type,
    delete_range_response_type, txn_request_type, txn_response_type, compaction_request_type,
    header_response_type, empty_type, hash_kv_request_type, hash_kv_response_type,
    watch_request_type, watch_response_type, lease_grant_request_type, lease_grant_response_type,
    lease_id_request_type, lease_keep_alive_response_type, lease_time_to_live_request_type,
    lease_time_to_live_response_type, lease_leases_response_type, member_type,
    member_list_request_type, member_list_response_type, member_add_request_type,
    member_add_response_type, member_id_request_type, member_update_request_type,
    members_response_type, status_response_type, alarm_request_type,
    alarm_response_type, move_leader_request_type, snapshot_response_type,
    lease_record_type, command_type;
