/* Volumes of CSI drivers. A driver serves gRPC on a socket of its own, and makes itself known by a
 * socket in <root-dir>/plugins_registry; the node's CSINode object lists those that did.
 * https://kubernetes-csi.github.io/docs/ */
#pragma once
#include <cjson/cJSON.h>
#include "kubelet/api.h"
#include "kubelet/cri/rpc.h"
#include <protobuf-c/protobuf-c.h>

struct csi;
struct csi_options {
    const char *root_dir, *node_name;
    const struct kubelet_api *api;
    struct object_cache *objects;
};
struct csi *csi_new(const struct csi_options *o); /* strings and api must outlive it */
/* Follows the folder of registrations on a thread of its own; makes the CSINode. */
bool csi_start(struct csi *c, struct error **err);
void csi_stop(struct csi *c); /* waits */
void csi_free(struct csi *c);

/* Mounts a pod's volume. dir: ".../volumes/kubernetes.io~csi/<name>"; what containers see is
 * dir/mount. volume: as volume_resolve() gives it, or one that is inline in the pod. */
bool csi_setup(struct csi *c, const char *dir, const cJSON *pod, const cJSON *volume,
               struct error **err);
/* Unmounts all CSI volumes below a pod's directory, and lets go of those that no other pod uses. */
bool csi_teardown(struct csi *c, const char *pod_dir, struct error **err);

/* --- between its parts --- */
/* A registered driver's client; csi_release() it. NULL with Kubernetes' message when there is no
 * such driver. */
struct csi_driver {
    int refs; /* guarded by the registry's lock */
    char *name, *endpoint, *socket;
    struct rpc_client *client;
    char *node_id;
    int64_t max_volumes;
    cJSON *topology; /* {label: value} */
    bool stages, mount_group;
};
struct csi_driver *csi_driver_get(struct csi *c, const char *name, struct error **err);
void csi_driver_put(struct csi *c, struct csi_driver *d);
const struct csi_options *csi_config(const struct csi *c);
/* One call; the answer must be freed by protobuf_c_message_free_unpacked. */
ProtobufCMessage *csi_call(struct rpc_client *client, const char *method,
                           const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *answer_type, struct error **err);
