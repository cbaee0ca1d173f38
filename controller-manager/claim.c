#include "controller-manager/claim.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "controller-manager/objects.h"
#include "controller-manager/strmap.h"

void object_list_add(struct kube_object_list *l, struct kube_object *o)
{
    if ((l->count & (l->count - 1)) == 0)
        l->items = mem_realloc(l->items, (l->count ? l->count * 2 : 1) * sizeof(*l->items));
    l->items[l->count++] = kube_object_ref(o);
}

/* Writes metadata.ownerReferences anew, on the version that we know only. */
static bool write_owner_references(const struct claim *c, const struct kube_object *child,
                                   cJSON *references_taken, struct error **err)
{
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set_str(patch, "metadata.uid", child->uid);
    json_set_str(patch, "metadata.resourceVersion", child->resource_version);
    json_set(patch, "metadata.ownerReferences", references_taken);
    cleanup_free char *path =
        kube_path_new(c->child_api_version, c->child_resource, child->ns, child->name, NULL);
    cleanup_json cJSON *answer = kube_merge_patch(c->client, path, patch, err);
    return answer != NULL;
}

/* The owner as it is now: only a live one that is not being deleted adopts. */
static bool owner_may_adopt(const struct claim *c, struct error **err)
{
    cleanup_free char *path = kube_path_new(c->owner_api_version, c->owner_resource,
                                            meta_ns(c->owner), meta_name(c->owner), NULL);
    cleanup_json cJSON *live = kube_get(c->client, path, err);
    if (!live)
        return false;
    if (strcmp(meta_uid(live), meta_uid(c->owner)) != 0) {
        error_setf(err, "original %s %s/%s is gone: got uid %s, wanted %s", c->owner_kind,
                   meta_ns(c->owner), meta_name(c->owner), meta_uid(live), meta_uid(c->owner));
        return false;
    }
    if (meta_deleting(live)) {
        error_setf(err, "%s %s/%s has just been deleted", c->owner_kind, meta_ns(c->owner),
                   meta_name(c->owner));
        return false;
    }
    return true;
}

static bool adopt(const struct claim *c, const struct kube_object *child, struct error **err)
{
    const cJSON *old = json_path(child->json, "metadata.ownerReferences");
    cJSON *references = cJSON_IsArray(old) ? json_dup(old) : cJSON_CreateArray();
    cJSON_AddItemToArray(references,
                         controller_ref_new(c->owner_api_version, c->owner_kind, c->owner));
    return write_owner_references(c, child, references, err);
}

static bool release(const struct claim *c, const struct kube_object *child, struct error **err)
{
    cJSON *references = cJSON_CreateArray();
    const cJSON *ref;
    cJSON_ArrayForEach(
        ref,
        json_path(child->json, "metadata.ownerReferences")) if (strcmp(json_str_or(ref, "uid", ""),
                                                                       meta_uid(c->owner)) != 0)
        cJSON_AddItemToArray(references, json_dup(ref));
    cleanup_error struct error *e = NULL;
    if (write_owner_references(c, child, references, &e) || kube_error_is(e, "NotFound") ||
        kube_error_is(e, "Invalid"))
        return true; /* gone, or replaced by another of the same name */
    error_move(err, e);
    e = NULL;
    return false;
}

bool claim_children(const struct claim *c, struct informer *children, struct kube_object_list *out,
                    struct error **err)
{
    bool owner_deleting = meta_deleting(c->owner);
    struct error *first = NULL;

    cleanup_objects struct kube_object_list mine = {0};
    informer_by_index(children, "controller", meta_uid(c->owner), &mine);
    for (size_t i = 0; i < mine.count; i++) {
        struct kube_object *child = mine.items[i];
        if (label_selector_matches(c->selector, meta_labels(child->json))) {
            object_list_add(out, child);
        } else if (!owner_deleting && !meta_deleting(child->json) &&
                   (!c->eligible || c->eligible(child->json))) {
            struct error *e = NULL;
            if (!release(c, child, &e))
                error_move(first ? NULL : &first, e);
        }
    }

    cleanup_objects struct kube_object_list orphans = {0};
    cleanup_free char *orphan_value = orphan_index_value(meta_ns(c->owner));
    if (!owner_deleting)
        informer_by_index(children, "controller", orphan_value, &orphans);
    int may_adopt = -1; /* not asked yet */
    for (size_t i = 0; i < orphans.count; i++) {
        struct kube_object *child = orphans.items[i];
        if (meta_deleting(child->json) ||
            !label_selector_matches(c->selector, meta_labels(child->json)) ||
            (c->eligible && !c->eligible(child->json)))
            continue;
        struct error *e = NULL;
        if (may_adopt < 0)
            may_adopt = owner_may_adopt(c, &e);
        if (may_adopt && adopt(c, child, &e)) {
            object_list_add(out, child);
        } else if (e) {
            if (kube_error_is(e, "NotFound"))
                error_free(e);
            else
                error_move(first ? NULL : &first, e);
        }
    }
    if (!first)
        return true;
    error_move(err, first);
    return false;
}

/* --- expectations --- */

enum { EXPECTATION_LIFETIME_MS = 5 * 60 * 1000 };

struct awaited_deletion {
    char *object_key, *uid;
};
struct expectation {
    unsigned long long version;
    struct awaited_deletion *deletions;
    size_t deletion_count;
    int64_t since_ms;
};
struct expectations {
    pthread_mutex_t lock;
    struct strmap by_key;
};

static void drop_deletions(struct expectation *x)
{
    for (size_t i = 0; i < x->deletion_count; i++) {
        free(x->deletions[i].object_key);
        free(x->deletions[i].uid);
    }
    free(x->deletions);
    x->deletions = NULL;
    x->deletion_count = 0;
}

static void expectation_free(void *p)
{
    if (!p)
        return;
    drop_deletions(p);
    free(p);
}

struct expectations *expectations_new(void)
{
    struct expectations *e = mem_alloc(sizeof(*e));
    pthread_mutex_init(&e->lock, NULL);
    return e;
}

void expectations_free(struct expectations *e)
{
    if (!e)
        return;
    strmap_clear(&e->by_key, expectation_free);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static struct expectation *expectation_of(struct expectations *e, const char *key)
{
    struct expectation *x = strmap_get(&e->by_key, key);
    if (!x) {
        x = mem_alloc(sizeof(*x));
        strmap_put(&e->by_key, key, x);
    }
    x->since_ms = time_monotonic_ms();
    return x;
}

void expectations_wrote(struct expectations *e, const char *key,
                        unsigned long long resource_version)
{
    pthread_mutex_lock(&e->lock);
    struct expectation *x = expectation_of(e, key);
    if (resource_version > x->version)
        x->version = resource_version;
    pthread_mutex_unlock(&e->lock);
}

void expectations_deleted(struct expectations *e, const char *key, const char *object_key,
                          const char *uid)
{
    pthread_mutex_lock(&e->lock);
    struct expectation *x = expectation_of(e, key);
    x->deletions = mem_realloc(x->deletions, (x->deletion_count + 1) * sizeof(*x->deletions));
    x->deletions[x->deletion_count++] =
        (struct awaited_deletion){.object_key = mem_strdup(object_key), .uid = mem_strdup(uid)};
    pthread_mutex_unlock(&e->lock);
}

bool expectations_met(struct expectations *e, const char *key, struct informer *cache)
{
    pthread_mutex_lock(&e->lock);
    struct expectation *x = strmap_get(&e->by_key, key);
    bool met = true;
    if (x && time_monotonic_ms() - x->since_ms < EXPECTATION_LIFETIME_MS) {
        if (x->version && informer_resource_version(cache) < x->version)
            met = false;
        for (size_t i = 0; met && i < x->deletion_count; i++) {
            cleanup_object struct kube_object *o = informer_get(cache, x->deletions[i].object_key);
            met = !o || strcmp(o->uid, x->deletions[i].uid) != 0 || meta_deleting(o->json);
        }
    }
    if (x && met) {
        strmap_remove(&e->by_key, key);
        expectation_free(x);
    }
    pthread_mutex_unlock(&e->lock);
    return met;
}

void expectations_forget(struct expectations *e, const char *key)
{
    pthread_mutex_lock(&e->lock);
    expectation_free(strmap_remove(&e->by_key, key));
    pthread_mutex_unlock(&e->lock);
}
