/* Counters, gauges and histograms in Prometheus' text form.
 * https://prometheus.io/docs/instrumenting/exposition_formats/ */
#include "common/component.h"
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>
#include "common/mem.h"

struct series {
    struct series *next; /* in the hash bucket */
    char *labels;        /* values joined by \x1f */
    double value;        /* counter, gauge; sum of a histogram */
    uint64_t count;
    uint64_t buckets[]; /* histograms: not cumulative, the last is +Inf */
};

#define SERIES_BUCKETS 32

struct metric {
    struct metric *next;
    enum metric_type type;
    char *name, *help, *label_names;
    double *bounds;
    size_t bound_count;
    pthread_mutex_t lock;
    struct series *series[SERIES_BUCKETS];
    struct series *plain; /* the one without labels, found without hashing */
};

/* All metrics of the process; written by metric_new at start, read when rendering. */
static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct metric *registry, **registry_end = &registry;

static const double default_buckets[] = {.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 0};

struct metric *metric_new(enum metric_type type, const char *name, const char *help, const char *label_names,
                          const double *buckets)
{
    pthread_mutex_lock(&registry_lock);
    for (struct metric *m = registry; m; m = m->next) {
        if (!strcmp(m->name, name)) {
            pthread_mutex_unlock(&registry_lock);
            return m;
        }
    }
    struct metric *m = mem_alloc(sizeof(*m));
    m->type = type;
    m->name = mem_strdup(name);
    m->help = mem_strdup(help);
    m->label_names = mem_strdup(label_names ? label_names : "");
    pthread_mutex_init(&m->lock, NULL);
    if (type == METRIC_HISTOGRAM) {
        if (!buckets)
            buckets = default_buckets;
        while (buckets[m->bound_count] != 0)
            m->bound_count++;
        m->bounds = mem_dup(buckets, m->bound_count * sizeof(double));
    }
    *registry_end = m;
    registry_end = &m->next;
    pthread_mutex_unlock(&registry_lock);
    return m;
}

/* With the metric's lock held. */
static struct series *series_get(struct metric *m, const char *labels)
{
    if (!labels)
        labels = "";
    struct series **slot = &m->plain;
    if (*labels) {
        unsigned h = 5381;
        for (const char *p = labels; *p; p++)
            h = h * 33 + (unsigned char)*p;
        slot = &m->series[h % SERIES_BUCKETS];
        while (*slot && strcmp((*slot)->labels, labels))
            slot = &(*slot)->next;
    }
    if (!*slot) {
        size_t buckets = m->type == METRIC_HISTOGRAM ? m->bound_count + 1 : 0;
        *slot = mem_alloc(sizeof(struct series) + buckets * sizeof(uint64_t));
        (*slot)->labels = mem_strdup(labels);
    }
    return *slot;
}

void metric_add(struct metric *m, const char *label_values, double v)
{
    pthread_mutex_lock(&m->lock);
    series_get(m, label_values)->value += v;
    pthread_mutex_unlock(&m->lock);
}

void metric_set(struct metric *m, const char *label_values, double v)
{
    pthread_mutex_lock(&m->lock);
    series_get(m, label_values)->value = v;
    pthread_mutex_unlock(&m->lock);
}

void metric_observe(struct metric *m, const char *label_values, double v)
{
    pthread_mutex_lock(&m->lock);
    struct series *s = series_get(m, label_values);
    size_t i = 0;
    while (i < m->bound_count && v > m->bounds[i])
        i++;
    s->buckets[i]++;
    s->count++;
    s->value += v;
    pthread_mutex_unlock(&m->lock);
}

static void add_number(struct buf *out, double v)
{
    if (isinf(v))
        buf_adds(out, v > 0 ? "+Inf" : "-Inf");
    else if (isnan(v))
        buf_adds(out, "NaN");
    else if (v == floor(v) && fabs(v) < 1e15)
        buf_printf(out, "%.0f", v);
    else
        buf_printf(out, "%.9g", v);
}

/* name{a="x",b="y",le="0.5"}: extra_name may be NULL. */
static void add_sample_name(struct buf *out, const struct metric *m, const char *suffix, const char *values,
                            const char *extra_name, const char *extra_value)
{
    buf_printf(out, "%s%s", m->name, suffix);
    bool open = false;
    const char *name = m->label_names, *value = values;
    while (*name) {
        size_t n = strcspn(name, ",");
        size_t vn = strcspn(value, "\x1f");
        buf_addc(out, open ? ',' : '{');
        open = true;
        buf_add(out, name, n);
        buf_adds(out, "=\"");
        for (size_t i = 0; i < vn; i++) {
            if (value[i] == '\\' || value[i] == '"')
                buf_addc(out, '\\');
            if (value[i] == '\n')
                buf_adds(out, "\\n");
            else
                buf_addc(out, value[i]);
        }
        buf_addc(out, '"');
        name += n + (name[n] == ',');
        value += vn + (value[vn] == '\x1f');
    }
    if (extra_name) {
        buf_printf(out, "%c%s=\"%s\"", open ? ',' : '{', extra_name, extra_value);
        open = true;
    }
    if (open)
        buf_addc(out, '}');
    buf_addc(out, ' ');
}

static void render_series(struct buf *out, const struct metric *m, const struct series *s)
{
    if (m->type != METRIC_HISTOGRAM) {
        add_sample_name(out, m, "", s->labels, NULL, NULL);
        add_number(out, s->value);
        buf_addc(out, '\n');
        return;
    }
    uint64_t sum = 0;
    for (size_t i = 0; i <= m->bound_count; i++) {
        char bound[32] = "+Inf";
        if (i < m->bound_count)
            snprintf(bound, sizeof(bound), "%g", m->bounds[i]);
        sum += s->buckets[i];
        add_sample_name(out, m, "_bucket", s->labels, "le", bound);
        buf_printf(out, "%" PRIu64 "\n", sum);
    }
    add_sample_name(out, m, "_sum", s->labels, NULL, NULL);
    add_number(out, s->value);
    buf_addc(out, '\n');
    add_sample_name(out, m, "_count", s->labels, NULL, NULL);
    buf_printf(out, "%" PRIu64 "\n", s->count);
}

static void render_process(struct buf *out)
{
    struct rusage ru;
    if (getrusage(RUSAGE_SELF, &ru) == 0) {
        double cpu = (double)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) +
                     (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
        buf_printf(out,
                   "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n"
                   "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total %.6f\n",
                   cpu);
    }
    cleanup_fclose FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long size = 0, resident = 0;
    if (f && fscanf(f, "%llu %llu", &size, &resident) == 2) {
        unsigned long long page = (unsigned long long)sysconf(_SC_PAGESIZE);
        buf_printf(out,
                   "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
                   "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %llu\n"
                   "# HELP process_virtual_memory_bytes Virtual memory size in bytes.\n"
                   "# TYPE process_virtual_memory_bytes gauge\nprocess_virtual_memory_bytes %llu\n",
                   resident * page, size * page);
    }
    DIR *d = opendir("/proc/self/fd");
    if (d) {
        int n = -1; /* the directory's own descriptor */
        for (struct dirent *e; (e = readdir(d));)
            n += e->d_name[0] != '.';
        closedir(d);
        buf_printf(out,
                   "# HELP process_open_fds Number of open file descriptors.\n"
                   "# TYPE process_open_fds gauge\nprocess_open_fds %d\n",
                   n);
    }
    cleanup_fclose FILE *stat = fopen("/proc/self/stat", "re");
    unsigned long long start = 0;
    struct timespec boot, now;
    if (stat && fscanf(stat,
                       "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d "
                       "%*d %*d %llu",
                       &start) == 1) {
        clock_gettime(CLOCK_BOOTTIME, &boot);
        clock_gettime(CLOCK_REALTIME, &now);
        double age =
            (double)boot.tv_sec + (double)boot.tv_nsec / 1e9 - (double)start / (double)sysconf(_SC_CLK_TCK);
        buf_printf(
            out,
            "# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.\n"
            "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %.2f\n",
            (double)now.tv_sec + (double)now.tv_nsec / 1e9 - age);
    }
}

void metrics_render(struct buf *out)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    pthread_mutex_lock(&registry_lock);
    for (struct metric *m = registry; m; m = m->next) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, types[m->type]);
        pthread_mutex_lock(&m->lock);
        if (!m->plain && !*m->label_names)
            series_get(m, "");
        if (m->plain)
            render_series(out, m, m->plain);
        for (size_t i = 0; i < SERIES_BUCKETS; i++)
            for (struct series *s = m->series[i]; s; s = s->next)
                render_series(out, m, s);
        pthread_mutex_unlock(&m->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    render_process(out);
}
