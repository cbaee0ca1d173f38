/* Making room for a pod by removing pods of lower priority.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#preemption */
#include <stdlib.h>
#include <string.h>
#include "common/mem.h"
#include "scheduler/algorithm.h"

#define CANDIDATES_MAX 100 /* enough to choose from */

struct candidate {
    struct node_info *node;
    struct pod_info **victims; /* most important first */
    size_t count;
};

static void candidate_clear(struct candidate *k)
{
    for (size_t i = 0; i < k->count; i++)
        pod_info_unref(k->victims[i]);
    free(k->victims);
    *k = (struct candidate){0};
}

static int64_t start_of(const struct pod_info *p)
{
    return p->started_micros ? p->started_micros : p->created_micros;
}

/* Higher priority first, then who runs longer. */
static int compare_importance(const void *a, const void *b)
{
    const struct pod_info *x = *(struct pod_info *const *)a, *y = *(struct pod_info *const *)b;
    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return (start_of(x) > start_of(y)) - (start_of(x) < start_of(y));
}

/* The verdict with the node as it is now: what looks at the whole cluster is counted anew. */
static enum verdict fits_now(struct cycle *c, struct node_info *n)
{
    cycle_pre_filter(c);
    return filter_with_nominated(c, n, NULL);
}

/* Which pods must leave this node? False when it does not help, with the reason added. The node is left as it
 * was. */
static bool select_victims(struct cycle *c, struct node_info *n, struct candidate *out)
{
    cleanup_free struct pod_info **lower = mem_alloc((n->pod_count + 1) * sizeof(*lower));
    size_t count = 0;
    for (size_t i = 0; i < n->pod_count; i++)
        if (n->pods[i]->priority < c->pod->priority)
            lower[count++] = pod_info_ref(n->pods[i]);
    if (!count) {
        reasons_add(c->reasons, "No preemption victims found for incoming pod");
        return false;
    }
    for (size_t i = 0; i < count; i++)
        node_info_remove(n, lower[i]);
    *out = (struct candidate){.node = n, .victims = mem_alloc(count * sizeof(*lower))};
    bool fits = fits_now(c, n) == VERDICT_FITS;
    qsort(lower, count, sizeof(*lower), compare_importance);
    struct reasons ignored = {0}, *kept = c->reasons;
    c->reasons = &ignored;
    for (size_t i = 0; i < count; i++) {
        /* Spare whom we can, the most important first. */
        node_info_add(n, lower[i]);
        if (fits && fits_now(c, n) != VERDICT_FITS) {
            node_info_remove(n, lower[i]);
            out->victims[out->count++] = pod_info_ref(lower[i]);
        }
    }
    c->reasons = kept;
    reasons_clear(&ignored);
    for (size_t i = 0; i < out->count; i++)
        node_info_add(n, out->victims[i]);
    for (size_t i = 0; i < count; i++)
        pod_info_unref(lower[i]);
    return fits && out->count;
}

static int64_t priority_sum(const struct candidate *k)
{
    int64_t sum = 0;
    for (size_t i = 0; i < k->count; i++)
        sum += k->victims[i]->priority + INT64_C(2147483648); /* so that more victims always weigh more */
    return sum;
}

/* When the longest running of the most important victims began. */
static int64_t earliest_start(const struct candidate *k)
{
    return start_of(k->victims[0]);
}

/* Less harm: a lower most important victim, a smaller sum, fewer victims, victims that have done less work.
 */
static bool better(const struct candidate *a, const struct candidate *b)
{
    if (a->victims[0]->priority != b->victims[0]->priority)
        return a->victims[0]->priority < b->victims[0]->priority;
    int64_t sum_a = priority_sum(a), sum_b = priority_sum(b);
    if (sum_a != sum_b)
        return sum_a < sum_b;
    if (a->count != b->count)
        return a->count < b->count;
    return earliest_start(a) > earliest_start(b);
}

/* Is room being made already, by pods that are on their way out? */
static bool already_preempting(const struct pod_info *pod, struct cache *cache)
{
    const char *name = cache_nominated_node(cache, pod->uid);
    const struct node_info *n = name ? cache_node(cache, name) : NULL;
    for (size_t i = 0; n && i < n->pod_count; i++)
        if (n->pods[i]->terminating && n->pods[i]->priority < pod->priority)
            return true;
    return false;
}

char *preempt(const struct pod_info *pod, struct cache *cache, const struct owners *owners,
              const enum verdict *refused, struct outcome *out)
{
    if (!pod->may_preempt)
        return mem_strdup("not eligible due to preemptionPolicy=Never.");
    if (already_preempting(pod, cache)) {
        out->nominated = mem_strdup(cache_nominated_node(cache, pod->uid));
        return mem_strdup("not eligible due to a terminating pod on the nominated node.");
    }
    struct reasons reasons = {0};
    struct candidate best = {0};
    struct cycle c;
    cycle_begin(&c, pod, cache, owners, &reasons);
    size_t count = cache->node_count;
    int candidates = 0;
    for (size_t i = 0; i < count; i++) {
        if (refused[i] == VERDICT_UNRESOLVABLE) {
            reasons_add(&reasons, "Preemption is not helpful for scheduling");
            continue;
        }
        struct candidate k = {0};
        if (candidates < CANDIDATES_MAX && select_victims(&c, cache->nodes[i], &k)) {
            candidates++;
            if (!best.node || better(&k, &best)) {
                candidate_clear(&best);
                best = k;
                continue;
            }
        }
        candidate_clear(&k);
    }
    cycle_end(&c);
    char *message = NULL;
    if (best.node) {
        out->nominated = mem_strdup(best.node->name);
        out->victims = best.victims;
        out->victim_count = best.count;
    } else {
        message = fit_message(count, &reasons);
    }
    reasons_clear(&reasons);
    return message;
}
