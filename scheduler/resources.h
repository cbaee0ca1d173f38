/* Amounts of resources: what a pod asks for, what a node has. */
#pragma once
#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

struct scalar {
    char *name; /* "example.com/gpu", "hugepages-2Mi" */
    int64_t value;
};
struct resources {
    int64_t cpu;                       /* thousandths */
    int64_t memory, ephemeral_storage; /* bytes */
    int64_t pods;
    struct scalar *scalars;
    size_t scalar_count;
};
/* From a ResourceList ({"cpu": "100m", ...}); r must be zero. */
void resources_from_json(struct resources *r, const cJSON *list);
void resources_add(struct resources *r, const struct resources *other, int sign);
void resources_max(struct resources *r, const struct resources *other);
int64_t resources_scalar(const struct resources *r, const char *name);
void resources_clear(struct resources *r);

/* What a pod asks for: the sum of its containers or the peak of its init phase, with sidecars, pod-level
 * requests and overhead. nonzero: containers that ask for no cpu or memory count as 100m and 200Mi, as
 * scoring wants it.
 * https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers */
void resources_of_pod(struct resources *r, const cJSON *spec, int nonzero);
