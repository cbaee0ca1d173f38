#include "scheduler/cache.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "scheduler/queue.h"

struct cached_pod {
    struct pod_info *pod;
    struct node_info *node;
    bool assumed;
};

void cache_init(struct cache *c)
{
    *c = (struct cache){0};
    pthread_mutex_init(&c->lock, NULL);
}

static void node_free(void *p)
{
    struct node_info *n = p;
    for (size_t i = 0; i < n->pod_count; i++)
        pod_info_unref(n->pods[i]);
    free(n->pods);
    free(n->name);
    resources_clear(&n->allocatable);
    resources_clear(&n->requested);
    kube_object_unref(n->object);
    free(n);
}

static void pod_free(void *p)
{
    struct cached_pod *cp = p;
    pod_info_unref(cp->pod);
    free(cp);
}

static void object_free(void *p)
{
    kube_object_unref(p);
}

struct nomination {
    struct pod_info *pod;
    char *node;
};

static void nominated_free(void *p)
{
    struct nomination *n = p;
    if (!n)
        return;
    pod_info_unref(n->pod);
    free(n->node);
    free(n);
}

void cache_destroy(struct cache *c)
{
    map_free(&c->pods_by_uid, pod_free);
    map_free(&c->nodes_by_name, node_free);
    map_free(&c->namespaces, object_free);
    map_free(&c->nominated, nominated_free);
    map_free(&c->assumed_volumes, free);
    map_free(&c->assumed_claims, free);
    free(c->nodes);
    pthread_mutex_destroy(&c->lock);
}

void cache_lock(struct cache *c)
{
    pthread_mutex_lock(&c->lock);
}

void cache_unlock(struct cache *c)
{
    pthread_mutex_unlock(&c->lock);
}

/* --- nodes --- */

struct node_info *cache_node(struct cache *c, const char *name)
{
    union map_value *v = map_find(&c->nodes_by_name, name);
    return v ? v->ptr : NULL;
}

static struct node_info *node_at(struct cache *c, const char *name)
{
    union map_value *v = map_at(&c->nodes_by_name, name);
    if (!v->ptr) {
        struct node_info *n = mem_alloc(sizeof(*n));
        n->name = mem_strdup(name);
        v->ptr = n;
    }
    return v->ptr;
}

static void drop_if_empty(struct cache *c, struct node_info *n)
{
    if (n->object || n->pod_count)
        return;
    map_remove(&c->nodes_by_name, n->name);
    node_free(n);
}

static bool resources_differ(const struct resources *a, const struct resources *b)
{
    if (a->cpu != b->cpu || a->memory != b->memory || a->ephemeral_storage != b->ephemeral_storage ||
        a->pods != b->pods || a->scalar_count != b->scalar_count)
        return true;
    for (size_t i = 0; i < a->scalar_count; i++)
        if (resources_scalar(b, a->scalars[i].name) != a->scalars[i].value)
            return true;
    return false;
}

unsigned cache_set_node(struct cache *c, struct kube_object *object)
{
    struct node_info *n = node_at(c, object->name);
    unsigned events = 0;
    struct resources allocatable = {0};
    resources_from_json(&allocatable, json_path(object->json, "status.allocatable"));
    const cJSON *labels = json_path(object->json, "metadata.labels");
    const cJSON *taints = json_path(object->json, "spec.taints");
    bool unschedulable = json_bool(object->json, "spec.unschedulable", false);
    if (!n->object) {
        events = EVENT_NODE_ADD;
        if (c->node_count == c->node_cap) {
            c->node_cap = c->node_cap ? c->node_cap * 2 : 8;
            c->nodes = mem_realloc(c->nodes, c->node_cap * sizeof(*c->nodes));
        }
        n->index = c->node_count;
        c->nodes[c->node_count++] = n;
    } else {
        if (resources_differ(&n->allocatable, &allocatable))
            events |= EVENT_NODE_ALLOCATABLE;
        if (!json_equal(n->labels, labels))
            events |= EVENT_NODE_LABEL;
        if (!json_equal(n->taints, taints) || n->unschedulable != unschedulable)
            events |= EVENT_NODE_TAINT;
    }
    resources_clear(&n->allocatable);
    n->allocatable = allocatable;
    kube_object_unref(n->object);
    n->object = kube_object_ref(object);
    n->labels = labels;
    n->taints = taints;
    n->unschedulable = unschedulable;
    return events;
}

void cache_remove_node(struct cache *c, const char *name)
{
    struct node_info *n = cache_node(c, name);
    if (!n || !n->object)
        return;
    c->nodes[n->index] = c->nodes[--c->node_count];
    c->nodes[n->index]->index = n->index;
    kube_object_unref(n->object);
    n->object = NULL;
    n->labels = n->taints = NULL;
    drop_if_empty(c, n);
}

/* --- pods on nodes --- */

void node_info_add(struct node_info *n, struct pod_info *p)
{
    if (n->pod_count == n->pod_cap) {
        n->pod_cap = n->pod_cap ? n->pod_cap * 2 : 8;
        n->pods = mem_realloc(n->pods, n->pod_cap * sizeof(*n->pods));
    }
    n->pods[n->pod_count++] = pod_info_ref(p);
    resources_add(&n->requested, &p->requests, 1);
    n->nonzero_cpu += p->nonzero_cpu;
    n->nonzero_memory += p->nonzero_memory;
}

bool node_info_remove(struct node_info *n, struct pod_info *p)
{
    for (size_t i = 0; i < n->pod_count; i++) {
        if (n->pods[i] != p)
            continue;
        n->pods[i] = n->pods[--n->pod_count];
        resources_add(&n->requested, &p->requests, -1);
        n->nonzero_cpu -= p->nonzero_cpu;
        n->nonzero_memory -= p->nonzero_memory;
        pod_info_unref(p);
        return true;
    }
    return false;
}

static struct cached_pod *cached(struct cache *c, const char *uid)
{
    union map_value *v = map_find(&c->pods_by_uid, uid);
    return v ? v->ptr : NULL;
}

static void place(struct cache *c, struct pod_info *p, struct node_info *n, bool assumed)
{
    struct cached_pod *cp = mem_alloc(sizeof(*cp));
    cp->pod = pod_info_ref(p);
    cp->node = n;
    cp->assumed = assumed;
    node_info_add(n, p);
    map_at(&c->pods_by_uid, p->uid)->ptr = cp;
}

bool cache_remove_pod(struct cache *c, const char *uid)
{
    struct cached_pod *cp = cached(c, uid);
    if (!cp)
        return false;
    struct node_info *n = cp->node;
    node_info_remove(n, cp->pod);
    map_remove(&c->pods_by_uid, uid);
    pod_free(cp);
    drop_if_empty(c, n);
    return true;
}

unsigned cache_set_pod(struct cache *c, struct pod_info *p)
{
    struct cached_pod *cp = cached(c, p->uid);
    unsigned event = 0;
    if (!cp || cp->assumed) {
        event = EVENT_POD_ADD;
    } else {
        if (!json_equal(cp->pod->labels, p->labels))
            event |= EVENT_POD_LABEL;
        struct resources grown = {0};
        resources_max(&grown, &cp->pod->requests);
        resources_max(&grown, &p->requests);
        if (resources_differ(&grown, &p->requests))
            event |= EVENT_POD_SCALE_DOWN;
        resources_clear(&grown);
    }
    cache_remove_pod(c, p->uid);
    place(c, p, node_at(c, p->node_name), false);
    return event;
}

void cache_assume(struct cache *c, struct pod_info *p, struct node_info *node)
{
    if (!cached(c, p->uid))
        place(c, p, node, true);
}

void cache_forget(struct cache *c, const char *uid)
{
    struct cached_pod *cp = cached(c, uid);
    if (cp && cp->assumed)
        cache_remove_pod(c, uid);
}

bool cache_has_pod(struct cache *c, const char *uid)
{
    return cached(c, uid) != NULL;
}

/* --- nominations --- */

void cache_nominate(struct cache *c, struct pod_info *p, const char *node)
{
    nominated_free(map_remove(&c->nominated, p->uid).ptr);
    if (!node || !*node)
        return;
    struct nomination *n = mem_alloc(sizeof(*n));
    n->pod = pod_info_ref(p);
    n->node = mem_strdup(node);
    map_at(&c->nominated, p->uid)->ptr = n;
}

const char *cache_nominated_node(const struct cache *c, const char *uid)
{
    const union map_value *v = map_find(&c->nominated, uid);
    return v ? ((struct nomination *)v->ptr)->node : NULL;
}

struct nominated_search {
    const char *node, *but_uid;
    int64_t priority;
    struct pod_info **out;
    size_t count, max;
};

static void collect_nominated(void *ctx, const char *uid, union map_value *v)
{
    struct nominated_search *s = ctx;
    struct nomination *n = v->ptr;
    if (s->count < s->max && !strcmp(n->node, s->node) && n->pod->priority >= s->priority &&
        strcmp(uid, s->but_uid))
        s->out[s->count++] = n->pod;
}

size_t cache_nominated_pods(const struct cache *c, const char *node, int64_t priority, const char *but_uid,
                            struct pod_info **out, size_t max)
{
    struct nominated_search s = {node, but_uid, priority, out, 0, max};
    if (c->nominated.count)
        map_each(&c->nominated, collect_nominated, &s);
    return s.count;
}

/* --- namespaces --- */

void cache_set_namespace(struct cache *c, struct kube_object *ns, const char *name)
{
    union map_value old = map_remove(&c->namespaces, name);
    kube_object_unref(old.ptr);
    if (ns)
        map_at(&c->namespaces, name)->ptr = kube_object_ref(ns);
}

const cJSON *cache_namespace_labels(const struct cache *c, const char *name)
{
    union map_value *v = map_find(&c->namespaces, name);
    struct kube_object *o = v ? v->ptr : NULL;
    return o ? json_path(o->json, "metadata.labels") : NULL;
}
