/* Brings the EndpointSlices of one Service to what is wanted: for both controllers that write them.
 */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "common/informer.h"
#include "controller-manager/claim.h"
#include "controller-manager/controller.h"
#include "controller-manager/slices.h"

struct slice_writer {
    struct kube_client *client;
    struct expectations *expectations;
    const char *key; /* of what is reconciled, for the expectations */
    const char *ns, *service;
    const cJSON *owner;  /* the ownerReference */
    const cJSON *labels; /* all of them */
    const char *trigger; /* text of the annotation, or NULL */
    const char *family;  /* "IPv4", "IPv6" */
};
/* slices: the existing ones, of any family. Takes the wanted endpoints and ports (frees them). */
bool slices_write(struct slice_writer *w, const struct kube_object_list *slices,
                  struct slice_endpoint *wanted, size_t count, struct error **err);
bool slice_delete(struct slice_writer *w, const cJSON *slice, struct error **err);
