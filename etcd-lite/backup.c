#include "etcd-lite/backup.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/mem.h"
#include "etcd-lite/bolt.h"

struct backup {
    struct snapshot_view *job;
    int64_t revision, compact_revision;
    uint64_t applied;
    struct lease_record *leases;
    size_t n_leases;
};

static int by_id(const void *a, const void *b)
{
    const struct lease_record *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

struct backup *backup_begin(struct state *s, uint64_t applied)
{
    struct backup *b = mem_alloc(sizeof(*b));
    b->job = snapshot_view_begin(s);
    b->applied = applied;
    b->revision = mvcc_revision(s->kv);
    b->compact_revision = mvcc_compact_revision(s->kv);
    struct lease **all = lessor_list(s->leases, &b->n_leases);
    b->leases = mem_alloc((b->n_leases + 1) * sizeof(*b->leases));
    for (size_t i = 0; i < b->n_leases; i++)
        b->leases[i] = (struct lease_record){all[i]->id, all[i]->ttl};
    free(all);
    qsort(b->leases, b->n_leases, sizeof(*b->leases), by_id);
    return b;
}

static void big_endian(char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (char)(v >> (56 - 8 * i));
}

/* etcd's name of a revision: main, '_', sub, and 't' for a deletion. */
enum { REVISION = 17 };
static void revision_key(char key[REVISION + 1], int64_t main, uint32_t sub)
{
    big_endian(key, (uint64_t)main);
    key[8] = '_';
    big_endian(key + 9, sub);
    key[REVISION] = 't';
}

static void write_keys(struct bolt *out, struct snapshot_view *job)
{
    size_t n;
    const struct kv_version **all = snapshot_view_versions(job, &n);
    cleanup_buf struct buf value = {0};
    for (size_t i = 0; i < n; i++) {
        const struct kv_version *v = all[i];
        struct key_value kv = {.key = kv_key_bytes(v->key)};
        if (!kv_is_delete(v))
            key_value_fill(&kv, v);
        buf_clear(&value);
        msg_encode(&key_value_type, &kv, &value);
        char key[REVISION + 1];
        revision_key(key, v->mod, v->sub);
        bolt_put(out, key, kv_is_delete(v) ? REVISION + 1 : REVISION, value.data, value.len);
    }
    free(all);
}

static void write_leases(struct bolt *out, const struct backup *b)
{
    cleanup_buf struct buf value = {0};
    for (size_t i = 0; i < b->n_leases; i++) {
        char key[8];
        big_endian(key, (uint64_t)b->leases[i].id);
        buf_clear(&value);
        msg_encode(&lease_record_type, &b->leases[i], &value);
        bolt_put(out, key, sizeof(key), value.data, value.len);
    }
}

int backup_write(struct backup *b, const char *dir, uint64_t *size, struct error **err)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        error_set_errno(err, errno, "make a file in %s", dir);
        return -1;
    }
    struct bolt *out = bolt_new(fd);
    static const char *const before[] = {"alarm", "auth", "authRoles", "authUsers", "cluster"};
    for (size_t i = 0; i < ARRAY_LEN(before); i++)
        bolt_bucket(out, before[i]);
    bolt_bucket(out, "key");
    write_keys(out, b->job);
    bolt_bucket(out, "lease");
    write_leases(out, b);
    bolt_bucket(out, "members");
    bolt_bucket(out, "members_removed");
    bolt_bucket(out, "meta");
    char index[8], compact[REVISION + 1];
    big_endian(index, b->applied);
    bolt_put(out, "consistent_index", 16, index, sizeof(index));
    if (b->compact_revision > 0) {
        revision_key(compact, b->compact_revision, 0);
        bolt_put(out, "finishedCompactRev", 18, compact, REVISION);
        bolt_put(out, "scheduledCompactRev", 19, compact, REVISION);
    }
    bool ok = bolt_finish(out, size);
    if (!ok) {
        error_set_errno(err, errno, "write a backup to %s", dir);
        close(fd);
        fd = -1;
    }
    bolt_free(out);
    return fd;
}

void backup_end(struct backup *b)
{
    snapshot_view_end(b->job);
    free(b->leases);
    free(b);
}
