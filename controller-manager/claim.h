/* Which children belong to an owner: adoption of matching orphans, release of children that match
 * no more. */
#pragma once
#include "common/informer.h"
#include "common/selector.h"

struct claim {
    struct kube_client *client;
    const cJSON *owner;
    const char *owner_api_version, *owner_kind, *owner_resource;
    const char *child_api_version, *child_resource;
    const struct label_selector *selector;
    bool (*eligible)(const cJSON *child); /* only such are adopted or released; NULL: all */
};
/* Looks at the children known by the informer (index "controller", see index_controller) and
 * appends those that the owner has or could adopt. False when a child could not be adopted or
 * released; what was found is in out nonetheless. */
bool claim_children(const struct claim *c, struct informer *children, struct kube_object_list *out,
                    struct error **err);
void object_list_add(struct kube_object_list *l,
                     struct kube_object *o); /* takes its own reference */

/* What a controller wrote and must see in its cache before it may count again.
 *
 * Counting with a stale cache would create what exists already. Writes carry the resource version
 * that the store gave them, so the cache is known to contain them when it has reached that version;
 * a deletion is known to be seen when the object is gone or marked. Thread-safe. */
struct expectations;
struct expectations *expectations_new(void);
void expectations_free(struct expectations *e);
void expectations_wrote(struct expectations *e, const char *key,
                        unsigned long long resource_version);
void expectations_deleted(struct expectations *e, const char *key, const char *object_key,
                          const char *uid);
/* True when the cache shows all that was written for the key (or five minutes have passed:
 * something is odd, look again). */
bool expectations_met(struct expectations *e, const char *key, struct informer *cache);
void expectations_forget(struct expectations *e, const char *key);
