/* Fuzz target: a backup in etcd's file format. Its meta page is made right, all other pages are the input. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "etcd-lite/restore.h"

#define PAGE 1024u

static int64_t no_time(void)
{
    return 0;
}

static void put(uint8_t *p, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t len = 2 * PAGE + size;
    uint8_t *file = calloc(1, len), *m = file + 16;
    put(m, 0xED0CDAEDu, 4);
    put(m + 4, 2, 4);
    put(m + 8, PAGE, 4);
    put(m + 16, 2, 8); /* the root */
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < 56; i++)
        h = (h ^ m[i]) * 1099511628211u;
    put(m + 56, h, 8);
    if (size)
        memcpy(file + 2 * PAGE, data, size);
    struct state s;
    state_init(&s, no_time);
    struct error *e = NULL;
    if (restore_read(file, len, &s, &e) == (e != NULL))
        abort();
    error_free(e);
    mvcc_hash(s.kv, mvcc_revision(s.kv));
    state_clear(&s);
    free(file);
    return 0;
}
