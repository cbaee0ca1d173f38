/* Fuzz target: an open segment of the log, as the disk may bring it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "etcd-lite/log_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t at = log_segment_damage(data, size);
    if (at != -1 && (at < 8 || (size_t)at >= size))
        abort();
    return 0;
}
