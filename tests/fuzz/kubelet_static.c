/* Fuzz target: a file of a static pod. */
#include <stddef.h>
#include <stdint.h>
#include "common/json.h"
#include "kubelet/pod/static.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON_Delete(static_pod_parse((const char *)data, size, "/m/a", "n1", NULL));
    return 0;
}
