/* exec, attach and port-forward: tunnels to the runtime's streaming server. */
#pragma once
#include <stdbool.h>
#include "common/httpd.h"
#include "kubelet/kubelet.h"

/* False when the path is none of them. Otherwise the request is, or will be, answered. */
bool stream_serve(struct kubelet *k, struct httpd_request *r);

/* What a refusal says where a plain text would be misread. The caller's. */
char *stream_failure(const struct error *err);
