/* /metrics/resource and /metrics/cadvisor, in Prometheus' text format.
 * https://kubernetes.io/docs/reference/instrumentation/metrics/ */
#include <string.h>
#include "common/component.h"
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/kubelet.h"
#include "kubelet/stats/stats.h"

/* Names of objects and images need no escapes but these. */
static void add_label(struct buf *out, const char *name, const char *value)
{
    char last = out->data[out->len - 1];
    buf_printf(out, "%s%s=\"", last == '{' ? "" : ",", name);
    for (const char *p = value; *p; p++) {
        if (*p == '"' || *p == '\\')
            buf_addc(out, '\\');
        if (*p == '\n')
            buf_adds(out, "\\n");
        else
            buf_addc(out, *p);
    }
    buf_addc(out, '"');
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void value(struct buf *out, double v, int64_t time_us)
{
    buf_printf(out, " %.15g %lld\n", v, (long long)time_us / 1000);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* --- resource --- */

enum field { CPU, MEMORY, SWAP, START };

static bool field_of(const struct measured *m, enum field f, double *v)
{
    const struct cgroup_usage *u = &m->usage;
    *v = f == CPU ? seconds(u->cpu_ns) : f == MEMORY ? (double)u->working_set : (double)u->swap;
    return f == CPU ? u->has_cpu : u->has_memory;
}

static void containers(const struct node_stats *s, const char *name, enum field f, struct buf *out)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct pod_stats *p = &s->items[i];
        for (size_t c = 0; c < p->container_count; c++) {
            const struct container_stats *k = &p->containers[c];
            double v;
            bool known = field_of(&k->m, f, &v);
            if (f == START) {
                v = (double)k->started_at_us / 1e6;
                known = k->started_at_us > 0;
            }
            if (!known)
                continue;
            buf_printf(out, "%s{", name);
            add_label(out, "container", k->name);
            add_label(out, "namespace", p->object->ns);
            add_label(out, "pod", p->object->name);
            buf_addc(out, '}');
            value(out, v, k->m.usage.time_us);
        }
    }
}

static void pods(const struct node_stats *s, const char *name, enum field f, struct buf *out)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct pod_stats *p = &s->items[i];
        double v;
        if (!p->container_count || !field_of(&p->m, f, &v))
            continue;
        buf_printf(out, "%s{", name);
        add_label(out, "namespace", p->object->ns);
        add_label(out, "pod", p->object->name);
        buf_addc(out, '}');
        value(out, v, p->m.usage.time_us);
    }
}

static void node(const struct node_stats *s, const char *name, enum field f, struct buf *out)
{
    double v;
    if (!field_of(&s->node, f, &v))
        return;
    buf_adds(out, name);
    value(out, v, s->node.usage.time_us);
}

void stats_write_resource_metrics(const struct node_stats *s, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        void (*write)(const struct node_stats *s, const char *name, enum field f, struct buf *out);
        enum field field;
    } metrics[] = {
        {"container_cpu_usage_seconds_total", "counter",
         "[STABLE] Cumulative cpu time consumed by the container in core-seconds", containers, CPU},
        {"container_memory_working_set_bytes", "gauge",
         "[STABLE] Current working set of the container in bytes", containers, MEMORY},
        {"container_start_time_seconds", "gauge",
         "[STABLE] Start time of the container since unix epoch in seconds", containers, START},
        {"container_swap_usage_bytes", "gauge",
         "[ALPHA] Current amount of the container swap usage in bytes. Reported only on "
         "non-windows systems",
         containers, SWAP},
        {"node_cpu_usage_seconds_total", "counter",
         "[STABLE] Cumulative cpu time consumed by the node in core-seconds", node, CPU},
        {"node_memory_working_set_bytes", "gauge",
         "[STABLE] Current working set of the node in bytes", node, MEMORY},
        {"node_swap_usage_bytes", "gauge",
         "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
         node, SWAP},
        {"pod_cpu_usage_seconds_total", "counter",
         "[STABLE] Cumulative cpu time consumed by the pod in core-seconds", pods, CPU},
        {"pod_memory_working_set_bytes", "gauge",
         "[STABLE] Current working set of the pod in bytes", pods, MEMORY},
        {"pod_swap_usage_bytes", "gauge",
         "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows "
         "systems",
         pods, SWAP},
    };
    for (size_t i = 0; i < ARRAY_LEN(metrics); i++) {
        head(out, metrics[i].name, metrics[i].type, metrics[i].help);
        metrics[i].write(s, metrics[i].name, metrics[i].field, out);
    }
    head(out, "resource_scrape_error", "gauge",
         "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    buf_printf(out, "resource_scrape_error %d\n",
               s->node.usage.has_cpu && s->node.usage.has_memory ? 0 : 1);
}

/* --- cadvisor --- */

struct subject {
    const char *container, *id, *image, *name, *ns, *pod;
    const struct measured *m;
    const struct container_stats *c; /* NULL: a pod, or the node */
};

static void labels(struct buf *out, const struct subject *s)
{
    buf_addc(out, '{');
    add_label(out, "container", s->container);
    add_label(out, "id", s->id);
    add_label(out, "image", s->image);
    add_label(out, "name", s->name);
    add_label(out, "namespace", s->ns);
    add_label(out, "pod", s->pod);
}

struct cadvisor_metric {
    const char *name, *type, *help;
    bool (*get)(const struct subject *s, double *v);
    const char *extra; /* further labels as they are written, or NULL */
};

static bool get_cpu(const struct subject *s, double *v)
{
    *v = seconds(s->m->usage.cpu_ns);
    return s->m->usage.has_cpu;
}
#define MEMORY_GETTER(name, member)                                                                \
    static bool name(const struct subject *s, double *v)                                           \
    {                                                                                              \
        *v = (double)s->m->usage.member;                                                           \
        return s->m->usage.has_memory;                                                             \
    }
MEMORY_GETTER(get_memory, memory)
MEMORY_GETTER(get_working_set, working_set)
MEMORY_GETTER(get_rss, rss)
MEMORY_GETTER(get_swap, swap)
MEMORY_GETTER(get_limit, memory_limit)
MEMORY_GETTER(get_faults, page_faults)
MEMORY_GETTER(get_major_faults, major_page_faults)
static bool get_pids(const struct subject *s, double *v)
{
    *v = (double)s->m->usage.pids;
    return s->m->usage.has_pids;
}
static bool get_fs(const struct subject *s, double *v)
{
    *v = s->c ? (double)s->c->rootfs_bytes : 0;
    return s->c && s->c->has_rootfs;
}
static bool get_inodes(const struct subject *s, double *v)
{
    *v = s->c ? (double)s->c->rootfs_inodes : 0;
    return s->c && s->c->has_rootfs;
}
static bool get_start(const struct subject *s, double *v)
{
    *v = s->c ? (double)s->c->started_at_us / 1e6 : 0;
    return s->c != NULL;
}
static bool get_seen(const struct subject *s, double *v)
{
    *v = (double)(s->m->usage.time_us / 1000000);
    return s->m->usage.has_cpu;
}

static const struct cadvisor_metric cadvisor_metrics[] = {
    {"container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.",
     get_cpu, ",cpu=\"total\""},
    {"container_fs_inodes_total", "gauge", "Number of Inodes", get_inodes, NULL},
    {"container_fs_usage_bytes", "gauge",
     "Number of bytes that are consumed by the container on this filesystem.", get_fs, NULL},
    {"container_last_seen", "gauge", "Last time a container was seen by the exporter", get_seen,
     NULL},
    {"container_memory_failures_total", "counter",
     "Cumulative count of memory allocation failures.", get_faults,
     ",failure_type=\"pgfault\",scope=\"hierarchy\""},
    {"container_memory_failures_total", "counter", "", get_major_faults,
     ",failure_type=\"pgmajfault\",scope=\"hierarchy\""},
    {"container_memory_rss", "gauge", "Size of RSS in bytes.", get_rss, NULL},
    {"container_memory_swap", "gauge", "Container swap usage in bytes.", get_swap, NULL},
    {"container_memory_usage_bytes", "gauge",
     "Current memory usage in bytes, including all memory regardless of when it was accessed",
     get_memory, NULL},
    {"container_memory_working_set_bytes", "gauge", "Current working set in bytes.",
     get_working_set, NULL},
    {"container_processes", "gauge", "Number of processes running inside the container.", get_pids,
     NULL},
    {"container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", get_limit,
     NULL},
    {"container_start_time_seconds", "gauge",
     "Start time of the container since unix epoch in seconds.", get_start, NULL},
};

static void write_subject(const struct cadvisor_metric *m, const struct subject *s, struct buf *out)
{
    double v;
    if (!m->get(s, &v))
        return;
    buf_adds(out, m->name);
    labels(out, s);
    if (m->extra)
        buf_adds(out, m->extra);
    buf_addc(out, '}');
    value(out, v, s->m->usage.time_us);
}

static void write_network(const struct node_stats *s, const char *name, const char *help, int field,
                          struct buf *out)
{
    head(out, name, "counter", help);
    for (size_t i = 0; i < s->count; i++) {
        const struct pod_stats *p = &s->items[i];
        for (size_t n = 0; n < p->interface_count; n++) {
            const struct net_interface *e = &p->interfaces[n];
            const uint64_t fields[] = {e->rx_bytes, e->rx_errors, e->tx_bytes, e->tx_errors};
            struct subject subject = {"",    p->cgroup, "", "", p->object->ns, p->object->name,
                                      &p->m, NULL};
            buf_adds(out, name);
            labels(out, &subject);
            add_label(out, "interface", e->name);
            buf_addc(out, '}');
            value(out, (double)fields[field], p->m.usage.time_us);
        }
    }
}

void stats_write_cadvisor_metrics(struct kubelet *k, const struct node_stats *s, struct buf *out)
{
    (void)k;
    head(out, "cadvisor_version_info", "gauge", "The version of the kubelet and of the kernel.");
    buf_printf(out, "cadvisor_version_info{cadvisorVersion=\"\",kubeletVersion=\"%s\"} 1\n",
               KUBERNETES_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(cadvisor_metrics); i++) {
        const struct cadvisor_metric *m = &cadvisor_metrics[i];
        if (*m->help) /* a second one of the name has none */
            head(out, m->name, m->type, m->help);
        write_subject(m, &(struct subject){"", "/", "", "", "", "", &s->node, NULL}, out);
        for (size_t p = 0; p < s->count; p++) {
            const struct pod_stats *pod = &s->items[p];
            struct subject subject = {
                "", pod->cgroup, "", "", pod->object->ns, pod->object->name, &pod->m, NULL};
            if (pod->container_count)
                write_subject(m, &subject, out);
            for (size_t c = 0; c < pod->container_count; c++) {
                const struct container_stats *o = &pod->containers[c];
                cleanup_free char *id = mem_printf("%s/%s", pod->cgroup, o->id);
                subject = (struct subject){
                    o->name, id, o->image, o->id, pod->object->ns, pod->object->name, &o->m, o};
                write_subject(m, &subject, out);
            }
        }
    }
    write_network(s, "container_network_receive_bytes_total", "Cumulative count of bytes received",
                  0, out);
    write_network(s, "container_network_receive_errors_total",
                  "Cumulative count of errors encountered while receiving", 1, out);
    write_network(s, "container_network_transmit_bytes_total",
                  "Cumulative count of bytes transmitted", 2, out);
    write_network(s, "container_network_transmit_errors_total",
                  "Cumulative count of errors encountered while transmitting", 3, out);
    head(out, "machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    buf_printf(out, "machine_cpu_cores %ld\n", sysconf(_SC_NPROCESSORS_ONLN));
    head(out, "machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    buf_printf(out, "machine_memory_bytes %llu\n", (unsigned long long)s->node.usage.memory_limit);
}
