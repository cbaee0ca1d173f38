/* pods/eviction: a deletion that a PodDisruptionBudget may refuse.
 * https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/ */
#include <string.h>
#include "apiserver/registry/conditions.h"
#include "apiserver/registry/registry.h"
#include "apiserver/schema/schema.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/selector.h"
#include "common/timefmt.h"

/* More evictions than that which the disruption controller has not seen yet: it must catch up
 * first. */
enum { DISRUPTED_PODS_MAX = 2000, ATTEMPTS = 20 };

static const struct resource *budgets(void)
{
    return resource_find("policy", "v1", "poddisruptionbudgets");
}

/* --- the budget --- */

static bool refuse(struct error **err, int retry_after, const char *message_taken)
{
    error_set(err, 429, "TooManyRequests",
              "Cannot evict pod as it would violate the pod's disruption budget.");
    cleanup_json cJSON *details = cJSON_CreateObject(), *cause = cJSON_CreateObject();
    json_map_set_str(cause, "reason", "DisruptionBudget");
    json_map_set_str(cause, "message", message_taken);
    cJSON_AddItemToArray(json_ensure_array(details, "causes"), cause);
    cause = NULL;
    if (retry_after)
        json_set_int(details, "retryAfterSeconds", retry_after);
    if (err)
        (*err)->details = json_text(details);
    free((char *)message_taken);
    return false;
}

static bool still_processed(struct error **err, const char *budget)
{
    return refuse(
        err, 10,
        mem_printf("The disruption budget %s is still being processed by the server.", budget));
}

static char *why_none_allowed(const cJSON *budget, const char *name)
{
    const cJSON *c;
    long long current = json_int(budget, "status.currentHealthy", 0),
              desired = json_int(budget, "status.desiredHealthy", 0);
    cJSON_ArrayForEach(c, json_path(budget, "status.conditions"))
    {
        if (!strcmp(json_str_or(c, "type", ""), "DisruptionAllowed") &&
            !strcmp(json_str_or(c, "status", ""), "False") &&
            !strcmp(json_str_or(c, "reason", ""), "SyncFailed") && *json_str_or(c, "message", ""))
            return mem_printf("The disruption budget %s does not allow evicting pods currently "
                              "because it failed sync: %s",
                              name, json_str(c, "message"));
    }
    if (current <= desired)
        return mem_printf("The disruption budget %s needs %lld healthy pods and has %lld currently",
                          name, desired, current);
    return mem_printf("The disruption budget %s does not allow evicting pods currently", name);
}

struct take {
    const char *budget, *pod;
    bool dry_run;
};

/* Takes one disruption out of the budget's status, for the pod. */
static cJSON *take_one(void *userdata, cJSON *current, const struct stored *stored,
                       struct error **err)
{
    (void)stored;
    const struct take *t = userdata;
    int64_t allowed = json_int(current, "status.disruptionsAllowed", 0);
    const char *why = NULL;
    if (json_int(current, "status.observedGeneration", 0) <
        json_int(current, "metadata.generation", 0)) {
        still_processed(err, t->budget);
        return NULL;
    }
    if (allowed < 0)
        why = "pdb disruptions allowed is negative";
    else if (cJSON_GetArraySize(json_path(current, "status.disruptedPods")) > DISRUPTED_PODS_MAX)
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
    if (why) {
        api_error_forbidden(err, budgets(), t->budget, why);
        return NULL;
    }
    if (allowed == 0) {
        refuse(err, 0, why_none_allowed(current, t->budget));
        return NULL;
    }
    if (t->dry_run)
        return NULL;
    cJSON *budget = json_dup(current);
    json_set_int(budget, "status.disruptionsAllowed", allowed - 1);
    if (allowed == 1) {
        cJSON *c = condition_set(budget, "DisruptionAllowed", "False", "InsufficientPods", "");
        json_set_int(c, "observedGeneration", json_int(budget, "status.observedGeneration", 0));
    }
    char now[TIME_TEXT_MAX];
    meta_now(now);
    json_map_set_str(json_ensure_object(budget, "status.disruptedPods"), t->pod, now);
    return budget;
}

/* The budgets that select the pod: *found is one of them (caller frees). */
static bool find_budgets(struct write *w, const cJSON *pod, cJSON **found, int *count,
                         struct error **err)
{
    struct stored **items = NULL;
    size_t n = 0;
    uint64_t revision;
    *count = 0;
    *found = NULL;
    if (!storage_list(w->req->storage, budgets(), w->ns, &items, &n, &revision, err))
        return false;
    for (size_t i = 0; i < n; i++) {
        cleanup_json cJSON *budget = json_parse(items[i]->json, items[i]->len, NULL);
        struct label_selector *s =
            label_selector_from_json(json_path(budget, "spec.selector"), NULL);
        if (s && label_selector_matches(s, json_path(pod, "metadata.labels")) && !(*count)++) {
            *found = budget;
            budget = NULL;
        }
        label_selector_free(s);
        stored_unref(items[i]);
    }
    free(items);
    return true;
}

static bool is_ready(const cJSON *pod)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(pod, "status.conditions"))
    {
        if (!strcmp(json_str_or(c, "type", ""), "Ready"))
            return !strcmp(json_str_or(c, "status", ""), "True");
    }
    return false;
}

/* A pod that is not ready takes nothing from a budget that is kept, or that says so. */
static bool is_free(const cJSON *pod, const cJSON *budget)
{
    if (is_ready(pod))
        return false;
    if (!strcmp(json_str_or(budget, "spec.unhealthyPodEvictionPolicy", ""), "AlwaysAllow"))
        return true;
    int64_t desired = json_int(budget, "status.desiredHealthy", 0);
    return desired > 0 && json_int(budget, "status.currentHealthy", 0) >= desired;
}

/* --- the deletion --- */

struct disruption {
    struct write *w;
    const struct delete_options *options;
};

static bool unmet(struct disruption *d, struct error **err, const char *what, const char *wanted,
                  const char *is, const char *hint)
{
    cleanup_free char *why =
        mem_printf("the %s in the precondition (%s) does not match the %s in record (%s). The "
                   "object might have been %s",
                   what, wanted, what, is, hint);
    api_error_conflict(err, d->w->r, d->w->name, why);
    return false;
}

static bool preconditions_met(struct disruption *d, const cJSON *pod, struct error **err)
{
    const struct delete_options *o = d->options;
    const char *uid = json_str_or(pod, "metadata.uid", ""),
               *version = json_str_or(pod, "metadata.resourceVersion", "");
    if (o->uid && *o->uid && strcmp(o->uid, uid) != 0)
        return unmet(d, err, "UID", o->uid, uid, "deleted and then recreated");
    if (o->resource_version && *o->resource_version && strcmp(o->resource_version, version) != 0)
        return unmet(d, err, "ResourceVersion", o->resource_version, version, "modified");
    return true;
}

/* Whoever looks at the dying pod sees why it dies. */
static cJSON *disrupt(void *userdata, cJSON *current, const struct stored *stored,
                      struct error **err)
{
    (void)stored;
    struct disruption *d = userdata;
    if (!admission_node_pod(d->w, current, err) || !preconditions_met(d, current, err) ||
        meta_deleting(current))
        return NULL;
    cJSON *pod = json_dup(current);
    condition_set(pod, "DisruptionTarget", "True", "EvictionByEvictionAPI",
                  "Eviction API: evicting");
    return pod;
}

static bool evict(struct write *w, struct delete_options *o, struct error **err)
{
    struct error *why = NULL;
    if (!o->dry_run) {
        struct disruption d = {.w = w, .options = o};
        struct storage_update u = {.change = disrupt, .userdata = &d};
        cleanup_stored struct stored *s =
            storage_update(w->req->storage, w->stored, w->ns, w->name, &u, &why);
        if (s && o->resource_version) {
            free(o->resource_version);
            o->resource_version = mem_printf("%llu", (unsigned long long)s->revision);
        }
    }
    enum delete_outcome outcome;
    cleanup_json cJSON *last = NULL;
    if (!why)
        delete_object(w, o, &outcome, &last, &why);
    if (why)
        error_move(err, why);
    return !why;
}

/* Evicts only if the pod is still the one that was looked at; leaves the options as they were. */
static bool evict_this(struct write *w, struct delete_options *o, const cJSON *pod,
                       struct error **err)
{
    char *given = o->resource_version;
    o->resource_version = mem_strdup(given ? given : json_str(pod, "metadata.resourceVersion"));
    bool ok = evict(w, o, err);
    free(o->resource_version);
    o->resource_version = given;
    return ok;
}

static bool phase_is(const cJSON *pod, const char *phase)
{
    return !strcmp(json_str_or(pod, "status.phase", ""), phase);
}

static bool too_many_budgets(struct error **err)
{
    error_set(err, 500, "",
              "This pod has more than one PodDisruptionBudget, which the eviction subresource does "
              "not support.");
    return false;
}

static bool evict_guarded(struct write *w, struct delete_options *o, const cJSON *pod,
                          struct error **err)
{
    cleanup_json cJSON *budget = NULL;
    int count;
    if (!find_budgets(w, pod, &budget, &count, err))
        return false;
    if (count > 1)
        return too_many_budgets(err);
    if (!budget)
        return evict(w, o, err);
    const char *name = json_str_or(budget, "metadata.name", "");
    if (is_free(pod, budget)) {
        struct error *why = NULL;
        if (evict_this(w, o, pod, &why))
            return true;
        if (why->code == 409 && !o->resource_version) { /* it may have become ready */
            error_free(why);
            return still_processed(err, name);
        }
        error_move(err, why);
        return false;
    }
    struct take t = {.budget = name, .pod = w->name, .dry_run = o->dry_run};
    struct storage_update u = {.change = take_one, .userdata = &t};
    struct error *why = NULL;
    stored_unref(storage_update(w->req->storage, budgets(), w->ns, name, &u, &why));
    if (!why)
        return evict(w, o, err);
    error_move(err, why);
    return false;
}

/* What has ended, has not begun or is dying needs no budget. */
static bool evict_pod(struct write *w, struct delete_options *o, struct error **err)
{
    for (int attempt = 1;; attempt++) {
        cleanup_stored struct stored *s =
            storage_get(w->req->storage, w->stored, w->ns, w->name, err);
        cleanup_json cJSON *pod = s ? json_parse(s->json, s->len, err) : NULL;
        if (!pod)
            return false;
        if (meta_deleting(pod) || phase_is(pod, "Succeeded") || phase_is(pod, "Failed"))
            return evict(w, o, err);
        if (!phase_is(pod, "Pending"))
            return evict_guarded(w, o, pod, err);
        struct error *why = NULL;
        if (evict_this(w, o, pod, &why))
            return true;
        if (why->code != 409 || o->resource_version || attempt == ATTEMPTS) {
            error_move(err, why);
            return false;
        }
        error_free(why); /* it was changed in between: look again */
    }
}

void pod_evict(struct write *w)
{
    cleanup_error struct error *err = NULL;
    cleanup_json cJSON *eviction = write_decode(w, schema_find("policy", "v1", "Eviction"), &err);
    const char *in_body = json_str_or(eviction, "metadata.name", "");
    struct delete_options options = {.orphan_dependents = -1};
    if (eviction && *in_body && strcmp(in_body, w->name) != 0)
        api_error_bad_request(&err, "name in URL does not match name in Eviction object");
    if (!eviction || err ||
        !delete_options_from_json(json_get(eviction, "deleteOptions"), &options, &err)) {
        api_reply_error(w->req, err);
        return;
    }
    options.dry_run |= w->dry_run;
    bool ok = evict_pod(w, &options, &err);
    delete_options_clear(&options);
    if (ok)
        write_reply_created(w);
    else
        api_reply_error(w->req, err);
}
