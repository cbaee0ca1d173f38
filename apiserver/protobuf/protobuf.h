/* Kubernetes' protobuf content type (application/vnd.kubernetes.protobuf), read by the schema table.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "apiserver/schema/schema.h"
#include "common/buf.h"
#include "common/error.h"

#define PROTOBUF_CONTENT_TYPE "application/vnd.kubernetes.protobuf"

/* "k8s\0" and a runtime.Unknown around the object. Gives the object as JSON with apiVersion and kind as the envelope says them
 * (absent when it does not), to be decoded like any JSON (schema_decode_object). NULL and 400 BadRequest when malformed. */
cJSON *protobuf_decode(const struct schema_type *type, const void *data, size_t len, struct error **err);

/* Appends the encoded form of an object with apiVersion and kind. 406 NotAcceptable when the kind has none (custom resources). */
bool protobuf_encode(const cJSON *object, struct buf *out, struct error **err);
/* Appends one frame of a watch stream: length (4 bytes, big endian), then the encoded WatchEvent. */
bool protobuf_encode_watch_event(const char *type, const cJSON *object, struct buf *out, struct error **err);
