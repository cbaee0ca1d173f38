#include "etcd-lite/mvcc.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "common/mem.h"

#define MAX_LEVELS 16

struct mvcc {
    struct kv_key *head[MAX_LEVELS];
    int levels;
    uint64_t random;
    int64_t revision, compact_revision;
    /* The transaction in progress. */
    uint32_t sub;
    /* Revision log: a ring. */
    struct kv_version **log;
    size_t log_cap, log_start, log_len;
    size_t keys, bytes;
    int holds;
    bool orphan; /* freed with the last hold */
    /* Taken out of the log before they were saved; all older than what is in the log. */
    bool tracked;
    int64_t saved;
    struct kv_version **unsaved;
    size_t n_unsaved, cap_unsaved;
    /* Loading: where the last key was put, so that sorted input is appended. */
    struct kv_key *tail[MAX_LEVELS];
    bool unsorted;
    int64_t had; /* the revision that it started from */
    int64_t load_compacted;
};

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* --- keys and versions --- */
static void key_unref(struct kv_key *k)
{
    if (atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) == 1)
        free(k);
}

struct kv_version *kv_ref(struct kv_version *v)
{
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    return v;
}

void kv_unref(struct kv_version *v)
{
    if (v && atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) == 1) {
        key_unref(v->key);
        free(v);
    }
}

static size_t version_bytes(const struct kv_version *v)
{
    return sizeof(*v) + v->value_len + sizeof(v) + 8;
}

static size_t key_bytes(const struct kv_key *k)
{
    return sizeof(*k) + k->levels * sizeof(k) + k->len + 8;
}

struct mvcc *mvcc_new(void)
{
    struct mvcc *m = mem_alloc(sizeof(*m));
    m->levels = 1;
    m->random = 0x9e3779b97f4a7c15u;
    m->revision = 1;
    return m;
}

void mvcc_free(struct mvcc *m)
{
    if (!m)
        return;
    if (m->holds) {
        m->orphan = true;
        return;
    }
    for (struct kv_key *k = m->head[0]; k;) {
        struct kv_key *next = k->next[0];
        for (struct kv_version *v = k->latest; v;) {
            struct kv_version *prev = v->prev;
            kv_unref(v);
            v = prev;
        }
        key_unref(k);
        k = next;
    }
    for (size_t i = 0; i < m->n_unsaved; i++)
        kv_unref(m->unsaved[i]);
    free(m->unsaved);
    free(m->log);
    free(m);
}

int64_t mvcc_revision(const struct mvcc *m)
{
    return m->revision;
}

int64_t mvcc_compact_revision(const struct mvcc *m)
{
    return m->compact_revision;
}

size_t mvcc_key_count(const struct mvcc *m)
{
    return m->keys;
}

size_t mvcc_bytes(const struct mvcc *m)
{
    return m->bytes;
}

/* --- the index --- */
/* Fills path[level] with the address of the pointer that leads to the first key not below. */
static struct kv_key *descend(const struct mvcc *m, struct bytes key, struct kv_key ***path)
{
    struct kv_key *const *links = m->head;
    struct kv_key *found = NULL;
    for (int level = m->levels - 1; level >= 0; level--) {
        struct kv_key *k;
        /* A key already compared on the level above need not be compared again. */
        while ((k = links[level]) && k != found && bytes_compare(kv_key_bytes(k), key) < 0)
            links = k->next;
        found = k;
        if (path)
            path[level] = (struct kv_key **)&links[level];
    }
    return found;
}

struct kv_key *mvcc_seek(const struct mvcc *m, struct bytes key)
{
    return descend(m, key, NULL);
}

struct kv_key *mvcc_find(const struct mvcc *m, struct bytes key)
{
    struct kv_key *k = descend(m, key, NULL);
    return k && bytes_compare(kv_key_bytes(k), key) == 0 ? k : NULL;
}

static int random_levels(struct mvcc *m)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    int n = 1;
    for (uint64_t r = m->random; n < MAX_LEVELS && (r & 3) == 0; r >>= 2)
        n++;
    return n;
}

static struct kv_key *new_key(struct mvcc *m, struct bytes key)
{
    int levels = random_levels(m);
    struct kv_key *k = mem_alloc(sizeof(*k) + (size_t)levels * sizeof(k) + key.n);
    k->levels = (uint8_t)levels;
    k->len = (uint32_t)key.n;
    atomic_init(&k->refs, 1);
    if (key.n)
        memcpy(&k->next[levels], key.p, key.n);
    if (levels > m->levels)
        m->levels = levels;
    m->bytes += key_bytes(k);
    return k;
}

static struct kv_key *find_or_add(struct mvcc *m, struct bytes key)
{
    struct kv_key **path[MAX_LEVELS];
    struct kv_key *k = descend(m, key, path);
    if (k && bytes_compare(kv_key_bytes(k), key) == 0)
        return k;
    int old_levels = m->levels;
    k = new_key(m, key);
    for (int i = old_levels; i < m->levels; i++)
        path[i] = &m->head[i];
    for (int i = 0; i < k->levels; i++) {
        k->next[i] = *path[i];
        *path[i] = k;
    }
    return k;
}

static void remove_key(struct mvcc *m, struct kv_key *k)
{
    struct kv_key **path[MAX_LEVELS];
    descend(m, kv_key_bytes(k), path);
    for (int i = 0; i < k->levels; i++) {
        assert(*path[i] == k);
        *path[i] = k->next[i];
    }
    m->bytes -= key_bytes(k);
    key_unref(k);
}

/* --- reading --- */
struct kv_version *mvcc_visible(const struct kv_key *k, int64_t revision)
{
    struct kv_version *v = k->latest;
    if (revision)
        while (v && v->mod > revision)
            v = v->prev;
    return v && !kv_is_delete(v) ? v : NULL;
}

static bool is_open_end(struct bytes end)
{
    return end.n == 1 && end.p[0] == '\0';
}

struct kv_key *mvcc_range_first(const struct mvcc *m, struct bytes key, struct bytes end)
{
    if (end.n == 0)
        return mvcc_find(m, key);
    struct kv_key *k = mvcc_seek(m, key);
    return k && !is_open_end(end) && bytes_compare(kv_key_bytes(k), end) >= 0 ? NULL : k;
}

struct kv_key *mvcc_range_next(const struct kv_key *k, struct bytes end)
{
    if (end.n == 0)
        return NULL;
    struct kv_key *next = k->next[0];
    return next && !is_open_end(end) && bytes_compare(kv_key_bytes(next), end) >= 0 ? NULL : next;
}

bool mvcc_range_contains(struct bytes key, struct bytes end, struct bytes k)
{
    int c = bytes_compare(k, key);
    if (end.n == 0)
        return c == 0;
    return c >= 0 && (is_open_end(end) || bytes_compare(k, end) < 0);
}

size_t mvcc_log_size(const struct mvcc *m)
{
    return m->log_len;
}

struct kv_version *mvcc_log_at(const struct mvcc *m, size_t i)
{
    return m->log[(m->log_start + i) & (m->log_cap - 1)];
}

size_t mvcc_log_seek(const struct mvcc *m, int64_t revision)
{
    size_t low = 0, high = m->log_len;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (mvcc_log_at(m, mid)->mod < revision)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static void resize_log(struct mvcc *m, size_t cap)
{
    struct kv_version **log = mem_alloc(cap * sizeof(*log));
    for (size_t i = 0; i < m->log_len; i++)
        log[i] = mvcc_log_at(m, i);
    free(m->log);
    m->log = log;
    m->log_cap = cap;
    m->log_start = 0;
}

static void append_log(struct mvcc *m, struct kv_version *v)
{
    if (m->log_len == m->log_cap)
        resize_log(m, m->log_cap ? m->log_cap * 2 : 256);
    m->log[(m->log_start + m->log_len++) & (m->log_cap - 1)] = v;
}

/* --- writing --- */
void mvcc_begin(struct mvcc *m)
{
    m->sub = 0;
}

int64_t mvcc_write_revision(const struct mvcc *m)
{
    return m->revision + 1;
}

bool mvcc_changed(const struct mvcc *m)
{
    return m->sub != 0;
}

void mvcc_end(struct mvcc *m)
{
    if (m->sub)
        m->revision++;
    m->sub = 0;
}

static struct kv_version *add_version(struct mvcc *m, struct kv_key *k, struct bytes value)
{
    struct kv_version *v = malloc(sizeof(*v) + value.n);
    if (!v)
        abort();
    v->prev = k->latest;
    v->key = k;
    v->value_len = (uint32_t)value.n;
    v->lease = 0;
    atomic_init(&v->refs, 1);
    if (value.n)
        memcpy(v->value, value.p, value.n);
    atomic_fetch_add_explicit(&k->refs, 1, memory_order_relaxed);
    k->latest = v;
    m->bytes += version_bytes(v);
    return v;
}

struct kv_version *mvcc_put(struct mvcc *m, struct bytes key, struct bytes value, int64_t lease)
{
    struct kv_key *k = find_or_add(m, key);
    const struct kv_version *old = mvcc_visible(k, 0);
    struct kv_version *v = add_version(m, k, value);
    v->mod = m->revision + 1;
    v->sub = m->sub++;
    v->create = old ? old->create : v->mod;
    v->version = old ? old->version + 1 : 1;
    v->lease = lease;
    if (!old)
        m->keys++;
    append_log(m, v);
    return v;
}

struct kv_version *mvcc_delete(struct mvcc *m, struct kv_key *k)
{
    assert(mvcc_visible(k, 0));
    struct kv_version *v = add_version(m, k, (struct bytes){NULL, 0});
    v->mod = m->revision + 1;
    v->sub = m->sub++;
    v->create = 0;
    v->version = 0;
    m->keys--;
    append_log(m, v);
    return v;
}

/* --- compaction ---
 * Versions leave the revision log in order. One that leaves, at a main revision below the compact
 * revision, makes all older versions of its key unreachable. A deletion that leaves as the newest
 * version takes its key along; if there is a newer version, that one frees the deletion when its
 * own turn comes. */
void mvcc_compact(struct mvcc *m, int64_t revision)
{
    assert(revision > m->compact_revision && revision <= m->revision);
    m->compact_revision = revision;
}

static void drop_version(struct mvcc *m, struct kv_version *v)
{
    m->bytes -= version_bytes(v);
    kv_unref(v);
}

static void drop_older(struct mvcc *m, struct kv_version *v)
{
    for (struct kv_version *old = v->prev; old;) {
        struct kv_version *older = old->prev;
        drop_version(m, old);
        old = older;
    }
    v->prev = NULL;
}

static void remember(struct mvcc *m, struct kv_version *v)
{
    if (m->n_unsaved == m->cap_unsaved) {
        m->cap_unsaved = m->cap_unsaved ? m->cap_unsaved * 2 : 64;
        m->unsaved = mem_realloc(m->unsaved, m->cap_unsaved * sizeof(*m->unsaved));
    }
    m->unsaved[m->n_unsaved++] = kv_ref(v);
}

bool mvcc_collect(struct mvcc *m, size_t budget)
{
    if (m->holds)
        return false;
    while (m->log_len > 0) {
        struct kv_version *v = mvcc_log_at(m, 0);
        if (v->mod >= m->compact_revision)
            break;
        if (budget-- == 0)
            return true;
        m->log_start = (m->log_start + 1) & (m->log_cap - 1);
        m->log_len--;
        if (m->tracked && v->mod > m->saved)
            remember(m, v);
        drop_older(m, v);
        if (kv_is_delete(v) && v->key->latest == v) {
            remove_key(m, v->key);
            drop_version(m, v);
        }
    }
    if (m->log_cap > 1024 && m->log_len < m->log_cap / 8)
        resize_log(m, m->log_cap / 4);
    return false;
}

void mvcc_hold(struct mvcc *m)
{
    m->holds++;
}

void mvcc_release(struct mvcc *m)
{
    assert(m->holds > 0);
    if (--m->holds == 0 && m->orphan)
        mvcc_free(m);
}

bool mvcc_is_held(const struct mvcc *m)
{
    return m->holds > 0;
}

/* --- what is saved --- */
void mvcc_saved(struct mvcc *m, int64_t revision)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_unsaved; i++)
        if (m->unsaved[i]->mod > revision)
            m->unsaved[n++] = m->unsaved[i];
        else
            kv_unref(m->unsaved[i]);
    m->n_unsaved = n;
    if (n == 0) {
        free(m->unsaved);
        m->unsaved = NULL;
        m->cap_unsaved = 0;
    }
    m->saved = revision;
    m->tracked = true;
}

size_t mvcc_unsaved(const struct mvcc *m, size_t *position)
{
    *position = mvcc_log_seek(m, m->saved + 1);
    return m->n_unsaved + m->log_len - *position;
}

const struct kv_version *mvcc_unsaved_at(const struct mvcc *m, size_t position, size_t i)
{
    return i < m->n_unsaved ? m->unsaved[i] : mvcc_log_at(m, position + i - m->n_unsaved);
}

/* --- loading --- */
void mvcc_load_begin(struct mvcc *m, int64_t compact_revision)
{
    m->load_compacted = compact_revision;
    m->unsorted = m->head[0] != NULL;
    m->had = m->head[0] ? m->revision : 0;
    memset(m->tail, 0, sizeof(m->tail));
}

struct kv_key *mvcc_load_key(struct mvcc *m, struct bytes key)
{
    struct kv_key *last = m->tail[0];
    int order = last ? bytes_compare(kv_key_bytes(last), key) : -1;
    if (order == 0)
        return last;
    /* Once a key has come out of order, the tails may be wrong. */
    m->unsorted |= order > 0;
    if (m->unsorted)
        return find_or_add(m, key);
    struct kv_key *k = new_key(m, key);
    for (int i = 0; i < k->levels; i++) {
        struct kv_key **link = m->tail[i] ? &m->tail[i]->next[i] : &m->head[i];
        k->next[i] = NULL;
        *link = k;
        m->tail[i] = k;
    }
    return k;
}

void mvcc_load_version(struct mvcc *m, struct kv_key *k, int64_t mod, uint32_t sub, int64_t create,
                       int64_t version, int64_t lease, struct bytes value)
{
    const struct kv_version *newest = k->latest;
    if (mod <= m->had ||
        (newest && (mod < newest->mod || (mod == newest->mod && sub <= newest->sub))))
        return;
    struct kv_version *v = add_version(m, k, value);
    v->mod = mod;
    v->sub = sub;
    v->create = create;
    v->version = version;
    v->lease = lease;
    /* At once, as there may be much of it. What this store had is in its log still. */
    if (mod < m->load_compacted && m->had == 0)
        drop_older(m, v);
}

/* Drops what compaction leaves of no use; true when the key goes with it. */
static bool trim(struct mvcc *m, struct kv_key *k)
{
    struct kv_version **link = &k->latest;
    while (*link && (*link)->mod >= m->compact_revision)
        link = &(*link)->prev;
    if (*link && !kv_is_delete(*link))
        link = &(*link)->prev;
    struct kv_version *old = *link;
    *link = NULL;
    while (old) {
        struct kv_version *older = old->prev;
        drop_version(m, old);
        old = older;
    }
    return !k->latest;
}

struct log_place {
    int64_t mod;
    uint32_t sub;
    struct kv_version *version;
};

static int by_place(const void *a, const void *b)
{
    const struct log_place *x = a, *y = b;
    if (x->mod != y->mod)
        return x->mod < y->mod ? -1 : 1;
    return (x->sub > y->sub) - (x->sub < y->sub);
}

bool mvcc_load_done(struct mvcc *m, int64_t revision, int64_t compact_revision)
{
    m->revision = revision;
    m->compact_revision = compact_revision;
    m->keys = 0;
    bool good = true;
    /* Only history stays in the log: what a key had before the compact revision is its base. */
    struct log_place *places = NULL;
    size_t n = 0, cap = 0;
    for (struct kv_key *k = m->head[0], *next; k; k = next) {
        next = k->next[0];
        if (trim(m, k)) {
            remove_key(m, k);
            continue;
        }
        good &= k->latest->mod <= revision;
        m->keys += !kv_is_delete(k->latest);
        for (struct kv_version *v = k->latest; v && v->mod >= compact_revision; v = v->prev) {
            if (n == cap)
                places = mem_realloc(places, (cap = cap ? cap * 2 : 1024) * sizeof(*places));
            places[n++] = (struct log_place){v->mod, v->sub, v};
        }
    }
    if (n)
        qsort(places, n, sizeof(*places), by_place);
    m->log_len = m->log_start = 0;
    for (size_t i = 0; i < n; i++)
        append_log(m, places[i].version);
    free(places);
    return good;
}

uint32_t mvcc_hash(const struct mvcc *m, int64_t revision)
{
    uLong crc = crc32(0, NULL, 0);
    for (const struct kv_key *k = m->head[0]; k; k = k->next[0]) {
        struct bytes name = kv_key_bytes(k);
        for (const struct kv_version *v = k->latest; v; v = v->prev) {
            if (v->mod > revision)
                continue;
            bool base = v->mod < m->compact_revision;
            if (base && kv_is_delete(v))
                break;
            int64_t stamp[5] = {v->mod, v->sub, v->create, v->version, v->lease};
            crc = crc32(crc, (const Bytef *)name.p, (uInt)name.n);
            crc = crc32(crc, (const Bytef *)stamp, sizeof(stamp));
            crc = crc32(crc, (const Bytef *)v->value, v->value_len);
            if (base)
                break;
        }
    }
    return (uint32_t)crc;
}
