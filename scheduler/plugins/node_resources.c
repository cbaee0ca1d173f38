/* Does the pod fit into what is left of a node, and where does it leave the most, in the best proportion? */
#include <math.h>
#include <string.h>
#include "scheduler/framework.h"

static enum verdict check(struct cycle *c, const char *name, int64_t asked, int64_t allocatable,
                          int64_t requested)
{
    if (asked <= 0 || asked <= allocatable - requested)
        return VERDICT_FITS;
    reasons_add(c->reasons, "Insufficient %s", name);
    return asked > allocatable ? VERDICT_UNRESOLVABLE : VERDICT_UNSCHEDULABLE;
}

static enum verdict worse(enum verdict a, enum verdict b)
{
    return a > b ? a : b;
}

static enum verdict filter(struct cycle *c, const struct node_info *n)
{
    const struct resources *asked = &c->pod->requests, *all = &n->allocatable, *used = &n->requested;
    enum verdict v = VERDICT_FITS;
    if ((int64_t)n->pod_count + 1 > all->pods) {
        reasons_add(c->reasons, "Too many pods");
        v = VERDICT_UNSCHEDULABLE;
    }
    v = worse(v, check(c, "cpu", asked->cpu, all->cpu, used->cpu));
    v = worse(v, check(c, "memory", asked->memory, all->memory, used->memory));
    v = worse(v, check(c, "ephemeral-storage", asked->ephemeral_storage, all->ephemeral_storage,
                       used->ephemeral_storage));
    for (size_t i = 0; i < asked->scalar_count; i++) {
        const char *name = asked->scalars[i].name;
        v = worse(v, check(c, name, asked->scalars[i].value, resources_scalar(all, name),
                           resources_scalar(used, name)));
    }
    return v;
}

static int64_t least(int64_t requested, int64_t capacity)
{
    if (capacity <= 0 || requested > capacity)
        return 0;
    return (int64_t)((__int128)(capacity - requested) * SCORE_MAX / capacity);
}

static void score_least_allocated(struct cycle *c, int64_t *scores)
{
    for (size_t i = 0; i < c->node_count; i++) {
        const struct node_info *n = c->nodes[i];
        int64_t sum = 0, weights = 0;
        if (n->allocatable.cpu > 0) {
            sum += least(n->nonzero_cpu + c->pod->nonzero_cpu, n->allocatable.cpu);
            weights++;
        }
        if (n->allocatable.memory > 0) {
            sum += least(n->nonzero_memory + c->pod->nonzero_memory, n->allocatable.memory);
            weights++;
        }
        scores[i] = weights ? sum / weights : 0;
    }
}

const struct plugin plugin_node_resources_fit = {.name = "NodeResourcesFit",
                                                 .events = EVENT_NODE_ADD | EVENT_NODE_ALLOCATABLE |
                                                           EVENT_POD_DELETE | EVENT_POD_SCALE_DOWN,
                                                 .filter = filter,
                                                 .weight = 1,
                                                 .score = score_least_allocated};

/* A pod that asks for nothing does not change a node's balance. */
static bool pre_score_balanced(struct cycle *c)
{
    return !c->pod->best_effort;
}

static double fraction(int64_t requested, int64_t capacity)
{
    double f = (double)requested / (double)capacity;
    return f > 1 ? 1 : f;
}

/* The standard deviation of two fractions is half their difference. */
static void score_balanced(struct cycle *c, int64_t *scores)
{
    for (size_t i = 0; i < c->node_count; i++) {
        const struct node_info *n = c->nodes[i];
        double deviation = 0;
        if (n->allocatable.cpu > 0 && n->allocatable.memory > 0) {
            double cpu = fraction(n->requested.cpu + c->pod->requests.cpu, n->allocatable.cpu);
            double memory = fraction(n->requested.memory + c->pod->requests.memory, n->allocatable.memory);
            deviation = fabs(cpu - memory) / 2;
        }
        scores[i] = (int64_t)((1 - deviation) * SCORE_MAX);
    }
}
const struct plugin plugin_balanced_allocation = {.name = "NodeResourcesBalancedAllocation",
                                                  .weight = 1,
                                                  .pre_score = pre_score_balanced,
                                                  .score = score_balanced};
