/* How endpoints are laid out in EndpointSlices: as few writes as possible rather than as few slices
 * as possible
 * (https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#distribution-of-endpointslices).
 */
#pragma once
#include <cjson/cJSON.h>
#include <stddef.h>

enum { MAX_ENDPOINTS_PER_SLICE = 100 };

struct slice_endpoint {
    cJSON *endpoint; /* discovery.k8s.io/v1 Endpoint */
    cJSON *ports;    /* array of EndpointPort */
};

enum slice_action { SLICE_KEEP, SLICE_CREATE, SLICE_UPDATE, SLICE_DELETE };
struct slice_change {
    enum slice_action action;
    const cJSON *old; /* the existing slice; NULL for SLICE_CREATE */
    cJSON *ports;     /* wanted content, owned; NULL for SLICE_KEEP and SLICE_DELETE */
    cJSON *endpoints;
};
struct slice_plan {
    struct slice_change *changes;
    size_t count;
};
/* existing: slices of one Service and one address type. When there are no endpoints at all, one
 * empty slice is left as a placeholder, so that everybody sees that the Service has been looked at.
 * Free with slice_plan_clear. */
struct slice_plan slices_plan(const cJSON *const *existing, size_t existing_count,
                              const struct slice_endpoint *wanted, size_t wanted_count);
void slice_plan_clear(struct slice_plan *p);
#define cleanup_slice_plan __attribute__((cleanup(slice_plan_clear)))
