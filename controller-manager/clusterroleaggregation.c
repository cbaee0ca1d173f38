/* Fills in the rules of ClusterRoles that gather those of others ("admin", "edit", "view"):
 * https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/selector.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

#define API "rbac.authorization.k8s.io/v1"

struct aggregation {
    struct informer *roles;
};

static int compare_names(const void *a, const void *b)
{
    const struct kube_object *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static bool among(const cJSON *rule, const cJSON *rules)
{
    const cJSON *r;
    cJSON_ArrayForEach(r, rules) if (json_equal(r, rule)) return true;
    return false;
}

/* The rules of all roles that one of the selectors finds, in the order of their names; each once.
 */
static cJSON *gather(struct aggregation *s, const cJSON *role)
{
    cleanup_objects struct kube_object_list all = {0};
    informer_list(s->roles, &all);
    qsort(all.items, all.count, sizeof *all.items, compare_names);
    cJSON *rules = cJSON_CreateArray();
    const cJSON *selector, *rule;
    cJSON_ArrayForEach(selector, json_path(role, "aggregationRule.clusterRoleSelectors"))
    {
        struct label_selector *parsed = label_selector_from_json(selector, NULL);
        for (size_t i = 0; parsed && i < all.count; i++) {
            const cJSON *o = all.items[i]->json;
            if (!strcmp(all.items[i]->name, json_str_or(role, "metadata.name", "")) ||
                !label_selector_matches(parsed, json_path(o, "metadata.labels")))
                continue;
            cJSON_ArrayForEach(rule, json_get(o, "rules")) if (!among(rule, rules))
                cJSON_AddItemToArray(rules, json_dup(rule));
        }
        label_selector_free(parsed);
    }
    return rules;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct aggregation *s = c->state;
    cleanup_object struct kube_object *role = informer_get(s->roles, key);
    if (!role || !json_get(role->json, "aggregationRule"))
        return true;
    cleanup_json cJSON *rules = gather(s, role->json);
    const cJSON *have = json_get(role->json, "rules");
    if (json_equal(rules, have) || (!cJSON_GetArraySize(rules) && !cJSON_GetArraySize(have)))
        return true;
    cleanup_json cJSON *wanted = json_dup(role->json);
    json_map_set(wanted, "rules", json_dup(rules));
    cleanup_free char *path = kube_path_new(API, "clusterroles", NULL, key, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *answer = kube_update(c->client, path, wanted, &e);
    if (answer || kube_error_is(e, "NotFound"))
        return true;
    error_move(err, e);
    e = NULL;
    return false;
}

/* Whatever changed may be gathered by any of them, also by a chain of them: each is looked at. */
static void on_role(void *userdata, enum informer_event event, const struct kube_object *old,
                    const struct kube_object *new_object)
{
    struct controller *c = userdata;
    struct aggregation *s = c->state;
    (void)event;
    (void)old;
    (void)new_object;
    cleanup_objects struct kube_object_list all = {0};
    informer_list(s->roles, &all);
    for (size_t i = 0; i < all.count; i++)
        if (json_get(all.items[i]->json, "aggregationRule"))
            workqueue_add(c->queue, all.items[i]->key);
}

static void setup(struct controller *c)
{
    struct aggregation *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->roles = manager_informer(c->manager, API, "clusterroles");
    informer_add_handler(s->roles, on_role, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type clusterrole_aggregation_controller = {
    .name = "clusterrole-aggregation-controller",
    .queue = "ClusterRoleAggregator",
    .workers = 1,
    .setup = setup,
    .reconcile = reconcile,
    .free_state = free_state};
