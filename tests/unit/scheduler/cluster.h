/* Nodes and pods for tests of plugins, in a cache without an API. */
#pragma once
#include <check.h>
#include <stdio.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "scheduler/algorithm.h"

struct cluster {
    struct cache cache;
    unsigned seed;
};

__attribute__((unused)) static cJSON *parse_json(const char *text)
{
    struct error *err = NULL;
    cJSON *o = json_parse(text, strlen(text), &err);
    ck_assert_msg(o != NULL, "%s: %s", error_message(err), text);
    return o;
}

__attribute__((unused)) static void cluster_init(struct cluster *c)
{
    cache_init(&c->cache);
    c->seed = 1;
}

/* A node of 4 cpus, 8Gi and 10 pods. more: further members of the object; labels: members of its labels. */
__attribute__((unused)) static void add_node(struct cluster *c, const char *name, const char *labels,
                                             const char *more)
{
    cleanup_free char *text = mem_printf("{\"metadata\":{\"name\":\"%s\",\"labels\":{\"kubernetes.io/"
                                         "hostname\":\"%s\"%s%s}},\"status\":{\"allocatable\":"
                                         "{\"cpu\":\"4\",\"memory\":\"8Gi\",\"ephemeral-storage\":\"10Gi\","
                                         "\"pods\":\"10\",\"example.com/gpu\":\"2\"}}%s%s}",
                                         name, name, *labels ? "," : "", labels, *more ? "," : "", more);
    cleanup_object struct kube_object *o = kube_object_new(parse_json(text));
    cache_set_node(&c->cache, o);
}

/* spec: members of the pod's spec; meta: further members of its metadata. */
__attribute__((unused)) static struct pod_info *make_pod(const char *name, const char *meta, const char *spec)
{
    cleanup_free char *text = mem_printf("{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"%"
                                         "s\",\"namespace\":\"default\",\"uid\":\"%s\"%s%s},"
                                         "\"spec\":{%s}}",
                                         name, name, *meta ? "," : "", meta, spec);
    cleanup_object struct kube_object *o = kube_object_new(parse_json(text));
    return pod_info_new(o);
}

/* A pod that runs on a node. */
__attribute__((unused)) static void add_pod(struct cluster *c, const char *node, const char *name,
                                            const char *meta, const char *spec)
{
    cleanup_free char *with_node = mem_printf("\"nodeName\":\"%s\"%s%s", node, *spec ? "," : "", spec);
    cleanup_pod struct pod_info *p = make_pod(name, meta, with_node);
    cache_set_pod(&c->cache, p);
}

/* The node where the pod would go, or the message why none; caller frees. */
__attribute__((unused)) static char *place_of(struct cluster *c, const char *meta, const char *spec)
{
    cleanup_pod struct pod_info *p = make_pod("incoming", meta, spec);
    struct outcome o;
    schedule_pod(p, &c->cache, NULL, &c->seed, &o);
    char *result = mem_strdup(o.node ? o.node->name : o.message);
    outcome_clear(&o);
    return result;
}

#define EXPECT_PLACE(c, meta, spec, want)                                                                    \
    do {                                                                                                     \
        cleanup_free char *got_ = place_of(c, meta, spec);                                                   \
        ck_assert_str_eq(got_, want);                                                                        \
    } while (0)
