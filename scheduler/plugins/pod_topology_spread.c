/* Even spreading over the domains of a topology.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/ */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "scheduler/framework.h"

#define HOSTNAME "kubernetes.io/hostname"
#define ZONE     "topology.kubernetes.io/zone"

struct spread_state {
    struct map *counts; /* one for each hard constraint: pods in each domain */
    int64_t *minimum;
    size_t hard_count;
    /* Scoring. */
    struct spread_constraints defaults; /* owned; when the pod has none of its own */
    const struct spread_constraints *soft;
    bool all_keys; /* nodes that lack a key are left out */
};

void spread_state_free(struct spread_state *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->hard_count; i++)
        map_free(&s->counts[i], NULL);
    free(s->counts);
    free(s->minimum);
    spread_constraints_clear(&s->defaults);
    free(s);
}

static struct spread_state *state(struct cycle *c)
{
    if (!c->spread)
        c->spread = mem_alloc(sizeof(*c->spread));
    return c->spread;
}

static bool has_all_keys(const struct spread_constraints *list, const struct node_info *n)
{
    for (size_t i = 0; i < list->count; i++)
        if (!json_map_str(n->labels, list->items[i].topology_key))
            return false;
    return true;
}

/* Do the pod's node affinity and taints leave this node in, as the constraint wants it? */
static bool node_counts(const struct cycle *c, const struct spread_constraint *k, const struct node_info *n)
{
    if (k->honor_affinity && !node_affinity_matches(c->pod->spec, n))
        return false;
    return !k->honor_taints || !untolerated_taint(c->pod->spec, n);
}

static int64_t matching_pods(const struct cycle *c, const struct spread_constraint *k,
                             const struct node_info *n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n->pod_count; i++) {
        const struct pod_info *p = n->pods[i];
        if (!p->terminating && !strcmp(p->ns, c->pod->ns) && label_selector_matches(k->selector, p->labels))
            count++;
    }
    return count;
}

/* --- hard constraints --- */

struct minimum {
    int64_t value;
    bool any;
};

static void find_minimum(void *ctx, const char *key, union map_value *v)
{
    (void)key;
    struct minimum *m = ctx;
    if (!m->any || v->number < m->value)
        m->value = v->number;
    m->any = true;
}

static void pre_filter(struct cycle *c)
{
    const struct spread_constraints *hard = &c->pod->spread_hard;
    spread_state_free(c->spread);
    c->spread = NULL;
    if (!hard->count)
        return;
    struct spread_state *s = state(c);
    s->hard_count = hard->count;
    s->counts = mem_alloc(hard->count * sizeof(*s->counts));
    s->minimum = mem_alloc(hard->count * sizeof(*s->minimum));
    for (size_t i = 0; i < c->cache->node_count; i++) {
        const struct node_info *n = c->cache->nodes[i];
        if (!has_all_keys(hard, n))
            continue;
        for (size_t k = 0; k < hard->count; k++)
            if (node_counts(c, &hard->items[k], n))
                map_at(&s->counts[k], json_map_str(n->labels, hard->items[k].topology_key))->number +=
                    matching_pods(c, &hard->items[k], n);
    }
    for (size_t k = 0; k < hard->count; k++) {
        struct minimum m = {0};
        map_each(&s->counts[k], find_minimum, &m);
        /* With too few domains, the ones to come count as empty. */
        s->minimum[k] = (int)s->counts[k].count < hard->items[k].min_domains ? 0 : m.value;
    }
}

static enum verdict filter(struct cycle *c, const struct node_info *n)
{
    const struct spread_constraints *hard = &c->pod->spread_hard;
    for (size_t k = 0; k < hard->count; k++) {
        const struct spread_constraint *constraint = &hard->items[k];
        const char *domain = json_map_str(n->labels, constraint->topology_key);
        if (!domain) {
            reasons_add(c->reasons,
                        "node(s) didn't match pod topology spread constraints (missing required label)");
            return VERDICT_UNRESOLVABLE;
        }
        int64_t self = label_selector_matches(constraint->selector, c->pod->labels);
        const union map_value *count = map_find(&c->spread->counts[k], domain);
        if ((count ? count->number : 0) + self - c->spread->minimum[k] > constraint->max_skew) {
            reasons_add(c->reasons, "node(s) didn't match pod topology spread constraints");
            return VERDICT_UNSCHEDULABLE;
        }
    }
    return VERDICT_FITS;
}

/* --- soft constraints --- */

static void add_match_labels(cJSON *selector, const cJSON *labels)
{
    const cJSON *l;
    cJSON_ArrayForEach(l, labels)
        if (cJSON_IsString(l) && l->string)
            json_map_set_str(json_ensure_object(selector, "matchLabels"), l->string, l->valuestring);
}

/* What groups this pod with others: the Services that select it and the ReplicaSet that owns it. NULL when
 * nothing does. */
static struct label_selector *default_selector(const struct cycle *c)
{
    cleanup_json cJSON *selector = cJSON_CreateObject();
    if (c->owners && c->owners->services) {
        cleanup_objects struct kube_object_list services = {0};
        informer_by_index(c->owners->services, "namespace", c->pod->ns, &services);
        for (size_t i = 0; i < services.count; i++) {
            const cJSON *map = json_path(services.items[i]->json, "spec.selector");
            if (!cJSON_GetArraySize(map))
                continue;
            struct label_selector *s = label_selector_from_map(map);
            if (label_selector_matches(s, c->pod->labels))
                add_match_labels(selector, map);
            label_selector_free(s);
        }
    }
    const cJSON *owner, *e;
    cJSON_ArrayForEach(owner, json_path(c->pod->object->json, "metadata.ownerReferences")) {
        if (!json_bool(owner, "controller", false) || strcmp(json_str_or(owner, "kind", ""), "ReplicaSet") ||
            !c->owners || !c->owners->replica_sets)
            continue;
        cleanup_object struct kube_object *rs =
            informer_get_ns(c->owners->replica_sets, c->pod->ns, json_str_or(owner, "name", ""));
        const cJSON *rs_selector = rs ? json_path(rs->json, "spec.selector") : NULL;
        add_match_labels(selector, json_get(rs_selector, "matchLabels"));
        cJSON_ArrayForEach(e, json_get(rs_selector, "matchExpressions"))
            cJSON_AddItemToArray(json_ensure_array(selector, "matchExpressions"), json_dup(e));
    }
    return selector->child ? label_selector_from_json(selector, NULL) : NULL;
}

/* Kubernetes' system defaults: evenly over hosts, and less strictly over zones. */
static void build_defaults(struct cycle *c, struct spread_state *s)
{
    static const struct {
        const char *key;
        int max_skew;
    } defaults[] = {{HOSTNAME, 3}, {ZONE, 5}};
    for (size_t i = 0; i < ARRAY_LEN(defaults); i++) {
        struct label_selector *selector = default_selector(c);
        if (!selector)
            return;
        s->defaults.items = mem_realloc(s->defaults.items, (i + 1) * sizeof(*s->defaults.items));
        s->defaults.items[s->defaults.count++] = (struct spread_constraint){.topology_key = defaults[i].key,
                                                                            .selector = selector,
                                                                            .max_skew = defaults[i].max_skew,
                                                                            .honor_affinity = true};
    }
}

static bool pre_score(struct cycle *c)
{
    struct spread_state *s = state(c);
    spread_constraints_clear(&s->defaults);
    s->soft = &c->pod->spread_soft;
    s->all_keys = true;
    if (!c->pod->has_constraints) {
        build_defaults(c, s);
        s->soft = &s->defaults;
        s->all_keys = false; /* a cluster without zones is still spread over its hosts */
    }
    return s->soft->count > 0;
}

/* Pods in each domain of one constraint, over the domains of the nodes that are left; returns the number of
 * domains. */
static size_t count_domains(struct cycle *c, const struct spread_constraint *k, const bool *ignored,
                            struct map *counts)
{
    for (size_t i = 0; i < c->node_count; i++) {
        const char *domain = ignored[i] ? NULL : json_map_str(c->nodes[i]->labels, k->topology_key);
        if (domain)
            map_at(counts, domain);
    }
    for (size_t i = 0; i < c->cache->node_count; i++) {
        const struct node_info *n = c->cache->nodes[i];
        if ((c->spread->all_keys && !has_all_keys(c->spread->soft, n)) || !node_counts(c, k, n))
            continue;
        const char *domain = json_map_str(n->labels, k->topology_key);
        union map_value *v = domain ? map_find(counts, domain) : NULL;
        if (v)
            v->number += matching_pods(c, k, n);
    }
    return counts->count;
}

static void score(struct cycle *c, int64_t *scores)
{
    const struct spread_constraints *soft = c->spread->soft;
    cleanup_free bool *ignored = mem_alloc(c->node_count * sizeof(*ignored));
    cleanup_free double *raw = mem_alloc(c->node_count * sizeof(*raw));
    size_t considered = 0;
    for (size_t i = 0; i < c->node_count; i++) {
        ignored[i] = c->spread->all_keys && !has_all_keys(soft, c->nodes[i]);
        considered += !ignored[i];
    }
    for (size_t k = 0; k < soft->count; k++) {
        const struct spread_constraint *constraint = &soft->items[k];
        bool by_host = !strcmp(constraint->topology_key, HOSTNAME);
        struct map counts = {0};
        size_t domains = by_host ? considered : count_domains(c, constraint, ignored, &counts);
        /* A topology with many domains weighs more, or hosts could never outweigh zones. */
        double weight = log((double)domains + 2);
        for (size_t i = 0; i < c->node_count; i++) {
            const char *domain =
                ignored[i] ? NULL : json_map_str(c->nodes[i]->labels, constraint->topology_key);
            if (!domain)
                continue;
            const union map_value *v = by_host ? NULL : map_find(&counts, domain);
            int64_t count = by_host ? matching_pods(c, constraint, c->nodes[i]) : v ? v->number : 0;
            raw[i] += (double)count * weight + (constraint->max_skew - 1);
        }
        map_free(&counts, NULL);
    }
    int64_t min = INT64_MAX, max = 0;
    for (size_t i = 0; i < c->node_count; i++) {
        scores[i] = (int64_t)round(raw[i]);
        if (!ignored[i] && scores[i] < min)
            min = scores[i];
        if (!ignored[i] && scores[i] > max)
            max = scores[i];
    }
    for (size_t i = 0; i < c->node_count; i++)
        scores[i] = ignored[i] ? 0 : max == 0 ? SCORE_MAX : SCORE_MAX * (max + min - scores[i]) / max;
}

const struct plugin plugin_pod_topology_spread = {
    .name = "PodTopologySpread",
    .events = EVENT_NODE_ADD | EVENT_NODE_LABEL | EVENT_NODE_TAINT | EVENT_NODE_DELETE | EVENT_POD_ADD |
              EVENT_POD_LABEL | EVENT_POD_DELETE,
    .pre_filter = pre_filter,
    .filter = filter,
    .weight = 2,
    .pre_score = pre_score,
    .score = score};
