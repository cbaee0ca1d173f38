/* How descriptors of built-in resources are written down. Inside apiserver/registry/. */
#pragma once
#include "apiserver/resource.h"

/* The resources of some API groups; resources.c joins them. */
struct resource_set {
    struct resource *items;
    size_t count;
};
extern const struct resource_set resources_workloads, resources_network, resources_storage,
    resources_extension, resources_policy, resources_metrics;

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define COL(n, d)                                                                                  \
    {                                                                                              \
        n, "string", "", d, 0                                                                      \
    }
#define COLI(n, d)                                                                                 \
    {                                                                                              \
        n, "integer", "", d, 0                                                                     \
    }
#define WIDE(n, d)                                                                                 \
    {                                                                                              \
        n, "string", "", d, 1                                                                      \
    }
#define COL_NAME                                                                                   \
    {                                                                                              \
        "Name", "string", "name", "Name must be unique within a namespace.", 0                     \
    }
#define COL_AGE                                                                                    \
    {                                                                                              \
        "Age", "string", "", "Time since the object was created.", 0                               \
    }
#define COL_END                                                                                    \
    {                                                                                              \
        NULL, NULL, NULL, NULL, 0                                                                  \
    }
#define SUB_STATUS                                                                                 \
    {                                                                                              \
        "status", NULL, NULL, NULL, VERB_GET | VERB_UPDATE | VERB_PATCH                            \
    }
#define SUB_SCALE                                                                                  \
    {                                                                                              \
        "scale", "autoscaling", "v1", "Scale", VERB_GET | VERB_UPDATE | VERB_PATCH                 \
    }
#define SUB_END                                                                                    \
    {                                                                                              \
        NULL, NULL, NULL, NULL, 0                                                                  \
    }
