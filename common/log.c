#include "common/log.h"
#include "common/buf.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int log_verbosity = 0; /* main's, read-only once threads run */

static void add_quoted(struct buf *b, const char *s)
{
    buf_addc(b, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_adds(b, "\\n");
        else if (c == '\t')
            buf_adds(b, "\\t");
        else if (c < 0x20 || c == 0x7f)
            buf_printf(b, "\\x%02x", c);
        else
            buf_addc(b, (char)c);
    }
    buf_addc(b, '"');
}

void log_write(char severity, const char *file, int line, const char *msg, ...)
{
    int saved_errno = errno;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    cleanup_buf struct buf b = {0};
    buf_printf(&b, "%c%02d%02d %02d:%02d:%02d.%06ld %s:%d] ", severity, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
               tm.tm_min, tm.tm_sec, now.tv_nsec / 1000, file, line);
    add_quoted(&b, msg);
    va_list ap;
    va_start(ap, msg);
    const char *key;
    while ((key = va_arg(ap, const char *))) {
        const char *value = va_arg(ap, const char *);
        if (!value)
            break;
        buf_printf(&b, " %s=", key);
        add_quoted(&b, value);
    }
    va_end(ap);
    buf_addc(&b, '\n');
    /* One write a line, so that lines of different threads never mix. */
    ssize_t ignored = write(STDERR_FILENO, b.data, b.len);
    (void)ignored;
    errno = saved_errno;
}

const char *log_format_int(struct log_number *n, long long v)
{
    snprintf(n->text, sizeof(n->text), "%lld", v);
    return n->text;
}
