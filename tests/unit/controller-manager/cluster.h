/* An API as controllers need it, inside the test's process: on top of the common tests' fake API it
 * has discovery, generated names, generations, status and finalize subresources, and deletion with
 * finalizers, grace and propagation. */
#pragma once
#include "tests/unit/common/fake_api.h"
#include "controller-manager/controller.h"
#include "controller-manager/objects.h"

struct cluster {
    struct fake_api *api;
    struct kube_client *client;
    struct manager *manager;
};

static const struct {
    const char *api_version, *resource, *kind;
    bool namespaced;
} cluster_kinds[] = {
    {"v1", "namespaces", "Namespace", false},
    {"v1", "nodes", "Node", false},
    {"v1", "pods", "Pod", true},
    {"v1", "services", "Service", true},
    {"v1", "endpoints", "Endpoints", true},
    {"v1", "configmaps", "ConfigMap", true},
    {"v1", "secrets", "Secret", true},
    {"v1", "serviceaccounts", "ServiceAccount", true},
    {"v1", "events", "Event", true},
    {"apps/v1", "deployments", "Deployment", true},
    {"apps/v1", "replicasets", "ReplicaSet", true},
    {"policy/v1", "poddisruptionbudgets", "PodDisruptionBudget", true},
    {"discovery.k8s.io/v1", "endpointslices", "EndpointSlice", true},
    {"coordination.k8s.io/v1", "leases", "Lease", true},
};

static void cluster_discovery(struct httpd_request *r, const char *path)
{
    cleanup_json cJSON *o = cJSON_CreateObject();
    if (!strcmp(path, "/apis")) {
        static const char *const groups[] = {"apps", "policy", "discovery.k8s.io", "coordination.k8s.io"};
        for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
            cJSON *g = cJSON_CreateObject();
            cleanup_free char *version = mem_printf("%s/v1", groups[i]);
            json_set_str(g, "name", groups[i]);
            json_set_str(g, "preferredVersion.groupVersion", version);
            cJSON_AddItemToArray(json_ensure_array(o, "groups"), g);
        }
    } else {
        const char *version = path + (strncmp(path, "/apis/", 6) ? 5 : 6);
        cJSON *list = json_ensure_array(o, "resources");
        for (size_t i = 0; i < ARRAY_LEN(cluster_kinds); i++) {
            if (strcmp(cluster_kinds[i].api_version, version))
                continue;
            cJSON *x = cJSON_CreateObject();
            json_set_str(x, "name", cluster_kinds[i].resource);
            json_set_str(x, "kind", cluster_kinds[i].kind);
            json_set_bool(x, "namespaced", cluster_kinds[i].namespaced);
            static const char *const verbs[] = {"create", "delete", "deletecollection", "get",
                                                "list",   "patch",  "update",           "watch"};
            for (size_t v = 0; v < ARRAY_LEN(verbs); v++)
                cJSON_AddItemToArray(json_ensure_array(x, "verbs"), cJSON_CreateString(verbs[v]));
            cJSON_AddItemToArray(list, x);
        }
    }
    fake_reply(r, 200, o);
}

/* What follows is called with the lock held. */

static bool cluster_deletion_done(const cJSON *o)
{
    const cJSON *f = json_path(o, "metadata.finalizers"), *spec = json_path(o, "spec.finalizers");
    return meta_deleting(o) && !(f && f->child) && !(spec && spec->child) &&
           json_int(o, "metadata.deletionGracePeriodSeconds", 0) == 0;
}

static void cluster_changed(struct fake_api *a, struct fake_object *o)
{
    if (cluster_deletion_done(o->json)) {
        fake_remove(a, o);
        return;
    }
    fake_stamp(a, o->json);
    fake_publish(a, "MODIFIED", o->collection, o->ns, o->json);
}

static bool cluster_has_dependents(struct fake_api *a, const char *uid)
{
    for (struct fake_object *o = a->objects; o; o = o->next) {
        const cJSON *ref;
        cJSON_ArrayForEach(
            ref,
            json_path(o->json, "metadata.ownerReferences")) if (!strcmp(json_str_or(ref, "uid", ""),
                                                                        uid)) return true;
    }
    return false;
}

static void cluster_delete_object(struct fake_api *a, struct fake_object *o, const cJSON *options)
{
    const char *policy = json_str_or(options, "propagationPolicy", "Background");
    const char *finalizer = !strcmp(policy, "Foreground") ? "foregroundDeletion"
                            : !strcmp(policy, "Orphan")   ? "orphan"
                                                          : NULL;
    char now[TIME_TEXT_MAX];
    if (finalizer && cluster_has_dependents(a, json_str_or(o->json, "metadata.uid", "")) &&
        !meta_has_finalizer(o->json, finalizer))
        cJSON_AddItemToArray(json_ensure_array(o->json, "metadata.finalizers"),
                             cJSON_CreateString(finalizer));
    if (!meta_deleting(o->json)) {
        json_set_str(o->json, "metadata.deletionTimestamp", time_format(time_now_seconds(), now));
        if (!strcmp(o->collection, "v1/namespaces"))
            json_set_str(o->json, "status.phase", "Terminating");
        /* A pod on a node waits for its kubelet (cluster_kubelet_ends). */
        if (!strcmp(o->collection, "v1/pods") && json_str(o->json, "spec.nodeName"))
            json_set_int(o->json, "metadata.deletionGracePeriodSeconds", 30);
    }
    if (json_int(options, "gracePeriodSeconds", -1) == 0)
        json_remove(o->json, "metadata.deletionGracePeriodSeconds");
    cluster_changed(a, o);
}

static void cluster_delete_collection(struct fake_api *a, const struct fake_path *p,
                                      const cJSON *options)
{
    for (struct fake_object *o = a->objects, *next; o; o = next) {
        next = o->next;
        if (!strcmp(o->collection, p->collection) && !strcmp(o->ns, p->ns))
            cluster_delete_object(a, o, options);
    }
}

/* Writes the new content, but for what this way of writing does not reach. Takes it. */
static void cluster_replace(struct fake_api *a, struct fake_object *o, cJSON *json, const char *sub)
{
    static const char *const kept[] = {
        "metadata.uid", "metadata.creationTimestamp", "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds", "metadata.generation"};
    for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
        const cJSON *v = json_path(o->json, kept[i]);
        if (v)
            json_set(json, kept[i], json_dup(v));
    }
    bool status = !strcmp(sub, "status");
    const cJSON *fixed = json_get(o->json, status ? "spec" : "status");
    if (*sub == 0 || status) {
        if (fixed)
            json_set(json, status ? "spec" : "status", json_dup(fixed));
        else
            json_remove(json, status ? "spec" : "status");
    }
    if (!json_equal(json_get(json, "spec"), json_get(o->json, "spec")))
        json_set_int(json, "metadata.generation", json_int(o->json, "metadata.generation", 0) + 1);
    cJSON_Delete(o->json);
    o->json = json;
    cluster_changed(a, o);
}

static void cluster_create(struct fake_api *a, struct httpd_request *r, const struct fake_path *p,
                           cJSON *body)
{
    cleanup_free char *name = mem_strdup(json_str(body, "metadata.name"));
    if (!name)
        name = name_generate(json_str_or(body, "metadata.generateName", "x-"));
    if (fake_find(a, p->collection, p->ns, name)) {
        fake_status(r, 409, "AlreadyExists", "already exists");
        return;
    }
    struct fake_object *ns = *p->ns ? fake_find(a, "v1/namespaces", "", p->ns) : NULL;
    if (ns && meta_deleting(ns->json)) {
        fake_status(r, 403, "Forbidden",
                    "unable to create new content in namespace x because it is being terminated");
        return;
    }
    cJSON *copy = json_dup(body);
    json_set_str(copy, "metadata.name", name);
    json_set_int(copy, "metadata.generation", 1);
    if (!strcmp(p->collection, "v1/pods"))
        json_set_str(copy, "status.phase", "Pending");
    fake_reply(r, 201, fake_insert(a, p->collection, p->ns, copy)->json);
}

static void cluster_write(struct fake_api *a, struct httpd_request *r, const struct fake_path *p)
{
    const char *method = httpd_method(r);
    size_t len;
    const char *text = httpd_body(r, &len);
    cleanup_json cJSON *body = len ? json_parse(text, len, NULL) : NULL;
    a->writes++;
    if (!strcmp(method, "POST")) {
        cluster_create(a, r, p, body);
        return;
    }
    if (!strcmp(method, "DELETE") && !*p->name) {
        cluster_delete_collection(a, p, body);
        fake_status(r, 200, "", "deleted");
        return;
    }
    struct fake_object *o = fake_find(a, p->collection, p->ns, p->name);
    if (!o) {
        fake_status(r, 404, "NotFound", "not found");
        return;
    }
    bool deletion = !strcmp(method, "DELETE");
    const char *rv =
        json_str(body, deletion ? "preconditions.resourceVersion" : "metadata.resourceVersion");
    const char *uid = json_str(body, deletion ? "preconditions.uid" : "metadata.uid");
    if ((rv && strcmp(rv, json_str_or(o->json, "metadata.resourceVersion", ""))) ||
        (uid && strcmp(uid, meta_uid(o->json)))) {
        fake_status(r, 409, "Conflict", "the object has been modified");
        return;
    }
    cleanup_json cJSON *answer = NULL;
    if (deletion) {
        cluster_delete_object(a, o, body);
        fake_status(r, 200, "", "deleted");
        return;
    }
    if (!strcmp(method, "PATCH")) {
        cJSON *merged = json_dup(o->json);
        fake_merge(merged, body);
        cluster_replace(a, o, merged, p->sub);
    } else {
        cluster_replace(a, o, body, p->sub);
        body = NULL;
    }
    o = fake_find(a, p->collection, p->ns, p->name);
    answer = o ? json_dup(o->json) : cJSON_CreateObject();
    fake_reply(r, 200, answer);
}

/* A subresource of a namespace looks like a collection inside one. */
static bool cluster_parse_path(const char *path, struct fake_path *p)
{
    if (!fake_parse_path(path, p))
        return false;
    if (*p->ns && (!strcmp(p->collection, "v1/status") || !strcmp(p->collection, "v1/finalize"))) {
        snprintf(p->name, sizeof(p->name), "%s", p->ns);
        snprintf(p->sub, sizeof(p->sub), "%.100s", p->collection + 3);
        snprintf(p->collection, sizeof(p->collection), "v1/namespaces");
        *p->ns = 0;
    }
    return true;
}

static void cluster_handle(struct httpd_request *r, void *userdata)
{
    struct fake_api *a = userdata;
    struct fake_path p;
    const char *path = httpd_path(r);
    bool discovery = !strcmp(path, "/apis") || !strcmp(path, "/api/v1") ||
                     (!strncmp(path, "/apis/", 6) && strchr(path + 6, '/') &&
                      !strchr(strchr(path + 6, '/') + 1, '/'));
    if (discovery) {
        cluster_discovery(r, path);
        return;
    }
    pthread_mutex_lock(&a->lock);
    bool write = strcmp(httpd_method(r), "GET") && cluster_parse_path(path, &p) &&
                 a->fail_requests == 0 && !a->hold_next_write;
    if (write)
        cluster_write(a, r, &p);
    pthread_mutex_unlock(&a->lock);
    if (!write)
        fake_handle(r, userdata);
}

static void cluster_add(struct cluster *c, const char *collection, const char *text)
{
    fake_add(c->api, collection, text);
}

static struct cluster *cluster_new(void)
{
    struct cluster *c = mem_alloc(sizeof(*c));
    c->api = mem_alloc(sizeof(*c->api));
    pthread_mutex_init(&c->api->lock, NULL);
    c->api->rv = 100;
    struct httpd_options o = {.address = "127.0.0.1:0",
                              .threads = 2,
                              .max_body = 1 << 20,
                              .handler = cluster_handle,
                              .userdata = c->api};
    c->api->httpd = httpd_start(&o, NULL);
    ck_assert_ptr_nonnull(c->api->httpd);
    c->api->url = mem_printf("http://127.0.0.1:%d", httpd_port(c->api->httpd));
    c->client = fake_client(c->api);
    return c;
}

/* options NULL: the defaults. controllers as in --controllers. */
static void cluster_start(struct cluster *c, const char *controllers,
                          const struct manager_options *options)
{
    struct manager_options o;
    manager_default_options(&o);
    if (options)
        o = *options;
    o.client = c->client;
    o.controllers = controllers;
    c->manager = manager_new(&o);
    manager_start(c->manager);
}

static void cluster_stop_manager(struct cluster *c)
{
    if (!c->manager)
        return;
    manager_stop(c->manager);
    manager_free(c->manager);
    c->manager = NULL;
}

static void cluster_free(struct cluster *c)
{
    cluster_stop_manager(c);
    kube_client_free(c->client);
    fake_api_free(c->api);
    free(c);
}

/* How many objects of a collection (with a label, unless NULL) there are. */
__attribute__((unused)) static int cluster_count(struct cluster *c, const char *collection, const char *ns)
{
    int n = 0;
    pthread_mutex_lock(&c->api->lock);
    for (struct fake_object *o = c->api->objects; o; o = o->next)
        n += !strcmp(o->collection, collection) && (!ns || !strcmp(o->ns, ns));
    pthread_mutex_unlock(&c->api->lock);
    return n;
}

/* A copy of the n-th object of a collection for which test says yes; NULL if there is none. */
__attribute__((unused)) static cJSON *cluster_find(struct cluster *c, const char *collection,
                           bool (*test)(const cJSON *, const void *), const void *arg)
{
    cJSON *found = NULL;
    pthread_mutex_lock(&c->api->lock);
    for (struct fake_object *o = c->api->objects; o && !found; o = o->next)
        if (!strcmp(o->collection, collection) && (!test || test(o->json, arg)))
            found = json_dup(o->json);
    pthread_mutex_unlock(&c->api->lock);
    return found;
}

/* One round of all kubelets: pods get a node and an address and become ready; those being deleted
 * end. Returns what it changed. */
__attribute__((unused)) static int cluster_kubelets(struct cluster *c, int64_t *next_ip)
{
    int changed = 0;
    char now[TIME_TEXT_MAX];
    time_format(time_now_seconds(), now);
    pthread_mutex_lock(&c->api->lock);
    for (struct fake_object *o = c->api->objects, *next; o; o = next) {
        next = o->next;
        if (strcmp(o->collection, "v1/pods"))
            continue;
        if (meta_deleting(o->json)) {
            json_remove(o->json, "metadata.deletionGracePeriodSeconds");
            cluster_changed(c->api, o);
            changed++;
        } else if (!pod_ready(o->json)) {
            cleanup_free char *ip = mem_printf("10.244.0.%lld", (long long)++*next_ip);
            json_set_str(o->json, "spec.nodeName", "n1");
            json_set_str(o->json, "status.phase", "Running");
            json_set_str(o->json, "status.podIP", ip);
            cJSON *conditions = json_ensure_array(o->json, "status.conditions");
            condition_set(conditions, "Ready", "True", "", "");
            cluster_changed(c->api, o);
            changed++;
        }
    }
    pthread_mutex_unlock(&c->api->lock);
    return changed;
}

/* As fake_eventually, with the kubelets at work. */
#define with_kubelets(c, condition)                                                                \
    do {                                                                                           \
        static int64_t ip_;                                                                        \
        int64_t until_ = time_monotonic_ms() + 15000;                                              \
        while (!(condition) && time_monotonic_ms() < until_) {                                     \
            cluster_kubelets(c, &ip_);                                                             \
            nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);                               \
        }                                                                                          \
        ck_assert_msg(condition, "never became true: %s", #condition);                             \
    } while (0)
