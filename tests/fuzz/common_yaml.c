/* YAML as clients and files bring it: what was read is printed, and read again as the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *o = yaml_to_json((const char *)data, size, &err);
    if (!o) {
        if (!err)
            abort();
        return 0;
    }
    cleanup_buf struct buf printed = {0};
    yaml_print(o, &printed);
    cleanup_json cJSON *again = yaml_to_json(buf_str(&printed), printed.len, NULL);
    if (!again || !json_equal(o, again))
        abort();
    return 0;
}
