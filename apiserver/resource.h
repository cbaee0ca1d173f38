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
    const char *const *short_names; /* NULL-terminated, or NULL */
    const char *const *categories;  /* NULL-terminated, or NULL */
    bool namespaced;
    unsigned verbs;
    const struct subresource *subresources; /* ended by a NULL name, or NULL */
    const char *storage_prefix; /* under /registry/: "pods", "services/specs", "minions" */
    const struct schema_type *type;
    const struct resource_column *columns; /* ended by a NULL name; NULL: Name and Age */
    /* Fills one row: adds exactly as many cells as there are columns. */
    void (*row)(const cJSON *object, cJSON *cells);
    /* Selectable fields beside metadata.name and metadata.namespace: dotted paths into the object, NULL-terminated. */
    const char *const *field_selectors;
    /* Value when an absent field has one ("spec.unschedulable" is "false"); NULL hook: "". */
    const char *(*field_default)(const char *path);

    bool has_status;          /* status is written through /status only */
    bool graceful_delete;     /* pods */
    bool generation;          /* metadata.generation counts spec changes */
    int ttl_seconds;          /* events */

    /* Hooks; each may be NULL. `old` is NULL on create. sub is "" or the subresource's name. */
    void (*set_defaults)(cJSON *object);
    bool (*prepare)(cJSON *object, const cJSON *old, const char *sub, struct error **err);
    void (*validate)(const cJSON *object, const cJSON *old, const char *sub, struct field_errors *errors);
    void (*warnings)(const cJSON *object, const cJSON *old, void (*warn)(void *, const char *), void *ctx);
};

/* All resources served, in the order of discovery. The set is built at start; later custom resources are added. */
size_t resource_count(void);
const struct resource *resource_at(size_t i);
const struct resource *resource_find(const char *group, const char *version, const char *plural);
const struct resource *resource_find_kind(const char *group, const char *version, const char *kind);
