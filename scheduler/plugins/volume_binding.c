#include "scheduler/volumes.h"
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "common/volumes.h"

#define NO_PROVISIONER "kubernetes.io/no-provisioner"

/* One claim of the pod. */
struct wanted {
    struct kube_object *claim, *volume, *class; /* volume: of a bound claim; class: of one that waits */
    bool once_per_pod;                          /* ReadWriteOncePod */
};
struct volume_state {
    struct wanted *items;
    size_t count;
    struct kube_object_list volumes; /* all; only when a claim waits */
};

void volume_state_free(struct volume_state *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++) {
        kube_object_unref(s->items[i].claim);
        kube_object_unref(s->items[i].volume);
        kube_object_unref(s->items[i].class);
    }
    free(s->items);
    kube_object_list_clear(&s->volumes);
    free(s);
}

static bool has_once_per_pod(const cJSON *claim)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, json_path(claim, "spec.accessModes")) {
        if (cJSON_IsString(m) && !strcmp(m->valuestring, "ReadWriteOncePod"))
            return true;
    }
    return false;
}

/* Finds what one claim needs; false with the reason why the pod cannot be scheduled anywhere. */
static bool look_up(const struct pod_info *p, const struct owners *o, const char *name, bool ephemeral,
                    struct volume_state *s, char **why)
{
    struct kube_object *claim = informer_get_ns(o->claims, p->ns, name);
    if (!claim) {
        *why = ephemeral ? mem_printf("waiting for ephemeral volume controller to create the persistentvolumeclaim \"%s\"", name)
                         : mem_printf("persistentvolumeclaim \"%s\" not found", name);
        return false;
    }
    s->items = mem_realloc(s->items, (s->count + 1) * sizeof(*s->items));
    struct wanted *w = &s->items[s->count++];
    *w = (struct wanted){.claim = claim, .once_per_pod = has_once_per_pod(claim->json)};
    if (ephemeral && !claim_is_of_pod(claim->json, p->object->json)) {
        *why = mem_printf("PVC \"%s\" was not created for pod \"%s\" (pod is not owner)", claim->key, p->key);
        return false;
    }
    if (json_str(claim->json, "metadata.deletionTimestamp")) {
        *why = mem_printf("persistentvolumeclaim \"%s\" is being deleted", name);
        return false;
    }
    const char *volume = json_str_or(claim->json, "spec.volumeName", "");
    if (!strcmp(json_str_or(claim->json, "status.phase", ""), "Lost")) {
        *why = mem_printf("persistentvolumeclaim \"%s\" bound to non-existent persistentvolume \"%s\"", name, volume);
        return false;
    }
    if (claim_is_bound(claim->json)) {
        w->volume = informer_get(o->volumes, volume);
        return true; /* without the volume: refused on each node */
    }
    const char *class = volume_class(claim->json, NULL);
    w->class = *class && !*volume ? informer_get(o->classes, class) : NULL;
    if (w->class && !strcmp(json_str_or(w->class->json, "volumeBindingMode", ""), "WaitForFirstConsumer"))
        return true;
    *why = mem_strdup("pod has unbound immediate PersistentVolumeClaims");
    return false;
}

static struct volume_state *state_of(const struct pod_info *p, const struct owners *o, char **why)
{
    const cJSON *v;
    struct volume_state *s = NULL;
    if (!o || !o->claims)
        return NULL;
    cJSON_ArrayForEach(v, json_get(p->spec, "volumes")) {
        bool ephemeral;
        cleanup_free char *claim = pod_volume_claim(p->object->json, v, &ephemeral);
        if (!claim)
            continue;
        if (!s)
            s = mem_alloc(sizeof(*s));
        if (!look_up(p, o, claim, ephemeral, s, why))
            break;
    }
    for (size_t i = 0; s && i < s->count; i++)
        if (s->items[i].class && !s->volumes.items)
            informer_list(o->volumes, &s->volumes);
    return s;
}

/* --- a volume for a claim that waits --- */

struct choice {
    struct cache *cache;
    const struct node_info *node;
    const char *claim;                 /* key */
    const struct kube_object **chosen; /* for claims of the pod before this one */
    size_t chosen_count;
};

static bool usable(void *ctx, const struct kube_object *volume)
{
    const struct choice *x = ctx;
    const union map_value *taken = map_find(&x->cache->assumed_volumes, volume->name);
    if (taken && strcmp(taken->ptr, x->claim) != 0)
        return false;
    for (size_t i = 0; i < x->chosen_count; i++)
        if (x->chosen[i] == volume)
            return false;
    return volume_fits_node(volume->json, x->node->labels, x->node->name);
}

static bool topology_allows(const cJSON *class, const struct node_info *n)
{
    const cJSON *topologies = json_get(class, "allowedTopologies"), *t, *e, *v;
    if (!cJSON_GetArraySize(topologies))
        return true;
    cJSON_ArrayForEach(t, topologies) {
        bool all = true;
        cJSON_ArrayForEach(e, json_get(t, "matchLabelExpressions")) {
            const char *have = json_map_str(n->labels, json_str_or(e, "key", ""));
            bool found = false;
            cJSON_ArrayForEach(v, json_get(e, "values"))
                found = found || (have && cJSON_IsString(v) && !strcmp(v->valuestring, have));
            all = all && found;
        }
        if (all)
            return true;
    }
    return false;
}

/* True when all claims that wait can be had on the node; chosen[i]: the volume for items[i], NULL: to be provisioned. */
static bool choose(const struct volume_state *s, struct cache *cache, const struct node_info *n,
                   const struct kube_object **chosen)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct wanted *w = &s->items[i];
        chosen[i] = NULL;
        if (!w->class)
            continue;
        const union map_value *assumed = map_find(&cache->assumed_claims, w->claim->key);
        if (assumed && strcmp(assumed->ptr, n->name) != 0)
            return false; /* decided a moment ago, for another pod that shares it */
        struct choice x = {cache, n, w->claim->key, chosen, i};
        chosen[i] = volume_best(&s->volumes, w->claim->json, false, usable, &x);
        if (chosen[i])
            continue;
        const char *selected = json_map_str(json_path(w->claim->json, "metadata.annotations"), CLAIM_SELECTED_NODE);
        if ((selected && strcmp(selected, n->name) != 0) ||
            !strcmp(json_str_or(w->class->json, "provisioner", ""), NO_PROVISIONER) ||
            !topology_allows(w->class->json, n))
            return false;
    }
    return true;
}

/* --- the plugin --- */

static void pre_filter(struct cycle *c)
{
    volume_state_free(c->volumes);
    free(c->rejected);
    c->rejected = NULL;
    c->volumes = state_of(c->pod, c->owners, &c->rejected);
}

/* Another pod has the one claim that only one pod may have. */
static bool used_by_other(const struct cycle *c, const struct wanted *w, const struct node_info *n)
{
    for (size_t i = 0; w->once_per_pod && i < n->pod_count; i++) {
        const struct pod_info *other = n->pods[i];
        const cJSON *v;
        if (!strcmp(other->uid, c->pod->uid) || strcmp(other->ns, c->pod->ns) != 0)
            continue;
        cJSON_ArrayForEach(v, json_get(other->spec, "volumes")) {
            cleanup_free char *claim = pod_volume_claim(other->object->json, v, NULL);
            if (claim && !strcmp(claim, w->claim->name))
                return true;
        }
    }
    return false;
}

static bool used_anywhere(const struct cycle *c, const struct wanted *w)
{
    for (size_t i = 0; w->once_per_pod && i < c->cache->node_count; i++)
        if (used_by_other(c, w, c->cache->nodes[i]))
            return true;
    return false;
}

static enum verdict filter(struct cycle *c, const struct node_info *n)
{
    const struct volume_state *s = c->volumes;
    for (size_t i = 0; s && i < s->count; i++) {
        const struct wanted *w = &s->items[i];
        if (used_by_other(c, w, n) || used_anywhere(c, w)) {
            reasons_add(c->reasons, "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode");
            return used_by_other(c, w, n) ? VERDICT_UNSCHEDULABLE : VERDICT_UNRESOLVABLE;
        }
        if (w->class)
            continue;
        if (!w->volume) {
            reasons_add(c->reasons, "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
            return VERDICT_UNRESOLVABLE;
        }
        if (!volume_fits_node(w->volume->json, n->labels, n->name)) {
            reasons_add(c->reasons, "node(s) didn't match PersistentVolume's node affinity");
            return VERDICT_UNRESOLVABLE;
        }
    }
    if (!s || !s->count)
        return VERDICT_FITS;
    cleanup_free const struct kube_object **chosen = mem_alloc(s->count * sizeof(*chosen));
    if (choose(s, c->cache, n, chosen))
        return VERDICT_FITS;
    reasons_add(c->reasons, "node(s) didn't find available persistent volumes to bind");
    return VERDICT_UNRESOLVABLE;
}

const struct plugin plugin_volume_binding = {.name = "VolumeBinding",
                                             .events = EVENT_VOLUME | EVENT_NODE_ADD | EVENT_NODE_LABEL | EVENT_POD_DELETE,
                                             .pre_filter = pre_filter,
                                             .filter = filter};

/* --- plans --- */

struct volume_plan *volume_plan_new(const struct pod_info *p, struct cache *cache, const struct owners *owners,
                                    const struct node_info *n)
{
    cleanup_free char *why = NULL;
    struct volume_state *s = state_of(p, owners, &why);
    struct volume_plan *plan = NULL;
    cleanup_free const struct kube_object **chosen = mem_alloc(((s ? s->count : 0) + 1) * sizeof(*chosen));
    if (s && !why && choose(s, cache, n, chosen)) {
        for (size_t i = 0; i < s->count; i++) {
            if (!s->items[i].class)
                continue;
            if (!plan)
                plan = mem_alloc(sizeof(*plan));
            plan->steps = mem_realloc(plan->steps, (plan->count + 1) * sizeof(*plan->steps));
            plan->steps[plan->count++] =
                (struct volume_step){.claim = mem_strdup(s->items[i].claim->key),
                                     .volume = chosen[i] ? mem_strdup(chosen[i]->name) : NULL};
            union map_value *at = map_at(&cache->assumed_claims, s->items[i].claim->key);
            free(at->ptr);
            at->ptr = mem_strdup(n->name);
            if (chosen[i]) {
                at = map_at(&cache->assumed_volumes, chosen[i]->name);
                free(at->ptr);
                at->ptr = mem_strdup(s->items[i].claim->key);
            }
        }
    }
    volume_state_free(s);
    return plan;
}

void volume_plan_free(struct volume_plan *plan, struct cache *cache)
{
    if (!plan)
        return;
    for (size_t i = 0; i < plan->count; i++) {
        free(map_remove(&cache->assumed_claims, plan->steps[i].claim).ptr);
        if (plan->steps[i].volume)
            free(map_remove(&cache->assumed_volumes, plan->steps[i].volume).ptr);
        free(plan->steps[i].claim);
        free(plan->steps[i].volume);
    }
    free(plan->steps);
    free(plan);
}

static bool reserve_volume(struct kube_client *client, const struct kube_object *volume, const struct kube_object *claim,
                           struct error **err)
{
    if (volume_is_bound_to(volume->json, claim->json))
        return true;
    cleanup_json cJSON *changed = json_dup(volume->json);
    if (!json_path(changed, "spec.claimRef"))
        json_map_set_str(json_ensure_object(changed, "metadata.annotations"), BOUND_BY_CONTROLLER, "yes");
    cJSON *ref = json_ensure_object(changed, "spec.claimRef");
    json_set_str(ref, "kind", "PersistentVolumeClaim");
    json_set_str(ref, "apiVersion", "v1");
    json_set_str(ref, "namespace", claim->ns);
    json_set_str(ref, "name", claim->name);
    json_set_str(ref, "uid", claim->uid);
    json_set_str(ref, "resourceVersion", claim->resource_version);
    cleanup_free char *path = kube_path_new("v1", "persistentvolumes", NULL, volume->name, NULL);
    cleanup_json cJSON *answer = kube_update(client, path, changed, err);
    return answer != NULL;
}

static bool select_node(struct kube_client *client, const struct kube_object *claim, const char *node,
                        struct volume_step *step, struct error **err)
{
    const char *selected = json_map_str(json_path(claim->json, "metadata.annotations"), CLAIM_SELECTED_NODE);
    if (selected && !strcmp(selected, node)) {
        step->written = strtoull(claim->resource_version, NULL, 10);
        return true;
    }
    cleanup_json cJSON *changed = json_dup(claim->json);
    json_map_set_str(json_ensure_object(changed, "metadata.annotations"), CLAIM_SELECTED_NODE, node);
    cleanup_free char *path = kube_path_new("v1", "persistentvolumeclaims", claim->ns, claim->name, NULL);
    cleanup_json cJSON *answer = kube_update(client, path, changed, err);
    if (answer)
        step->written = strtoull(json_str_or(answer, "metadata.resourceVersion", "0"), NULL, 10);
    return answer != NULL;
}

enum volume_progress volume_plan_advance(struct volume_plan *plan, struct kube_client *client, const struct owners *owners,
                                         const char *node, struct error **err)
{
    enum { BIND_TIMEOUT_MS = 600000 };
    if (!plan->deadline_ms)
        plan->deadline_ms = time_monotonic_ms() + BIND_TIMEOUT_MS;
    bool all = true;
    for (size_t i = 0; i < plan->count; i++) {
        struct volume_step *step = &plan->steps[i];
        cleanup_object struct kube_object *claim = informer_get(owners->claims, step->claim);
        if (!claim) {
            error_setf(err, "persistentvolumeclaim \"%s\" not found", step->claim);
            return VOLUMES_FAILED;
        }
        if (claim_is_bound(claim->json))
            continue;
        if (!step->done) {
            cleanup_object struct kube_object *volume = step->volume ? informer_get(owners->volumes, step->volume) : NULL;
            if (step->volume && !volume) {
                error_setf(err, "persistentvolume \"%s\" not found", step->volume);
                return VOLUMES_FAILED;
            }
            if (!(volume ? reserve_volume(client, volume, claim, err) : select_node(client, claim, node, step, err)))
                return VOLUMES_FAILED;
            step->done = true;
        }
        const char *selected = json_map_str(json_path(claim->json, "metadata.annotations"), CLAIM_SELECTED_NODE);
        if (!step->volume && strtoull(claim->resource_version, NULL, 10) >= step->written &&
            (!selected || strcmp(selected, node) != 0)) {
            error_setf(err, "provisioning failed for PVC \"%s\"", claim->name);
            return VOLUMES_FAILED;
        }
        all = false;
    }
    if (!all && time_monotonic_ms() > plan->deadline_ms) {
        error_setf(err, "timed out waiting for the condition");
        return VOLUMES_FAILED;
    }
    return all ? VOLUMES_BOUND : VOLUMES_WAIT;
}
