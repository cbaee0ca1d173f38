/* The JSON side of messages. The parser reads the text directly into the struct, without a document
 * tree. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "etcd-lite/msg.h"

/* --- printing --- */
static void print_int(struct buf *out, int64_t v, bool is_unsigned)
{
    char tmp[24];
    int n = sizeof(tmp);
    uint64_t u = is_unsigned || v >= 0 ? (uint64_t)v : -(uint64_t)v;
    do
        tmp[--n] = (char)('0' + u % 10);
    while ((u /= 10));
    if (!is_unsigned && v < 0)
        tmp[--n] = '-';
    buf_add(out, tmp + n, sizeof(tmp) - (size_t)n);
}

static void print_value(const struct msg_field *f, const void *p, struct buf *out)
{
    switch (f->kind) {
    case MSG_INT64:
    case MSG_UINT64:
        buf_addc(out, '"');
        print_int(out, *(const int64_t *)p, f->kind == MSG_UINT64);
        buf_addc(out, '"');
        break;
    case MSG_INT32:
    case MSG_UINT32:
        print_int(out, *(const int64_t *)p, false);
        break;
    case MSG_BOOL:
        buf_adds(out, *(const bool *)p ? "true" : "false");
        break;
    case MSG_ENUM: {
        int64_t v = *(const int64_t *)p, i = 0;
        while (i < v && f->enum_names[i])
            i++;
        if (v >= 0 && f->enum_names[i])
            buf_printf(out, "\"%s\"", f->enum_names[i]);
        else
            print_int(out, v, false);
        break;
    }
    case MSG_BYTES:
        buf_addc(out, '"');
        buf_add_base64(out, ((const struct bytes *)p)->p, ((const struct bytes *)p)->n);
        buf_addc(out, '"');
        break;
    case MSG_STRING:
        json_print_string(((const struct bytes *)p)->p, ((const struct bytes *)p)->n, out);
        break;
    default:
        msg_print_json(f->sub, p, out);
    }
}

static bool is_zero(const struct msg_field *f, const void *p)
{
    switch (f->kind) {
    case MSG_BOOL:
        return !*(const bool *)p;
    case MSG_BYTES:
    case MSG_STRING:
        return ((const struct bytes *)p)->n == 0;
    case MSG_SUB:
        return *(const void *const *)p == NULL;
    default:
        return *(const int64_t *)p == 0;
    }
}

bool msg_print_json_fields(const struct msg_type *t, const void *msg, struct buf *out)
{
    bool any = false;
    for (size_t i = 0; i < t->n_fields; i++) {
        const struct msg_field *f = &t->fields[i];
        const char *p = (const char *)msg + f->offset;
        if (f->repeated ? ((const struct msg_list *)p)->n == 0 : is_zero(f, p))
            continue;
        if (any)
            buf_addc(out, ',');
        any = true;
        buf_addc(out, '"');
        buf_adds(out, f->name);
        buf_add(out, "\":", 2);
        if (!f->repeated) {
            print_value(f, f->kind == MSG_SUB ? *(const void *const *)p : (const void *)p, out);
            continue;
        }
        const struct msg_list *l = (const struct msg_list *)p;
        size_t step = f->kind == MSG_SUB                              ? f->sub->size
                      : f->kind == MSG_BYTES || f->kind == MSG_STRING ? sizeof(struct bytes)
                                                                      : sizeof(int64_t);
        buf_addc(out, '[');
        for (size_t k = 0; k < l->n; k++) {
            if (k)
                buf_addc(out, ',');
            print_value(f, (const char *)l->items + k * step, out);
        }
        buf_addc(out, ']');
    }
    return any;
}

void msg_print_json(const struct msg_type *t, const void *msg, struct buf *out)
{
    buf_addc(out, '{');
    msg_print_json_fields(t, msg, out);
    buf_addc(out, '}');
}

/* --- parsing --- */
struct parser {
    const char *p, *end;
    struct arena *arena;
    struct error **err;
    struct buf scratch; /* unescaped string */
};

static bool fail(struct parser *s, const char *what)
{
    if (s->p >= s->end)
        error_set(s->err, 400, "", "unexpected end of JSON input");
    else
        error_set(s->err, 400, "", "invalid character '%c' %s",
                  *s->p >= ' ' && *s->p < 127 ? *s->p : '?', what);
    return false;
}

static void skip_space(struct parser *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\t' || *s->p == '\r'))
        s->p++;
}

static bool eat(struct parser *s, char c)
{
    skip_space(s);
    if (s->p >= s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

static bool literal(struct parser *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
        return false;
    s->p += n;
    return true;
}

static int hex4(const char *p, const char *end)
{
    if (end - p < 4)
        return -1;
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9'                 ? c - '0'
                : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                     : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static void add_utf8(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_addc(b, (char)c);
    } else if (c < 0x800) {
        buf_addc(b, (char)(0xc0 | c >> 6));
        buf_addc(b, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_addc(b, (char)(0xe0 | c >> 12));
        buf_addc(b, (char)(0x80 | (c >> 6 & 63)));
        buf_addc(b, (char)(0x80 | (c & 63)));
    } else {
        buf_addc(b, (char)(0xf0 | c >> 18));
        buf_addc(b, (char)(0x80 | (c >> 12 & 63)));
        buf_addc(b, (char)(0x80 | (c >> 6 & 63)));
        buf_addc(b, (char)(0x80 | (c & 63)));
    }
}

/* A string at s->p; the result points into the input or into s->scratch (until the next string). */
static bool string(struct parser *s, struct bytes *out)
{
    if (!eat(s, '"'))
        return fail(s, "looking for a string");
    const char *start = s->p;
    while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= ' ')
        s->p++;
    if (s->p < s->end && *s->p == '"') {
        *out = (struct bytes){start, (size_t)(s->p - start)};
        s->p++;
        return true;
    }
    buf_clear(&s->scratch);
    buf_add(&s->scratch, start, (size_t)(s->p - start));
    for (;;) {
        if (s->p >= s->end || (unsigned char)*s->p < ' ')
            return fail(s, "in string literal");
        char c = *s->p++;
        if (c == '"')
            break;
        if (c != '\\') {
            buf_addc(&s->scratch, c);
            continue;
        }
        if (s->p >= s->end)
            return fail(s, "in string escape code");
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        c = *s->p;
        const char *at = c ? strchr(from, c) : NULL;
        if (at) {
            buf_addc(&s->scratch, to[at - from]);
            s->p++;
            continue;
        }
        int u = c == 'u' ? hex4(s->p + 1, s->end) : -1;
        if (u < 0)
            return fail(s, "in string escape code");
        s->p += 5;
        if (u >= 0xd800 && u < 0xdc00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u') {
            int low = hex4(s->p + 2, s->end);
            if (low >= 0xdc00 && low < 0xe000) {
                u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
                s->p += 6;
            }
        }
        add_utf8(&s->scratch, u >= 0xd800 && u < 0xe000 ? 0xfffd : (unsigned)u);
    }
    *out = (struct bytes){buf_str(&s->scratch), s->scratch.len};
    return true;
}

/* The characters of a number at s->p. */
static bool number(struct parser *s, struct bytes *out)
{
    skip_space(s);
    const char *start = s->p;
    while (s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || *s->p == '-' || *s->p == '+' ||
                             *s->p == '.' || (*s->p | 32) == 'e'))
        s->p++;
    if (s->p == start)
        return fail(s, "looking for beginning of value");
    *out = (struct bytes){start, (size_t)(s->p - start)};
    return true;
}

static bool parse_integer(struct bytes t, const struct msg_field *f, int64_t *out)
{
    char tmp[32];
    if (t.n == 0 || t.n >= sizeof(tmp))
        return false;
    memcpy(tmp, t.p, t.n);
    tmp[t.n] = '\0';
    if (tmp[0] == '+' || tmp[0] == ' ')
        return false;
    char *end;
    errno = 0;
    if (f->kind == MSG_UINT64 || f->kind == MSG_UINT32) {
        if (tmp[0] == '-')
            return false;
        unsigned long long v = strtoull(tmp, &end, 10);
        *out = (int64_t)v;
        return !errno && !*end && (f->kind == MSG_UINT64 || v <= UINT32_MAX);
    }
    long long v = strtoll(tmp, &end, 10);
    *out = v;
    return !errno && !*end && (f->kind == MSG_INT64 || (v >= INT32_MIN && v <= INT32_MAX));
}

static bool message(struct parser *s, const struct msg_type *t, char *msg, int depth);

static bool bad_value(struct parser *s, const struct msg_type *t, const struct msg_field *f)
{
    error_set(s->err, 400, "", "invalid value for field \"%s\" in %s", f->name, t->name);
    return false;
}

static bool value(struct parser *s, const struct msg_type *t, const struct msg_field *f, void *slot,
                  int depth)
{
    struct bytes text;
    skip_space(s);
    bool quoted = s->p < s->end && *s->p == '"';
    switch (f->kind) {
    case MSG_SUB:
        return message(s, f->sub, slot, depth + 1);
    case MSG_BOOL: {
        bool v = literal(s, "true");
        if (!v && !literal(s, "false"))
            return bad_value(s, t, f);
        if (f->repeated)
            *(int64_t *)slot = v;
        else
            *(bool *)slot = v;
        return true;
    }
    case MSG_BYTES:
    case MSG_STRING: {
        struct bytes *out = slot;
        if (!quoted)
            return bad_value(s, t, f);
        if (!string(s, &text))
            return false;
        if (f->kind == MSG_STRING) {
            *out = (struct bytes){arena_dup(s->arena, text.p, text.n), text.n};
            return true;
        }
        cleanup_buf struct buf raw = {0};
        if (!buf_add_base64_decoded(&raw, text.p, text.n))
            return bad_value(s, t, f);
        *out = (struct bytes){arena_dup(s->arena, buf_str(&raw), raw.len), raw.len};
        return true;
    }
    default:
        if (quoted ? !string(s, &text) : !number(s, &text))
            return false;
        if (f->kind == MSG_ENUM && quoted)
            for (int i = 0; f->enum_names[i]; i++)
                if (strlen(f->enum_names[i]) == text.n &&
                    memcmp(f->enum_names[i], text.p, text.n) == 0) {
                    *(int64_t *)slot = i;
                    return true;
                }
        if ((f->kind == MSG_ENUM && quoted) || !parse_integer(text, f, slot))
            return bad_value(s, t, f);
        return true;
    }
}

/* "create_revision" is also written "createRevision". */
static bool name_is(const char *name, struct bytes key)
{
    if (strlen(name) == key.n && memcmp(name, key.p, key.n) == 0)
        return true;
    for (size_t i = 0; i < key.n; i++, name++) {
        char c = *name;
        if (c == '_' && name[1] >= 'a' && name[1] <= 'z')
            c = (char)(*++name - 32);
        if (c != key.p[i])
            return false;
    }
    return *name == '\0';
}

static bool field(struct parser *s, const struct msg_type *t, const struct msg_field *f, char *msg,
                  int depth)
{
    char *slot = msg + f->offset;
    skip_space(s);
    if (literal(s, "null"))
        return true;
    if (!f->repeated) {
        if (f->kind != MSG_SUB)
            return value(s, t, f, slot, depth);
        if (!*(void **)slot)
            *(void **)slot = arena_alloc(s->arena, f->sub->size);
        return value(s, t, f, *(void **)slot, depth);
    }
    if (!eat(s, '['))
        return bad_value(s, t, f);
    if (eat(s, ']'))
        return true;
    size_t step = f->kind == MSG_SUB                              ? f->sub->size
                  : f->kind == MSG_BYTES || f->kind == MSG_STRING ? sizeof(struct bytes)
                                                                  : sizeof(int64_t);
    do {
        void *item = msg_list_add((struct msg_list *)slot, step, s->arena);
        if (!value(s, t, f, item, depth))
            return false;
    } while (eat(s, ','));
    return eat(s, ']') || fail(s, "after array element");
}

static bool too_deep(struct parser *s, int depth)
{
    if (depth > MSG_MAX_DEPTH)
        error_set(s->err, 400, "", "exceeded max depth");
    return depth > MSG_MAX_DEPTH;
}

static bool skip_value(struct parser *s, int depth)
{
    struct bytes text;
    if (too_deep(s, depth))
        return false;
    skip_space(s);
    if (s->p < s->end && *s->p == '"')
        return string(s, &text);
    if (literal(s, "null") || literal(s, "true") || literal(s, "false"))
        return true;
    bool object = eat(s, '{');
    if (!object && !eat(s, '['))
        return number(s, &text);
    char close = object ? '}' : ']';
    if (eat(s, close))
        return true;
    do {
        if (object && (!string(s, &text) || (!eat(s, ':') && !fail(s, "after object key"))))
            return false;
        if (!skip_value(s, depth + 1))
            return false;
    } while (eat(s, ','));
    return eat(s, close) || fail(s, object ? "after object key:value pair" : "after array element");
}

static bool message(struct parser *s, const struct msg_type *t, char *msg, int depth)
{
    if (too_deep(s, depth))
        return false;
    if (!eat(s, '{'))
        return fail(s, "looking for beginning of value");
    if (eat(s, '}'))
        return true;
    do {
        struct bytes key;
        if (!string(s, &key))
            return false;
        const struct msg_field *f = NULL;
        for (size_t i = 0; i < t->n_fields && !f; i++)
            if (name_is(t->fields[i].name, key))
                f = &t->fields[i];
        if (!eat(s, ':'))
            return fail(s, "after object key");
        /* As in etcd, fields of a later version are passed over. */
        if (f ? !field(s, t, f, msg, depth) : !skip_value(s, depth + 1))
            return false;
    } while (eat(s, ','));
    return eat(s, '}') || fail(s, "after object key:value pair");
}

bool msg_parse_json(const struct msg_type *t, const char *text, size_t len, size_t *used, void *msg,
                    struct arena *a, struct error **err)
{
    struct parser s = {text, text + len, a, err, {0}};
    bool ok = message(&s, t, msg, 0);
    if (ok) {
        skip_space(&s);
        if (used)
            *used = (size_t)(s.p - text);
        else if (s.p < s.end)
            ok = fail(&s, "after top-level value");
    }
    buf_free(&s.scratch);
    return ok;
}
