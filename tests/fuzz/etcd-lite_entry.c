/* Fuzz target: commands of a log entry, as another member or the disk may bring them, applied to a
 * store. The checksum is made right, else nothing would get past it. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "etcd-lite/entry.h"
#include "etcd-lite/state.h"

static int64_t no_time(void)
{
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct entry_reader r;
    entry_open(&r, data, size);
    /* Commands one after another, each with its length in a byte. */
    struct state s;
    state_init(&s, no_time);
    struct buf entry = {0};
    entry_begin(&entry, (struct entry_origin){1, 1});
    for (size_t at = 0, n; at < size; at += 1 + n) {
        n = data[at] < size - at - 1 ? data[at] : size - at - 1;
        entry_add(&entry, at + 1, data + at + 1, n);
    }
    entry_finish(&entry);
    struct arena a = {0};
    uint64_t seq;
    struct command c;
    if (entry_open(&r, entry.data, entry.len))
        while (entry_next(&r, &seq, &c, &a)) {
            struct apply_result res;
            state_apply(&s, &c, &a, &res);
            if (res.response) {
                struct buf text = {0};
                msg_print_json(res.type, res.response, &text);
                buf_free(&text);
            }
            mvcc_collect(s.kv, 3);
        }
    arena_free(&a);
    buf_free(&entry);
    state_clear(&s);
    return 0;
}
