/* Writes Events (core/v1) about objects, as `kubectl describe` shows them. Asynchronous: events go through a bounded queue and
 * one thread; equal events are counted up (count, lastTimestamp) by patching the earlier one. Loses events rather than
 * block. */
#pragma once
#include <cjson/cJSON.h>
#include "common/kube_client.h"

struct recorder;
/* component: "kubelet"; host: the node's name or NULL. */
struct recorder *recorder_new(struct kube_client *client, const char *component, const char *host);
/* type: "Normal" or "Warning". object: any API object with apiVersion, kind, metadata. */
void recorder_event(struct recorder *r, const cJSON *object, const char *type, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* With involvedObject.fieldPath, as "spec.containers{app}". field_path may be NULL. */
void recorder_event_field(struct recorder *r, const cJSON *object, const char *field_path, const char *type, const char *reason,
                          const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void recorder_flush(struct recorder *r, int timeout_ms); /* waits until the queue is empty */
void recorder_free(struct recorder *r);
