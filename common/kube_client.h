/* A client of the Kubernetes API: kubeconfig, requests with JSON bodies, watches. Thread-safe: any
 * number of threads may use one client at once; connections are kept alive and reused (libcurl). */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

struct kube_client;

struct kube_client_config {
    char *server; /* "https://127.0.0.1:6443" */
    char *ca_file;
    char *cert_file; /* client certificate, PEM; may be NULL */
    char *key_file;
    char *token_file; /* bearer token, read again when it changes; may be NULL */
    char *user_agent; /* "kubelet/v1.36.0 (linux/amd64) skiff" */
    /* Inline forms of the above (PEM; the token itself); they win over the files. */
    char *ca_data, *cert_data, *key_data, *token;
    bool insecure; /* insecure-skip-tls-verify */
};
/* Reads a kubeconfig (current context; file paths and inline *-data). Free with ..._clear. */
bool kube_client_config_load(const char *kubeconfig_path, struct kube_client_config *out, struct error **err);
/* What a pod finds: the API's address in its environment, its service account's token and the cluster's CA in
 * /var/run/secrets/kubernetes.io/serviceaccount. The token is read again when the kubelet renews it. */
bool kube_client_config_in_cluster(struct kube_client_config *out, struct error **err);
/* The kubeconfig if a path is given (not NULL, not empty), else what a pod finds. */
bool kube_client_config_find(const char *kubeconfig_path, struct kube_client_config *out, struct error **err);
void kube_client_config_clear(struct kube_client_config *c);
struct kube_client *kube_client_new(const struct kube_client_config *c, struct error **err);
void kube_client_free(struct kube_client *c);

/* Where an object lives: kube_path(&b, "apps/v1", "deployments", "default", "web", "status").
 * api_version "v1" goes under /api, all others under /apis. ns, name and subresource may be NULL. */
void kube_path(struct buf *b, const char *api_version, const char *resource, const char *ns, const char *name,
               const char *subresource);
char *kube_path_new(const char *api_version, const char *resource, const char *ns, const char *name,
                    const char *subresource); /* caller frees */

/* One request. method: "GET", "POST", "PUT", "PATCH", "DELETE". body may be NULL. content_type NULL means
 * "application/json" (patches: "application/merge-patch+json", "application/strategic-merge-patch+json",
 * "application/json-patch+json"). Returns the answer's JSON, owned by the caller. An HTTP status of 400
 * and more is an error whose code, reason, message and details come from the Status; a failed connection has
 * code 0. Timeout 30 s. */
cJSON *kube_request(struct kube_client *c, const char *method, const char *path_and_query,
                    const char *content_type, const cJSON *body, struct error **err);
/* The same with a timeout of its own. */
cJSON *kube_request_timeout(struct kube_client *c, const char *method, const char *path_and_query,
                            const char *content_type, const cJSON *body, int timeout_ms, struct error **err);
/* Shorthands. */
cJSON *kube_get(struct kube_client *c, const char *path, struct error **err);
cJSON *kube_create(struct kube_client *c, const char *collection_path, const cJSON *object,
                   struct error **err);
cJSON *kube_update(struct kube_client *c, const char *path, const cJSON *object, struct error **err);
cJSON *kube_merge_patch(struct kube_client *c, const char *path, const cJSON *patch, struct error **err);
/* uid: precondition or NULL. grace_seconds: -1 for the object's own. propagation: "Background", ... or NULL.
 */
bool kube_delete(struct kube_client *c, const char *path, const char *uid, int64_t grace_seconds,
                 const char *propagation, struct error **err);

/* Streams an answer line by line (a watch). on_line is called on the calling thread with each line (no
 * newline); it returns false to stop. Returns true when the server ended the stream or on_line stopped it.
 * `stop` may be set by another thread at any time (then kube_stream_wake is not needed: it is polled at least
 * every 200 ms). idle_timeout_ms: longest silence, 0 for none. */
bool kube_stream(struct kube_client *c, const char *path_and_query,
                 bool (*on_line)(void *userdata, const char *line, size_t len), void *userdata,
                 const volatile bool *stop, int idle_timeout_ms, struct error **err);

/* The same without polling: `stop` is looked at when kube_stream_wake(c, stop) is called. */
bool kube_stream_quiet(struct kube_client *c, const char *path_and_query,
                       bool (*on_line)(void *userdata, const char *line, size_t len), void *userdata,
                       const volatile bool *stop, int idle_timeout_ms, struct error **err);
/* Wakes the streams that were given this `stop`. */
void kube_stream_wake(struct kube_client *c, const volatile bool *stop);

/* Is it this kind of answer? */
bool kube_error_is(const struct error *e,
                   const char *reason); /* "NotFound", "Conflict", "AlreadyExists", ... */
