#include "kubelet/stats/usage.h"
#include <ctype.h>
#include <dirent.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include "common/mem.h"
#include "common/timefmt.h"

/* --- small files --- */

static bool read_text(const char *dir, const char *file, struct buf *out)
{
    cleanup_free char *path = mem_printf("%s/%s", dir, file);
    return buf_read_file(out, path, NULL);
}

static bool read_number(const char *dir, const char *file, uint64_t *out)
{
    cleanup_buf struct buf b = {0};
    if (!read_text(dir, file, &b) || !isdigit((unsigned char)*buf_str(&b)))
        return false;
    *out = strtoull(buf_str(&b), NULL, 10);
    return true;
}

/* "name value" lines: the value of one name, 0 if absent. */
static uint64_t stat_value(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n')
        if (strncmp(p, name, n) == 0 && p[n] == ' ')
            return strtoull(p + n, NULL, 10);
    return 0;
}

/* --- control groups --- */

static uint64_t at_least_zero(uint64_t from, uint64_t less)
{
    return from > less ? from - less : 0;
}

static void read_v2(const char *dir, struct cgroup_usage *out)
{
    cleanup_buf struct buf cpu = {0}, memory = {0};
    if (read_text(dir, "cpu.stat", &cpu)) {
        out->has_cpu = true;
        out->cpu_ns = stat_value(buf_str(&cpu), "usage_usec") * 1000;
    }
    if (read_number(dir, "memory.current", &out->memory) &&
        read_text(dir, "memory.stat", &memory)) {
        const char *text = buf_str(&memory);
        out->has_memory = true;
        out->working_set = at_least_zero(out->memory, stat_value(text, "inactive_file"));
        out->rss = stat_value(text, "anon");
        out->page_faults = stat_value(text, "pgfault");
        out->major_page_faults = stat_value(text, "pgmajfault");
        read_number(dir, "memory.swap.current", &out->swap);
        read_number(dir, "memory.max", &out->memory_limit); /* "max" is no number */
    }
    out->has_pids = read_number(dir, "pids.current", &out->pids);
}

static void read_v1(const struct cgroups *g, const char *path, struct cgroup_usage *out)
{
    const uint64_t no_limit = UINT64_C(1) << 60;
    cleanup_free char *cpu = cgroups_dir(g, "cpuacct", path);
    cleanup_free char *memory = cgroups_dir(g, "memory", path);
    cleanup_free char *pids = cgroups_dir(g, "pids", path);
    cleanup_buf struct buf stat = {0};
    out->has_cpu = cpu && read_number(cpu, "cpuacct.usage", &out->cpu_ns);
    if (memory && read_number(memory, "memory.usage_in_bytes", &out->memory) &&
        read_text(memory, "memory.stat", &stat)) {
        const char *text = buf_str(&stat);
        out->has_memory = true;
        out->working_set = at_least_zero(out->memory, stat_value(text, "total_inactive_file"));
        out->rss = stat_value(text, "total_rss");
        out->page_faults = stat_value(text, "total_pgfault");
        out->major_page_faults = stat_value(text, "total_pgmajfault");
        out->swap = stat_value(text, "total_swap");
        if (!read_number(memory, "memory.limit_in_bytes", &out->memory_limit) ||
            out->memory_limit > no_limit)
            out->memory_limit = 0;
    }
    out->has_pids = pids && read_number(pids, "pids.current", &out->pids);
}

void usage_of_cgroup(const struct cgroups *g, const char *path, struct cgroup_usage *out)
{
    *out = (struct cgroup_usage){.time_us = time_now_micros()};
    if (cgroups_v2(g)) {
        cleanup_free char *dir = cgroups_dir(g, "", path);
        read_v2(dir, out);
    } else {
        read_v1(g, path, out);
    }
}

static int any_pid_below(const char *dir, int depth)
{
    cleanup_free char *path = mem_printf("%s/cgroup.procs", dir);
    cleanup_fclose FILE *f = fopen(path, "re");
    int pid = 0;
    if (f && fscanf(f, "%d", &pid) == 1 && pid > 0)
        return pid;
    DIR *d = depth > 0 ? opendir(dir) : NULL;
    pid = 0;
    for (struct dirent *e; d && !pid && (e = readdir(d));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        cleanup_free char *child = mem_printf("%s/%s", dir, e->d_name);
        pid = any_pid_below(child, depth - 1);
    }
    if (d)
        closedir(d);
    return pid;
}

int usage_any_pid(const struct cgroups *g, const char *path)
{
    cleanup_free char *dir = cgroups_dir(g, cgroups_v2(g) ? "" : "memory", path);
    return dir ? any_pid_below(dir, 3) : 0;
}

/* --- the node --- */

/* /proc/stat counts hundredths of a second: user nice system idle iowait irq softirq steal; guest
 * time is part of user time. */
static uint64_t busy_ns(const char *text)
{
    unsigned long long user = 0, nice = 0, system = 0, idle = 0, iowait = 0, irq = 0, soft = 0,
                       steal = 0;
    if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
               &iowait, &irq, &soft, &steal) < 4)
        return 0;
    long hz = sysconf(_SC_CLK_TCK);
    return (user + nice + system + irq + soft + steal) * (1000000000ull / (hz > 0 ? hz : 100));
}

static uint64_t meminfo_bytes(const char *text, const char *name)
{
    const char *p = strstr(text, name);
    return p ? strtoull(p + strlen(name), NULL, 10) * 1024 : 0;
}

void usage_of_node(struct cgroup_usage *out)
{
    *out = (struct cgroup_usage){.time_us = time_now_micros()};
    cleanup_buf struct buf stat = {0}, memory = {0}, vm = {0};
    if (buf_read_file(&stat, "/proc/stat", NULL)) {
        out->has_cpu = true;
        out->cpu_ns = busy_ns(buf_str(&stat));
    }
    if (buf_read_file(&memory, "/proc/meminfo", NULL)) {
        const char *text = buf_str(&memory);
        out->has_memory = true;
        out->memory_limit = meminfo_bytes(text, "MemTotal:");
        out->memory = at_least_zero(out->memory_limit, meminfo_bytes(text, "MemFree:"));
        out->working_set = at_least_zero(out->memory, meminfo_bytes(text, "Inactive(file):"));
        out->rss = meminfo_bytes(text, "AnonPages:");
        out->swap =
            at_least_zero(meminfo_bytes(text, "SwapTotal:"), meminfo_bytes(text, "SwapFree:"));
    }
    if (buf_read_file(&vm, "/proc/vmstat", NULL)) {
        out->page_faults = stat_value(buf_str(&vm), "pgfault");
        out->major_page_faults = stat_value(buf_str(&vm), "pgmajfault");
    }
    int64_t running, max;
    usage_of_pids(&running, &max);
    out->has_pids = running > 0;
    out->pids = (uint64_t)running;
}

void usage_of_pids(int64_t *running, int64_t *max)
{
    *running = *max = 0;
    cleanup_buf struct buf load = {0};
    uint64_t pid_max = 0, threads_max = 0;
    read_number("/proc/sys/kernel", "pid_max", &pid_max);
    read_number("/proc/sys/kernel", "threads-max", &threads_max);
    *max = (int64_t)(threads_max && threads_max < pid_max ? threads_max : pid_max);
    long long tasks = 0;
    if (buf_read_file(&load, "/proc/loadavg", NULL) &&
        sscanf(buf_str(&load), "%*s %*s %*s %*d/%lld", &tasks) == 1)
        *running = tasks;
}

/* --- file systems --- */

bool usage_of_filesystem(const char *path, struct fs_usage *out)
{
    struct statvfs fs;
    *out = (struct fs_usage){0};
    if (statvfs(path, &fs) != 0)
        return false;
    uint64_t block = fs.f_frsize;
    out->capacity = fs.f_blocks * block;
    out->available = fs.f_bavail * block;
    out->used = (fs.f_blocks - fs.f_bfree) * block;
    out->inodes = fs.f_files;
    out->inodes_free = fs.f_ffree;
    out->inodes_used = fs.f_files - fs.f_ffree;
    return true;
}

static _Thread_local struct {
    uint64_t bytes, inodes;
} tree; /* for nftw, which passes nothing on; used by the calling thread alone */

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type == FTW_NS)
        return 0; /* removed meanwhile */
    /* What has several names counts once for each: they are rare where containers write. */
    tree.bytes += (uint64_t)st->st_blocks * 512;
    tree.inodes++;
    return 0;
}

bool usage_of_tree(const char *path, uint64_t *bytes, uint64_t *inodes)
{
    enum { OPEN_DIRECTORIES = 16 };
    tree.bytes = tree.inodes = 0;
    bool ok = nftw(path, count_entry, OPEN_DIRECTORIES, FTW_PHYS | FTW_MOUNT) == 0;
    *bytes = tree.bytes;
    *inodes = tree.inodes;
    return ok;
}

/* --- network --- */

size_t usage_parse_net_dev(const char *text, struct net_interface *out, size_t max)
{
    size_t n = 0;
    for (const char *p = text; *p && n < max; p += strcspn(p, "\n"), p += *p == '\n') {
        size_t line = strcspn(p, "\n");
        const char *colon = memchr(p, ':', line);
        while (*p == ' ')
            p++;
        if (!colon || colon <= p || (size_t)(colon - p) >= sizeof(out->name))
            continue;
        struct net_interface i = {0};
        memcpy(i.name, p, (size_t)(colon - p));
        unsigned long long rx, rx_errors, tx, tx_errors;
        if (strcmp(i.name, "lo") == 0 ||
            sscanf(colon + 1, "%llu %*u %llu %*u %*u %*u %*u %*u %llu %*u %llu", &rx, &rx_errors,
                   &tx, &tx_errors) != 4)
            continue;
        i.rx_bytes = rx;
        i.rx_errors = rx_errors;
        i.tx_bytes = tx;
        i.tx_errors = tx_errors;
        out[n++] = i;
    }
    return n;
}

size_t usage_of_network(int pid, struct net_interface *out, size_t max)
{
    cleanup_free char *path = mem_printf("/proc/%d/net/dev", pid);
    cleanup_buf struct buf text = {0};
    return pid > 0 && buf_read_file(&text, path, NULL)
               ? usage_parse_net_dev(buf_str(&text), out, max)
               : 0;
}
