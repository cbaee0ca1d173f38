/* Messages described by tables. One description of etcd's API messages (api.c) serves the JSON
 * gateway, the protobuf wire format (the raft log, and gRPC) and their checks.
 *
 * A message is a plain C struct. Scalars other than bool are int64_t (an unsigned 64-bit field
 * keeps its bits), bytes and strings are struct bytes, a nested message is a pointer (NULL =
 * absent), a repeated field is a struct msg_list. Decoding allocates in an arena; bytes decoded
 * from the wire point into the input. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/buf.h"
#include "common/error.h"
#include "etcd-lite/arena.h"

struct bytes {
    const char *p;
    size_t n;
};
struct msg_list {
    void *items; /* array of struct, struct bytes or int64_t */
    size_t n;
};

enum msg_kind {
    MSG_INT64,
    MSG_UINT64,
    MSG_INT32,
    MSG_UINT32,
    MSG_BOOL,
    MSG_ENUM,
    MSG_BYTES,
    MSG_STRING,
    MSG_SUB
};

struct msg_type;
struct msg_field {
    const char *name;
    uint32_t number;
    uint8_t kind;
    bool repeated;
    uint16_t offset;
    const struct msg_type *sub;    /* MSG_SUB */
    const char *const *enum_names; /* MSG_ENUM: names by number, ended by NULL */
};
struct msg_type {
    const char *name; /* "etcdserverpb.RangeRequest" */
    size_t size;      /* of the struct */
    const struct msg_field *fields;
    size_t n_fields;
};

#define MSG_MAX_DEPTH 100

/* --- protobuf wire format --- */
size_t msg_wire_size(const struct msg_type *t, const void *msg);
void msg_encode(const struct msg_type *t, const void *msg, struct buf *out);
void msg_encode_varint(uint64_t v, struct buf *out);
/* msg: zeroed struct of the type's size. False: malformed. */
bool msg_decode(const struct msg_type *t, const void *data, size_t len, void *msg, struct arena *a);

/* --- JSON as grpc-gateway maps it: original field names, 64-bit integers as strings, bytes in
 * base64, enum names, zero values omitted; accepts lowerCamelCase names and numbers for either too
 * --- */
void msg_print_json(const struct msg_type *t, const void *msg, struct buf *out);
/* Fields of msg without the braces, to be put into a larger object; false when nothing was printed.
 */
bool msg_print_json_fields(const struct msg_type *t, const void *msg, struct buf *out);
/* One document at text; *used (may be NULL) says how many bytes it took, and without it nothing may
 * follow. Bytes are copied into the arena. */
bool msg_parse_json(const struct msg_type *t, const char *text, size_t len, size_t *used, void *msg,
                    struct arena *a, struct error **err);

/* Appends a zeroed item (of the given size) to a list; returns it. */
void *msg_list_add(struct msg_list *l, size_t item_size, struct arena *a);
