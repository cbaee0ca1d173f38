#include "common/mem.h"
#include <malloc.h>
#include <stdarg.h>
#include <string.h>

static void *must(void *p)
{
    if (!p) {
        static const char text[] = "out of memory\n";
        ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
        (void)ignored;
        abort();
    }
    return p;
}

void *mem_alloc(size_t size)
{
    return must(calloc(1, size ? size : 1));
}

void *mem_realloc(void *p, size_t size)
{
    return must(realloc(p, size ? size : 1));
}

char *mem_strdup(const char *s)
{
    return s ? must(strdup(s)) : NULL;
}

char *mem_strndup(const char *s, size_t n)
{
    return s ? must(strndup(s, n)) : NULL;
}

void *mem_dup(const void *p, size_t n)
{
    void *copy = must(malloc(n ? n : 1));
    if (n)
        memcpy(copy, p, n);
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    return must(text);
}

void mem_tune(void)
{
    /* glibc would make up to eight arenas a core, each keeping what its threads freed. */
    mallopt(M_ARENA_MAX, 2);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
    mallopt(M_MMAP_THRESHOLD, 256 * 1024);
}
