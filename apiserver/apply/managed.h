/* metadata.managedFields: who owns which field. Kept on every write; asked on server-side apply.
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/ */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include "apiserver/schema/schema.h"
#include "common/error.h"

/* Who writes. */
struct field_manager {
    const char *name;        /* ?fieldManager=, or the user agent up to its first "/" */
    const char *api_version; /* of the object as it was sent */
    const char *subresource; /* "" for the object itself */
    bool has_status;         /* the object's status belongs to its subresource */
};

/* After a create (old NULL) or an update that was no apply: the writer owns what it changed, and
 * nobody what it removed. Changes object's managedFields, starting from those that the object
 * brings (clients may change them directly; not by subresources), or else from old's. */
void managed_update(const struct schema_type *type, cJSON *object, const cJSON *old,
                    const struct field_manager *who);
/* Server-side apply: what `applied` says, merged into live (NULL: none yet), without what this
 * manager applied earlier and says no more. The result carries its managedFields. NULL and 409
 * Conflict when others own what would change and force is not given; 400 for an applied document
 * that cannot be. */
cJSON *managed_apply(const struct schema_type *type, const cJSON *live, const cJSON *applied,
                     const struct field_manager *who, bool force, struct error **err);
