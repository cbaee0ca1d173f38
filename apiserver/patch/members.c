#include "apiserver/patch/members.h"
#include <stdbool.h>
#include <stdlib.h>
#include "common/json.h"
#include "common/mem.h"

enum { SMALL = 32 };

static bool indexed(const struct members *m)
{
    return m->index.capacity > 0;
}

static void build_index(struct members *m)
{
    for (cJSON *c = m->object->child; c; c = c->next)
        key_index_set(&m->index, c->string, (intptr_t)c);
}

struct members members_of(cJSON *object)
{
    struct members m = {.object = object, .count = cJSON_GetArraySize(object)};
    if (m.count > SMALL)
        build_index(&m);
    return m;
}

cJSON *members_get(const struct members *m, const char *name)
{
    return indexed(m) ? (cJSON *)key_index_get(&m->index, name, 0) : json_get(m->object, name);
}

void members_set(struct members *m, const char *name, cJSON *item)
{
    cJSON *old = members_get(m, name);
    if (old) {
        free(item->string);
        item->string = mem_strdup(name);
        cJSON_ReplaceItemViaPointer(m->object, old, item);
    } else {
        cJSON_AddItemToObject(m->object, name, item);
        m->count++;
        if (!indexed(m) && m->count > SMALL)
            build_index(m);
    }
    if (indexed(m))
        key_index_set(&m->index, name, (intptr_t)item);
}

void members_remove(struct members *m, const char *name)
{
    cJSON *old = members_get(m, name);
    if (!old)
        return;
    cJSON_Delete(cJSON_DetachItemViaPointer(m->object, old));
    if (indexed(m))
        key_index_set(&m->index, name, 0);
}

void members_clear(struct members *m)
{
    key_index_clear(&m->index);
}
