#include "common/pod_qos.h"
#include <stdbool.h>
#include <string.h>
#include "common/json.h"
#include "common/quantity.h"

struct qos {
    bool any, all_limits, seen;
    __int128 requests[2], limits[2]; /* cpu, memory, in nano-units */
};
static const char *const qos_resources[] = {"cpu", "memory"};

static __int128 positive_amount(const cJSON *list, const char *name)
{
    const cJSON *item = json_get(list, name);
    struct quantity q;
    if (!cJSON_IsString(item) || !quantity_parse(item->valuestring, &q) || q.nano <= 0)
        return 0;
    return q.nano;
}

static void qos_add(struct qos *q, const cJSON *resources)
{
    q->seen = true;
    for (int i = 0; i < 2; i++) {
        __int128 request = positive_amount(json_get(resources, "requests"), qos_resources[i]),
                 limit = positive_amount(json_get(resources, "limits"), qos_resources[i]);
        q->requests[i] += request;
        q->limits[i] += limit;
        q->any |= request > 0 || limit > 0;
        if (limit == 0)
            q->all_limits = false;
    }
}

const char *pod_qos_class(const cJSON *pod)
{
    struct qos q = {.all_limits = true};
    const cJSON *whole = json_path(pod, "spec.resources"), *c;
    if (cJSON_GetArraySize(json_get(whole, "requests")) ||
        cJSON_GetArraySize(json_get(whole, "limits"))) {
        qos_add(&q, whole);
    } else {
        cJSON_ArrayForEach(c, json_path(pod, "spec.containers"))
            qos_add(&q, json_get(c, "resources"));
        cJSON_ArrayForEach(c, json_path(pod, "spec.initContainers"))
            qos_add(&q, json_get(c, "resources"));
    }
    if (!q.any)
        return "BestEffort";
    bool equal = q.requests[0] == q.limits[0] && q.requests[1] == q.limits[1];
    return q.seen && q.all_limits && equal ? "Guaranteed" : "Burstable";
}
