/* Kubernetes' protobuf content type (application/vnd.kubernetes.protobuf): request bodies become
 * the JSON that the client would have sent instead, answers are made from their JSON. Numbers and
 * types come from the schema table.
 * https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "apiserver/schema/schema.h"
#include "common/buf.h"
#include "common/error.h"

#define PROTOBUF_MEDIA_TYPE "application/vnd.kubernetes.protobuf"

/* The envelope ("k8s\0", then runtime.Unknown) and the object in it. NULL with 400 when it is
 * malformed or of a kind that we don't know. The caller frees. */
cJSON *protobuf_decode(const void *body, size_t len, struct error **err);

/* Appends the object in its envelope. False, nothing appended, when its apiVersion and kind are not
 * in the table. */
bool protobuf_encode(const cJSON *object, struct buf *out);
/* Appends one frame of a watch (";stream=watch"): four bytes of length, then a WatchEvent without
 * envelope whose object has one. */
bool protobuf_encode_watch_event(const char *type, const cJSON *object, struct buf *out);

/* A list, item by item. */
struct protobuf_list {
    char *api_version, *kind;
    const struct schema_field *items;
    struct buf message;
};
/* list: apiVersion ("v1"), kind ("PodList"), metadata. False, with nothing to clear, when it is not
 * in the table. */
bool protobuf_list_open(struct protobuf_list *l, const cJSON *list);
void protobuf_list_add(struct protobuf_list *l, const cJSON *item);
/* Appends the list in its envelope and clears l. */
void protobuf_list_close(struct protobuf_list *l, struct buf *out);
void protobuf_list_clear(struct protobuf_list *l);
