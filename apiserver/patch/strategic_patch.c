/* Strategic merge patch: maps merge, lists merge by key or are replaced, as the schema says, with the
 * directives $patch: replace|delete|merge   in a map, or in an element of a list $retainKeys keys of a map
 * that stay $deleteFromPrimitiveList/x     values to be taken out of list x $setElementOrder/x the order of
 * list x
 * https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
 */
#include <stdlib.h>
#include <string.h>
#include "apiserver/patch/kinds.h"
#include "apiserver/patch/members.h"
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

#define PATCH_DIRECTIVE   "$patch"
#define RETAIN_KEYS       "$retainKeys"
#define DELETE_FROM       "$deleteFromPrimitiveList/"
#define SET_ELEMENT_ORDER "$setElementOrder/"

/* What the schema knows of a value: NULL members where nothing is known. */
struct node {
    const struct schema_type *type;   /* of a map that is a message */
    const struct schema_field *field; /* of a list */
};

static bool starts_with(const char *s, const char *prefix)
{
    return !strncmp(s, prefix, strlen(prefix));
}

static bool is_directive(const char *name)
{
    return name[0] == '$' && (!strcmp(name, PATCH_DIRECTIVE) || !strcmp(name, RETAIN_KEYS) ||
                              starts_with(name, DELETE_FROM) || starts_with(name, SET_ELEMENT_ORDER));
}

/* The node below n. For maps whose values are messages, the values' own. */
static struct node below(struct node n, const char *name)
{
    const struct schema_field *f = NULL;
    if (n.type)
        f = schema_field(n.type, name);
    else if (n.field && (n.field->shape == SCHEMA_MAP || n.field->shape == SCHEMA_MAP_OF_LISTS))
        return (struct node){n.field->type, NULL};
    if (!f)
        return (struct node){NULL, NULL};
    return (struct node){f->shape == SCHEMA_ONE ? f->type : NULL, f};
}

static bool merge_map(struct node n, cJSON *original, const cJSON *patch, struct error **err);
static cJSON *merge_list(struct node n, cJSON *original, const cJSON *patch, struct error **err);

/* --- lists of scalars and of maps have elements that are told apart by a key's text --- */
static bool is_scalar(const cJSON *v)
{
    return !cJSON_IsObject(v) && !cJSON_IsArray(v);
}

static bool merges(struct node n)
{
    return n.field && n.field->shape == SCHEMA_LIST && (n.field->patch & SCHEMA_PATCH_MERGE);
}

/* malloc'd; NULL when the element is a map without the key. */
static char *element_key(const cJSON *element, const char *merge_key)
{
    if (is_scalar(element) || !merge_key)
        return json_text(element);
    const cJSON *v = json_get(element, merge_key);
    return v ? json_text(v) : NULL;
}

static void no_merge_key(struct error **err, const cJSON *element, const char *merge_key)
{
    cleanup_free char *text = json_text(element);
    error_set(err, 400, "BadRequest", "map: %.200s does not contain declared merge key: %s", text, merge_key);
}

static bool index_list(struct key_index *x, const cJSON *list, const char *merge_key)
{
    int i = 0;
    for (const cJSON *c = list ? list->child : NULL; c; c = c->next, i++) {
        cleanup_free char *key = element_key(c, merge_key);
        if (key && key_index_get(x, key, -1) < 0)
            key_index_set(x, key, i);
    }
    return true;
}

struct ordered {
    cJSON *item;
    intptr_t place;
    int at; /* stable */
};

static int by_place(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return x->at - y->at;
}

/* Brings merged into the order that Kubernetes gives it: elements named by `order` stand in that order; the
 * others keep the order that they had in `server`, each before the first ordered element that followed it
 * there. */
static void put_in_order(cJSON *merged, const struct key_index *order, const struct key_index *server,
                         const char *merge_key)
{
    int size = cJSON_GetArraySize(merged), n_patch = 0, n_server = 0;
    if (size < 2)
        return;
    cleanup_free struct ordered *patch_items = mem_alloc(sizeof *patch_items * (size_t)size);
    cleanup_free struct ordered *server_items = mem_alloc(sizeof *server_items * (size_t)size);
    cleanup_free intptr_t *patch_in_server = mem_alloc(sizeof *patch_in_server * (size_t)size);
    for (cJSON *c = merged->child; c; c = merged->child) {
        cJSON_DetachItemViaPointer(merged, c);
        cleanup_free char *key = element_key(c, merge_key);
        intptr_t place = key ? key_index_get(order, key, -1) : -1;
        if (place >= 0) {
            patch_items[n_patch] = (struct ordered){c, place, n_patch};
            n_patch++;
        } else {
            server_items[n_server] =
                (struct ordered){c, key ? key_index_get(server, key, INTPTR_MAX) : INTPTR_MAX, n_server};
            n_server++;
        }
    }
    qsort(patch_items, (size_t)n_patch, sizeof *patch_items, by_place);
    qsort(server_items, (size_t)n_server, sizeof *server_items, by_place);
    for (int i = 0; i < n_patch; i++) {
        cleanup_free char *key = element_key(patch_items[i].item, merge_key);
        patch_in_server[i] = key ? key_index_get(server, key, -1) : -1;
    }
    for (int l = 0, r = 0; l < n_server || r < n_patch;) {
        bool left =
            r >= n_patch || (l < n_server && patch_in_server[r] >= 0 && server_items[l].place != INTPTR_MAX &&
                             server_items[l].place < patch_in_server[r]);
        cJSON_AddItemToArray(merged, left ? server_items[l++].item : patch_items[r++].item);
    }
}

/* A copy of what a patch adds where nothing was: without nulls and directives. */
static cJSON *fresh(struct node n, const cJSON *patch, struct error **err)
{
    if (cJSON_IsObject(patch)) {
        cJSON *o = cJSON_CreateObject();
        if (merge_map(n, o, patch, err))
            return o;
        cJSON_Delete(o);
        return NULL;
    }
    if (cJSON_IsArray(patch))
        return merge_list(n, cJSON_CreateArray(), patch, err);
    cJSON *dup = json_dup(patch);
    free(dup->string);
    dup->string = NULL;
    return dup;
}

static cJSON *merge_scalars(cJSON *original, const cJSON *patch, bool remove)
{
    cleanup_key_index struct key_index seen = {0}, patched = {0}, server = {0};
    index_list(&patched, patch, NULL);
    index_list(&server, original, NULL);
    for (cJSON *c = original->child, *next; c; c = next) {
        next = c->next;
        cleanup_free char *key = json_text(c);
        bool drop = remove ? key_index_get(&patched, key, -1) >= 0 : key_index_get(&seen, key, 0) > 0;
        key_index_set(&seen, key, 1);
        if (drop)
            cJSON_Delete(cJSON_DetachItemViaPointer(original, c));
    }
    if (remove)
        return original;
    for (const cJSON *c = patch->child; c; c = c->next) {
        cleanup_free char *key = json_text(c);
        if (key_index_get(&seen, key, 0))
            continue;
        key_index_set(&seen, key, 1);
        cJSON_AddItemToArray(original, json_dup(c));
    }
    put_in_order(original, &patched, &server, NULL);
    return original;
}

/* Takes elements marked "$patch" out of the patch: deletes what they name. Sets *replace when the whole list
 * is to be replaced. */
static bool apply_special_elements(cJSON *original, cJSON *patch, const char *merge_key, bool *replace,
                                   struct error **err)
{
    cleanup_key_index struct key_index deleted = {0};
    for (cJSON *c = patch->child, *next; c; c = next) {
        next = c->next;
        const cJSON *directive = json_get(c, PATCH_DIRECTIVE);
        if (!directive)
            continue;
        const char *what = cJSON_IsString(directive) ? directive->valuestring : "";
        if (!strcmp(what, "replace")) {
            *replace = true;
        } else if (!strcmp(what, "delete")) {
            cleanup_free char *key = json_get(c, merge_key) ? element_key(c, merge_key) : NULL;
            if (!key) {
                error_set(err, 400, "BadRequest", "delete patch type with no merge key defined");
                return false;
            }
            key_index_set(&deleted, key, 1);
        } else if (!strcmp(what, "merge")) {
            error_set(err, 400, "BadRequest", "merging lists cannot yet be specified in the patch");
            return false;
        } else {
            error_set(err, 400, "BadRequest", "Unknown patch type found: %.100s", what);
            return false;
        }
        cJSON_Delete(cJSON_DetachItemViaPointer(patch, c));
    }
    for (cJSON *c = deleted.count ? original->child : NULL, *next; c; c = next) {
        next = c->next;
        cleanup_free char *key = element_key(c, merge_key);
        if (key && key_index_get(&deleted, key, 0))
            cJSON_Delete(cJSON_DetachItemViaPointer(original, c));
    }
    return true;
}

static bool all_maps(const cJSON *list)
{
    for (const cJSON *c = list->child; c; c = c->next)
        if (!cJSON_IsObject(c))
            return false;
    return true;
}

static bool no_maps(const cJSON *list)
{
    for (const cJSON *c = list->child; c; c = c->next)
        if (!is_scalar(c))
            return false;
    return true;
}

/* Takes original and gives the merged list, NULL (original freed) on failure. */
static cJSON *merge_maps(struct node n, cJSON *original, const cJSON *patch_given, struct error **err)
{
    const char *merge_key = n.field->merge_key;
    cleanup_json cJSON *patch = json_dup(patch_given);
    cleanup_key_index struct key_index server = {0}, patched = {0};
    struct node element = {n.field->type, NULL};
    bool replace = false;
    index_list(&server, original, merge_key);
    if (!apply_special_elements(original, patch, merge_key, &replace, err)) {
        cJSON_Delete(original);
        return NULL;
    }
    if (replace) {
        cJSON_Delete(original);
        original = cJSON_CreateArray();
    }
    /* Where each key stands now. */
    int count = cJSON_GetArraySize(original), capacity = count + cJSON_GetArraySize(patch);
    cleanup_free cJSON **items = mem_alloc(sizeof(cJSON *) * (size_t)(capacity + 1));
    cleanup_key_index struct key_index now = {0};
    index_list(&now, original, merge_key);
    int i = 0;
    for (cJSON *c = original->child; c; c = c->next)
        items[i++] = c;
    for (const cJSON *p = patch->child; p; p = p->next) {
        cleanup_free char *key = json_get(p, merge_key) ? element_key(p, merge_key) : NULL;
        if (!key) {
            if (replace) { /* a replaced list is taken as it is */
                cJSON *whole = fresh(element, p, err);
                if (!whole) {
                    cJSON_Delete(original);
                    return NULL;
                }
                cJSON_AddItemToArray(original, whole);
                continue;
            }
            no_merge_key(err, p, merge_key);
            cJSON_Delete(original);
            return NULL;
        }
        /* A replaced list is taken as it is, also with two elements of one key (a Node's addresses). */
        intptr_t at = replace ? -1 : key_index_get(&now, key, -1);
        cJSON *added = at >= 0 ? NULL : fresh(element, p, err);
        if (at >= 0 ? !merge_map(element, items[at], p, err) : !added) {
            cJSON_Delete(original);
            return NULL;
        }
        if (added) {
            cJSON_AddItemToArray(original, added);
            key_index_set(&now, key, count);
            items[count++] = added;
        }
    }
    if (!replace) {
        index_list(&patched, patch, merge_key);
        put_in_order(original, &patched, &server, merge_key);
    }
    return original;
}

static cJSON *merge_list(struct node n, cJSON *original, const cJSON *patch, struct error **err)
{
    if (merges(n) && n.field->merge_key && all_maps(patch) && all_maps(original))
        return merge_maps(n, original, patch, err);
    if (merges(n) && !n.field->merge_key && no_maps(patch) && no_maps(original))
        return merge_scalars(original, patch, false);
    /* Replaced as a whole. Elements are taken without directives. */
    cJSON_Delete(original);
    cJSON *list = cJSON_CreateArray();
    struct node element = {n.field && n.field->shape == SCHEMA_LIST ? n.field->type : NULL, NULL};
    for (const cJSON *p = patch->child; p; p = p->next) {
        if (cJSON_IsObject(p) && json_get(p, PATCH_DIRECTIVE) && cJSON_GetArraySize(p) == 1)
            continue; /* {"$patch": "replace"} alone is no element */
        cJSON *c = fresh(element, p, err);
        if (!c) {
            cJSON_Delete(list);
            return NULL;
        }
        cJSON_AddItemToArray(list, c);
    }
    return list;
}

/* $setElementOrder/x: merges x as well, then orders it. */
static bool apply_set_order(struct node n, struct members *original, const cJSON *patch,
                            const cJSON *directive, struct error **err)
{
    const char *name = directive->string + strlen(SET_ELEMENT_ORDER);
    const cJSON *patch_list = json_get(patch, name);
    cJSON *list = members_get(original, name);
    struct node child = below(n, name);
    if (!cJSON_IsArray(directive) ||
        (patch_list && !cJSON_IsArray(patch_list) && !cJSON_IsNull(patch_list))) {
        error_set(err, 400, "BadRequest", "invalid patch format of setElementOrder list");
        return false;
    }
    if (cJSON_IsNull(patch_list)) {
        members_remove(original, name);
        return true;
    }
    const char *merge_key = child.field ? child.field->merge_key : NULL;
    cleanup_key_index struct key_index order = {0}, server = {0};
    index_list(&order, directive, merge_key);
    index_list(&server, cJSON_IsArray(list) ? list : NULL, merge_key);
    for (const cJSON *p = patch_list ? patch_list->child : NULL; p; p = p->next) {
        if (json_get(p, PATCH_DIRECTIVE))
            continue;
        cleanup_free char *key = element_key(p, merge_key);
        if (!key) {
            no_merge_key(err, p, merge_key);
            return false;
        }
        if (key_index_get(&order, key, -1) < 0) {
            cleanup_free char *a = json_text(patch_list), *b = json_text(directive);
            error_set(err, 400, "BadRequest",
                      "The order in patch list:\n%.500s\n doesn't match %s list:\n%.500s\n", a,
                      "$setElementOrder", b);
            return false;
        }
    }
    if (!list && !patch_list)
        return true;
    if (patch_list) {
        cJSON *base = cJSON_IsArray(list) ? json_dup(list) : cJSON_CreateArray();
        list = merge_list(child, base, patch_list, err);
        if (!list)
            return false;
        free(list->string);
        list->string = NULL;
        members_set(original, name, list);
    }
    if (cJSON_IsArray(list))
        put_in_order(list, &order, &server, merge_key);
    return true;
}

static bool apply_retain_keys(struct members *original, const cJSON *patch, const cJSON *directive,
                              struct error **err)
{
    cleanup_key_index struct key_index kept = {0};
    if (!cJSON_IsArray(directive)) {
        error_set(err, 400, "BadRequest", "invalid patch format of retainKeys");
        return false;
    }
    for (const cJSON *k = directive->child; k; k = k->next)
        if (cJSON_IsString(k))
            key_index_set(&kept, k->valuestring, 1);
    for (const cJSON *p = patch->child; p; p = p->next) {
        if (!is_directive(p->string) && !cJSON_IsNull(p) && !key_index_get(&kept, p->string, 0)) {
            error_set(err, 400, "BadRequest", "invalid patch format of retainKeys");
            return false;
        }
    }
    for (cJSON *c = original->object->child, *next; c; c = next) {
        next = c->next;
        if (!key_index_get(&kept, c->string, 0)) {
            cleanup_free char *name = mem_strdup(c->string);
            members_remove(original, name);
        }
    }
    return true;
}

static void remove_all(cJSON *object)
{
    while (object->child)
        cJSON_Delete(cJSON_DetachItemViaPointer(object, object->child));
}

/* One member of the patch that is no directive. */
static bool merge_member(struct node n, struct members *original, const cJSON *p, struct error **err)
{
    struct node child = below(n, p->string);
    if (cJSON_IsNull(p)) {
        members_remove(original, p->string);
        return true;
    }
    cJSON *old = members_get(original, p->string);
    if (cJSON_IsObject(p) && cJSON_IsObject(old) &&
        !(child.field && child.field->patch == SCHEMA_PATCH_REPLACE))
        return merge_map(child, old, p, err);
    cJSON *value = cJSON_IsArray(p) && cJSON_IsArray(old) ? merge_list(child, json_dup(old), p, err)
                                                          : fresh(child, p, err);
    if (!value)
        return false;
    free(value->string);
    value->string = NULL;
    members_set(original, p->string, value);
    return true;
}

static bool merge_map(struct node n, cJSON *object, const cJSON *patch, struct error **err)
{
    const cJSON *directive = json_get(patch, PATCH_DIRECTIVE);
    if (directive) {
        const char *what = cJSON_IsString(directive) ? directive->valuestring : "";
        if (!strcmp(what, "replace") || !strcmp(what, "delete")) {
            remove_all(object);
            if (what[0] == 'd')
                return true;
        } else if (strcmp(what, "merge")) {
            error_set(err, 400, "BadRequest", "Unknown patch type found: %.100s", what);
            return false;
        }
    }
    cleanup_members struct members original = members_of(object);
    const cJSON *retain = json_get(patch, RETAIN_KEYS);
    if (retain && !apply_retain_keys(&original, patch, retain, err))
        return false;
    cleanup_key_index struct key_index done = {0}; /* lists that were merged with their order */
    for (const cJSON *p = patch->child; p; p = p->next) {
        if (!starts_with(p->string, SET_ELEMENT_ORDER))
            continue;
        if (!apply_set_order(n, &original, patch, p, err))
            return false;
        key_index_set(&done, p->string + strlen(SET_ELEMENT_ORDER), 1);
    }
    for (const cJSON *p = patch->child; p; p = p->next) {
        if (starts_with(p->string, DELETE_FROM)) {
            cJSON *list = members_get(&original, p->string + strlen(DELETE_FROM));
            if (!cJSON_IsArray(p)) {
                error_set(err, 400, "BadRequest", "invalid patch format of primitive list");
                return false;
            }
            if (cJSON_IsArray(list))
                merge_scalars(list, p, true);
        } else if (!is_directive(p->string) && !key_index_get(&done, p->string, 0)) {
            if (!merge_member(n, &original, p, err))
                return false;
        }
    }
    return true;
}

cJSON *strategic_patch_apply(const struct schema_type *type, cJSON *doc, const cJSON *patch,
                             struct error **err)
{
    if (!cJSON_IsObject(doc) || !merge_map((struct node){type, NULL}, doc, patch, err)) {
        cJSON_Delete(doc);
        return NULL;
    }
    return doc;
}
