/* Swagger 2.0 as protobuf (openapi.v2.Document of gnostic), which kubectl asks for. Inside
 * apiserver/openapi/. */
#pragma once
#include "common/buf.h"

/* Appends the encoding of a Swagger document given as JSON. */
void gnostic_encode(const char *json, size_t len, struct buf *out);
