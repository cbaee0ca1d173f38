#include "kubelet/pod/spec.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/quantity.h"
#include <string.h>

void pod_containers(const cJSON *pod, struct pod_container_list *out)
{
    const cJSON *init = json_path(pod, "spec.initContainers"), *main_ones = json_path(pod, "spec.containers");
    const cJSON *ephemeral = json_path(pod, "spec.ephemeralContainers");
    int n = cJSON_GetArraySize(init) + cJSON_GetArraySize(main_ones) + cJSON_GetArraySize(ephemeral);
    *out = (struct pod_container_list){mem_alloc(((size_t)n + 1) * sizeof(*out->items)), 0};
    const cJSON *c;
    cJSON_ArrayForEach(c, init)
    {
        bool sidecar = strcmp(json_str_or(c, "restartPolicy", ""), "Always") == 0;
        out->items[out->count++] = (struct pod_container){c, json_str_or(c, "name", ""),
                                                          sidecar ? CONTAINER_SIDECAR : CONTAINER_INIT};
    }
    cJSON_ArrayForEach(c, main_ones)
    {
        out->items[out->count++] = (struct pod_container){c, json_str_or(c, "name", ""), CONTAINER_MAIN};
    }
    cJSON_ArrayForEach(c, ephemeral)
    {
        out->items[out->count++] = (struct pod_container){c, json_str_or(c, "name", ""), CONTAINER_EPHEMERAL};
    }
}

const char *container_kind_field(enum container_kind k)
{
    return k == CONTAINER_MAIN ? "containers" : k == CONTAINER_EPHEMERAL ? "ephemeralContainers" : "initContainers";
}

const char *container_kind_status(enum container_kind k)
{
    return k == CONTAINER_MAIN        ? "containerStatuses"
           : k == CONTAINER_EPHEMERAL ? "ephemeralContainerStatuses"
                                      : "initContainerStatuses";
}

void pod_container_list_clear(struct pod_container_list *l)
{
    free(l->items);
    *l = (struct pod_container_list){0};
}

const cJSON *pod_find_container(const cJSON *pod, const char *name, enum container_kind *kind)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++) {
        if (strcmp(all.items[i].name, name) == 0) {
            if (kind)
                *kind = all.items[i].kind;
            return all.items[i].spec;
        }
    }
    return NULL;
}

int64_t container_resource(const cJSON *container, bool limit, const char *resource)
{
    const cJSON *resources = json_get(container, "resources");
    const char *text = limit ? NULL : json_map_str(json_get(resources, "requests"), resource);
    if (!text)
        text = json_map_str(json_get(resources, "limits"), resource);
    if (!text)
        return -1;
    return strcmp(resource, "cpu") == 0 ? quantity_text_milli(text) : quantity_text_value(text);
}

const char *pod_qos(const cJSON *pod)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    bool any = false, guaranteed = true;
    static const char *const names[] = {"cpu", "memory"};
    for (size_t i = 0; i < all.count && all.items[i].kind != CONTAINER_EPHEMERAL; i++) {
        for (size_t r = 0; r < ARRAY_LEN(names); r++) {
            int64_t request = container_resource(all.items[i].spec, false, names[r]);
            int64_t limit = container_resource(all.items[i].spec, true, names[r]);
            any = any || request > 0 || limit > 0;
            if (limit <= 0 || request != limit)
                guaranteed = false;
        }
    }
    return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

bool pod_is_critical(const cJSON *pod)
{
    /* What a file on the node asks for, the node's owner asks for: such pods may be the control plane itself. */
    const char *source = json_map_str(json_path(pod, "metadata.annotations"), "kubernetes.io/config.source");
    return json_int(pod, "spec.priority", 0) >= 2000000000 || (source && strcmp(source, "file") == 0);
}

const char *pod_restart_policy(const cJSON *pod)
{
    return json_str_or(pod, "spec.restartPolicy", "Always");
}

/* https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#individual-container-restart-policy-and-rules */
bool container_restarts(const cJSON *pod, const struct pod_container *c, int exit_code)
{
    if (c->kind == CONTAINER_EPHEMERAL)
        return false;
    const char *own = json_str(c->spec, "restartPolicy");
    const cJSON *rules = json_get(c->spec, "restartPolicyRules"), *rule, *v;
    cJSON_ArrayForEach(rule, rules)
    {
        bool in = false;
        cJSON_ArrayForEach(v, json_path(rule, "exitCodes.values"))
        {
            in = in || (cJSON_IsNumber(v) && number_value(v) == exit_code);
        }
        if (strcmp(json_str_or(rule, "exitCodes.operator", "In"), "NotIn") == 0)
            in = !in;
        if (in && strcmp(json_str_or(rule, "action", ""), "Restart") == 0)
            return true;
    }
    const char *policy = own && *own ? own : pod_restart_policy(pod);
    return strcmp(policy, "Always") == 0 || (strcmp(policy, "OnFailure") == 0 && exit_code != 0);
}

bool pod_host_network(const cJSON *pod)
{
    return json_bool(pod, "spec.hostNetwork", false);
}

bool pod_is_terminal(const cJSON *pod)
{
    const char *phase = json_str_or(pod, "status.phase", "");
    return strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0;
}

void pod_effective_resources(const cJSON *pod, struct pod_resources *out)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    *out = (struct pod_resources){0};
    static const char *const names[] = {"cpu", "memory"};
    int64_t *requests[] = {&out->cpu_request_milli, &out->memory_request};
    int64_t *limits[] = {&out->cpu_limit_milli, &out->memory_limit};
    for (size_t r = 0; r < ARRAY_LEN(names); r++) {
        int64_t sidecars = 0, sidecar_limits = 0, sum = 0, limit_sum = 0, init_max = 0, init_limit_max = 0;
        bool declared = true;
        for (size_t i = 0; i < all.count && all.items[i].kind != CONTAINER_EPHEMERAL; i++) {
            int64_t request = container_resource(all.items[i].spec, false, names[r]);
            int64_t limit = container_resource(all.items[i].spec, true, names[r]);
            request = request < 0 ? 0 : request;
            if (limit <= 0)
                declared = false;
            switch (all.items[i].kind) {
            case CONTAINER_SIDECAR:
                sidecars += request;
                sidecar_limits += limit;
                break;
            case CONTAINER_INIT: /* runs beside the sidecars that started before it */
                if (request + sidecars > init_max)
                    init_max = request + sidecars;
                if (limit + sidecar_limits > init_limit_max)
                    init_limit_max = limit + sidecar_limits;
                break;
            case CONTAINER_MAIN:
                sum += request;
                limit_sum += limit;
                break;
            case CONTAINER_EPHEMERAL: /* never counted */
                break;
            }
        }
        sum += sidecars;
        limit_sum += sidecar_limits;
        *requests[r] = sum > init_max ? sum : init_max;
        *limits[r] = !declared || !all.count ? -1 : limit_sum > init_limit_max ? limit_sum : init_limit_max;
        const char *overhead = json_map_str(json_path(pod, "spec.overhead"), names[r]);
        if (overhead) {
            int64_t extra = r == 0 ? quantity_text_milli(overhead) : quantity_text_value(overhead);
            *requests[r] += extra;
            if (*limits[r] >= 0)
                *limits[r] += extra;
        }
    }
}

int64_t number_value(const cJSON *number)
{
    double d = number->valuedouble;
    return d != d ? 0 : d >= 0x1p63 ? INT64_MAX : d < -0x1p63 ? INT64_MIN : (int64_t)d;
}

uint64_t container_hash(const cJSON *container)
{
    uint32_t h = 2166136261u;
    const char *const parts[] = {json_str_or(container, "name", ""), json_str_or(container, "image", "")};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        for (const char *p = parts[i];; p++) { /* with the NUL, so that parts do not run together */
            h = (h ^ (unsigned char)*p) * 16777619u;
            if (!*p)
                break;
        }
    }
    return h;
}

void pod_hostname(const cJSON *pod, const char *cluster_domain, struct buf *hostname, struct buf *domain)
{
    const char *name = json_str(pod, "spec.hostname");
    if (!name || !*name)
        name = json_str_or(pod, "metadata.name", "");
    size_t n = strlen(name);
    if (n > 63) { /* a host name is one DNS label; what is cut off must not leave a separator at the end */
        n = 63;
        while (n > 0 && (name[n - 1] == '-' || name[n - 1] == '.'))
            n--;
    }
    buf_add(hostname, name, n);
    const char *subdomain = json_str(pod, "spec.subdomain");
    if (subdomain && *subdomain)
        buf_printf(domain, "%s.%s.svc.%s", subdomain, json_str_or(pod, "metadata.namespace", ""), cluster_domain);
    if (domain->len && json_bool(pod, "spec.setHostnameAsFQDN", false))
        buf_printf(hostname, ".%s", buf_str(domain));
}

/* --- downward API --- */

static void add_quoted(const char *s, struct buf *out)
{
    buf_addc(out, '"');
    for (; *s; s++) {
        switch (*s) {
        case '"':
        case '\\':
            buf_addc(out, '\\');
            buf_addc(out, *s);
            break;
        case '\n':
            buf_adds(out, "\\n");
            break;
        case '\t':
            buf_adds(out, "\\t");
            break;
        case '\r':
            buf_adds(out, "\\r");
            break;
        default:
            buf_addc(out, *s);
        }
    }
    buf_addc(out, '"');
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

/* One line `key="value"` each, sorted, as Kubernetes writes maps into files. */
static void add_map(const cJSON *map, struct buf *out)
{
    int n = cJSON_GetArraySize(map);
    cleanup_free const cJSON **sorted = mem_alloc(((size_t)n + 1) * sizeof(*sorted));
    size_t count = 0;
    const cJSON *e;
    cJSON_ArrayForEach(e, map)
    {
        if (cJSON_IsString(e))
            sorted[count++] = e;
    }
    qsort(sorted, count, sizeof(*sorted), by_key);
    for (size_t i = 0; i < count; i++) {
        buf_printf(out, "%s%s=", i ? "\n" : "", sorted[i]->string);
        add_quoted(sorted[i]->valuestring, out);
    }
}

/* "metadata.labels['key']": the key, in out; false if path is not of that form. */
static bool subscript(const char *path, const char *base, struct buf *key)
{
    size_t n = strlen(base), len = strlen(path);
    if (strncmp(path, base, n) != 0 || strncmp(path + n, "['", 2) != 0 || len < n + 4 ||
        strcmp(path + len - 2, "']") != 0)
        return false;
    buf_add(key, path + n + 2, len - n - 4);
    return true;
}

bool downward_field(const struct downward_source *s, const char *path, struct buf *out, struct error **err)
{
    static const char *const plain[] = {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName"};
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (strcmp(path, plain[i]) == 0) {
            buf_adds(out, json_str_or(s->pod, path, ""));
            return true;
        }
    }
    cleanup_buf struct buf key = {0};
    if (subscript(path, "metadata.labels", &key) || subscript(path, "metadata.annotations", &key)) {
        const cJSON *map = json_path(s->pod, path[9] == 'l' ? "metadata.labels" : "metadata.annotations");
        const char *v = json_map_str(map, buf_str(&key));
        buf_adds(out, v ? v : "");
        return true;
    }
    if (strcmp(path, "metadata.labels") == 0 || strcmp(path, "metadata.annotations") == 0) {
        add_map(json_path(s->pod, path), out);
    } else if (strcmp(path, "spec.serviceAccountName") == 0) {
        buf_adds(out, json_str_or(s->pod, "spec.serviceAccountName", "default"));
    } else if (strcmp(path, "status.hostIP") == 0) {
        const char *ips = s->host_ip ? s->host_ip : "";
        buf_add(out, ips, strcspn(ips, ","));
    } else if (strcmp(path, "status.hostIPs") == 0) {
        buf_adds(out, s->host_ip ? s->host_ip : "");
    } else if (strcmp(path, "status.podIP") == 0) {
        const char *ips = s->pod_ips ? s->pod_ips : "";
        buf_add(out, ips, strcspn(ips, ","));
    } else if (strcmp(path, "status.podIPs") == 0) {
        buf_adds(out, s->pod_ips ? s->pod_ips : "");
    } else {
        error_setf(err, "unsupported fieldPath: %s", path);
        return false;
    }
    return true;
}

bool downward_resource(const struct downward_source *s, const cJSON *container, const cJSON *ref, struct buf *out,
                       struct error **err)
{
    const char *name = json_str(ref, "containerName");
    if (name && *name)
        container = pod_find_container(s->pod, name, NULL);
    if (!container) {
        error_setf(err, "container %s not found", name ? name : "");
        return false;
    }
    const char *resource = json_str_or(ref, "resource", "");
    const char *dot = strchr(resource, '.');
    bool limit = strncmp(resource, "limits.", 7) == 0;
    if (!dot || (!limit && strncmp(resource, "requests.", 9) != 0)) {
        error_setf(err, "unsupported container resource : %s", resource);
        return false;
    }
    const char *what = dot + 1;
    bool cpu = strcmp(what, "cpu") == 0;
    int64_t value;
    if (limit) {
        value = container_resource(container, true, what);
        /* Without a limit a container may use the whole node. */
        if (value <= 0)
            value = cpu ? s->allocatable_cpu_milli
                    : strcmp(what, "memory") == 0 ? s->allocatable_memory
                    : strcmp(what, "ephemeral-storage") == 0 ? s->allocatable_ephemeral
                                                             : 0;
    } else {
        value = container_resource(container, false, what);
    }
    if (value < 0)
        value = 0;
    const char *divisor_text = json_str(ref, "divisor");
    int64_t divisor = !divisor_text ? 0 : cpu ? quantity_text_milli(divisor_text) : quantity_text_value(divisor_text);
    if (divisor <= 0)
        divisor = cpu ? 1000 : 1;
    buf_printf(out, "%lld", (long long)(value / divisor + (value % divisor != 0)));
    return true;
}
