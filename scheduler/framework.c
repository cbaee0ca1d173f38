#include "scheduler/framework.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"

/* In the order of Kubernetes' default profile. */
static const struct plugin *const plugins[] = {
    &plugin_node_unschedulable,  &plugin_node_name,          &plugin_taint_toleration,
    &plugin_node_affinity,       &plugin_node_ports,         &plugin_node_resources_fit,
    &plugin_volume_binding,      &plugin_pod_topology_spread, &plugin_inter_pod_affinity,
    &plugin_balanced_allocation, &plugin_image_locality,
};

void reasons_add(struct reasons *r, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < r->count; i++) {
        if (!strcmp(r->items[i].text, text)) {
            r->items[i].count++;
            return;
        }
    }
    r->items = mem_realloc(r->items, (r->count + 1) * sizeof(*r->items));
    r->items[r->count++] = (struct reason){mem_strdup(text), 1};
}

void reasons_clear(struct reasons *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->items[i].text);
    free(r->items);
    *r = (struct reasons){0};
}

void cycle_begin(struct cycle *c, const struct pod_info *pod, struct cache *cache,
                 const struct owners *owners, struct reasons *reasons)
{
    *c = (struct cycle){.pod = pod, .cache = cache, .owners = owners, .reasons = reasons};
}

void cycle_pre_filter(struct cycle *c)
{
    for (size_t i = 0; i < ARRAY_LEN(plugins); i++)
        if (plugins[i]->pre_filter)
            plugins[i]->pre_filter(c);
}

enum verdict cycle_filter(struct cycle *c, const struct node_info *n, const struct plugin **refused_by)
{
    for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
        if (!plugins[i]->filter)
            continue;
        enum verdict v = plugins[i]->filter(c, n);
        if (v != VERDICT_FITS) {
            if (refused_by)
                *refused_by = plugins[i];
            return v;
        }
    }
    return VERDICT_FITS;
}

struct node_info *cycle_pick(struct cycle *c, struct node_info **nodes, size_t count, unsigned *seed)
{
    if (count <= 1)
        return count ? nodes[0] : NULL;
    c->nodes = nodes;
    c->node_count = count;
    cleanup_free int64_t *total = mem_alloc(count * sizeof(*total));
    cleanup_free int64_t *scores = mem_alloc(count * sizeof(*scores));
    for (size_t i = 0; i < ARRAY_LEN(plugins); i++) {
        const struct plugin *p = plugins[i];
        if (!p->score || (p->pre_score && !p->pre_score(c)))
            continue;
        memset(scores, 0, count * sizeof(*scores));
        p->score(c, scores);
        for (size_t n = 0; n < count; n++)
            total[n] += scores[n] * p->weight;
    }
    size_t best = 0;
    unsigned ties = 1;
    for (size_t n = 1; n < count; n++) {
        if (total[n] > total[best]) {
            best = n;
            ties = 1;
        } else if (total[n] == total[best] && (unsigned)rand_r(seed) % ++ties == 0) {
            best = n;
        }
    }
    return nodes[best];
}

void cycle_end(struct cycle *c)
{
    volume_state_free(c->volumes);
    free(c->rejected);
    c->volumes = NULL;
    c->rejected = NULL;
    spread_state_free(c->spread);
    pod_affinity_state_free(c->affinity);
    c->spread = NULL;
    c->affinity = NULL;
}

void scores_normalize(int64_t *scores, size_t count, bool reverse)
{
    int64_t max = 0;
    for (size_t i = 0; i < count; i++)
        if (scores[i] > max)
            max = scores[i];
    for (size_t i = 0; i < count; i++) {
        int64_t v = max ? SCORE_MAX * scores[i] / max : 0;
        scores[i] = reverse ? SCORE_MAX - v : v;
    }
}
