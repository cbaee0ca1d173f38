/* The schema: what is known of every API type, as data. The built-in types are const tables, made at build
 * time by apiserver/tools/mkschema.c from the *.schema files in this folder (format.md says how these read);
 * types made at run time (custom resources) are the same structs. Decoding, defaulting, strategic merge patch
 * and OpenAPI all read it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum schema_value {
    SCHEMA_STRING,
    SCHEMA_BOOL,
    SCHEMA_INT32,
    SCHEMA_INT64,
    SCHEMA_DOUBLE,
    SCHEMA_BYTES,     /* base64 text */
    SCHEMA_TIME,      /* metav1.Time: RFC 3339, seconds */
    SCHEMA_MICROTIME, /* metav1.MicroTime */
    SCHEMA_DURATION,  /* metav1.Duration: "1h3m" */
    SCHEMA_QUANTITY,  /* "100m", also written as a number */
    SCHEMA_INT_OR_STRING,
    SCHEMA_RAW,       /* runtime.RawExtension: any object, kept as it is */
    SCHEMA_ANY,       /* any JSON value */
    SCHEMA_FIELDS_V1, /* managedFields' field set: any object */
    SCHEMA_MESSAGE,   /* field->type says which */
    /* JSONSchemaProps' unions: a schema, or ... */
    SCHEMA_PROPS_OR_ARRAY,
    SCHEMA_PROPS_OR_BOOL,
    SCHEMA_PROPS_OR_STRINGS,
};
enum schema_shape { SCHEMA_ONE, SCHEMA_LIST, SCHEMA_MAP, SCHEMA_MAP_OF_LISTS };
enum schema_list_type {
    SCHEMA_LIST_UNSET,
    SCHEMA_LIST_ATOMIC,
    SCHEMA_LIST_SET,
    SCHEMA_LIST_MAP,
    SCHEMA_MAP_ATOMIC
};
/* field->patch */
enum { SCHEMA_PATCH_MERGE = 1, SCHEMA_PATCH_RETAIN_KEYS = 2, SCHEMA_PATCH_REPLACE = 4 };
/* field->flags. Required: OpenAPI's "required". Keep zero: false, 0 or "" is written when it was given (a pointer in
 * Go, or no omitempty). Value: a struct by value: always written, as {} when empty. Deduced: server-side apply sees objects
 * in it as maps, though no schema says what they are. */
enum { SCHEMA_REQUIRED = 1, SCHEMA_KEEP_ZERO = 2, SCHEMA_VALUE = 4, SCHEMA_DEDUCED = 8 };
/* type->flags. A kind has apiVersion and kind; a list is a kind with ListMeta and items; preserve unknown: members that
 * are no fields stay; custom: a custom resource, whose definition decides (apiserver/crd); unknown deduced: unknown members
 * are as fields that are deduced. */
enum {
    SCHEMA_IS_KIND = 1,
    SCHEMA_IS_LIST = 2,
    SCHEMA_PRESERVE_UNKNOWN = 4,
    SCHEMA_IS_CUSTOM = 8,
    SCHEMA_UNKNOWN_DEDUCED = 16
};

struct schema_type;
struct schema_field {
    const char *name;               /* in JSON */
    const struct schema_type *type; /* of SCHEMA_MESSAGE and the unions, else NULL */
    const char *description;        /* or NULL */
    const char *list_keys;          /* "containerPort,protocol" of a list of type map, else NULL */
    const char *merge_key;          /* strategic merge patch; NULL for scalars and where there is none */
    const char *default_value;      /* JSON text, or NULL */
    const char *go_type;            /* as Go's messages name the type ("v1.Protocol"); NULL: the plain one */
    uint16_t number;                /* protobuf */
    uint8_t inlined[2]; /* protobuf numbers of the messages around it that JSON does not show, outermost
                           first; 0 ends */
    uint8_t value, shape, list_type, patch, flags;
};
struct schema_type {
    const char *group;       /* "" for core, "apps", "meta.k8s.io" */
    const char *version;     /* "v1" */
    const char *package;     /* "io.k8s.api.core.v1": with "." and the name that of OpenAPI's definition */
    const char *name;        /* "Pod", "PodSpec" */
    const char *description; /* or NULL */
    const struct schema_field *fields; /* sorted by name (strcmp); apiVersion and kind are not among them */
    uint16_t field_count;
    uint8_t flags;
};

/* The type of a kind: schema_find("apps", "v1", "Deployment"). NULL when there is none. Kinds that every
 * group has (DeleteOptions, Status, ...) are found under any group. */
const struct schema_type *schema_find(const char *group, const char *version, const char *kind);
/* The same by apiVersion: "v1", "apps/v1". */
const struct schema_type *schema_find_api_version(const char *api_version, const char *kind);
/* Any type, kind or not, in its own group. */
const struct schema_type *schema_find_type(const char *group, const char *version, const char *name);
/* NULL when the type has no such field. Case-sensitive. */
const struct schema_field *schema_field(const struct schema_type *t, const char *json_name);
/* All built-in types, ordered by group, version, name. */
size_t schema_type_count(void);
const struct schema_type *schema_type_at(size_t i);
