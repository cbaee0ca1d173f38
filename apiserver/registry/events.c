/* core/v1 and events.k8s.io/v1 are two forms of the same stored objects: the older one is what is
 * stored. */
#include <string.h>
#include "apiserver/registry/strategy.h"
#include "common/json.h"

static const struct {
    const char *core, *events;
} renamed[] = {
    {"reportingComponent", "reportingController"},
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
};

static cJSON *convert(const cJSON *event, const char *api_version, bool to_core)
{
    cJSON *out = cJSON_CreateObject();
    const cJSON *member;
    cJSON_ArrayForEach(member, event)
    {
        if (!member->string)
            continue;
        const char *name = member->string;
        for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) {
            const char *from = to_core ? renamed[i].events : renamed[i].core;
            if (!strcmp(name, from)) {
                name = to_core ? renamed[i].core : renamed[i].events;
                break;
            }
        }
        json_map_set(out, name,
                     !strcmp(name, "apiVersion") ? cJSON_CreateString(api_version)
                                                 : json_dup(member));
    }
    return out;
}

cJSON *event_from_stored(const struct resource *r, const cJSON *core_event)
{
    (void)r;
    return convert(core_event, "events.k8s.io/v1", false);
}

cJSON *event_to_stored(const struct resource *r, const cJSON *event)
{
    (void)r;
    return convert(event, "v1", true);
}

const char *event_field_value(const cJSON *event, const char *path)
{
    if (strcmp(path, "source") != 0)
        return NULL;
    const char *component = json_str_or(event, "source.component", "");
    return *component ? component : json_str_or(event, "reportingComponent", "");
}
