/* nodeSelector and nodeAffinity.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "scheduler/framework.h"

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
    if (!strcmp(op, "Exists"))
        return value != NULL;
    if (!strcmp(op, "DoesNotExist"))
        return value == NULL;
    if (!strcmp(op, "In") || !strcmp(op, "NotIn")) {
        bool found = false;
        cJSON_ArrayForEach(v, values)
            found = found || (value && cJSON_IsString(v) && !strcmp(v->valuestring, value));
        return found == !strcmp(op, "In");
    }
    long long have, want;
    v = values ? values->child : NULL;
    if (!value || !cJSON_IsString(v) || !to_number(value, &have) || !to_number(v->valuestring, &want))
        return false;
    return !strcmp(op, "Gt") ? have > want : !strcmp(op, "Lt") ? have < want : false;
}

/* All expressions of a term; an empty term matches nothing. */
static bool term_matches(const cJSON *term, const struct node_info *n)
{
    const cJSON *expressions = json_get(term, "matchExpressions"), *fields = json_get(term, "matchFields"),
                *e;
    if (!cJSON_GetArraySize(expressions) && !cJSON_GetArraySize(fields))
        return false;
    cJSON_ArrayForEach(e, expressions) {
        if (!expression_matches(e, json_map_str(n->labels, json_str_or(e, "key", ""))))
            return false;
    }
    cJSON_ArrayForEach(e, fields) {
        const char *value = !strcmp(json_str_or(e, "key", ""), "metadata.name") ? n->name : NULL;
        if (!expression_matches(e, value))
            return false;
    }
    return true;
}

bool node_affinity_matches(const cJSON *spec, const struct node_info *n)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(spec, "nodeSelector")) {
        const char *value = item->string ? json_map_str(n->labels, item->string) : NULL;
        if (!value || !cJSON_IsString(item) || strcmp(value, item->valuestring))
            return false;
    }
    const cJSON *required =
        json_path(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    if (!cJSON_IsObject(required))
        return true;
    cJSON_ArrayForEach(item, json_get(required, "nodeSelectorTerms")) {
        if (term_matches(item, n))
            return true;
    }
    return false;
}

/* Does one term name this node by metadata.name (or name none)? As DaemonSet pods do. */
static bool term_may_be(const cJSON *term, const char *name)
{
    const cJSON *f, *v;
    cJSON_ArrayForEach(f, json_get(term, "matchFields")) {
        if (strcmp(json_str_or(f, "key", ""), "metadata.name") ||
            strcmp(json_str_or(f, "operator", ""), "In"))
            continue;
        bool found = false;
        cJSON_ArrayForEach(v, json_get(f, "values"))
            found = found || (cJSON_IsString(v) && !strcmp(v->valuestring, name));
        if (!found)
            return false;
    }
    return true;
}

static enum verdict filter(struct cycle *c, const struct node_info *n)
{
    if (node_affinity_matches(c->pod->spec, n))
        return VERDICT_FITS;
    reasons_add(c->reasons, "node(s) didn't match Pod's node affinity/selector");
    return VERDICT_UNRESOLVABLE;
}

bool node_affinity_excludes_by_name(const cJSON *spec, const char *name)
{
    const cJSON *terms =
                    json_path(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
                                    "nodeSelectorTerms"),
                *term;
    if (!cJSON_GetArraySize(terms))
        return false;
    cJSON_ArrayForEach(term, terms) {
        if (term_may_be(term, name))
            return false;
    }
    return true;
}

static void score(struct cycle *c, int64_t *scores)
{
    const cJSON *preferred = json_path(
                    c->pod->spec, "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"),
                *p;
    for (size_t i = 0; i < c->node_count; i++) {
        cJSON_ArrayForEach(p, preferred) {
            if (term_matches(json_get(p, "preference"), c->nodes[i]))
                scores[i] += json_int(p, "weight", 0);
        }
    }
    scores_normalize(scores, c->node_count, false);
}

static bool pre_score(struct cycle *c)
{
    return cJSON_GetArraySize(json_path(
               c->pod->spec, "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution")) > 0;
}

const struct plugin plugin_node_affinity = {.name = "NodeAffinity",
                                            .events = EVENT_NODE_ADD | EVENT_NODE_LABEL,
                                            .filter = filter,
                                            .weight = 2,
                                            .pre_score = pre_score,
                                            .score = score};
