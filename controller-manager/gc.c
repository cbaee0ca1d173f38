/* The garbage collector: deletes what has no owner any more, lets foreground deletion wait for
 * dependents, and orphans. https://kubernetes.io/docs/concepts/architecture/garbage-collection/
 *
 * Three queues share one state: deletions and orphanings of objects (by uid), and discovery, which
 * follows every resource that can be deleted. Before anything is deleted, the object and each of
 * its owners are asked for at the API. */
#include "controller-manager/gc_graph.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "controller-manager/controller.h"
#include "controller-manager/discovery.h"
#include "controller-manager/objects.h"

#define VIRTUAL_PREFIX                                                                             \
    "virtual/" /* keys of the deletion queue that only ask whether an unseen owner exists */
#define RESYNC "resync"
enum { SYNC_LIMIT_MS = 30000, FINALIZER_ATTEMPTS = 5 };

struct monitor {
    char *api_version, *resource;
    struct informer *informer;
};

struct gc {
    struct controller *deletions, *orphans,
        *discovery; /* orphans and discovery are NULL when left out */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* of synced and stopping */
    struct gc_graph graph;
    struct api_resources resources;
    struct monitor *monitors; /* of resources that nobody else follows */
    size_t monitor_count;
    bool synced, stopping;
};

/* A copy of what the graph knows of an object. */
struct item {
    const char *api_version, *kind; /* interned: live as long as the graph */
    char *ns, *name, *uid;
    bool is_virtual, being_deleted, deleting_dependents, has_dependents, dependents_wait;
};

static void item_clear(struct item *i)
{
    free(i->ns);
    free(i->name);
    free(i->uid);
}
#define cleanup_item __attribute__((cleanup(item_clear)))

static bool item_of(struct gc *gc, const char *uid, struct item *out)
{
    pthread_mutex_lock(&gc->lock);
    const struct gc_node *n = gc_graph_node(&gc->graph, uid);
    if (n) {
        *out = (struct item){.api_version = n->api_version,
                             .kind = n->kind,
                             .ns = mem_strdup(n->ns),
                             .name = mem_strdup(n->name),
                             .uid = mem_strdup(n->uid),
                             .is_virtual = n->is_virtual,
                             .being_deleted = n->being_deleted,
                             .deleting_dependents = n->deleting_dependents,
                             .has_dependents = n->dependents.count > 0};
        size_t position = 0;
        const struct strmap_entry *e;
        while ((e = strmap_next(&n->dependents, &position)))
            out->dependents_wait =
                out->dependents_wait || ((struct gc_node *)e->value)->deleting_dependents;
    }
    pthread_mutex_unlock(&gc->lock);
    return n != NULL;
}

/* --- where an object lives --- */

/* The path of an object by its kind; NULL while the kind is not known. *namespaced may be NULL. */
static char *path_of(struct gc *gc, const char *api_version, const char *kind, const char *ns,
                     const char *name, bool *namespaced)
{
    char *path = NULL;
    pthread_mutex_lock(&gc->lock);
    const struct api_resource *r = api_resource_of_kind(&gc->resources, api_version, kind);
    if (r) {
        path = kube_path_new(r->api_version, r->resource, r->namespaced ? ns : NULL, name, NULL);
        if (namespaced)
            *namespaced = r->namespaced;
    }
    pthread_mutex_unlock(&gc->lock);
    if (!r)
        log_debug(2, "Unknown kind in an owner reference", "apiVersion", api_version, "kind", kind);
    return path;
}

static bool set_error(struct error **err, struct error **e)
{
    error_move(err, *e);
    *e = NULL;
    return false;
}

/* --- finalizers --- */

static bool remove_finalizer(struct gc *gc, const struct item *item, const char *finalizer,
                             struct error **err)
{
    cleanup_free char *path =
        path_of(gc, item->api_version, item->kind, item->ns, item->name, NULL);
    if (!path)
        return false;
    for (int attempt = 0;; attempt++) {
        cleanup_error struct error *e = NULL;
        cleanup_json cJSON *live = kube_get(gc->deletions->client, path, &e);
        if (!live)
            return kube_error_is(e, "NotFound") || set_error(err, &e);
        if (strcmp(meta_uid(live), item->uid) != 0 || !meta_has_finalizer(live, finalizer))
            return true;
        cleanup_json cJSON *patch = cJSON_CreateObject();
        json_set_str(patch, "metadata.resourceVersion", json_str(live, "metadata.resourceVersion"));
        cJSON *kept = json_ensure_array(patch, "metadata.finalizers");
        const cJSON *f;
        cJSON_ArrayForEach(
            f, json_path(live, "metadata.finalizers")) if (!cJSON_IsString(f) ||
                                                           strcmp(f->valuestring, finalizer) != 0)
            cJSON_AddItemToArray(kept, json_dup(f));
        cleanup_json cJSON *answer = kube_merge_patch(gc->deletions->client, path, patch, &e);
        if (answer || kube_error_is(e, "NotFound"))
            return true;
        if (!kube_error_is(e, "Conflict") || attempt == FINALIZER_ATTEMPTS)
            return set_error(err, &e);
    }
}

/* --- deletion --- */

static bool delete_object(struct gc *gc, const char *path, const cJSON *live, const char *policy,
                          struct error **err)
{
    cleanup_json cJSON *options = cJSON_CreateObject();
    json_set_str(options, "kind", "DeleteOptions");
    json_set_str(options, "apiVersion", "v1");
    json_set_str(options, "preconditions.uid", meta_uid(live));
    json_set_str(options, "preconditions.resourceVersion",
                 json_str(live, "metadata.resourceVersion"));
    json_set_str(options, "propagationPolicy", policy);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer =
        kube_request(gc->deletions->client, "DELETE", path, NULL, options, &e);
    log_debug(2, "Deleted an object", "path", path, "policy", policy, "err", error_message(e));
    return answer || kube_error_is(e, "NotFound") || set_error(err, &e);
}

enum owner_state { OWNER_SOLID, OWNER_DANGLING, OWNER_WAITING, OWNER_INVALID, OWNER_UNKNOWN };

static enum owner_state classify_owner(struct gc *gc, const struct item *item, const cJSON *ref,
                                       struct error **err)
{
    const char *api_version = json_str_or(ref, "apiVersion", ""),
               *kind = json_str_or(ref, "kind", "");
    const char *name = json_str_or(ref, "name", ""), *uid = json_str_or(ref, "uid", "");
    pthread_mutex_lock(&gc->lock);
    bool absent = gc_graph_owner_known_absent(&gc->graph, api_version, kind, item->ns, name, uid);
    pthread_mutex_unlock(&gc->lock);
    if (absent)
        return OWNER_DANGLING;
    bool namespaced = false;
    cleanup_free char *path = path_of(gc, api_version, kind, item->ns, name, &namespaced);
    if (!path)
        return OWNER_UNKNOWN;
    if (namespaced && !*item->ns)
        return OWNER_INVALID; /* a cluster-scoped object cannot have a namespaced owner: hands off
                               */
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *owner = kube_get(gc->deletions->client, path, &e);
    if (!owner && !kube_error_is(e, "NotFound")) {
        set_error(err, &e);
        return OWNER_UNKNOWN;
    }
    if (!owner || strcmp(meta_uid(owner), uid) != 0) {
        pthread_mutex_lock(&gc->lock);
        gc_graph_note_absent_owner(&gc->graph, api_version, kind, namespaced ? item->ns : "", name,
                                   uid);
        pthread_mutex_unlock(&gc->lock);
        return OWNER_DANGLING;
    }
    return meta_deleting(owner) && meta_has_finalizer(owner, FINALIZER_FOREGROUND) ? OWNER_WAITING
                                                                                   : OWNER_SOLID;
}

/* Takes owners out that are gone or going, as long as there is one that stays. */
static bool drop_owner_references(struct gc *gc, const char *path, const cJSON *live,
                                  const bool *keep, struct error **err)
{
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", meta_uid(live));
    json_set_str(patch, "metadata.resourceVersion", json_str(live, "metadata.resourceVersion"));
    cJSON *kept = json_ensure_array(patch, "metadata.ownerReferences");
    const cJSON *ref;
    size_t i = 0;
    cJSON_ArrayForEach(ref, json_path(live, "metadata.ownerReferences")) if (keep[i++])
        cJSON_AddItemToArray(kept, json_dup(ref));
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_merge_patch(gc->deletions->client, path, patch, &e);
    return answer || kube_error_is(e, "NotFound") || set_error(err, &e);
}

/* Two objects that wait for each other's end would wait for ever. */
static bool unblock_owners(struct gc *gc, const char *path, const cJSON *live, struct error **err)
{
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", meta_uid(live));
    json_set_str(patch, "metadata.resourceVersion", json_str(live, "metadata.resourceVersion"));
    cJSON *refs = json_dup(json_path(live, "metadata.ownerReferences")), *ref;
    cJSON_ArrayForEach(ref, refs) if (json_bool(ref, "blockOwnerDeletion", false))
        json_set_bool(ref, "blockOwnerDeletion", false);
    json_set(patch, "metadata.ownerReferences", refs);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_merge_patch(gc->deletions->client, path, patch, &e);
    return answer || kube_error_is(e, "NotFound") || set_error(err, &e);
}

/* Foreground deletion: when no dependent blocks any more, the object may go; else the dependents
 * are looked at. */
static bool process_waiting_owner(struct gc *gc, const struct item *item, struct error **err)
{
    enum { LOOKED_AT = 1000 };
    cleanup_free struct gc_node **blocking = mem_alloc(LOOKED_AT * sizeof(struct gc_node *));
    pthread_mutex_lock(&gc->lock);
    const struct gc_node *n = gc_graph_node(&gc->graph, item->uid);
    size_t count = n ? gc_graph_blocking_dependents(n, blocking, LOOKED_AT) : 0;
    for (size_t i = 0; i < count && i < LOOKED_AT; i++)
        if (!blocking[i]->deleting_dependents)
            workqueue_add(gc->deletions->queue, blocking[i]->uid);
    pthread_mutex_unlock(&gc->lock);
    return !n || count > 0 || remove_finalizer(gc, item, FINALIZER_FOREGROUND, err);
}

static bool judge(struct gc *gc, const struct item *item, const char *path, const cJSON *live,
                  struct error **err)
{
    const cJSON *refs = json_path(live, "metadata.ownerReferences"), *ref;
    size_t count = cJSON_IsArray(refs) ? (size_t)cJSON_GetArraySize(refs) : 0, i = 0;
    if (!count)
        return true;
    size_t solid = 0, dangling = 0, waiting = 0;
    cleanup_free bool *keep = mem_alloc(count * sizeof(*keep));
    cJSON_ArrayForEach(ref, refs)
    {
        switch (classify_owner(gc, item, ref, err)) {
        case OWNER_SOLID:
            keep[i] = true;
            solid++;
            break;
        case OWNER_DANGLING:
            dangling++;
            break;
        case OWNER_WAITING:
            waiting++;
            break;
        case OWNER_INVALID:
            return true;
        case OWNER_UNKNOWN:
            return false;
        }
        i++;
    }
    if (solid)
        return !dangling && !waiting ? true : drop_owner_references(gc, path, live, keep, err);
    if (waiting && item->has_dependents) {
        if (item->dependents_wait && !unblock_owners(gc, path, live, err))
            return false;
        if (item->dependents_wait)
            return false; /* the version has moved on: look again */
        return delete_object(gc, path, live, "Foreground", err);
    }
    const char *policy = meta_has_finalizer(live, FINALIZER_ORPHAN)       ? "Orphan"
                         : meta_has_finalizer(live, FINALIZER_FOREGROUND) ? "Foreground"
                                                                          : "Background";
    return delete_object(gc, path, live, policy, err);
}

/* False when the process is to end. */
static bool wait_synced(struct gc *gc)
{
    pthread_mutex_lock(&gc->lock);
    while (!gc->synced && !gc->stopping)
        pthread_cond_wait(&gc->changed, &gc->lock);
    bool go = !gc->stopping;
    pthread_mutex_unlock(&gc->lock);
    return go;
}

static bool reconcile_deletion(struct controller *c, const char *key, struct error **err)
{
    struct gc *gc = c->state;
    bool only_virtual = strncmp(key, VIRTUAL_PREFIX, strlen(VIRTUAL_PREFIX)) == 0;
    const char *uid = only_virtual ? key + strlen(VIRTUAL_PREFIX) : key;
    if (!wait_synced(gc))
        return true;
    cleanup_item struct item item = {0};
    if (!item_of(gc, uid, &item) || (only_virtual && !item.is_virtual))
        return true;
    if (item.being_deleted && !item.deleting_dependents)
        return true;
    bool namespaced = true;
    cleanup_free char *path =
        path_of(gc, item.api_version, item.kind, item.ns, item.name, &namespaced);
    if (!path)
        return false;
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *live = kube_get(c->client, path, &e);
    if (!live && !kube_error_is(e, "NotFound"))
        return set_error(err, &e);
    if (!live || strcmp(meta_uid(live), item.uid) != 0) {
        pthread_mutex_lock(&gc->lock);
        gc_graph_absent(&gc->graph, item.api_version, item.kind, item.ns, item.name, item.uid);
        pthread_mutex_unlock(&gc->lock);
        return true;
    }
    if (item.is_virtual)
        return false; /* it exists; its own event is on the way */
    if (item.deleting_dependents)
        return process_waiting_owner(gc, &item, err);
    return judge(gc, &item, path, live, err);
}

/* --- orphaning --- */

struct orphaning {
    struct gc *gc;
    const char *owner_uid;
    struct item *dependents;
};

static bool orphan_one(void *ctx, int i, struct error **err)
{
    struct orphaning *x = ctx;
    const struct item *d = &x->dependents[i];
    cleanup_free char *path = path_of(x->gc, d->api_version, d->kind, d->ns, d->name, NULL);
    if (!path) {
        error_setf(err, "unknown kind %s", d->kind);
        return false;
    }
    for (int attempt = 0;; attempt++) {
        cleanup_error struct error *e = NULL;
        cleanup_json cJSON *live = kube_get(x->gc->deletions->client, path, &e);
        if (!live)
            return kube_error_is(e, "NotFound") || set_error(err, &e);
        const cJSON *refs = json_path(live, "metadata.ownerReferences"), *ref;
        size_t count = cJSON_IsArray(refs) ? (size_t)cJSON_GetArraySize(refs) : 0, at = 0;
        cleanup_free bool *keep = mem_alloc((count + 1) * sizeof(*keep));
        bool found = false;
        cJSON_ArrayForEach(ref, refs)
        {
            keep[at] = strcmp(json_str_or(ref, "uid", ""), x->owner_uid) != 0;
            found = found || !keep[at];
            at++;
        }
        if (strcmp(meta_uid(live), d->uid) != 0 || !found ||
            drop_owner_references(x->gc, path, live, keep, &e))
            return true;
        if (!kube_error_is(e, "Conflict") || attempt == FINALIZER_ATTEMPTS)
            return set_error(err, &e);
    }
}

static bool reconcile_orphan(struct controller *c, const char *key, struct error **err)
{
    struct gc *gc = c->state;
    if (!wait_synced(gc))
        return true;
    cleanup_item struct item owner = {0};
    if (!item_of(gc, key, &owner))
        return true;
    pthread_mutex_lock(&gc->lock);
    const struct gc_node *n = gc_graph_node(&gc->graph, key);
    size_t count = 0, position = 0;
    struct item *dependents = mem_alloc((n ? n->dependents.count + 1 : 1) * sizeof(*dependents));
    const struct strmap_entry *e;
    while (n && (e = strmap_next(&n->dependents, &position))) {
        const struct gc_node *d = e->value;
        dependents[count++] = (struct item){.api_version = d->api_version,
                                            .kind = d->kind,
                                            .ns = mem_strdup(d->ns),
                                            .name = mem_strdup(d->name),
                                            .uid = mem_strdup(d->uid)};
    }
    pthread_mutex_unlock(&gc->lock);
    struct orphaning x = {.gc = gc, .owner_uid = owner.uid, .dependents = dependents};
    bool ok = run_parallel((int)count, orphan_one, &x, err) == (int)count;
    for (size_t i = 0; i < count; i++)
        item_clear(&dependents[i]);
    free(dependents);
    return ok && remove_finalizer(gc, &owner, FINALIZER_ORPHAN, err);
}

/* --- the graph's feed --- */

/* With the lock held. */
static void on_look(void *userdata, const struct gc_node *node, int kind)
{
    struct gc *gc = userdata;
    if (kind == GC_LOOK_ORPHAN) {
        if (gc->orphans)
            workqueue_add(gc->orphans->queue, node->uid);
        return;
    }
    if (kind == GC_LOOK_DELETE) {
        workqueue_add(gc->deletions->queue, node->uid);
        return;
    }
    cleanup_free char *key = mem_printf(VIRTUAL_PREFIX "%s", node->uid);
    workqueue_add(gc->deletions->queue, key);
}

static void on_object(void *userdata, enum informer_event event, const struct kube_object *old,
                      const struct kube_object *new_object)
{
    struct gc *gc = userdata;
    pthread_mutex_lock(&gc->lock);
    if (event == INFORMER_DELETED)
        gc_graph_deleted(&gc->graph, old->uid);
    else
        gc_graph_observe(&gc->graph, old ? old->json : NULL, new_object->json);
    pthread_mutex_unlock(&gc->lock);
}

/* --- discovery --- */

static bool followed(const struct api_resource *r)
{
    return r->can_delete && r->can_list && r->can_watch && strcmp(r->resource, "events") != 0;
}

static bool same_resource(const char *api_version, const char *resource,
                          const struct api_resource *r)
{
    const char *slash = strchr(api_version, '/');
    size_t n = slash ? (size_t)(slash - api_version) : 0;
    return strcmp(resource, r->resource) == 0 && strlen(r->group) == n &&
           strncmp(api_version, r->group, n) == 0;
}

static bool shared_with_others(struct controller *c, const struct api_resource *r)
{
    const char *api_version, *resource;
    struct informer *i;
    for (size_t n = 0; (i = manager_informer_at(c->manager, n, &api_version, &resource)); n++)
        if (same_resource(api_version, resource, r))
            return true;
    return false;
}

static bool monitored(struct gc *gc, const struct api_resource *r)
{
    for (size_t i = 0; i < gc->monitor_count; i++)
        if (strcmp(gc->monitors[i].api_version, r->api_version) == 0 &&
            strcmp(gc->monitors[i].resource, r->resource) == 0)
            return true;
    return false;
}

static void add_monitor(struct gc *gc, const struct api_resource *r)
{
    struct informer *i = informer_new(&(struct informer_options){.client = gc->deletions->client,
                                                                 .api_version = r->api_version,
                                                                 .resource = r->resource,
                                                                 .metadata_only = true});
    informer_add_handler(i, on_object, gc);
    pthread_mutex_lock(&gc->lock);
    gc->monitors = mem_realloc(gc->monitors, (gc->monitor_count + 1) * sizeof(*gc->monitors));
    gc->monitors[gc->monitor_count++] = (struct monitor){.api_version = mem_strdup(r->api_version),
                                                         .resource = mem_strdup(r->resource),
                                                         .informer = i};
    bool stopping = gc->stopping;
    pthread_mutex_unlock(&gc->lock);
    if (!stopping)
        informer_start(i);
}

static void monitor_free(struct monitor *m)
{
    informer_free(m->informer);
    free(m->api_version);
    free(m->resource);
}

/* Resources that are served no more. */
static void drop_monitors(struct gc *gc, const struct api_resources *served)
{
    for (size_t i = 0; i < gc->monitor_count;) {
        bool still = false;
        for (size_t n = 0; n < served->count && !still; n++)
            still = strcmp(served->items[n].api_version, gc->monitors[i].api_version) == 0 &&
                    strcmp(served->items[n].resource, gc->monitors[i].resource) == 0;
        if (still) {
            i++;
            continue;
        }
        pthread_mutex_lock(&gc->lock);
        struct monitor gone = gc->monitors[i];
        gc->monitors[i] = gc->monitors[--gc->monitor_count];
        pthread_mutex_unlock(&gc->lock);
        monitor_free(&gone);
    }
}

/* Waits until every monitor has its first list; one that never gets it (no permission, a broken
 * server) holds up the rest for half a minute only. */
static void wait_for_monitors(struct gc *gc)
{
    int64_t until = time_monotonic_ms() + SYNC_LIMIT_MS;
    pthread_mutex_lock(&gc->lock);
    while (!gc->stopping && time_monotonic_ms() < until) {
        size_t synced = 0;
        for (size_t i = 0; i < gc->monitor_count; i++)
            synced += informer_synced(gc->monitors[i].informer);
        if (synced == gc->monitor_count)
            break;
        thread_cond_wait_until(&gc->changed, &gc->lock, time_monotonic_ms() + 20);
    }
    gc->synced = true;
    pthread_cond_broadcast(&gc->changed);
    pthread_mutex_unlock(&gc->lock);
}

static bool reconcile_discovery(struct controller *c, const char *key, struct error **err)
{
    struct gc *gc = c->state;
    cleanup_resources struct api_resources found = {0};
    if (!discover_resources(c->client, &found, err))
        return false;
    workqueue_add_after(c->queue, key, manager_config(c->manager)->discovery_period_ms);
    for (size_t i = 0; i < found.count && !manager_stopping(c->manager); i++)
        if (followed(&found.items[i]) && !shared_with_others(c, &found.items[i]) &&
            !monitored(gc, &found.items[i]))
            add_monitor(gc, &found.items[i]);
    if (!found.failed)
        drop_monitors(gc, &found);
    if (found.failed && gc->resources.count > found.count)
        return true; /* what was known is more than what was learned */
    pthread_mutex_lock(&gc->lock);
    struct api_resources before = gc->resources;
    gc->resources = found;
    pthread_mutex_unlock(&gc->lock);
    found = before;
    wait_for_monitors(gc);
    return true;
}

/* --- setup --- */

static void setup(struct controller *c)
{
    struct gc *gc = mem_alloc(sizeof(*gc));
    c->state = gc;
    gc->deletions = c;
    pthread_mutex_init(&gc->lock, NULL);
    thread_cond_init(&gc->changed);
    gc->graph.look = on_look;
    gc->graph.userdata = gc;
    const char *api_version, *resource;
    struct informer *i;
    for (size_t n = 0; (i = manager_informer_at(c->manager, n, &api_version, &resource)); n++)
        informer_add_handler(i, on_object, gc);
}

static void setup_orphan(struct controller *c)
{
    struct controller *main = manager_controller(c->manager, garbage_collector.name);
    c->state = main ? main->state : NULL;
    if (main)
        ((struct gc *)c->state)->orphans = c;
}

static void setup_discovery(struct controller *c)
{
    struct controller *main = manager_controller(c->manager, garbage_collector.name);
    c->state = main ? main->state : NULL;
    if (main)
        ((struct gc *)c->state)->discovery = c;
}

static void start_discovery(struct controller *c)
{
    if (c->state)
        workqueue_add(c->queue, RESYNC);
}

static void stop(struct controller *c)
{
    struct gc *gc = c->state;
    pthread_mutex_lock(&gc->lock);
    gc->stopping = true;
    for (size_t i = 0; i < gc->monitor_count; i++)
        informer_stop(gc->monitors[i].informer);
    pthread_cond_broadcast(&gc->changed);
    pthread_mutex_unlock(&gc->lock);
}

static void free_state(struct controller *c)
{
    struct gc *gc = c->state;
    for (size_t i = 0; i < gc->monitor_count; i++)
        monitor_free(&gc->monitors[i]);
    free(gc->monitors);
    gc_graph_clear(&gc->graph);
    api_resources_clear(&gc->resources);
    pthread_cond_destroy(&gc->changed);
    pthread_mutex_destroy(&gc->lock);
    free(gc);
}

const struct controller_type garbage_collector = {.name = "garbage-collector-controller",
                                                  .queue = "garbage_collector_attempt_to_delete",
                                                  .workers = 4,
                                                  .setup = setup,
                                                  .reconcile = reconcile_deletion,
                                                  .stop = stop,
                                                  .free_state = free_state};
const struct controller_type garbage_collector_orphan = {.name = "garbage-collector-orphan",
                                                         .part_of = "garbage-collector-controller",
                                                         .queue =
                                                             "garbage_collector_attempt_to_orphan",
                                                         .workers = 2,
                                                         .setup = setup_orphan,
                                                         .reconcile = reconcile_orphan};
const struct controller_type garbage_collector_discovery = {.name = "garbage-collector-discovery",
                                                            .part_of =
                                                                "garbage-collector-controller",
                                                            .queue = "garbage_collector_discovery",
                                                            .workers = 1,
                                                            .setup = setup_discovery,
                                                            .start = start_discovery,
                                                            .reconcile = reconcile_discovery};
