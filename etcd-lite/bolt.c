#include "etcd-lite/bolt.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/buf.h"
#include "common/mem.h"

#define PAGE        4096u
#define HEADER      16u /* of a page: id 8, flags 2, count 2, overflow 4 */
#define ELEMENT     16u
#define WRITE_AT    (1u << 20)
#define FIRST_PAGE  3 /* two meta pages and the (empty) list of free pages stand before */
#define META_MAGIC  0xED0CDAEDu
#define META_LENGTH 64u

enum { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_META = 4, PAGE_FREELIST = 16 };
enum { ELEMENT_BUCKET = 1 };

/* The pages of one level that are written, for the level above. */
struct child {
    uint64_t page;
    char *key; /* its first */
    size_t key_len;
};
struct children {
    struct child *items;
    size_t n, cap;
};
/* A page in the making: its elements and, behind them, their bytes. */
struct node {
    struct buf elements, data;
    size_t count;
    char *first;
    size_t first_len;
};
struct bolt {
    int fd, error;
    uint64_t next_page, written; /* written: bytes */
    struct buf out;
    struct node node;
    struct children leaves;
    char *bucket; /* being written */
    struct children buckets;
};

static void put(char *p, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (char)(v >> (8 * i));
}

struct bolt *bolt_new(int fd)
{
    struct bolt *b = mem_alloc(sizeof(*b));
    b->fd = fd;
    b->next_page = FIRST_PAGE;
    b->written = FIRST_PAGE * PAGE;
    return b;
}

static void write_at(struct bolt *b, const char *p, size_t n, uint64_t at)
{
    while (n > 0 && !b->error) {
        ssize_t w = pwrite(b->fd, p, n, (off_t)at);
        if (w < 0 && errno != EINTR)
            b->error = errno;
        if (w > 0) {
            p += w;
            n -= (size_t)w;
            at += (uint64_t)w;
        }
    }
}

static void flush(struct bolt *b)
{
    write_at(b, buf_str(&b->out), b->out.len, b->written);
    b->written += b->out.len;
    buf_clear(&b->out);
}

static void add_child(struct children *c, uint64_t page, char *key, size_t key_len)
{
    if (c->n == c->cap)
        c->items = mem_realloc(c->items, (c->cap = c->cap ? c->cap * 2 : 16) * sizeof(*c->items));
    c->items[c->n++] = (struct child){page, key, key_len};
}

static void free_children(struct children *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->items[i].key);
    free(c->items);
    *c = (struct children){0};
}

static void end_page(struct bolt *b, int flags, struct children *level)
{
    struct node *n = &b->node;
    size_t size = HEADER + n->elements.len + n->data.len, pages = (size + PAGE - 1) / PAGE;
    char header[HEADER];
    put(header, b->next_page, 8);
    put(header + 8, (uint64_t)flags, 2);
    put(header + 10, n->count, 2);
    put(header + 12, pages - 1, 4);
    buf_add(&b->out, header, HEADER);
    /* Where an element's bytes are, is counted from the element. */
    for (size_t i = 0; i < n->count; i++) {
        char *e = n->elements.data + i * ELEMENT;
        size_t slot = flags == PAGE_BRANCH ? 0 : 4;
        uint32_t at;
        memcpy(&at, e + slot, 4);
        put(e + slot, n->elements.len - i * ELEMENT + at, 4);
    }
    buf_add(&b->out, n->elements.data, n->elements.len);
    buf_add(&b->out, buf_str(&n->data), n->data.len);
    static const char zeros[PAGE];
    buf_add(&b->out, zeros, pages * PAGE - size);
    add_child(level, b->next_page, n->first, n->first_len);
    b->next_page += pages;
    buf_clear(&n->elements);
    buf_clear(&n->data);
    n->count = 0;
    n->first = NULL;
    if (b->out.len >= WRITE_AT)
        flush(b);
}

static void add_element(struct bolt *b, int flags, struct children *level, uint64_t page,
                        uint32_t element_flags, const void *key, size_t key_len, const void *value,
                        size_t value_len)
{
    struct node *n = &b->node;
    if (n->count &&
        HEADER + n->elements.len + n->data.len + ELEMENT + key_len + value_len > PAGE)
        end_page(b, flags, level);
    if (!n->count) {
        n->first = mem_alloc(key_len + 1);
        memcpy(n->first, key, key_len);
        n->first_len = key_len;
    }
    char e[ELEMENT];
    uint32_t at = (uint32_t)n->data.len;
    if (flags == PAGE_BRANCH) {
        memcpy(e, &at, 4);
        put(e + 4, key_len, 4);
        put(e + 8, page, 8);
    } else {
        put(e, element_flags, 4);
        memcpy(e + 4, &at, 4);
        put(e + 8, key_len, 4);
        put(e + 12, value_len, 4);
    }
    buf_add(&n->elements, e, ELEMENT);
    buf_add(&n->data, key, key_len);
    if (value_len)
        buf_add(&n->data, value, value_len);
    n->count++;
}

/* Ends the last leaf and builds the branches above; returns the root's page, or 0 when there is
 * nothing. */
static uint64_t end_tree(struct bolt *b)
{
    if (b->node.count)
        end_page(b, PAGE_LEAF, &b->leaves);
    struct children level = b->leaves;
    b->leaves = (struct children){0};
    while (level.n > 1) {
        struct children above = {0};
        for (size_t i = 0; i < level.n; i++)
            add_element(b, PAGE_BRANCH, &above, level.items[i].page, 0, level.items[i].key,
                        level.items[i].key_len, NULL, 0);
        end_page(b, PAGE_BRANCH, &above);
        free_children(&level);
        level = above;
    }
    uint64_t root = level.n ? level.items[0].page : 0;
    free_children(&level);
    return root;
}

static void end_bucket(struct bolt *b)
{
    if (b->bucket)
        add_child(&b->buckets, end_tree(b), b->bucket, strlen(b->bucket));
    b->bucket = NULL;
}

void bolt_bucket(struct bolt *b, const char *name)
{
    end_bucket(b);
    b->bucket = mem_strdup(name);
}

void bolt_put(struct bolt *b, const void *key, size_t key_len, const void *value, size_t value_len)
{
    add_element(b, PAGE_LEAF, &b->leaves, 0, 0, key, key_len, value, value_len);
}

static uint64_t fnv1a(const char *p, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 1099511628211u;
    return h;
}

bool bolt_finish(struct bolt *b, uint64_t *size)
{
    end_bucket(b);
    for (size_t i = 0; i < b->buckets.n; i++) {
        const struct child *c = &b->buckets.items[i];
        char value[16 + HEADER] = {0}; /* root page, sequence; an empty bucket stands inline */
        put(value, c->page, 8);
        put(value + 16 + 8, PAGE_LEAF, 2);
        add_element(b, PAGE_LEAF, &b->leaves, 0, ELEMENT_BUCKET, c->key, c->key_len, value,
                    c->page ? 16 : sizeof(value));
    }
    uint64_t root = end_tree(b);
    flush(b);
    char pages[FIRST_PAGE * PAGE] = {0};
    for (uint64_t i = 0; i < 2; i++) {
        char *p = pages + i * PAGE, *m = p + HEADER;
        put(p, i, 8);
        put(p + 8, PAGE_META, 2);
        put(m, META_MAGIC, 4);
        put(m + 4, 2, 4); /* version */
        put(m + 8, PAGE, 4);
        put(m + 16, root, 8);
        put(m + 32, 2, 8); /* the list of free pages */
        put(m + 40, b->next_page, 8);
        put(m + 48, i, 8); /* transaction */
        put(m + META_LENGTH - 8, fnv1a(m, META_LENGTH - 8), 8);
    }
    put(pages + 2 * PAGE, 2, 8);
    put(pages + 2 * PAGE + 8, PAGE_FREELIST, 2);
    write_at(b, pages, sizeof(pages), 0);
    *size = b->next_page * PAGE;
    errno = b->error;
    return b->error == 0;
}

void bolt_free(struct bolt *b)
{
    free_children(&b->leaves);
    free_children(&b->buckets);
    buf_free(&b->out);
    buf_free(&b->node.elements);
    buf_free(&b->node.data);
    free(b->node.first);
    free(b->bucket);
    free(b);
}
