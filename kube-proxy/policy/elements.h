/* Elements of named sets, collected into one command a set. */
#pragma once
#include "common/buf.h"
#include "kube-proxy/hash.h"

struct element_list { /* texts "set\telement", owned */
    char **items;
    size_t count, capacity;
};
void element_list_add(struct element_list *l, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void element_list_sort(struct element_list *l); /* and drops what is there twice */
void element_list_clear(struct element_list *l);
/* Calls for what only one of two sorted lists has. */
void element_list_compare(const struct element_list *before, const struct element_list *now,
                          void *ctx, void (*gone)(void *ctx, const char *text),
                          void (*added)(void *ctx, const char *text));

struct element_commands {
    struct hash sets; /* name -> struct buf, elements joined by commas */
};
/* with_value false: "key : value" counts as "key". */
void element_commands_add(struct element_commands *c, const char *text, bool with_value);
/* "add element TABLE set { ... }" for each, and empties. */
void element_commands_print(struct element_commands *c, const char *verb, const char *table,
                            struct buf *out);
void element_commands_clear(struct element_commands *c);
