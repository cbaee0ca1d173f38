#include "etcd-lite/api.h"

/* One line a field: its kind, its name and number in the protocol, its place in the struct. */
#define SCALAR(T, kind_, name_, number_, member_)                                                  \
    {                                                                                              \
        name_, number_, kind_, false, offsetof(struct T, member_), NULL, NULL                      \
    }
#define ENUM(T, name_, number_, member_, names_)                                                   \
    {                                                                                              \
        name_, number_, MSG_ENUM, false, offsetof(struct T, member_), NULL, names_                 \
    }
#define SUB(T, name_, number_, member_, type_)                                                     \
    {                                                                                              \
        name_, number_, MSG_SUB, false, offsetof(struct T, member_), &type_, NULL                  \
    }
#define LIST(T, name_, number_, member_, type_)                                                    \
    {                                                                                              \
        name_, number_, MSG_SUB, true, offsetof(struct T, member_), &type_, NULL                   \
    }
#define REPEATED(T, kind_, name_, number_, member_)                                                \
    {                                                                                              \
        name_, number_, kind_, true, offsetof(struct T, member_), NULL, NULL                       \
    }
#define TYPE(var, T, proto_name, ...)                                                              \
    static const struct msg_field var##_fields[] = {__VA_ARGS__};                                  \
    const struct msg_type var = {proto_name, sizeof(struct T), var##_fields,                       \
                                 sizeof(var##_fields) / sizeof(var##_fields[0])}
/* Types that only others refer to. */
#define LOCAL_TYPE(var, T, proto_name, ...)                                                        \
    static const struct msg_field var##_fields[] = {__VA_ARGS__};                                  \
    static const struct msg_type var = {proto_name, sizeof(struct T), var##_fields,                \
                                        sizeof(var##_fields) / sizeof(var##_fields[0])}

static const char *const sort_orders[] = {"NONE", "ASCEND", "DESCEND", NULL};
static const char *const sort_targets[] = {"KEY", "VERSION", "CREATE", "MOD", "VALUE", NULL};
static const char *const compare_results[] = {"EQUAL", "GREATER", "LESS", "NOT_EQUAL", NULL};
static const char *const compare_targets[] = {"VERSION", "CREATE", "MOD", "VALUE", "LEASE", NULL};
static const char *const event_types[] = {"PUT", "DELETE", NULL};
static const char *const filter_types[] = {"NOPUT", "NODELETE", NULL};
static const char *const alarm_actions[] = {"GET", "ACTIVATE", "DEACTIVATE", NULL};
static const char *const alarm_types[] = {"NONE", "NOSPACE", "CORRUPT", NULL};

TYPE(response_header_type, response_header, "etcdserverpb.ResponseHeader",
     SCALAR(response_header, MSG_UINT64, "cluster_id", 1, cluster_id),
     SCALAR(response_header, MSG_UINT64, "member_id", 2, member_id),
     SCALAR(response_header, MSG_INT64, "revision", 3, revision),
     SCALAR(response_header, MSG_UINT64, "raft_term", 4, raft_term));
TYPE(key_value_type, key_value, "mvccpb.KeyValue", SCALAR(key_value, MSG_BYTES, "key", 1, key),
     SCALAR(key_value, MSG_INT64, "create_revision", 2, create_revision),
     SCALAR(key_value, MSG_INT64, "mod_revision", 3, mod_revision),
     SCALAR(key_value, MSG_INT64, "version", 4, version),
     SCALAR(key_value, MSG_BYTES, "value", 5, value),
     SCALAR(key_value, MSG_INT64, "lease", 6, lease));
TYPE(event_type, event, "mvccpb.Event", ENUM(event, "type", 1, type, event_types),
     SUB(event, "kv", 2, kv, key_value_type), SUB(event, "prev_kv", 3, prev_kv, key_value_type));

TYPE(range_request_type, range_request, "etcdserverpb.RangeRequest",
     SCALAR(range_request, MSG_BYTES, "key", 1, key),
     SCALAR(range_request, MSG_BYTES, "range_end", 2, range_end),
     SCALAR(range_request, MSG_INT64, "limit", 3, limit),
     SCALAR(range_request, MSG_INT64, "revision", 4, revision),
     ENUM(range_request, "sort_order", 5, sort_order, sort_orders),
     ENUM(range_request, "sort_target", 6, sort_target, sort_targets),
     SCALAR(range_request, MSG_BOOL, "serializable", 7, serializable),
     SCALAR(range_request, MSG_BOOL, "keys_only", 8, keys_only),
     SCALAR(range_request, MSG_BOOL, "count_only", 9, count_only),
     SCALAR(range_request, MSG_INT64, "min_mod_revision", 10, min_mod_revision),
     SCALAR(range_request, MSG_INT64, "max_mod_revision", 11, max_mod_revision),
     SCALAR(range_request, MSG_INT64, "min_create_revision", 12, min_create_revision),
     SCALAR(range_request, MSG_INT64, "max_create_revision", 13, max_create_revision));
TYPE(range_response_type, range_response, "etcdserverpb.RangeResponse",
     SUB(range_response, "header", 1, header, response_header_type),
     LIST(range_response, "kvs", 2, kvs, key_value_type),
     SCALAR(range_response, MSG_BOOL, "more", 3, more),
     SCALAR(range_response, MSG_INT64, "count", 4, count));
TYPE(put_request_type, put_request, "etcdserverpb.PutRequest",
     SCALAR(put_request, MSG_BYTES, "key", 1, key),
     SCALAR(put_request, MSG_BYTES, "value", 2, value),
     SCALAR(put_request, MSG_INT64, "lease", 3, lease),
     SCALAR(put_request, MSG_BOOL, "prev_kv", 4, prev_kv),
     SCALAR(put_request, MSG_BOOL, "ignore_value", 5, ignore_value),
     SCALAR(put_request, MSG_BOOL, "ignore_lease", 6, ignore_lease));
TYPE(put_response_type, put_response, "etcdserverpb.PutResponse",
     SUB(put_response, "header", 1, header, response_header_type),
     SUB(put_response, "prev_kv", 2, prev_kv, key_value_type));
TYPE(delete_range_request_type, delete_range_request, "etcdserverpb.DeleteRangeRequest",
     SCALAR(delete_range_request, MSG_BYTES, "key", 1, key),
     SCALAR(delete_range_request, MSG_BYTES, "range_end", 2, range_end),
     SCALAR(delete_range_request, MSG_BOOL, "prev_kv", 3, prev_kv));
TYPE(delete_range_response_type, delete_range_response, "etcdserverpb.DeleteRangeResponse",
     SUB(delete_range_response, "header", 1, header, response_header_type),
     SCALAR(delete_range_response, MSG_INT64, "deleted", 2, deleted),
     LIST(delete_range_response, "prev_kvs", 3, prev_kvs, key_value_type));
LOCAL_TYPE(request_op_type, request_op, "etcdserverpb.RequestOp",
           SUB(request_op, "request_range", 1, range, range_request_type),
           SUB(request_op, "request_put", 2, put, put_request_type),
           SUB(request_op, "request_delete_range", 3, delete_range, delete_range_request_type),
           SUB(request_op, "request_txn", 4, txn, txn_request_type));
LOCAL_TYPE(response_op_type, response_op, "etcdserverpb.ResponseOp",
           SUB(response_op, "response_range", 1, range, range_response_type),
           SUB(response_op, "response_put", 2, put, put_response_type),
           SUB(response_op, "response_delete_range", 3, delete_range, delete_range_response_type),
           SUB(response_op, "response_txn", 4, txn, txn_response_type));
LOCAL_TYPE(compare_type, compare, "etcdserverpb.Compare",
           ENUM(compare, "result", 1, result, compare_results),
           ENUM(compare, "target", 2, target, compare_targets),
           SCALAR(compare, MSG_BYTES, "key", 3, key),
           SCALAR(compare, MSG_INT64, "version", 4, version),
           SCALAR(compare, MSG_INT64, "create_revision", 5, create_revision),
           SCALAR(compare, MSG_INT64, "mod_revision", 6, mod_revision),
           SCALAR(compare, MSG_BYTES, "value", 7, value),
           SCALAR(compare, MSG_INT64, "lease", 8, lease),
           SCALAR(compare, MSG_BYTES, "range_end", 64, range_end));
TYPE(txn_request_type, txn_request, "etcdserverpb.TxnRequest",
     LIST(txn_request, "compare", 1, compare, compare_type),
     LIST(txn_request, "success", 2, success, request_op_type),
     LIST(txn_request, "failure", 3, failure, request_op_type));
TYPE(txn_response_type, txn_response, "etcdserverpb.TxnResponse",
     SUB(txn_response, "header", 1, header, response_header_type),
     SCALAR(txn_response, MSG_BOOL, "succeeded", 2, succeeded),
     LIST(txn_response, "responses", 3, responses, response_op_type));
TYPE(compaction_request_type, compaction_request, "etcdserverpb.CompactionRequest",
     SCALAR(compaction_request, MSG_INT64, "revision", 1, revision),
     SCALAR(compaction_request, MSG_BOOL, "physical", 2, physical));
TYPE(header_response_type, header_response, "etcdserverpb.CompactionResponse",
     SUB(header_response, "header", 1, header, response_header_type));
const struct msg_type empty_type = {"etcdserverpb.StatusRequest", sizeof(struct empty), NULL, 0};
TYPE(hash_kv_request_type, hash_kv_request, "etcdserverpb.HashKVRequest",
     SCALAR(hash_kv_request, MSG_INT64, "revision", 1, revision));
TYPE(hash_kv_response_type, hash_kv_response, "etcdserverpb.HashKVResponse",
     SUB(hash_kv_response, "header", 1, header, response_header_type),
     SCALAR(hash_kv_response, MSG_UINT32, "hash", 2, hash),
     SCALAR(hash_kv_response, MSG_INT64, "compact_revision", 3, compact_revision));

LOCAL_TYPE(watch_create_request_type, watch_create_request, "etcdserverpb.WatchCreateRequest",
           SCALAR(watch_create_request, MSG_BYTES, "key", 1, key),
           SCALAR(watch_create_request, MSG_BYTES, "range_end", 2, range_end),
           SCALAR(watch_create_request, MSG_INT64, "start_revision", 3, start_revision),
           SCALAR(watch_create_request, MSG_BOOL, "progress_notify", 4, progress_notify),
           {"filters", 5, MSG_ENUM, true, offsetof(struct watch_create_request, filters), NULL,
            filter_types},
           SCALAR(watch_create_request, MSG_BOOL, "prev_kv", 6, prev_kv),
           SCALAR(watch_create_request, MSG_INT64, "watch_id", 7, watch_id),
           SCALAR(watch_create_request, MSG_BOOL, "fragment", 8, fragment));
LOCAL_TYPE(watch_cancel_request_type, watch_cancel_request, "etcdserverpb.WatchCancelRequest",
           SCALAR(watch_cancel_request, MSG_INT64, "watch_id", 1, watch_id));
TYPE(watch_request_type, watch_request, "etcdserverpb.WatchRequest",
     SUB(watch_request, "create_request", 1, create_request, watch_create_request_type),
     SUB(watch_request, "cancel_request", 2, cancel_request, watch_cancel_request_type),
     SUB(watch_request, "progress_request", 3, progress_request, empty_type));
TYPE(watch_response_type, watch_response, "etcdserverpb.WatchResponse",
     SUB(watch_response, "header", 1, header, response_header_type),
     SCALAR(watch_response, MSG_INT64, "watch_id", 2, watch_id),
     SCALAR(watch_response, MSG_BOOL, "created", 3, created),
     SCALAR(watch_response, MSG_BOOL, "canceled", 4, canceled),
     SCALAR(watch_response, MSG_INT64, "compact_revision", 5, compact_revision),
     SCALAR(watch_response, MSG_STRING, "cancel_reason", 6, cancel_reason),
     SCALAR(watch_response, MSG_BOOL, "fragment", 7, fragment),
     LIST(watch_response, "events", 11, events, event_type));

TYPE(lease_grant_request_type, lease_grant_request, "etcdserverpb.LeaseGrantRequest",
     SCALAR(lease_grant_request, MSG_INT64, "TTL", 1, ttl),
     SCALAR(lease_grant_request, MSG_INT64, "ID", 2, id));
TYPE(lease_grant_response_type, lease_grant_response, "etcdserverpb.LeaseGrantResponse",
     SUB(lease_grant_response, "header", 1, header, response_header_type),
     SCALAR(lease_grant_response, MSG_INT64, "ID", 2, id),
     SCALAR(lease_grant_response, MSG_INT64, "TTL", 3, ttl),
     SCALAR(lease_grant_response, MSG_STRING, "error", 4, error));
TYPE(lease_id_request_type, lease_id_request, "etcdserverpb.LeaseRevokeRequest",
     SCALAR(lease_id_request, MSG_INT64, "ID", 1, id));
TYPE(lease_keep_alive_response_type, lease_keep_alive_response,
     "etcdserverpb.LeaseKeepAliveResponse",
     SUB(lease_keep_alive_response, "header", 1, header, response_header_type),
     SCALAR(lease_keep_alive_response, MSG_INT64, "ID", 2, id),
     SCALAR(lease_keep_alive_response, MSG_INT64, "TTL", 3, ttl));
TYPE(lease_time_to_live_request_type, lease_time_to_live_request,
     "etcdserverpb.LeaseTimeToLiveRequest",
     SCALAR(lease_time_to_live_request, MSG_INT64, "ID", 1, id),
     SCALAR(lease_time_to_live_request, MSG_BOOL, "keys", 2, keys));
TYPE(lease_time_to_live_response_type, lease_time_to_live_response,
     "etcdserverpb.LeaseTimeToLiveResponse",
     SUB(lease_time_to_live_response, "header", 1, header, response_header_type),
     SCALAR(lease_time_to_live_response, MSG_INT64, "ID", 2, id),
     SCALAR(lease_time_to_live_response, MSG_INT64, "TTL", 3, ttl),
     SCALAR(lease_time_to_live_response, MSG_INT64, "grantedTTL", 4, granted_ttl),
     REPEATED(lease_time_to_live_response, MSG_BYTES, "keys", 5, keys));
TYPE(lease_record_type, lease_record, "leasepb.Lease", SCALAR(lease_record, MSG_INT64, "ID", 1, id),
     SCALAR(lease_record, MSG_INT64, "TTL", 2, ttl));
LOCAL_TYPE(lease_status_type, lease_status, "etcdserverpb.LeaseStatus",
           SCALAR(lease_status, MSG_INT64, "ID", 1, id));
TYPE(lease_leases_response_type, lease_leases_response, "etcdserverpb.LeaseLeasesResponse",
     SUB(lease_leases_response, "header", 1, header, response_header_type),
     LIST(lease_leases_response, "leases", 2, leases, lease_status_type));

TYPE(member_type, member, "etcdserverpb.Member", SCALAR(member, MSG_UINT64, "ID", 1, id),
     SCALAR(member, MSG_STRING, "name", 2, name),
     REPEATED(member, MSG_STRING, "peerURLs", 3, peer_urls),
     REPEATED(member, MSG_STRING, "clientURLs", 4, client_urls),
     SCALAR(member, MSG_BOOL, "isLearner", 5, is_learner));
TYPE(member_list_request_type, member_list_request, "etcdserverpb.MemberListRequest",
     SCALAR(member_list_request, MSG_BOOL, "linearizable", 1, linearizable));
TYPE(member_list_response_type, member_list_response, "etcdserverpb.MemberListResponse",
     SUB(member_list_response, "header", 1, header, response_header_type),
     LIST(member_list_response, "members", 2, members, member_type));
TYPE(member_add_request_type, member_add_request, "etcdserverpb.MemberAddRequest",
     REPEATED(member_add_request, MSG_STRING, "peerURLs", 1, peer_urls),
     SCALAR(member_add_request, MSG_BOOL, "isLearner", 2, is_learner));
TYPE(member_add_response_type, member_add_response, "etcdserverpb.MemberAddResponse",
     SUB(member_add_response, "header", 1, header, response_header_type),
     SUB(member_add_response, "member", 2, member, member_type),
     LIST(member_add_response, "members", 3, members, member_type));
TYPE(member_id_request_type, member_id_request, "etcdserverpb.MemberRemoveRequest",
     SCALAR(member_id_request, MSG_UINT64, "ID", 1, id));
TYPE(member_update_request_type, member_update_request, "etcdserverpb.MemberUpdateRequest",
     SCALAR(member_update_request, MSG_UINT64, "ID", 1, id),
     REPEATED(member_update_request, MSG_STRING, "peerURLs", 2, peer_urls));
TYPE(members_response_type, members_response, "etcdserverpb.MemberRemoveResponse",
     SUB(members_response, "header", 1, header, response_header_type),
     LIST(members_response, "members", 2, members, member_type));
TYPE(status_response_type, status_response, "etcdserverpb.StatusResponse",
     SUB(status_response, "header", 1, header, response_header_type),
     SCALAR(status_response, MSG_STRING, "version", 2, version),
     SCALAR(status_response, MSG_INT64, "dbSize", 3, db_size),
     SCALAR(status_response, MSG_UINT64, "leader", 4, leader),
     SCALAR(status_response, MSG_UINT64, "raftIndex", 5, raft_index),
     SCALAR(status_response, MSG_UINT64, "raftTerm", 6, raft_term),
     SCALAR(status_response, MSG_UINT64, "raftAppliedIndex", 7, raft_applied_index),
     REPEATED(status_response, MSG_STRING, "errors", 8, errors),
     SCALAR(status_response, MSG_INT64, "dbSizeInUse", 9, db_size_in_use),
     SCALAR(status_response, MSG_BOOL, "isLearner", 10, is_learner));
TYPE(snapshot_response_type, snapshot_response, "etcdserverpb.SnapshotResponse",
     SUB(snapshot_response, "header", 1, header, response_header_type),
     SCALAR(snapshot_response, MSG_UINT64, "remaining_bytes", 2, remaining_bytes),
     SCALAR(snapshot_response, MSG_BYTES, "blob", 3, blob));
TYPE(move_leader_request_type, move_leader_request, "etcdserverpb.MoveLeaderRequest",
     SCALAR(move_leader_request, MSG_UINT64, "targetID", 1, target_id));
TYPE(alarm_request_type, alarm_request, "etcdserverpb.AlarmRequest",
     ENUM(alarm_request, "action", 1, action, alarm_actions),
     SCALAR(alarm_request, MSG_UINT64, "memberID", 2, member_id),
     ENUM(alarm_request, "alarm", 3, alarm, alarm_types));
LOCAL_TYPE(alarm_member_type, alarm_member, "etcdserverpb.AlarmMember",
           SCALAR(alarm_member, MSG_UINT64, "memberID", 1, member_id),
           ENUM(alarm_member, "alarm", 2, alarm, alarm_types));
TYPE(alarm_response_type, alarm_response, "etcdserverpb.AlarmResponse",
     SUB(alarm_response, "header", 1, header, response_header_type),
     LIST(alarm_response, "alarms", 2, alarms, alarm_member_type));

LOCAL_TYPE(noop_request_type, noop_request, "Noop",
           SCALAR(noop_request, MSG_UINT64, "term", 1, term));
TYPE(command_type, command, "Command", SUB(command, "put", 1, put, put_request_type),
     SUB(command, "delete_range", 2, delete_range, delete_range_request_type),
     SUB(command, "txn", 3, txn, txn_request_type),
     SUB(command, "compaction", 4, compaction, compaction_request_type),
     SUB(command, "lease_grant", 5, lease_grant, lease_grant_request_type),
     SUB(command, "lease_revoke", 6, lease_revoke, lease_id_request_type),
     SUB(command, "noop", 7, noop, noop_request_type),
     SUB(command, "publish", 8, publish, member_type),
     SUB(command, "alarm", 9, alarm, alarm_request_type),
     SUB(command, "member_add", 10, member_add, member_type),
     SUB(command, "member_remove", 11, member_remove, member_id_request_type),
     SUB(command, "member_promote", 12, member_promote, member_id_request_type),
     SUB(command, "member_update", 13, member_update, member_update_request_type),
     SUB(command, "members_init", 14, members_init, member_list_response_type));
