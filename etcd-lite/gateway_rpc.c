/* etcd's services over gRPC: the same handlers as behind the JSON paths. */
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/gateway_internal.h"

#define OVERHEAD (512u << 10) /* what etcd lets a message be larger than a request */
enum { GRPC_OK = 0, GRPC_CODE_INTERNAL = 13 };

struct rpc_route {
    gateway_handler *handler;
    bool streaming;
};

static void on_message(void *userdata, struct rpc *r, char *message, size_t len)
{
    struct gateway *g = userdata;
    const struct rpc_route *route = rpc_get_method(r)->data;
    if (!message) {
        /* An open watch goes on without further requests. */
        if (route->streaming && rpc_data(r))
            return;
        if (route->streaming)
            rpc_finish(r, GRPC_OK, NULL);
        else
            rpc_finish(r, GRPC_CODE_INTERNAL, "the request has no message");
        return;
    }
    struct call *c = mem_alloc(sizeof(*c));
    c->g = g;
    c->rpc = r;
    c->message = message;
    c->message_len = len;
    struct server_status st;
    if (!rpc_data(r) && rpc_metadata_is(r, "hasleader", "true") &&
        (server_get_status(g->server, &st), !st.leader))
        call_fail(c, KV_NO_LEADER);
    else if (rpc_data(r) || !call_refused_by_learner(c, route->handler))
        route->handler(c);
}

#define ROUTE(handler, streaming) &(const struct rpc_route){handler, streaming}
static const struct rpc_method methods[] = {
    {"/etcdserverpb.KV/Range", on_message, NULL, ROUTE(handle_range, false)},
    {"/etcdserverpb.KV/Put", on_message, NULL, ROUTE(handle_put, false)},
    {"/etcdserverpb.KV/DeleteRange", on_message, NULL, ROUTE(handle_delete_range, false)},
    {"/etcdserverpb.KV/Txn", on_message, NULL, ROUTE(handle_txn, false)},
    {"/etcdserverpb.KV/Compact", on_message, NULL, ROUTE(handle_compaction, false)},
    {"/etcdserverpb.Watch/Watch", on_message, watch_on_gone, ROUTE(handle_watch, true)},
    {"/etcdserverpb.Lease/LeaseGrant", on_message, NULL, ROUTE(handle_lease_grant, false)},
    {"/etcdserverpb.Lease/LeaseRevoke", on_message, NULL, ROUTE(handle_lease_revoke, false)},
    {"/etcdserverpb.Lease/LeaseKeepAlive", on_message, NULL, ROUTE(handle_lease_keep_alive, true)},
    {"/etcdserverpb.Lease/LeaseTimeToLive", on_message, NULL,
     ROUTE(handle_lease_time_to_live, false)},
    {"/etcdserverpb.Lease/LeaseLeases", on_message, NULL, ROUTE(handle_lease_leases, false)},
    {"/etcdserverpb.Cluster/MemberList", on_message, NULL, ROUTE(handle_member_list, false)},
    {"/etcdserverpb.Cluster/MemberAdd", on_message, NULL, ROUTE(handle_member_add, false)},
    {"/etcdserverpb.Cluster/MemberRemove", on_message, NULL, ROUTE(handle_member_remove, false)},
    {"/etcdserverpb.Cluster/MemberUpdate", on_message, NULL, ROUTE(handle_member_update, false)},
    {"/etcdserverpb.Cluster/MemberPromote", on_message, NULL, ROUTE(handle_member_promote, false)},
    {"/etcdserverpb.Maintenance/Alarm", on_message, NULL, ROUTE(handle_alarm, false)},
    {"/etcdserverpb.Maintenance/Status", on_message, NULL, ROUTE(handle_status, false)},
    {"/etcdserverpb.Maintenance/Defragment", on_message, NULL, ROUTE(handle_defragment, false)},
    {"/etcdserverpb.Maintenance/Hash", on_message, NULL, ROUTE(handle_hash, false)},
    {"/etcdserverpb.Maintenance/HashKV", on_message, NULL, ROUTE(handle_hash_kv, false)},
    {"/etcdserverpb.Maintenance/Snapshot", on_message, NULL, ROUTE(handle_snapshot, false)},
    {"/etcdserverpb.Maintenance/MoveLeader", on_message, NULL, ROUTE(handle_move_leader, false)},
};

void gateway_add_rpc(void *gateway, int fd)
{
    struct gateway *g = gateway;
    pthread_mutex_lock(&g->rpc_lock);
    if (!g->rpc && !g->rpc_failed && !atomic_load(&g->stopping)) {
        cleanup_error struct error *e = NULL;
        g->rpc = rpc_server_start(&(struct rpc_server_options){.methods = methods,
                                                               .n_methods = ARRAY_LEN(methods),
                                                               .max_message =
                                                                   g->max_request + OVERHEAD,
                                                               .userdata = g},
                                  &e);
        g->rpc_failed = !g->rpc;
        if (g->rpc_failed)
            log_error("Cannot serve gRPC clients", "err", error_message(e));
    }
    if (g->rpc && !atomic_load(&g->stopping))
        rpc_server_add(g->rpc, fd);
    else
        close(fd);
    pthread_mutex_unlock(&g->rpc_lock);
}
