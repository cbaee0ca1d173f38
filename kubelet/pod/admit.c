#include "kubelet/pod/admit.h"
#include <string.h>
#include "common/json.h"
#include "common/mem.h"
#include "kubelet/eviction/eviction.h"
#include "kubelet/pod/pod.h"

/* --- sysctls: https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/ --- */

bool admit_sysctl_is_safe(const char *name)
{
    static const char *const safe[] = {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    };
    for (size_t i = 0; i < ARRAY_LEN(safe); i++)
        if (strcmp(name, safe[i]) == 0)
            return true;
    return false;
}

static bool listed(const char *name, const char *allowed)
{
    cleanup_free char *copy = mem_strdup(allowed ? allowed : "");
    char *save = NULL;
    for (char *p = strtok_r(copy, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
        size_t n = strlen(p);
        bool prefix = n && p[n - 1] == '*';
        if (prefix ? strncmp(name, p, n - 1) == 0 : strcmp(name, p) == 0)
            return true;
    }
    return false;
}

/* In a namespace of the pod's own? Others would change the node. */
static bool is_namespaced(const char *name, bool *network)
{
    *network = strncmp(name, "net.", 4) == 0;
    static const char *const ipc[] = {"kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."};
    for (size_t i = 0; i < ARRAY_LEN(ipc); i++)
        if (strncmp(name, ipc[i], strlen(ipc[i])) == 0)
            return true;
    return *network;
}

char *admit_sysctls(const cJSON *pod, const char *allowed)
{
    const cJSON *s;
    cJSON_ArrayForEach(s, json_path(pod, "spec.securityContext.sysctls"))
    {
        cleanup_free char *name = mem_strdup(json_str_or(s, "name", ""));
        if (strchr(name, '/')) /* both ways of writing are in use */
            for (char *p = name; *p; p++)
                *p = *p == '/' ? '.' : *p == '.' ? '/' : *p;
        bool network;
        if (!is_namespaced(name, &network) ||
            (!admit_sysctl_is_safe(name) && !listed(name, allowed)))
            return mem_printf("forbidden sysctl: \"%s\" not allowlisted", name);
        if (network && pod_host_network(pod))
            return mem_printf("forbidden sysctl: \"%s\" not allowed with host net enabled", name);
        if (!network && json_bool(pod, "spec.hostIPC", false))
            return mem_printf("forbidden sysctl: \"%s\" not allowed with host ipc enabled", name);
    }
    return NULL;
}

/* --- AppArmor --- */

static bool wants_apparmor(const cJSON *context)
{
    const char *type = json_str(context, "appArmorProfile.type");
    return type && strcmp(type, "Unconfined") != 0;
}

static bool apparmor_missing(const cJSON *pod)
{
    bool wanted = wants_apparmor(json_path(pod, "spec.securityContext"));
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++)
        wanted = wanted || wants_apparmor(json_get(all.items[i].spec, "securityContext"));
    if (!wanted)
        return false;
    cleanup_buf struct buf b = {0};
    return !buf_read_file(&b, "/sys/module/apparmor/parameters/enabled", NULL) ||
           *buf_str(&b) != 'Y';
}

char *admit_refuses(const struct kubelet *k, const cJSON *pod, const char **reason)
{
    if (atomic_load(&k->shutting_down)) {
        *reason = "NodeShutdown";
        return mem_strdup("Pod was rejected as the node is shutting down.");
    }
    *reason = "Evicted";
    char *why = eviction_refuses(pod, atomic_load(&k->pressure));
    if (why)
        return why;
    *reason = "SysctlForbidden";
    why = admit_sysctls(pod, k->allowed_sysctls);
    if (why)
        return why;
    *reason = "AppArmor";
    return apparmor_missing(pod)
               ? mem_strdup("Cannot enforce AppArmor: AppArmor is not enabled on the host")
               : NULL;
}
