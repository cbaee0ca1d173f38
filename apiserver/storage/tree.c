#include "apiserver/storage/tree.h"

#include <stdatomic.h>
#include <string.h>

#include "common/mem.h"

#define LEAF_MAX 128

struct leaf {
    atomic_int refs;
    size_t count;
    struct stored *items[LEAF_MAX];
};

struct tree_root {
    atomic_int refs;
    size_t count; /* objects */
    size_t leaf_count, leaf_cap;
    struct leaf *leaves[]; /* none is empty */
};

static struct tree_root *root_new(size_t cap)
{
    struct tree_root *r = mem_alloc(sizeof *r + cap * sizeof r->leaves[0]);
    r->refs = 1;
    r->leaf_cap = cap;
    return r;
}

static void leaf_unref(struct leaf *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    for (size_t i = 0; i < l->count; i++)
        stored_unref(l->items[i]);
    free(l);
}

struct tree_root *tree_root_ref(struct tree_root *r)
{
    atomic_fetch_add(&r->refs, 1);
    return r;
}

void tree_root_unref(struct tree_root *r)
{
    if (!r || atomic_fetch_sub(&r->refs, 1) != 1)
        return;
    for (size_t i = 0; i < r->leaf_count; i++)
        leaf_unref(r->leaves[i]);
    free(r);
}

void tree_init(struct tree *t)
{
    t->root = root_new(4);
}

void tree_clear(struct tree *t)
{
    tree_root_unref(t->root);
    t->root = NULL;
}

size_t tree_count(const struct tree_root *root)
{
    return root->count;
}

struct tree_root *tree_snapshot(struct tree *t)
{
    return tree_root_ref(t->root);
}

/* The root, changeable, with room for one more leaf. */
static struct tree_root *own_root(struct tree *t)
{
    struct tree_root *r = t->root;
    size_t cap = r->leaf_count == r->leaf_cap ? r->leaf_cap * 2 : r->leaf_cap;
    if (atomic_load(&r->refs) == 1) {
        if (cap != r->leaf_cap) {
            r = mem_realloc(r, sizeof *r + cap * sizeof r->leaves[0]);
            r->leaf_cap = cap;
            t->root = r;
        }
        return r;
    }
    struct tree_root *copy = root_new(cap);
    copy->count = r->count;
    copy->leaf_count = r->leaf_count;
    for (size_t i = 0; i < r->leaf_count; i++) {
        copy->leaves[i] = r->leaves[i];
        atomic_fetch_add(&copy->leaves[i]->refs, 1);
    }
    tree_root_unref(r);
    t->root = copy;
    return copy;
}

static struct leaf *leaf_new(void)
{
    struct leaf *l = mem_alloc(sizeof *l);
    l->refs = 1;
    return l;
}

static struct leaf *own_leaf(struct tree_root *r, size_t i)
{
    struct leaf *l = r->leaves[i];
    if (atomic_load(&l->refs) == 1)
        return l;
    struct leaf *copy = leaf_new();
    copy->count = l->count;
    for (size_t k = 0; k < l->count; k++)
        copy->items[k] = stored_ref(l->items[k]);
    leaf_unref(l);
    r->leaves[i] = copy;
    return copy;
}

/* The leaf that has the key or would: the last whose first key is not greater. */
static size_t find_leaf(const struct tree_root *r, const char *key)
{
    size_t lo = 0, hi = r->leaf_count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (strcmp(r->leaves[mid]->items[0]->key, key) <= 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? lo - 1 : 0;
}

/* The first item not less than key. */
static size_t find_item(const struct leaf *l, const char *key, bool *same)
{
    size_t lo = 0, hi = l->count;
    *same = false;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int cmp = strcmp(l->items[mid]->key, key);
        if (!cmp) {
            *same = true;
            return mid;
        }
        if (cmp < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct stored *tree_find(const struct tree_root *root, const char *key)
{
    if (!root->leaf_count)
        return NULL;
    const struct leaf *l = root->leaves[find_leaf(root, key)];
    bool same;
    size_t i = find_item(l, key, &same);
    return same ? l->items[i] : NULL;
}

static void insert_leaf(struct tree_root *r, size_t at, struct leaf *l)
{
    memmove(&r->leaves[at + 1], &r->leaves[at], (r->leaf_count - at) * sizeof r->leaves[0]);
    r->leaves[at] = l;
    r->leaf_count++;
}

static void remove_leaf(struct tree_root *r, size_t at)
{
    leaf_unref(r->leaves[at]);
    memmove(&r->leaves[at], &r->leaves[at + 1], (r->leaf_count - at - 1) * sizeof r->leaves[0]);
    r->leaf_count--;
}

struct stored *tree_put(struct tree *t, struct stored *s)
{
    struct tree_root *r = own_root(t);
    if (!r->leaf_count)
        insert_leaf(r, 0, leaf_new());
    size_t n = r->leaves[0]->count ? find_leaf(r, s->key) : 0;
    struct leaf *l = own_leaf(r, n);
    bool same;
    size_t i = find_item(l, s->key, &same);
    if (same) {
        struct stored *old = l->items[i];
        l->items[i] = s;
        return old;
    }
    if (l->count == LEAF_MAX) {
        /* Ascending keys leave full leaves behind; else halves. */
        size_t keep = i == LEAF_MAX && n + 1 == r->leaf_count ? LEAF_MAX : LEAF_MAX / 2;
        struct leaf *right = leaf_new();
        right->count = LEAF_MAX - keep;
        memcpy(right->items, l->items + keep, right->count * sizeof l->items[0]);
        l->count = keep;
        insert_leaf(r, n + 1, right);
        if (i > keep || keep == LEAF_MAX) {
            l = right;
            i -= keep;
        }
    }
    memmove(&l->items[i + 1], &l->items[i], (l->count - i) * sizeof l->items[0]);
    l->items[i] = s;
    l->count++;
    r->count++;
    return NULL;
}

struct stored *tree_remove(struct tree *t, const char *key)
{
    if (!tree_find(t->root, key))
        return NULL;
    struct tree_root *r = own_root(t);
    size_t n = find_leaf(r, key);
    struct leaf *l = own_leaf(r, n);
    bool same;
    size_t i = find_item(l, key, &same);
    struct stored *old = l->items[i];
    memmove(&l->items[i], &l->items[i + 1], (l->count - i - 1) * sizeof l->items[0]);
    l->count--;
    r->count--;
    if (!l->count) {
        remove_leaf(r, n);
    } else if (n + 1 < r->leaf_count && l->count + r->leaves[n + 1]->count <= LEAF_MAX / 2) {
        struct leaf *next = own_leaf(r, n + 1);
        memcpy(l->items + l->count, next->items, next->count * sizeof l->items[0]);
        l->count += next->count;
        next->count = 0;
        remove_leaf(r, n + 1);
    }
    return old;
}

void tree_seek(struct tree_cursor *c, const struct tree_root *root, const char *key, bool after)
{
    *c = (struct tree_cursor){.root = root};
    if (!root->leaf_count)
        return;
    c->leaf = find_leaf(root, key);
    bool same;
    c->item = find_item(root->leaves[c->leaf], key, &same);
    if (same && after)
        c->item++;
}

struct stored *tree_next(struct tree_cursor *c)
{
    while (c->leaf < c->root->leaf_count) {
        const struct leaf *l = c->root->leaves[c->leaf];
        if (c->item < l->count)
            return l->items[c->item++];
        c->leaf++;
        c->item = 0;
    }
    return NULL;
}

size_t tree_distance(const struct tree_cursor *a, const struct tree_cursor *b)
{
    if (a->leaf > b->leaf || (a->leaf == b->leaf && a->item >= b->item))
        return 0;
    if (a->leaf == b->leaf)
        return b->item - a->item;
    size_t n = a->root->leaves[a->leaf]->count - a->item + b->item;
    for (size_t i = a->leaf + 1; i < b->leaf; i++)
        n += a->root->leaves[i]->count;
    return n;
}
