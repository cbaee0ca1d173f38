#include "etcd-lite/status.h"

enum {
    INVALID_ARGUMENT = 3,
    NOT_FOUND = 5,
    RESOURCE_EXHAUSTED = 8,
    FAILED_PRECONDITION = 9,
    OUT_OF_RANGE = 11,
    UNIMPLEMENTED = 12,
    UNAVAILABLE = 14
};

static const struct kv_status_info infos[KV_STATUS_COUNT] = {
    [KV_OK] = {0, 200, ""},
    [KV_EMPTY_KEY] = {INVALID_ARGUMENT, 400, "etcdserver: key is not provided"},
    [KV_KEY_NOT_FOUND] = {INVALID_ARGUMENT, 400, "etcdserver: key not found"},
    [KV_VALUE_PROVIDED] = {INVALID_ARGUMENT, 400, "etcdserver: value is provided"},
    [KV_LEASE_PROVIDED] = {INVALID_ARGUMENT, 400, "etcdserver: lease is provided"},
    [KV_TOO_MANY_OPS] = {INVALID_ARGUMENT, 400, "etcdserver: too many operations in txn request"},
    [KV_DUPLICATE_KEY] = {INVALID_ARGUMENT, 400, "etcdserver: duplicate key given in txn request"},
    [KV_COMPACTED] = {OUT_OF_RANGE, 400, "etcdserver: mvcc: required revision has been compacted"},
    [KV_FUTURE_REVISION] = {OUT_OF_RANGE, 400,
                            "etcdserver: mvcc: required revision is a future revision"},
    [KV_INVALID_SORT_OPTION] = {INVALID_ARGUMENT, 400, "etcdserver: invalid sort option"},
    [KV_LEASE_NOT_FOUND] = {NOT_FOUND, 404, "etcdserver: requested lease not found"},
    [KV_LEASE_EXISTS] = {FAILED_PRECONDITION, 400, "etcdserver: lease already exists"},
    [KV_LEASE_TTL_TOO_LARGE] = {OUT_OF_RANGE, 400, "etcdserver: too large lease TTL"},
    [KV_REQUEST_TOO_LARGE] = {INVALID_ARGUMENT, 400, "etcdserver: request is too large"},
    [KV_TOO_MANY_REQUESTS] = {RESOURCE_EXHAUSTED, 429, "etcdserver: too many requests"},
    [KV_NO_SPACE] = {RESOURCE_EXHAUSTED, 429, "etcdserver: mvcc: database space exceeded"},
    [KV_NO_LEADER] = {UNAVAILABLE, 503, "etcdserver: no leader"},
    [KV_NOT_LEADER] = {FAILED_PRECONDITION, 400, "etcdserver: not leader"},
    [KV_TIMEOUT] = {UNAVAILABLE, 503, "etcdserver: request timed out"},
    [KV_TIMEOUT_LEADER_LOST] =
        {UNAVAILABLE, 503,
         "etcdserver: request timed out, possibly due to previous leader failure"},
    [KV_STOPPED] = {UNAVAILABLE, 503, "etcdserver: server stopped"},
    [KV_INVALID_ARGUMENT] = {INVALID_ARGUMENT, 400, "etcdserver: invalid argument"},
    [KV_BAD_TRANSFEREE] = {FAILED_PRECONDITION, 400, "etcdserver: bad leader transferee"},
    [KV_MEMBER_NOT_FOUND] = {NOT_FOUND, 404, "etcdserver: member not found"},
    [KV_MEMBER_EXISTS] = {FAILED_PRECONDITION, 400, "etcdserver: member ID already exist"},
    [KV_PEER_URL_EXISTS] = {FAILED_PRECONDITION, 400, "etcdserver: Peer URLs already exists"},
    [KV_MEMBER_BAD_URLS] = {INVALID_ARGUMENT, 400, "etcdserver: given member URLs are invalid"},
    [KV_MEMBER_NOT_LEARNER] = {FAILED_PRECONDITION, 400,
                               "etcdserver: can only promote a learner member"},
    [KV_LEARNER_NOT_READY] =
        {FAILED_PRECONDITION, 400,
         "etcdserver: can only promote a learner member which is in sync with leader"},
    [KV_TOO_MANY_LEARNERS] = {FAILED_PRECONDITION, 400,
                              "etcdserver: too many learner members in cluster"},
    [KV_TOO_MANY_MEMBERS] = {FAILED_PRECONDITION, 400,
                             "etcdserver: too many members in cluster"},
    [KV_NOT_ENOUGH_STARTED] =
        {FAILED_PRECONDITION, 400,
         "etcdserver: re-configuration failed due to not enough started members"},
    [KV_UNHEALTHY_CLUSTER] = {UNAVAILABLE, 503, "etcdserver: unhealthy cluster"},
    [KV_NOT_FOR_LEARNER] = {UNAVAILABLE, 503, "etcdserver: rpc not supported for learner"},
    [KV_UNIMPLEMENTED] = {UNIMPLEMENTED, 501, "etcdserver: not implemented"},
};

const struct kv_status_info *kv_status_info(enum kv_status s)
{
    return &infos[s];
}
