/* Makes objects of the built-in policy, and at every start adds to them what they lack. Who wants a
 * role to stay as he has changed it sets its annotation rbac.authorization.kubernetes.io/autoupdate
 * to false. https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include "apiserver/auth/rbac.h"
#include "apiserver/registry/registry.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/thread.h"

#define GROUP             "rbac.authorization.k8s.io"
#define AUTOUPDATE        "rbac.authorization.kubernetes.io/autoupdate"
#define CONTROLLER_PREFIX "system:controller:"
#define AGGREGATE_TO      "rbac.authorization.k8s.io/aggregate-to-"

/* --- the policy as objects --- */

static cJSON *new_object(const char *kind, const char *ns, const char *name)
{
    cJSON *o = cJSON_CreateObject();
    json_map_set_str(o, "kind", kind);
    json_map_set_str(o, "apiVersion", GROUP "/v1");
    cJSON *meta = cJSON_AddObjectToObject(o, "metadata");
    json_map_set_str(meta, "name", name);
    if (ns)
        json_map_set_str(meta, "namespace", ns);
    json_map_set_str(json_ensure_object(meta, "labels"), "kubernetes.io/bootstrapping",
                     "rbac-defaults");
    json_map_set_str(json_ensure_object(meta, "annotations"), AUTOUPDATE, "true");
    return o;
}

/* Joined by commas; an element may be empty. */
static void add_list(cJSON *rule, const char *name, const char *text, bool empty_is_element)
{
    if (!*text && !empty_is_element)
        return;
    cJSON *array = cJSON_AddArrayToObject(rule, name);
    for (;;) {
        size_t len = strcspn(text, ",");
        cleanup_free char *e = mem_strndup(text, len);
        cJSON_AddItemToArray(array, cJSON_CreateString(e));
        if (!text[len])
            return;
        text += len + 1;
    }
}

static cJSON *role_object(const struct rbac_role_text *r, const char *prefix)
{
    cleanup_free char *name = mem_printf("%s%s", prefix, r->name);
    cJSON *o = new_object(r->ns ? "Role" : "ClusterRole", r->ns, name);
    cleanup_free char *label = mem_printf(AGGREGATE_TO "%s", r->aggregates ? r->name : "");
    if (r->aggregated_to) {
        cleanup_free char *own = mem_printf(AGGREGATE_TO "%s", r->aggregated_to);
        json_map_set_str(json_ensure_object(o, "metadata.labels"), own, "true");
    }
    if (r->aggregates) {
        cJSON *selector = cJSON_CreateObject();
        json_map_set_str(json_ensure_object(selector, "matchLabels"), label, "true");
        cJSON_AddItemToArray(json_ensure_array(o, "aggregationRule.clusterRoleSelectors"),
                             selector);
        cJSON_AddNullToObject(o, "rules"); /* a controller fills them in */
        return o;
    }
    cJSON *rules = cJSON_AddArrayToObject(o, "rules");
    for (const struct rbac_rule_text *t = r->rules; t->verbs; t++) {
        cJSON *rule = cJSON_CreateObject();
        add_list(rule, "verbs", t->verbs, false);
        add_list(rule, "apiGroups", t->groups, *t->resources != 0);
        add_list(rule, "resources", t->resources, false);
        add_list(rule, "resourceNames", t->names, false);
        add_list(rule, "nonResourceURLs", t->urls, false);
        cJSON_AddItemToArray(rules, rule);
    }
    return o;
}

static void add_subject(cJSON *binding, const char *kind, const char *name)
{
    cJSON *s = cJSON_CreateObject();
    json_map_set_str(s, "kind", kind);
    if (!strcmp(kind, "ServiceAccount"))
        json_map_set_str(s, "namespace", "kube-system");
    else
        json_map_set_str(s, "apiGroup", GROUP);
    json_map_set_str(s, "name", name);
    cJSON_AddItemToArray(json_ensure_array(binding, "subjects"), s);
}

static cJSON *binding_object(const char *ns, const char *name, const char *role)
{
    cJSON *o = new_object(ns ? "RoleBinding" : "ClusterRoleBinding", ns, name);
    cJSON *ref = cJSON_AddObjectToObject(o, "roleRef");
    json_map_set_str(ref, "apiGroup", GROUP);
    json_map_set_str(ref, "kind", ns ? "Role" : "ClusterRole");
    json_map_set_str(ref, "name", role);
    return o;
}

static void binding_rows(const struct rbac_binding_text *first, cJSON *o)
{
    for (const struct rbac_binding_text *b = first; b->name && !strcmp(b->name, first->name); b++) {
        if (b->user)
            add_subject(o, "User", b->user);
        if (b->group)
            add_subject(o, "Group", b->group);
        if (b->account)
            add_subject(o, "ServiceAccount", b->account);
    }
}

void rbac_policy_objects(void (*fn)(void *ctx, cJSON *object_taken), void *ctx)
{
    for (const struct rbac_role_text *r = policy_roles; r->name; r++)
        fn(ctx, role_object(r, ""));
    for (const struct rbac_role_text *r = policy_controllers; r->name; r++)
        fn(ctx, role_object(r, CONTROLLER_PREFIX));
    for (const struct rbac_binding_text *b = policy_bindings; b->name; b++) {
        if (b > policy_bindings && !strcmp(b->name, b[-1].name))
            continue;
        cJSON *o = binding_object(b->ns, b->name, b->role ? b->role : b->name);
        binding_rows(b, o);
        fn(ctx, o);
    }
    for (const struct rbac_role_text *r = policy_controllers; r->name; r++) {
        cleanup_free char *name = mem_printf(CONTROLLER_PREFIX "%s", r->name);
        cJSON *o = binding_object(NULL, name, name);
        add_subject(o, "ServiceAccount", r->name);
        /* All controllers run in one process with one identity. */
        add_subject(o, "User", "system:kube-controller-manager");
        fn(ctx, o);
    }
}

/* --- what a stored object lacks --- */

static bool rule_covered(const cJSON *rule, const cJSON *have)
{
    const cJSON *r;
    cJSON_ArrayForEach(r, have) if (json_equal(rule, r)) return true;
    return false;
}

static bool subject_there(const cJSON *subject, const cJSON *have)
{
    const cJSON *s;
    cJSON_ArrayForEach(s,
                       have) if (!strcmp(json_str_or(s, "kind", ""), json_str(subject, "kind")) &&
                                 !strcmp(json_str_or(s, "name", ""), json_str(subject, "name")) &&
                                 !strcmp(json_str_or(s, "namespace", ""),
                                         json_str_or(subject, "namespace", ""))) return true;
    return false;
}

static bool add_missing(cJSON *object, const cJSON *wanted, const char *list,
                        bool (*there)(const cJSON *item, const cJSON *have))
{
    bool changed = false;
    const cJSON *item;
    cJSON_ArrayForEach(item, json_get(wanted, list))
    {
        if (there(item, json_get(object, list)))
            continue;
        cJSON_AddItemToArray(json_ensure_array(object, list), json_dup(item));
        changed = true;
    }
    return changed;
}

static bool add_missing_members(cJSON *object, const cJSON *wanted, const char *path)
{
    bool changed = false;
    const cJSON *m;
    cJSON_ArrayForEach(m, json_path(wanted, path))
    {
        cJSON *map = json_ensure_object(object, path);
        if (json_get(map, m->string))
            continue;
        json_map_set(map, m->string, json_dup(m));
        changed = true;
    }
    return changed;
}

/* NULL: as it is, it is good. */
static cJSON *complete(void *userdata, cJSON *current, const struct stored *stored,
                       struct error **err)
{
    (void)stored;
    (void)err;
    const cJSON *wanted = userdata;
    const char *autoupdate = json_map_str(json_path(current, "metadata.annotations"), AUTOUPDATE);
    if (autoupdate && !strcmp(autoupdate, "false"))
        return NULL;
    cJSON *object = json_dup(current);
    bool changed = add_missing_members(object, wanted, "metadata.labels");
    changed |= add_missing_members(object, wanted, "metadata.annotations");
    changed |= add_missing(object, wanted, "rules", rule_covered);
    changed |= add_missing(object, wanted, "subjects", subject_there);
    const cJSON *aggregation = json_get(wanted, "aggregationRule");
    if (aggregation && !json_get(object, "aggregationRule")) {
        json_map_set(object, "aggregationRule", json_dup(aggregation));
        changed = true;
    }
    if (changed)
        return object;
    cJSON_Delete(object);
    return NULL;
}

/* --- making them, several at a time --- */

enum { THREADS = 8 };

struct work {
    struct storage *storage;
    cJSON **objects;
    size_t count;
    atomic_size_t next;
    pthread_mutex_t mutex;
    struct error *error; /* the first */
};

static void collect(void *ctx, cJSON *object_taken)
{
    struct work *w = ctx;
    w->objects = mem_realloc(w->objects, (w->count + 1) * sizeof(void *));
    w->objects[w->count++] = object_taken;
}

static bool ensure(struct storage *storage, cJSON *object, struct error **err)
{
    const struct resource *r = resource_find_kind(GROUP, "v1", json_str(object, "kind"));
    const char *ns = json_str_or(object, "metadata.namespace", ""),
               *name = json_str(object, "metadata.name");
    struct storage_update u = {.change = complete, .userdata = object};
    struct error *why = NULL;
    stored_unref(storage_update(storage, r, ns, name, &u, &why));
    if (!why)
        return true;
    bool missing = why->code == 404;
    if (!missing) {
        error_move(err, why);
        return false;
    }
    error_free(why);
    why = NULL;
    char uid[37], now[64];
    meta_uuid(uid);
    meta_now(now);
    cJSON *meta = json_get(object, "metadata");
    json_map_set_str(meta, "uid", uid);
    json_map_set_str(meta, "creationTimestamp", now);
    struct stored *s = storage_create(storage, r, object, NULL, 0, &why);
    stored_unref(s);
    if (s || (why && why->code == 409)) { /* another apiserver was faster */
        error_free(why);
        return true;
    }
    error_move(err, why);
    return false;
}

static void *run(void *arg)
{
    struct work *w = arg;
    for (size_t i; (i = atomic_fetch_add(&w->next, 1)) < w->count;) {
        struct error *err = NULL;
        if (ensure(w->storage, w->objects[i], &err))
            continue;
        pthread_mutex_lock(&w->mutex);
        if (w->error)
            error_free(err);
        else
            w->error = err;
        pthread_mutex_unlock(&w->mutex);
        break;
    }
    return NULL;
}

bool rbac_bootstrap(struct storage *storage, struct error **err)
{
    struct work w = {.storage = storage, .mutex = PTHREAD_MUTEX_INITIALIZER};
    rbac_policy_objects(collect, &w);
    pthread_t threads[THREADS];
    int n = 0;
    while (n < THREADS && thread_start(&threads[n], run, &w))
        n++;
    if (!n)
        run(&w);
    while (n)
        pthread_join(threads[--n], NULL);
    for (size_t i = 0; i < w.count; i++)
        cJSON_Delete(w.objects[i]);
    free(w.objects);
    pthread_mutex_destroy(&w.mutex);
    if (!w.error)
        return true;
    error_wrap(&w.error, "make the default roles");
    error_move(err, w.error);
    return false;
}
