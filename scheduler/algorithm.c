#include "scheduler/algorithm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "common/buf.h"
#include "common/mem.h"

#define NOMINATED_MAX 64

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *fit_message(size_t node_count, const struct reasons *r)
{
    struct buf b = {0};
    cleanup_free char **lines = mem_alloc((r->count + 1) * sizeof(*lines));
    for (size_t i = 0; i < r->count; i++)
        lines[i] = mem_printf("%d %s", r->items[i].count, r->items[i].text);
    qsort(lines, r->count, sizeof(*lines), compare_texts);
    buf_printf(&b, "0/%zu nodes are available:", node_count);
    for (size_t i = 0; i < r->count; i++) {
        buf_printf(&b, "%s %s", i ? "," : "", lines[i]);
        free(lines[i]);
    }
    if (r->count)
        buf_addc(&b, '.');
    return buf_take(&b);
}

enum verdict filter_with_nominated(struct cycle *c, struct node_info *n, const struct plugin **refused_by)
{
    struct pod_info *nominated[NOMINATED_MAX];
    size_t count =
        cache_nominated_pods(c->cache, n->name, c->pod->priority, c->pod->uid, nominated, NOMINATED_MAX);
    if (count) {
        for (size_t i = 0; i < count; i++)
            node_info_add(n, nominated[i]);
        enum verdict v = cycle_filter(c, n, refused_by);
        for (size_t i = 0; i < count; i++)
            node_info_remove(n, nominated[i]);
        if (v != VERDICT_FITS)
            return v;
        /* They may never arrive, so it must fit without them too. */
    }
    return cycle_filter(c, n, refused_by);
}

void schedule_pod(const struct pod_info *pod, struct cache *cache, const struct owners *owners,
                  unsigned *seed, struct outcome *out)
{
    *out = (struct outcome){0};
    size_t count = cache->node_count;
    if (!count) {
        out->message = mem_strdup("no nodes available to schedule pods");
        out->events = EVENT_NODE_ADD;
        return;
    }
    struct reasons reasons = {0};
    struct cycle c;
    cycle_begin(&c, pod, cache, owners, &reasons);
    cycle_pre_filter(&c);
    cleanup_free struct node_info **fitting = mem_alloc(count * sizeof(*fitting));
    cleanup_free enum verdict *verdicts = mem_alloc(count * sizeof(*verdicts));
    if (c.rejected)
        out->events = plugin_volume_binding.events;
    for (size_t i = 0; i < count; i++) {
        struct node_info *n = cache->nodes[i];
        const struct plugin *by = NULL;
        if (c.rejected) {
            verdicts[i] = VERDICT_UNRESOLVABLE;
            continue;
        }
        if (node_affinity_excludes_by_name(pod->spec, n->name)) {
            reasons_add(&reasons, "node(s) didn't satisfy plugin(s) [NodeAffinity]");
            verdicts[i] = VERDICT_UNRESOLVABLE;
            by = &plugin_node_affinity;
        } else {
            out->evaluated++;
            verdicts[i] = filter_with_nominated(&c, n, &by);
        }
        if (verdicts[i] == VERDICT_FITS)
            fitting[out->feasible++] = n;
        else
            out->events |= by->events;
    }
    /* A pod that made room for itself goes where it did. */
    const char *nominated = cache_nominated_node(cache, pod->uid);
    for (size_t i = 0; nominated && i < out->feasible; i++)
        if (!strcmp(fitting[i]->name, nominated))
            out->node = fitting[i];
    if (!out->node)
        out->node = cycle_pick(&c, fitting, out->feasible, seed);
    cleanup_free char *rejected = mem_strdup(c.rejected);
    cycle_end(&c);
    if (!out->node) {
        cleanup_free char *why =
            rejected ? mem_printf("0/%zu nodes are available: %s.", count, rejected) : fit_message(count, &reasons);
        cleanup_free char *tail = preempt(pod, cache, owners, verdicts, out);
        out->message = tail ? mem_printf("%s preemption: %s", why, tail) : mem_strdup(why);
    }
    reasons_clear(&reasons);
}

void outcome_clear(struct outcome *o)
{
    free(o->message);
    free(o->nominated);
    for (size_t i = 0; i < o->victim_count; i++)
        pod_info_unref(o->victims[i]);
    free(o->victims);
    *o = (struct outcome){0};
}
