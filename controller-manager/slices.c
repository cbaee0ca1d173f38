#include "controller-manager/slices.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "controller-manager/objects.h"
#include "controller-manager/strmap.h"

struct draft {
    const cJSON *old;
    cJSON *endpoints;
    bool changed;
};

/* Endpoints that share one set of ports. */
struct port_group {
    const cJSON *ports;
    struct strmap wanted; /* identity -> struct slice_endpoint, those not placed yet */
    const struct slice_endpoint **order;
    size_t order_count;
    struct draft *drafts;
    size_t draft_count;
};

static char *endpoint_identity(const cJSON *endpoint)
{
    const cJSON *address = cJSON_GetArrayItem(json_get(endpoint, "addresses"), 0);
    return mem_printf("%s|%s", cJSON_IsString(address) ? address->valuestring : "",
                      json_str_or(endpoint, "targetRef.uid", ""));
}

static char *ports_key(const cJSON *ports)
{
    return cJSON_IsArray(ports) ? json_canonical_text(ports) : mem_strdup("[]");
}

static struct port_group *group_of(struct strmap *groups, const cJSON *ports)
{
    cleanup_free char *key = ports_key(ports);
    struct port_group *g = strmap_get(groups, key);
    if (!g) {
        g = mem_alloc(sizeof(*g));
        g->ports = ports;
        strmap_put(groups, key, g);
    }
    return g;
}

static void group_free(void *p)
{
    struct port_group *g = p;
    strmap_clear(&g->wanted, NULL);
    for (size_t i = 0; i < g->draft_count; i++)
        cJSON_Delete(g->drafts[i].endpoints);
    free(g->order);
    free(g->drafts);
    free(g);
}

static struct draft *add_draft(struct port_group *g, const cJSON *old)
{
    g->drafts = mem_realloc(g->drafts, (g->draft_count + 1) * sizeof(*g->drafts));
    struct draft *d = &g->drafts[g->draft_count++];
    *d = (struct draft){.old = old, .endpoints = cJSON_CreateArray()};
    return d;
}

static int size_of(const struct draft *d)
{
    return cJSON_GetArraySize(d->endpoints);
}

/* What of an existing slice is still wanted stays in it, brought up to date. */
static void keep_wanted(struct port_group *g, const cJSON *slice)
{
    struct draft *d = add_draft(g, slice);
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(slice, "endpoints"))
    {
        cleanup_free char *identity = endpoint_identity(e);
        struct slice_endpoint *w = strmap_remove(&g->wanted, identity);
        if (!w) {
            d->changed = true;
            continue;
        }
        if (!json_equal(e, w->endpoint))
            d->changed = true;
        cJSON_AddItemToArray(d->endpoints, json_dup(w->endpoint));
    }
}

/* The next endpoint that has no place yet, in the order given. */
static const struct slice_endpoint *next_homeless(struct port_group *g, size_t *at)
{
    while (*at < g->order_count) {
        const struct slice_endpoint *w = g->order[(*at)++];
        cleanup_free char *identity = endpoint_identity(w->endpoint);
        if (strmap_get(&g->wanted, identity) == w) {
            strmap_remove(&g->wanted, identity);
            return w;
        }
    }
    return NULL;
}

static void fill(struct port_group *g, struct draft *d, size_t *at)
{
    while (size_of(d) < MAX_ENDPOINTS_PER_SLICE && g->wanted.count) {
        const struct slice_endpoint *w = next_homeless(g, at);
        if (!w)
            return;
        cJSON_AddItemToArray(d->endpoints, json_dup(w->endpoint));
        d->changed = true;
    }
}

static void place_rest(struct port_group *g)
{
    size_t at = 0;
    /* Slices that must be written anyway take new endpoints first. */
    for (size_t i = 0; i < g->draft_count && g->wanted.count; i++)
        if (g->drafts[i].changed && size_of(&g->drafts[i]) > 0)
            fill(g, &g->drafts[i], &at);
    while (g->wanted.count) {
        /* Then the fullest one that has room for all that is left, rather than one more slice. */
        struct draft *best = NULL;
        for (size_t i = 0; i < g->draft_count; i++) {
            struct draft *d = &g->drafts[i];
            bool fits = d->old && (size_t)size_of(d) + g->wanted.count <= MAX_ENDPOINTS_PER_SLICE;
            if (fits && (!best || size_of(d) > size_of(best)))
                best = d;
        }
        size_t before = g->wanted.count;
        fill(g, best ? best : add_draft(g, NULL), &at);
        if (g->wanted.count == before)
            return; /* duplicates only */
    }
}

static void add_change(struct slice_plan *p, enum slice_action action, const cJSON *old,
                       const cJSON *ports, cJSON *endpoints_taken)
{
    p->changes = mem_realloc(p->changes, (p->count + 1) * sizeof(*p->changes));
    p->changes[p->count++] = (struct slice_change){
        .action = action,
        .old = old,
        .ports =
            endpoints_taken ? (cJSON_IsArray(ports) ? json_dup(ports) : cJSON_CreateArray()) : NULL,
        .endpoints = endpoints_taken};
}

/* A slice to delete and a slice to create are one update. */
static void reuse_deleted(struct slice_plan *p)
{
    size_t d = 0;
    for (size_t i = 0; i < p->count; i++) {
        if (p->changes[i].action != SLICE_CREATE)
            continue;
        while (d < p->count && p->changes[d].action != SLICE_DELETE)
            d++;
        if (d == p->count)
            return;
        p->changes[i].action = SLICE_UPDATE;
        p->changes[i].old = p->changes[d].old;
        p->changes[d].action = SLICE_KEEP;
        p->changes[d].old = NULL;
    }
}

static bool is_placeholder(const cJSON *slice)
{
    const cJSON *endpoints = json_get(slice, "endpoints"), *ports = json_get(slice, "ports");
    return !(endpoints && endpoints->child) && !(ports && ports->child);
}

struct slice_plan slices_plan(const cJSON *const *existing, size_t existing_count,
                              const struct slice_endpoint *wanted, size_t wanted_count)
{
    struct slice_plan plan = {0};
    struct strmap groups = {0};
    for (size_t i = 0; i < wanted_count; i++) {
        struct port_group *g = group_of(&groups, wanted[i].ports);
        cleanup_free char *identity = endpoint_identity(wanted[i].endpoint);
        if (strmap_get(&g->wanted, identity))
            continue;
        strmap_put(&g->wanted, identity, (void *)&wanted[i]);
        g->order = mem_realloc(g->order, (g->order_count + 1) * sizeof(*g->order));
        g->order[g->order_count++] = &wanted[i];
    }

    const cJSON *placeholder = NULL;
    size_t left = 0;
    for (size_t i = 0; i < existing_count; i++) {
        cleanup_free char *key = ports_key(json_get(existing[i], "ports"));
        struct port_group *g = strmap_get(&groups, key);
        if (g) {
            keep_wanted(g, existing[i]);
        } else if (!wanted_count && !placeholder && is_placeholder(existing[i])) {
            placeholder = existing[i];
            left++;
            add_change(&plan, SLICE_KEEP, existing[i], NULL, NULL);
        } else {
            add_change(&plan, SLICE_DELETE, existing[i], NULL, NULL);
        }
    }

    size_t position = 0;
    const struct strmap_entry *entry;
    while ((entry = strmap_next(&groups, &position))) {
        struct port_group *g = entry->value;
        place_rest(g);
        for (size_t i = 0; i < g->draft_count; i++) {
            struct draft *d = &g->drafts[i];
            if (size_of(d) == 0) {
                if (d->old)
                    add_change(&plan, SLICE_DELETE, d->old, NULL, NULL);
                continue;
            }
            left++;
            if (!d->changed) {
                add_change(&plan, SLICE_KEEP, d->old, NULL, NULL);
                continue;
            }
            add_change(&plan, d->old ? SLICE_UPDATE : SLICE_CREATE, d->old, g->ports, d->endpoints);
            d->endpoints = NULL;
        }
    }
    if (!left)
        add_change(&plan, SLICE_CREATE, NULL, NULL, cJSON_CreateArray());
    strmap_clear(&groups, group_free);
    reuse_deleted(&plan);
    return plan;
}

void slice_plan_clear(struct slice_plan *p)
{
    for (size_t i = 0; i < p->count; i++) {
        cJSON_Delete(p->changes[i].ports);
        cJSON_Delete(p->changes[i].endpoints);
    }
    free(p->changes);
    *p = (struct slice_plan){0};
}
