/* Who asks, and what may they do.
 *
 * Authentication: a client certificate of the cluster's CA (CN = user, O = groups), else anonymous.
 * Authorization: system:masters may do all; kubelets by the node authorizer; everybody else by RBAC
 * rules. Nothing is allowed that no rule allows. Nothing here blocks: it runs on I/O threads. */
#pragma once
#include <stdbool.h>
#include "apiserver/server/request.h"
#include "common/buf.h"
#include "common/error.h"

#define USER_ANONYMOUS        "system:anonymous"
#define GROUP_UNAUTHENTICATED "system:unauthenticated"
#define GROUP_AUTHENTICATED   "system:authenticated"
#define GROUP_MASTERS         "system:masters"
#define GROUP_NODES           "system:nodes"
#define NODE_USER_PREFIX      "system:node:"
#define SA_USER_PREFIX        "system:serviceaccount:"

/* What is asked for (Kubernetes' authorizer.Attributes). No string is NULL. */
struct auth_attributes {
    const struct api_user *user;
    const char *verb;
    bool is_resource;
    const char *group, *version, *resource, *subresource, *ns, *name; /* resources */
    const char *path;                                                 /* other paths */
};
/* May the user do it? When not, a reason may be appended to `reason`. */
bool auth_allowed(const struct auth_attributes *a, struct buf *reason);
void auth_attributes_of(const struct api_request *req, struct auth_attributes *out);
/* 403 with Kubernetes' words. */
void auth_forbidden(struct error **err, const struct auth_attributes *a, const char *reason);

/* The name of the node when the user is a kubelet; NULL for anybody else. */
const char *auth_node_name(const struct api_user *u);
/* Kubelets' rights; `decided` is false when the user is none. */
bool node_authorize(const struct auth_attributes *a, bool *decided, struct buf *reason);

/* Starts to keep track of which Secrets and ConfigMaps the pods of each node refer to. */
bool node_graph_start(struct storage *storage, struct error **err);
/* resource: "secrets" or "configmaps". Before the start (and in tests) nothing is known. */
bool node_graph_has(const char *node, const char *resource, const char *ns, const char *name);

/* Impersonate-User, -Group, -Uid: replaces req->user if the real user may do that. */
bool auth_impersonate(struct api_request *req, struct error **err);

void api_user_set(struct api_user *u, const char *name, const char *const *groups);
void api_user_clear(struct api_user *u);

/* create of the virtual resources of authentication.k8s.io and authorization.k8s.io; object is the
 * decoded body, changed in place into the answer. False with an error. */
bool access_review(struct api_request *req, cJSON *object, struct error **err);
/* Is this resource one of them? */
bool access_review_handles(const struct resource *r);
