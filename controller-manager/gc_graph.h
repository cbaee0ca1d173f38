/* Who owns whom: the garbage collector's picture of all objects, as their metadata.ownerReferences
 * draw it.
 *
 * A node stands for an object, by uid. An owner that has not been seen is a virtual node with the
 * coordinates that its dependent gave; it becomes real when its own event comes, or goes when the
 * API says that there is no such object. The graph decides nothing but whom to look at; the
 * collector asks the API before it deletes. Not thread-safe: the holder has a lock. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "controller-manager/strmap.h"

#define FINALIZER_FOREGROUND "foregroundDeletion"
#define FINALIZER_ORPHAN     "orphan"

struct gc_owner {
    const char *api_version, *kind; /* interned by the graph */
    char *name, *uid;
    bool blocks; /* blockOwnerDeletion */
};
struct gc_node {
    const char *api_version, *kind; /* interned */
    char *ns, *name, *uid;
    struct gc_owner *owners;
    size_t owner_count;
    struct strmap dependents; /* uid -> struct gc_node */
    bool is_virtual;
    bool being_deleted;       /* has a deletionTimestamp */
    bool deleting_dependents; /* ... and waits for its dependents to go first */
};

struct gc_graph {
    struct strmap nodes;    /* uid -> struct gc_node */
    struct strmap interned; /* text -> the same text, owned by the map's key */
    struct strmap absent;   /* identities that the API said are not there */
    /* Whom to look at; called with the lock held. kind_of_look: */
    void (*look)(void *userdata, const struct gc_node *node, int kind_of_look);
    void *userdata;
};
enum { GC_LOOK_DELETE, GC_LOOK_ORPHAN, GC_LOOK_VIRTUAL };

/* An object was added or has changed (old: its last known state or NULL). Objects have apiVersion,
 * kind and metadata. */
void gc_graph_observe(struct gc_graph *g, const cJSON *old, const cJSON *object);
/* An informer saw the object go. */
void gc_graph_deleted(struct gc_graph *g, const char *uid);
/* The API says that nothing with these coordinates and this uid exists. */
void gc_graph_absent(struct gc_graph *g, const char *api_version, const char *kind, const char *ns,
                     const char *name, const char *uid);
void gc_graph_note_absent_owner(struct gc_graph *g, const char *api_version, const char *kind,
                                const char *ns, const char *name, const char *uid);
bool gc_graph_owner_known_absent(const struct gc_graph *g, const char *api_version,
                                 const char *kind, const char *ns, const char *name,
                                 const char *uid);
struct gc_node *gc_graph_node(const struct gc_graph *g, const char *uid); /* NULL if none */
/* Dependents that hold up the deletion of their owner. Fills at most max; returns how many there
 * are. */
size_t gc_graph_blocking_dependents(const struct gc_node *node, struct gc_node **out, size_t max);
void gc_graph_clear(struct gc_graph *g);
