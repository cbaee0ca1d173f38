#include "etcd-lite/snapshot.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "etcd-lite/heap_ahead.h"

/* Records; integers are varints, strings and bytes a length and themselves, lists a count and the
 * rest:
 *   'K'  key; list of versions, oldest first: mod, sub, create, version, lease, value.
 *        In a base in order of keys, and a key may come again with newer versions; among changes in
 *        order of revisions, one version each.
 *   'H'  revision, compact revision; leases: id, TTL; members: id, name, client URLs, 1 for a
 *        learner, peer URLs; 1 when it is known who belongs to the cluster; removed members: id;
 *        alarms: member, alarm. Last in each file of changes. */
#define SLICE_KEYS  512 /* per read lock, */
#define SLICE_BYTES ((size_t)64 << 10)

/* --- writing --- */
static void put_int(struct buf *b, uint64_t v)
{
    char p[10];
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (char)v;
    buf_add(b, p, n);
}

static void put_bytes(struct buf *b, const char *p, size_t n)
{
    put_int(b, n);
    if (n)
        buf_add(b, p, n);
}

static void put_string(struct buf *b, const char *s)
{
    put_bytes(b, s, strlen(s));
}

static void put_strings(struct buf *b, char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    put_int(b, n);
    for (size_t i = 0; i < n; i++)
        put_string(b, list[i]);
}

static void put_key(struct buf *b, const struct kv_key *k, size_t versions)
{
    struct bytes key = kv_key_bytes(k);
    buf_addc(b, 'K');
    put_bytes(b, key.p, key.n);
    put_int(b, versions);
}

static void put_version(struct buf *b, const struct kv_version *v)
{
    put_int(b, (uint64_t)v->mod);
    put_int(b, v->sub);
    put_int(b, (uint64_t)v->create);
    put_int(b, (uint64_t)v->version);
    put_int(b, (uint64_t)v->lease);
    put_bytes(b, v->value, v->value_len);
}

static void put_head(struct buf *b, const struct state *s)
{
    buf_addc(b, 'H');
    put_int(b, (uint64_t)mvcc_revision(s->kv));
    put_int(b, (uint64_t)mvcc_compact_revision(s->kv));
    size_t n;
    struct lease **leases = lessor_list(s->leases, &n);
    put_int(b, n);
    for (size_t i = 0; i < n; i++) {
        put_int(b, (uint64_t)leases[i]->id);
        put_int(b, (uint64_t)leases[i]->ttl);
    }
    free(leases);
    put_int(b, s->n_members);
    for (size_t i = 0; i < s->n_members; i++) {
        const struct member_info *m = &s->members[i];
        put_int(b, m->id);
        put_string(b, m->name);
        put_strings(b, m->client_urls);
        put_int(b, m->learner);
        put_strings(b, m->peer_urls);
    }
    put_int(b, s->members_known);
    put_int(b, s->n_removed);
    for (size_t i = 0; i < s->n_removed; i++)
        put_int(b, s->removed[i]);
    put_int(b, s->n_alarms);
    for (size_t i = 0; i < s->n_alarms; i++) {
        put_int(b, (uint64_t)s->alarms[i].member_id);
        put_int(b, (uint64_t)s->alarms[i].alarm);
    }
}

/* --- changes --- */
struct snapshot_changes {
    struct state *state;
    struct mvcc *kv;
    int64_t from, to, compacted;
    size_t n, position;
    struct buf head;
};

struct snapshot_changes *snapshot_changes_begin(struct state *s, int64_t from)
{
    struct snapshot_changes *c = mem_alloc(sizeof(*c));
    c->state = s;
    c->kv = s->kv;
    c->from = from;
    c->to = mvcc_revision(s->kv);
    c->compacted = mvcc_compact_revision(s->kv);
    c->n = mvcc_unsaved(s->kv, &c->position);
    mvcc_hold(s->kv);
    put_head(&c->head, s);
    return c;
}

static bool write_versions(struct snapshot_changes *c, struct snapshot_blocks *b,
                           struct error **err)
{
    for (size_t i = 0; i < c->n;) {
        /* The write lock is what adds to the log, and moves it when it grows. */
        pthread_rwlock_rdlock(&c->state->lock);
        size_t end = b->block.len + SLICE_BYTES;
        for (size_t k = 0; i < c->n && k < SLICE_KEYS && b->block.len < end; k++, i++) {
            const struct kv_version *v = mvcc_unsaved_at(c->kv, c->position, i);
            put_key(&b->block, v->key, 1);
            put_version(&b->block, v);
        }
        pthread_rwlock_unlock(&c->state->lock);
        if (b->block.len >= SNAPSHOT_BLOCK && !snapshot_blocks_flush(b, err))
            return false;
    }
    return true;
}

bool snapshot_changes_write(struct snapshot_changes *c, const char *dir, struct snapshot_file *file,
                            struct error **err)
{
    file->kind = SNAPSHOT_CHANGES;
    file->from = c->from;
    file->to = c->to;
    file->compacted = c->compacted;
    struct snapshot_blocks b;
    if (!snapshot_blocks_open(&b, dir, file, false, err) || !write_versions(c, &b, err)) {
        snapshot_blocks_abandon(&b);
        return false;
    }
    buf_add(&b.block, c->head.data, c->head.len);
    if (!snapshot_blocks_finish(&b, err))
        return false;
    *file = b.file;
    return true;
}

void snapshot_changes_end(struct snapshot_changes *c)
{
    if (!c)
        return;
    mvcc_release(c->kv);
    buf_free(&c->head);
    free(c);
}

/* --- a base --- */
/* Where the walk stands: this key's versions up to (mod, sub) are written. */
struct place {
    struct buf key;
    int64_t mod;
    uint32_t sub;
};

static bool is_behind(const struct place *at, const struct kv_version *v)
{
    return v->mod > at->mod || (v->mod == at->mod && v->sub > at->sub);
}

/* The versions of k that a restart needs, and that are not written; false when it must stop in the
 * middle of a key. */
static bool add_key(struct buf *b, const struct mvcc *m, const struct kv_key *k, struct place *at,
                    size_t end)
{
    cleanup_free const struct kv_version **list = NULL;
    size_t n = 0, cap = 0;
    int64_t compacted = mvcc_compact_revision(m);
    for (const struct kv_version *v = k->latest; v && is_behind(at, v); v = v->prev) {
        bool base = v->mod < compacted;
        if (base && kv_is_delete(v))
            break;
        if (n == cap)
            list = mem_realloc(list, (cap = cap ? cap * 2 : 8) * sizeof(*list));
        list[n++] = v;
        if (base)
            break;
    }
    size_t count = 0, bytes = 0;
    while (count < n && (count == 0 || b->len + bytes < end))
        bytes += list[n - 1 - count++]->value_len;
    if (count)
        put_key(b, k, count);
    for (size_t i = 0; i < count; i++) {
        put_version(b, list[n - 1 - i]);
        at->mod = list[n - 1 - i]->mod;
        at->sub = list[n - 1 - i]->sub;
    }
    return count == n;
}

/* False at the end of the keys. */
static bool add_slice(struct state *s, struct buf *b, struct place *at, int64_t *revision)
{
    size_t end = b->len + SLICE_BYTES;
    pthread_rwlock_rdlock(&s->lock);
    *revision = mvcc_revision(s->kv);
    struct bytes from = {at->key.data, at->key.len};
    struct kv_key *k = mvcc_seek(s->kv, from);
    if (k && bytes_compare(kv_key_bytes(k), from) != 0)
        at->mod = at->sub = 0; /* that key is gone */
    for (size_t i = 0; k && i < SLICE_KEYS && b->len < end; i++) {
        if (!add_key(b, s->kv, k, at, end))
            break;
        k = mvcc_next(k);
        at->mod = at->sub = 0;
    }
    buf_clear(&at->key);
    if (k) {
        struct bytes key = kv_key_bytes(k);
        buf_add(&at->key, key.p, key.n);
    }
    pthread_rwlock_unlock(&s->lock);
    return k != NULL;
}

bool snapshot_base_write(struct state *s, const char *dir, struct snapshot_file *file,
                         const atomic_bool *stop, struct error **err)
{
    struct snapshot_blocks b;
    struct place at = {0};
    file->kind = SNAPSHOT_BASE;
    pthread_rwlock_rdlock(&s->lock);
    file->from = mvcc_revision(s->kv);
    pthread_rwlock_unlock(&s->lock);
    bool ok = snapshot_blocks_open(&b, dir, file, true, err);
    for (bool more = ok; more;) {
        more = add_slice(s, &b.block, &at, &b.file.to);
        if (atomic_load(stop)) {
            error_setf(err, "stopped");
            ok = false;
        }
        ok = ok && (b.block.len < SNAPSHOT_BLOCK || snapshot_blocks_flush(&b, err));
        more = more && ok;
    }
    buf_free(&at.key);
    if (!ok) {
        snapshot_blocks_abandon(&b);
        return false;
    }
    if (!snapshot_blocks_finish(&b, err))
        return false;
    *file = b.file;
    return true;
}

/* --- loading --- */
struct reader {
    const uint8_t *p, *end;
    bool bad;
};

static uint64_t get_int(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        uint8_t c = *r->p++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return v;
    }
    r->bad = true;
    return 0;
}

static struct bytes get_bytes(struct reader *r)
{
    uint64_t n = get_int(r);
    if (r->bad || n > (uint64_t)(r->end - r->p) || n > UINT32_MAX) {
        r->bad = true;
        return (struct bytes){NULL, 0};
    }
    struct bytes b = {(const char *)r->p, n};
    r->p += n;
    return b;
}

static char *get_string(struct reader *r)
{
    struct bytes b = get_bytes(r);
    return mem_strndup(b.n ? b.p : "", b.n);
}

static char **get_strings(struct reader *r)
{
    uint64_t n = get_int(r);
    if (n > (uint64_t)(r->end - r->p)) {
        r->bad = true;
        n = 0;
    }
    char **list = mem_alloc((n + 1) * sizeof(char *));
    for (uint64_t i = 0; i < n; i++)
        list[i] = get_string(r);
    return list;
}

static void read_members(struct reader *r, struct state *s)
{
    uint64_t n = get_int(r);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        s->members = mem_realloc(s->members, (s->n_members + 1) * sizeof(*s->members));
        struct member_info *m = &s->members[s->n_members++];
        m->id = get_int(r);
        m->name = get_string(r);
        m->client_urls = get_strings(r);
        m->learner = get_int(r) == 1;
        m->peer_urls = get_strings(r);
    }
    s->members_known = get_int(r) == 1;
    n = get_int(r);
    if (r->bad || n > (uint64_t)(r->end - r->p)) {
        r->bad = true;
        return;
    }
    s->removed = mem_alloc((n + 1) * sizeof(*s->removed));
    for (uint64_t i = 0; i < n; i++)
        s->removed[s->n_removed++] = get_int(r);
}

static void clear_head(struct state *s)
{
    lessor_free(s->leases);
    s->leases = lessor_new();
    state_clear_members(s);
    free(s->alarms);
    s->alarms = NULL;
    s->n_alarms = 0;
}

static void read_head(struct reader *r, struct snapshot_loader *l)
{
    struct state *s = l->state;
    clear_head(s);
    l->revision = (int64_t)get_int(r);
    l->compact_revision = (int64_t)get_int(r);
    if (l->revision < 1 || l->compact_revision < 0 || l->compact_revision > l->revision)
        r->bad = true;
    uint64_t n = get_int(r);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int64_t id = (int64_t)get_int(r), ttl = (int64_t)get_int(r);
        if (!r->bad)
            lessor_grant(s->leases, id, ttl < 0 || ttl > LEASE_MAX_TTL ? LEASE_MAX_TTL : ttl,
                         s->now_ms());
    }
    read_members(r, s);
    n = get_int(r);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int64_t member = (int64_t)get_int(r), alarm = (int64_t)get_int(r);
        if (!r->bad)
            state_add_alarm(s, member, alarm);
    }
}

static void read_key(struct reader *r, struct mvcc *kv)
{
    struct bytes name = get_bytes(r);
    uint64_t n = get_int(r);
    if (r->bad || n == 0) {
        r->bad = true;
        return;
    }
    struct kv_key *k = mvcc_load_key(kv, name);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int64_t mod = (int64_t)get_int(r);
        uint64_t sub = get_int(r);
        int64_t create = (int64_t)get_int(r), version = (int64_t)get_int(r),
                lease = (int64_t)get_int(r);
        struct bytes value = get_bytes(r);
        if (mod <= 0 || sub > UINT32_MAX || create < 0 || version < 0)
            r->bad = true;
        if (!r->bad)
            mvcc_load_version(kv, k, mod, (uint32_t)sub, create, version, lease, value);
    }
}

bool snapshot_load_block(struct snapshot_loader *l, const uint8_t *p, size_t n)
{
    struct reader r = {p, p + n, false};
    while (!r.bad && r.p < r.end) {
        uint8_t kind = *r.p++;
        if (kind == 'K')
            read_key(&r, l->state->kv);
        else if (kind == 'H')
            read_head(&r, l);
        else
            r.bad = true;
    }
    return !r.bad;
}

/* A key that lives with a lease belongs to it. */
static void attach_leases(struct mvcc *kv, struct lessor *leases)
{
    if (lessor_count(leases) == 0)
        return;
    for (struct kv_key *k = mvcc_seek(kv, (struct bytes){NULL, 0}); k; k = mvcc_next(k)) {
        struct kv_version *v = mvcc_visible(k, 0);
        struct lease *l = v && v->lease ? lessor_find(leases, v->lease) : NULL;
        if (l)
            lessor_attach(l, k);
    }
}

bool snapshot_load_done(struct snapshot_loader *l)
{
    if (l->revision < mvcc_revision(l->state->kv) ||
        l->compact_revision < mvcc_compact_revision(l->state->kv) ||
        !mvcc_load_done(l->state->kv, l->revision, l->compact_revision))
        return false;
    attach_leases(l->state->kv, l->state->leases);
    return true;
}

struct loading {
    struct snapshot_loader loader;
    struct heap_ahead *ahead;
};

static bool load_block(void *userdata, const uint8_t *p, size_t n)
{
    struct loading *l = userdata;
    heap_ahead_look(l->ahead);
    return snapshot_load_block(&l->loader, p, n);
}

static bool load_files(struct state *s, const struct snapshot_list *files, const char *dir,
                       struct error **err)
{
    const struct snapshot_file *last = &files->files[files->n - 1];
    size_t bytes = 0;
    for (size_t i = 0; i < files->n; i++)
        bytes += files->files[i].bytes;
    mvcc_load_begin(s->kv, last->compacted);
    struct loading all = {.loader = {.state = s}, .ahead = heap_ahead_begin(bytes)};
    bool ok = true;
    for (size_t i = 0; i < files->n && ok; i++)
        ok = snapshot_file_read(dir, &files->files[i], load_block, &all, err);
    heap_ahead_end(all.ahead);
    if (!ok)
        return false;
    struct snapshot_loader *l = &all.loader;
    if (l->revision == last->to && l->compact_revision == last->compacted && snapshot_load_done(l))
        return true;
    error_setf(err, "the snapshot's files do not fit together");
    return false;
}

bool snapshot_load(struct state *s, const struct snapshot_list *l, const char *dir,
                   struct error **err)
{
    struct snapshot_list news;
    pthread_rwlock_wrlock(&s->lock);
    int64_t have = mvcc_log_size(s->kv) || mvcc_key_count(s->kv) ? mvcc_revision(s->kv) : 0;
    if (mvcc_is_held(s->kv)) /* a backup goes on with what it has */
        have = 0;
    if (!snapshot_list_news(l, have, &news)) {
        clear_head(s);
        mvcc_free(s->kv);
        s->kv = mvcc_new();
    }
    bool ok = load_files(s, &news, dir, err);
    pthread_rwlock_unlock(&s->lock);
    snapshot_list_clear(&news);
    return ok;
}

/* --- a view --- */
struct snapshot_view {
    struct state *state;
    struct mvcc *kv;
    int64_t revision, compact_revision;
};

struct snapshot_view *snapshot_view_begin(struct state *s)
{
    struct snapshot_view *v = mem_alloc(sizeof(*v));
    *v = (struct snapshot_view){s, s->kv, mvcc_revision(s->kv), mvcc_compact_revision(s->kv)};
    mvcc_hold(s->kv);
    return v;
}

void snapshot_view_end(struct snapshot_view *v)
{
    if (!v)
        return;
    mvcc_release(v->kv);
    free(v);
}

static int by_revision(const void *a, const void *b)
{
    const struct kv_version *x = *(const struct kv_version *const *)a,
                            *y = *(const struct kv_version *const *)b;
    return x->mod != y->mod ? (x->mod > y->mod) - (x->mod < y->mod)
                            : (x->sub > y->sub) - (x->sub < y->sub);
}

const struct kv_version **snapshot_view_versions(struct snapshot_view *view, size_t *n)
{
    const struct kv_version **all = NULL;
    size_t cap = 0;
    *n = 0;
    pthread_rwlock_rdlock(&view->state->lock);
    /* The store is held, so the key where a slice ends is still there when the next begins. */
    struct kv_key *k = mvcc_seek(view->kv, (struct bytes){NULL, 0});
    for (size_t i = 1; k; k = mvcc_next(k), i++) {
        for (const struct kv_version *v = k->latest; v; v = v->prev) {
            if (v->mod > view->revision)
                continue;
            bool base = v->mod < view->compact_revision;
            if (base && kv_is_delete(v))
                break;
            if (*n == cap)
                all = mem_realloc(all, (cap = cap * 2 + 1024) * sizeof(*all));
            all[(*n)++] = v;
            if (base)
                break;
        }
        if (i % SLICE_KEYS == 0) {
            pthread_rwlock_unlock(&view->state->lock);
            pthread_rwlock_rdlock(&view->state->lock);
        }
    }
    pthread_rwlock_unlock(&view->state->lock);
    if (*n)
        qsort(all, *n, sizeof(*all), by_revision);
    return all;
}
