#include "etcd-lite/bolt_read.h"
#include <string.h>

#define META_MAGIC  0xED0CDAEDu
#define META_LENGTH 64u
#define HEADER      16u /* of a page: id 8, flags 2, count 2, overflow 4 */
#define ELEMENT     16u
#define DEPTH_MAX   32

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2 };
enum { ELEMENT_BUCKET = 1 };

struct database {
    const uint8_t *data;
    size_t len;
    uint64_t page_size, pages_left; /* more are not visited: a tree has no loops */
    bool (*item)(void *userdata, struct bytes key, struct bytes value, bool is_bucket);
    void *userdata;
    bool stopped;
};

static uint64_t get(const uint8_t *p, size_t bytes)
{
    uint64_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t fnv1a(const uint8_t *p, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return h;
}

/* The valid meta page of the later transaction; its root's page, or 0. */
static uint64_t find_root(struct database *d)
{
    uint64_t root = 0, latest = 0;
    for (uint64_t size = 1024; size <= 65536; size *= 2)
        for (uint64_t i = 0; i < 2; i++) {
            uint64_t at = i * size + HEADER;
            if (at + META_LENGTH > d->len)
                continue;
            const uint8_t *m = d->data + at;
            if (get(m, 4) != META_MAGIC || get(m + 4, 4) != 2 || get(m + 8, 4) != size ||
                get(m + 56, 8) != fnv1a(m, META_LENGTH - 8) || (root && get(m + 48, 8) < latest))
                continue;
            latest = get(m + 48, 8);
            root = get(m + 16, 8);
            d->page_size = size;
        }
    return root;
}

static bool walk(struct database *d, uint64_t page, unsigned depth);

static bool walk_elements(struct database *d, const uint8_t *p, size_t room, unsigned depth)
{
    uint64_t flags = get(p + 8, 2), n = get(p + 10, 2);
    if ((flags != PAGE_BRANCH && flags != PAGE_LEAF) || n * ELEMENT > room - HEADER)
        return false;
    for (uint64_t i = 0; i < n && !d->stopped; i++) {
        size_t at = HEADER + i * ELEMENT, left = room - at;
        const uint8_t *e = p + at;
        if (flags == PAGE_BRANCH) {
            if (!walk(d, get(e + 8, 8), depth + 1))
                return false;
            continue;
        }
        uint64_t pos = get(e + 4, 4), key = get(e + 8, 4), value = get(e + 12, 4);
        if (pos > left || key > left - pos || value > left - pos - key)
            return false;
        d->stopped = !d->item(d->userdata, (struct bytes){(const char *)e + pos, key},
                              (struct bytes){(const char *)e + pos + key, value},
                              (get(e, 4) & ELEMENT_BUCKET) != 0);
    }
    return true;
}

static bool walk(struct database *d, uint64_t page, unsigned depth)
{
    uint64_t pages = d->len / d->page_size;
    if (page < 2 || page >= pages || depth > DEPTH_MAX || d->pages_left-- == 0)
        return false;
    const uint8_t *p = d->data + page * d->page_size;
    uint64_t overflow = get(p + 12, 4);
    if (overflow >= pages - page)
        return false;
    return walk_elements(d, p, (size_t)((overflow + 1) * d->page_size), depth);
}

struct search {
    const char *name;
    struct bytes found;
};

static bool on_bucket(void *userdata, struct bytes key, struct bytes value, bool is_bucket)
{
    struct search *s = userdata;
    if (!is_bucket || key.n != strlen(s->name) || memcmp(key.p, s->name, key.n) != 0)
        return true;
    s->found = value;
    return false;
}

struct items {
    bool (*item)(void *userdata, struct bytes key, struct bytes value);
    void *userdata;
};

static bool on_item(void *userdata, struct bytes key, struct bytes value, bool is_bucket)
{
    struct items *i = userdata;
    return is_bucket || i->item(i->userdata, key, value);
}

bool bolt_read(const uint8_t *data, size_t len, const char *bucket,
               bool (*item)(void *userdata, struct bytes key, struct bytes value), void *userdata,
               struct error **err)
{
    struct search s = {bucket, {NULL, 0}};
    struct items items = {item, userdata};
    struct database d = {.data = data, .len = len, .item = on_bucket, .userdata = &s};
    uint64_t root = find_root(&d);
    if (!root) {
        error_setf(err, "this is no database file of etcd");
        return false;
    }
    d.pages_left = len / d.page_size;
    bool ok = walk(&d, root, 0);
    if (ok && s.found.p) {
        const uint8_t *v = (const uint8_t *)s.found.p;
        d = (struct database){data, len, d.page_size, len / d.page_size, on_item, &items, false};
        /* root page 8, sequence 8; a small bucket stands inline, behind them */
        if (s.found.n < 16)
            ok = false;
        else if (get(v, 8))
            ok = walk(&d, get(v, 8), 0);
        else
            ok = s.found.n >= 16 + HEADER && walk_elements(&d, v + 16, s.found.n - 16, DEPTH_MAX);
        ok = ok && !d.stopped;
    }
    if (!ok)
        error_setf(err, "the database file is damaged (bucket %s)", bucket);
    return ok;
}
