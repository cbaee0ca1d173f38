/* etcd's errors: what clients match on is the gRPC code and the message. */
#pragma once

enum kv_status {
    KV_OK,
    KV_EMPTY_KEY,
    KV_KEY_NOT_FOUND,
    KV_VALUE_PROVIDED,
    KV_LEASE_PROVIDED,
    KV_TOO_MANY_OPS,
    KV_DUPLICATE_KEY,
    KV_COMPACTED,
    KV_FUTURE_REVISION,
    KV_INVALID_SORT_OPTION,
    KV_LEASE_NOT_FOUND,
    KV_LEASE_EXISTS,
    KV_LEASE_TTL_TOO_LARGE,
    KV_REQUEST_TOO_LARGE,
    KV_TOO_MANY_REQUESTS,
    KV_NO_SPACE,
    KV_NO_LEADER,
    KV_NOT_LEADER,
    KV_TIMEOUT,
    KV_TIMEOUT_LEADER_LOST,
    KV_STOPPED,
    KV_INVALID_ARGUMENT, /* with a message of its own */
    KV_UNIMPLEMENTED,
    KV_BAD_TRANSFEREE,
    /* Members send these numbers to each other: new ones stand at the end. */
    KV_MEMBER_NOT_FOUND,
    KV_MEMBER_EXISTS,
    KV_PEER_URL_EXISTS,
    KV_MEMBER_BAD_URLS,
    KV_MEMBER_NOT_LEARNER,
    KV_LEARNER_NOT_READY,
    KV_TOO_MANY_LEARNERS,
    KV_TOO_MANY_MEMBERS,
    KV_NOT_ENOUGH_STARTED,
    KV_UNHEALTHY_CLUSTER,
    KV_NOT_FOR_LEARNER,
    KV_STATUS_COUNT
};
struct kv_status_info {
    int grpc_code;
    int http_status; /* as grpc-gateway maps the code */
    const char *message;
};
const struct kv_status_info *kv_status_info(enum kv_status s);
