/* When snapshots are taken, and how a member gets one that it is sent. All on the raft thread.
 *
 * What libraft stores, sends and restores is a list of files (snapshot_file.h). Whenever the log
 * has grown by some megabytes, what has changed since the last time becomes another file; when the
 * changes outweigh the base, a new base is written in the background, which the next list begins
 * with. So the log that libraft keeps in memory stays small, however large the data are.
 *
 * A member that is sent a list fetches the files that it lacks from the sender, piece by piece,
 * before libraft hears of the message. */
#pragma once
#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

struct server;
struct snapshots;
/* The directories exist. */
struct snapshots *snapshots_new(struct server *s, const char *dir, const char *raft_dir);
void snapshots_free(struct snapshots *sn);
/* Sets the parts of the state machine that concern snapshots. */
void snapshots_set_fsm(struct snapshots *sn, struct raft_fsm *fsm);
/* After libraft has loaded: removes what a crash has left. */
void snapshots_started(struct snapshots *sn);
/* An entry of so many bytes was applied. */
void snapshots_note_applied(struct snapshots *sn, size_t bytes);
/* A message from another member; true when it was taken (and so owned). */
bool snapshots_take_message(struct snapshots *sn, const struct raft_message *msg);
/* Does what can be done now. */
void snapshots_work(struct snapshots *sn);
void snapshots_tick(struct snapshots *sn, int64_t now_ms);
void snapshots_on_frame(struct snapshots *sn, uint64_t from, uint64_t connection, uint8_t type,
                        const uint8_t *p, size_t len);
/* Writes a new base soon, whether it is needed or not. Any thread. */
void snapshots_want_base(struct snapshots *sn);
void snapshots_stop(struct snapshots *sn); /* then run the loop dry */
