#include "controller-manager/controller.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "controller-manager/objects.h"

/* Setup in this order: the garbage collector comes last because it looks at every informer that the
 * others have made. */
static const struct controller_type *const controller_types[] = {
    &node_lifecycle_controller,   &node_monitor_controller,  &node_pods_controller,
    &taint_eviction_controller,   &node_ipam_controller,     &serviceaccount_controller,
    &clusterrole_aggregation_controller,
    &root_ca_publisher,           &namespace_controller,     &replicaset_controller,
    &deployment_controller,       &endpointslice_controller, &endpoints_controller,
    &endpointslice_mirroring_controller, &service_lb_controller,
    &pod_gc_controller,           &resource_quota_controller,
    &disruption_controller,       &stale_disruption_controller,
    &pvc_protection_controller,   &pv_protection_controller,
    &csr_signing_controller,      &csr_approving_controller, &csr_cleaner_controller,
    &persistent_volume_binder,    &ephemeral_volume_controller,
    &garbage_collector,        &garbage_collector_orphan,
    &garbage_collector_discovery,
};

enum {
    MAX_CONTROLLERS = ARRAY_LEN(controller_types),
    MAX_INDEXES = 8,
    RETRY_BASE_MS = 5,
    RETRY_MAX_MS = 30000,
    PARALLEL = 4
};

struct shared_informer {
    char *api_version, *resource;
    struct informer *informer;
    const char *indexes[MAX_INDEXES]; /* literals */
    int index_count;
};

struct component_recorder {
    char *component;
    struct recorder *recorder;
};

struct manager {
    struct manager_options options;
    struct controller controllers[MAX_CONTROLLERS];
    size_t controller_count;
    struct shared_informer *informers; /* unchanging after setup */
    size_t informer_count;
    struct component_recorder *recorders;
    size_t recorder_count;
    pthread_t starter;
    bool started;
    atomic_bool running, stopping;
    pthread_t *workers; /* the starter's until it has ended */
    size_t worker_count;
};

void manager_default_options(struct manager_options *o)
{
    *o = (struct manager_options){
        .controllers = "*",
        .node_cidr_mask_size = 24,
        .cluster_signing_duration_ms = (int64_t)365 * 24 * 3600 * 1000,
        .node_cidr_mask_size_ipv6 = 64,
        .node_monitor_period_ms = 5000,
        .node_monitor_grace_period_ms = 50000,
        .node_startup_grace_period_ms = 60000,
        .node_eviction_rate = 0.1,
        .terminated_pod_gc_threshold = 12500,
        .pod_gc_period_ms = 20000,
        .pod_gc_quarantine_ms = 40000,
        .namespace_settle_ms = 1000,
        .discovery_period_ms = 30000,
    };
}

const struct manager_options *manager_config(const struct manager *m)
{
    return &m->options;
}

bool manager_stopping(const struct manager *m)
{
    return atomic_load(&m->stopping);
}

bool manager_running(const struct manager *m)
{
    return atomic_load(&m->running);
}

/* --- shared informers --- */

struct informer *manager_find_informer(struct manager *m, const char *api_version,
                                       const char *resource)
{
    for (size_t i = 0; i < m->informer_count; i++)
        if (strcmp(m->informers[i].api_version, api_version) == 0 &&
            strcmp(m->informers[i].resource, resource) == 0)
            return m->informers[i].informer;
    return NULL;
}

static struct informer *shared_informer(struct manager *m, const char *api_version,
                                        const char *resource, bool metadata_only)
{
    struct informer *i = manager_find_informer(m, api_version, resource);
    if (i)
        return i;
    i = informer_new(&(struct informer_options){.client = m->options.client,
                                                .api_version = api_version,
                                                .resource = resource,
                                                .metadata_only = metadata_only,
                                                .consistent = true});
    m->informers = mem_realloc(m->informers, (m->informer_count + 1) * sizeof(*m->informers));
    m->informers[m->informer_count++] = (struct shared_informer){
        .api_version = mem_strdup(api_version), .resource = mem_strdup(resource), .informer = i};
    return i;
}

struct informer *manager_informer(struct manager *m, const char *api_version, const char *resource)
{
    return shared_informer(m, api_version, resource, false);
}

struct informer *manager_metadata_informer(struct manager *m, const char *api_version,
                                           const char *resource)
{
    return shared_informer(m, api_version, resource, true);
}

struct informer *manager_informer_at(struct manager *m, size_t i, const char **api_version,
                                     const char **resource)
{
    if (i >= m->informer_count)
        return NULL;
    *api_version = m->informers[i].api_version;
    *resource = m->informers[i].resource;
    return m->informers[i].informer;
}

void manager_index(struct manager *m, struct informer *i, const char *index_name,
                   informer_index_fn *fn)
{
    for (size_t n = 0; n < m->informer_count; n++) {
        struct shared_informer *s = &m->informers[n];
        if (s->informer != i)
            continue;
        for (int x = 0; x < s->index_count; x++)
            if (strcmp(s->indexes[x], index_name) == 0)
                return;
        if (s->index_count == MAX_INDEXES)
            abort(); /* ours to raise */
        s->indexes[s->index_count++] = index_name;
        informer_add_index(i, index_name, fn);
    }
}

struct recorder *manager_recorder(struct manager *m, const char *component)
{
    for (size_t i = 0; i < m->recorder_count; i++)
        if (strcmp(m->recorders[i].component, component) == 0)
            return m->recorders[i].recorder;
    m->recorders = mem_realloc(m->recorders, (m->recorder_count + 1) * sizeof(*m->recorders));
    struct component_recorder *r = &m->recorders[m->recorder_count++];
    r->component = mem_strdup(component);
    r->recorder = recorder_new(m->options.client, component, NULL);
    return r->recorder;
}

struct controller *manager_controller(struct manager *m, const char *name)
{
    for (size_t i = 0; i < m->controller_count; i++)
        if (strcmp(m->controllers[i].type->name, name) == 0)
            return &m->controllers[i];
    return NULL;
}

void controller_enqueue_object(void *userdata, enum informer_event event,
                               const struct kube_object *old, const struct kube_object *new_object)
{
    struct controller *c = userdata;
    (void)event;
    workqueue_add(c->queue, new_object ? new_object->key : old->key);
}

/* --- life --- */

/* Kubernetes' --controllers: "*" is all, "name" chooses, "-name" leaves out. */
static bool chosen(const char *list, const char *name)
{
    if (!list || !*list)
        return true;
    bool star = false;
    for (const char *p = list; *p;) {
        size_t n = strcspn(p, ",");
        if (n == strlen(name) && strncmp(p, name, n) == 0)
            return true;
        if (n == strlen(name) + 1 && *p == '-' && strncmp(p + 1, name, n - 1) == 0)
            return false;
        star = star || (n == 1 && *p == '*');
        p += n;
        p += *p == ',';
    }
    return star;
}

struct manager *manager_new(const struct manager_options *o)
{
    struct manager *m = mem_alloc(sizeof(*m));
    m->options = *o;
    for (size_t i = 0; i < MAX_CONTROLLERS; i++) {
        const struct controller_type *type = controller_types[i];
        if (!chosen(o->controllers, type->part_of ? type->part_of : type->name))
            continue;
        m->controllers[m->controller_count++] =
            (struct controller){.type = type,
                                .manager = m,
                                .client = o->client,
                                .queue = workqueue_new(type->queue, RETRY_BASE_MS, RETRY_MAX_MS)};
    }
    for (size_t i = 0; i < m->controller_count; i++)
        m->controllers[i].type->setup(&m->controllers[i]);
    return m;
}

static void *work(void *p)
{
    struct controller *c = p;
    char *key;
    while ((key = workqueue_get(c->queue))) {
        cleanup_free char *owned = key;
        (void)owned;
        cleanup_error struct error *e = NULL;
        if (manager_stopping(c->manager)) {
            /* nothing more is begun */
        } else if (c->type->reconcile(c, key, &e)) {
            workqueue_forget(c->queue, key);
        } else {
            /* Conflicts are daily business: the cache was a little behind. */
            if (!e || kube_error_is(e, "Conflict"))
                log_debug(2, "Error syncing, will retry", "controller", c->type->name, "key", key,
                          "err", error_message(e));
            else
                log_warn("Error syncing, will retry", "controller", c->type->name, "key", key,
                         "err", error_message(e));
            workqueue_add_rate_limited(c->queue, key);
        }
        workqueue_done(c->queue, key);
    }
    return NULL;
}

static void *start_all(void *p)
{
    struct manager *m = p;
    for (size_t i = 0; i < m->informer_count; i++)
        informer_start(m->informers[i].informer);
    for (size_t i = 0; i < m->informer_count; i++)
        if (!informer_wait_synced(m->informers[i].informer))
            return NULL;
    size_t total = 0;
    for (size_t i = 0; i < m->controller_count; i++)
        total += (size_t)m->controllers[i].type->workers;
    m->workers = mem_alloc(total * sizeof(*m->workers));
    for (size_t i = 0; i < m->controller_count && !manager_stopping(m); i++) {
        struct controller *c = &m->controllers[i];
        if (c->type->start)
            c->type->start(c);
        for (int w = 0; w < c->type->workers; w++) {
            if (!thread_start(&m->workers[m->worker_count], work, c))
                abort();
            char name[16] = {0};
            strncpy(name, c->type->name, sizeof(name) - 1);
            pthread_setname_np(m->workers[m->worker_count++], name);
        }
    }
    atomic_store(&m->running, true);
    log_info("Started controllers", "count", log_int((long long)m->controller_count));
    return NULL;
}

void manager_start(struct manager *m)
{
    if (!thread_start(&m->starter, start_all, m))
        abort();
    m->started = true;
}

void manager_stop(struct manager *m)
{
    atomic_store(&m->stopping, true);
    for (size_t i = 0; i < m->informer_count; i++)
        informer_stop(m->informers[i].informer);
    for (size_t i = 0; i < m->controller_count; i++)
        workqueue_shut_down(m->controllers[i].queue);
    for (size_t i = 0; i < m->controller_count; i++)
        if (m->controllers[i].type->stop)
            m->controllers[i].type->stop(&m->controllers[i]);
    if (m->started)
        pthread_join(m->starter, NULL);
    m->started = false;
    for (size_t i = 0; i < m->worker_count; i++)
        pthread_join(m->workers[i], NULL);
    m->worker_count = 0;
    atomic_store(&m->running, false);
}

void manager_free(struct manager *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->informer_count; i++) {
        informer_free(m->informers[i].informer);
        free(m->informers[i].api_version);
        free(m->informers[i].resource);
    }
    for (size_t i = m->controller_count; i-- > 0;)
        if (m->controllers[i].type->free_state)
            m->controllers[i].type->free_state(&m->controllers[i]);
    for (size_t i = 0; i < m->controller_count; i++)
        workqueue_free(m->controllers[i].queue);
    for (size_t i = 0; i < m->recorder_count; i++) {
        recorder_free(m->recorders[i].recorder);
        free(m->recorders[i].component);
    }
    free(m->informers);
    free(m->recorders);
    free(m->workers);
    free(m);
}

/* --- several requests at a time --- */

struct parallel {
    int count;
    atomic_int next, succeeded;
    bool (*fn)(void *ctx, int i, struct error **err);
    void *ctx;
    pthread_mutex_t lock;
    struct error *first;
};

static void *parallel_worker(void *p)
{
    struct parallel *x = p;
    int i;
    while ((i = atomic_fetch_add(&x->next, 1)) < x->count) {
        struct error *e = NULL;
        if (x->fn(x->ctx, i, &e)) {
            atomic_fetch_add(&x->succeeded, 1);
            continue;
        }
        pthread_mutex_lock(&x->lock);
        error_move(x->first ? NULL : &x->first, e);
        pthread_mutex_unlock(&x->lock);
    }
    return NULL;
}

static int parallel_range(int count, bool (*fn)(void *ctx, int i, struct error **err), void *ctx,
                          struct error **first)
{
    struct parallel x = {.count = count, .fn = fn, .ctx = ctx, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_t threads[PARALLEL - 1];
    int helpers = count - 1 < PARALLEL - 1 ? count - 1 : PARALLEL - 1, running = 0;
    for (int i = 0; i < helpers; i++)
        if (thread_start(&threads[running], parallel_worker, &x))
            running++;
    parallel_worker(&x);
    for (int i = 0; i < running; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&x.lock);
    if (x.first)
        error_move(*first ? NULL : first, x.first);
    return atomic_load(&x.succeeded);
}

int run_parallel(int count, bool (*fn)(void *ctx, int i, struct error **err), void *ctx,
                 struct error **err)
{
    struct error *first = NULL;
    int done = count > 0 ? parallel_range(count, fn, ctx, &first) : 0;
    if (first)
        error_move(err, first);
    return done;
}

struct offset_call {
    bool (*fn)(void *ctx, int i, struct error **err);
    void *ctx;
    int offset;
};

static bool call_at_offset(void *ctx, int i, struct error **err)
{
    const struct offset_call *o = ctx;
    return o->fn(o->ctx, o->offset + i, err);
}

int run_slow_start(int count, bool (*fn)(void *ctx, int i, struct error **err), void *ctx,
                   struct error **err)
{
    struct error *first = NULL;
    int done = 0;
    for (int batch = 1, at = 0; at < count && !first; batch *= 2) {
        int size = batch < count - at ? batch : count - at;
        struct offset_call o = {.fn = fn, .ctx = ctx, .offset = at};
        int succeeded = parallel_range(size, call_at_offset, &o, &first);
        done += succeeded;
        if (succeeded < size)
            break;
        at += size;
    }
    if (first)
        error_move(err, first);
    return done;
}
