/* /stats/summary, as Kubernetes' kubelet gives it (k8s.io/kubelet/pkg/apis/stats/v1alpha1). */
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/kubelet.h"
#include "kubelet/stats/stats.h"

static void set_time(cJSON *o, const char *name, int64_t micros)
{
    char text[TIME_TEXT_MAX];
    json_set_str(o, name, time_format(micros / 1000000, text));
}

static void set_number(cJSON *o, const char *name, uint64_t value)
{
    json_set_int(o, name, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

static void set_cpu_and_memory(cJSON *o, const struct measured *m)
{
    const struct cgroup_usage *u = &m->usage;
    if (u->has_cpu) {
        cJSON *cpu = json_ensure_object(o, "cpu");
        set_time(cpu, "time", u->time_us);
        if (m->has_rate) {
            set_number(cpu, "usageNanoCores", m->nanocores);
            set_number(cpu, "usageWindowMilliseconds", (uint64_t)m->window_ms);
        }
        set_number(cpu, "usageCoreNanoSeconds", u->cpu_ns);
    }
    if (u->has_memory) {
        cJSON *memory = json_ensure_object(o, "memory");
        set_time(memory, "time", u->time_us);
        if (u->memory_limit)
            set_number(memory, "availableBytes",
                       u->memory_limit > u->working_set ? u->memory_limit - u->working_set : 0);
        set_number(memory, "usageBytes", u->memory);
        set_number(memory, "workingSetBytes", u->working_set);
        set_number(memory, "rssBytes", u->rss);
        set_number(memory, "pageFaults", u->page_faults);
        set_number(memory, "majorPageFaults", u->major_page_faults);
        cJSON *swap = json_ensure_object(o, "swap");
        set_time(swap, "time", u->time_us);
        set_number(swap, "swapUsageBytes", u->swap);
    }
}

static void set_interface(cJSON *o, const struct net_interface *i)
{
    json_set_str(o, "name", i->name);
    set_number(o, "rxBytes", i->rx_bytes);
    set_number(o, "rxErrors", i->rx_errors);
    set_number(o, "txBytes", i->tx_bytes);
    set_number(o, "txErrors", i->tx_errors);
}

static void set_network(cJSON *o, const struct net_interface *interfaces, size_t count, int64_t now)
{
    if (!count)
        return;
    cJSON *network = json_ensure_object(o, "network");
    set_time(network, "time", now);
    size_t main_one = 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(interfaces[i].name, "eth0") == 0)
            main_one = i;
    set_interface(network, &interfaces[main_one]);
    cJSON *list = json_ensure_array(network, "interfaces");
    for (size_t i = 0; i < count; i++) {
        cJSON *e = cJSON_CreateObject();
        set_interface(e, &interfaces[i]);
        cJSON_AddItemToArray(list, e);
    }
}

/* of: the file system that it lies on; used and inodes are the thing's own. */
static void set_fs(cJSON *o, const char *path, const struct fs_usage *of, uint64_t used,
                   uint64_t inodes_used, int64_t now)
{
    cJSON *fs = path ? json_ensure_object(o, path) : o;
    set_time(fs, "time", now);
    set_number(fs, "availableBytes", of->available);
    set_number(fs, "capacityBytes", of->capacity);
    set_number(fs, "usedBytes", used);
    set_number(fs, "inodesFree", of->inodes_free);
    set_number(fs, "inodes", of->inodes);
    set_number(fs, "inodesUsed", inodes_used);
}

static void add_container(cJSON *list, const struct node_stats *s, const struct container_stats *c,
                          bool small, int64_t now)
{
    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "name", c->name);
    set_time(o, "startTime", c->started_at_us);
    set_cpu_and_memory(o, &c->m);
    if (!small) {
        if (c->has_rootfs)
            set_fs(o, "rootfs", &s->imagefs, c->rootfs_bytes, c->rootfs_inodes, now);
        set_fs(o, "logs", &s->nodefs, c->log_bytes, c->log_inodes, now);
    }
    cJSON_AddItemToArray(list, o);
}

static void add_pod(cJSON *list, const struct node_stats *s, const struct pod_stats *p, bool small,
                    int64_t now)
{
    const cJSON *pod = p->object->json;
    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "podRef.name", p->object->name);
    json_set_str(o, "podRef.namespace", p->object->ns);
    json_set_str(o, "podRef.uid", p->object->uid);
    json_set_str(
        o, "startTime",
        json_str_or(pod, "status.startTime", json_str_or(pod, "metadata.creationTimestamp", "")));
    cJSON *containers = json_ensure_array(o, "containers");
    for (size_t i = 0; i < p->container_count; i++)
        add_container(containers, s, &p->containers[i], small, now);
    set_cpu_and_memory(o, &p->m);
    if (!small) {
        set_network(o, p->interfaces, p->interface_count, now);
        uint64_t inodes = 0;
        for (size_t i = 0; i < p->container_count; i++)
            inodes += p->containers[i].rootfs_inodes + p->containers[i].log_inodes;
        for (size_t i = 0; i < p->volume_count; i++) {
            const struct volume_stats *v = &p->volumes[i];
            cJSON *e = cJSON_CreateObject();
            set_fs(e, NULL, &v->fs, v->used, v->inodes_used, now);
            json_set_str(e, "name", v->name);
            if (v->claim) {
                json_set_str(e, "pvcRef.name", v->claim);
                json_set_str(e, "pvcRef.namespace", p->object->ns);
            }
            cJSON_AddItemToArray(json_ensure_array(o, "volume"), e);
            inodes += v->ephemeral ? v->inodes_used : 0;
        }
        set_fs(o, "ephemeral-storage", &s->nodefs, pod_stats_ephemeral(p), inodes, now);
        if (p->m.usage.has_pids)
            set_number(o, "process_stats.process_count", p->m.usage.pids);
    }
    cJSON_AddItemToArray(list, o);
}

static void add_system(cJSON *list, const char *name, const struct node_stats *s,
                       const struct measured *m)
{
    if (!m->usage.has_cpu)
        return;
    cJSON *o = cJSON_CreateObject();
    json_set_str(o, "name", name);
    set_time(o, "startTime", s->boot_us);
    set_cpu_and_memory(o, m);
    cJSON_AddItemToArray(list, o);
}

void stats_write_summary(struct kubelet *k, const struct node_stats *s, bool small, struct buf *out)
{
    int64_t now = time_now_micros();
    cleanup_json cJSON *o = cJSON_CreateObject();
    cJSON *node = json_ensure_object(o, "node");
    json_set_str(node, "nodeName", k->node_name);
    cJSON *system = json_ensure_array(node, "systemContainers");
    add_system(system, "pods", s, &s->pods);
    add_system(system, "kubelet", s, &s->kubelet);
    set_time(node, "startTime", s->boot_us);
    set_cpu_and_memory(node, &s->node);
    if (!small) {
        set_network(node, s->interfaces, s->interface_count, now);
        set_fs(node, "fs", &s->nodefs, s->nodefs.used, s->nodefs.inodes_used, now);
        if (s->imagefs.capacity)
            set_fs(node, "runtime.imageFs", &s->imagefs, s->image_bytes, 0, now);
        set_time(json_ensure_object(node, "rlimit"), "time", now);
        json_set_int(node, "rlimit.maxpid", s->tasks_max);
        json_set_int(node, "rlimit.curproc", s->tasks);
    }
    cJSON *pods = json_ensure_array(o, "pods");
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].container_count)
            add_pod(pods, s, &s->items[i], small, now);
    json_print(o, out);
    buf_addc(out, '\n');
}
