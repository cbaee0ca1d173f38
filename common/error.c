#include "common/error.h"
#include "common/mem.h"
#include <stdlib.h>
#include <string.h>

static char *format_va(const char *fmt, va_list ap)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        abort();
    return text;
}

static void error_store(struct error **err, int code, const char *reason, char *message_taken)
{
    if (!err) {
        free(message_taken);
        return;
    }
    struct error *e = mem_alloc(sizeof(*e));
    e->code = code;
    e->reason = reason;
    e->message = message_taken;
    *err = e;
}

void error_set(struct error **err, int code, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format_va(fmt, ap);
    va_end(ap);
    error_store(err, code, reason ? reason : "", text);
}

void error_setf(struct error **err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = format_va(fmt, ap);
    va_end(ap);
    error_store(err, 0, "", text);
}

void error_set_errno(struct error **err, int errno_value, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *text = format_va(fmt, ap);
    va_end(ap);
    char reason[128];
    error_store(err, 0, "", mem_printf("%s: %s", text, strerror_r(errno_value, reason, sizeof(reason))));
}

void error_wrap(struct error **err, const char *fmt, ...)
{
    if (!err || !*err)
        return;
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *context = format_va(fmt, ap);
    va_end(ap);
    char *whole = mem_printf("%s: %s", context, (*err)->message);
    free((*err)->message);
    (*err)->message = whole;
}

void error_move(struct error **dst, struct error *src)
{
    if (dst)
        *dst = src;
    else
        error_free(src);
}

const char *error_message(const struct error *e)
{
    return e && e->message ? e->message : "unknown error";
}

void error_free(struct error *e)
{
    if (!e)
        return;
    free(e->message);
    free(e->details);
    free(e);
}

void error_cleanup(struct error **e)
{
    error_free(*e);
    *e = NULL;
}
