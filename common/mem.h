/* Memory that is there or the process ends: running out of memory is the one failure that no caller
 * can mend, so these abort. Also the cleanup attributes used all over Skiff. */
#pragma once
#include <stddef.h>
#include <stdlib.h>
#include <stdio.h>
#include <unistd.h>

void *mem_alloc(size_t size); /* zeroed */
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s); /* NULL for NULL */
char *mem_strndup(const char *s, size_t n);
void *mem_dup(const void *p, size_t n);
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Keeps a long-running process small: few malloc arenas, freed memory given back to the kernel.
 * Call first thing in main(), before any thread. */
void mem_tune(void);
/* Lets go of what only the start needed: free heap, and pages of programs and libraries that are mapped but clean (what is
 * used again comes back from the page cache at its next use). For long-running processes, once things have calmed down. */
void mem_release_idle(void);

static inline void mem_cleanup_free(void *p)
{
    free(*(void **)p);
}
static inline void mem_cleanup_close(const int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void mem_cleanup_fclose(FILE **f)
{
    if (*f)
        fclose(*f);
}
#define cleanup_free   __attribute__((cleanup(mem_cleanup_free)))
#define cleanup_close  __attribute__((cleanup(mem_cleanup_close)))
#define cleanup_fclose __attribute__((cleanup(mem_cleanup_fclose)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
