/* A local copy of one collection, kept up to date by list and watch (client-go's SharedIndexInformer).
 *
 * Each informer has one thread. Objects in the store are immutable and reference-counted: a lister gives
 * references, and their JSON is never changed. Resumes from the last resourceVersion (bookmarks) after a lost
 * connection; lists again on 410 Gone; backs off up to 5 s while the server cannot be reached. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/kube_client.h"

struct kube_object {
    int refs;         /* atomic */
    char *key;        /* "namespace/name", or "name" for cluster-scoped objects */
    const char *ns;   /* metadata.namespace; "" if none */
    const char *name; /* metadata.name */
    const char *uid;  /* metadata.uid */
    const char *resource_version;
    cJSON *json; /* the object, with apiVersion and kind */
};
struct kube_object *kube_object_new(cJSON *json_taken);
struct kube_object *kube_object_ref(struct kube_object *o); /* NULL for NULL */
void kube_object_unref(struct kube_object *o);
void kube_object_cleanup(struct kube_object **o);
#define cleanup_object __attribute__((cleanup(kube_object_cleanup)))

/* A list of references, freed with kube_object_list_clear (or cleanup_objects). */
struct kube_object_list {
    struct kube_object **items;
    size_t count;
};
void kube_object_list_clear(struct kube_object_list *l);
#define cleanup_objects __attribute__((cleanup(kube_object_list_clear)))

enum informer_event { INFORMER_ADDED, INFORMER_UPDATED, INFORMER_DELETED };
/* Called on the informer's thread, one event at a time, after the store has changed. old is NULL for ADDED;
 * for DELETED, old is the last known state and new is NULL. Must not block for long; put a key in a work
 * queue. */
typedef void informer_handler(void *userdata, enum informer_event event, const struct kube_object *old,
                              const struct kube_object *new_object);
/* Index values of an object: calls add(ctx, value) for each. */
typedef void informer_index_fn(const cJSON *object, void (*add)(void *ctx, const char *value), void *ctx);

struct informer;
struct informer_options {
    struct kube_client *client;
    const char *api_version;                     /* "v1", "apps/v1" */
    const char *resource;                        /* "pods" */
    const char *ns;                              /* one namespace, or NULL for all */
    const char *label_selector, *field_selector; /* or NULL */
    /* Keeps apiVersion, kind and metadata only: for who follows everything and needs little of it. */
    bool metadata_only;
    /* The first list is the newest state of the store, not what the server's cache happens to have: for who
     * counts objects in order to create what is missing. */
    bool consistent;
    /* Called on each object before it is stored, to drop what this process never reads. NULL: none. */
    void (*strip)(cJSON *object);
};
struct informer *informer_new(const struct informer_options *o); /* strings are copied */
/* Before informer_start only. Any number of handlers. */
void informer_add_handler(struct informer *i, informer_handler *h, void *userdata);
/* Before informer_start only. Index "namespace" always exists. */
void informer_add_index(struct informer *i, const char *index_name, informer_index_fn *fn);
void informer_start(struct informer *i);
/* Waits until the first list has been stored and its handlers were called; false if stopped meanwhile. */
bool informer_wait_synced(struct informer *i);
bool informer_synced(const struct informer *i);
/* Lookups: references, NULL/empty when absent. */
struct kube_object *informer_get(struct informer *i, const char *key);
struct kube_object *informer_get_ns(struct informer *i, const char *ns, const char *name);
void informer_list(struct informer *i, struct kube_object_list *out);
void informer_by_index(struct informer *i, const char *index_name, const char *value,
                       struct kube_object_list *out);
/* Resource version up to which the store is current (0 before the first list). */
unsigned long long informer_resource_version(struct informer *i);
void informer_stop(struct informer *i); /* asks the thread to end; does not wait */
void informer_free(struct informer *i); /* stops, waits, frees */

/* Ready-made index functions. */
void informer_index_owner_uid(const cJSON *object, void (*add)(void *, const char *),
                              void *ctx); /* each ownerReference's uid */
void informer_index_controller_uid(const cJSON *object, void (*add)(void *, const char *),
                                   void *ctx); /* the controlling owner's uid */
void informer_index_node_name(const cJSON *object, void (*add)(void *, const char *),
                              void *ctx); /* spec.nodeName */
