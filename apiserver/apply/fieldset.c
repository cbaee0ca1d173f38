#include "apiserver/apply/fieldset.h"
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

struct fieldset *fieldset_new(void)
{
    struct fieldset *s = mem_alloc(sizeof *s);
    s->element = mem_strdup("");
    return s;
}

void fieldset_free(struct fieldset *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        fieldset_free(s->children[i]);
    free(s->children);
    free(s->element);
    free(s);
}

void fieldset_cleanup(struct fieldset **s)
{
    fieldset_free(*s);
}

struct fieldset *fieldset_copy(const struct fieldset *s)
{
    struct fieldset *c = mem_alloc(sizeof *c);
    c->element = mem_strdup(s->element);
    c->member = s->member;
    c->count = c->capacity = s->count;
    c->children = mem_alloc((s->count + 1) * sizeof *c->children);
    for (size_t i = 0; i < s->count; i++)
        c->children[i] = fieldset_copy(s->children[i]);
    return c;
}

/* The index of the element, or where it would be. */
static size_t position(const struct fieldset *s, const char *element, bool *found)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        int order = strcmp(s->children[mid]->element, element);
        if (!order) {
            *found = true;
            return mid;
        }
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = false;
    return low;
}

struct fieldset *fieldset_find(const struct fieldset *s, const char *element)
{
    bool found = false;
    size_t at = s ? position(s, element, &found) : 0;
    return found ? s->children[at] : NULL;
}

static void insert(struct fieldset *s, size_t at, struct fieldset *child)
{
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 4;
        s->children = mem_realloc(s->children, s->capacity * sizeof *s->children);
    }
    memmove(s->children + at + 1, s->children + at, (s->count - at) * sizeof *s->children);
    s->children[at] = child;
    s->count++;
}

struct fieldset *fieldset_child(struct fieldset *s, const char *element)
{
    bool found;
    size_t at = position(s, element, &found);
    if (found)
        return s->children[at];
    struct fieldset *c = mem_alloc(sizeof *c);
    c->element = mem_strdup(element);
    insert(s, at, c);
    return c;
}

static void drop_at(struct fieldset *s, size_t at)
{
    fieldset_free(s->children[at]);
    s->count--;
    memmove(s->children + at, s->children + at + 1, (s->count - at) * sizeof *s->children);
}

void fieldset_drop(struct fieldset *s, const char *element)
{
    bool found;
    size_t at = position(s, element, &found);
    if (found)
        drop_at(s, at);
}

bool fieldset_empty(const struct fieldset *s)
{
    if (!s)
        return true;
    if (s->member)
        return false;
    for (size_t i = 0; i < s->count; i++)
        if (!fieldset_empty(s->children[i]))
            return false;
    return true;
}

bool fieldset_equal(const struct fieldset *a, const struct fieldset *b)
{
    if (a->member != b->member || a->count != b->count || strcmp(a->element, b->element) != 0)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!fieldset_equal(a->children[i], b->children[i]))
            return false;
    return true;
}

void fieldset_add(struct fieldset *a, const struct fieldset *b)
{
    if (!b)
        return;
    a->member |= b->member;
    for (size_t i = 0; i < b->count; i++) {
        bool found;
        size_t at = position(a, b->children[i]->element, &found);
        if (found)
            fieldset_add(a->children[at], b->children[i]);
        else
            insert(a, at, fieldset_copy(b->children[i]));
    }
}

void fieldset_subtract(struct fieldset *a, const struct fieldset *b)
{
    if (!b)
        return;
    a->member &= !b->member;
    for (size_t i = a->count; i-- > 0;) {
        const struct fieldset *other = fieldset_find(b, a->children[i]->element);
        if (!other)
            continue;
        fieldset_subtract(a->children[i], other);
        if (!a->children[i]->member && !a->children[i]->count)
            drop_at(a, i);
    }
}

struct fieldset *fieldset_intersection(const struct fieldset *a, const struct fieldset *b)
{
    struct fieldset *out = mem_alloc(sizeof *out);
    out->element = mem_strdup(a->element);
    out->member = b && a->member && b->member;
    for (size_t i = 0; b && i < a->count; i++) {
        const struct fieldset *other = fieldset_find(b, a->children[i]->element);
        if (!other)
            continue;
        struct fieldset *both = fieldset_intersection(a->children[i], other);
        if (both->member || both->count)
            insert(out, out->count, both);
        else
            fieldset_free(both);
    }
    return out;
}

void fieldset_close_upwards(struct fieldset *s)
{
    for (size_t i = 0; i < s->count; i++)
        fieldset_close_upwards(s->children[i]);
    if (*s->element && s->count)
        s->member = true;
}

/* --- FieldsV1 --- */

static bool is_element(const char *name)
{
    return name && name[0] && name[1] == ':' && strchr("fkvi", name[0]);
}

static bool read_json(struct fieldset *s, const cJSON *json)
{
    if (!cJSON_IsObject(json))
        return false;
    const cJSON *c;
    cJSON_ArrayForEach(c, json)
    {
        if (!strcmp(c->string, ".")) {
            s->member = true;
            continue;
        }
        if (!is_element(c->string))
            return false;
        struct fieldset *child = fieldset_child(s, c->string);
        if (!read_json(child, c))
            return false;
        if (!c->child)
            child->member = true;
    }
    return true;
}

struct fieldset *fieldset_from_json(const cJSON *json)
{
    struct fieldset *s = fieldset_new();
    if (read_json(s, json))
        return s;
    fieldset_free(s);
    return NULL;
}

cJSON *fieldset_to_json(const struct fieldset *s)
{
    cJSON *out = cJSON_CreateObject();
    if (s->member && s->count)
        cJSON_AddItemToObject(out, ".", cJSON_CreateObject());
    for (size_t i = 0; i < s->count; i++)
        cJSON_AddItemToObject(out, s->children[i]->element, fieldset_to_json(s->children[i]));
    return out;
}

static void add_readable(struct buf *b, const char *element)
{
    if (element[0] == 'f') {
        buf_printf(b, ".%s", element + 2);
        return;
    }
    if (element[0] == 'v') {
        buf_printf(b, "[=%s]", element + 2);
        return;
    }
    if (element[0] == 'i') {
        buf_printf(b, "[%s]", element + 2);
        return;
    }
    cleanup_json cJSON *keys = json_parse(element + 2, strlen(element + 2), NULL);
    const cJSON *k;
    buf_addc(b, '[');
    cJSON_ArrayForEach(k, keys)
    {
        cleanup_free char *value = json_text(k);
        buf_printf(b, "%s%s=%s", k == keys->child ? "" : ",", k->string, value);
    }
    buf_addc(b, ']');
}

static void visit_below(const struct fieldset *s, struct buf *path,
                        void (*visit)(void *ctx, const char *path), void *ctx)
{
    size_t len = path->len;
    for (size_t i = 0; i < s->count; i++) {
        add_readable(path, s->children[i]->element);
        if (s->children[i]->member)
            visit(ctx, buf_str(path));
        visit_below(s->children[i], path, visit, ctx);
        path->len = len;
        if (path->data)
            path->data[len] = 0;
    }
}

void fieldset_visit(const struct fieldset *s, void (*visit)(void *ctx, const char *path), void *ctx)
{
    cleanup_buf struct buf path = {0};
    visit_below(s, &path, visit, ctx);
}
