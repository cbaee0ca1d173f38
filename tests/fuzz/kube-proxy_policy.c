/* NetworkPolicies and pods as a careless API might serve them: parsed, and put into nftables'
 * words. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include "common/json.h"
#include "kube-proxy/policy/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* {"policy": {...}, "pod": {...}, "namespace": {...}} */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cleanup_json cJSON *o = json_parse((const char *)data, size, NULL);
    if (!o)
        return 0;
    struct policies *p = policies_new();
    cleanup_error struct error *err = NULL;
    struct policy *policy = policy_parse(json_get(o, "policy"), &err);
    if (!policy && !err)
        abort();
    if (policy)
        policies_set_policy(p, "a/policy", policy);
    policies_set_pod(p, "a/pod", policy_pod_new(json_get(o, "pod"), "here"));
    const cJSON *labels = json_get(o, "namespace");
    policies_set_namespace(p, "a", labels ? json_dup(labels) : NULL);
    cleanup_buf struct buf all = {0}, changes = {0};
    policies_take_all(p, &all);
    policies_set_pod(p, "a/pod", NULL);
    policies_take_changes(p, &changes);
    policies_free(p);
    return 0;
}
