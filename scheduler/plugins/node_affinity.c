/* nodeSelector and nodeAffinity.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/ */
#include <string.h>
#include "common/json.h"
#include "common/node_selector.h"
#include "scheduler/framework.h"

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
    return node_selector_matches(required, n->labels, n->name);
}

/* Does one term name this node by metadata.name (or name none)? As DaemonSet pods do. */
static bool term_may_be(const cJSON *term, const char *name)
{
    const cJSON *f;
    cJSON_ArrayForEach(f, json_get(term, "matchFields")) {
        if (strcmp(json_str_or(f, "key", ""), "metadata.name") ||
            strcmp(json_str_or(f, "operator", ""), "In"))
            continue;
        if (!json_has_str(json_get(f, "values"), name))
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
            if (node_selector_term_matches(json_get(p, "preference"), c->nodes[i]->labels, c->nodes[i]->name))
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
