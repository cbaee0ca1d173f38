#include "common/component.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "kubelet/node/node.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

static int64_t meminfo(const char *name)
{
    cleanup_fclose FILE *f = fopen("/proc/meminfo", "re");
    char line[256];
    size_t n = strlen(name);
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, n) == 0 && line[n] == ':')
            return strtoll(line + n + 1, NULL, 10) * 1024;
    return 0;
}

/* One resource out of "cpu=100m,memory=1Gi"; 0 if absent, -1 if malformed. */
static int64_t reserved(const char *list, const char *resource)
{
    cleanup_free char *copy = mem_strdup(list ? list : "");
    char *save = NULL;
    int64_t found = 0;
    for (char *e = strtok_r(copy, ",", &save); e; e = strtok_r(NULL, ",", &save)) {
        char *eq = strchr(e, '=');
        struct quantity q;
        if (!eq || !quantity_parse(eq + 1, &q) || q.nano < 0)
            return -1;
        *eq = '\0';
        if (strcmp(e, resource) == 0)
            found = strcmp(resource, "cpu") == 0 ? quantity_milli_value(q) : quantity_value(q);
    }
    return found;
}

bool node_read_facts(const struct node_config *c, const char *root_dir, int64_t max_pods, struct node_facts *out,
                     struct error **err)
{
    *out = (struct node_facts){0};
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    out->cpu_milli = (cpus > 0 ? cpus : 1) * 1000;
    out->memory = meminfo("MemTotal");
    struct statvfs fs;
    if (statvfs(root_dir, &fs) == 0)
        out->ephemeral = (int64_t)fs.f_blocks * (int64_t)fs.f_frsize;
    out->pods = max_pods;
    const struct {
        const char *name;
        int64_t capacity, *allocatable;
    } resources[] = {{"cpu", out->cpu_milli, &out->allocatable_cpu_milli},
                     {"memory", out->memory, &out->allocatable_memory},
                     {"ephemeral-storage", out->ephemeral, &out->allocatable_ephemeral}};
    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        int64_t system = reserved(c->system_reserved, resources[i].name);
        int64_t kube = reserved(c->kube_reserved, resources[i].name);
        if (system < 0 || kube < 0) {
            error_setf(err, "--%s-reserved is malformed: resource=quantity,... is wanted", system < 0 ? "system" : "kube");
            return false;
        }
        *resources[i].allocatable = resources[i].capacity - system - kube;
        if (*resources[i].allocatable < 0) {
            error_setf(err, "more %s is reserved than the node has", resources[i].name);
            return false;
        }
    }
    out->pods_memory = out->allocatable_memory;
    if (c->eviction) {
        int64_t memory = thresholds_hard_reserve(c->eviction, SIGNAL_MEMORY, out->memory);
        int64_t disk = thresholds_hard_reserve(c->eviction, SIGNAL_NODEFS, out->ephemeral);
        out->allocatable_memory = out->allocatable_memory > memory ? out->allocatable_memory - memory : 0;
        out->allocatable_ephemeral = out->allocatable_ephemeral > disk ? out->allocatable_ephemeral - disk : 0;
    }
    return true;
}

static void set_quantity(cJSON *o, const char *name, int64_t value, bool milli, bool ki)
{
    char text[64];
    if (milli && value % 1000)
        snprintf(text, sizeof(text), "%lldm", (long long)value);
    else if (milli)
        snprintf(text, sizeof(text), "%lld", (long long)value / 1000);
    else if (ki && value % 1024 == 0)
        snprintf(text, sizeof(text), "%lldKi", (long long)value / 1024);
    else
        snprintf(text, sizeof(text), "%lld", (long long)value);
    json_map_set_str(o, name, text);
}

static void set_hugepages(cJSON *o)
{
    DIR *d = opendir("/sys/kernel/mm/hugepages");
    for (struct dirent *e; d && (e = readdir(d));) {
        long kb;
        if (sscanf(e->d_name, "hugepages-%ldkB", &kb) != 1)
            continue;
        cleanup_free char *path = mem_printf("/sys/kernel/mm/hugepages/%s/nr_hugepages", e->d_name);
        cleanup_fclose FILE *f = fopen(path, "re");
        long long pages = 0;
        if (!f || fscanf(f, "%lld", &pages) != 1)
            pages = 0;
        char name[64], text[64];
        if (kb >= 1024 * 1024)
            snprintf(name, sizeof(name), "hugepages-%ldGi", kb / 1024 / 1024);
        else if (kb >= 1024)
            snprintf(name, sizeof(name), "hugepages-%ldMi", kb / 1024);
        else
            snprintf(name, sizeof(name), "hugepages-%ldKi", kb);
        if (pages)
            snprintf(text, sizeof(text), "%lldKi", pages * kb);
        else
            strcpy(text, "0");
        json_map_set_str(o, name, text);
    }
    if (d)
        closedir(d);
}

/* The first line of a file without its newline; "" if there is none. */
static char *read_line(const char *path)
{
    cleanup_buf struct buf b = {0};
    if (!buf_read_file(&b, path, NULL))
        return mem_strdup("");
    return mem_strndup(buf_str(&b), strcspn(buf_str(&b), "\n"));
}

static char *os_image(void)
{
    cleanup_fclose FILE *f = fopen("/etc/os-release", "re");
    char line[512];
    while (f && fgets(line, sizeof(line), f)) {
        if (strncmp(line, "PRETTY_NAME=", 12) != 0)
            continue;
        char *v = line + 12;
        v[strcspn(v, "\n")] = '\0';
        size_t n = strlen(v);
        if (n >= 2 && (*v == '"' || *v == '\'')) {
            v[n - 1] = '\0';
            v++;
        }
        return mem_strdup(v);
    }
    return mem_strdup("Linux");
}

void node_set_facts(cJSON *status, const struct node_facts *f, const struct node_config *c)
{
    cJSON *capacity = json_ensure_object(status, "capacity"), *allocatable = json_ensure_object(status, "allocatable");
    set_quantity(capacity, "cpu", f->cpu_milli, true, false);
    set_quantity(capacity, "ephemeral-storage", f->ephemeral, false, true);
    set_hugepages(capacity);
    set_quantity(capacity, "memory", f->memory, false, true);
    set_quantity(capacity, "pods", f->pods, false, false);
    set_quantity(allocatable, "cpu", f->allocatable_cpu_milli, true, false);
    set_quantity(allocatable, "ephemeral-storage", f->allocatable_ephemeral, false, false);
    set_hugepages(allocatable);
    set_quantity(allocatable, "memory", f->allocatable_memory, false, true);
    set_quantity(allocatable, "pods", f->pods, false, false);

    struct utsname u;
    uname(&u);
    cleanup_free char *machine = read_line("/etc/machine-id");
    if (!*machine) {
        free(machine);
        machine = read_line("/var/lib/dbus/machine-id");
    }
    cleanup_free char *system_uuid = read_line("/sys/class/dmi/id/product_uuid");
    cleanup_free char *boot = read_line("/proc/sys/kernel/random/boot_id");
    cleanup_free char *image = os_image();
    cJSON *info = json_ensure_object(status, "nodeInfo");
    json_set_str(info, "machineID", machine);
    json_set_str(info, "systemUUID", *system_uuid ? system_uuid : machine);
    json_set_str(info, "bootID", boot);
    json_set_str(info, "kernelVersion", u.release);
    json_set_str(info, "osImage", image);
    json_set_str(info, "containerRuntimeVersion", c->runtime);
    json_set_str(info, "kubeletVersion", KUBERNETES_VERSION);
    json_set_str(info, "kubeProxyVersion", "");
    json_set_str(info, "operatingSystem", "linux");
    json_set_str(info, "architecture", strcmp(u.machine, "x86_64") == 0    ? "amd64"
                                       : strcmp(u.machine, "aarch64") == 0 ? "arm64"
                                                                           : u.machine);
}
