#include <dirent.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/kubelet.h"
#include "kubelet/pod/pod.h"
#include "kubelet/stats/stats.h"

#define SAMPLE_MS 10000

static void note(struct kubelet *k, const char *key, struct measured *m)
{
    m->has_rate = k->rates && rates_note(k->rates, key, &m->usage, &m->nanocores, &m->window_ms);
}

static void measure_group(struct kubelet *k, const char *path, struct measured *m)
{
    usage_of_cgroup(k->cgroups, path, &m->usage);
    note(k, path, m);
}

/* --- what a container wrote, as the runtime counts it --- */

static void add_layers(struct kubelet *k, struct node_stats *s)
{
    struct writable_layer *layers;
    size_t n;
    if (!cri_list_writable_layers(&k->cri, &layers, &n, NULL))
        return;
    for (size_t i = 0; i < s->count; i++) {
        for (size_t c = 0; c < s->items[i].container_count; c++) {
            struct container_stats *o = &s->items[i].containers[c];
            for (size_t l = 0; l < n; l++) {
                if (strcmp(layers[l].id, o->id) != 0)
                    continue;
                o->has_rootfs = true;
                o->rootfs_bytes = layers[l].bytes;
                o->rootfs_inodes = layers[l].inodes;
            }
        }
    }
    writable_layers_free(layers, n);
}

/* --- volumes --- */

static bool is_mount_point(const char *dir)
{
    cleanup_free char *parent = mem_printf("%s/..", dir);
    struct stat a, b;
    return stat(dir, &a) == 0 && stat(parent, &b) == 0 && a.st_dev != b.st_dev;
}

static const cJSON *spec_volume(const cJSON *pod, const char *name)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        if (strcmp(json_str_or(v, "name", ""), name) == 0)
            return v;
    }
    return NULL;
}

/* Kinds whose bytes are the pod's own, on the node's disk or in its memory. */
static bool is_local_kind(const char *plugin)
{
    static const char *const kinds[] = {"kubernetes.io~empty-dir", "kubernetes.io~configmap", "kubernetes.io~secret",
                                        "kubernetes.io~downward-api", "kubernetes.io~projected"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(plugin, kinds[i]) == 0)
            return true;
    return false;
}

static void measure_volume(struct pod_stats *p, const char *plugin, const char *dir, const char *name)
{
    const cJSON *spec = spec_volume(p->object->json, name);
    struct volume_stats v = {.name = mem_strdup(name),
                             .claim = json_str(spec, "persistentVolumeClaim.claimName")};
    bool local = is_local_kind(plugin), mounted = is_mount_point(dir);
    usage_of_filesystem(dir, &v.fs);
    if (mounted || !local) { /* a file system of its own, or one that others pay for */
        v.used = v.fs.used;
        v.inodes_used = v.fs.inodes_used;
    } else {
        usage_of_tree(dir, &v.used, &v.inodes_used);
    }
    v.memory = local && mounted;
    v.ephemeral = local && !mounted;
    p->volumes = mem_realloc(p->volumes, (p->volume_count + 1) * sizeof(*p->volumes));
    p->volumes[p->volume_count++] = v;
}

/* <root>/pods/<uid>/volumes/<plug-in>/<volume> */
static void measure_volumes(struct kubelet *k, struct pod_stats *p)
{
    cleanup_free char *dir = mem_printf("%s/pods/%s/volumes", k->root_dir, p->object->uid);
    DIR *plugins = opendir(dir);
    for (struct dirent *e; plugins && (e = readdir(plugins));) {
        if (e->d_name[0] == '.')
            continue;
        cleanup_free char *plugin = mem_printf("%s/%s", dir, e->d_name);
        DIR *d = opendir(plugin);
        for (struct dirent *v; d && (v = readdir(d));) {
            if (v->d_name[0] == '.')
                continue;
            cleanup_free char *volume = mem_printf("%s/%s", plugin, v->d_name);
            measure_volume(p, e->d_name, volume, v->d_name);
        }
        if (d)
            closedir(d);
    }
    if (plugins)
        closedir(plugins);
}

static void measure_logs(const struct pod_stats *p, struct container_stats *c)
{
    cleanup_free char *logs = pod_log_dir(p->object->json);
    cleanup_free char *dir = mem_printf("%s/%s", logs, c->name);
    usage_of_tree(dir, &c->log_bytes, &c->log_inodes);
}

/* --- pods --- */

/* Takes what is needed from a pod, for as short as possible. */
static void copy_pod(struct kubelet *k, struct pod *p, struct pod_stats *out, char **sandbox)
{
    pthread_mutex_lock(&p->lock);
    out->object = kube_object_ref(p->object);
    out->cgroup = cgroups_pod_path(k->cgroups, pod_qos(p->object->json), p->uid);
    out->containers = mem_alloc((p->containers.count + 1) * sizeof(*out->containers));
    for (size_t i = 0; i < p->containers.count; i++) {
        const struct runtime_container *c = &p->containers.items[i];
        bool known = false;
        for (size_t n = 0; n < out->container_count && !known; n++)
            known = strcmp(out->containers[n].name, c->name) == 0;
        if (known || c->state != CONTAINER_RUNNING)
            continue;
        out->containers[out->container_count++] = (struct container_stats){
            .name = mem_strdup(c->name),
            .id = mem_strdup(c->id),
            .image = mem_strdup(c->image),
            .started_at_us = c->started_at / 1000,
            .running = true,
        };
    }
    const struct runtime_sandbox *s = pod_current_sandbox(p);
    *sandbox = s && s->ready ? mem_strdup(s->id) : NULL;
    pthread_mutex_unlock(&p->lock);
}

static void measure_pod(struct kubelet *k, unsigned what, struct pod_stats *p, const char *sandbox)
{
    measure_group(k, p->cgroup, &p->m);
    for (size_t i = 0; i < p->container_count; i++) {
        cleanup_free char *path = mem_printf("%s/%s", p->cgroup, p->containers[i].id);
        measure_group(k, path, &p->containers[i].m);
        if (what & STATS_DISK)
            measure_logs(p, &p->containers[i]);
    }
    if (what & STATS_DISK)
        measure_volumes(k, p);
    if (!(what & STATS_NETWORK) || pod_host_network(p->object->json) || !sandbox)
        return;
    cleanup_free char *path = mem_printf("%s/%s", p->cgroup, sandbox);
    p->interface_count =
        usage_of_network(usage_any_pid(k->cgroups, path), p->interfaces, ARRAY_LEN(p->interfaces));
}

/* --- the node --- */

static void measure_self(struct kubelet *k, struct measured *m)
{
    struct rusage r;
    m->usage = (struct cgroup_usage){.time_us = time_now_micros()};
    if (getrusage(RUSAGE_SELF, &r) == 0) {
        m->usage.has_cpu = true;
        m->usage.cpu_ns = (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000u +
                          (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000u;
        m->usage.page_faults = (uint64_t)r.ru_minflt;
        m->usage.major_page_faults = (uint64_t)r.ru_majflt;
    }
    cleanup_fclose FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long resident;
    if (f && fscanf(f, "%*u %llu", &resident) == 1) {
        m->usage.has_memory = true;
        m->usage.memory = m->usage.working_set = m->usage.rss =
            resident * (uint64_t)sysconf(_SC_PAGESIZE);
    }
    note(k, "kubelet", m);
}

static int64_t boot_time(void)
{
    struct timespec up;
    clock_gettime(CLOCK_BOOTTIME, &up);
    return time_now_micros() - (up.tv_sec * 1000000 + up.tv_nsec / 1000);
}

static void measure_node(struct kubelet *k, unsigned what, struct node_stats *out)
{
    out->boot_us = boot_time() / 1000000 * 1000000;
    usage_of_node(&out->node.usage);
    note(k, "node", &out->node);
    measure_self(k, &out->kubelet);
    cleanup_free char *all = cgroups_all_pods(k->cgroups);
    measure_group(k, all, &out->pods);
    usage_of_pids(&out->tasks, &out->tasks_max);
    if (what & STATS_NETWORK)
        out->interface_count =
            usage_of_network((int)getpid(), out->interfaces, ARRAY_LEN(out->interfaces));
    if (!(what & STATS_DISK))
        return;
    usage_of_filesystem(k->root_dir, &out->nodefs);
    cleanup_free char *images = NULL;
    if (cri_image_fs(&k->cri, &out->image_bytes, &images, NULL))
        usage_of_filesystem(images, &out->imagefs);
}

void stats_collect(struct kubelet *k, unsigned what, struct node_stats *out)
{
    stats_collect_some(k, what, NULL, out);
}

void stats_collect_some(struct kubelet *k, unsigned what, bool (*on_disk)(const cJSON *pod),
                        struct node_stats *out)
{
    *out = (struct node_stats){0};
    measure_node(k, what, out);
    struct pod **list = pods_all(k);
    size_t n = 0;
    while (list[n])
        n++;
    out->items = mem_alloc((n + 1) * sizeof(*out->items));
    for (size_t i = 0; i < n; i++) {
        struct pod_stats *p = &out->items[out->count];
        cleanup_free char *sandbox = NULL;
        copy_pod(k, list[i], p, &sandbox);
        bool disk = !on_disk || on_disk(p->object->json);
        measure_pod(k, disk ? what : what & ~(unsigned)STATS_DISK, p, sandbox);
        out->count++;
    }
    pods_free_list(list);
    if (what & STATS_DISK)
        add_layers(k, out);
}

void stats_clear(struct node_stats *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct pod_stats *p = &s->items[i];
        for (size_t c = 0; c < p->container_count; c++) {
            free(p->containers[c].name);
            free(p->containers[c].id);
            free(p->containers[c].image);
        }
        for (size_t v = 0; v < p->volume_count; v++)
            free(p->volumes[v].name);
        free(p->containers);
        free(p->volumes);
        free(p->cgroup);
        kube_object_unref(p->object);
    }
    free(s->items);
    *s = (struct node_stats){0};
}

uint64_t pod_stats_ephemeral(const struct pod_stats *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->container_count; i++)
        sum += p->containers[i].rootfs_bytes + p->containers[i].log_bytes;
    for (size_t i = 0; i < p->volume_count; i++)
        if (p->volumes[i].ephemeral)
            sum += p->volumes[i].used;
    return sum;
}

/* --- looking now and then --- */

static void sample(void *arg)
{
    struct kubelet *k = arg;
    if (atomic_load(&k->stopping))
        return;
    cleanup_stats struct node_stats s = {0};
    stats_collect(k, 0, &s);
    rates_expire(k->rates, time_now_micros());
    pool_run_after(k->pool, SAMPLE_MS, sample, k);
}

void stats_start(struct kubelet *k)
{
    pool_run(k->pool, sample, k);
}
