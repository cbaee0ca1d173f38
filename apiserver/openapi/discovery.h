/* The documents of discovery. Inside apiserver/openapi/ and for its tests; the answers are given by
 * discovery_serve. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>

/* Each gives a new document. server_address: "10.89.0.11:6443". */
cJSON *discovery_versions(const char *server_address); /* /api */
cJSON *discovery_groups(void);                         /* /apis */
cJSON *discovery_group(const char *group);             /* /apis/<group>; NULL when it is not served */
cJSON *discovery_resources(const char *group, const char *version); /* NULL when it is not served */
/* Aggregated: of /api (core) or /apis. version: "v2" or "v2beta1". */
cJSON *discovery_aggregated(bool core, const char *version);
/* Which version of the aggregated form the Accept header prefers; NULL for the plain form. */
const char *discovery_aggregated_version(const char *accept);
