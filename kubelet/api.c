#include "kubelet/api.h"
#include "common/json.h"
#include "common/kube_client.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include <pthread.h>
#include <string.h>

#define UNUSED_MS (10 * 60 * 1000)

struct cached {
    struct cached *next;
    char *path;
    struct kube_object *object; /* NULL: it did not exist */
    int64_t fetched_ms, used_ms;
};
struct object_cache {
    const struct kubelet_api *api;
    pthread_mutex_t lock;
    struct cached *entries; /* a node's pods use tens of them, not thousands */
};

struct object_cache *object_cache_new(const struct kubelet_api *api)
{
    struct object_cache *c = mem_alloc(sizeof(*c));
    c->api = api;
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void free_entry(struct cached *e)
{
    kube_object_unref(e->object);
    free(e->path);
    free(e);
}

void object_cache_free(struct object_cache *c)
{
    while (c->entries) {
        struct cached *next = c->entries->next;
        free_entry(c->entries);
        c->entries = next;
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static struct cached *find(struct object_cache *c, const char *path)
{
    for (struct cached *e = c->entries; e; e = e->next)
        if (strcmp(e->path, path) == 0)
            return e;
    return NULL;
}

static void store(struct object_cache *c, const char *path, struct kube_object *object, int64_t asked_ms)
{
    struct cached *e = find(c, path);
    if (!e) {
        e = mem_alloc(sizeof(*e));
        e->path = mem_strdup(path);
        e->next = c->entries;
        c->entries = e;
    }
    kube_object_unref(e->object);
    e->object = kube_object_ref(object);
    e->fetched_ms = asked_ms;
    e->used_ms = time_monotonic_ms();
}

static void not_found(struct error **err, const char *resource, const char *name)
{
    error_set(err, 404, "NotFound", "%.*s \"%s\" not found", (int)strlen(resource) - 1, resource, name ? name : "");
}

struct kube_object *object_cache_get(struct object_cache *c, const char *resource, const char *ns, const char *name,
                                     int64_t max_age_ms, struct error **err)
{
    cleanup_free char *path = kube_path_new("v1", resource, ns, name, NULL);
    pthread_mutex_lock(&c->lock);
    struct cached *e = find(c, path);
    if (e && time_monotonic_ms() - e->fetched_ms < max_age_ms) {
        e->used_ms = time_monotonic_ms();
        struct kube_object *o = kube_object_ref(e->object);
        pthread_mutex_unlock(&c->lock);
        if (!o)
            not_found(err, resource, name);
        return o;
    }
    pthread_mutex_unlock(&c->lock);

    cleanup_error struct error *failure = NULL;
    int64_t asked_ms = time_monotonic_ms(); /* the answer may be as old as the question */
    cJSON *json = c->api->request(c->api->userdata, "GET", path, NULL, NULL, &failure);
    struct kube_object *o = json ? kube_object_new(json) : NULL;
    pthread_mutex_lock(&c->lock);
    if (o || (failure && failure->code == 404)) {
        store(c, path, o, asked_ms);
    } else if ((e = find(c, path)) && e->object && (!failure || failure->code == 0 || failure->code >= 500)) {
        o = kube_object_ref(e->object); /* an old copy is better than a pod that cannot start again */
        e->used_ms = time_monotonic_ms();
    }
    pthread_mutex_unlock(&c->lock);
    if (!o) {
        if (failure && failure->code == 404) {
            not_found(err, resource, name);
        } else {
            error_move(err, failure);
            failure = NULL;
        }
    }
    return o;
}

void object_cache_expire(struct object_cache *c)
{
    int64_t now = time_monotonic_ms();
    pthread_mutex_lock(&c->lock);
    for (struct cached **p = &c->entries; *p;) {
        struct cached *e = *p;
        if (now - e->used_ms > UNUSED_MS) {
            *p = e->next;
            free_entry(e);
        } else {
            p = &e->next;
        }
    }
    pthread_mutex_unlock(&c->lock);
}
