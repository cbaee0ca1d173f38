/* Writes a set of files into a directory so that readers see the old set or the new one, never a mixture: files stand
 * in a directory of their own, the symbolic link "..data" points to it, and is replaced by rename. Users see links
 * into ..data. The layout is the one that Kubernetes' users (and their inotify watches) know. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

struct payload_file {
    char *path; /* relative, may have directories */
    char *data;
    size_t len;
    unsigned mode;
};
struct payload {
    struct payload_file *items;
    size_t count;
};
/* Copies. A path given again replaces the earlier one. Refuses paths that lead outside or start with "..". */
bool payload_add(struct payload *p, const char *path, const void *data, size_t len, unsigned mode, struct error **err);
void payload_clear(struct payload *p);
#define cleanup_payload __attribute__((cleanup(payload_clear)))

/* *changed (may be NULL): whether anything was written. gid: owner group of the files, or -1. */
bool atomic_write(const char *dir, const struct payload *p, long gid, bool *changed, struct error **err);
/* rm -r without following links and without crossing into other file systems. */
bool remove_tree(const char *path, struct error **err);
/* mkdir -p. */
bool make_directories(const char *path, unsigned mode, struct error **err);
