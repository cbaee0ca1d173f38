/* etcd's JSON gateway: POST /v3/..., and /version, /health, /metrics. */
#pragma once
#include <stdbool.h>
#include "common/error.h"
#include "etcd-lite/server.h"

struct gateway;
struct gateway_options {
    const char *address; /* "0.0.0.0:2379" */
    const char *cert_file, *key_file, *ca_file;
    bool client_cert_auth;
    size_t max_request;
    size_t quota; /* bytes that the store may take; 0: any */
};
/* Several may share a server (one a listen URL). */
struct gateway *gateway_start(struct server *s, const struct gateway_options *o,
                              struct error **err);
int gateway_port(const struct gateway *g);
/* After server_stop(). */
void gateway_stop(struct gateway *g);
/* The sink through which watches are answered: for server_options. */
const struct watch_sink *gateway_watch_sink(void);
