/* A resource is data: one declarative descriptor and a few hooks (built-in and custom resources alike). */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/error.h"
#include "common/buf.h"

struct schema_type;
struct field_errors;
struct admission_request;
struct write;

enum resource_verb {
    VERB_CREATE = 1, VERB_GET = 2, VERB_LIST = 4, VERB_WATCH = 8, VERB_UPDATE = 16, VERB_PATCH = 32,
    VERB_DELETE = 64, VERB_DELETECOLLECTION = 128,
    VERBS_ALL = 255,
};

struct resource_column {
    const char *name, *type, *format, *description;
    int priority; /* 0: always; 1: -o wide */
};

struct subresource {
    const char *name;  /* "status", "scale", "binding", "log", "eviction" */
    const char *group, *version, *kind; /* of the body; NULL: the parent's */
    unsigned verbs;
};

struct resource {
    const char *group; /* "" for core */
    const char *version, *kind, *plural, *singular;
    const char *list_kind; /* NULL: the kind and "List" */
    const char *const *short_names; /* NULL-terminated, or NULL */
    const char *const *categories;  /* NULL-terminated, or NULL */
    bool namespaced;
    unsigned verbs;
    const struct subresource *subresources; /* ended by a NULL name, or NULL */
    const char *storage_prefix; /* under /registry/: "pods", "services/specs", "minions"; NULL: never stored (reviews, bindings) */
    const struct schema_type *type;
    const struct resource_column *columns; /* ended by a NULL name; NULL: Name and Age */
    /* Fills one row: adds exactly as many cells as there are columns. */
    void (*row)(const cJSON *object, cJSON *cells);
    /* Selectable fields beside metadata.name and metadata.namespace: dotted paths into the object, NULL-terminated. */
    const char *const *field_selectors;
    /* Value when an absent field has one ("spec.unschedulable" is "false"); NULL hook: "". */
    const char *(*field_default)(const char *path);
    /* Value of a selectable field that is no plain path (an event's "source"); NULL hook, or NULL from it: the path decides. */
    const char *(*field_value)(const cJSON *object, const char *path);
    /* Other names under which fields may be selected: {name, field, name, field, ..., NULL}, or NULL. */
    const char *const *field_aliases;

    /* Another form of the objects of `stored_as` (events.k8s.io/v1 shows core/v1 Events): storage and watch cache know only that one.
     * Both hooks give a new object, owned by the caller. NULL: the resource stores its own form. */
    const struct resource *stored_as;
    cJSON *(*from_stored)(const struct resource *shown, const cJSON *stored);
    cJSON *(*to_stored)(const struct resource *stored, const cJSON *object);

    /* Where scale finds its numbers; NULL: spec.replicas, status.replicas, spec.selector. The selector is text when named. */
    const char *scale_spec, *scale_status, *scale_selector;

    /* Answers get and list by itself, on a worker thread: the objects are not stored. NULL: the watch cache does. */
    void (*read)(struct write *w);

    const char *deprecation; /* a warning that goes with every answer, or NULL */
    bool has_status;          /* status is written through /status only */
    bool graceful_delete;     /* pods */
    bool generation;          /* metadata.generation counts spec changes */
    int ttl_seconds;          /* events */
    bool create_on_update;    /* PUT of a missing object makes it (leases, endpoints, events, ...) */

    /* Hooks; each may be NULL. `old` is NULL on create. sub is "" or the subresource's name. */
    void (*set_defaults)(cJSON *object);
    bool (*prepare)(cJSON *object, const cJSON *old, const char *sub, struct error **err);
    void (*validate)(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *errors);
    void (*warnings)(const cJSON *object, const cJSON *old, void (*warn)(void *, const char *), void *ctx);
};

/* One state of what is served, in the order of discovery: the built-in resources, then custom ones, which come and
 * go. A list is never changed and never freed: whoever loops over it sees one state of the world. */
struct resource_list {
    size_t count, builtin; /* the built-in ones come first */
    const struct resource *items[];
};
const struct resource_list *resource_all(void);
/* Replaces all custom resources. The descriptors must live as long as the process; the list is copied. */
void resource_set_custom(const struct resource *const *list, size_t count);
/* Changes with every resource_set_custom. */
unsigned long resource_generation(void);
const struct resource *resource_find(const char *group, const char *version, const char *plural);
const struct resource *resource_find_kind(const char *group, const char *version, const char *kind);
char *resource_list_kind(const struct resource *r); /* caller frees */
/* The resource whose form is stored: r itself, or r->stored_as. */
static inline const struct resource *resource_stored(const struct resource *r)
{
    return r->stored_as ? r->stored_as : r;
}
