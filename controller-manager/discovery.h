/* Which resources the API serves: GET /api/v1, /apis and each group's preferred version. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/kube_client.h"

struct api_resource {
    char *api_version, *kind, *resource, *group;
    bool namespaced, can_delete, can_delete_collection, can_list, can_watch;
};
struct api_resources {
    struct api_resource *items;
    size_t count;
    struct error *failed; /* the first group that could not be asked, or NULL: the others are there
                             nonetheless */
    int failed_count;
};
/* False when nothing could be learned. Subresources are left out. Free with ..._clear. */
bool discover_resources(struct kube_client *client, struct api_resources *out, struct error **err);
void api_resources_clear(struct api_resources *r);
#define cleanup_resources __attribute__((cleanup(api_resources_clear)))
/* By kind, of this very version or else of the same group; NULL if none. */
const struct api_resource *api_resource_of_kind(const struct api_resources *r,
                                                const char *api_version, const char *kind);
