/* Fuzz target: a snapshot, as the disk or another member may bring it. The checksum is made right.
 */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct state s;
    state_init(&s, no_time);
    snapshot_restore(&s, data, size, NULL);
    struct buf b = {0};
    static const char head[16] = {'S', 'K', 'I', 'F', 'F', 'S', 'N', 'P', 1};
    buf_add(&b, head, sizeof(head));
    buf_add(&b, data, size);
    buf_addc(&b, 'E');
    uint32_t crc = (uint32_t)crc32(0, (const Bytef *)b.data, (uInt)b.len);
    buf_add(&b, &crc, sizeof(crc));
    if (snapshot_restore(&s, b.data, b.len, NULL)) {
        /* Whatever was accepted can be used and written again. */
        struct arena a = {0};
        struct range_request q = {.key = {"", 1}, .range_end = {"", 1}};
        struct range_response r = {0};
        state_range(&s, &q, &a, &r, NULL);
        arena_free(&a);
        mvcc_hash(s.kv, mvcc_revision(s.kv));
        struct snapshot_job *j = snapshot_begin(&s);
        snapshot_run(j);
        snapshot_end(j);
        while (mvcc_collect(s.kv, 10))
            ;
    }
    buf_free(&b);
    state_clear(&s);
    return 0;
}
