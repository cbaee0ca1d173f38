/* Which Secrets and ConfigMaps the pods of each node need: a kubelet may read those and no others.
 *
 * A counted set of "node/kind/namespace/name", kept up to date by the watch cache's events. What a
 * pod refers to does not change after it was made (but for ephemeral containers), so a pod is
 * parsed when it is bound and when it goes, not at every change of its status. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/auth/auth.h"
#include "apiserver/storage/cacher.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/volumes.h"

struct entry {
    struct entry *next;
    uint32_t hash;
    int count;
    char key[];
};
struct set {
    struct entry **buckets;
    size_t bucket_count, count;
};

struct pending {
    struct pending *next;
    struct cache_event *event;
};

/* One per process; the mutex (the innermost lock) guards all but the caches. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct set set;
    bool behind;   /* events were missed: the set must be built anew */
    bool building; /* events wait in the queue until the snapshot was read */
    struct pending *first, **last;
    struct cache *cache, *volumes; /* of pods; of PersistentVolumes */
} graph = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* --- the set --- */

static uint32_t hash_of(const char *s)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static void set_grow(struct set *s)
{
    size_t n = s->bucket_count ? s->bucket_count * 2 : 64;
    struct entry **buckets = mem_alloc(n * sizeof *buckets);
    for (size_t i = 0; i < s->bucket_count; i++)
        for (struct entry *e = s->buckets[i], *next; e; e = next) {
            next = e->next;
            e->next = buckets[e->hash % n];
            buckets[e->hash % n] = e;
        }
    free(s->buckets);
    s->buckets = buckets;
    s->bucket_count = n;
}

static struct entry **set_find(const struct set *s, const char *key, uint32_t hash)
{
    if (!s->bucket_count)
        return NULL;
    struct entry **e = &s->buckets[hash % s->bucket_count];
    while (*e && ((*e)->hash != hash || strcmp((*e)->key, key) != 0))
        e = &(*e)->next;
    return e;
}

static void set_count(struct set *s, const char *key, int by)
{
    uint32_t hash = hash_of(key);
    struct entry **at = set_find(s, key, hash);
    if (at && *at) {
        struct entry *e = *at;
        e->count += by;
        if (e->count <= 0) {
            *at = e->next;
            free(e);
            s->count--;
        }
        return;
    }
    if (by < 0)
        return;
    if (s->count >= s->bucket_count)
        set_grow(s);
    size_t len = strlen(key);
    struct entry *e = mem_alloc(sizeof *e + len + 1);
    e->hash = hash;
    e->count = by;
    memcpy(e->key, key, len + 1);
    e->next = s->buckets[hash % s->bucket_count];
    s->buckets[hash % s->bucket_count] = e;
    s->count++;
}

static void set_clear(struct set *s)
{
    for (size_t i = 0; i < s->bucket_count; i++)
        for (struct entry *e = s->buckets[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    free(s->buckets);
    *s = (struct set){0};
}

/* --- what a pod refers to --- */

struct references {
    struct set *set;
    const char *node, *ns;
    int by;
};

static void refer(struct references *r, const char *kind, const char *name)
{
    if (!name || !*name)
        return;
    cleanup_free char *key = mem_printf("%s/%s/%s/%s", r->node, kind, r->ns, name);
    set_count(r->set, key, r->by);
}

static void refer_containers(struct references *r, const cJSON *containers)
{
    const cJSON *c, *e;
    cJSON_ArrayForEach(c, containers)
    {
        cJSON_ArrayForEach(e, json_get(c, "env"))
        {
            refer(r, "secrets", json_str(e, "valueFrom.secretKeyRef.name"));
            refer(r, "configmaps", json_str(e, "valueFrom.configMapKeyRef.name"));
        }
        cJSON_ArrayForEach(e, json_get(c, "envFrom"))
        {
            refer(r, "secrets", json_str(e, "secretRef.name"));
            refer(r, "configmaps", json_str(e, "configMapRef.name"));
        }
    }
}

static void refer_pod(struct references *r, const cJSON *pod)
{
    const cJSON *spec = json_get(pod, "spec"), *v, *source;
    cJSON_ArrayForEach(v, json_get(spec, "volumes"))
    {
        refer(r, "secrets", json_str(v, "secret.secretName"));
        refer(r, "configmaps", json_str(v, "configMap.name"));
        refer(r, "secrets", json_str(v, "csi.nodePublishSecretRef.name"));
        cleanup_free char *claim = pod_volume_claim(pod, v, NULL);
        refer(r, "persistentvolumeclaims", claim);
        cJSON_ArrayForEach(source, json_path(v, "projected.sources"))
        {
            refer(r, "secrets", json_str(source, "secret.name"));
            refer(r, "configmaps", json_str(source, "configMap.name"));
        }
    }
    cJSON_ArrayForEach(v, json_get(spec, "imagePullSecrets"))
        refer(r, "secrets", json_str(v, "name"));
    refer(r, "serviceaccounts", json_str(spec, "serviceAccountName"));
    refer_containers(r, json_get(spec, "containers"));
    refer_containers(r, json_get(spec, "initContainers"));
    refer_containers(r, json_get(spec, "ephemeralContainers"));
}

static const char *node_of(const struct stored *pod)
{
    return pod && pod->fields[0] ? pod->fields[0]
                                 : ""; /* spec.nodeName is a pod's first selectable field */
}

static void count_pod(struct set *set, const struct stored *pod, int by)
{
    if (!*node_of(pod))
        return;
    cleanup_json cJSON *json = json_parse(pod->json, pod->len, NULL);
    struct references r = {.set = set, .node = node_of(pod), .ns = pod->ns, .by = by};
    refer_pod(&r, json);
}

static bool has_ephemeral(const struct stored *pod)
{
    return pod && memmem(pod->json, pod->len, "\"ephemeralContainers\"", 21);
}

/* With the mutex held. */
static void apply(struct set *set, const struct cache_event *e)
{
    const struct stored *before = e->old, *after = e->type == EVENT_DELETED ? NULL : e->object;
    if (e->type == EVENT_DELETED && !before)
        before = e->object;
    if (before && after && !strcmp(node_of(before), node_of(after)) && !has_ephemeral(after))
        return;
    if (after)
        count_pod(set, after, 1);
    if (before)
        count_pod(set, before, -1);
}

static void deliver(struct cache_watcher *w, struct cache_event *e)
{
    (void)w;
    pthread_mutex_lock(&graph.mutex);
    if (graph.building) {
        struct pending *p = mem_alloc(sizeof *p);
        p->event = cache_event_ref(e);
        *graph.last = p;
        graph.last = &p->next;
    } else {
        apply(&graph.set, e);
    }
    pthread_mutex_unlock(&graph.mutex);
}

static void reset(struct cache_watcher *w)
{
    (void)w;
    pthread_mutex_lock(&graph.mutex);
    graph.behind = true;
    pthread_cond_signal(&graph.changed);
    pthread_mutex_unlock(&graph.mutex);
}

/* --- building it --- */

/* With the mutex held: the events that came meanwhile, applied to set (NULL: dropped). */
static void take_pending(struct set *set)
{
    for (struct pending *p = graph.first, *next; p; p = next) {
        next = p->next;
        if (set)
            apply(set, p->event);
        cache_event_unref(p->event);
        free(p);
    }
    graph.first = NULL;
    graph.last = &graph.first;
}

static void build(struct cache_watcher *watcher)
{
    cache_unwatch(graph.cache, watcher);
    pthread_mutex_lock(&graph.mutex);
    take_pending(NULL);
    graph.behind = false;
    graph.building = true;
    pthread_mutex_unlock(&graph.mutex);

    *watcher = (struct cache_watcher){.deliver = deliver, .reset = reset};
    uint64_t revision;
    struct tree_root *root = cache_watch_list(graph.cache, watcher, &revision);
    struct set fresh = {0};
    struct tree_cursor cursor;
    struct stored *pod;
    tree_seek(&cursor, root, "", false);
    while ((pod = tree_next(&cursor)))
        count_pod(&fresh, pod, 1);
    tree_root_unref(root);

    pthread_mutex_lock(&graph.mutex);
    take_pending(&fresh);
    struct set old = graph.set;
    graph.set = fresh;
    graph.building = false;
    pthread_mutex_unlock(&graph.mutex);
    set_clear(&old);
}

static void *run(void *arg)
{
    (void)arg;
    static struct cache_watcher watcher;
    for (;;) {
        build(&watcher);
        pthread_mutex_lock(&graph.mutex);
        while (!graph.behind)
            pthread_cond_wait(&graph.changed, &graph.mutex);
        pthread_mutex_unlock(&graph.mutex);
    }
    return NULL;
}

bool node_graph_start(struct storage *storage, struct error **err)
{
    graph.volumes = storage_cache(storage, resource_find("", "v1", "persistentvolumes"));
    graph.cache = storage_cache(storage, resource_find("", "v1", "pods"));
    if (!graph.cache)
        return true;
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, run, NULL);
    if (rc) {
        error_set_errno(err, rc, "start a thread");
        return false;
    }
    pthread_detach(thread);
    return true;
}

static bool set_has(const char *node, const char *resource, const char *ns, const char *name)
{
    cleanup_free char *key = mem_printf("%s/%s/%s/%s", node, resource, ns, name);
    pthread_mutex_lock(&graph.mutex);
    struct entry **e = set_find(&graph.set, key, hash_of(key));
    bool found = e && *e;
    pthread_mutex_unlock(&graph.mutex);
    return found;
}

/* Does a volume name this Secret, for its driver on the node? */
static bool volume_needs(const cJSON *volume, const char *ns, const char *name)
{
    static const char *const refs[] = {"spec.csi.nodeStageSecretRef", "spec.csi.nodePublishSecretRef",
                                       "spec.csi.nodeExpandSecretRef"};
    for (size_t i = 0; i < ARRAY_LEN(refs); i++) {
        const cJSON *ref = json_path(volume, refs[i]);
        if (!strcmp(json_str_or(ref, "name", ""), name) && !strcmp(json_str_or(ref, "namespace", ""), ns))
            return true;
    }
    return false;
}

/* The Secrets of volumes are few and seldom asked for: they are looked for when they are. */
static bool secret_of_a_volume(const char *node, const char *ns, const char *name)
{
    uint64_t revision;
    struct tree_root *root = graph.volumes ? cache_snapshot(graph.volumes, &revision) : NULL;
    struct tree_cursor cursor;
    struct stored *s;
    bool found = false;
    if (!root)
        return false;
    tree_seek(&cursor, root, "", false);
    while (!found && (s = tree_next(&cursor))) {
        if (!memmem(s->json, s->len, "SecretRef\"", 10) || !memmem(s->json, s->len, name, strlen(name)))
            continue;
        cleanup_json cJSON *v = json_parse(s->json, s->len, NULL);
        found = volume_needs(v, ns, name) &&
                set_has(node, "persistentvolumeclaims", json_str_or(v, "spec.claimRef.namespace", ""),
                        json_str_or(v, "spec.claimRef.name", ""));
    }
    tree_root_unref(root);
    return found;
}

bool node_graph_has(const char *node, const char *resource, const char *ns, const char *name)
{
    return set_has(node, resource, ns, name) ||
           (!strcmp(resource, "secrets") && secret_of_a_volume(node, ns, name));
}
