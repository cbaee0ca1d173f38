/* Descriptors of what limits pods: LimitRanges, ResourceQuotas, PriorityClasses. */
#include "apiserver/registry/descriptors.h"
#include "apiserver/registry/tables.h"
#include "common/mem.h"

static const struct resource_column columns_priorityclass[] = {
    COL_NAME,
    COLI("Value", "Priority of pods of this class."),
    {"Global-Default", "boolean", "", "Whether pods without a class get this one.", 0},
    COL_AGE,
    COL("PreemptionPolicy", "Whether pods of this class may take others' place."),
    COL_END,
};
static const struct resource_column columns_resourcequota[] = {
    COL_NAME,
    COL("Request", "What may be requested, and what is."),
    COL("Limit", "What may be allowed, and what is."),
    COL_AGE,
    COL_END,
};
static const struct subresource subs_status[] = {SUB_STATUS, SUB_END};

static struct resource resources[] = {
    {.group = "",
     .version = "v1",
     .kind = "LimitRange",
     .plural = "limitranges",
     .singular = "limitrange",
     .short_names = NAMES("limits"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .storage_prefix = "limitranges"},
    {.group = "",
     .version = "v1",
     .kind = "ResourceQuota",
     .plural = "resourcequotas",
     .singular = "resourcequota",
     .short_names = NAMES("quota"),
     .namespaced = true,
     .verbs = VERBS_ALL,
     .subresources = subs_status,
     .storage_prefix = "resourcequotas",
     .columns = columns_resourcequota,
     .row = row_resourcequota,
     .has_status = true},
    {.group = "scheduling.k8s.io",
     .version = "v1",
     .kind = "PriorityClass",
     .plural = "priorityclasses",
     .singular = "priorityclass",
     .short_names = NAMES("pc"),
     .verbs = VERBS_ALL,
     .storage_prefix = "priorityclasses",
     .columns = columns_priorityclass,
     .row = row_priorityclass,
     .generation = true},
};

const struct resource_set resources_policy = {resources, ARRAY_LEN(resources)};
