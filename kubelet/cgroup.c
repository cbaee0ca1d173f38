#include "kubelet/cgroup.h"
#include "common/log.h"
#include "common/mem.h"
#include "kubelet/pod/spec.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int64_t cpu_shares(int64_t milli)
{
    if (milli <= 0)
        return 2;
    int64_t shares = milli > INT64_MAX / 1024 ? 262144 : milli * 1024 / 1000;
    return shares < 2 ? 2 : shares > 262144 ? 262144 : shares;
}

int64_t cpu_quota(int64_t milli, int64_t period_us)
{
    if (milli <= 0)
        return 0;
    int64_t quota = milli > INT64_MAX / period_us ? INT64_MAX / 1000 : milli * period_us / 1000;
    return quota < 1000 ? 1000 : quota;
}

int64_t cpu_weight(int64_t shares)
{
    return 1 + (shares - 2) * 9999 / 262142; /* runc's mapping of [2,262144] to [1,10000] */
}

int oom_score(const char *qos, int64_t memory_request, int64_t node_memory, bool critical, int lowest)
{
    int score;
    if (critical || strcmp(qos, "Guaranteed") == 0) {
        score = -997;
    } else if (strcmp(qos, "BestEffort") == 0) {
        score = 1000;
    } else {
        int64_t s = node_memory > 0 ? 1000 - (int64_t)((__int128)1000 * memory_request / node_memory) : 999;
        if (s < 1000 - 997)
            s = 1000 - 997; /* stays above guaranteed */
        if (s == 1000)
            s = 999; /* and below best effort */
        score = (int)s;
    }
    return score < lowest ? lowest : score;
}

int oom_lowest_allowed(void)
{
    cleanup_fclose FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long effective = 0;
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "CapEff: %llx", &effective) == 1)
            break;
    enum { CAP_SYS_RESOURCE_BIT = 24 };
    if (effective >> CAP_SYS_RESOURCE_BIT & 1)
        return -1000;
    cleanup_fclose FILE *own = fopen("/proc/self/oom_score_adj", "re");
    int score = 0;
    if (!own || fscanf(own, "%d", &score) != 1)
        return 0;
    return score;
}

void cgroup_pod_limits(const cJSON *pod, int64_t pids, struct cgroup_limits *out)
{
    struct pod_resources r;
    pod_effective_resources(pod, &r);
    *out = (struct cgroup_limits){2, -1, -1, pids};
    if (strcmp(pod_qos(pod), "BestEffort") == 0)
        return;
    out->cpu_shares = cpu_shares(r.cpu_request_milli);
    if (r.cpu_limit_milli > 0)
        out->cpu_quota = cpu_quota(r.cpu_limit_milli, CPU_PERIOD_US);
    if (r.memory_limit > 0)
        out->memory = r.memory_limit;
}

static int64_t wider(int64_t a, int64_t b)
{
    return a < 0 || b < 0 ? -1 : a > b ? a : b;
}

void cgroup_limits_widen(struct cgroup_limits *to, const struct cgroup_limits *from)
{
    to->cpu_shares = wider(to->cpu_shares, from->cpu_shares);
    to->cpu_quota = wider(to->cpu_quota, from->cpu_quota);
    to->memory = wider(to->memory, from->memory);
    to->pids = from->pids;
}

/* --- directories --- */

#define MAX_HIERARCHIES 24
struct cgroups {
    char *mount_point, *root; /* root without trailing '/': "" or "/host-a" */
    bool v2;
    char *hierarchies[MAX_HIERARCHIES]; /* v1: directory names below mount_point; v2: one, "" */
    size_t managed; /* those that we make groups in */
    size_t count;   /* with the v2 hierarchy beside v1, if there is one: runc makes groups there, we remove them */
};

struct cgroups *cgroups_new(const char *mount_point, const char *root)
{
    struct cgroups *g = mem_alloc(sizeof(*g));
    g->mount_point = mem_strdup(mount_point);
    g->root = mem_printf("%s%s", root && *root && *root != '/' ? "/" : "", root ? root : "");
    for (size_t n = strlen(g->root); n > 0 && g->root[n - 1] == '/';)
        g->root[--n] = '\0';
    cleanup_free char *controllers = mem_printf("%s/cgroup.controllers", mount_point);
    if (access(controllers, F_OK) == 0) {
        g->v2 = true;
        g->hierarchies[g->count++] = mem_strdup("");
        g->managed = 1;
        return g;
    }
    DIR *d = opendir(mount_point);
    for (struct dirent *e; d && (e = readdir(d));) {
        cleanup_free char *procs = mem_printf("%s/%s/cgroup.procs", mount_point, e->d_name);
        struct stat st;
        cleanup_free char *dir = mem_printf("%s/%s", mount_point, e->d_name);
        /* "cpu,cpuacct" and its links "cpu" and "cpuacct" are one hierarchy; "unified" is v2 beside v1. */
        if (e->d_name[0] == '.' || lstat(dir, &st) != 0 || !S_ISDIR(st.st_mode) || access(procs, F_OK) != 0 ||
            strcmp(e->d_name, "unified") == 0 || g->count == MAX_HIERARCHIES - 1)
            continue;
        g->hierarchies[g->count++] = mem_strdup(e->d_name);
    }
    if (d)
        closedir(d);
    g->managed = g->count;
    cleanup_free char *unified = mem_printf("%s/unified/cgroup.procs", mount_point);
    if (access(unified, F_OK) == 0)
        g->hierarchies[g->count++] = mem_strdup("unified");
    return g;
}

void cgroups_free(struct cgroups *g)
{
    for (size_t i = 0; i < g->count; i++)
        free(g->hierarchies[i]);
    free(g->mount_point);
    free(g->root);
    free(g);
}

bool cgroups_v2(const struct cgroups *g)
{
    return g->v2;
}

/* Is the controller one of "cpu,cpuacct"? */
static bool serves(const char *hierarchy, const char *controller)
{
    size_t n = strlen(controller);
    for (const char *p = hierarchy; *p; p += strcspn(p, ","), p += *p == ',')
        if (strncmp(p, controller, n) == 0 && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

char *cgroups_dir(const struct cgroups *g, const char *controller, const char *path)
{
    if (g->v2)
        return mem_printf("%s%s", g->mount_point, path);
    for (size_t i = 0; i < g->managed; i++)
        if (serves(g->hierarchies[i], controller))
            return mem_printf("%s/%s%s", g->mount_point, g->hierarchies[i], path);
    return NULL;
}

static bool write_file(const char *dir, const char *file, const char *value)
{
    cleanup_free char *path = mem_printf("%s/%s", dir, file);
    cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value);
}

static void set_value(const char *dir, const char *file, const char *value)
{
    if (!write_file(dir, file, value))
        log_debug(2, "Could not set a control group's value", "group", dir, "file", file, "value", value, "err",
                  strerror(errno));
}

static void set_number(const char *dir, const char *file, int64_t value)
{
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)value);
    set_value(dir, file, text);
}

/* A cpuset group of v1 can hold no process before it has processors and memory nodes: as its parent. */
static void inherit_cpuset(const char *parent, const char *dir)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        cleanup_buf struct buf v = {0}, own = {0};
        cleanup_free char *from = mem_printf("%s/%s", parent, files[i]);
        cleanup_free char *to = mem_printf("%s/%s", dir, files[i]);
        if (buf_read_file(&own, to, NULL) && own.len > 1)
            continue;
        if (buf_read_file(&v, from, NULL) && v.len > 1)
            set_value(dir, files[i], buf_str(&v));
    }
}

/* mkdir -p below a hierarchy's mount, with what a new group of this kind needs. */
static bool make_group(const struct cgroups *g, const char *hierarchy, const char *path, char **dir_out,
                       struct error **err)
{
    cleanup_buf struct buf dir = {0};
    buf_adds(&dir, g->mount_point);
    if (*hierarchy)
        buf_printf(&dir, "/%s", hierarchy);
    const char *p = path;
    while (*p) {
        while (*p == '/')
            p++;
        size_t n = strcspn(p, "/");
        if (!n)
            break;
        cleanup_free char *parent = mem_strdup(buf_str(&dir));
        if (g->v2)
            for (const char *const *c = (const char *const[]){"+cpu", "+memory", "+pids", "+cpuset", "+io", NULL}; *c; c++)
                write_file(parent, "cgroup.subtree_control", *c); /* what the kernel lacks cannot be had */
        buf_printf(&dir, "/%.*s", (int)n, p);
        if (mkdir(buf_str(&dir), 0755) != 0 && errno != EEXIST) {
            error_set_errno(err, errno, "create control group %s", buf_str(&dir));
            return false;
        }
        if (strcmp(hierarchy, "cpuset") == 0)
            inherit_cpuset(parent, buf_str(&dir));
        p += n;
    }
    *dir_out = buf_take(&dir);
    return true;
}

/* "cpu", or "cpu,cpuacct" mounted as one. */
static bool is_cpu(const char *hierarchy)
{
    return strncmp(hierarchy, "cpu", 3) == 0 && (hierarchy[3] == '\0' || hierarchy[3] == ',');
}

static void apply_limits(const struct cgroups *g, const char *hierarchy, const char *dir, const struct cgroup_limits *l)
{
    if (g->v2) {
        set_number(dir, "cpu.weight", cpu_weight(l->cpu_shares));
        char max[64];
        if (l->cpu_quota > 0)
            snprintf(max, sizeof(max), "%lld %d", (long long)l->cpu_quota, CPU_PERIOD_US);
        else
            snprintf(max, sizeof(max), "max %d", CPU_PERIOD_US);
        set_value(dir, "cpu.max", max);
        if (l->memory > 0)
            set_number(dir, "memory.max", l->memory);
        else
            set_value(dir, "memory.max", "max");
        if (l->pids > 0)
            set_number(dir, "pids.max", l->pids);
        return;
    }
    if (is_cpu(hierarchy)) {
        set_number(dir, "cpu.shares", l->cpu_shares);
        set_number(dir, "cpu.cfs_period_us", CPU_PERIOD_US);
        set_number(dir, "cpu.cfs_quota_us", l->cpu_quota > 0 ? l->cpu_quota : -1);
    } else if (strcmp(hierarchy, "memory") == 0) {
        set_number(dir, "memory.limit_in_bytes", l->memory > 0 ? l->memory : -1);
    } else if (strcmp(hierarchy, "pids") == 0 && l->pids > 0) {
        set_number(dir, "pids.max", l->pids);
    }
}

bool cgroups_ensure_pod(struct cgroups *g, const char *path, const struct cgroup_limits *l, struct error **err)
{
    for (size_t i = 0; i < g->managed; i++) {
        cleanup_free char *dir = NULL;
        if (!make_group(g, g->hierarchies[i], path, &dir, err))
            return false;
        apply_limits(g, g->hierarchies[i], dir, l);
    }
    return true;
}

int64_t cgroups_memory_usage(const struct cgroups *g, const char *path)
{
    cleanup_free char *file = mem_printf(g->v2 ? "%s%s/memory.current" : "%s/memory%s/memory.usage_in_bytes", g->mount_point, path);
    cleanup_fclose FILE *f = fopen(file, "re");
    long long bytes = -1;
    return f && fscanf(f, "%lld", &bytes) == 1 ? bytes : -1;
}

bool cgroups_setup(struct cgroups *g, int64_t cpu_milli, int64_t memory, struct error **err)
{
    static const char *const classes[] = {"", "/burstable", "/besteffort"};
    for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
        cleanup_free char *path = mem_printf("%s/kubepods%s", g->root, classes[i]);
        struct cgroup_limits l = {i == 0 && cpu_milli > 0 ? cpu_shares(cpu_milli) : 2, -1, i == 0 ? memory : -1, -1};
        if (!cgroups_ensure_pod(g, path, &l, err))
            return false;
    }
    return true;
}

void cgroups_set_burstable(struct cgroups *g, int64_t cpu_milli)
{
    for (size_t i = 0; i < g->managed; i++) {
        cleanup_free char *dir = mem_printf("%s%s%s%s/kubepods/burstable", g->mount_point,
                                            *g->hierarchies[i] ? "/" : "", g->hierarchies[i], g->root);
        if (g->v2)
            set_number(dir, "cpu.weight", cpu_weight(cpu_shares(cpu_milli)));
        else if (is_cpu(g->hierarchies[i]))
            set_number(dir, "cpu.shares", cpu_shares(cpu_milli));
    }
}

char *cgroups_all_pods(const struct cgroups *g)
{
    return mem_printf("%s/kubepods", g->root);
}

char *cgroups_pod_path(const struct cgroups *g, const char *qos, const char *uid)
{
    const char *class = strcmp(qos, "Burstable") == 0    ? "/burstable"
                        : strcmp(qos, "BestEffort") == 0 ? "/besteffort"
                                                         : "";
    return mem_printf("%s/kubepods%s/pod%s", g->root, class, uid);
}

static void kill_members(const char *dir)
{
    cleanup_free char *path = mem_printf("%s/cgroup.procs", dir);
    cleanup_fclose FILE *f = fopen(path, "re");
    int pid;
    while (f && fscanf(f, "%d", &pid) == 1)
        if (pid > 1)
            kill(pid, SIGKILL);
}

/* Children first: a group with children cannot be removed. */
static bool remove_tree(const char *dir)
{
    DIR *d = opendir(dir);
    if (!d)
        return errno == ENOENT;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        cleanup_free char *child = mem_printf("%s/%s", dir, e->d_name);
        remove_tree(child);
    }
    closedir(d);
    kill_members(dir);
    return rmdir(dir) == 0 || errno == ENOENT;
}

bool cgroups_remove_pod(struct cgroups *g, const char *path, struct error **err)
{
    bool ok = true;
    for (size_t i = 0; i < g->count; i++) {
        cleanup_free char *dir = mem_printf("%s%s%s%s", g->mount_point, *g->hierarchies[i] ? "/" : "",
                                            g->hierarchies[i], path);
        if (!remove_tree(dir) && ok) {
            error_set_errno(err, errno, "remove control group %s", dir);
            ok = false;
        }
    }
    return ok;
}

void cgroups_each_pod(struct cgroups *g, void (*fn)(void *userdata, const char *uid, const char *path), void *userdata)
{
    static const char *const classes[] = {"", "/burstable", "/besteffort"};
    for (size_t h = 0; h < g->count; h++) {
        for (size_t i = 0; i < ARRAY_LEN(classes); i++) {
            cleanup_free char *dir = mem_printf("%s%s%s%s/kubepods%s", g->mount_point, *g->hierarchies[h] ? "/" : "",
                                                g->hierarchies[h], g->root, classes[i]);
            DIR *d = opendir(dir);
            for (struct dirent *e; d && (e = readdir(d));) {
                if (e->d_type != DT_DIR || strncmp(e->d_name, "pod", 3) != 0)
                    continue;
                cleanup_free char *path = mem_printf("%s/kubepods%s/%s", g->root, classes[i], e->d_name);
                fn(userdata, e->d_name + 3, path);
            }
            if (d)
                closedir(d);
        }
    }
}
