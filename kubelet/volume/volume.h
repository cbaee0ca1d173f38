/* A pod's volumes: set up below /var/lib/kubelet/pods/<uid>/, given to containers as mounts, taken away at the end. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "kubelet/api.h"
#include "kubelet/pod/env.h"
#include "kubelet/pod/spec.h"
#include "kubelet/pod/translate.h"

struct csi;
struct volume_node {
    const char *root_dir; /* "/var/lib/kubelet" */
    const struct kubelet_api *api;
    struct object_cache *objects;
    /* Directories that are PersistentVolumes came or went: the node must tell. May be NULL. */
    void (*local_changed)(void *userdata);
    void *userdata;
    struct csi *csi; /* volumes of CSI drivers; NULL: there are none */
};
/* Sets up what is missing and brings configMap, secret, downwardAPI and projected volumes up to date (objects at most
 * max_age_ms old when it is called). On failure the message is that of Kubernetes' FailedMount event. */
bool volumes_ensure(const struct volume_node *n, const struct downward_source *downward, int64_t max_age_ms,
                    struct error **err);
/* Has the pod volumes whose content comes from the API? */
bool volumes_need_refresh(const cJSON *pod);
/* Seconds until a projected token must be renewed, 0 if the pod has none: volumes_ensure() renews. */
/* A container's volumeMounts. env: for subPathExpr. */
bool volumes_mounts(const struct volume_node *n, const cJSON *pod, const cJSON *container, const struct env_list *env,
                    struct translate_mounts *out, struct error **err);
/* Unmounts everything of the pod and removes its directory. */
bool volumes_teardown(const struct volume_node *n, const char *uid, struct error **err);
/* "/var/lib/kubelet/pods/<uid>", caller frees. */
char *volumes_pod_dir(const struct volume_node *n, const char *uid);

/* status.volumesInUse of the node: the directories that the provisioner skiff.dev/local-path has here. */
cJSON *local_volumes_in_use(void);
/* Removes those whose volume was released, with the policy Delete. Asks the API. */
void local_volumes_collect(const struct volume_node *n);

/* --- used by its own parts --- */
/* A pod's volume as it is mounted: a copy; claims become what their PersistentVolume says, with these members more.
 * fresh: the API is asked. NULL: not to be had (yet). */
#define VOLUME_PV            "pv" /* its name */
#define VOLUME_READONLY      "claimReadOnly"
#define VOLUME_OURS          "localPath" /* its directory is for us to make */
#define VOLUME_ACCESS_MODES  "accessModes"
#define VOLUME_MOUNT_OPTIONS "mountOptions"
bool volume_is_claim(const cJSON *volume);
cJSON *volume_resolve(const struct volume_node *n, const cJSON *pod, const cJSON *volume, bool fresh, struct error **err);
/* Binds a local volume's directory to dir. *mounted: it was not before. */
bool local_volume_setup(const struct volume_node *n, const char *dir, const cJSON *volume, bool *mounted, struct error **err);
bool bind_mounted(const char *from, const char *to);
/* fsGroup, as the pod's fsGroupChangePolicy says. */
bool volume_give_to_group(const char *dir, const cJSON *pod, int64_t gid, struct error **err);
/* Binds <volume>/<subpath>, which must stay inside of the volume, to a path that is safe to hand to the runtime
 * (caller frees). */
char *subpath_bind(const char *volume_dir, const char *subpath, const char *target, bool volume_is_file,
                   struct error **err);
/* The files of a configMap, secret, downwardAPI or projected volume. */
struct payload;
bool volume_payload(const struct volume_node *n, const struct downward_source *downward, const cJSON *volume,
                    int64_t max_age_ms, struct payload *out, struct error **err);
