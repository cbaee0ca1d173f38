#include "etcd-lite/snapshot.h"
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "common/buf.h"
#include "common/mem.h"

/* "SKIFFSNP", version (u32), reserved (u32), then varints:
 *   revision, compact revision
 *   leases: count, then id, TTL of each
 *   members: count, then id, name, count of URLs, URLs (strings: length, bytes)
 *   version 2 on: alarms: count, then member, alarm of each
 *   version 3 on: for each of the members: 1 for a learner, count of peer URLs, peer URLs; removed
 *   members: count, ids
 *   keys in order: 'K', key, count of versions, then oldest first: mod, sub, create, version,
 * lease, value 'E', and CRC-32 (u32, little-endian) of all before it; padded with zeros to 8 bytes.
 */
#define MAGIC          "SKIFFSNP"
#define VERSION        1
#define VERSION_ALARMS 2 /* has a list of alarms behind the members; written only when there are any */
#define VERSION_MEMBERS 3 /* also who belongs to the cluster; written once that is known */
#define HEADER          16
#define CHUNK          (256u << 10)
#define REFERENCE_FROM 256 /* shorter values are copied */
#define SLICE          512 /* keys per read lock */

struct chunk {
    struct chunk *next;
    size_t len;
    char data[CHUNK];
};
struct snapshot_job {
    struct state *state;
    struct mvcc *kv;
    int64_t revision, compact_revision;
    struct buf head; /* all but the keys, made at begin */
    struct chunk *chunks;
    size_t flushed; /* bytes of the current chunk that buffers refer to already */
    struct raft_buffer *bufs;
    size_t n_bufs, cap_bufs, size;
    uLong crc;
};

/* --- writing --- */
static size_t varint(char *p, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (char)v;
    return n;
}

static void head_int(struct buf *b, uint64_t v)
{
    char tmp[10];
    buf_add(b, tmp, varint(tmp, v));
}

static void head_string(struct buf *b, const char *s)
{
    head_int(b, strlen(s));
    buf_adds(b, s);
}

static void head_strings(struct buf *b, char *const *list)
{
    size_t n = 0;
    while (list[n])
        n++;
    head_int(b, n);
    for (size_t i = 0; i < n; i++)
        head_string(b, list[i]);
}

static void head_membership(struct buf *b, const struct state *s)
{
    for (size_t i = 0; i < s->n_members; i++) {
        head_int(b, s->members[i].learner);
        head_strings(b, s->members[i].peer_urls);
    }
    head_int(b, s->n_removed);
    for (size_t i = 0; i < s->n_removed; i++)
        head_int(b, s->removed[i]);
}

static void add_buffer(struct snapshot_job *j, const void *p, size_t n)
{
    if (n == 0)
        return;
    if (j->n_bufs == j->cap_bufs) {
        j->cap_bufs = j->cap_bufs ? j->cap_bufs * 2 : 64;
        j->bufs = mem_realloc(j->bufs, j->cap_bufs * sizeof(*j->bufs));
    }
    j->bufs[j->n_bufs++] = (struct raft_buffer){(void *)p, n};
    j->crc = crc32_z(j->crc, p, n);
    j->size += n;
}

static void flush(struct snapshot_job *j)
{
    if (j->chunks && j->chunks->len > j->flushed)
        add_buffer(j, j->chunks->data + j->flushed, j->chunks->len - j->flushed);
    j->flushed = j->chunks ? j->chunks->len : 0;
}

/* Room for n bytes (at most CHUNK) that the caller fills; commit says how many it took. */
static char *room(struct snapshot_job *j, size_t n)
{
    if (!j->chunks || CHUNK - j->chunks->len < n) {
        flush(j);
        struct chunk *c = malloc(sizeof(*c));
        if (!c)
            abort();
        c->len = 0;
        c->next = j->chunks;
        j->chunks = c;
        j->flushed = 0;
    }
    return j->chunks->data + j->chunks->len;
}

static void commit(struct snapshot_job *j, size_t n)
{
    j->chunks->len += n;
}

static void put_int(struct snapshot_job *j, uint64_t v)
{
    char *p = room(j, 10);
    commit(j, varint(p, v));
}

static void put_bytes(struct snapshot_job *j, const char *p, size_t n)
{
    put_int(j, n);
    if (n >= REFERENCE_FROM) {
        flush(j);
        add_buffer(j, p, n);
    } else if (n) {
        memcpy(room(j, n), p, n);
        commit(j, n);
    }
}

/* The versions of a key that the snapshot carries, newest first: history from the compact revision
 * on, and the one below that it started from. */
static size_t versions(const struct snapshot_job *j, const struct kv_key *k,
                       const struct kv_version ***list, size_t *cap)
{
    size_t n = 0;
    for (const struct kv_version *v = k->latest; v; v = v->prev) {
        if (v->mod > j->revision)
            continue;
        bool base = v->mod < j->compact_revision;
        if (base && kv_is_delete(v))
            break;
        if (n == *cap)
            *list = mem_realloc(*list, (*cap = *cap ? *cap * 2 : 64) * sizeof(struct kv_version *));
        (*list)[n++] = v;
        if (base)
            break;
    }
    return n;
}

struct snapshot_job *snapshot_begin(struct state *s)
{
    struct snapshot_job *j = mem_alloc(sizeof(*j));
    j->state = s;
    j->kv = s->kv;
    j->revision = mvcc_revision(s->kv);
    j->compact_revision = mvcc_compact_revision(s->kv);
    j->crc = crc32(0, NULL, 0);
    mvcc_hold(s->kv);
    uint32_t version[2] = {s->members_known ? VERSION_MEMBERS
                           : s->n_alarms    ? VERSION_ALARMS
                                            : VERSION,
                           0};
    buf_add(&j->head, MAGIC, 8);
    buf_add(&j->head, version, sizeof(version));
    head_int(&j->head, (uint64_t)j->revision);
    head_int(&j->head, (uint64_t)j->compact_revision);
    size_t n;
    struct lease **leases = lessor_list(s->leases, &n);
    head_int(&j->head, n);
    for (size_t i = 0; i < n; i++) {
        head_int(&j->head, (uint64_t)leases[i]->id);
        head_int(&j->head, (uint64_t)leases[i]->ttl);
    }
    free(leases);
    head_int(&j->head, s->n_members);
    for (size_t i = 0; i < s->n_members; i++) {
        const struct member_info *m = &s->members[i];
        head_int(&j->head, m->id);
        head_string(&j->head, m->name);
        head_strings(&j->head, m->client_urls);
    }
    if (version[0] >= VERSION_ALARMS)
        head_int(&j->head, s->n_alarms);
    for (size_t i = 0; i < s->n_alarms; i++) {
        head_int(&j->head, (uint64_t)s->alarms[i].member_id);
        head_int(&j->head, (uint64_t)s->alarms[i].alarm);
    }
    if (version[0] >= VERSION_MEMBERS)
        head_membership(&j->head, s);
    return j;
}

void snapshot_run(struct snapshot_job *j)
{
    add_buffer(j, j->head.data, j->head.len);
    const struct kv_version **list = NULL;
    size_t cap = 0;
    pthread_rwlock_rdlock(&j->state->lock);
    /* The store is held, so the key where a slice ends is still there when the next begins. */
    struct kv_key *k = mvcc_seek(j->kv, (struct bytes){NULL, 0});
    for (size_t i = 1; k; k = mvcc_next(k), i++) {
        size_t n = versions(j, k, &list, &cap);
        if (n) {
            *room(j, 1) = 'K';
            commit(j, 1);
            struct bytes key = kv_key_bytes(k);
            put_bytes(j, key.p, key.n);
            put_int(j, n);
            while (n-- > 0) {
                const struct kv_version *v = list[n];
                put_int(j, (uint64_t)v->mod);
                put_int(j, v->sub);
                put_int(j, (uint64_t)v->create);
                put_int(j, (uint64_t)v->version);
                put_int(j, (uint64_t)v->lease);
                put_bytes(j, v->value, v->value_len);
            }
        }
        if (i % SLICE == 0) {
            pthread_rwlock_unlock(&j->state->lock);
            pthread_rwlock_rdlock(&j->state->lock);
        }
    }
    pthread_rwlock_unlock(&j->state->lock);
    free(list);
    *room(j, 1) = 'E';
    commit(j, 1);
    flush(j);
    uint32_t crc = (uint32_t)j->crc;
    size_t padding = (8 - (j->size + sizeof(crc)) % 8) % 8;
    char *tail = room(j, sizeof(crc) + padding);
    memcpy(tail, &crc, sizeof(crc));
    memset(tail + sizeof(crc), 0, padding);
    commit(j, sizeof(crc) + padding);
    flush(j);
}

static int by_revision(const void *a, const void *b)
{
    const struct kv_version *x = *(const struct kv_version *const *)a,
                            *y = *(const struct kv_version *const *)b;
    return x->mod != y->mod ? (x->mod > y->mod) - (x->mod < y->mod)
                            : (x->sub > y->sub) - (x->sub < y->sub);
}

const struct kv_version **snapshot_versions(struct snapshot_job *j, size_t *n)
{
    const struct kv_version **all = NULL, **list = NULL;
    size_t cap = 0, list_cap = 0;
    *n = 0;
    pthread_rwlock_rdlock(&j->state->lock);
    struct kv_key *k = mvcc_seek(j->kv, (struct bytes){NULL, 0});
    for (size_t i = 1; k; k = mvcc_next(k), i++) {
        size_t found = versions(j, k, &list, &list_cap);
        if (*n + found > cap)
            all = mem_realloc(all, (cap = cap * 2 + found + 1024) * sizeof(*all));
        for (size_t v = 0; v < found; v++)
            all[(*n)++] = list[v];
        if (i % SLICE == 0) {
            pthread_rwlock_unlock(&j->state->lock);
            pthread_rwlock_rdlock(&j->state->lock);
        }
    }
    pthread_rwlock_unlock(&j->state->lock);
    free(list);
    if (*n)
        qsort(all, *n, sizeof(*all), by_revision);
    return all;
}

void snapshot_buffers(struct snapshot_job *j, struct raft_buffer **bufs, unsigned *n)
{
    *bufs = j->bufs;
    *n = (unsigned)j->n_bufs;
}

size_t snapshot_size(const struct snapshot_job *j)
{
    return j->size;
}

void snapshot_end(struct snapshot_job *j)
{
    if (!j)
        return;
    mvcc_release(j->kv);
    while (j->chunks) {
        struct chunk *c = j->chunks;
        j->chunks = c->next;
        free(c);
    }
    buf_free(&j->head);
    free(j->bufs);
    free(j);
}

/* --- reading --- */
struct reader {
    const unsigned char *p, *end;
    bool bad;
};

static uint64_t get_int(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && r->p < r->end; shift += 7) {
        unsigned char c = *r->p++;
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
        *m = (struct member_info){.id = get_int(r), .name = get_string(r)};
        m->client_urls = get_strings(r);
        m->peer_urls = mem_alloc(sizeof(char *));
    }
}

static void read_membership(struct reader *r, struct state *s)
{
    s->members_known = true;
    for (size_t i = 0; i < s->n_members && !r->bad; i++) {
        s->members[i].learner = get_int(r) == 1;
        strings_free(s->members[i].peer_urls);
        s->members[i].peer_urls = get_strings(r);
    }
    uint64_t n = get_int(r);
    if (n > (uint64_t)(r->end - r->p)) {
        r->bad = true;
        return;
    }
    s->removed = mem_alloc((n + 1) * sizeof(*s->removed));
    for (uint64_t i = 0; i < n; i++)
        s->removed[s->n_removed++] = get_int(r);
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
    int64_t last_mod = k->latest ? INT64_MAX : 0, last_sub = -1;
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int64_t mod = (int64_t)get_int(r);
        uint64_t sub = get_int(r);
        int64_t create = (int64_t)get_int(r), version = (int64_t)get_int(r),
                lease = (int64_t)get_int(r);
        struct bytes value = get_bytes(r);
        if (mod < last_mod || (mod == last_mod && (int64_t)sub <= last_sub) || mod <= 0 ||
            sub > UINT32_MAX || create < 0 || version < 0)
            r->bad = true;
        if (!r->bad)
            mvcc_load_version(kv, k, mod, (uint32_t)sub, create, version, lease, value);
        last_mod = mod;
        last_sub = (int64_t)sub;
    }
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

static bool read_all(struct reader *r, uint32_t version, struct state *fresh)
{
    int64_t revision = (int64_t)get_int(r), compact = (int64_t)get_int(r);
    uint64_t n = get_int(r);
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int64_t id = (int64_t)get_int(r), ttl = (int64_t)get_int(r);
        if (!r->bad)
            lessor_grant(fresh->leases, id, ttl < 0 || ttl > LEASE_MAX_TTL ? LEASE_MAX_TTL : ttl,
                         fresh->now_ms());
    }
    read_members(r, fresh);
    n = version >= VERSION_ALARMS ? get_int(r) : 0;
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        int64_t member = (int64_t)get_int(r), alarm = (int64_t)get_int(r);
        if (!r->bad)
            state_add_alarm(fresh, member, alarm);
    }
    if (version >= VERSION_MEMBERS && !r->bad)
        read_membership(r, fresh);
    while (!r->bad && r->p < r->end && *r->p == 'K') {
        r->p++;
        read_key(r, fresh->kv);
    }
    if (r->bad || r->end - r->p != 1 || *r->p != 'E' || revision < 1 || compact < 0 ||
        compact > revision)
        return false;
    mvcc_load_done(fresh->kv, revision, compact);
    attach_leases(fresh->kv, fresh->leases);
    return true;
}

/* Others may be waiting at s->lock. */
static void swap_but_lock(struct state *a, struct state *b)
{
    struct state tmp;
    const size_t from = offsetof(struct state, kv), n = sizeof(tmp) - from;
    memcpy((char *)&tmp + from, (char *)a + from, n);
    memcpy((char *)a + from, (char *)b + from, n);
    memcpy((char *)b + from, (char *)&tmp + from, n);
}

bool snapshot_restore(struct state *s, const void *data, size_t len, struct error **err)
{
    const unsigned char *p = data;
    uint32_t version, crc;
    if (len < HEADER + sizeof(crc) + 1 || memcmp(p, MAGIC, 8) != 0) {
        error_setf(err, "this is no snapshot of etcd-lite");
        return false;
    }
    memcpy(&version, p + 8, sizeof(version));
    if (version < VERSION || version > VERSION_MEMBERS) {
        error_setf(err, "the snapshot has format %u, this program reads up to %d", version,
                   VERSION_MEMBERS);
        return false;
    }
    /* The checksum stands before at most 7 zeros of padding; its place is where it fits. */
    size_t body = 0;
    for (size_t pad = 0; pad < 8 && !body && len >= HEADER + 5 + pad; pad++) {
        size_t at = len - pad - sizeof(crc);
        memcpy(&crc, p + at, sizeof(crc));
        if (p[at - 1] == 'E' && (uint32_t)crc32_z(crc32(0, NULL, 0), p, at) == crc)
            body = at;
        if (pad < 7 && p[len - 1 - pad] != 0)
            break;
    }
    struct state fresh;
    struct reader r = {p + HEADER, p + body, body == 0};
    state_init(&fresh, s->now_ms);
    if (r.bad || !read_all(&r, version, &fresh)) {
        error_setf(err, "the snapshot is damaged (checksum or structure)");
        state_clear(&fresh);
        return false;
    }
    pthread_rwlock_wrlock(&s->lock);
    swap_but_lock(s, &fresh);
    pthread_rwlock_unlock(&s->lock);
    state_clear(&fresh);
    return true;
}
