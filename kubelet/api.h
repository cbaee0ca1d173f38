/* The API server as the kubelet's parts see it: requests, events, and a cache of the ConfigMaps and Secrets that
 * pods use. Tests put a fake API here. */
#pragma once
#include <cjson/cJSON.h>
#include <stdint.h>
#include "common/error.h"
#include "common/informer.h"

struct kubelet_api {
    /* As kube_request(). */
    cJSON *(*request)(void *userdata, const char *method, const char *path, const char *content_type, const cJSON *body,
                      struct error **err);
    /* type: "Normal" or "Warning"; field_path may be NULL. */
    void (*event)(void *userdata, const cJSON *object, const char *field_path, const char *type, const char *reason,
                  const char *message);
    void *userdata;
};

struct object_cache;
struct object_cache *object_cache_new(const struct kubelet_api *api); /* api must outlive it */
void object_cache_free(struct object_cache *c);
/* One core/v1 object ("configmaps", "secrets", "services" with name NULL for the list of a namespace). At most
 * max_age_ms old; when the server cannot be reached, as old as we have it. A reference, or NULL and an error (404
 * when it does not exist). */
struct kube_object *object_cache_get(struct object_cache *c, const char *resource, const char *ns, const char *name,
                                     int64_t max_age_ms, struct error **err);
/* Forgets what nobody asked for in the last ten minutes. */
void object_cache_expire(struct object_cache *c);
