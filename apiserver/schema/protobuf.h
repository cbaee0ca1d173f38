/* Kubernetes' protobuf content type (application/vnd.kubernetes.protobuf): request bodies become
 * the JSON that the client would have sent instead. Numbers and types come from the schema table.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "apiserver/schema/schema.h"
#include "common/error.h"

#define PROTOBUF_MEDIA_TYPE "application/vnd.kubernetes.protobuf"

/* The envelope ("k8s\0", then runtime.Unknown) and the object in it. NULL with 400 when it is
 * malformed or of a kind that we don't know. The caller frees. */
cJSON *protobuf_decode(const void *body, size_t len, struct error **err);
