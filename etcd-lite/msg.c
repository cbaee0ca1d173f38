#include "etcd-lite/msg.h"
#include <string.h>

void *msg_list_add(struct msg_list *l, size_t item_size, struct arena *a)
{
    /* Capacity is 4, 8, 16, ...: it is used up when n is 0 or a power of two from 4 on. */
    if (l->n == 0 || (l->n >= 4 && (l->n & (l->n - 1)) == 0)) {
        size_t cap = l->n ? l->n * 2 : 4;
        char *items = arena_alloc(a, cap * item_size);
        if (l->n)
            memcpy(items, l->items, l->n * item_size);
        l->items = items;
    }
    return (char *)l->items + item_size * l->n++;
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

void msg_encode_varint(uint64_t v, struct buf *b)
{
    char tmp[10];
    size_t n = 0;
    while (v >= 0x80) {
        tmp[n++] = (char)(v | 0x80);
        v >>= 7;
    }
    tmp[n++] = (char)v;
    buf_add(b, tmp, n);
}

static size_t item_size(const struct msg_field *f)
{
    return f->kind == MSG_SUB                              ? f->sub->size
           : f->kind == MSG_BYTES || f->kind == MSG_STRING ? sizeof(struct bytes)
                                                           : sizeof(int64_t);
}

static bool is_bytes(const struct msg_field *f)
{
    return f->kind == MSG_BYTES || f->kind == MSG_STRING;
}

static uint64_t scalar(const struct msg_field *f, const void *p)
{
    return f->kind == MSG_BOOL && !f->repeated ? (uint64_t) * (const bool *)p
                                               : (uint64_t) * (const int64_t *)p;
}

size_t msg_wire_size(const struct msg_type *t, const void *msg)
{
    size_t total = 0;
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct msg_field *f = &t->fields[i];
        const char *p = (const char *)msg + f->offset;
        size_t tag = varint_size((uint64_t)f->number << 3), count = 1, step = 0;
        if (f->repeated) {
            const struct msg_list *l = (const struct msg_list *)p;
            count = l->n;
            p = l->items;
            step = item_size(f);
        }
        for (; count > 0; count--, p += step) {
            if (f->kind == MSG_SUB) {
                const void *sub = f->repeated ? (const void *)p : *(const void *const *)p;
                if (sub) {
                    size_t n = msg_wire_size(f->sub, sub);
                    total += tag + varint_size(n) + n;
                }
            } else if (is_bytes(f)) {
                size_t n = ((const struct bytes *)p)->n;
                if (n || f->repeated)
                    total += tag + varint_size(n) + n;
            } else {
                uint64_t v = scalar(f, p);
                if (v || f->repeated)
                    total += tag + varint_size(v);
            }
        }
    }
    return total;
}

void msg_encode(const struct msg_type *t, const void *msg, struct buf *out)
{
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct msg_field *f = &t->fields[i];
        const char *p = (const char *)msg + f->offset;
        size_t count = 1, step = 0;
        if (f->repeated) {
            const struct msg_list *l = (const struct msg_list *)p;
            count = l->n;
            p = l->items;
            step = item_size(f);
        }
        for (; count > 0; count--, p += step) {
            if (f->kind == MSG_SUB) {
                const void *sub = f->repeated ? (const void *)p : *(const void *const *)p;
                if (sub) {
                    msg_encode_varint((uint64_t)f->number << 3 | 2, out);
                    msg_encode_varint(msg_wire_size(f->sub, sub), out);
                    msg_encode(f->sub, sub, out);
                }
            } else if (is_bytes(f)) {
                const struct bytes *b = (const struct bytes *)p;
                if (b->n || f->repeated) {
                    msg_encode_varint((uint64_t)f->number << 3 | 2, out);
                    msg_encode_varint(b->n, out);
                    buf_add(out, b->p, b->n);
                }
            } else {
                uint64_t v = scalar(f, p);
                if (v || f->repeated) {
                    msg_encode_varint((uint64_t)f->number << 3, out);
                    msg_encode_varint(v, out);
                }
            }
        }
    }
}

static bool get_varint(const unsigned char **p, const unsigned char *end, uint64_t *v)
{
    uint64_t r = 0;
    for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
        unsigned char c = *(*p)++;
        r |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *v = r;
            return true;
        }
    }
    return false;
}

static void store_scalar(const struct msg_field *f, char *msg, uint64_t v, struct arena *a)
{
    if (f->kind == MSG_INT32 || f->kind == MSG_ENUM)
        v = (uint64_t)(int64_t)(int32_t)v;
    else if (f->kind == MSG_UINT32)
        v = (uint32_t)v;
    if (f->repeated)
        *(int64_t *)msg_list_add((struct msg_list *)(msg + f->offset), sizeof(int64_t), a) =
            (int64_t)v;
    else if (f->kind == MSG_BOOL)
        *(bool *)(msg + f->offset) = v != 0;
    else
        *(int64_t *)(msg + f->offset) = (int64_t)v;
}

static bool decode(const struct msg_type *t, const unsigned char *p, const unsigned char *end,
                   char *msg, struct arena *a, int depth)
{
    if (depth > MSG_MAX_DEPTH)
        return false;
    while (p < end) {
        uint64_t tag, v = 0;
        if (!get_varint(&p, end, &tag))
            return false;
        const struct msg_field *f = NULL;
        for (size_t i = 0; i < t->n_fields && !f; i++)
            if (t->fields[i].number == tag >> 3)
                f = &t->fields[i];
        const unsigned char *body = NULL;
        switch (tag & 7) {
        case 0:
            if (!get_varint(&p, end, &v))
                return false;
            break;
        case 1:
        case 5: {
            size_t n = (tag & 7) == 1 ? 8 : 4;
            if ((size_t)(end - p) < n)
                return false;
            p += n;
            f = NULL; /* no message of ours has a fixed-width field */
            break;
        }
        case 2:
            if (!get_varint(&p, end, &v) || v > (uint64_t)(end - p))
                return false;
            body = p;
            p += v;
            break;
        default:
            return false;
        }
        if (!f)
            continue;
        bool length_delimited = (tag & 7) == 2;
        if (f->kind == MSG_SUB) {
            if (!length_delimited)
                return false;
            void *sub;
            if (f->repeated) {
                sub = msg_list_add((struct msg_list *)(msg + f->offset), f->sub->size, a);
            } else {
                void **slot = (void **)(msg + f->offset);
                if (!*slot) /* a field that comes twice is merged */
                    *slot = arena_alloc(a, f->sub->size);
                sub = *slot;
            }
            if (!decode(f->sub, body, body + v, sub, a, depth + 1))
                return false;
        } else if (is_bytes(f)) {
            if (!length_delimited)
                return false;
            struct bytes *b =
                f->repeated ? msg_list_add((struct msg_list *)(msg + f->offset), sizeof(*b), a)
                            : (struct bytes *)(msg + f->offset);
            *b = (struct bytes){(const char *)body, v};
        } else if (length_delimited) { /* packed */
            if (!f->repeated)
                return false;
            const unsigned char *q = body, *stop = body + v;
            while (q < stop) {
                uint64_t e;
                if (!get_varint(&q, stop, &e))
                    return false;
                store_scalar(f, msg, e, a);
            }
        } else {
            store_scalar(f, msg, v, a);
        }
    }
    return true;
}

bool msg_decode(const struct msg_type *t, const void *data, size_t len, void *msg, struct arena *a)
{
    const unsigned char *p = data;
    return len == 0 || decode(t, p, p + len, msg, a, 0);
}
