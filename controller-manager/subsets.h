/* Endpoints.subsets: addresses grouped by the ports that they have in common. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>

struct subset_entry {
    const cJSON *address; /* EndpointAddress */
    const cJSON *port;    /* EndpointPort; NULL for a headless Service without ports */
    bool ready;
};
/* Repacked and sorted, so that equal sets of entries give equal JSON. An array (empty if there are
 * no entries). */
cJSON *subsets_pack(const struct subset_entry *entries, size_t count);
