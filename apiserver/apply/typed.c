#include "apiserver/apply/typed.h"
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

/* How a value is seen: as one thing, or as a collection of parts that have owners of their own. */
enum form {
    LEAF,
    STRUCT,
    MAP,
    LIST_SET,
    LIST_MAP,
    DEDUCED, /* without a schema: an object is a map of such, all else is a leaf */
};
struct view {
    enum form form;
    const struct schema_type
        *type;        /* STRUCT; of the items of LIST_MAP; of the values of MAP, or NULL */
    const char *keys; /* LIST_MAP: "a,b" */
};

/* Types whose fields have one owner, wherever they stand (OpenAPI's x-kubernetes-map-type: atomic).
 * Sorted. */
static const char *const atomic_types[] = {
    "ConfigMapKeySelector",
    "CrossVersionObjectReference",
    "EndpointAddress",
    "EndpointPort",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "MatchResources",
    "NamedRuleWithOperations",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ParamKind",
    "ParamRef",
    "ResourceFieldSelector",
    "RoleRef",
    "ScopeSelector",
    "SecretKeySelector",
    "SecretReference",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
};

static int compare_type_name(const void *key, const void *item)
{
    return strcmp(key, *(const char *const *)item);
}

static struct view view_of_type(const struct schema_type *type)
{
    if (!type || bsearch(type->name, atomic_types, ARRAY_LEN(atomic_types), sizeof *atomic_types,
                         compare_type_name))
        return (struct view){LEAF, NULL, NULL};
    return (struct view){STRUCT, type, NULL};
}

static struct view view_of_field(const struct schema_field *f)
{
    bool message = f->value == SCHEMA_MESSAGE;
    if (f->list_type == SCHEMA_MAP_ATOMIC)
        return (struct view){LEAF, NULL, NULL};
    if (f->flags & SCHEMA_DEDUCED && f->shape != SCHEMA_LIST)
        return (struct view){DEDUCED, NULL, NULL};
    switch (f->shape) {
    case SCHEMA_ONE:
        return view_of_type(message ? f->type : NULL);
    case SCHEMA_MAP:
        return (struct view){MAP, message ? f->type : NULL, NULL};
    case SCHEMA_LIST:
        if (f->list_type == SCHEMA_LIST_SET)
            return (struct view){LIST_SET, NULL, NULL};
        if (f->list_type == SCHEMA_LIST_MAP && f->list_keys)
            return (struct view){LIST_MAP, f->type, f->list_keys};
        break;
    default:
        break;
    }
    return (struct view){LEAF, NULL, NULL};
}

/* The view of a member; apiVersion and kind are no fields of the schema, and unknown members are
 * seen whole. */
static struct view view_of_member(const struct view *v, const char *name)
{
    if (v->form == MAP)
        return view_of_type(v->type);
    if (v->form == DEDUCED)
        return *v;
    const struct schema_field *f = schema_field(v->type, name);
    bool deduced = v->type->flags & SCHEMA_UNKNOWN_DEDUCED && strcmp(name, "apiVersion") != 0 &&
                   strcmp(name, "kind") != 0;
    return f ? view_of_field(f) : (struct view){deduced ? DEDUCED : LEAF, NULL, NULL};
}

static char *field_element(const char *name)
{
    return mem_printf("f:%s", name);
}

static const char *default_of_key(const struct schema_type *type, const char *key)
{
    const struct schema_field *f = type ? schema_field(type, key) : NULL;
    return f ? f->default_value : NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* k:{"containerPort":80,"protocol":"TCP"}, its keys in order; a key that is left out has its
 * default. */
static char *item_element(const struct view *v, const cJSON *item)
{
    struct buf b = {0};
    if (v->form == LIST_SET) {
        buf_adds(&b, "v:");
        json_print(item, &b);
        return buf_take(&b);
    }
    char *names[8] = {0};
    size_t n = 0;
    for (const char *p = v->keys; *p && n < ARRAY_LEN(names);) {
        size_t len = strcspn(p, ",");
        names[n++] = mem_strndup(p, len);
        p += len + (p[len] == ',');
    }
    qsort(names, n, sizeof *names, compare_names);
    buf_adds(&b, "k:{");
    bool first = true;
    for (size_t i = 0; i < n; i++) {
        const cJSON *value = json_get(item, names[i]);
        const char *otherwise = value ? NULL : default_of_key(v->type, names[i]);
        if (value || otherwise) {
            if (!first)
                buf_addc(&b, ',');
            first = false;
            json_print_string(names[i], strlen(names[i]), &b);
            buf_addc(&b, ':');
            if (value)
                json_print(value, &b);
            else
                buf_adds(&b, otherwise);
        }
        free(names[i]);
    }
    buf_addc(&b, '}');
    return buf_take(&b);
}

static struct view view_of_item(const struct view *v)
{
    return v->form == LIST_MAP ? view_of_type(v->type) : (struct view){LEAF, NULL, NULL};
}

/* Does the value have the shape that the schema says? What has not is seen whole. */
static struct view fit(struct view v, const cJSON *value)
{
    bool ok = v.form == LEAF ||
              (v.form == STRUCT || v.form == MAP || v.form == DEDUCED ? cJSON_IsObject(value)
                                                                      : cJSON_IsArray(value));
    return ok ? v : (struct view){LEAF, NULL, NULL};
}

static bool is_list(enum form form)
{
    return form == LIST_SET || form == LIST_MAP;
}

static char *element_of(const struct view *v, const cJSON *part)
{
    return is_list(v->form) ? item_element(v, part) : field_element(part->string);
}

static struct view view_of_part(const struct view *v, const cJSON *part)
{
    return is_list(v->form) ? view_of_item(v) : view_of_member(v, part->string);
}

/* --- which fields there are --- */

static void collect(struct view v, const cJSON *value, struct fieldset *out)
{
    v = fit(v, value);
    if (v.form == LEAF || !value->child) {
        out->member = true;
        return;
    }
    const cJSON *part;
    cJSON_ArrayForEach(part, value)
    {
        cleanup_free char *element = element_of(&v, part);
        struct fieldset *child = fieldset_child(out, element);
        if (is_list(v.form))
            child->member = true;
        collect(view_of_part(&v, part), part, child);
    }
}

struct fieldset *typed_fields(const struct schema_type *type, const cJSON *object)
{
    struct fieldset *s = fieldset_new();
    if (object && object->child)
        collect(view_of_type(type), object, s);
    return s;
}

cJSON *typed_empty(const struct schema_type *type)
{
    cJSON *o = cJSON_CreateObject();
    for (size_t i = 0; i < type->field_count; i++) {
        const struct schema_field *f = &type->fields[i];
        struct view v = view_of_field(f);
        if (v.form == STRUCT && f->flags & SCHEMA_VALUE)
            cJSON_AddItemToObject(o, f->name, typed_empty(v.type));
        else if (f->flags & SCHEMA_REQUIRED && (is_list(v.form) || v.form == MAP))
            cJSON_AddItemToObject(o, f->name,
                                  v.form == MAP ? cJSON_CreateObject() : cJSON_CreateArray());
    }
    return o;
}

void typed_keep_said(cJSON *decoded, const cJSON *said)
{
    if (cJSON_IsObject(decoded) && cJSON_IsObject(said)) {
        for (cJSON *m = decoded->child, *next; m; m = next) {
            next = m->next;
            const cJSON *other = json_get(said, m->string);
            if (other)
                typed_keep_said(m, other);
            else
                cJSON_Delete(cJSON_DetachItemViaPointer(decoded, m));
        }
    } else if (cJSON_IsArray(decoded) && cJSON_IsArray(said) &&
               cJSON_GetArraySize(decoded) == cJSON_GetArraySize(said)) {
        const cJSON *other = said->child;
        for (cJSON *m = decoded->child; m; m = m->next, other = other->next)
            typed_keep_said(m, other);
    }
}

/* --- how two differ --- */

/* Everything in a value, containers too. */
static void collect_all(struct view v, const cJSON *value, struct fieldset *out)
{
    v = fit(v, value);
    out->member = true;
    if (v.form == LEAF)
        return;
    const cJSON *part;
    cJSON_ArrayForEach(part, value)
    {
        cleanup_free char *element = element_of(&v, part);
        collect_all(view_of_part(&v, part), part, fieldset_child(out, element));
    }
}

static const cJSON *find_part(const struct view *v, const cJSON *value, const cJSON *like,
                              const char *element)
{
    if (!is_list(v->form))
        return json_get(value, like->string);
    const cJSON *part;
    cJSON_ArrayForEach(part, value)
    {
        cleanup_free char *other = item_element(v, part);
        if (!strcmp(other, element))
            return part;
    }
    return NULL;
}

static void compare(struct view v, const cJSON *before, const cJSON *after, struct fieldset *added,
                    struct fieldset *modified, struct fieldset *removed)
{
    if (json_equal(before, after))
        return;
    if (fit(v, before).form == LEAF || fit(v, after).form == LEAF) {
        modified->member = true;
        return;
    }
    const cJSON *part;
    cJSON_ArrayForEach(part, after)
    {
        cleanup_free char *element = element_of(&v, part);
        const cJSON *old = find_part(&v, before, part, element);
        if (old && json_equal(old, part))
            continue;
        if (old)
            compare(view_of_part(&v, part), old, part, fieldset_child(added, element),
                    fieldset_child(modified, element), fieldset_child(removed, element));
        else
            collect_all(view_of_part(&v, part), part, fieldset_child(added, element));
    }
    cJSON_ArrayForEach(part, before)
    {
        cleanup_free char *element = element_of(&v, part);
        if (!find_part(&v, after, part, element))
            collect_all(view_of_part(&v, part), part, fieldset_child(removed, element));
    }
}

/* Takes nodes out that lead to no member. */
static void trim(struct fieldset *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        trim(s->children[i]);
        if (s->children[i]->member || s->children[i]->count)
            s->children[kept++] = s->children[i];
        else
            fieldset_free(s->children[i]);
    }
    s->count = kept;
}

void typed_compare(const struct schema_type *type, const cJSON *before, const cJSON *after,
                   struct comparison *out)
{
    *out = (struct comparison){fieldset_new(), fieldset_new(), fieldset_new()};
    compare(view_of_type(type), before, after, out->added, out->modified, out->removed);
    trim(out->added);
    trim(out->modified);
    trim(out->removed);
}

void comparison_clear(struct comparison *c)
{
    fieldset_free(c->added);
    fieldset_free(c->modified);
    fieldset_free(c->removed);
    *c = (struct comparison){0};
}

/* --- merging --- */

static cJSON *merge(struct view v, const cJSON *live, const cJSON *applied);

/* Live items keep their order; new ones follow the one that they follow in what is applied. */
static cJSON *merge_list(const struct view *v, const cJSON *live, const cJSON *applied)
{
    cJSON *out = cJSON_CreateArray();
    const cJSON *l = live ? live->child : NULL, *a = applied->child;
    while (l || a) {
        cleanup_free char *le = l ? item_element(v, l) : NULL, *ae = a ? item_element(v, a) : NULL;
        if (l && a && !strcmp(le, ae)) {
            cJSON_AddItemToArray(out, merge(view_of_item(v), l, a));
            l = l->next;
            a = a->next;
        } else if (l && !find_part(v, applied, l, le)) {
            cJSON_AddItemToArray(out, json_dup(l)); /* nobody else's business */
            l = l->next;
        } else if (a) {
            cJSON_AddItemToArray(
                out, merge(view_of_item(v), live ? find_part(v, live, a, ae) : NULL, a));
            a = a->next;
            /* Those that were taken out of turn are not taken again. */
            while (l) {
                cleanup_free char *e = item_element(v, l);
                bool done = false;
                for (const cJSON *p = applied->child; p != a; p = p->next) {
                    cleanup_free char *pe = item_element(v, p);
                    done |= !strcmp(pe, e);
                }
                if (!done)
                    break;
                l = l->next;
            }
        } else {
            l = l->next;
        }
    }
    return out;
}

static cJSON *merge(struct view v, const cJSON *live, const cJSON *applied)
{
    v = fit(v, applied);
    if (v.form == LEAF || (live && fit(v, live).form == LEAF))
        return json_dup(applied);
    if (is_list(v.form))
        return merge_list(&v, live, applied);
    cJSON *out = live ? json_dup(live) : cJSON_CreateObject();
    const cJSON *part;
    cJSON_ArrayForEach(part, applied) json_map_set(
        out, part->string,
        merge(view_of_member(&v, part->string), live ? json_get(live, part->string) : NULL, part));
    return out;
}

cJSON *typed_merge(const struct schema_type *type, const cJSON *live, const cJSON *applied)
{
    return merge(view_of_type(type), live, applied);
}

/* --- taking away --- */

static void take_away(struct view v, cJSON *value, const struct fieldset *set)
{
    v = fit(v, value);
    if (v.form == LEAF)
        return;
    for (cJSON *part = value->child, *next; part; part = next) {
        next = part->next;
        cleanup_free char *element = element_of(&v, part);
        const struct fieldset *child = fieldset_find(set, element);
        if (!child)
            continue;
        if (child->member)
            cJSON_Delete(cJSON_DetachItemViaPointer(value, part));
        else
            take_away(view_of_part(&v, part), part, child);
    }
}

void typed_remove(const struct schema_type *type, cJSON *object, const struct fieldset *set)
{
    take_away(view_of_type(type), object, set);
}
