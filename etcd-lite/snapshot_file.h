/* A snapshot is a list of files: at most one base (all keys), then changes since, each file from
 * one revision to another. libraft is given the list only, a few hundred bytes; so a snapshot costs
 * what has changed, no copy of the data is ever in memory, and a member that is behind fetches only
 * the files that it lacks.
 *
 * A file is written once, under a name that no other file ever has, in blocks under checksums, past
 * the page cache where the file system can: it must not push the log's writes aside. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"

#define SNAPSHOT_NAME_MAX  48
#define SNAPSHOT_FILES_MAX 1024
enum snapshot_kind { SNAPSHOT_BASE = 1, SNAPSHOT_CHANGES = 2 };

/* As it stands in lists on disk. */
struct snapshot_file {
    char name[SNAPSHOT_NAME_MAX];
    uint32_t kind;
    uint32_t crc; /* of the blocks' headers, so of all */
    int64_t from; /* changes: revisions (from, to]; a base: what it has is at least as of `from` */
    int64_t to;   /* a base is whole together with all changes up to `to` */
    int64_t compacted; /* of changes: the compact revision then */
    uint64_t bytes;
};
struct snapshot_list {
    struct snapshot_file *files; /* malloc'd; a base first, then changes in order */
    size_t n;
};
int64_t snapshot_list_revision(const struct snapshot_list *l); /* 0 when empty */
bool snapshot_name_is_good(const char *name); /* cannot lead out of the directory */
const struct snapshot_file *snapshot_list_find(const struct snapshot_list *l, const char *name);
void snapshot_list_add(struct snapshot_list *l, const struct snapshot_file *f);
void snapshot_list_copy(struct snapshot_list *to, const struct snapshot_list *from);
void snapshot_list_clear(struct snapshot_list *l);
void snapshot_list_encode(const struct snapshot_list *l, struct buf *out); /* a multiple of 8 */
bool snapshot_list_decode(struct snapshot_list *l, const void *data, size_t len,
                          struct error **err);
/* Of another version of the format: decoding fails, though nothing is damaged. */
bool snapshot_list_is_foreign(const void *data, size_t len);
/* The part of `l` that one who has all of `have` needs; false when all of it. */
bool snapshot_list_news(const struct snapshot_list *l, int64_t have, struct snapshot_list *news);

/* --- writing --- */
struct snapshot_out;
/* pace: rests as long as it has written, that others have the disk too. */
struct snapshot_out *snapshot_out_open(const char *dir, const char *name, bool pace,
                                       struct error **err);
bool snapshot_out_add(struct snapshot_out *o, const void *p, size_t n, struct error **err);
/* The file is durable, with its name. Frees o in any case. */
bool snapshot_out_finish(struct snapshot_out *o, struct error **err);
void snapshot_out_abandon(struct snapshot_out *o);

/* Writes blocks: add records to `block`; call snapshot_blocks_flush when it holds enough. */
#define SNAPSHOT_BLOCK ((size_t)256 << 10)
struct snapshot_blocks {
    struct snapshot_out *out;
    struct buf block;
    struct snapshot_file file;
};
bool snapshot_blocks_open(struct snapshot_blocks *b, const char *dir,
                          const struct snapshot_file *file, bool pace, struct error **err);
bool snapshot_blocks_flush(struct snapshot_blocks *b, struct error **err);
/* Also on failure nothing is left but, if all went well, the file; b->file says what it is. */
bool snapshot_blocks_finish(struct snapshot_blocks *b, struct error **err);
void snapshot_blocks_abandon(struct snapshot_blocks *b);

/* --- reading --- */
/* Calls block (NULL: only checks) for each, in order; another thread reads ahead. */
bool snapshot_file_read(const char *dir, const struct snapshot_file *f,
                        bool (*block)(void *userdata, const uint8_t *p, size_t n), void *userdata,
                        struct error **err);
bool snapshot_file_exists(const char *dir, const struct snapshot_file *f);

/* Removes all files that are neither in `keep` nor in one of libraft's snapshots (raft_dir). */
void snapshot_files_sweep(const char *dir, const char *raft_dir, const struct snapshot_list *keep);
