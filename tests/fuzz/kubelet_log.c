/* Fuzz target: a container's log, as a runtime may have left it after a crash. The first bytes choose the options. */
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "kubelet/server/logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return 0;
    struct log_filter f = {.options = {.tail_lines = -1,
                                       .timestamps = data[0] & 1,
                                       .limit_bytes = data[0] & 2 ? data[1] : -1,
                                       .since_us = data[0] & 4 ? 1767225603000000 : 0,
                                       .stream = data[0] >> 4 & 3}};
    const char *text = (const char *)data + 4;
    size_t piece = data[2] + 1, len = size - 4;
    cleanup_buf struct buf rest = {0}, out = {0};
    for (size_t at = 0; at < len; at += piece) {
        buf_add(&rest, text + at, len - at < piece ? len - at : piece);
        size_t used = log_filter_feed(&f, rest.data, rest.len, &out);
        if (used > rest.len)
            __builtin_trap();
        __builtin_memmove(rest.data, rest.data + used, rest.len - used);
        rest.len -= used;
    }
    if (f.options.limit_bytes >= 0 && (int64_t)out.len > f.options.limit_bytes)
        __builtin_trap();
    return 0;
}
