/* What PersistentVolumes and their claims say, as the controller that binds them, the scheduler and the kubelet read it.
 * No state, no requests.
 * https://kubernetes.io/docs/concepts/storage/persistent-volumes/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "common/informer.h"

#define CLAIM_BIND_COMPLETED   "pv.kubernetes.io/bind-completed"
#define BOUND_BY_CONTROLLER    "pv.kubernetes.io/bound-by-controller"
#define VOLUME_PROVISIONED_BY  "pv.kubernetes.io/provisioned-by"
#define CLAIM_SELECTED_NODE    "volume.kubernetes.io/selected-node"
#define CLAIM_PROVISIONER      "volume.kubernetes.io/storage-provisioner"
#define CLASS_IS_DEFAULT       "storageclass.kubernetes.io/is-default-class"
/* Directories of a node as volumes: the controller makes the PersistentVolume, the node's kubelet the directory. */
#define LOCAL_PROVISIONER      "skiff.dev/local-path"
#define LOCAL_VOLUMES_DIR      "/var/lib/skiff/volumes"
/* A directory on a node as its status.volumesInUse names it: this and the PersistentVolume's name. */
#define LOCAL_VOLUME_IN_USE    "kubernetes.io/local-volume/"

/* The class that a claim or volume names; "" for none. given: false when a claim leaves it to the cluster's default. */
const char *volume_class(const cJSON *claim_or_volume, bool *given);
bool claim_is_bound(const cJSON *claim); /* completely: both sides know */
/* Does the volume name this claim (and no earlier one of its name)? */
bool volume_names_claim(const cJSON *volume, const cJSON *claim);
/* Is the volume's claimRef that of a bound claim: with its uid? */
bool volume_is_bound_to(const cJSON *volume, const cJSON *claim);
/* Why the claim cannot have it, in Kubernetes' words; NULL when it can. */
const char *volume_mismatch(const cJSON *volume, const cJSON *claim);
/* The smallest volume that the claim can have and nobody else has, first of all one that names it. delayed: the claim
 * waits for its pod, only volumes that name it count. usable (may be NULL) refuses volumes for other reasons. A borrowed
 * pointer into the list; NULL if there is none. */
struct kube_object *volume_best(const struct kube_object_list *volumes, const cJSON *claim, bool delayed,
                                bool (*usable)(void *ctx, const struct kube_object *volume), void *ctx);
/* spec.nodeAffinity of a volume. */
bool volume_fits_node(const cJSON *volume, const cJSON *labels, const char *name);
/* The claim that a pod's volume means: its own name, or "<pod>-<volume>" of an ephemeral volume (*ephemeral is then
 * true). NULL for volumes of other kinds; the caller frees. */
char *pod_volume_claim(const cJSON *pod, const cJSON *volume, bool *ephemeral);
/* Does this pod own the claim, as the claims of ephemeral volumes must be? */
bool claim_is_of_pod(const cJSON *claim, const cJSON *pod);
