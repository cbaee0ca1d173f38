#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "apiserver/crd/custom.h"
#include "common/json.h"
#include "common/mem.h"

static const cJSON *find(const cJSON *v, const char *p);

/* [?(@.type=="Ready")]: goes on in each item whose member has the value. */
static const cJSON *find_filtered(const cJSON *list, const char *p)
{
    const char *end = strstr(p, ")]");
    if (strncmp(p, "[?(@.", 5) != 0 || !end)
        return NULL;
    cleanup_free char *text = mem_strndup(p + 5, (size_t)(end - p - 5));
    char *op = strstr(text, "==");
    if (!op)
        return NULL;
    char *value = op + 2 + strspn(op + 2, " \"'");
    *op = 0;
    op[-(op > text && op[-1] == ' ')] = 0;
    value[strcspn(value, "\"'")] = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, list)
    {
        const char *is = json_str(item, text);
        const cJSON *found = is && !strcmp(is, value) ? find(item, end + 2) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

static const cJSON *find_in_brackets(const cJSON *v, const char *p)
{
    if (p[1] == '?')
        return find_filtered(v, p);
    const char *end = strchr(p, ']');
    if (!end)
        return NULL;
    if (p[1] == '*') {
        const cJSON *item;
        cJSON_ArrayForEach(item, v)
        {
            const cJSON *found = find(item, end + 1);
            if (found)
                return found;
        }
        return NULL;
    }
    if (p[1] == '\'' || p[1] == '"') {
        cleanup_free char *name = mem_strndup(p + 2, (size_t)(end - p - 2));
        name[strcspn(name, "'\"")] = 0;
        return find(json_get(v, name), end + 1);
    }
    return isdigit((unsigned char)p[1])
               ? find(cJSON_GetArrayItem(v, (int)strtol(p + 1, NULL, 10)), end + 1)
               : NULL;
}

static const cJSON *find(const cJSON *v, const char *p)
{
    if (!v || !*p)
        return v;
    if (*p == '[')
        return find_in_brackets(v, p);
    if (*p == '.')
        p++;
    cleanup_free char *name = mem_strdup(p);
    size_t n = 0;
    for (; *p && *p != '.' && *p != '['; p++) { /* a dot in a name is written \. */
        if (*p == '\\' && p[1])
            p++;
        name[n++] = *p;
    }
    name[n] = 0;
    return n ? find(json_get(v, name), p) : NULL;
}

const cJSON *jsonpath_find(const cJSON *object, const char *path)
{
    return find(object, path);
}
