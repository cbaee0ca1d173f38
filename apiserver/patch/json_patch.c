/* JSON patch, RFC 6902, over JSON pointers, RFC 6901. */
#include "apiserver/patch/kinds.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/json.h"
#include "common/mem.h"

enum {
    OPERATIONS_MAX = 10000,
    COPIED_BYTES_MAX = 3 * 1024 * 1024, /* "copy" may not blow a document up */
};

/* The next token of a pointer, unescaped (malloc'd); NULL at its end or when it is malformed. */
static char *next_token(const char **pointer)
{
    const char *p = *pointer;
    if (*p != '/')
        return NULL;
    p++;
    size_t n = strcspn(p, "/");
    char *token = mem_strndup(p, n), *w = token;
    for (const char *r = token; *r; r++) {
        if (*r == '~' && (r[1] == '0' || r[1] == '1'))
            *w++ = *++r == '0' ? '~' : '/';
        else
            *w++ = *r;
    }
    *w = '\0';
    *pointer = p + n;
    return token;
}

/* An array index; -1 when it is none. "-" is the place after the last when `end` allows it. */
static int array_index(const cJSON *array, const char *token, bool end)
{
    int size = cJSON_GetArraySize(array);
    if (end && !strcmp(token, "-"))
        return size;
    if (!*token || strlen(token) > 9 || strspn(token, "0123456789") != strlen(token) ||
        (token[0] == '0' && token[1]))
        return -1;
    int i = atoi(token);
    return i < size + (end ? 1 : 0) ? i : -1;
}

static cJSON *step(cJSON *at, const char *token)
{
    if (cJSON_IsObject(at))
        return json_get(at, token);
    if (cJSON_IsArray(at)) {
        int i = array_index(at, token, false);
        return i < 0 ? NULL : cJSON_GetArrayItem(at, i);
    }
    return NULL;
}

/* Follows all but the last token; that one goes to *last (malloc'd). NULL when the way breaks off. */
static cJSON *parent_of(cJSON *doc, const char *pointer, char **last)
{
    cJSON *at = doc;
    char *token = next_token(&pointer);
    while (token && *pointer) {
        at = step(at, token);
        free(token);
        token = at ? next_token(&pointer) : NULL;
    }
    if (!token)
        return NULL;
    *last = token;
    return at;
}

static cJSON *find(cJSON *doc, const char *pointer)
{
    if (!*pointer)
        return doc;
    cleanup_free char *last = NULL;
    cJSON *parent = parent_of(doc, pointer, &last);
    return parent ? step(parent, last) : NULL;
}

/* i is at least 1 and names an element. Debian's cJSON_InsertItemInArray (1.7.15-1+deb12u4) refuses every i
 * but 0. */
static void insert_before(cJSON *array, int i, cJSON *value)
{
    cJSON *after = cJSON_GetArrayItem(array, i);
    value->next = after;
    value->prev = after->prev;
    after->prev->next = value;
    after->prev = value;
}

/* Takes value, also on failure. */
static bool add(cJSON **doc, const char *pointer, cJSON *value)
{
    if (!*pointer) {
        cJSON_Delete(*doc);
        *doc = value;
        return true;
    }
    cleanup_free char *last = NULL;
    cJSON *parent = parent_of(*doc, pointer, &last);
    if (cJSON_IsObject(parent)) {
        json_map_set(parent, last, value);
        return true;
    }
    int i = cJSON_IsArray(parent) ? array_index(parent, last, true) : -1;
    if (i < 0) {
        cJSON_Delete(value);
        return false;
    }
    if (i == cJSON_GetArraySize(parent))
        cJSON_AddItemToArray(parent, value);
    else if (i == 0)
        return cJSON_InsertItemInArray(parent, 0, value);
    else
        insert_before(parent, i, value);
    return true;
}

/* Takes the value out; NULL when there is none. */
static cJSON *take(cJSON *doc, const char *pointer)
{
    cleanup_free char *last = NULL;
    cJSON *parent = parent_of(doc, pointer, &last);
    cJSON *v = parent ? step(parent, last) : NULL;
    if (!v)
        return NULL;
    cJSON_DetachItemViaPointer(parent, v);
    free(v->string);
    v->string = NULL;
    return v;
}

static bool apply_one(cJSON **doc, const cJSON *op, size_t *copied)
{
    const char *name = json_str(op, "op"), *path = json_str(op, "path"), *from = json_str(op, "from");
    const cJSON *value = json_get(op, "value");
    if (!name || !path)
        return false;
    if (!strcmp(name, "add"))
        return value && add(doc, path, json_dup(value));
    if (!strcmp(name, "remove")) {
        cJSON *v = take(*doc, path);
        cJSON_Delete(v);
        return v != NULL;
    }
    if (!strcmp(name, "replace")) {
        if (!value || !find(*doc, path))
            return false;
        if (!*path)
            return add(doc, path, json_dup(value));
        cleanup_free char *last = NULL;
        cJSON *parent = parent_of(*doc, path, &last);
        cJSON *old = step(parent, last), *fresh = json_dup(value);
        free(fresh->string);
        fresh->string = mem_strdup(old->string);
        return cJSON_ReplaceItemViaPointer(parent, old, fresh);
    }
    if (!strcmp(name, "test")) {
        const cJSON *v = find(*doc, path);
        if (!v || cJSON_IsNull(v))
            return !value || cJSON_IsNull(value);
        return value && json_equal(v, value);
    }
    if (!from)
        return false;
    if (!strcmp(name, "move")) {
        size_t n = strlen(from);
        if (!strncmp(path, from, n) && path[n] == '/')
            return false; /* into itself */
        cJSON *v = take(*doc, from);
        return v && add(doc, path, v);
    }
    if (!strcmp(name, "copy")) {
        const cJSON *v = find(*doc, from);
        if (!v)
            return false;
        cleanup_free char *text = json_text(v);
        *copied += strlen(text);
        if (*copied > COPIED_BYTES_MAX)
            return false;
        cJSON *dup = json_dup(v);
        free(dup->string);
        dup->string = NULL;
        return add(doc, path, dup);
    }
    return false;
}

cJSON *json_patch_apply(cJSON *doc, const cJSON *patch, struct error **err)
{
    size_t copied = 0;
    if (!cJSON_IsArray(patch)) {
        const char *what = cJSON_IsObject(patch)   ? "object"
                           : cJSON_IsString(patch) ? "string"
                           : cJSON_IsNumber(patch) ? "number"
                                                   : "bool";
        error_set(err, 400, "BadRequest",
                  "error decoding patch: json: cannot unmarshal %s into Go value of type jsonpatch.Patch",
                  what);
        cJSON_Delete(doc);
        return NULL;
    }
    int n = cJSON_GetArraySize(patch);
    if (n > OPERATIONS_MAX) {
        error_set(err, 413, "RequestEntityTooLarge",
                  "Request entity too large: The allowed maximum operations in a JSON patch is %d, got %d",
                  OPERATIONS_MAX, n);
        cJSON_Delete(doc);
        return NULL;
    }
    for (const cJSON *op = patch->child; op; op = op->next) {
        if (!apply_one(&doc, op, &copied)) {
            patch_error_unprocessable(err);
            cJSON_Delete(doc);
            return NULL;
        }
    }
    return doc;
}
