/* The members of one JSON object, found quickly also when there are very many. Inside apiserver/patch/. */
#pragma once
#include <cjson/cJSON.h>
#include "apiserver/patch/key_index.h"

struct members {
    cJSON *object;
    struct key_index index; /* used for large objects only */
    int count;
};
struct members members_of(cJSON *object);
cJSON *members_get(const struct members *m, const char *name);
/* Adds or replaces; takes item. */
void members_set(struct members *m, const char *name, cJSON *item);
void members_remove(struct members *m, const char *name);
void members_clear(struct members *m);
#define cleanup_members __attribute__((cleanup(members_clear)))
