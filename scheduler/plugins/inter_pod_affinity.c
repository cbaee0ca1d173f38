/* Pods that want to be near, or far from, other pods.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "scheduler/framework.h"

/* Counts are kept for each pair of topology key and value. */
#define PAIR_MAX 512

struct pod_affinity_state {
    struct map refused;       /* domains that existing pods' anti-affinity closes to this pod */
    struct map affinity;      /* domains with pods that match all affinity terms of this pod */
    struct map anti_affinity; /* domains with pods that match an anti-affinity term of this pod */
    struct map score;
};

void pod_affinity_state_free(struct pod_affinity_state *s)
{
    if (!s)
        return;
    map_free(&s->refused, NULL);
    map_free(&s->affinity, NULL);
    map_free(&s->anti_affinity, NULL);
    map_free(&s->score, NULL);
    free(s);
}

/* The pair of a key and the node's value for it; NULL when the node lacks the label. */
static const char *pair(char out[PAIR_MAX], const char *key, const struct node_info *n)
{
    const char *value = json_map_str(n->labels, key);
    if (!value)
        return NULL;
    snprintf(out, PAIR_MAX, "%s=%s", key, value);
    return out;
}

static void count(struct map *m, const char *key, const struct node_info *n, int64_t by)
{
    char text[PAIR_MAX];
    if (pair(text, key, n))
        map_at(m, text)->number += by;
}

static bool counted(const struct map *m, const char *key, const struct node_info *n)
{
    char text[PAIR_MAX];
    const union map_value *v = pair(text, key, n) ? map_find(m, text) : NULL;
    return v && v->number > 0;
}

static bool matches(const struct cycle *c, const struct pod_term *t, const struct pod_info *owner,
                    const struct pod_info *other)
{
    return pod_term_matches(t, owner, other,
                            t->ns_selector ? cache_namespace_labels(c->cache, other->ns) : NULL);
}

static bool matches_all(const struct cycle *c, const struct pod_terms *terms, const struct pod_info *owner,
                        const struct pod_info *other)
{
    for (size_t i = 0; i < terms->count; i++)
        if (!matches(c, &terms->items[i], owner, other))
            return false;
    return terms->count > 0;
}

static void pre_filter(struct cycle *c)
{
    pod_affinity_state_free(c->affinity);
    struct pod_affinity_state *s = c->affinity = mem_alloc(sizeof(*s));
    const struct pod_info *pod = c->pod;
    for (size_t i = 0; i < c->cache->node_count; i++) {
        const struct node_info *n = c->cache->nodes[i];
        for (size_t k = 0; k < n->pod_count; k++) {
            const struct pod_info *other = n->pods[k];
            for (size_t t = 0; t < other->anti_affinity.count; t++)
                if (matches(c, &other->anti_affinity.items[t], other, pod))
                    count(&s->refused, other->anti_affinity.items[t].topology_key, n, 1);
            if (matches_all(c, &pod->affinity, pod, other))
                for (size_t t = 0; t < pod->affinity.count; t++)
                    count(&s->affinity, pod->affinity.items[t].topology_key, n, 1);
            for (size_t t = 0; t < pod->anti_affinity.count; t++)
                if (matches(c, &pod->anti_affinity.items[t], pod, other))
                    count(&s->anti_affinity, pod->anti_affinity.items[t].topology_key, n, 1);
        }
    }
}

static bool affinity_satisfied(struct cycle *c, const struct node_info *n)
{
    const struct pod_terms *terms = &c->pod->affinity;
    bool all = true;
    for (size_t i = 0; i < terms->count; i++) {
        if (!json_map_str(n->labels, terms->items[i].topology_key))
            return false;
        all = all && counted(&c->affinity->affinity, terms->items[i].topology_key, n);
    }
    /* The first of a group of pods that want to be with each other has nobody to go to. */
    return all || (!c->affinity->affinity.count && matches_all(c, terms, c->pod, c->pod));
}

static bool refused_here(struct cycle *c, const struct node_info *n)
{
    if (!c->affinity->refused.count)
        return false;
    const cJSON *label;
    cJSON_ArrayForEach(label, n->labels) {
        if (label->string && counted(&c->affinity->refused, label->string, n))
            return true;
    }
    return false;
}

static enum verdict filter(struct cycle *c, const struct node_info *n)
{
    if (!affinity_satisfied(c, n)) {
        reasons_add(c->reasons, "node(s) didn't match pod affinity rules");
        return VERDICT_UNRESOLVABLE;
    }
    for (size_t i = 0; i < c->pod->anti_affinity.count; i++) {
        if (counted(&c->affinity->anti_affinity, c->pod->anti_affinity.items[i].topology_key, n)) {
            reasons_add(c->reasons, "node(s) didn't match pod anti-affinity rules");
            return VERDICT_UNSCHEDULABLE;
        }
    }
    if (refused_here(c, n)) {
        reasons_add(c->reasons, "node(s) didn't satisfy existing pods anti-affinity rules");
        return VERDICT_UNSCHEDULABLE;
    }
    return VERDICT_FITS;
}

static void score_terms(struct cycle *c, const struct pod_terms *terms, const struct pod_info *owner,
                        const struct pod_info *other, const struct node_info *n, int sign, int fixed_weight)
{
    for (size_t i = 0; i < terms->count; i++)
        if (matches(c, &terms->items[i], owner, other))
            count(&c->affinity->score, terms->items[i].topology_key, n,
                  sign * (int64_t)(fixed_weight ? fixed_weight : terms->items[i].weight));
}

static bool pre_score(struct cycle *c)
{
    if (!c->affinity)
        return false;
    map_free(&c->affinity->score, NULL);
    for (size_t i = 0; i < c->cache->node_count; i++) {
        const struct node_info *n = c->cache->nodes[i];
        for (size_t k = 0; k < n->pod_count; k++) {
            const struct pod_info *other = n->pods[k], *pod = c->pod;
            score_terms(c, &pod->preferred_affinity, pod, other, n, 1, 0);
            score_terms(c, &pod->preferred_anti_affinity, pod, other, n, -1, 0);
            /* Others like to have this pod near as well; what they require counts a little. */
            score_terms(c, &other->affinity, other, pod, n, 1, 1);
            score_terms(c, &other->preferred_affinity, other, pod, n, 1, 0);
            score_terms(c, &other->preferred_anti_affinity, other, pod, n, -1, 0);
        }
    }
    return c->affinity->score.count > 0;
}

struct sum {
    const struct node_info *node;
    int64_t value;
};

static void add_pair(void *ctx, const char *key, union map_value *v)
{
    struct sum *s = ctx;
    const char *equals = strchr(key, '=');
    char name[PAIR_MAX];
    snprintf(name, sizeof(name), "%.*s", (int)(equals - key), key);
    const char *value = json_map_str(s->node->labels, name);
    if (value && !strcmp(value, equals + 1))
        s->value += v->number;
}

static void score(struct cycle *c, int64_t *scores)
{
    int64_t min = INT64_MAX, max = INT64_MIN;
    for (size_t i = 0; i < c->node_count; i++) {
        struct sum s = {.node = c->nodes[i]};
        map_each(&c->affinity->score, add_pair, &s);
        scores[i] = s.value;
        if (scores[i] < min)
            min = scores[i];
        if (scores[i] > max)
            max = scores[i];
    }
    for (size_t i = 0; i < c->node_count; i++)
        scores[i] = max > min ? SCORE_MAX * (scores[i] - min) / (max - min) : 0;
}

const struct plugin plugin_inter_pod_affinity = {.name = "InterPodAffinity",
                                                 .events = EVENT_NODE_ADD | EVENT_NODE_LABEL | EVENT_POD_ADD |
                                                           EVENT_POD_LABEL | EVENT_POD_DELETE,
                                                 .pre_filter = pre_filter,
                                                 .filter = filter,
                                                 .weight = 2,
                                                 .pre_score = pre_score,
                                                 .score = score};
