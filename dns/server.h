/* The name server: one thread with its own sockets (SO_REUSEPORT), cache and upstream questions. */
#pragma once
#include "common/error.h"
#include "dns/answer.h"
#include "dns/forward.h"

struct server_options {
    const char *address; /* "::" takes IPv4 too; "0.0.0.0", "127.0.0.1" */
    int port;            /* UDP and TCP */
    const struct answer_config *answers;
    const struct forward_servers *upstream;
    uint32_t max_ttl; /* of what others answered, seconds */
    /* May be asked by any thread, at any time. Until it says yes, the cluster's names are answered
     * with SERVFAIL. */
    bool (*synced)(void *userdata);
    void *userdata;
};
struct server;
/* Call once, before any server starts. */
void server_metrics(void);
struct server *server_start(const struct server_options *o, struct error **err);
int server_port(const struct server *s);
void server_stop(struct server *s); /* waits for the thread, frees */
