/* Byte tunnels: a request to upgrade (exec, attach, port-forward) is replayed to another server, and
 * once that agrees, bytes go both ways until either side ends. What the bytes mean (SPDY, WebSocket)
 * is between the two ends. Blocking: for a thread of its own. */
#pragma once
#include <stdbool.h>
#include "common/error.h"
#include "common/httpd.h"

struct tunnel_target {
    const char *server; /* "https://10.89.0.21:10250" or "http://127.0.0.1:4711" */
    const char *path;   /* with its query, percent-encoded */
    const char *client_certificate, *client_key; /* PEM files, or NULL */
    const char *authority; /* PEM file; NULL: the server is not checked */
    /* The client speaks SPDY inside a WebSocket (KEP-4006), the server plain SPDY: the stream protocol
     * that the server is asked for ("portforward.k8s.io"), and the WebSocket protocol that the
     * client is told. Static strings; NULL: the client's request is passed on as it is. */
    const char *unwrapped, *wrapped;
};
/* Does the client ask for another protocol? */
bool tunnel_wanted(const struct httpd_request *r);
struct tunnel;
/* Dials and asks, with the request's method and its headers that concern the upgrade. NULL with an
 * error when there is no answer; the request is not answered then. */
struct tunnel *tunnel_open(const struct httpd_request *r, const struct tunnel_target *t,
                           struct error **err);
int tunnel_status(const struct tunnel *t); /* 101 when the server agrees */
/* Answers the request with what the server said; with a 101, relays until the end. Uses t up. */
void tunnel_run(struct tunnel *t, struct httpd_request *r);
