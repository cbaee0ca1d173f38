#include "controller-manager/gc_graph.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"

enum { ABSENT_MAX = 500 };

static const char *intern(struct gc_graph *g, const char *text)
{
    const char *known = strmap_get(&g->interned, text);
    if (known)
        return known;
    char *copy = mem_strdup(text);
    strmap_put(&g->interned, text, copy);
    return copy;
}

static void owners_free(struct gc_owner *owners, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(owners[i].name);
        free(owners[i].uid);
    }
    free(owners);
}

static void node_free(void *p)
{
    struct gc_node *n = p;
    owners_free(n->owners, n->owner_count);
    strmap_clear(&n->dependents, NULL);
    free(n->ns);
    free(n->name);
    free(n->uid);
    free(n);
}

void gc_graph_clear(struct gc_graph *g)
{
    strmap_clear(&g->nodes, node_free);
    strmap_clear(&g->interned, free);
    strmap_clear(&g->absent, NULL);
}

struct gc_node *gc_graph_node(const struct gc_graph *g, const char *uid)
{
    return strmap_get(&g->nodes, uid);
}

static void look(struct gc_graph *g, const struct gc_node *n, int kind)
{
    g->look(g->userdata, n, kind);
}

/* --- owners that the API said are not there --- */

static char *identity_text(const char *api_version, const char *kind, const char *ns,
                           const char *name, const char *uid)
{
    return mem_printf("%s|%s|%s|%s|%s", api_version, kind, ns, name, uid);
}

void gc_graph_note_absent_owner(struct gc_graph *g, const char *api_version, const char *kind,
                                const char *ns, const char *name, const char *uid)
{
    if (g->absent.count >= ABSENT_MAX)
        strmap_clear(&g->absent, NULL); /* it is a cache: the API will say so again */
    cleanup_free char *key = identity_text(api_version, kind, ns, name, uid);
    strmap_put(&g->absent, key, g);
}

bool gc_graph_owner_known_absent(const struct gc_graph *g, const char *api_version,
                                 const char *kind, const char *ns, const char *name,
                                 const char *uid)
{
    cleanup_free char *here = identity_text(api_version, kind, ns, name, uid);
    cleanup_free char *cluster = identity_text(api_version, kind, "", name, uid);
    return strmap_get(&g->absent, here) || strmap_get(&g->absent, cluster);
}

/* --- edges --- */

static struct gc_owner *owners_of(struct gc_graph *g, const cJSON *object, size_t *count)
{
    const cJSON *refs = json_path(object, "metadata.ownerReferences"), *ref;
    *count = 0;
    size_t n = cJSON_IsArray(refs) ? (size_t)cJSON_GetArraySize(refs) : 0;
    if (!n)
        return NULL;
    struct gc_owner *owners = mem_alloc(n * sizeof(*owners));
    cJSON_ArrayForEach(ref, refs)
    {
        const char *uid = json_str_or(ref, "uid", "");
        if (!*uid)
            continue;
        owners[(*count)++] =
            (struct gc_owner){.api_version = intern(g, json_str_or(ref, "apiVersion", "")),
                              .kind = intern(g, json_str_or(ref, "kind", "")),
                              .name = mem_strdup(json_str_or(ref, "name", "")),
                              .uid = mem_strdup(uid),
                              .blocks = json_bool(ref, "blockOwnerDeletion", false)};
    }
    return owners;
}

static const struct gc_owner *owner_with_uid(const struct gc_owner *owners, size_t count,
                                             const char *uid)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(owners[i].uid, uid) == 0)
            return &owners[i];
    return NULL;
}

static void add_to_owner(struct gc_graph *g, struct gc_node *n, const struct gc_owner *o)
{
    struct gc_node *owner = gc_graph_node(g, o->uid);
    if (owner) {
        strmap_put(&owner->dependents, n->uid, n);
        /* Dependents that call one uid by different names: look, the API tells who is right. */
        if (!owner->is_virtual &&
            (strcmp(owner->name, o->name) != 0 || strcmp(owner->kind, o->kind) != 0 ||
             (*owner->ns && strcmp(owner->ns, n->ns) != 0)))
            look(g, n, GC_LOOK_DELETE);
        return;
    }
    owner = mem_alloc(sizeof(*owner));
    *owner = (struct gc_node){.api_version = o->api_version,
                              .kind = o->kind,
                              .ns = mem_strdup(n->ns),
                              .name = mem_strdup(o->name),
                              .uid = mem_strdup(o->uid),
                              .is_virtual = true};
    strmap_put(&g->nodes, owner->uid, owner);
    strmap_put(&owner->dependents, n->uid, n);
    look(g, owner, GC_LOOK_VIRTUAL);
}

static void remove_from_owner(struct gc_graph *g, const struct gc_node *n, const char *owner_uid)
{
    struct gc_node *owner = gc_graph_node(g, owner_uid);
    if (owner)
        strmap_remove(&owner->dependents, n->uid);
}

/* A dependent that no longer holds up its owner's deletion wakes the owner. */
static void wake_unblocked_owner(struct gc_graph *g, const char *owner_uid)
{
    const struct gc_node *owner = gc_graph_node(g, owner_uid);
    if (owner && owner->deleting_dependents)
        look(g, owner, GC_LOOK_DELETE);
}

static void replace_owners(struct gc_graph *g, struct gc_node *n, const cJSON *object)
{
    size_t count;
    struct gc_owner *now = owners_of(g, object, &count), *before = n->owners;
    size_t before_count = n->owner_count;
    n->owners = now;
    n->owner_count = count;
    for (size_t i = 0; i < count; i++) {
        const struct gc_owner *old = owner_with_uid(before, before_count, now[i].uid);
        if (!old)
            add_to_owner(g, n, &now[i]);
        else if (old->blocks && !now[i].blocks)
            wake_unblocked_owner(g, now[i].uid);
    }
    for (size_t i = 0; i < before_count; i++) {
        if (owner_with_uid(now, count, before[i].uid))
            continue;
        remove_from_owner(g, n, before[i].uid);
        if (before[i].blocks)
            wake_unblocked_owner(g, before[i].uid);
    }
    owners_free(before, before_count);
}

/* --- events --- */

static void look_at_dependents(struct gc_graph *g, const struct gc_node *n)
{
    size_t position = 0;
    const struct strmap_entry *e;
    while ((e = strmap_next(&n->dependents, &position)))
        look(g, e->value, GC_LOOK_DELETE);
}

/* Did the object's deletion begin to wait for this finalizer with this event? */
static bool starts_waiting_for(const cJSON *old, const cJSON *object, const char *finalizer)
{
    if (!meta_deleting(object) || !meta_has_finalizer(object, finalizer))
        return false;
    return !old || !meta_deleting(old) || !meta_has_finalizer(old, finalizer);
}

static void note_transitions(struct gc_graph *g, struct gc_node *n, const cJSON *old,
                             const cJSON *object)
{
    n->being_deleted = n->being_deleted || meta_deleting(object);
    if (starts_waiting_for(old, object, FINALIZER_ORPHAN)) {
        look(g, n, GC_LOOK_ORPHAN);
    } else if (starts_waiting_for(old, object, FINALIZER_FOREGROUND)) {
        n->deleting_dependents = true;
        look_at_dependents(g, n);
        look(g, n, GC_LOOK_DELETE);
    }
}

/* Dependents of a virtual node that gave it other coordinates than it really has: their owner does
 * not exist. */
static void look_at_mistaken_dependents(struct gc_graph *g, const struct gc_node *n)
{
    size_t position = 0;
    const struct strmap_entry *e;
    while ((e = strmap_next(&n->dependents, &position))) {
        struct gc_node *d = e->value;
        const struct gc_owner *o = owner_with_uid(d->owners, d->owner_count, n->uid);
        if (o && (strcmp(o->name, n->name) != 0 || strcmp(o->kind, n->kind) != 0 ||
                  (*n->ns && strcmp(n->ns, d->ns) != 0)))
            look(g, d, GC_LOOK_DELETE);
    }
}

void gc_graph_observe(struct gc_graph *g, const cJSON *old, const cJSON *object)
{
    const char *uid = meta_uid(object);
    if (!*uid)
        return;
    struct gc_node *n = gc_graph_node(g, uid);
    if (!n) {
        n = mem_alloc(sizeof(*n));
        n->uid = mem_strdup(uid);
        n->ns = mem_strdup(meta_ns(object));
        n->name = mem_strdup(meta_name(object));
        n->api_version = intern(g, json_str_or(object, "apiVersion", ""));
        n->kind = intern(g, json_str_or(object, "kind", ""));
        strmap_put(&g->nodes, uid, n);
    } else if (n->is_virtual) {
        n->is_virtual = false;
        free(n->ns);
        free(n->name);
        n->ns = mem_strdup(meta_ns(object));
        n->name = mem_strdup(meta_name(object));
        n->api_version = intern(g, json_str_or(object, "apiVersion", ""));
        n->kind = intern(g, json_str_or(object, "kind", ""));
        look_at_mistaken_dependents(g, n);
    }
    replace_owners(g, n, object);
    note_transitions(g, n, old, object);
}

static void remove_node(struct gc_graph *g, struct gc_node *n)
{
    strmap_remove(&g->nodes, n->uid);
    for (size_t i = 0; i < n->owner_count; i++)
        remove_from_owner(g, n, n->owners[i].uid);
    /* Its dependents are to be judged anew, and owners that waited for it may be free to go. */
    look_at_dependents(g, n);
    for (size_t i = 0; i < n->owner_count; i++)
        wake_unblocked_owner(g, n->owners[i].uid);
    node_free(n);
}

void gc_graph_deleted(struct gc_graph *g, const char *uid)
{
    struct gc_node *n = gc_graph_node(g, uid);
    if (!n)
        return;
    if (n->dependents.count)
        gc_graph_note_absent_owner(g, n->api_version, n->kind, n->ns, n->name, n->uid);
    remove_node(g, n);
}

/* Coordinates that a dependent in another place gives to the same uid: a virtual node lives on
 * under those. */
static bool take_other_coordinates(struct gc_graph *g, struct gc_node *n, const char *api_version,
                                   const char *kind, const char *ns, const char *name)
{
    const struct gc_owner *other = NULL;
    const struct gc_node *by = NULL;
    for (int pass = 0; pass < 2; pass++) {
        size_t position = 0;
        const struct strmap_entry *e;
        while ((e = strmap_next(&n->dependents, &position))) {
            struct gc_node *d = e->value;
            const struct gc_owner *o = owner_with_uid(d->owners, d->owner_count, n->uid);
            bool same = o && strcmp(o->name, name) == 0 && strcmp(o->kind, kind) == 0 &&
                        strcmp(o->api_version, api_version) == 0 &&
                        (!*ns || strcmp(d->ns, ns) == 0);
            if (o && !same) {
                other = o;
                by = d;
            } else if (same && pass == 1) {
                look(g, d, GC_LOOK_DELETE);
            }
        }
        if (!other)
            return false;
    }
    if (strcmp(n->name, name) == 0 && strcmp(n->kind, kind) == 0 && strcmp(n->ns, ns) == 0) {
        free(n->ns);
        free(n->name);
        n->ns = mem_strdup(by->ns);
        n->name = mem_strdup(other->name);
        n->kind = other->kind;
        n->api_version = other->api_version;
        look(g, n, GC_LOOK_VIRTUAL);
    }
    return true;
}

void gc_graph_absent(struct gc_graph *g, const char *api_version, const char *kind, const char *ns,
                     const char *name, const char *uid)
{
    struct gc_node *n = gc_graph_node(g, uid);
    gc_graph_note_absent_owner(g, api_version, kind, ns, name, uid);
    if (!n)
        return;
    bool same_place =
        strcmp(n->name, name) == 0 && strcmp(n->kind, kind) == 0 && strcmp(n->ns, ns) == 0;
    if (n->is_virtual) {
        if (take_other_coordinates(g, n, api_version, kind, ns, name))
            return;
    } else if (!same_place) {
        return; /* seen alive elsewhere */
    }
    remove_node(g, n);
}

size_t gc_graph_blocking_dependents(const struct gc_node *node, struct gc_node **out, size_t max)
{
    size_t count = 0, position = 0;
    const struct strmap_entry *e;
    while ((e = strmap_next(&node->dependents, &position))) {
        struct gc_node *d = e->value;
        const struct gc_owner *o = owner_with_uid(d->owners, d->owner_count, node->uid);
        if (!o || !o->blocks)
            continue;
        if (count < max)
            out[count] = d;
        count++;
    }
    return count;
}
