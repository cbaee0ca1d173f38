/* pods/ephemeralcontainers and pods/resize: each may change one part of a pod's spec alone.
 * https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
 * https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/ */
#include <string.h>
#include "apiserver/registry/registry.h"
#include "apiserver/registry/strategy.h"
#include "common/json.h"

static void take(cJSON *to, const cJSON *from, const char *member)
{
    const cJSON *v = json_get(from, member);
    if (v)
        json_map_set(to, member, json_dup(v));
    else
        json_remove(to, member);
}

static const cJSON *find_named(const cJSON *list, const char *name)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, list)
    {
        if (!strcmp(json_str_or(c, "name", ""), name))
            return c;
    }
    return NULL;
}

static void take_resources(cJSON *pod, const cJSON *asked, const char *list)
{
    cJSON *c;
    cJSON_ArrayForEach(c, json_path(pod, list))
    {
        const cJSON *found = find_named(json_path(asked, list), json_str_or(c, "name", ""));
        if (!found)
            continue;
        take(c, found, "resources");
        take(c, found, "resizePolicy");
    }
}

bool pod_part_handles(const char *sub)
{
    return !strcmp(sub, "ephemeralcontainers") || !strcmp(sub, "resize");
}

cJSON *pod_part_only(cJSON *asked, const cJSON *old, const char *sub)
{
    cJSON *pod = json_dup(old), *spec = json_ensure_object(pod, "spec");
    static const char *const meta[] = {"name", "namespace", "uid", "resourceVersion",
                                       "managedFields"};
    for (size_t i = 0; i < sizeof meta / sizeof *meta; i++)
        take(json_ensure_object(pod, "metadata"), json_get(asked, "metadata"), meta[i]);
    if (!strcmp(sub, "resize")) {
        take_resources(pod, asked, "spec.containers");
        take_resources(pod, asked, "spec.initContainers");
        if (json_path(asked, "spec.resources") || json_path(old, "spec.resources"))
            take(spec, json_get(asked, "spec"), "resources");
    } else {
        take(spec, json_get(asked, "spec"), "ephemeralContainers");
    }
    cJSON_Delete(asked);
    return pod;
}
