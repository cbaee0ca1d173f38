/* Errors that carry what was being done.
 *
 * A function that can fail returns bool (true = done) or a pointer (NULL = failed) and takes a last
 * argument `struct error **err`. On failure it stores a new error there, owned by the caller, who
 * frees it with error_free() or cleanup_error. `err` may be NULL when the caller does not care.
 * On success *err is left alone. *err must be NULL on entry. */
#pragma once
#include <stdarg.h>
#include <stdbool.h>

struct error {
    int code;           /* HTTP status that this error maps to; 0 when none does */
    const char *reason; /* static string: a metav1.StatusReason such as "NotFound"; "" when none */
    char *message;      /* for people; never NULL */
    char *details;      /* JSON text of metav1.StatusDetails, or NULL */
};

void error_set(struct error **err, int code, const char *reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* An error without HTTP meaning: a system call or a library failed. */
void error_setf(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As error_setf, with ": " and strerror(errno_value) appended. */
void error_set_errno(struct error **err, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "<context>: " before the message. Does nothing when err or *err is NULL. */
void error_wrap(struct error **err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Moves src (owned) to *dst; frees it when dst is NULL. */
void error_move(struct error **dst, struct error *src);
/* "unknown error" for NULL. The string lives as long as the error. */
const char *error_message(const struct error *e);
void error_free(struct error *e);

void error_cleanup(struct error **e);
#define cleanup_error __attribute__((cleanup(error_cleanup)))
