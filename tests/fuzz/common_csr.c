/* Requests for certificates, as anybody may send them. */
#include <stdint.h>
#include "common/csr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_csr struct csr csr = {0};
    csr_parse((const char *)data, size, &csr, NULL);
    return 0;
}
