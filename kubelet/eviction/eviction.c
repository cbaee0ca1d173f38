#include "kubelet/eviction/eviction.h"
#include <string.h>
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/timefmt.h"
#include "kubelet/garbage/garbage.h"
#include "kubelet/node/node.h"
#include "kubelet/pod/pod.h"
#include "kubelet/stats/stats.h"

static struct { /* of the one that runs; touched by its job alone */
    struct kubelet *k;
    struct eviction_options options;
    struct node_agent *agent;
    struct eviction_state state;
    char *ending_uid; /* the pod that ends now: nobody else is ended while it does */
    int64_t ending_until_ms;
} eviction;

/* --- words --- */

char *eviction_amount(enum eviction_signal s, int64_t value)
{
    char text[QUANTITY_TEXT_MAX];
    bool bytes = s == SIGNAL_MEMORY || s == SIGNAL_NODEFS || s == SIGNAL_IMAGEFS;
    /* As Kubernetes: Ki where it is known to that degree. */
    struct quantity q = {(__int128)value * 1000000000,
                         bytes ? QUANTITY_BINARY_SI : QUANTITY_DECIMAL_SI};
    return mem_strdup(quantity_print(q, text));
}

char *eviction_refuses(const cJSON *pod, unsigned pressure)
{
    static const char *const names[] = {"MemoryPressure", "DiskPressure", "PIDPressure"};
    if (!pressure || pod_is_critical(pod))
        return NULL;
    if (pressure == PRESSURE_MEMORY) { /* pods that requested memory may start */
        if (strcmp(pod_qos(pod), "BestEffort") != 0)
            return NULL;
        const cJSON *t;
        cJSON_ArrayForEach(t, json_path(pod, "spec.tolerations"))
        {
            const char *key = json_str_or(t, "key", ""), *effect = json_str_or(t, "effect", "");
            bool all = !*key && strcmp(json_str_or(t, "operator", ""), "Exists") == 0;
            if ((all || strcmp(key, "node.kubernetes.io/memory-pressure") == 0) &&
                (!*effect || strcmp(effect, "NoSchedule") == 0))
                return NULL;
        }
    }
    cleanup_buf struct buf list = {0};
    for (size_t bit = 0; bit < ARRAY_LEN(names); bit++)
        if (pressure & 1u << bit)
            buf_printf(&list, "%s%s", list.len ? " " : "", names[bit]);
    return mem_printf("The node had condition: [%s]. ", buf_str(&list));
}

/* --- looking --- */

static void observe(struct kubelet *k, struct observation out[SIGNAL_COUNT])
{
    memset(out, 0, SIGNAL_COUNT * sizeof(*out));
    struct cgroup_usage u;
    usage_of_node(&u);
    if (u.has_memory)
        out[SIGNAL_MEMORY] = (struct observation){true, (int64_t)(u.memory_limit - u.working_set),
                                                  (int64_t)u.memory_limit};
    const char *paths[] = {k->root_dir, k->image_dir};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct fs_usage fs;
        if (!paths[i] || !usage_of_filesystem(paths[i], &fs))
            continue;
        enum eviction_signal s = i ? SIGNAL_IMAGEFS : SIGNAL_NODEFS;
        out[s] = (struct observation){true, (int64_t)fs.available, (int64_t)fs.capacity};
        if (fs.inodes) /* some file systems make them as needed */
            out[s + 1] = (struct observation){true, (int64_t)fs.inodes_free, (int64_t)fs.inodes};
    }
    int64_t running, max;
    usage_of_pids(&running, &max);
    if (max > 0 && running > 0)
        out[SIGNAL_PIDS] = (struct observation){true, max - running, max};
}

/* --- ending a pod --- */

static int64_t request_of(const cJSON *pod, const char *resource)
{
    int64_t sum = 0;
    const cJSON *c;
    cJSON_ArrayForEach(c, json_path(pod, "spec.containers"))
    {
        int64_t v = container_resource(c, false, resource);
        sum += v > 0 ? v : 0;
    }
    return sum;
}

static uint64_t container_use(const struct container_stats *c, enum eviction_signal s)
{
    switch (s) {
    case SIGNAL_MEMORY:
        return c->m.usage.working_set;
    case SIGNAL_PIDS:
        return c->m.usage.pids;
    case SIGNAL_NODEFS_INODES:
    case SIGNAL_IMAGEFS_INODES:
        return c->rootfs_inodes + c->log_inodes;
    default:
        return c->rootfs_bytes + c->log_bytes;
    }
}

static uint64_t pod_use(const struct pod_stats *p, enum eviction_signal s)
{
    uint64_t sum = 0;
    if (s == SIGNAL_PIDS)
        return p->m.usage.pids;
    for (size_t i = 0; i < p->container_count; i++)
        sum += container_use(&p->containers[i], s);
    bool inodes = s == SIGNAL_NODEFS_INODES || s == SIGNAL_IMAGEFS_INODES;
    for (size_t i = 0; s != SIGNAL_MEMORY && i < p->volume_count; i++)
        if (p->volumes[i].ephemeral)
            sum += inodes ? p->volumes[i].inodes_used : p->volumes[i].used;
    return sum;
}

static bool may_end(const struct pod_stats *p)
{
    return !pod_is_critical(p->object->json) && !pod_is_terminal(p->object->json) &&
           !json_str(p->object->json, "metadata.deletionTimestamp");
}

static char *message_for(const struct pod_stats *p, const struct threshold *t,
                         const struct observation *o)
{
    const char *resource = eviction_resource(t->signal);
    cleanup_buf struct buf b = {0};
    cleanup_free char *limit = eviction_amount(t->signal, threshold_value(t, o->capacity));
    cleanup_free char *available = eviction_amount(t->signal, o->available);
    buf_printf(&b, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ",
               resource, limit, available);
    for (size_t i = 0; i < p->container_count && t->signal != SIGNAL_PIDS; i++) {
        const struct container_stats *c = &p->containers[i];
        int64_t request =
            container_resource(pod_find_container(p->object->json, c->name, NULL), false, resource);
        int64_t use = (int64_t)container_use(c, t->signal);
        request = request > 0 ? request : 0;
        if (use <= request)
            continue;
        cleanup_free char *used = eviction_amount(t->signal, use);
        cleanup_free char *wanted = eviction_amount(t->signal, request);
        buf_printf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ",
                   c->name, used, wanted, resource);
    }
    return buf_take(&b);
}

/* The one whose turn it is; false when there is none to end. */
static bool end_one(struct kubelet *k, const struct threshold *t, const struct observation *o)
{
    cleanup_stats struct node_stats s = {0};
    stats_collect(k, t->signal == SIGNAL_MEMORY || t->signal == SIGNAL_PIDS ? 0 : STATS_DISK, &s);
    cleanup_free struct candidate *candidates = mem_alloc((s.count + 1) * sizeof(*candidates));
    size_t count = 0;
    for (size_t i = 0; i < s.count; i++) {
        const struct pod_stats *p = &s.items[i];
        if (may_end(p))
            candidates[count++] =
                (struct candidate){(int64_t)pod_use(p, t->signal),
                                   request_of(p->object->json, eviction_resource(t->signal)),
                                   json_int(p->object->json, "spec.priority", 0), i};
    }
    eviction_rank(candidates, count, t->signal != SIGNAL_PIDS);
    for (size_t i = 0; i < count; i++) {
        const struct pod_stats *p = &s.items[candidates[i].index];
        cleanup_free char *message = message_for(p, t, o);
        cleanup_pod struct pod *victim = pods_find_uid(k, p->object->uid);
        int64_t grace = t->hard ? 1 : eviction.options.max_grace_seconds;
        if (!victim || !pod_evict(victim, message, grace))
            continue;
        log_warn("Evicting a pod", "pod", victim->key, "signal", eviction_signal_name(t->signal));
        enum { WAIT_MS = 30000 };
        free(eviction.ending_uid);
        eviction.ending_uid = mem_strdup(victim->uid);
        eviction.ending_until_ms = time_monotonic_ms() + WAIT_MS + grace * 1000;
        return true;
    }
    return false;
}

/* --- one look --- */

static bool one_is_ending(struct kubelet *k)
{
    if (!eviction.ending_uid)
        return false;
    cleanup_pod struct pod *p = pods_find_uid(k, eviction.ending_uid);
    bool ending = false;
    if (p) {
        pthread_mutex_lock(&p->lock);
        ending = !p->resources_released;
        pthread_mutex_unlock(&p->lock);
    }
    if (ending && time_monotonic_ms() < eviction.ending_until_ms)
        return true;
    free(eviction.ending_uid);
    eviction.ending_uid = NULL;
    return false;
}

/* Frees what no pod uses. True when that was enough. */
static bool reclaim(struct kubelet *k, const struct threshold *t)
{
    if (eviction_pressure(t->signal) != PRESSURE_DISK)
        return false;
    garbage_remove_dead(k);
    garbage_remove_unused_images(k);
    struct observation now[SIGNAL_COUNT];
    observe(k, now);
    return now[t->signal].known &&
           now[t->signal].available >= threshold_value(t, now[t->signal].capacity);
}

static void look(struct kubelet *k)
{
    struct observation now[SIGNAL_COUNT];
    observe(k, now);
    const struct thresholds *all = &eviction.options.thresholds;
    struct eviction_decision d = eviction_decide(&eviction.state, all, now, time_monotonic_ms(),
                                                 eviction.options.transition_ms);
    if (atomic_exchange(&k->pressure, d.pressure) != d.pressure)
        node_agent_report(eviction.agent);
    if (eviction_local_storage(k) || one_is_ending(k) || d.act_on < 0)
        return;
    const struct threshold *t = &all->items[d.act_on];
    node_agent_event(eviction.agent, "Warning", "EvictionThresholdMet", "Attempting to reclaim %s",
                     eviction_resource(t->signal));
    if (reclaim(k, t))
        return;
    if (!end_one(k, t, &now[t->signal]))
        log_warn("No pod to evict", "signal", eviction_signal_name(t->signal));
}

static void look_again(void *arg)
{
    struct kubelet *k = arg;
    if (atomic_load(&k->stopping))
        return;
    look(k);
    /* While a pod ends the next one may be due: look sooner. */
    pool_run_after(k->pool,
                   eviction.ending_uid ? eviction.options.interval_ms / 5
                                       : eviction.options.interval_ms,
                   look_again, k);
}

void eviction_start(struct kubelet *k, const struct eviction_options *o, struct node_agent *agent)
{
    eviction.k = k;
    eviction.options = *o;
    eviction.agent = agent;
    pool_run(k->pool, look_again, k);
}
