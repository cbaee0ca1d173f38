/* What is wrong with an object, field by field, in Kubernetes' words. */
#pragma once
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/error.h"

enum field_error_type {
    FIELD_INVALID,
    FIELD_REQUIRED,
    FIELD_NOT_SUPPORTED,
    FIELD_FORBIDDEN,
    FIELD_DUPLICATE,
    FIELD_TOO_LONG,
    FIELD_TOO_MANY,
    FIELD_NOT_FOUND,
    FIELD_INTERNAL,
};
struct field_error {
    enum field_error_type type;
    char *field; /* "spec.containers[0].name" */
    char *body;  /* 'Invalid value: "x": must be ...' */
};
/* Zero-initialized is empty. */
struct field_errors {
    struct field_error *items;
    size_t count;
};
void field_errors_clear(struct field_errors *e);
#define cleanup_field_errors __attribute__((cleanup(field_errors_clear)))

/* A path is a chain on the stack: PATH(child, parent, "name"), so that a path costs nothing until something
 * is wrong. */
struct field_path {
    const struct field_path *parent;
    const char *name; /* NULL: an index or a key */
    const char *key;  /* "[key]" */
    int index;        /* "[3]" when name and key are NULL */
};
#define PATH_ROOT(member)        (&(const struct field_path){NULL, (member), NULL, 0})
#define PATH_CHILD(path, member) (&(const struct field_path){(path), (member), NULL, 0})
#define PATH_INDEX(path, i)      (&(const struct field_path){(path), NULL, NULL, (i)})
#define PATH_KEY(path, k)        (&(const struct field_path){(path), NULL, (k), 0})
char *field_path_text(const struct field_path *p); /* caller frees */

/* bad: how the value is shown; strings are quoted, objects shown as Go would (map[string]string{...}). */
void field_invalid(struct field_errors *e, const struct field_path *p, const cJSON *bad, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void field_invalid_str(struct field_errors *e, const struct field_path *p, const char *bad, const char *fmt,
                       ...) __attribute__((format(printf, 4, 5)));
void field_invalid_int(struct field_errors *e, const struct field_path *p, int64_t bad, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* bad is shown as it is. */
void field_invalid_bare(struct field_errors *e, const struct field_path *p, const char *bad, const char *detail);
void field_required(struct field_errors *e, const struct field_path *p,
                    const char *detail); /* detail "" for none */
/* supported: comma-separated, shown quoted. */
void field_not_supported(struct field_errors *e, const struct field_path *p, const char *bad,
                         const char *supported);
void field_forbidden(struct field_errors *e, const struct field_path *p, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void field_duplicate(struct field_errors *e, const struct field_path *p, const cJSON *bad);
void field_duplicate_str(struct field_errors *e, const struct field_path *p, const char *bad);
void field_too_long(struct field_errors *e, const struct field_path *p, int max_bytes);
void field_too_many(struct field_errors *e, const struct field_path *p, int actual, int max);
void field_not_found(struct field_errors *e, const struct field_path *p, const char *bad);

/* 422 Invalid: 'Deployment.apps "web" is invalid: <errors>', with details.causes. False (err alone is
 * untouched: true) when there are none: returns true if e is empty. kind and group may be "" (patches): then
 * the text starts with ' "" is invalid'. */
bool field_errors_check(const struct field_errors *e, const char *group, const char *kind, const char *name,
                        struct error **err);
