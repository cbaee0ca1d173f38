#include "common/component.h"
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/node/node.h"
#include "kubelet/pod/pod.h"
#include <stdarg.h>
#include <string.h>
#include <time.h>

#define LEASE_NAMESPACE "kube-node-lease"
#define IMAGES_MAX      50
#define IMAGES_MS       60000

struct node_agent {
    struct kubelet *k;
    struct node_config config;
    struct node_facts facts;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool woken, stopping, report_now;
    struct kube_object *node; /* the newest known; guarded by lock */
    bool registered, runtime_answered;
    /* the thread's own */
    cJSON *lease;
    cJSON *images;
    int64_t images_at, lease_due, status_due, runtime_due, reported_at, garbage_due;
    int lease_failures;
    bool started_told;
    int told_ready; /* what the last event said: -1 none, 0, 1 */
};

/* --- conditions --- */

static const cJSON *find_condition(const cJSON *conditions, const char *type)
{
    const cJSON *c;
    cJSON_ArrayForEach(c, conditions)
    {
        if (strcmp(json_str_or(c, "type", ""), type) == 0)
            return c;
    }
    return NULL;
}

static void add_condition(cJSON *array, const cJSON *old, const char *type, bool status, const char *reason,
                          const char *message, int64_t now)
{
    cJSON *c = cJSON_CreateObject();
    char text[TIME_TEXT_MAX];
    time_format(now, text);
    const cJSON *was = find_condition(old, type);
    const char *value = status ? "True" : "False";
    bool same = was && strcmp(json_str_or(was, "status", ""), value) == 0;
    json_set_str(c, "type", type);
    json_set_str(c, "status", value);
    json_set_str(c, "lastHeartbeatTime", text);
    json_set_str(c, "lastTransitionTime", same ? json_str_or(was, "lastTransitionTime", text) : text);
    json_set_str(c, "reason", reason);
    json_set_str(c, "message", message);
    cJSON_AddItemToArray(array, c);
}

cJSON *node_conditions(const cJSON *old, const struct node_pressure *p, const char *runtime_not_ready,
                       const char *network_not_ready, int64_t now)
{
    cJSON *a = cJSON_CreateArray();
    add_condition(a, old, "MemoryPressure", p->memory,
                  p->memory ? "KubeletHasInsufficientMemory" : "KubeletHasSufficientMemory",
                  p->memory ? "kubelet has insufficient memory available" : "kubelet has sufficient memory available", now);
    add_condition(a, old, "DiskPressure", p->disk, p->disk ? "KubeletHasDiskPressure" : "KubeletHasNoDiskPressure",
                  p->disk ? "kubelet has disk pressure" : "kubelet has no disk pressure", now);
    add_condition(a, old, "PIDPressure", p->pid, p->pid ? "KubeletHasInsufficientPID" : "KubeletHasSufficientPID",
                  p->pid ? "kubelet has insufficient PID available" : "kubelet has sufficient PID available", now);
    cleanup_buf struct buf why = {0};
    if (runtime_not_ready)
        buf_printf(&why, "container runtime is down: %s", runtime_not_ready);
    else if (network_not_ready)
        buf_printf(&why, "container runtime network not ready: %s", network_not_ready);
    add_condition(a, old, "Ready", !why.len, why.len ? "KubeletNotReady" : "KubeletReady",
                  why.len ? buf_str(&why) : "kubelet is posting ready status", now);
    return a;
}

/* --- events about the node --- */

static void node_event(struct node_agent *a, const char *type, const char *reason, const char *message)
{
    cleanup_json cJSON *o = cJSON_CreateObject();
    json_set_str(o, "apiVersion", "v1");
    json_set_str(o, "kind", "Node");
    json_set_str(o, "metadata.name", a->k->node_name);
    json_set_str(o, "metadata.uid", a->k->node_name); /* as Kubernetes' kubelet does: kubectl describe looks for it */
    kubelet_event(a->k, o, NULL, type, reason, "%s", message);
}

void node_agent_event(struct node_agent *a, const char *type, const char *reason, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    cleanup_free char *text = NULL;
    if (vasprintf(&text, fmt, ap) < 0)
        text = NULL;
    va_end(ap);
    if (a)
        node_event(a, type, reason, text ? text : "");
}

static void status_event(struct node_agent *a, const char *reason)
{
    cleanup_free char *message = mem_printf("Node %s status is now: %s", a->k->node_name, reason);
    node_event(a, "Normal", reason, message);
}

static void tell_conditions(struct node_agent *a, const cJSON *old, const cJSON *conditions)
{
    static const char *const pressures[][3] = {
        {"MemoryPressure", "NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
        {"DiskPressure", "NodeHasDiskPressure", "NodeHasNoDiskPressure"},
        {"PIDPressure", "NodeHasInsufficientPID", "NodeHasSufficientPID"},
    };
    for (size_t i = 0; i < ARRAY_LEN(pressures); i++) {
        const char *now = json_str_or(find_condition(conditions, pressures[i][0]), "status", "");
        const char *was = json_str_or(find_condition(old, pressures[i][0]), "status", "");
        if (strcmp(now, was) != 0)
            status_event(a, pressures[i][strcmp(now, "True") == 0 ? 1 : 2]);
    }
    int ready = strcmp(json_str_or(find_condition(conditions, "Ready"), "status", ""), "True") == 0;
    const char *was = json_str_or(find_condition(old, "Ready"), "status", "");
    int was_ready = strcmp(was, "True") == 0;
    if (ready != was_ready && ready != a->told_ready)
        status_event(a, ready ? "NodeReady" : "NodeNotReady");
    a->told_ready = ready;
}

/* --- images --- */

static int larger_first(const void *x, const void *y)
{
    const Runtime__V1__Image *a = *(Runtime__V1__Image *const *)x, *b = *(Runtime__V1__Image *const *)y;
    return a->size < b->size ? 1 : a->size > b->size ? -1 : strcmp(a->id, b->id);
}

static void refresh_images(struct node_agent *a)
{
    enum { NAMES_MAX = 5 };
    Runtime__V1__ListImagesResponse *list = cri_list_images(&a->k->cri, NULL);
    if (!list)
        return;
    qsort(list->images, list->n_images, sizeof(*list->images), larger_first);
    cJSON *images = cJSON_CreateArray();
    for (size_t i = 0; i < list->n_images && i < IMAGES_MAX; i++) {
        const Runtime__V1__Image *m = list->images[i];
        cJSON *e = cJSON_CreateObject(), *names = json_ensure_array(e, "names");
        for (size_t n = 0; n < m->n_repo_digests && cJSON_GetArraySize(names) < NAMES_MAX; n++)
            cJSON_AddItemToArray(names, cJSON_CreateString(m->repo_digests[n]));
        for (size_t n = 0; n < m->n_repo_tags && cJSON_GetArraySize(names) < NAMES_MAX; n++)
            cJSON_AddItemToArray(names, cJSON_CreateString(m->repo_tags[n]));
        json_set_int(e, "sizeBytes", (int64_t)m->size);
        cJSON_AddItemToArray(images, e);
    }
    runtime__v1__list_images_response__free_unpacked(list, NULL);
    cJSON_Delete(a->images);
    a->images = images;
}

/* --- the runtime --- */

static bool replace(char **old, char *fresh)
{
    bool changed = !*old != !fresh || (fresh && strcmp(*old, fresh) != 0);
    free(*old);
    *old = fresh;
    return changed;
}

/* True when its readiness changed. */
static bool ask_runtime(struct node_agent *a)
{
    struct kubelet *k = a->k;
    cleanup_error struct error *failure = NULL;
    char *runtime = NULL, *network = NULL;
    if (!cri_status(&k->cri, &runtime, &network, &failure)) {
        runtime = mem_strdup(error_message(failure));
        network = NULL;
    }
    pthread_mutex_lock(&k->runtime_lock);
    bool network_came = k->network_not_ready && !network;
    bool changed = replace(&k->runtime_not_ready, runtime);
    changed |= replace(&k->network_not_ready, network);
    pthread_mutex_unlock(&k->runtime_lock);
    pthread_mutex_lock(&a->lock);
    a->runtime_answered = !failure;
    pthread_mutex_unlock(&a->lock);
    if (network_came && !runtime)
        pods_wake_all(k); /* those that waited for it */
    return changed;
}

/* --- registration --- */

static void set_addresses(struct node_agent *a, cJSON *status)
{
    cleanup_free char *ips = mem_strdup(a->k->node_ip);
    char *save = NULL;
    cJSON *list = json_ensure_array(status, "addresses");
    for (char *ip = strtok_r(ips, ",", &save); ip; ip = strtok_r(NULL, ",", &save)) {
        cJSON *e = cJSON_CreateObject();
        json_set_str(e, "type", "InternalIP");
        json_set_str(e, "address", ip);
        cJSON_AddItemToArray(list, e);
    }
    cJSON *e = cJSON_CreateObject();
    json_set_str(e, "type", "Hostname");
    json_set_str(e, "address", a->k->node_name);
    cJSON_AddItemToArray(list, e);
}

/* The node goes off: it is not ready, whatever else holds. */
static void tell_shutdown(cJSON *conditions, const cJSON *old)
{
    char now[TIME_TEXT_MAX];
    time_format(time_now_seconds(), now);
    cJSON *ready = (cJSON *)find_condition(conditions, "Ready");
    const cJSON *was = find_condition(old, "Ready");
    bool same = strcmp(json_str_or(was, "status", ""), "False") == 0;
    json_set_str(ready, "status", "False");
    json_set_str(ready, "lastTransitionTime", same ? json_str_or(was, "lastTransitionTime", now) : now);
    json_set_str(ready, "reason", "KubeletNotReady");
    json_set_str(ready, "message", "node is shutting down");
}

static cJSON *status_now(struct node_agent *a, const cJSON *old)
{
    struct kubelet *k = a->k;
    cJSON *status = cJSON_CreateObject();
    node_set_facts(status, &a->facts, &a->config);
    set_addresses(a, status);
    json_set_int(status, "daemonEndpoints.kubeletEndpoint.Port", a->config.port);
    if (a->images)
        json_set(status, "images", json_dup(a->images));
    unsigned under = atomic_load(&k->pressure);
    struct node_pressure pressure = {under & PRESSURE_MEMORY, under & PRESSURE_DISK, under & PRESSURE_PID};
    pthread_mutex_lock(&k->runtime_lock);
    json_set(status, "conditions",
             node_conditions(json_get(old, "conditions"), &pressure, k->runtime_not_ready, k->network_not_ready,
                             time_now_seconds()));
    if (atomic_load(&k->shutting_down))
        tell_shutdown(json_get(status, "conditions"), json_get(old, "conditions"));
    pthread_mutex_unlock(&k->runtime_lock);
    cJSON *volumes = local_volumes_in_use();
    if (cJSON_GetArraySize(volumes) || cJSON_GetArraySize(json_get(old, "volumesInUse")))
        json_set(status, "volumesInUse", volumes);
    else
        cJSON_Delete(volumes);
    return status;
}

static void set_labels(struct node_agent *a, cJSON *node)
{
    cJSON *labels = json_ensure_object(node, "metadata.labels");
    cleanup_json cJSON *status = cJSON_CreateObject();
    node_set_facts(status, &a->facts, &a->config);
    const char *arch = json_str_or(status, "nodeInfo.architecture", "amd64");
    json_map_set_str(labels, "beta.kubernetes.io/arch", arch);
    json_map_set_str(labels, "beta.kubernetes.io/os", "linux");
    json_map_set_str(labels, "kubernetes.io/arch", arch);
    json_map_set_str(labels, "kubernetes.io/hostname", a->k->node_name);
    json_map_set_str(labels, "kubernetes.io/os", "linux");
    cleanup_free char *more = mem_strdup(a->config.labels ? a->config.labels : "");
    char *save = NULL;
    for (char *e = strtok_r(more, ",", &save); e; e = strtok_r(NULL, ",", &save)) {
        char *eq = strchr(e, '=');
        if (eq)
            *eq = '\0';
        json_map_set_str(labels, e, eq ? eq + 1 : "");
    }
}

static void take_node(struct node_agent *a, cJSON *json)
{
    struct kube_object *o = kube_object_new(json);
    pthread_mutex_lock(&a->lock);
    kube_object_unref(a->node);
    a->node = o;
    a->registered = true;
    pthread_mutex_unlock(&a->lock);
}

static bool register_node(struct node_agent *a, struct error **err)
{
    struct kubelet *k = a->k;
    cleanup_json cJSON *node = cJSON_CreateObject();
    json_set_str(node, "apiVersion", "v1");
    json_set_str(node, "kind", "Node");
    json_set_str(node, "metadata.name", k->node_name);
    set_labels(a, node);
    json_map_set_str(json_ensure_object(node, "metadata.annotations"),
                     "volumes.kubernetes.io/controller-managed-attach-detach", "true");
    /* Nothing is scheduled here before the node life cycle controller has seen it ready. */
    cJSON *taint = cJSON_CreateObject();
    json_set_str(taint, "key", "node.kubernetes.io/not-ready");
    json_set_str(taint, "effect", "NoSchedule");
    cJSON_AddItemToArray(json_ensure_array(node, "spec.taints"), taint);
    cleanup_json cJSON *status = status_now(a, NULL);
    json_set(node, "status", json_dup(status));

    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *answer = k->api.request(k->api.userdata, "POST", "/api/v1/nodes", NULL, node, &failure);
    if (answer) {
        log_info("Registered node", "node", k->node_name);
        tell_conditions(a, NULL, json_get(status, "conditions"));
        take_node(a, answer);
        answer = NULL;
        a->reported_at = time_monotonic_ms();
        return true;
    }
    if (!kube_error_is(failure, "AlreadyExists")) {
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, k->node_name, NULL);
    cleanup_json cJSON *patch = cJSON_CreateObject();
    set_labels(a, patch);
    answer = k->api.request(k->api.userdata, "PATCH", path, "application/merge-patch+json", patch, err);
    if (!answer)
        return false;
    take_node(a, answer);
    answer = NULL;
    return true;
}

/* --- status --- */

/* Ready as the API has it, no more to say: heartbeats alone are the Lease's business. */
static bool worth_reporting(const cJSON *old, const cJSON *status)
{
    static const char *const plain[] = {"capacity", "allocatable", "nodeInfo", "images", "addresses", "daemonEndpoints", "volumesInUse"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++)
        if (json_get(status, plain[i]) && !json_equal(json_get(old, plain[i]), json_get(status, plain[i])))
            return true;
    const cJSON *c;
    cJSON_ArrayForEach(c, json_get(status, "conditions"))
    {
        const cJSON *was = find_condition(json_get(old, "conditions"), json_str_or(c, "type", ""));
        static const char *const fields[] = {"status", "reason", "message"};
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            if (strcmp(json_str_or(was, fields[i], "?"), json_str_or(c, fields[i], "")) != 0)
                return true;
    }
    return false;
}

static bool report_status(struct node_agent *a, struct error **err)
{
    struct kubelet *k = a->k;
    int64_t now = time_monotonic_ms();
    if (now >= a->images_at) {
        refresh_images(a);
        a->images_at = now + IMAGES_MS;
    }
    pthread_mutex_lock(&a->lock);
    cleanup_object struct kube_object *node = kube_object_ref(a->node);
    pthread_mutex_unlock(&a->lock);
    const cJSON *old = json_get(node->json, "status");
    cleanup_json cJSON *status = status_now(a, old);
    if (!worth_reporting(old, status) && a->reported_at && now - a->reported_at < a->config.status_report_ms)
        return true;
    cleanup_json cJSON *patch = cJSON_CreateObject();
    json_set(patch, "status", json_dup(status));
    /* Addresses are merged by their type, and a node may have two of one type: the list is replaced as a whole. */
    cJSON *directive = cJSON_CreateObject();
    json_map_set_str(directive, "$patch", "replace");
    cJSON_InsertItemInArray(json_path(patch, "status.addresses"), 0, directive);
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, k->node_name, "status");
    cleanup_json cJSON *answer =
        k->api.request(k->api.userdata, "PATCH", path, "application/strategic-merge-patch+json", patch, err);
    if (!answer)
        return false;
    a->reported_at = now;
    tell_conditions(a, json_get(old, "conditions"), json_get(status, "conditions"));
    take_node(a, answer);
    answer = NULL;
    return true;
}

/* --- lease --- */

static void set_renewed(struct node_agent *a, cJSON *lease)
{
    char now[TIME_TEXT_MAX];
    json_set_str(lease, "spec.holderIdentity", a->k->node_name);
    json_set_int(lease, "spec.leaseDurationSeconds", a->config.lease_seconds);
    json_set_str(lease, "spec.renewTime", time_format_micro(time_now_micros(), now));
}

static bool renew_lease(struct node_agent *a, struct error **err)
{
    struct kubelet *k = a->k;
    cleanup_free char *path = kube_path_new("coordination.k8s.io/v1", "leases", LEASE_NAMESPACE, k->node_name, NULL);
    cleanup_error struct error *failure = NULL;
    if (a->lease) {
        set_renewed(a, a->lease);
        cJSON *answer = k->api.request(k->api.userdata, "PUT", path, NULL, a->lease, &failure);
        if (answer) {
            cJSON_Delete(a->lease);
            a->lease = answer;
            return true;
        }
        if (failure->code != 404 && failure->code != 409) {
            error_move(err, failure);
            failure = NULL;
            return false;
        }
        cJSON_Delete(a->lease);
        a->lease = NULL;
        error_free(failure);
        failure = NULL;
    }
    cJSON *known = k->api.request(k->api.userdata, "GET", path, NULL, NULL, &failure);
    if (known) {
        a->lease = known;
        set_renewed(a, known);
        cJSON *answer = k->api.request(k->api.userdata, "PUT", path, NULL, known, err);
        if (!answer)
            return false;
        cJSON_Delete(a->lease);
        a->lease = answer;
        return true;
    }
    if (failure->code != 404) {
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    cleanup_json cJSON *fresh = cJSON_CreateObject();
    json_set_str(fresh, "apiVersion", "coordination.k8s.io/v1");
    json_set_str(fresh, "kind", "Lease");
    json_set_str(fresh, "metadata.name", k->node_name);
    json_set_str(fresh, "metadata.namespace", LEASE_NAMESPACE);
    pthread_mutex_lock(&a->lock);
    cleanup_object struct kube_object *node = kube_object_ref(a->node);
    pthread_mutex_unlock(&a->lock);
    if (node) {
        cJSON *owner = cJSON_CreateObject();
        json_set_str(owner, "apiVersion", "v1");
        json_set_str(owner, "kind", "Node");
        json_set_str(owner, "name", k->node_name);
        json_set_str(owner, "uid", node->uid);
        cJSON_AddItemToArray(json_ensure_array(fresh, "metadata.ownerReferences"), owner);
    }
    set_renewed(a, fresh);
    cleanup_free char *collection = kube_path_new("coordination.k8s.io/v1", "leases", LEASE_NAMESPACE, NULL, NULL);
    a->lease = k->api.request(k->api.userdata, "POST", collection, NULL, fresh, err);
    return a->lease != NULL;
}

/* --- podCIDR --- */

/* "10.244.1.0/24,fd00:10:244:1::/64"; "" when there is none (yet). The caller frees. */
static char *pod_cidrs(const struct kube_object *node)
{
    struct buf list = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, json_path(node->json, "spec.podCIDRs"))
    {
        if (cJSON_IsString(item))
            buf_printf(&list, "%s%s", list.len ? "," : "", item->valuestring);
    }
    if (!list.len)
        buf_adds(&list, json_str_or(node->json, "spec.podCIDR", ""));
    return buf_take(&list);
}

static void follow_pod_cidr(struct node_agent *a)
{
    pthread_mutex_lock(&a->lock);
    cleanup_free char *cidr = a->node ? pod_cidrs(a->node) : NULL;
    pthread_mutex_unlock(&a->lock);
    if (!cidr || !*cidr || !a->config.cni_conf_dir || !*a->config.cni_conf_dir)
        return;
    bool changed = false;
    cleanup_error struct error *failure = NULL;
    if (!cni_configure(a->config.cni_conf_dir, cidr, a->k->node_ip, &changed, &failure)) {
        log_error("Could not write the CNI configuration", "err", error_message(failure));
    } else if (changed) {
        log_info("Wrote the CNI configuration", "podCIDR", cidr);
        a->runtime_due = 0; /* the runtime is about to see it */
    }
}

/* --- the thread --- */

static void wait_for(struct node_agent *a, int64_t until)
{
    struct timespec t = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_mutex_lock(&a->lock);
    while (!a->woken && !a->stopping && pthread_cond_timedwait(&a->wake, &a->lock, &t) == 0)
        ;
    a->woken = false;
    pthread_mutex_unlock(&a->lock);
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void collect_volumes(void *arg)
{
    struct kubelet *k = arg;
    local_volumes_collect(&k->volumes);
}

static void collect_garbage(void *arg)
{
    pods_collect_garbage(arg);
}

static void *agent_main(void *arg)
{
    struct node_agent *a = arg;
    struct kubelet *k = a->k;
    int64_t retry = 200;
    for (;;) {
        int64_t now = time_monotonic_ms(), next = now + 10000;
        pthread_mutex_lock(&a->lock);
        bool stop = a->stopping, registered = a->registered;
        if (a->report_now)
            a->status_due = 0;
        a->report_now = false;
        pthread_mutex_unlock(&a->lock);
        if (stop)
            return NULL;
        if (now >= a->runtime_due) {
            if (ask_runtime(a))
                a->status_due = 0;
            pthread_mutex_lock(&k->runtime_lock);
            bool pending = k->network_not_ready || k->runtime_not_ready;
            pthread_mutex_unlock(&k->runtime_lock);
            a->runtime_due = now + (pending ? 250 : 5000); /* while it comes up, pods wait for it */
        }
        cleanup_error struct error *failure = NULL;
        if (!registered) {
            if (!a->started_told)
                node_event(a, "Normal", "Starting", "Starting kubelet.");
            a->started_told = true;
            if (register_node(a, &failure)) {
                retry = 200;
                a->lease_due = a->status_due = 0;
                registered = true;
            } else {
                log_warn("Unable to register node with API server", "node", k->node_name, "err",
                         error_message(failure));
                next = now + retry;
                retry = smaller(2 * retry, 5000);
            }
        }
        if (registered) {
            follow_pod_cidr(a);
            cleanup_error struct error *lease_failure = NULL, *status_failure = NULL;
            if (now >= a->lease_due) {
                bool ok = renew_lease(a, &lease_failure);
                a->lease_failures = ok ? 0 : a->lease_failures + 1;
                a->lease_due = now + (ok ? a->config.lease_seconds * 1000 / 4
                                         : smaller(200ll << smaller(a->lease_failures, 5), 5000));
                if (!ok)
                    log_debug(1, "Could not renew the lease", "err", error_message(lease_failure));
            }
            if (now >= a->status_due) {
                bool ok = report_status(a, &status_failure);
                pool_run(k->pool, collect_volumes, k);
                a->status_due = now + (ok ? a->config.status_update_ms : 1000);
                if (!ok)
                    log_debug(1, "Could not report the node's status", "err", error_message(status_failure));
            }
            if (now >= a->garbage_due) {
                if (a->garbage_due) /* not in the first minute: pods are still becoming known */
                    pool_run(k->pool, collect_garbage, k);
                a->garbage_due = now + 60000;
            }
            next = smaller(next, smaller(a->lease_due, a->status_due));
        }
        kubelet_release_soon(k);
        wait_for(a, smaller(next, a->runtime_due));
    }
}

struct node_agent *node_agent_start(struct kubelet *k, const struct node_config *c, const struct node_facts *f)
{
    struct node_agent *a = mem_alloc(sizeof(*a));
    a->k = k;
    a->config = *c;
    a->facts = *f;
    a->told_ready = -1;
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_attr_t thread_attr;
    pthread_attr_init(&thread_attr);
    pthread_attr_setstacksize(&thread_attr, 512 * 1024);
    pthread_create(&a->thread, &thread_attr, agent_main, a);
    pthread_attr_destroy(&thread_attr);
    return a;
}

void node_agent_wake(struct node_agent *a)
{
    pthread_mutex_lock(&a->lock);
    a->woken = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
}

void node_agent_report(struct node_agent *a)
{
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->report_now = true;
    pthread_mutex_unlock(&a->lock);
    node_agent_wake(a);
}

void node_agent_changed(void *agent, enum informer_event event, const struct kube_object *old,
                        const struct kube_object *new_object)
{
    struct node_agent *a = agent;
    (void)old;
    pthread_mutex_lock(&a->lock);
    bool wake = false;
    /* A node that somebody deletes stays away until its kubelet starts again, as in Kubernetes. */
    if (event != INFORMER_DELETED && (!a->node || strtoull(new_object->resource_version, NULL, 10) >=
                               strtoull(a->node->resource_version, NULL, 10))) {
        wake = !a->node ||
               !json_equal(json_path(a->node->json, "spec.podCIDRs"), json_path(new_object->json, "spec.podCIDRs"));
        kube_object_unref(a->node);
        a->node = kube_object_ref((struct kube_object *)new_object);
    }
    pthread_mutex_unlock(&a->lock);
    if (wake)
        node_agent_wake(a);
}

bool node_agent_ready(struct node_agent *a, char **why_not)
{
    pthread_mutex_lock(&a->lock);
    const char *why = !a->runtime_answered ? "the container runtime does not answer"
                      : !a->registered     ? "the node is not registered"
                                           : NULL;
    pthread_mutex_unlock(&a->lock);
    if (why)
        *why_not = mem_strdup(why);
    return !why;
}

void node_agent_stop(struct node_agent *a)
{
    pthread_mutex_lock(&a->lock);
    a->stopping = true;
    pthread_cond_signal(&a->wake);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    kube_object_unref(a->node);
    cJSON_Delete(a->lease);
    cJSON_Delete(a->images);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->wake);
    free(a);
}
