/* A backup: the state as a database file of etcd's (bbolt), which etcdctl checks and restores. */
#pragma once
#include "etcd-lite/snapshot.h"

struct backup;
struct backup *backup_begin(struct state *s, uint64_t applied); /* raft thread; holds the store */
/* Writes the file (any thread, slow). -1 on failure; else a descriptor of a file without a name. */
int backup_write(struct backup *b, const char *dir, uint64_t *size, struct error **err);
void backup_end(struct backup *b); /* raft thread */
