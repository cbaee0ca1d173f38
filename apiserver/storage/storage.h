/* Where objects live: etcd's v3 API below (etcd-lite or etcd itself), a watch cache above.
 *
 * Reads are answered from the cache; a consistent read first asks the store for its revision and
 * waits until the cache has reached it (many readers share one question). Writes are transactions
 * on the store; they return the object as stored. Blocking calls: worker threads only. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include "common/error.h"

struct resource;
struct storage;

/* One object as served: immutable, reference-counted. */
struct stored {
    int refs;          /* atomic */
    uint64_t revision; /* etcd mod revision = metadata.resourceVersion */
    char *key;         /* etcd key */
    const char *ns, *name, *uid;
    char *json; /* with metadata.resourceVersion, apiVersion and kind */
    size_t len;
    const char **labels;              /* key, value, key, value, ..., NULL */
    const char **fields;              /* values of resource->field_selectors, in their order */
    size_t revision_at, revision_len; /* where in json the digits of metadata.resourceVersion are */
};
struct stored *stored_ref(struct stored *s);
void stored_unref(struct stored *s);
void stored_cleanup(struct stored **s);
#define cleanup_stored __attribute__((cleanup(stored_cleanup)))

/* Keys that must be taken or given up together with an object (Service cluster IPs, node ports): in
 * the same store transaction, so that none is ever handed out twice or leaked, whatever crashes. */
struct storage_claim {
    char *key;    /* under /registry/ranges/, e.g. "serviceips/10.96.0.10" */
    bool release; /* false: must not exist yet, is made; true: is deleted */
};

/* Consistent read. NULL and 404 NotFound (with Kubernetes' message and details) when absent. */
struct stored *storage_get(struct storage *s, const struct resource *r, const char *ns,
                           const char *name, struct error **err);
/* 409 AlreadyExists when present; 409 Conflict with reason "ClaimTaken" when a claim is taken
 * (nothing was written). Takes no ownership. The object's metadata.resourceVersion is ignored. */
struct stored *storage_create(struct storage *s, const struct resource *r, const cJSON *object,
                              const struct storage_claim *claims, int claim_count,
                              struct error **err);
/* Reads, lets `change` make the new object, writes if nobody wrote in between, else again
 * (Kubernetes' GuaranteedUpdate). change: returns the new object (owned by storage afterwards), or
 * NULL with an error to stop, or NULL without an error when nothing changes. current is a private
 * copy that it may consume parts of but not free. It may be called several times. */
struct storage_update {
    cJSON *(*change)(void *userdata, cJSON *current, const struct stored *stored,
                     struct error **err);
    void *userdata;
    /* Set by change() in each call if needed; owned by the caller. */
    struct storage_claim *claims;
    int claim_count;
    bool delete_instead; /* set by change(): delete the object rather than write it (the last
                            finalizer went) */
};
struct stored *storage_update(struct storage *s, const struct resource *r, const char *ns,
                              const char *name, struct storage_update *u, struct error **err);
/* Deletes if uid and revision match (NULL / 0: any). Claims are released in the same transaction.
 * Returns the last state. */
struct stored *storage_delete(struct storage *s, const struct resource *r, const char *ns,
                              const char *name, const char *uid, uint64_t revision,
                              const struct storage_claim *claims, int claim_count,
                              struct error **err);
/* A snapshot of a collection at one revision (consistent). items: references, caller unrefs each
 * and frees the array. ns NULL: all. */
bool storage_list(struct storage *s, const struct resource *r, const char *ns,
                  struct stored ***items, size_t *count, uint64_t *revision, struct error **err);

/* --- start and stop --- */
struct storage_options {
    const char *servers;                        /* --etcd-servers */
    const char *ca_file, *cert_file, *key_file; /* or NULL */
    int64_t compaction_interval_ms;             /* 0: never; Kubernetes: 5 minutes */
};
/* Starts the threads. All built-in resources (resource_all) are cached. The objects are there once
 * storage_wait_ready says so. */
struct storage *storage_start(const struct storage_options *o, struct error **err);
/* Waits for the first load of all objects, as long as the store cannot be reached; false when
 * timeout_ms (-1: none) is over. */
bool storage_wait_ready(struct storage *s, int64_t timeout_ms);
/* Does the store answer? Asks it (worker threads). */
bool storage_healthy(struct storage *s, struct error **err);
void storage_stop(struct storage *s);

/* Caches one more resource, as of now; blocks until its objects are there (a few seconds at most). One at a time. */
bool storage_add_resource(struct storage *s, const struct resource *r, struct error **err);

/* A key with a time to live, beside the objects (the addresses of living apiservers). Made or
 * renewed. key is below /registry/. */
bool storage_put_ttl(struct storage *s, const char *key, const char *value, int64_t ttl_seconds,
                     struct error **err);
/* The last parts of the keys below a prefix ("masterleases/"); an array ended by NULL, the caller
 * frees it and each. */
char **storage_keys(struct storage *s, const char *prefix, struct error **err);
bool storage_remove_key(struct storage *s, const char *key, struct error **err);
