/* Bodies in protobuf: decoded, and what was decoded encoded again. */
#include <stdint.h>
#include <stdlib.h>
#include "apiserver/schema/protobuf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error *err = NULL;
    cJSON *o = protobuf_decode(data, size, &err);
    if ((o == NULL) != (err != NULL))
        abort();
    if (o) {
        cleanup_buf struct buf b = {0};
        if (protobuf_encode(o, &b))
            cJSON_Delete(protobuf_decode(b.data, b.len, NULL));
    }
    cJSON_Delete(o);
    error_free(err);
    return 0;
}
