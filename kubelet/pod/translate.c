#include "kubelet/pod/translate.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include "common/timefmt.h"
#include "kubelet/cgroup.h"
#include "kubelet/pod/spec.h"
#include <string.h>

void translate_mounts_add(struct translate_mounts *m, const char *host_path, const char *container_path, bool readonly,
                          const char *propagation)
{
    m->items = mem_realloc(m->items, (m->count + 1) * sizeof(*m->items));
    m->items[m->count++] = (struct translate_mount){mem_strdup(host_path), mem_strdup(container_path), readonly,
                                                    propagation};
}

void translate_mounts_clear(struct translate_mounts *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->items[i].host_path);
        free(m->items[i].container_path);
    }
    free(m->items);
    *m = (struct translate_mounts){0};
}

/* --- repeated fields in an arena --- */

/* Room for n pointers and one more. */
static void *pointers(struct arena *a, size_t n)
{
    return arena_alloc(a, (n + 1) * sizeof(void *));
}

static char *copy(struct arena *a, const char *s)
{
    return arena_strdup(a, s ? s : "");
}

/* Strings of a JSON array; others are skipped. */
static size_t string_array(struct arena *a, const cJSON *array, char ***out)
{
    int n = cJSON_GetArraySize(array);
    size_t count = 0;
    *out = pointers(a, (size_t)n);
    const cJSON *e;
    cJSON_ArrayForEach(e, array)
    {
        if (cJSON_IsString(e))
            (*out)[count++] = copy(a, e->valuestring);
    }
    return count;
}

/* Every map that protobuf-c generates has entries of its own type but of this one layout. */
struct map_entry {
    ProtobufCMessage base;
    char *key;
    char *value;
};
struct map {
    struct arena *arena;
    const ProtobufCMessageDescriptor *descriptor;
    struct map_entry **entries;
    size_t count, cap;
};

static void map_add(struct map *m, const char *key, const char *value)
{
    if (m->count == m->cap) {
        m->cap = m->cap ? 2 * m->cap : 16;
        struct map_entry **bigger = pointers(m->arena, m->cap);
        if (m->count)
            memcpy(bigger, m->entries, m->count * sizeof(*bigger));
        m->entries = bigger;
    }
    struct map_entry *e = arena_alloc(m->arena, sizeof(*e));
    protobuf_c_message_init(m->descriptor, e);
    e->key = copy(m->arena, key);
    e->value = copy(m->arena, value);
    m->entries[m->count++] = e;
}

static void map_add_all(struct map *m, const cJSON *json)
{
    const cJSON *e;
    cJSON_ArrayForEach(e, json)
    {
        if (cJSON_IsString(e))
            map_add(m, e->string, e->valuestring);
    }
}

static Runtime__V1__Int64Value *int64_value(struct arena *a, int64_t v)
{
    Runtime__V1__Int64Value *o = arena_alloc(a, sizeof(*o));
    runtime__v1__int64_value__init(o);
    o->value = v;
    return o;
}

static bool name_is_safe(const char *name)
{
    return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strlen(name) <= 253;
}

bool translate_safe_names(const cJSON *pod, struct error **err)
{
    static const char *const paths[] = {"metadata.name", "metadata.namespace", "metadata.uid"};
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (!name_is_safe(json_str(pod, paths[i]))) {
            error_setf(err, "%s is not usable", paths[i]);
            return false;
        }
    }
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++) {
        if (!name_is_safe(all.items[i].name)) {
            error_setf(err, "a container's name is not usable");
            return false;
        }
    }
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        if (!name_is_safe(json_str(v, "name"))) {
            error_setf(err, "a volume's name is not usable");
            return false;
        }
    }
    return true;
}

char *pod_log_dir(const cJSON *pod)
{
    return mem_printf("/var/log/pods/%s_%s_%s", json_str_or(pod, "metadata.namespace", ""),
                      json_str_or(pod, "metadata.name", ""), json_str_or(pod, "metadata.uid", ""));
}

/* --- security --- */

static Runtime__V1__NamespaceOption *namespace_options(struct arena *a, const cJSON *pod)
{
    Runtime__V1__NamespaceOption *o = arena_alloc(a, sizeof(*o));
    runtime__v1__namespace_option__init(o);
    o->network = pod_host_network(pod) ? RUNTIME__V1__NAMESPACE_MODE__NODE : RUNTIME__V1__NAMESPACE_MODE__POD;
    o->ipc = json_bool(pod, "spec.hostIPC", false) ? RUNTIME__V1__NAMESPACE_MODE__NODE
                                                   : RUNTIME__V1__NAMESPACE_MODE__POD;
    o->pid = json_bool(pod, "spec.hostPID", false)                 ? RUNTIME__V1__NAMESPACE_MODE__NODE
             : json_bool(pod, "spec.shareProcessNamespace", false) ? RUNTIME__V1__NAMESPACE_MODE__POD
                                                                   : RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
    return o;
}

static Runtime__V1__SecurityProfile *security_profile(struct arena *a, const cJSON *profile, const char *localhost_dir,
                                                      Runtime__V1__ProfileType otherwise)
{
    Runtime__V1__SecurityProfile *o = arena_alloc(a, sizeof(*o));
    runtime__v1__security_profile__init(o);
    const char *type = json_str_or(profile, "type", "");
    o->profile_type = otherwise;
    if (strcmp(type, "RuntimeDefault") == 0) {
        o->profile_type = RUNTIME__V1__PROFILE_TYPE__RuntimeDefault;
    } else if (strcmp(type, "Unconfined") == 0) {
        o->profile_type = RUNTIME__V1__PROFILE_TYPE__Unconfined;
    } else if (strcmp(type, "Localhost") == 0) {
        o->profile_type = RUNTIME__V1__PROFILE_TYPE__Localhost;
        const char *name = json_str_or(profile, "localhostProfile", "");
        o->localhost_ref = localhost_dir ? arena_printf(a, "%s/%s", localhost_dir, name) : copy(a, name);
    }
    return o;
}

static bool is_privileged(const cJSON *container)
{
    return json_bool(container, "securityContext.privileged", false);
}

static size_t supplemental_groups(struct arena *a, const cJSON *pod, int64_t **out)
{
    const cJSON *groups = json_path(pod, "spec.securityContext.supplementalGroups"), *g;
    *out = arena_alloc(a, ((size_t)cJSON_GetArraySize(groups) + 2) * sizeof(**out));
    size_t n = 0;
    int64_t fs_group = json_int(pod, "spec.securityContext.fsGroup", -1);
    cJSON_ArrayForEach(g, groups)
    {
        if (cJSON_IsNumber(g))
            (*out)[n++] = number_value(g);
    }
    if (fs_group >= 0)
        (*out)[n++] = fs_group;
    return n;
}

/* --- the sandbox --- */

/* One "nameserver", "search" or "options" line of the host's resolv.conf into an array; the last "search" wins. */
static void read_resolv_conf(struct arena *a, const char *text, Runtime__V1__DNSConfig *dns)
{
    size_t lines = 1;
    for (const char *p = text; *p; p++)
        lines += *p == '\n' || *p == ' ' || *p == '\t';
    dns->servers = pointers(a, lines);
    dns->searches = pointers(a, lines);
    dns->options = pointers(a, lines);
    cleanup_free char *lines_copy = mem_strdup(text);
    char *save_line = NULL;
    for (char *line = strtok_r(lines_copy, "\n", &save_line); line; line = strtok_r(NULL, "\n", &save_line)) {
        char *save = NULL, *word = strtok_r(line, " \t\r", &save);
        if (!word || *word == '#' || *word == ';')
            continue;
        bool server = strcmp(word, "nameserver") == 0, search = strcmp(word, "search") == 0;
        bool options = strcmp(word, "options") == 0;
        if (search)
            dns->n_searches = 0;
        if (options)
            dns->n_options = 0;
        while ((server || search || options) && (word = strtok_r(NULL, " \t\r", &save))) {
            if (server) {
                if (dns->n_servers < 3)
                    dns->servers[dns->n_servers++] = copy(a, word);
                break;
            }
            if (search)
                dns->searches[dns->n_searches++] = copy(a, word);
            else
                dns->options[dns->n_options++] = copy(a, word);
        }
    }
}

static void append_unique(struct arena *a, char ***list, size_t *n, const char *s)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp((*list)[i], s) == 0)
            return;
    char **bigger = pointers(a, *n + 1);
    if (*n)
        memcpy(bigger, *list, *n * sizeof(*bigger));
    bigger[(*n)++] = copy(a, s);
    *list = bigger;
}

/* https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/ */
static Runtime__V1__DNSConfig *dns_config(struct arena *a, const struct translate_node *node, const cJSON *pod)
{
    Runtime__V1__DNSConfig *dns = arena_alloc(a, sizeof(*dns));
    runtime__v1__dnsconfig__init(dns);
    const char *policy = json_str_or(pod, "spec.dnsPolicy", "ClusterFirst");
    bool none = strcmp(policy, "None") == 0;
    bool cluster = strcmp(policy, "ClusterFirstWithHostNet") == 0 ||
                   (strcmp(policy, "ClusterFirst") == 0 && !pod_host_network(pod));
    if (!none)
        read_resolv_conf(a, node->resolv_conf ? node->resolv_conf : "", dns);
    if (cluster && node->cluster_dns && *node->cluster_dns) {
        char **host_searches = dns->searches;
        size_t n_host = dns->n_searches;
        dns->n_servers = dns->n_searches = dns->n_options = 0;
        cleanup_free char *servers = mem_strdup(node->cluster_dns);
        char *save = NULL;
        for (char *s = strtok_r(servers, ", ", &save); s; s = strtok_r(NULL, ", ", &save))
            append_unique(a, &dns->servers, &dns->n_servers, s);
        const char *domain = node->cluster_domain && *node->cluster_domain ? node->cluster_domain : NULL;
        if (domain) {
            append_unique(a, &dns->searches, &dns->n_searches,
                          arena_printf(a, "%s.svc.%s", json_str_or(pod, "metadata.namespace", ""), domain));
            append_unique(a, &dns->searches, &dns->n_searches, arena_printf(a, "svc.%s", domain));
            append_unique(a, &dns->searches, &dns->n_searches, domain);
        }
        for (size_t i = 0; i < n_host; i++)
            append_unique(a, &dns->searches, &dns->n_searches, host_searches[i]);
        append_unique(a, &dns->options, &dns->n_options, "ndots:5");
    }
    const cJSON *custom = json_path(pod, "spec.dnsConfig"), *e;
    cJSON_ArrayForEach(e, json_get(custom, "nameservers"))
    {
        if (cJSON_IsString(e))
            append_unique(a, &dns->servers, &dns->n_servers, e->valuestring);
    }
    cJSON_ArrayForEach(e, json_get(custom, "searches"))
    {
        if (cJSON_IsString(e))
            append_unique(a, &dns->searches, &dns->n_searches, e->valuestring);
    }
    cJSON_ArrayForEach(e, json_get(custom, "options"))
    {
        const char *name = json_str(e, "name"), *value = json_str(e, "value");
        if (!name)
            continue;
        /* An option given again replaces the earlier one of its name. */
        size_t len = strlen(name), kept = 0;
        for (size_t i = 0; i < dns->n_options; i++) {
            const char *o = dns->options[i];
            if (strncmp(o, name, len) != 0 || (o[len] && o[len] != ':'))
                dns->options[kept++] = dns->options[i];
        }
        dns->n_options = kept;
        append_unique(a, &dns->options, &dns->n_options, value ? arena_printf(a, "%s:%s", name, value) : name);
    }
    return dns;
}

static Runtime__V1__Protocol protocol_of(const cJSON *port)
{
    const char *p = json_str_or(port, "protocol", "TCP");
    return strcmp(p, "UDP") == 0    ? RUNTIME__V1__PROTOCOL__UDP
           : strcmp(p, "SCTP") == 0 ? RUNTIME__V1__PROTOCOL__SCTP
                                    : RUNTIME__V1__PROTOCOL__TCP;
}

static void port_mappings(struct arena *a, const cJSON *pod, cri_sandbox_config *config)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    size_t n = 0;
    for (size_t i = 0; i < all.count; i++)
        n += (size_t)cJSON_GetArraySize(json_get(all.items[i].spec, "ports"));
    config->port_mappings = pointers(a, n);
    for (size_t i = 0; i < all.count && !pod_host_network(pod); i++) {
        const cJSON *p;
        cJSON_ArrayForEach(p, json_get(all.items[i].spec, "ports"))
        {
            int64_t host_port = json_int(p, "hostPort", 0);
            if (host_port <= 0 || host_port > 65535)
                continue;
            Runtime__V1__PortMapping *m = arena_alloc(a, sizeof(*m));
            runtime__v1__port_mapping__init(m);
            m->protocol = protocol_of(p);
            m->container_port = (int32_t)json_int(p, "containerPort", 0);
            m->host_port = (int32_t)host_port;
            m->host_ip = copy(a, json_str(p, "hostIP"));
            config->port_mappings[config->n_port_mappings++] = m;
        }
    }
}

static Runtime__V1__LinuxPodSandboxConfig *linux_sandbox(struct arena *a, const struct translate_node *node,
                                                         const cJSON *pod, const char *cgroup_parent)
{
    Runtime__V1__LinuxPodSandboxConfig *o = arena_alloc(a, sizeof(*o));
    runtime__v1__linux_pod_sandbox_config__init(o);
    o->cgroup_parent = copy(a, cgroup_parent);
    Runtime__V1__LinuxSandboxSecurityContext *s = arena_alloc(a, sizeof(*s));
    runtime__v1__linux_sandbox_security_context__init(s);
    o->security_context = s;
    s->namespace_options = namespace_options(a, pod);
    const cJSON *pod_security = json_path(pod, "spec.securityContext");
    s->seccomp = security_profile(a, json_get(pod_security, "seccompProfile"), node->seccomp_dir,
                                  RUNTIME__V1__PROFILE_TYPE__RuntimeDefault);
    int64_t user = json_int(pod_security, "runAsUser", -1), group = json_int(pod_security, "runAsGroup", -1);
    if (user >= 0)
        s->run_as_user = int64_value(a, user);
    if (group >= 0 && user >= 0) /* the runtime refuses a group without a user */
        s->run_as_group = int64_value(a, group);
    s->n_supplemental_groups = supplemental_groups(a, pod, &s->supplemental_groups);
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++)
        s->privileged = s->privileged || is_privileged(all.items[i].spec);
    struct map sysctls = {.arena = a, .descriptor = &runtime__v1__linux_pod_sandbox_config__sysctls_entry__descriptor};
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(pod_security, "sysctls"))
    {
        map_add(&sysctls, json_str_or(e, "name", ""), json_str_or(e, "value", ""));
    }
    o->sysctls = (void *)sysctls.entries;
    o->n_sysctls = sysctls.count;
    return o;
}

cri_sandbox_config *translate_sandbox(struct arena *a, const struct translate_node *node, const cJSON *pod,
                                      uint32_t attempt, const char *cgroup_parent)
{
    cri_sandbox_config *c = arena_alloc(a, sizeof(*c));
    runtime__v1__pod_sandbox_config__init(c);
    c->metadata = arena_alloc(a, sizeof(*c->metadata));
    runtime__v1__pod_sandbox_metadata__init(c->metadata);
    c->metadata->name = copy(a, json_str(pod, "metadata.name"));
    c->metadata->namespace_ = copy(a, json_str(pod, "metadata.namespace"));
    c->metadata->uid = copy(a, json_str(pod, "metadata.uid"));
    c->metadata->attempt = attempt;
    if (!pod_host_network(pod)) {
        cleanup_buf struct buf host = {0}, domain = {0};
        pod_hostname(pod, node->cluster_domain, &host, &domain);
        c->hostname = copy(a, buf_str(&host));
    }
    cleanup_free char *logs = pod_log_dir(pod);
    c->log_directory = copy(a, logs);
    c->dns_config = dns_config(a, node, pod);
    port_mappings(a, pod, c);
    struct map labels = {.arena = a, .descriptor = &runtime__v1__pod_sandbox_config__labels_entry__descriptor};
    map_add_all(&labels, json_path(pod, "metadata.labels"));
    map_add(&labels, CRI_LABEL_POD_NAME, c->metadata->name);
    map_add(&labels, CRI_LABEL_POD_NAMESPACE, c->metadata->namespace_);
    map_add(&labels, CRI_LABEL_POD_UID, c->metadata->uid);
    c->labels = (void *)labels.entries;
    c->n_labels = labels.count;
    struct map notes = {.arena = a, .descriptor = &runtime__v1__pod_sandbox_config__annotations_entry__descriptor};
    map_add_all(&notes, json_path(pod, "metadata.annotations"));
    char now[TIME_TEXT_MAX];
    if (!json_map_str(json_path(pod, "metadata.annotations"), "kubernetes.io/config.source")) {
        map_add(&notes, "kubernetes.io/config.seen", time_format_micro(time_now_micros(), now));
        map_add(&notes, "kubernetes.io/config.source", "api");
    }
    c->annotations = (void *)notes.entries;
    c->n_annotations = notes.count;
    c->linux = linux_sandbox(a, node, pod, cgroup_parent);
    return c;
}

/* --- containers --- */

/* "hugepages-2Mi" of the limits is what the runtime knows as "2MB". */
static void set_hugepages(struct arena *a, cri_resources *r, const cJSON *container)
{
    const cJSON *limits = json_path(container, "resources.limits"), *l;
    r->hugepage_limits = pointers(a, (size_t)cJSON_GetArraySize(limits));
    cJSON_ArrayForEach(l, limits)
    {
        if (!l->string || strncmp(l->string, "hugepages-", 10) != 0 || !cJSON_IsString(l))
            continue;
        int64_t size = quantity_text_value(l->string + 10), bytes = quantity_text_value(l->valuestring);
        if (size < 1024 || bytes < 0)
            continue;
        Runtime__V1__HugepageLimit *h = arena_alloc(a, sizeof(*h));
        runtime__v1__hugepage_limit__init(h);
        int64_t kib = size / 1024;
        h->page_size = kib >= 1024 * 1024 ? arena_printf(a, "%lldGB", (long long)kib / 1024 / 1024)
                       : kib >= 1024      ? arena_printf(a, "%lldMB", (long long)kib / 1024)
                                          : arena_printf(a, "%lldKB", (long long)kib);
        h->limit = (uint64_t)bytes;
        r->hugepage_limits[r->n_hugepage_limits++] = h;
    }
}

cri_resources *translate_resources(struct arena *a, const struct translate_node *node, const cJSON *pod,
                                   const cJSON *container)
{
    cri_resources *r = arena_alloc(a, sizeof(*r));
    runtime__v1__linux_container_resources__init(r);
    int64_t cpu_request = container_resource(container, false, "cpu");
    int64_t cpu_limit = container_resource(container, true, "cpu");
    int64_t memory_request = container_resource(container, false, "memory");
    int64_t memory_limit = container_resource(container, true, "memory");
    r->cpu_shares = cpu_shares(cpu_request);
    if (cpu_limit > 0) {
        r->cpu_period = CPU_PERIOD_US;
        r->cpu_quota = cpu_quota(cpu_limit, CPU_PERIOD_US);
    }
    if (memory_limit > 0)
        r->memory_limit_in_bytes = memory_limit;
    set_hugepages(a, r, container);
    r->oom_score_adj = oom_score(pod_qos(pod), memory_request > 0 ? memory_request : 0, node->memory,
                                 pod_is_critical(pod), node->oom_lowest);
    if (node->cgroup_v2) { /* on v2 an OOM kill takes all of the container's processes */
        struct map unified = {.arena = a,
                              .descriptor = &runtime__v1__linux_container_resources__unified_entry__descriptor};
        map_add(&unified, "memory.oom.group", "1");
        r->unified = (void *)unified.entries;
        r->n_unified = unified.count;
    }
    return r;
}

/* The container's own field, else the pod's. */
static const cJSON *security_field(const cJSON *pod, const cJSON *container, const char *field)
{
    const cJSON *own = json_get(json_get(container, "securityContext"), field);
    return own && !cJSON_IsNull(own) ? own : json_get(json_path(pod, "spec.securityContext"), field);
}

static Runtime__V1__LinuxContainerSecurityContext *container_security(struct arena *a, const struct translate_node *node,
                                                                      const cJSON *pod, const cJSON *container,
                                                                      const char *target_id)
{
    static const char *const masked[] = {
        "/proc/asound",      "/proc/acpi",        "/proc/interrupts",  "/proc/kcore",
        "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
        "/proc/sched_debug", "/proc/scsi",        "/sys/firmware",     "/sys/devices/virtual/powercap",
    };
    static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    Runtime__V1__LinuxContainerSecurityContext *s = arena_alloc(a, sizeof(*s));
    runtime__v1__linux_container_security_context__init(s);
    const cJSON *own = json_get(container, "securityContext");
    s->privileged = is_privileged(container);
    s->readonly_rootfs = json_bool(own, "readOnlyRootFilesystem", false);
    const cJSON *escalation = json_get(own, "allowPrivilegeEscalation");
    s->no_new_privs = cJSON_IsFalse(escalation);
    s->namespace_options = namespace_options(a, pod);
    if (target_id) {
        s->namespace_options->pid = RUNTIME__V1__NAMESPACE_MODE__TARGET;
        s->namespace_options->target_id = copy(a, target_id);
    }
    const cJSON *user = security_field(pod, container, "runAsUser");
    const cJSON *group = security_field(pod, container, "runAsGroup");
    if (cJSON_IsNumber(user))
        s->run_as_user = int64_value(a, number_value(user));
    if (cJSON_IsNumber(group)) {
        s->run_as_group = int64_value(a, number_value(group));
        if (!s->run_as_user)
            s->run_as_user = int64_value(a, 0); /* the runtime refuses a group without a user */
    }
    s->n_supplemental_groups = supplemental_groups(a, pod, &s->supplemental_groups);
    s->seccomp = security_profile(a, s->privileged ? NULL : security_field(pod, container, "seccompProfile"),
                                  node->seccomp_dir, RUNTIME__V1__PROFILE_TYPE__Unconfined);
    const cJSON *apparmor = security_field(pod, container, "appArmorProfile");
    if (apparmor)
        s->apparmor = security_profile(a, apparmor, NULL, RUNTIME__V1__PROFILE_TYPE__Unconfined);
    const cJSON *capabilities = json_get(own, "capabilities");
    if (capabilities) {
        s->capabilities = arena_alloc(a, sizeof(*s->capabilities));
        runtime__v1__capability__init(s->capabilities);
        s->capabilities->n_add_capabilities =
            string_array(a, json_get(capabilities, "add"), &s->capabilities->add_capabilities);
        s->capabilities->n_drop_capabilities =
            string_array(a, json_get(capabilities, "drop"), &s->capabilities->drop_capabilities);
    }
    if (!s->privileged && strcmp(json_str_or(own, "procMount", "Default"), "Unmasked") != 0) {
        s->masked_paths = pointers(a, ARRAY_LEN(masked));
        for (size_t i = 0; i < ARRAY_LEN(masked); i++)
            s->masked_paths[s->n_masked_paths++] = copy(a, masked[i]);
        s->readonly_paths = pointers(a, ARRAY_LEN(readonly));
        for (size_t i = 0; i < ARRAY_LEN(readonly); i++)
            s->readonly_paths[s->n_readonly_paths++] = copy(a, readonly[i]);
    }
    return s;
}

static size_t expanded(struct arena *a, const cJSON *array, const struct env_list *env, char ***out)
{
    size_t n = string_array(a, array, out);
    for (size_t i = 0; i < n; i++) {
        cleanup_free char *text = env_expand((*out)[i], env, NULL);
        (*out)[i] = copy(a, text);
    }
    return n;
}

static Runtime__V1__MountPropagation propagation_of(const char *p)
{
    if (p && strcmp(p, "HostToContainer") == 0)
        return RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_HOST_TO_CONTAINER;
    if (p && strcmp(p, "Bidirectional") == 0)
        return RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_BIDIRECTIONAL;
    return RUNTIME__V1__MOUNT_PROPAGATION__PROPAGATION_PRIVATE;
}

static void container_labels(struct arena *a, const struct translate_container_input *in, const char *name,
                             cri_container_config *c)
{
    struct map labels = {.arena = a, .descriptor = &runtime__v1__container_config__labels_entry__descriptor};
    map_add(&labels, CRI_LABEL_POD_NAME, json_str_or(in->pod, "metadata.name", ""));
    map_add(&labels, CRI_LABEL_POD_NAMESPACE, json_str_or(in->pod, "metadata.namespace", ""));
    map_add(&labels, CRI_LABEL_POD_UID, json_str_or(in->pod, "metadata.uid", ""));
    map_add(&labels, CRI_LABEL_CONTAINER_NAME, name);
    c->labels = (void *)labels.entries;
    c->n_labels = labels.count;
    struct map notes = {.arena = a, .descriptor = &runtime__v1__container_config__annotations_entry__descriptor};
    map_add(&notes, CRI_ANNOTATION_HASH, arena_printf(a, "%llx", (unsigned long long)container_hash(in->container)));
    map_add(&notes, CRI_ANNOTATION_RESTARTS, arena_printf(a, "%d", in->restart_count));
    map_add(&notes, CRI_ANNOTATION_TERMINATION_PATH,
            json_str_or(in->container, "terminationMessagePath", "/dev/termination-log"));
    map_add(&notes, CRI_ANNOTATION_TERMINATION_POLICY, json_str_or(in->container, "terminationMessagePolicy", "File"));
    map_add(&notes, CRI_ANNOTATION_GRACE,
            arena_printf(a, "%lld", (long long)json_int(in->pod, "spec.terminationGracePeriodSeconds", 30)));
    const cJSON *pre_stop = json_path(in->container, "lifecycle.preStop");
    if (pre_stop) {
        cleanup_free char *text = json_text(pre_stop);
        map_add(&notes, "io.kubernetes.container.preStopHandler", text);
    }
    const cJSON *ports = json_get(in->container, "ports");
    if (cJSON_GetArraySize(ports)) {
        cleanup_free char *text = json_text(ports);
        map_add(&notes, "io.kubernetes.container.ports", text);
    }
    c->annotations = (void *)notes.entries;
    c->n_annotations = notes.count;
}

cri_container_config *translate_container(struct arena *a, const struct translate_node *node,
                                          const struct translate_container_input *in, struct error **err)
{
    const char *name = json_str_or(in->container, "name", "");
    if (!name_is_safe(name)) {
        error_setf(err, "the container's name is not usable");
        return NULL;
    }
    cri_container_config *c = arena_alloc(a, sizeof(*c));
    runtime__v1__container_config__init(c);
    c->metadata = arena_alloc(a, sizeof(*c->metadata));
    runtime__v1__container_metadata__init(c->metadata);
    c->metadata->name = copy(a, name);
    c->metadata->attempt = (uint32_t)in->restart_count;
    c->image = arena_alloc(a, sizeof(*c->image));
    runtime__v1__image_spec__init(c->image);
    c->image->image = copy(a, in->image);
    c->image->user_specified_image = copy(a, json_str(in->container, "image"));
    c->n_command = expanded(a, json_get(in->container, "command"), in->env, &c->command);
    c->n_args = expanded(a, json_get(in->container, "args"), in->env, &c->args);
    c->working_dir = copy(a, json_str(in->container, "workingDir"));
    c->envs = pointers(a, in->env->count);
    for (size_t i = 0; i < in->env->count; i++) {
        Runtime__V1__KeyValue *kv = arena_alloc(a, sizeof(*kv));
        runtime__v1__key_value__init(kv);
        kv->key = copy(a, in->env->items[i].name);
        kv->value.data = (uint8_t *)copy(a, in->env->items[i].value);
        kv->value.len = strlen(in->env->items[i].value);
        c->envs[c->n_envs++] = kv;
    }
    c->mounts = pointers(a, in->mounts->count);
    for (size_t i = 0; i < in->mounts->count; i++) {
        const struct translate_mount *from = &in->mounts->items[i];
        Runtime__V1__Mount *m = arena_alloc(a, sizeof(*m));
        runtime__v1__mount__init(m);
        m->host_path = copy(a, from->host_path);
        m->container_path = copy(a, from->container_path);
        m->readonly = from->readonly;
        m->propagation = propagation_of(from->propagation);
        c->mounts[c->n_mounts++] = m;
    }
    container_labels(a, in, name, c);
    c->log_path = arena_printf(a, "%s/%d.log", name, in->restart_count);
    c->stdin = json_bool(in->container, "stdin", false);
    c->stdin_once = json_bool(in->container, "stdinOnce", false);
    c->tty = json_bool(in->container, "tty", false);
    c->linux = arena_alloc(a, sizeof(*c->linux));
    runtime__v1__linux_container_config__init(c->linux);
    c->linux->resources = translate_resources(a, node, in->pod, in->container);
    c->linux->security_context = container_security(a, node, in->pod, in->container, in->target_id);
    return c;
}
