/* Pods: what is filled in when one is made. */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/registry/strategy.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/pod_qos.h"
#include "common/timefmt.h"

const char *pod_field_default(const char *path)
{
    return !strcmp(path, "spec.hostNetwork") ? "false" : "";
}

static void add_gated_condition(cJSON *status)
{
    cJSON *condition = cJSON_CreateObject();
    json_map_set_str(condition, "type", "PodScheduled");
    json_map_set_str(condition, "status", "False");
    json_map_set_str(condition, "reason", "SchedulingGated");
    json_map_set_str(condition, "message",
                     "Scheduling is blocked due to non-empty scheduling gates");
    cJSON_AddItemToArray(json_ensure_array(status, "conditions"), condition);
}

bool pod_prepare(cJSON *pod, const cJSON *old, const char *sub, struct error **err)
{
    (void)err;
    if (old) {
        if (!strcmp(sub, "status") && !json_path(pod, "status.qosClass") &&
            json_path(old, "status.qosClass"))
            json_set_str(pod, "status.qosClass", json_str(old, "status.qosClass"));
        return true;
    }
    cJSON *status = cJSON_CreateObject();
    json_map_set_str(status, "phase", "Pending");
    json_map_set_str(status, "qosClass", pod_qos_class(pod));
    if (cJSON_GetArraySize(json_path(pod, "spec.schedulingGates")))
        add_gated_condition(status);
    json_map_set(pod, "status", status);
    return true;
}

/* --- DefaultTolerationSeconds --- */

static bool tolerates(const cJSON *tolerations, const char *taint)
{
    const cJSON *t;
    cJSON_ArrayForEach(t, tolerations)
    {
        const char *key = json_str_or(t, "key", ""), *effect = json_str_or(t, "effect", "");
        if ((!strcmp(key, taint) || !*key) && (!strcmp(effect, "NoExecute") || !*effect))
            return true;
    }
    return false;
}

static void default_tolerations(cJSON *pod)
{
    static const char *const taints[] = {"node.kubernetes.io/not-ready",
                                         "node.kubernetes.io/unreachable"};
    for (size_t i = 0; i < ARRAY_LEN(taints); i++) {
        if (tolerates(json_path(pod, "spec.tolerations"), taints[i]))
            continue;
        cJSON *t = cJSON_CreateObject();
        json_map_set_str(t, "key", taints[i]);
        json_map_set_str(t, "operator", "Exists");
        json_map_set_str(t, "effect", "NoExecute");
        json_set_int(t, "tolerationSeconds", 300);
        cJSON_AddItemToArray(json_ensure_array(pod, "spec.tolerations"), t);
    }
}

bool admission_pod(struct write *w, cJSON *pod, struct error **err)
{
    limit_ranger_default(w, pod);
    if (!service_account_admit(w, pod, err) || !priority_admit_pod(w, pod, err))
        return false;
    default_tolerations(pod);
    return true;
}
