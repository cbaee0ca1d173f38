/* Members with one name, in documents that no schema describes: patches and custom resources. */
#include <stdlib.h>
#include <string.h>
#include "apiserver/schema/decode.h"
#include "common/buf.h"
#include "common/mem.h"

struct step {
    const struct step *before;
    const char *name; /* NULL: an index */
    int index;
};

struct member {
    cJSON *v;
    int order;
};

static void add_path(const struct step *s, struct buf *b)
{
    if (!s)
        return;
    add_path(s->before, b);
    if (s->name)
        buf_printf(b, "%s%s", b->len ? "." : "", s->name);
    else
        buf_printf(b, "[%d]", s->index);
}

static int by_name(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int order = strcmp(x->v->string, y->v->string);
    return order ? order : x->order - y->order;
}

static void note(const struct step *s, struct strict_errors *strict)
{
    cleanup_buf struct buf b = {0};
    add_path(s, &b);
    strict_note(strict, "duplicate", buf_str(&b));
}

/* Of members with one name the last stays. Sorts, since an object may have very many. */
static void drop_in_object(cJSON *o, const struct step *at, struct strict_errors *strict)
{
    int n = cJSON_GetArraySize(o), i = 0;
    cleanup_free struct member *members = mem_alloc(sizeof *members * (size_t)(n + 1));
    for (cJSON *c = o->child; c; c = c->next, i++)
        members[i] = (struct member){c, i};
    qsort(members, (size_t)n, sizeof *members, by_name);
    bool noted = false;
    for (i = 0; i + 1 < n; i++) {
        if (strcmp(members[i].v->string, members[i + 1].v->string) != 0) {
            noted = false;
            continue;
        }
        if (!noted)
            note(&(const struct step){at, members[i + 1].v->string, 0}, strict);
        noted = true;
        cJSON_Delete(cJSON_DetachItemViaPointer(o, members[i].v));
    }
}

static void drop(cJSON *v, const struct step *at, struct strict_errors *strict)
{
    if (cJSON_IsObject(v) && v->child && v->child->next)
        drop_in_object(v, at, strict);
    int i = 0;
    for (cJSON *c = v->child; c; c = c->next) {
        const struct step s = {at, cJSON_IsArray(v) ? NULL : c->string, i++};
        if (c->child)
            drop(c, &s, strict);
    }
}

void strict_drop_duplicates(cJSON *value, struct strict_errors *strict)
{
    drop(value, NULL, strict);
}
