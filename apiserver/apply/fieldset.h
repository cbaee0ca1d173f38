/* Sets of field paths, as metadata.managedFields holds them (FieldsV1).
 * https://kubernetes.io/docs/reference/using-api/server-side-apply/
 *
 * A tree; each edge is a path element as FieldsV1 writes it: f:<name>, k:<keys of a list item, as
 * JSON>, v:<value, as JSON>. A node is a member of the set, or only on the way to one. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include "common/buf.h"

struct fieldset {
    char *element; /* "" for the root */
    bool member;
    struct fieldset **children; /* sorted by element */
    size_t count, capacity;
};

struct fieldset *fieldset_new(void);
void fieldset_free(struct fieldset *s); /* NULL is fine */
void fieldset_cleanup(struct fieldset **s);
#define cleanup_fieldset __attribute__((cleanup(fieldset_cleanup)))

struct fieldset *fieldset_copy(const struct fieldset *s);
/* NULL when there is none. Accepts NULL. */
struct fieldset *fieldset_find(const struct fieldset *s, const char *element);
/* The child, made if needed. */
struct fieldset *fieldset_child(struct fieldset *s, const char *element);
/* Takes a child out, whole. */
void fieldset_drop(struct fieldset *s, const char *element);
bool fieldset_empty(const struct fieldset *s); /* no member anywhere; NULL is empty */
bool fieldset_equal(const struct fieldset *a, const struct fieldset *b);
void fieldset_add(struct fieldset *a, const struct fieldset *b);      /* a = a + b */
void fieldset_subtract(struct fieldset *a, const struct fieldset *b); /* a = a - b */
struct fieldset *fieldset_intersection(const struct fieldset *a, const struct fieldset *b);
/* Makes every node above a member a member itself. */
void fieldset_close_upwards(struct fieldset *s);

/* NULL when it is not FieldsV1. */
struct fieldset *fieldset_from_json(const cJSON *json);
cJSON *fieldset_to_json(const struct fieldset *s);
/* Calls visit with the path of each member as people read it: ".spec.containers[name="app"].image".
 */
void fieldset_visit(const struct fieldset *s, void (*visit)(void *ctx, const char *path),
                    void *ctx);
