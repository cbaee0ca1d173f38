/* nodes/proxy, pods/proxy, services/proxy: requests of any kind to a kubelet, a pod or a service.
 */
#pragma once
#include "apiserver/registry/registry.h"

struct proxy_target {
    char *server;    /* "http://10.244.1.5:8080" */
    bool is_kubelet; /* asked with this server's client certificate */
};
void proxy_target_clear(struct proxy_target *t);
/* Where w->name ("web", "web:8080", "https:web:http") is served. */
bool proxy_find(struct write *w, struct proxy_target *out, struct error **err);

/* "[scheme:]name[:port]". False when it is nothing of that kind. Each at most 255 bytes. */
struct proxy_name {
    char scheme[8], name[256], port[256];
};
bool proxy_name_parse(const char *text, struct proxy_name *out);
/* What follows ".../NAME/proxy" in a path as it was sent; "" when nothing does. */
const char *proxy_rest(const char *raw_path);
/* May one connect to it? Not to this machine, nor to what is no address of a host. */
bool proxy_address_allowed(const char *ip);

/* Long-running: on a thread of its own. */
void proxy_handle(struct write *w);
