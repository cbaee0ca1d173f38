/* Brings over the files of a snapshot that another member has sent the list of, and gives other
 * members ours. On the raft thread; the disk is left to others. */
#pragma once
#include <raft.h>
#include <stdbool.h>
#include <stdint.h>
#include "etcd-lite/snapshot_file.h"

struct server;
struct fetch;
struct fetch *fetch_new(struct server *s, const char *dir);
/* Takes the message. What `saved` has need not come. While one is being fetched others are
 * dropped: their sender sends them again. */
void fetch_offer(struct fetch *f, const struct raft_message *msg,
                 const struct snapshot_list *saved);
/* Hands a message whose files are all here to libraft. */
void fetch_deliver(struct fetch *f);
void fetch_tick(struct fetch *f, int64_t now_ms);
void fetch_on_frame(struct fetch *f, uint64_t from, uint64_t connection, uint8_t type,
                    const uint8_t *p, size_t len);
/* Files that must not be removed. */
void fetch_keep(const struct fetch *f, struct snapshot_list *keep);
/* Somebody fetches from us: nothing at all must be removed. */
bool fetch_is_serving(const struct fetch *f, int64_t now_ms);
void fetch_stop(struct fetch *f); /* then run the loop dry */
void fetch_free(struct fetch *f);
