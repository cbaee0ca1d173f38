/* Elements of named sets, collected into one command a set. */
#pragma once
#include "common/buf.h"
#include "kube-proxy/element_list.h"
#include "kube-proxy/hash.h"

struct element_commands {
    struct hash sets; /* name -> struct buf, elements joined by commas */
};
/* with_value false: "key : value" counts as "key". */
void element_commands_add(struct element_commands *c, const char *text, bool with_value);
/* "add element TABLE set { ... }" for each, and empties. */
void element_commands_print(struct element_commands *c, const char *verb, const char *table,
                            struct buf *out);
void element_commands_clear(struct element_commands *c);
