/* One look at a container: HTTP, TCP or a command, with Kubernetes' messages.
 * https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

/* UNKNOWN: the look itself failed, which says nothing of the container. */
enum check_result { CHECK_SUCCESS, CHECK_FAILURE, CHECK_UNKNOWN };

struct check_http {
    char *url;
    char *host;     /* "10.244.0.5:8080" */
    char **headers; /* "Name: value" */
    size_t header_count;
};
/* From an HTTPGetAction; named ports are looked up in the container. */
bool check_http_from_json(const cJSON *http, const cJSON *container, const char *pod_ip, struct check_http *out,
                          struct error **err);
void check_http_clear(struct check_http *c);
/* message: the answer's body or what went wrong is appended. version: "1.36", for the User-Agent. */
enum check_result check_http(const struct check_http *c, int64_t timeout_ms, const char *version, struct buf *message);

enum check_result check_tcp(const char *host, int port, int64_t timeout_ms, struct buf *message);

/* -1 if it is neither a number nor a named port of the container. */
int check_port(const cJSON *port, const cJSON *container);

struct check_argv {
    const char **items; /* point into the JSON */
    size_t count;
};
void check_argv_from_json(const cJSON *command, struct check_argv *out);
void check_argv_clear(struct check_argv *a);
