/* What an object takes from the ResourceQuotas of its namespace, for who admits and for who counts.
 * https://kubernetes.io/docs/concepts/policy/resource-quotas/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>

/* Sums of "requests" or "limits" of a whole pod: its containers together, or its largest init
 * container. A new document of quantities. */
cJSON *quota_pod_amounts(const cJSON *pod, const char *list);
/* Adds what one object uses to `used`, a map of resource names and quantities. group "" for core.
 */
void quota_add_usage(const char *group, const char *plural, const cJSON *object, cJSON *used);
/* into[name] += (or -=) from[name], for the names that `only` has (NULL: all). */
void quota_sum(cJSON *into, const cJSON *from, const cJSON *only, bool subtract);
/* Is an object in the scopes of a quota? Pods alone have scopes; a quota with scopes is for no
 * other kind. */
bool quota_in_scope(const cJSON *quota, const char *group, const char *plural, const cJSON *object);
