#include "etcd-lite/restore.h"
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <raft.h>
#include <raft/uv.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/log.h"
#include "common/mem.h"
#include "etcd-lite/api.h"
#include "etcd-lite/bolt_read.h"
#include "etcd-lite/snapshot.h"
#include "etcd-lite/transport.h"

#define SHA256   32
#define SECTOR   512
#define REVISION 17 /* etcd's name of one: main (8, big-endian), '_', sub (8); 't' for a deletion  \
                     */

/* --- reading --- */
struct record {
    struct key_value kv;
    int64_t mod;
    uint64_t sub;
    bool deletion;
};
struct reading {
    struct state *state;
    struct arena arena;
    struct record *records;
    size_t n, cap;
    int64_t revision, compacted;
    const char *what; /* is wrong */
};

static uint64_t big_endian(const char *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static bool on_meta(void *userdata, struct bytes key, struct bytes value)
{
    struct reading *r = userdata;
    static const char *const names[] = {"finishedCompactRev", "scheduledCompactRev"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (key.n == strlen(names[i]) && memcmp(key.p, names[i], key.n) == 0 &&
            value.n >= REVISION && (int64_t)big_endian(value.p) > r->compacted)
            r->compacted = (int64_t)big_endian(value.p);
    return true;
}

static bool on_key(void *userdata, struct bytes key, struct bytes value)
{
    struct reading *r = userdata;
    if (r->n == r->cap)
        r->records =
            mem_realloc(r->records, (r->cap = r->cap ? r->cap * 2 : 1024) * sizeof(*r->records));
    struct record *x = &r->records[r->n];
    *x = (struct record){.deletion = key.n == REVISION + 1};
    if ((key.n != REVISION && !x->deletion) ||
        !msg_decode(&key_value_type, value.p, value.n, &x->kv, &r->arena) || x->kv.key.n == 0) {
        r->what = "a key cannot be read";
        return false;
    }
    x->mod = (int64_t)big_endian(key.p);
    x->sub = big_endian(key.p + 9);
    if (x->mod <= 0 || x->sub > UINT32_MAX || (!x->deletion && x->kv.version <= 0)) {
        r->what = "a revision is none";
        return false;
    }
    if (x->mod > r->revision)
        r->revision = x->mod;
    r->n++;
    return true;
}

static bool on_lease(void *userdata, struct bytes key, struct bytes value)
{
    struct reading *r = userdata;
    struct lease_record l = {0};
    if (key.n != 8 || !msg_decode(&lease_record_type, value.p, value.n, &l, &r->arena) ||
        l.id == 0) {
        r->what = "a lease cannot be read";
        return false;
    }
    int64_t ttl = l.ttl < 0 || l.ttl > LEASE_MAX_TTL ? LEASE_MAX_TTL : l.ttl;
    lessor_grant(r->state->leases, l.id, ttl, r->state->now_ms());
    return true;
}

static bool on_auth(void *userdata, struct bytes key, struct bytes value)
{
    (void)userdata;
    if (key.n == 11 && memcmp(key.p, "authEnabled", 11) == 0 && value.n && value.p[0] == 1)
        log_warn("The backup has users and roles, which are not restored");
    return true;
}

static int by_key(const void *a, const void *b)
{
    const struct record *x = a, *y = b;
    int order = bytes_compare(x->kv.key, y->kv.key);
    return order              ? order
           : x->mod != y->mod ? (x->mod > y->mod) - (x->mod < y->mod)
                              : (x->sub > y->sub) - (x->sub < y->sub);
}

/* Of what a key had before the compact revision, the last is its base, and a deletion is none. */
static bool is_kept(const struct reading *r, size_t i)
{
    const struct record *x = &r->records[i];
    if (x->mod >= r->compacted)
        return true;
    bool is_last =
        i + 1 == r->n || x[1].mod >= r->compacted || bytes_compare(x[1].kv.key, x->kv.key) != 0;
    return is_last && !x->deletion;
}

static void load(struct reading *r)
{
    struct mvcc *kv = r->state->kv;
    struct kv_key *k = NULL;
    if (r->n)
        qsort(r->records, r->n, sizeof(*r->records), by_key);
    for (size_t i = 0; i < r->n; i++) {
        const struct record *x = &r->records[i];
        if (!is_kept(r, i))
            continue;
        if (!k || bytes_compare(kv_key_bytes(k), x->kv.key) != 0)
            k = mvcc_load_key(kv, x->kv.key);
        mvcc_load_version(kv, k, x->mod, (uint32_t)x->sub, x->deletion ? 0 : x->kv.create_revision,
                          x->deletion ? 0 : x->kv.version, x->kv.lease,
                          x->deletion ? (struct bytes){NULL, 0} : x->kv.value);
    }
    mvcc_load_done(kv, r->revision, r->compacted);
}

bool restore_read(const uint8_t *data, size_t len, struct state *s, struct error **err)
{
    struct reading r = {.state = s, .revision = 1};
    bool ok = bolt_read(data, len, "meta", on_meta, &r, err) &&
              bolt_read(data, len, "lease", on_lease, &r, err) &&
              bolt_read(data, len, "auth", on_auth, &r, err) &&
              bolt_read(data, len, "key", on_key, &r, err);
    if (!ok && r.what)
        error_wrap(err, "%s", r.what);
    /* All that was written last may have been compacted away. */
    if (r.compacted > r.revision)
        r.revision = r.compacted;
    if (ok)
        load(&r);
    free(r.records);
    arena_free(&r.arena);
    return ok;
}

/* --- the file --- */
struct mapping {
    void *data;
    size_t len;
};

static void unmap(struct mapping *m)
{
    if (m->data)
        munmap(m->data, m->len);
}

static bool map_file(const char *path, struct mapping *m, struct error **err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
        error_set_errno(err, fd < 0 ? errno : EINVAL, "cannot read the backup %s", path);
        return false;
    }
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
        error_set_errno(err, errno, "cannot map the backup %s", path);
        return false;
    }
    *m = (struct mapping){data, (size_t)st.st_size};
    return true;
}

/* `etcdctl snapshot save` puts the SHA-256 of the file behind it. */
static bool check_hash(const struct mapping *m, size_t *len, bool skip, struct error **err)
{
    uint8_t digest[SHA256];
    bool has = m->len % SECTOR == SHA256;
    *len = has ? m->len - SHA256 : m->len;
    if (skip)
        return true;
    if (!has) {
        error_setf(err, "the backup has no hash: it was not made by `etcdctl snapshot save`, or is "
                        "cut short (--skip-hash-check restores it all the same)");
        return false;
    }
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, m->data, *len, digest) < 0 ||
        memcmp(digest, (const uint8_t *)m->data + *len, SHA256) != 0) {
        error_setf(err, "the backup is damaged: its hash is another than it should be");
        return false;
    }
    return true;
}

/* --- writing --- */
struct raft_disk {
    uv_loop_t loop;
    struct transport *transport;
    struct raft raft;
    struct raft_io io;
    struct raft_fsm fsm;
    struct raft_io_snapshot_put put;
    int status;
};

static void on_closed(struct raft *r)
{
    struct raft_disk *d = r->data;
    raft_uv_close(&d->io);
}

static void on_stored(struct raft_io_snapshot_put *req, int status)
{
    struct raft_disk *d = req->data;
    d->status = status;
    raft_close(&d->raft, on_closed);
}

/* What libraft would have after its first entry, the members, and a snapshot right behind it. */
static bool write_raft(struct cluster *c, const struct cluster_options *o, struct buf *list,
                       struct error **err)
{
    struct raft_disk d = {.status = RAFT_IOERR, .fsm = {.version = 1}};
    cleanup_free char *dir = mem_printf("%s/member/raft", o->data_dir);
    struct raft_configuration conf;
    raft_configuration_init(&conf);
    int rc = 0;
    for (size_t i = 0; i < c->n_members && rc == 0; i++)
        rc = raft_configuration_add(&conf, c->members[i].id, c->members[i].peer_url, RAFT_VOTER);
    uv_loop_init(&d.loop);
    d.transport =
        transport_new(&(struct transport_options){.loop = &d.loop, .advertise_url = ""}, err);
    rc = rc ? rc : d.transport ? 0 : RAFT_NOMEM;
    rc = rc ? rc : raft_uv_init(&d.io, &d.loop, dir, transport_raft(d.transport));
    bool open = rc == 0;
    if (open) {
        raft_uv_set_snapshot_compression(&d.io, false);
        rc = raft_init(&d.raft, &d.io, &d.fsm, c->self, o->advertise_peer_url);
        d.raft.data = &d;
        if (rc != 0)
            raft_uv_close(&d.io);
        open = rc == 0;
    }
    if (open)
        rc = raft_bootstrap(&d.raft, &conf);
    struct raft_buffer buffer = {list->data, list->len};
    struct raft_snapshot snapshot = {.index = 1,
                                     .term = 1,
                                     .configuration = conf,
                                     .configuration_index = 1,
                                     .bufs = &buffer,
                                     .n_bufs = 1};
    d.put.data = &d;
    rc = rc ? rc : d.io.snapshot_put(&d.io, 1, &d.put, &snapshot, on_stored);
    if (open && rc != 0)
        raft_close(&d.raft, on_closed);
    uv_run(&d.loop, UV_RUN_DEFAULT);
    rc = rc ? rc : d.status;
    if (rc != 0)
        error_setf(err, "cannot write the log in %s: %s", dir,
                   *d.io.errmsg ? d.io.errmsg : raft_strerror(rc));
    transport_free(d.transport);
    uv_loop_close(&d.loop);
    raft_configuration_close(&conf);
    return rc == 0;
}

static bool write_files(struct state *s, const char *dir, struct snapshot_list *list,
                        struct error **err)
{
    struct snapshot_file base = {.name = "restored.base"}, changes = {.name = "restored.changes"};
    atomic_bool stop = false;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        error_set_errno(err, errno, "cannot make the directory %s", dir);
        return false;
    }
    if (!snapshot_base_write(s, dir, &base, &stop, err))
        return false;
    struct snapshot_changes *c = snapshot_changes_begin(s, base.to);
    bool ok = snapshot_changes_write(c, dir, &changes, err);
    snapshot_changes_end(c);
    snapshot_list_add(list, &base);
    snapshot_list_add(list, &changes);
    return ok;
}

static int64_t no_time(void)
{
    return 0;
}

bool restore_member(const char *backup, bool skip_hash_check, const struct cluster_options *o,
                    struct error **err)
{
    __attribute__((cleanup(unmap))) struct mapping m = {NULL, 0};
    size_t len;
    if (!map_file(backup, &m, err) || !check_hash(&m, &len, skip_hash_check, err))
        return false;
    struct cluster c;
    if (!cluster_create(&c, o, err)) {
        cluster_close(&c);
        return false;
    }
    struct state s;
    struct snapshot_list list = {NULL, 0};
    cleanup_buf struct buf encoded = {0};
    cleanup_free char *dir = mem_printf("%s/member/snap", o->data_dir);
    state_init(&s, no_time);
    bool ok = restore_read(m.data, len, &s, err) && write_files(&s, dir, &list, err);
    if (ok) {
        snapshot_list_encode(&list, &encoded);
        ok = write_raft(&c, o, &encoded, err) && cluster_created(&c, o, err);
    }
    if (ok)
        log_info("Restored", "backup", backup, "data-dir", o->data_dir, "revision",
                 log_int(mvcc_revision(s.kv)), "keys", log_int((long long)mvcc_key_count(s.kv)));
    snapshot_list_clear(&list);
    state_clear(&s);
    cluster_close(&c);
    return ok;
}
