/* Who asks the kubelet's server for something, and may they? Both are delegated to the API: bearer
 * tokens by TokenReview, permissions by SubjectAccessReview on nodes/<subresource>, with short
 * memories as in Kubernetes.
 * https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/ */
#pragma once
#include <stdbool.h>
#include "common/httpd.h"
#include "kubelet/kubelet.h"

struct server_auth;
struct server_auth *server_auth_new(struct kubelet *k, bool anonymous);

/* A request's attributes. Static strings. */
struct server_attributes {
    const char *verb;            /* "get", "create", ... */
    const char *subresources[2]; /* any of them allows: "stats", "metrics", "log", "proxy", ... */
};
void server_attributes(const char *method, const char *path, struct server_attributes *out);

enum server_verdict { SERVER_ALLOWED, SERVER_UNKNOWN_USER, SERVER_FORBIDDEN, SERVER_MUST_ASK };
/* Without asking anybody: what the certificate and the memory tell. I/O thread. *who (caller frees,
 * may stay NULL): the user's name. */
enum server_verdict server_auth_known(struct server_auth *a, const struct httpd_request *r,
                                      char **who);
/* Asks the API if need be; may block. */
enum server_verdict server_auth_ask(struct server_auth *a, const struct httpd_request *r,
                                    char **who);
