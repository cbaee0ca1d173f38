/* The node authorizer: what a kubelet (system:node:<name> in group system:nodes) may do.
 * https://kubernetes.io/docs/reference/access-authn-authz/node/
 *
 * Writes are limited to the kubelet's own node and lease here, and to pods of its node by the write
 * path (registry/admission.c), which sees the stored pod. */
#include <string.h>
#include "apiserver/auth/auth.h"
#include "common/text.h"

const char *auth_node_name(const struct api_user *u)
{
    if (!u->name || strncmp(u->name, NODE_USER_PREFIX, sizeof NODE_USER_PREFIX - 1) != 0)
        return NULL;
    const char *name = u->name + sizeof NODE_USER_PREFIX - 1;
    return *name && api_user_in_group(u, GROUP_NODES) ? name : NULL;
}

enum scope { ANY, OWN_NAME, OWN_OR_NEW, OWN_LEASE, OF_A_POD };
static const struct {
    const char *group, *resource, *subresource, *verbs;
    enum scope scope;
} rules[] = {
    {"", "nodes", "", "get,list,watch", ANY},
    {"", "nodes", "", "create", ANY}, /* the name is in the body: the write path looks */
    {"", "nodes", "", "update,patch,delete", OWN_NAME},
    {"", "nodes", "status", "get,update,patch", OWN_NAME},
    {"", "pods", "", "get,list,watch,create,delete", ANY}, /* writes: the write path looks */
    {"", "pods", "status", "get,update,patch", ANY},       /* so it does here */
    {"", "pods", "eviction", "create", ANY},               /* and here */
    {"", "services", "", "get,list,watch", ANY},
    {"", "endpoints", "", "get", ANY},
    {"", "events", "", "create,update,patch", ANY},
    {"events.k8s.io", "events", "", "create,update,patch", ANY},
    {"coordination.k8s.io", "leases", "", "create,get,update,patch,delete", OWN_LEASE},
    /* One object at a time: a list or watch limited to one name counts as one. */
    {"", "configmaps", "", "get,list,watch", OF_A_POD},
    {"", "secrets", "", "get,list,watch", OF_A_POD},
    {"", "persistentvolumeclaims", "", "get", ANY},
    {"", "persistentvolumes", "", "get", ANY},
    {"", "serviceaccounts", "", "get", ANY},
    {"", "serviceaccounts", "token", "create", OF_A_POD},
    {"node.k8s.io", "runtimeclasses", "", "get,list,watch", ANY},
    {"storage.k8s.io", "csidrivers", "", "get,list,watch", ANY},
    {"storage.k8s.io", "volumeattachments", "", "get", ANY},
    {"storage.k8s.io", "csinodes", "", "get,create,update,patch,delete", OWN_OR_NEW},
    {"certificates.k8s.io", "certificatesigningrequests", "", "create,get,list,watch", ANY},
    {"authentication.k8s.io", "tokenreviews", "", "create", ANY},
    {"authorization.k8s.io", "subjectaccessreviews", "", "create", ANY},
    {"authorization.k8s.io", "localsubjectaccessreviews", "", "create", ANY},
};

static bool in_scope(enum scope scope, const struct auth_attributes *a, const char *node,
                     struct buf *reason)
{
    bool own = !strcmp(a->name, node), creates = !strcmp(a->verb, "create");
    switch (scope) {
    case ANY:
        return true;
    case OWN_NAME:
        if (!own)
            buf_printf(reason, "node '%s' cannot %s node '%s', only its own Node object", node,
                       a->verb, a->name);
        return own;
    case OWN_OR_NEW:
        if (!own && !creates)
            buf_adds(reason, "can only access CSINode with the same name as the requesting node");
        return own || creates;
    case OWN_LEASE:
        if (strcmp(a->ns, "kube-node-lease") != 0) {
            buf_adds(reason, "can only access leases in the \"kube-node-lease\" system namespace");
            return false;
        }
        if (!own && !creates)
            buf_adds(reason,
                     "can only access node lease with the same name as the requesting node");
        return own || creates;
    case OF_A_POD:
        if (!*a->name)
            buf_adds(reason, "No Object name found");
        else if (node_graph_has(node, a->resource, a->ns, a->name))
            return true;
        else
            buf_printf(reason, "no relationship found between node '%s' and this object", node);
        return false;
    }
    return false;
}

bool node_authorize(const struct auth_attributes *a, bool *decided, struct buf *reason)
{
    const char *node = auth_node_name(a->user);
    *decided = node != NULL && a->is_resource;
    if (!*decided)
        return false;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!strcmp(rules[i].group, a->group) && !strcmp(rules[i].resource, a->resource) &&
            !strcmp(rules[i].subresource, a->subresource) && one_of(a->verb, rules[i].verbs))
            return in_scope(rules[i].scope, a, node, reason);
    return false;
}
