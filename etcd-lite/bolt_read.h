/* Reads a database file in bbolt's format, as etcd's backups are. Nothing in it is trusted. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"
#include "etcd-lite/msg.h"

/* Calls `item` for each key of a bucket, in order, until it returns false. True when the bucket was
 * read to its end, or is not there. Keys and values point into the data. */
bool bolt_read(const uint8_t *data, size_t len, const char *bucket,
               bool (*item)(void *userdata, struct bytes key, struct bytes value), void *userdata,
               struct error **err);
