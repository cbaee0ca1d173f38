/* A growable byte buffer. Zero-initialized is empty: `cleanup_buf struct buf b = {0};`
 * data is always NUL-terminated once anything was appended; len does not count that NUL. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"

struct buf {
    char *data;
    size_t len;
    size_t cap;
};

void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b); /* keeps the memory */
void buf_free(struct buf *b);
/* Gives the bytes to the caller (free()); the buffer is empty afterwards. Never NULL. */
char *buf_take(struct buf *b);
/* "" instead of NULL when empty. */
const char *buf_str(const struct buf *b);
/* Appends the percent-encoding (RFC 3986, unreserved kept) of s. */
void buf_add_urlencoded(struct buf *b, const char *s);
/* Appends the standard, padded base64 (RFC 4648 section 4). */
void buf_add_base64(struct buf *b, const void *p, size_t n);
/* Decodes standard or URL-safe base64, padded or not; false (b unchanged) if it is neither. */
bool buf_add_base64_decoded(struct buf *b, const char *s, size_t n);
bool buf_read_file(struct buf *b, const char *path, struct error **err);
/* Writes to path by a temporary file, fsync and rename, so that a crash leaves the old or the new
 * content; mode is the file's permissions. */
bool buf_write_file_atomic(const char *path, const void *p, size_t n, unsigned mode,
                           struct error **err);
#define cleanup_buf __attribute__((cleanup(buf_free)))
