#include "apiserver/registry/conditions.h"
#include <string.h>
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/timefmt.h"

cJSON *condition_set(cJSON *object, const char *type, const char *status, const char *reason,
                     const char *message)
{
    cJSON *list = json_ensure_array(object, "status.conditions"), *c;
    cJSON_ArrayForEach(c, list)
    {
        if (!strcmp(json_str_or(c, "type", ""), type))
            break;
    }
    if (!c) {
        c = cJSON_CreateObject();
        json_map_set_str(c, "type", type);
        cJSON_AddItemToArray(list, c);
    }
    if (strcmp(json_str_or(c, "status", ""), status) != 0 || !json_get(c, "lastTransitionTime")) {
        char now[TIME_TEXT_MAX];
        meta_now(now);
        json_map_set_str(c, "lastTransitionTime", now);
    }
    json_map_set_str(c, "status", status);
    json_set_str(c, "reason", reason);
    json_set_str(c, "message", message);
    return c;
}
