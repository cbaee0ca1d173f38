/* One request to the API on its way through the pipeline, and the seams between the rooms of the
 * apiserver:
 *
 *   front.c (server/)   request info -> auth_authenticate -> auth_authorize -> one of
 *                         discovery_serve / openapi_serve   (openapi/; on an I/O thread, must not
 * block) get, list, watch                  (server/; on an I/O thread, from the watch cache)
 *                         registry_handle_write             (registry/; on a worker thread, may
 * block)
 *
 * Exactly one answer per request, by one of the api_reply_* functions or a stream of
 * common/httpd.h. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "apiserver/resource.h"
#include "apiserver/storage/storage.h"
#include "common/buf.h"
#include "common/error.h"
#include "common/httpd.h"

/* What path and method say (Kubernetes' RequestInfo). No member is ever NULL: "" when absent. The
 * strings belong to the request_info and live as long as the api_request. */
struct request_info {
    bool is_resource; /* below /api/v1/... or /apis/<group>/<version>/... with a resource */
    const char *path; /* decoded, without the query */
    const char *verb; /* get list watch create update patch delete deletecollection; else the method
                         in lower case */
    const char *prefix; /* "api" or "apis" */
    const char *group, *version;
    const char *ns, *resource, *subresource, *name;
    const char *rest; /* what follows the subresource ("proxy" paths), without the leading slash */
    char *memory;
};

struct api_user {
    char *name, *uid;
    char **groups; /* NULL-terminated; NULL when none */
    cJSON *extra;  /* map of arrays of strings; NULL when none */
};

/* How the client wants objects of this answer. */
enum api_form { FORM_OBJECT, FORM_TABLE, FORM_PARTIAL_METADATA };
struct api_accept {
    enum api_form form;
    bool yaml;                /* application/yaml */
    bool protobuf;            /* application/vnd.kubernetes.protobuf */
    bool pretty;              /* ?pretty=true */
    const char *meta_version; /* "v1" or "v1beta1": of the Table or PartialObjectMetadata */
};

/* The flags that more than one room needs. Constant after start. */
struct api_config {
    char *advertise_address; /* of this apiserver, as other hosts reach it */
    int64_t secure_port;
    char *service_cluster_ip_range; /* "10.96.0.0/16" */
    char *service_node_port_range;  /* "30000-32767" */
    char *kubelet_client_certificate, *kubelet_client_key,
        *kubelet_certificate_authority; /* NULL when not given */
    char *client_ca_file;
    char *service_account_key_file, *service_account_signing_key_file; /* NULL when not given */
    char *service_account_issuer, *service_account_jwks_uri, *api_audiences; /* likewise */
};

struct api_request {
    struct httpd_request *http; /* NULL once answered: take what you need before */
    struct storage *storage;
    const struct api_config *config;
    struct request_info info;
    const struct resource *resource; /* of info.group/version/resource; NULL for other paths */
    const struct subresource *subresource; /* NULL when none */
    struct api_user user; /* set by auth_authenticate (strings malloc'd; freed by the core) */
    struct api_accept accept;
    struct cJSON *warnings; /* array of strings, or NULL */
    char audit_id[40];
    int64_t started_us; /* monotonic */
    int status;         /* of the answer, for metrics */
};

/* --- answers (any thread; each consumes req->http, the api_request itself stays) --- */
/* object is borrowed. An object with kind "Status" is sent as it is; others in the form that the
 * client asked for. */
void api_reply_json(struct api_request *req, int status, const cJSON *object);
/* Sends the stored bytes (or their Table / PartialObjectMetadata form); s is borrowed. */
void api_reply_stored(struct api_request *req, int status, struct stored *s);
/* As metav1.Status; err is borrowed. An error with code 0 becomes 500 InternalError. */
void api_reply_error(struct api_request *req, const struct error *err);
/* Status "Success" with details {name, group, kind, uid}, as DELETE answers; uid may be NULL. */
void api_reply_success(struct api_request *req, const char *name, const char *uid);
/* Adds a "Warning: 299 - text" header to the answer (at most once per text). */
void api_warn(struct api_request *req, const char *text);
void api_warn_fn(void *req,
                 const char *text); /* the same, in the shape of resource->warnings' callback */
/* Is the user in this group? */
bool api_user_in_group(const struct api_user *u, const char *group);

/* --- errors with Kubernetes' exact text and details --- */
/* "deployments.apps" or "pods". */
void api_resource_text(const struct resource *r, struct buf *out);
void api_error_not_found(struct error **err, const struct resource *r, const char *name);
void api_error_already_exists(struct error **err, const struct resource *r, const char *name);
/* 409 Conflict "Operation cannot be fulfilled on pods "x": <why>". */
void api_error_conflict(struct error **err, const struct resource *r, const char *name,
                        const char *why);
#define API_OBJECT_MODIFIED                                                                        \
    "the object has been modified; please apply your changes to the latest version and try again"
/* 403 'pods "x" is forbidden: <why>'. */
void api_error_forbidden(struct error **err, const struct resource *r, const char *name,
                         const char *why);
void api_error_bad_request(struct error **err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void api_error_method_not_allowed(struct error **err);
/* 404 "the server could not find the requested resource". */
void api_error_unknown_path(struct error **err);
/* {"name":..,"group":..,"kind":..} as text for error.details (malloc'd); causes may be NULL or an
 * array that is taken. */
char *api_error_details(const struct resource *r, const char *name, cJSON *causes);

/* --- apiserver/registry/ ("registry") --- */
/* Called once, after the storage is ready and before requests are served: allocators' repair loops
 * and the like. */
bool registry_start(const struct api_config *config, struct storage *storage, struct error **err);
/* create, update, patch, delete, deletecollection of resources and subresources; also GET of every
 * subresource except "status" (scale, log, ...). Worker thread; straight-line code; answers before
 * it returns. Long-running ones (log, exec, attach, portforward, proxy) are called on a thread of
 * their own. The verb was checked against resource->verbs, the namespace and authorization too; the
 * body (httpd_body) was not looked at. */
void registry_handle_write(struct api_request *req);

/* --- apiserver/auth/ ("registry") --- I/O thread: must not block. */
bool auth_start(const struct api_config *config, struct storage *storage, struct error **err);
/* Sets req->user; false with 401 "Unauthorized". */
bool auth_authenticate(struct api_request *req, struct error **err);
/* False with 403 Forbidden and Kubernetes' message. */
bool auth_authorize(struct api_request *req, struct error **err);

/* --- apiserver/openapi/ ("schema") --- I/O thread: must not block. True when the path was theirs
 * and was answered (with req->http by httpd_reply* after api_answered(req, status)). */
bool discovery_serve(struct api_request *req);
bool openapi_serve(struct api_request *req);

/* For who answers through common/httpd.h directly (discovery, log streams): adds the common headers
 * (Audit-Id, Cache-Control, Warning), notes the status for metrics, and gives req->http up to the
 * caller, who answers it. */
struct httpd_request *api_answered(struct api_request *req, int status);
