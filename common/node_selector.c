#include "common/node_selector.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"

static bool to_number(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return *text && !*end && !errno;
}

/* value: NULL when the label is absent. */
static bool expression_matches(const cJSON *e, const char *value)
{
    const char *op = json_str_or(e, "operator", "");
    const cJSON *values = json_get(e, "values"), *v;
    if (strcmp(op, "Exists") == 0 || strcmp(op, "DoesNotExist") == 0)
        return (value != NULL) == (*op == 'E');
    if (strcmp(op, "In") == 0 || strcmp(op, "NotIn") == 0) {
        bool found = value && json_has_str(values, value);
        return found == (*op == 'I');
    }
    long long have, want;
    v = values ? values->child : NULL;
    if (!value || !cJSON_IsString(v) || !to_number(value, &have) ||
        !to_number(v->valuestring, &want))
        return false;
    return strcmp(op, "Gt") == 0 ? have > want : strcmp(op, "Lt") == 0 ? have < want : false;
}

bool node_selector_term_matches(const cJSON *term, const cJSON *labels, const char *name)
{
    const cJSON *expressions = json_get(term, "matchExpressions"),
                *fields = json_get(term, "matchFields"), *e;
    if (!cJSON_GetArraySize(expressions) && !cJSON_GetArraySize(fields))
        return false; /* an empty term selects nothing */
    cJSON_ArrayForEach(e, expressions)
    {
        if (!expression_matches(e, json_map_str(labels, json_str_or(e, "key", ""))))
            return false;
    }
    cJSON_ArrayForEach(e, fields)
    {
        if (!expression_matches(e, strcmp(json_str_or(e, "key", ""), "metadata.name") == 0 ? name
                                                                                           : NULL))
            return false;
    }
    return true;
}

bool node_selector_matches(const cJSON *selector, const cJSON *labels, const char *name)
{
    if (!cJSON_IsObject(selector))
        return true;
    const cJSON *term;
    cJSON_ArrayForEach(term, json_get(selector, "nodeSelectorTerms"))
    {
        if (node_selector_term_matches(term, labels, name))
            return true;
    }
    return false;
}
