/* Writes a database file in bbolt's format (that of etcd's backups): buckets of sorted keys, each a
 * B+ tree of pages.
 *
 * Order of calls: for each bucket, in the order of their names: bolt_bucket, then bolt_put with
 * ascending keys. bolt_finish writes what points to them. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bolt;
struct bolt *bolt_new(int fd); /* an empty file; stays the caller's */
void bolt_bucket(struct bolt *b, const char *name);
void bolt_put(struct bolt *b, const void *key, size_t key_len, const void *value, size_t value_len);
/* False when something could not be written (errno). The size is a multiple of 4096. */
bool bolt_finish(struct bolt *b, uint64_t *size);
void bolt_free(struct bolt *b);
