/* The kubelet's own server: logs, pods, health and metrics, over TLS for those whom the cluster's CA vouches for. */
#pragma once
#include <stdbool.h>
#include "common/error.h"
#include "kubelet/kubelet.h"

struct server_options {
    const char *address; /* "0.0.0.0" */
    int port;
    const char *cert_file, *key_file, *client_ca_file;
    bool anonymous; /* who says nothing of themselves is system:anonymous, not refused */
};
struct httpd;
struct httpd *server_start(struct kubelet *k, const struct server_options *o, struct error **err);
