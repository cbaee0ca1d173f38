/* Empties a namespace that is being deleted, then lets it go.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/ ; pods go first
 * (KEP-5080). */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/controller.h"
#include "controller-manager/discovery.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"
#include "controller-manager/strmap.h"

enum { FINALIZER_ESTIMATE_S = 15 };

struct namespaces {
    struct informer *namespaces, *pods;
    pthread_mutex_t lock;
    struct strmap
        first_seen; /* uid of a namespace being deleted -> monotonic ms when we first saw that */
};

/* What one pass over the content found. */
struct pass {
    struct kube_client *client;
    const char *ns;
    struct buf remaining, finalizers, failures; /* for the conditions' messages */
    struct error *discovery_failure;
    int discovery_failures, failure_count;
    int64_t remaining_count;
    int64_t estimate_s; /* when it is worth while to look again */
    struct strmap finalizer_counts;
    struct error *first_failure;
};

static void pass_clear(struct pass *p)
{
    buf_free(&p->remaining);
    buf_free(&p->finalizers);
    buf_free(&p->failures);
    error_free(p->discovery_failure);
    error_free(p->first_failure);
    strmap_clear(&p->finalizer_counts, NULL);
}
#define cleanup_pass __attribute__((cleanup(pass_clear)))

static void note_failure(struct pass *p, struct error *e)
{
    buf_printf(&p->failures, "%s%s", p->failure_count++ ? ", " : "", error_message(e));
    error_move(p->first_failure ? NULL : &p->first_failure, e);
}

static bool delete_all(struct pass *p, const struct api_resource *r, const cJSON *items)
{
    cleanup_error struct error *e = NULL;
    if (r->can_delete_collection) {
        cleanup_free char *path = kube_path_new(r->api_version, r->resource, p->ns, NULL, NULL);
        if (kube_delete(p->client, path, NULL, -1, "Background", &e))
            return true;
        if (e->code != 405 && e->code != 404) {
            note_failure(p, e);
            e = NULL;
            return false;
        }
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, items)
    {
        cleanup_free char *path =
            kube_path_new(r->api_version, r->resource, p->ns, meta_name(item), NULL);
        struct error *each = NULL;
        if (!kube_delete(p->client, path, NULL, -1, "Background", &each)) {
            if (!kube_error_is(each, "NotFound")) {
                note_failure(p, each);
                return false;
            }
            error_free(each);
        }
    }
    return true;
}

static void count_remaining(struct pass *p, const struct api_resource *r, const cJSON *items)
{
    int64_t n = 0, estimate = 0;
    bool pods = strcmp(r->resource, "pods") == 0 && !*r->group;
    const cJSON *item, *f;
    cJSON_ArrayForEach(item, items)
    {
        n++;
        cJSON_ArrayForEach(f, json_path(item, "metadata.finalizers"))
        {
            if (!cJSON_IsString(f))
                continue;
            intptr_t count = (intptr_t)strmap_get(&p->finalizer_counts, f->valuestring);
            strmap_put(&p->finalizer_counts, f->valuestring, (void *)(count + 1));
            estimate = estimate < FINALIZER_ESTIMATE_S ? FINALIZER_ESTIMATE_S : estimate;
        }
        int64_t grace = pods ? json_int(item, "metadata.deletionGracePeriodSeconds", 0) : 0;
        estimate = grace > estimate ? grace : estimate;
    }
    if (!n)
        return;
    buf_printf(&p->remaining, "%s%s.%s has %lld resource instances", p->remaining.len ? ", " : "",
               r->resource, r->group, (long long)n);
    p->remaining_count += n;
    p->estimate_s = estimate > p->estimate_s ? estimate : p->estimate_s;
}

static cJSON *list_items(struct pass *p, const struct api_resource *r)
{
    cleanup_free char *path = kube_path_new(r->api_version, r->resource, p->ns, NULL, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *list = kube_get(p->client, path, &e);
    if (list)
        return cJSON_DetachItemFromObjectCaseSensitive(list, "items");
    if (e->code != 404 && e->code != 405) {
        note_failure(p, e);
        e = NULL;
    }
    return NULL;
}

static void empty_resource(struct pass *p, const struct api_resource *r)
{
    cleanup_json cJSON *items = list_items(p, r);
    if (!items || !items->child || !delete_all(p, r, items))
        return;
    cleanup_json cJSON *left = list_items(p, r);
    count_remaining(p, r, left);
}

static bool deletable(const struct api_resource *r)
{
    return r->namespaced && r->can_delete && r->can_list;
}

static bool is_pods(const struct api_resource *r)
{
    return strcmp(r->api_version, "v1") == 0 && strcmp(r->resource, "pods") == 0;
}

static void empty_namespace(struct pass *p)
{
    cleanup_resources struct api_resources resources = {0};
    if (!discover_resources(p->client, &resources, &p->discovery_failure)) {
        p->discovery_failures = 1;
    } else if (resources.failed) {
        p->discovery_failures = resources.failed_count;
        error_move(&p->discovery_failure, resources.failed);
        resources.failed = NULL;
    }
    for (size_t i = 0; i < resources.count; i++)
        if (is_pods(&resources.items[i]) && deletable(&resources.items[i]))
            empty_resource(p, &resources.items[i]);
    if (p->remaining_count || p->failure_count)
        return; /* what pods may need while they end stays until they have */
    for (size_t i = 0; i < resources.count; i++) {
        const struct api_resource *r = &resources.items[i];
        bool events = strcmp(r->resource, "events") == 0;
        if (deletable(r) && !is_pods(r) && !events)
            empty_resource(p, r);
    }
    /* Last, because the removal of the rest makes events. */
    for (size_t i = 0; i < resources.count; i++)
        if (deletable(&resources.items[i]) && strcmp(resources.items[i].resource, "events") == 0)
            empty_resource(p, &resources.items[i]);
}

/* --- conditions --- */

static void set_conditions(struct pass *p, cJSON *conditions)
{
    size_t position = 0;
    const struct strmap_entry *entry;
    while ((entry = strmap_next(&p->finalizer_counts, &position)))
        buf_printf(&p->finalizers, "%s%s in %lld resource instances", p->finalizers.len ? ", " : "",
                   entry->key, (long long)(intptr_t)entry->value);
    cleanup_free char *discovery =
        mem_printf("Discovery failed for some groups, %d failing: %s", p->discovery_failures,
                   error_message(p->discovery_failure));
    cleanup_free char *content = mem_printf("Failed to delete all resource types, %d remaining: %s",
                                            p->failure_count, buf_str(&p->failures));
    cleanup_free char *remaining =
        mem_printf("Some resources are remaining: %s", buf_str(&p->remaining));
    cleanup_free char *finalizers = mem_printf(
        "Some content in the namespace has finalizers remaining: %s", buf_str(&p->finalizers));
    const struct {
        const char *type;
        bool bad;
        const char *bad_reason, *bad_message, *good_reason, *good_message;
    } all[] = {
        {"NamespaceDeletionDiscoveryFailure", p->discovery_failure != NULL, "DiscoveryFailed",
         discovery, "ResourcesDiscovered", "All resources successfully discovered"},
        {"NamespaceDeletionGroupVersionParsingFailure", false, "GroupVersionParsingFailed", "",
         "ParsedGroupVersions", "All legacy kube types successfully parsed"},
        {"NamespaceDeletionContentFailure", p->failure_count > 0, "ContentDeletionFailed", content,
         "ContentDeleted", "All content successfully deleted, may be waiting on finalization"},
        {"NamespaceContentRemaining", p->remaining_count > 0, "SomeResourcesRemain", remaining,
         "ContentRemoved", "All content successfully removed"},
        {"NamespaceFinalizersRemaining", p->finalizers.len > 0, "SomeFinalizersRemain", finalizers,
         "ContentHasNoFinalizers", "All content-preserving finalizers finished"},
    };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        condition_set(conditions, all[i].type, all[i].bad ? "True" : "False",
                      all[i].bad ? all[i].bad_reason : all[i].good_reason,
                      all[i].bad ? all[i].bad_message : all[i].good_message);
}

static bool write_conditions(struct controller *c, struct pass *p, cJSON **live, struct error **err)
{
    cleanup_json cJSON *changed = json_dup(*live);
    json_set_str(changed, "status.phase", "Terminating");
    set_conditions(p, json_ensure_array(changed, "status.conditions"));
    if (json_equal(json_get(changed, "status"), json_get(*live, "status")))
        return true;
    cleanup_error struct error *e = NULL;
    cJSON *answer = update_status(c->client, "v1", "namespaces", changed, &e);
    if (!answer) {
        if (kube_error_is(e, "NotFound"))
            return true;
        error_move(err, e);
        e = NULL;
        return false;
    }
    cJSON_Delete(*live);
    *live = answer;
    return true;
}

static bool finalize(struct controller *c, cJSON *live, struct error **err)
{
    cJSON *kept = cJSON_CreateArray();
    const cJSON *f;
    cJSON_ArrayForEach(
        f, json_path(live, "spec.finalizers")) if (cJSON_IsString(f) &&
                                                   strcmp(f->valuestring, "kubernetes") != 0)
        cJSON_AddItemToArray(kept, json_dup(f));
    json_set(live, "spec.finalizers", kept);
    cleanup_free char *path = kube_path_new("v1", "namespaces", NULL, meta_name(live), "finalize");
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_update(c->client, path, live, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

/* Milliseconds that have passed since this process saw the deletion for the first time. Other
 * servers may not have seen it then, and may let one more object in; the last look must come after
 * that. */
static int64_t age_of_deletion(struct namespaces *s, const char *uid)
{
    int64_t now = time_monotonic_ms();
    pthread_mutex_lock(&s->lock);
    intptr_t first = (intptr_t)strmap_get(&s->first_seen, uid);
    if (!first) {
        first = (intptr_t)now;
        strmap_put(&s->first_seen, uid, (void *)first);
    }
    pthread_mutex_unlock(&s->lock);
    return now - first;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct namespaces *s = c->state;
    cleanup_object struct kube_object *cached = informer_get(s->namespaces, key);
    if (!cached || !meta_deleting(cached->json))
        return true;
    cleanup_free char *path = kube_path_new("v1", "namespaces", NULL, key, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *live = kube_get(c->client, path, &e);
    if (!live) {
        if (kube_error_is(e, "NotFound"))
            return true;
        error_move(err, e);
        e = NULL;
        return false;
    }
    const cJSON *finalizers = json_path(live, "spec.finalizers");
    if (!meta_deleting(live) || !finalizers || !finalizers->child)
        return true;
    int64_t age = age_of_deletion(s, meta_uid(live));
    cleanup_pass struct pass p = {.client = c->client, .ns = key};
    empty_namespace(&p);
    if (!write_conditions(c, &p, &live, err))
        return false;
    if (p.failure_count || p.discovery_failure) {
        struct error **first = p.first_failure ? &p.first_failure : &p.discovery_failure;
        error_move(err, *first);
        *first = NULL;
        return false;
    }
    if (p.remaining_count) {
        log_debug(2, "Content remaining in namespace", "namespace", key, "resources",
                  buf_str(&p.remaining));
        int64_t wait_ms = p.estimate_s ? (p.estimate_s / 2 + 1) * 1000 : 200;
        workqueue_add_after(c->queue, key, wait_ms); /* the last pod's end wakes us earlier */
        return true;
    }
    int64_t settle = manager_config(c->manager)->namespace_settle_ms;
    if (age < settle) {
        workqueue_add_after(c->queue, key, settle - age);
        return true;
    }
    return finalize(c, live, err);
}

static void on_namespace(void *userdata, enum informer_event event, const struct kube_object *old,
                         const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct namespaces *s = c->state;
    (void)old;
    if (event == INFORMER_DELETED) {
        pthread_mutex_lock(&s->lock);
        strmap_remove(&s->first_seen, old->uid);
        pthread_mutex_unlock(&s->lock);
    } else if (meta_deleting(new_object->json)) {
        workqueue_add(c->queue, new_object->key);
    }
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct namespaces *s = c->state;
    (void)new_object;
    if (event != INFORMER_DELETED)
        return;
    cleanup_object struct kube_object *ns = informer_get(s->namespaces, old->ns);
    if (ns && meta_deleting(ns->json))
        workqueue_add(c->queue, ns->key);
}

static void setup(struct controller *c)
{
    struct namespaces *s = mem_alloc(sizeof(*s));
    c->state = s;
    pthread_mutex_init(&s->lock, NULL);
    s->namespaces = manager_informer(c->manager, "v1", "namespaces");
    s->pods = manager_informer(c->manager, "v1", "pods");
    informer_add_handler(s->namespaces, on_namespace, c);
    informer_add_handler(s->pods, on_pod, c);
}

static void free_state(struct controller *c)
{
    struct namespaces *s = c->state;
    strmap_clear(&s->first_seen, NULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

const struct controller_type namespace_controller = {.name = "namespace-controller",
                                                     .queue = "namespace",
                                                     .workers = 2,
                                                     .setup = setup,
                                                     .reconcile = reconcile,
                                                     .free_state = free_state};
