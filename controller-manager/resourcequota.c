/* Counts what the objects of a namespace use of its quotas: when a quota is made or changed, when
 * something that it counts goes, and now and then. (What is added, the API server adds when it
 * admits it.) */
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/quota.h"
#include "controller-manager/controller.h"
#include "controller-manager/discovery.h"
#include "controller-manager/objects.h"
#include "controller-manager/requests.h"

enum { COUNT_AGAIN_MS = 60000, ASK_AGAIN_MS = 10000 };

struct quotas {
    struct informer *quotas, *pods;
};

/* Adds what the namespace's objects of one informer use. */
static void add_objects(struct informer *i, const char *group, const char *plural,
                        const cJSON *quota, cJSON *used)
{
    cleanup_objects struct kube_object_list list = {0};
    informer_by_index(i, "namespace", json_str_or(quota, "metadata.namespace", ""), &list);
    for (size_t k = 0; k < list.count; k++)
        if (quota_in_scope(quota, group, plural, list.items[k]->json))
            quota_add_usage(group, plural, list.items[k]->json, used);
}

/* How many objects of a kind that nobody here follows ("count/widgets.example.com") there are: the
 * API says how many it left out of a list of one. -1 when it cannot be told. */
static int64_t ask(struct controller *c, const struct api_resources *kinds, const char *name,
                   const char *ns)
{
    const char *plural = name + strlen("count/"), *dot = strchr(plural, '.');
    size_t len = dot ? (size_t)(dot - plural) : strlen(plural);
    for (size_t i = 0; i < kinds->count; i++) {
        const struct api_resource *r = &kinds->items[i];
        if (!r->namespaced || !r->can_list || strcmp(r->group, dot ? dot + 1 : "") != 0 ||
            strlen(r->resource) != len || strncmp(r->resource, plural, len) != 0)
            continue;
        cleanup_free char *path = kube_path_new(r->api_version, r->resource, ns, NULL, NULL);
        cleanup_free char *limited = mem_printf("%s?limit=1", path);
        cleanup_json cJSON *list = kube_get(c->client, limited, NULL);
        return list ? cJSON_GetArraySize(json_get(list, "items")) +
                          json_int(list, "metadata.remainingItemCount", 0)
                    : -1;
    }
    return -1;
}

/* *asked: something had to be asked for, of which no event tells. */
static cJSON *count(struct controller *c, const cJSON *quota, bool *asked)
{
    cleanup_json cJSON *all = cJSON_CreateObject(), *followed = cJSON_CreateObject();
    const char *api_version, *resource;
    struct informer *i;
    for (size_t k = 0; (i = manager_informer_at(c->manager, k, &api_version, &resource)); k++) {
        const char *slash = strchr(api_version, '/');
        cleanup_free char *group =
            slash ? mem_strndup(api_version, (size_t)(slash - api_version)) : mem_strdup("");
        cleanup_free char *name = mem_printf(*group ? "count/%s.%s" : "count/%s", resource, group);
        if (!informer_synced(i) || json_get(followed, name))
            continue;
        json_map_set_str(followed, name, "");
        add_objects(i, group, resource, quota, all);
    }
    cJSON *used = cJSON_CreateObject();
    const cJSON *hard;
    cleanup_resources struct api_resources kinds = {0};
    cJSON_ArrayForEach(hard, json_path(quota, "spec.hard"))
    {
        const char *n = json_map_str(all, hard->string);
        cleanup_free char *number = NULL;
        if (!strncmp(hard->string, "count/", 6) && !json_get(followed, hard->string)) {
            if (!kinds.count)
                discover_resources(c->client, &kinds, NULL);
            int64_t found =
                ask(c, &kinds, hard->string, json_str_or(quota, "metadata.namespace", ""));
            number = found >= 0 ? mem_printf("%lld", (long long)found) : NULL;
            n = number ? number : json_map_str(json_path(quota, "status.used"), hard->string);
            *asked = true;
        }
        json_map_set_str(used, hard->string, n ? n : "0");
    }
    return used;
}

static bool reconcile(struct controller *c, const char *key, struct error **err)
{
    struct quotas *s = c->state;
    cleanup_object struct kube_object *cached = informer_get(s->quotas, key);
    if (!cached || meta_deleting(cached->json))
        return true;
    /* The API server changes it all the time: begin with the newest. */
    cleanup_free char *path = kube_path_new("v1", "resourcequotas", cached->ns, cached->name, NULL);
    cleanup_error struct error *e = NULL;
    cleanup_json cJSON *quota = kube_get(c->client, path, &e), *answer = NULL;
    bool asked = false;
    if (quota) {
        cJSON *status = cJSON_CreateObject();
        const cJSON *hard = json_path(quota, "spec.hard");
        if (hard)
            json_map_set(status, "hard", json_dup(hard));
        json_map_set(status, "used", count(c, quota, &asked));
        bool same = json_equal(status, json_get(quota, "status"));
        json_map_set(quota, "status", status);
        cleanup_free char *status_path =
            kube_path_new("v1", "resourcequotas", cached->ns, cached->name, "status");
        if (!same)
            answer = kube_update(c->client, status_path, quota, &e);
    }
    if (e && !kube_error_is(e, "NotFound")) {
        error_move(err, e);
        e = NULL;
        return false;
    }
    workqueue_add_after(c->queue, key, asked ? ASK_AGAIN_MS : COUNT_AGAIN_MS);
    return true;
}

static void on_quota(void *userdata, enum informer_event event, const struct kube_object *old,
                     const struct kube_object *new_object)
{
    struct controller *c = userdata;
    if (event == INFORMER_DELETED ||
        (old && json_equal(json_get(old->json, "spec"), json_get(new_object->json, "spec"))))
        return;
    workqueue_add(c->queue, new_object->key);
}

static void count_namespace(struct controller *c, const char *ns)
{
    struct quotas *s = c->state;
    cleanup_objects struct kube_object_list list = {0};
    informer_by_index(s->quotas, "namespace", ns, &list);
    for (size_t i = 0; i < list.count; i++)
        workqueue_add(c->queue, list.items[i]->key);
}

static bool finished(const struct kube_object *pod)
{
    const char *phase = json_str_or(pod->json, "status.phase", "");
    return !strcmp(phase, "Succeeded") || !strcmp(phase, "Failed");
}

static void on_pod(void *userdata, enum informer_event event, const struct kube_object *old,
                   const struct kube_object *new_object)
{
    if (event == INFORMER_DELETED ||
        (event == INFORMER_UPDATED && finished(new_object) && !finished(old)))
        count_namespace(userdata, old->ns);
}

/* Services and claims can come to need less, others only go. */
static void on_changeable(void *userdata, enum informer_event event, const struct kube_object *old,
                          const struct kube_object *new_object)
{
    if (event == INFORMER_DELETED ||
        (event == INFORMER_UPDATED &&
         !json_equal(json_get(old->json, "spec"), json_get(new_object->json, "spec"))))
        count_namespace(userdata, old->ns);
}

static void on_counted(void *userdata, enum informer_event event, const struct kube_object *old,
                       const struct kube_object *new_object)
{
    (void)new_object;
    if (event == INFORMER_DELETED)
        count_namespace(userdata, old->ns);
}

static void setup(struct controller *c)
{
    static const char *const counted[][2] = {{"v1", "configmaps"},
                                             {"v1", "secrets"},
                                             {"apps/v1", "deployments"},
                                             {"apps/v1", "replicasets"}};
    struct quotas *s = mem_alloc(sizeof(*s));
    c->state = s;
    s->quotas = manager_informer(c->manager, "v1", "resourcequotas");
    s->pods = manager_informer(c->manager, "v1", "pods");
    informer_add_handler(s->quotas, on_quota, c);
    informer_add_handler(s->pods, on_pod, c);
    informer_add_handler(manager_informer(c->manager, "v1", "services"), on_changeable, c);
    informer_add_handler(manager_informer(c->manager, "v1", "persistentvolumeclaims"),
                         on_changeable, c);
    for (size_t i = 0; i < ARRAY_LEN(counted); i++)
        informer_add_handler(manager_metadata_informer(c->manager, counted[i][0], counted[i][1]),
                             on_counted, c);
}

static void free_state(struct controller *c)
{
    free(c->state);
}

const struct controller_type resource_quota_controller = {.name = "resourcequota-controller",
                                                          .queue = "resourcequota_primary",
                                                          .workers = 1,
                                                          .setup = setup,
                                                          .reconcile = reconcile,
                                                          .free_state = free_state};
