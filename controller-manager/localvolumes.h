/* The provisioner skiff.dev/local-path: a PersistentVolume is a directory on one node, which its
 * kubelet makes when the volume is used first, and removes when the volume is released with the
 * policy Delete. A node names the directories that it has in status.volumesInUse. */
#pragma once
#include <cjson/cJSON.h>
#include "common/informer.h"
#include "common/recorder.h"

/* Index "claim" of pods: "namespace/name" of each claim that they use. */
void index_pod_claims(const cJSON *pod, void (*add)(void *ctx, const char *value), void *ctx);

/* Makes the volume for a claim on the node that the scheduler has selected, or, if the class does
 * not wait for one, on some node. Says why not by events; *claim may be replaced. False: to be
 * tried again. */
bool local_volume_provision(struct kube_client *client, struct recorder *recorder,
                            struct informer *nodes, struct informer *volumes, cJSON **claim,
                            const cJSON *class, struct error **err);
/* Grows one of our volumes to what its bound claim asks for. */
bool local_volume_grow(struct kube_client *client, struct recorder *recorder, cJSON **volume,
                       const cJSON *claim, const cJSON *class, struct error **err);
/* No node has its directory any more. */
bool local_volume_released(struct informer *nodes, const cJSON *volume);
