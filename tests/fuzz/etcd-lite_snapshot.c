/* Fuzz target: a snapshot's list of files and the records in them, as the disk or another member
 * may bring them. The checksums are made right. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include "etcd-lite/snapshot.h"

static int64_t no_time(void)
{
    return 0;
}

static void list(const uint8_t *data, size_t size)
{
    struct snapshot_list l, news;
    struct buf b = {0}, again = {0};
    uint32_t head[6] = {0, 0, 3, (uint32_t)(size / sizeof(struct snapshot_file)), 0, 0};
    memcpy(head, "SKIFFSNP", 8);
    size -= size % sizeof(struct snapshot_file);
    head[4] = (uint32_t)crc32_z(0, data, size);
    buf_add(&b, head, sizeof(head));
    buf_add(&b, data, size);
    if (snapshot_list_decode(&l, b.data, b.len, NULL)) {
        snapshot_list_encode(&l, &again);
        if (again.len != b.len || memcmp(again.data, b.data, b.len) != 0)
            abort();
        for (size_t i = 0; i < l.n; i++) {
            snapshot_list_news(&l, l.files[i].to, &news);
            if (news.n == 0 || !snapshot_list_find(&l, news.files[0].name))
                abort();
            snapshot_list_clear(&news);
        }
        snapshot_list_clear(&l);
    }
    buf_free(&b);
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct snapshot_list l;
    if (snapshot_list_decode(&l, data, size, NULL))
        snapshot_list_clear(&l);
    list(data, size);
    struct state s;
    state_init(&s, no_time);
    struct snapshot_loader loader = {.state = &s};
    mvcc_load_begin(s.kv, size % 3);
    if (snapshot_load_block(&loader, data, size) && snapshot_load_done(&loader)) {
        /* Whatever was accepted can be used, and loaded on top of itself. */
        mvcc_saved(s.kv, 0);
        struct arena a = {0};
        struct range_request q = {.key = {"", 1}, .range_end = {"", 1}};
        struct range_response r = {0};
        state_range(&s, &q, &a, &r, NULL);
        arena_free(&a);
        uint32_t hash = mvcc_hash(s.kv, mvcc_revision(s.kv));
        struct snapshot_changes *c = snapshot_changes_begin(&s, 0);
        snapshot_changes_end(c);
        mvcc_load_begin(s.kv, 0);
        if (!snapshot_load_block(&loader, data, size) || !snapshot_load_done(&loader) ||
            mvcc_hash(s.kv, mvcc_revision(s.kv)) != hash)
            abort();
        while (mvcc_collect(s.kv, 10))
            ;
    }
    state_clear(&s);
    return 0;
}
