#include "common/buf.h"
#include "common/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void buf_reserve(struct buf *b, size_t more)
{
    size_t need = b->len + more + 1;
    if (need <= b->cap)
        return;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < need)
        cap += cap / 2 + 64;
    b->data = mem_realloc(b->data, cap);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    buf_reserve(b, n);
    if (n)
        memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}

void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    buf_reserve(b, 128);
    size_t room = b->cap - b->len;
    int n = vsnprintf(b->data + b->len, room, fmt, ap);
    va_end(ap);
    if (n < 0)
        abort();
    if ((size_t)n >= room) {
        buf_reserve(b, (size_t)n);
        vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    b->len += (size_t)n;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data)
        b->data[0] = '\0';
}

void buf_free(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

char *buf_take(struct buf *b)
{
    char *p = b->data ? b->data : mem_strdup("");
    *b = (struct buf){0};
    return p;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}

void buf_add_urlencoded(struct buf *b, const char *s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c))
            buf_addc(b, (char)c);
        else
            buf_add(b, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
}

void buf_add_base64(struct buf *b, const void *p, size_t n)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *s = p;
    buf_reserve(b, (n + 2) / 3 * 4);
    char *o = b->data + b->len;
    while (n >= 3) {
        *o++ = set[s[0] >> 2];
        *o++ = set[(s[0] & 3) << 4 | s[1] >> 4];
        *o++ = set[(s[1] & 15) << 2 | s[2] >> 6];
        *o++ = set[s[2] & 63];
        s += 3;
        n -= 3;
    }
    if (n) {
        unsigned second = n == 2 ? s[1] : 0;
        *o++ = set[s[0] >> 2];
        *o++ = set[(s[0] & 3) << 4 | second >> 4];
        *o++ = n == 2 ? set[(second & 15) << 2] : '=';
        *o++ = '=';
    }
    *o = '\0';
    b->len = (size_t)(o - b->data);
}

static int base64_digit(unsigned char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    if (c == '/' || c == '_')
        return 63;
    return -1;
}

bool buf_add_base64_decoded(struct buf *b, const char *s, size_t n)
{
    size_t padding = 0;
    while (n && s[n - 1] == '=' && padding < 2) {
        n--;
        padding++;
    }
    if (n % 4 == 1 || (padding && (n + padding) % 4))
        return false;
    buf_reserve(b, n / 4 * 3 + 3);
    size_t start = b->len;
    char *o = b->data + start;
    uint32_t acc = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        int d = base64_digit((unsigned char)s[i]);
        if (d < 0) {
            b->data[start] = '\0';
            return false;
        }
        acc = acc << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *o++ = (char)(acc >> bits);
        }
    }
    *o = '\0';
    b->len = (size_t)(o - b->data);
    return true;
}

bool buf_read_file(struct buf *b, const char *path, struct error **err)
{
    cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(err, errno, "open %s", path);
        return false;
    }
    for (;;) {
        buf_reserve(b, 4096);
        ssize_t n = read(fd, b->data + b->len, b->cap - b->len - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            error_set_errno(err, errno, "read %s", path);
            return false;
        }
        b->len += (size_t)n;
        b->data[b->len] = '\0';
        if (n == 0)
            return true;
    }
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

bool buf_write_file_atomic(const char *path, const void *p, size_t n, unsigned mode, struct error **err)
{
    cleanup_free char *temporary = mem_printf("%s.XXXXXX", path);
    cleanup_close int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        error_set_errno(err, errno, "create %s", temporary);
        return false;
    }
    if (fchmod(fd, (mode_t)mode) == 0 && write_all(fd, p, n) && fsync(fd) == 0 && rename(temporary, path) == 0)
        return true;
    error_set_errno(err, errno, "write %s", path);
    unlink(temporary);
    return false;
}
