/* All Ingresses together, as the documents that nginx gets. */
#pragma once
#include "common/informer.h"
#include "ingress-controller/ingress.h"

/* Told of each path and host that an older Ingress has already. */
typedef void model_conflict(void *ctx, const struct ingress *i, const char *what,
                            const struct ingress *holder);
/* Sorts by age: the older one keeps what two want. */
void model_sort(struct ingress **ingresses, size_t count);
/* {"servers": {HOST: {"tls": bool, "locations": [...]}}}, locations in the order in which they are
 * tried. */
cJSON *model_routes(struct ingress *const *ingresses, size_t count, model_conflict *conflict,
                    void *ctx);

/* The endpoints of a backend: [["10.244.0.7", 8080], ...]. service NULL: none. */
cJSON *model_endpoints(const char *backend_key, const cJSON *service,
                       const struct kube_object_list *slices);

/* PEM of a certificate and its key from a Secret of type kubernetes.io/tls; they must belong
 * together.
 * {"certificate": ..., "key": ...} */
cJSON *model_key_pair(const cJSON *secret, struct error **err);
