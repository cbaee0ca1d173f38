/* What tests that save the state to files share. */
#pragma once
#include "kv_test.h"
#include <unistd.h>
#include "etcd-lite/snapshot.h"

/* Ends the job, and adds its file to the list. */
static inline void save_changes(struct state *s, struct snapshot_changes *c,
                                struct snapshot_list *saved, const char *dir, int number)
{
    struct snapshot_file f = {0};
    snprintf(f.name, sizeof(f.name), "%d.changes", number);
    ck_assert(snapshot_changes_write(c, dir, &f, NULL));
    snapshot_changes_end(c);
    snapshot_list_add(saved, &f);
    mvcc_saved(s->kv, snapshot_list_revision(saved));
}

static inline void remove_files(struct snapshot_list *l, const char *dir)
{
    snapshot_files_sweep(dir, dir, &(struct snapshot_list){0});
    ck_assert_int_eq(rmdir(dir), 0);
    snapshot_list_clear(l);
}
