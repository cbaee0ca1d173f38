/* PodSecurity: the three levels of the Pod Security Standards, by the labels of a pod's namespace.
 * https://kubernetes.io/docs/concepts/security/pod-security-standards/
 *
 * Each check appends "<reason> (<detail>)" to what is wrong with a pod; they run in the order of
 * their names, those of the baseline level first. */
#include <string.h>
#include "apiserver/admission/admission.h"
#include "apiserver/storage/cacher.h"
#include "common/json.h"
#include "common/mem.h"
#include "common/text.h"

#define LABEL "pod-security.kubernetes.io/"

enum level { PRIVILEGED, BASELINE, RESTRICTED };
static const char *const level_names[] = {"privileged", "baseline", "restricted"};

struct pod {
    const cJSON *meta, *spec, *security; /* security: spec.securityContext */
    bool windows;
};

/* --- what the checks share --- */

/* Calls fn for init, regular and ephemeral containers. */
static void each_container(const struct pod *p, void (*fn)(void *ctx, const cJSON *container),
                           void *ctx)
{
    static const char *const lists[] = {"initContainers", "containers", "ephemeralContainers"};
    const cJSON *c;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        cJSON_ArrayForEach(c, json_get(p->spec, lists[i])) fn(ctx, c);
}

/* Containers for which `bad` is true: container "a" / containers "a", "b". */
struct named {
    bool (*bad)(const struct pod *p, const cJSON *container);
    const struct pod *pod;
    struct buf text;
    size_t count;
};

static void add_name(struct buf *b, size_t *count, const char *name)
{
    buf_printf(b, "%s\"%s\"", (*count)++ ? ", " : "", name);
}

static void name_if_bad(void *ctx, const cJSON *c)
{
    struct named *n = ctx;
    if (n->bad(n->pod, c))
        add_name(&n->text, &n->count, json_str_or(c, "name", ""));
}

/* Appends `before` container(s) "x" `after` to detail when there are bad ones. */
static bool add_containers(const struct pod *p, bool (*bad)(const struct pod *, const cJSON *),
                           const char *before, const char *after, struct buf *detail)
{
    struct named n = {.bad = bad, .pod = p};
    each_container(p, name_if_bad, &n);
    if (n.count)
        buf_printf(detail, "%s%scontainer%s %s %s", detail->len ? "; " : "", before,
                   n.count > 1 ? "s" : "", buf_str(&n.text), after);
    buf_free(&n.text);
    return n.count;
}

static void add_reason(struct buf *out, const char *reason, const struct buf *detail)
{
    if (detail->len)
        buf_printf(out, "%s%s (%s)", out->len ? ", " : "", reason, buf_str((struct buf *)detail));
}

/* --- baseline --- */

static bool unconfined_armor(const struct pod *p, const cJSON *c)
{
    (void)p;
    return !strcmp(json_str_or(c, "securityContext.appArmorProfile.type", ""), "Unconfined");
}

static void check_apparmor(const struct pod *p, struct buf *out)
{
    static const char prefix[] = "container.apparmor.security.beta.kubernetes.io/";
    cleanup_buf struct buf detail = {0};
    if (!strcmp(json_str_or(p->security, "appArmorProfile.type", ""), "Unconfined"))
        buf_adds(&detail, "pod must not set AppArmor profile type to \"Unconfined\"");
    add_containers(p, unconfined_armor, "", "must not set AppArmor profile type to \"Unconfined\"",
                   &detail);
    const cJSON *a;
    cJSON_ArrayForEach(a, json_get(p->meta, "annotations"))
    {
        if (strncmp(a->string, prefix, sizeof prefix - 1) || !cJSON_IsString(a) ||
            !*a->valuestring || !strcmp(a->valuestring, "runtime/default") ||
            !strncmp(a->valuestring, "localhost/", 10))
            continue;
        buf_printf(&detail, "%s%s=\"%s\"", detail.len ? "; " : "", a->string, a->valuestring);
    }
    add_reason(out, "forbidden AppArmor profile", &detail);
}

#define BASELINE_CAPABILITIES                                                                      \
    "AUDIT_WRITE,CHOWN,DAC_OVERRIDE,FOWNER,FSETID,KILL,MKNOD,NET_BIND_SERVICE,SETFCAP,SETGID,"     \
    "SETPCAP,SETUID,"                                                                              \
    "SYS_CHROOT"

struct capabilities {
    const char *allowed;
    struct buf containers, added;
    size_t container_count, added_count;
};

static void look_at_added(void *ctx, const cJSON *c)
{
    struct capabilities *k = ctx;
    const cJSON *a;
    bool bad = false;
    cJSON_ArrayForEach(a, json_path(c, "securityContext.capabilities.add"))
    {
        if (!cJSON_IsString(a) || one_of(a->valuestring, k->allowed))
            continue;
        bad = true;
        cleanup_free char *quoted = mem_printf("\"%s\"", a->valuestring);
        if (!strstr(buf_str(&k->added), quoted))
            add_name(&k->added, &k->added_count, a->valuestring);
    }
    if (bad)
        add_name(&k->containers, &k->container_count, json_str_or(c, "name", ""));
}

static void added_capabilities(const struct pod *p, const char *allowed, struct buf *detail)
{
    struct capabilities k = {.allowed = allowed};
    each_container(p, look_at_added, &k);
    if (k.container_count)
        buf_printf(detail,
                   "%scontainer%s %s must not include %s in securityContext.capabilities.add",
                   detail->len ? "; " : "", k.container_count > 1 ? "s" : "",
                   buf_str(&k.containers), buf_str(&k.added));
    buf_free(&k.containers);
    buf_free(&k.added);
}

static void check_capabilities(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    added_capabilities(p, BASELINE_CAPABILITIES, &detail);
    add_reason(out, "non-default capabilities", &detail);
}

static void check_host_namespaces(const struct pod *p, struct buf *out)
{
    static const char *const names[] = {"hostNetwork", "hostPID", "hostIPC"};
    cleanup_buf struct buf detail = {0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (json_bool(p->spec, names[i], false))
            buf_printf(&detail, "%s%s=true", detail.len ? ", " : "", names[i]);
    add_reason(out, "host namespaces", &detail);
}

static void check_host_path(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0}, names = {0};
    size_t count = 0;
    const cJSON *v;
    cJSON_ArrayForEach(v, json_get(p->spec, "volumes")) if (json_get(v, "hostPath"))
        add_name(&names, &count, json_str_or(v, "name", ""));
    if (count)
        buf_printf(&detail, "volume%s %s", count > 1 ? "s" : "", buf_str(&names));
    add_reason(out, "hostPath volumes", &detail);
}

struct host_ports {
    struct buf containers, ports;
    size_t container_count, port_count;
};

static void look_at_ports(void *ctx, const cJSON *c)
{
    struct host_ports *h = ctx;
    const cJSON *port;
    bool bad = false;
    cJSON_ArrayForEach(port, json_get(c, "ports"))
    {
        int64_t n = json_int(port, "hostPort", 0);
        if (!n)
            continue;
        buf_printf(&h->ports, "%s%lld", h->port_count++ ? ", " : "", (long long)n);
        bad = true;
    }
    if (bad)
        add_name(&h->containers, &h->container_count, json_str_or(c, "name", ""));
}

static void check_host_ports(const struct pod *p, struct buf *out)
{
    struct host_ports h = {0};
    cleanup_buf struct buf detail = {0};
    each_container(p, look_at_ports, &h);
    if (h.container_count)
        buf_printf(&detail, "container%s %s use%s hostPort%s %s", h.container_count > 1 ? "s" : "",
                   buf_str(&h.containers), h.container_count > 1 ? "" : "s",
                   h.port_count > 1 ? "s" : "", buf_str(&h.ports));
    buf_free(&h.containers);
    buf_free(&h.ports);
    add_reason(out, "hostPort", &detail);
}

static bool privileged(const struct pod *p, const cJSON *c)
{
    (void)p;
    return json_bool(c, "securityContext.privileged", false);
}

static void check_privileged(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    add_containers(p, privileged, "", "must not set securityContext.privileged=true", &detail);
    add_reason(out, "privileged", &detail);
}

static bool unmasked(const struct pod *p, const cJSON *c)
{
    (void)p;
    return strcmp(json_str_or(c, "securityContext.procMount", "Default"), "Default") != 0;
}

static void check_proc_mount(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    if (!json_bool(p->spec, "hostUsers", true))
        return; /* with its own users it sees no more than it may */
    add_containers(p, unmasked, "", "must not set securityContext.procMount to \"Unmasked\"",
                   &detail);
    add_reason(out, "procMount", &detail);
}

static bool bad_se_linux(const cJSON *options)
{
    const char *type = json_str_or(options, "type", "");
    return (*type &&
            !one_of(type, "container_t,container_init_t,container_kvm_t,container_engine_t")) ||
           *json_str_or(options, "user", "") || *json_str_or(options, "role", "");
}

static bool container_bad_se_linux(const struct pod *p, const cJSON *c)
{
    (void)p;
    return bad_se_linux(json_path(c, "securityContext.seLinuxOptions"));
}

static void check_se_linux(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    if (bad_se_linux(json_get(p->security, "seLinuxOptions")))
        buf_adds(&detail, "pod set forbidden securityContext.seLinuxOptions");
    add_containers(p, container_bad_se_linux, "", "set forbidden securityContext.seLinuxOptions",
                   &detail);
    add_reason(out, "seLinuxOptions", &detail);
}

static bool bad_seccomp_type(const char *type)
{
    return *type && !one_of(type, "RuntimeDefault,Localhost");
}

static bool unconfined(const struct pod *p, const cJSON *c)
{
    (void)p;
    return bad_seccomp_type(json_str_or(c, "securityContext.seccompProfile.type", ""));
}

/* What both levels forbid. */
static void explicit_seccomp(const struct pod *p, struct buf *detail)
{
    static const char must_not[] =
        "must not set securityContext.seccompProfile.type to \"Unconfined\"";
    if (bad_seccomp_type(json_str_or(p->security, "seccompProfile.type", "")))
        buf_printf(detail, "pod %s", must_not);
    add_containers(p, unconfined, "", must_not, detail);
}

static void check_seccomp(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    explicit_seccomp(p, &detail);
    add_reason(out, "seccompProfile", &detail);
}

static void check_sysctls(const struct pod *p, struct buf *out)
{
    static const char safe[] =
        "kernel.shm_rmid_forced,net.ipv4.ip_local_port_range,net.ipv4.ip_local_reserved_ports,"
        "net.ipv4.ip_unprivileged_port_start,net.ipv4.ping_group_range,net.ipv4.tcp_fin_timeout,"
        "net.ipv4.tcp_keepalive_intvl,net.ipv4.tcp_keepalive_probes,net.ipv4.tcp_keepalive_time,"
        "net.ipv4.tcp_rmem,net.ipv4.tcp_syncookies,net.ipv4.tcp_wmem";
    cleanup_buf struct buf detail = {0};
    const cJSON *s;
    cJSON_ArrayForEach(s, json_get(p->security, "sysctls"))
    {
        const char *name = json_str_or(s, "name", "");
        if (!one_of(name, safe))
            buf_printf(&detail, "%s%s", detail.len ? ", " : "", name);
    }
    add_reason(out, "forbidden sysctls", &detail);
}

static bool host_process(const struct pod *p, const cJSON *c)
{
    (void)p;
    return json_bool(c, "securityContext.windowsOptions.hostProcess", false);
}

static void check_host_process(const struct pod *p, struct buf *out)
{
    static const char must_not[] = "must not set securityContext.windowsOptions.hostProcess=true";
    cleanup_buf struct buf detail = {0};
    if (json_bool(p->security, "windowsOptions.hostProcess", false))
        buf_printf(&detail, "pod %s", must_not);
    add_containers(p, host_process, "", must_not, &detail);
    add_reason(out, "hostProcess", &detail);
}

/* --- restricted --- */

static bool may_escalate(const struct pod *p, const cJSON *c)
{
    (void)p;
    return json_bool(c, "securityContext.allowPrivilegeEscalation", true);
}

static void check_escalation(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    if (!p->windows)
        add_containers(p, may_escalate, "",
                       "must set securityContext.allowPrivilegeEscalation=false", &detail);
    add_reason(out, "allowPrivilegeEscalation != false", &detail);
}

static bool keeps_capabilities(const struct pod *p, const cJSON *c)
{
    (void)p;
    const cJSON *d;
    cJSON_ArrayForEach(
        d, json_path(c, "securityContext.capabilities.drop")) if (cJSON_IsString(d) &&
                                                                  !strcmp(d->valuestring,
                                                                          "ALL")) return false;
    return true;
}

static void check_dropped(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    if (p->windows)
        return;
    add_containers(p, keeps_capabilities, "",
                   "must set securityContext.capabilities.drop=[\"ALL\"]", &detail);
    added_capabilities(p, "NET_BIND_SERVICE", &detail);
    add_reason(out, "unrestricted capabilities", &detail);
}

static void check_volumes(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0}, names = {0}, types = {0};
    size_t count = 0, type_count = 0;
    const cJSON *v, *m;
    cJSON_ArrayForEach(v, json_get(p->spec, "volumes"))
    {
        const char *type = "unknown";
        cJSON_ArrayForEach(m, v) if (strcmp(m->string, "name") != 0 && cJSON_IsObject(m)) type =
            m->string;
        if (one_of(type, "configMap,csi,downwardAPI,emptyDir,ephemeral,image,persistentVolumeClaim,"
                         "projected,"
                         "secret"))
            continue;
        add_name(&names, &count, json_str_or(v, "name", ""));
        cleanup_free char *quoted = mem_printf("\"%s\"", type);
        if (!strstr(buf_str(&types), quoted))
            add_name(&types, &type_count, type);
    }
    if (count)
        buf_printf(&detail, "volume%s %s use%s restricted volume type%s %s", count > 1 ? "s" : "",
                   buf_str(&names), count > 1 ? "" : "s", type_count > 1 ? "s" : "",
                   buf_str(&types));
    add_reason(out, "restricted volume types", &detail);
}

static bool says_root(const struct pod *p, const cJSON *c)
{
    (void)p;
    return !json_bool(c, "securityContext.runAsNonRoot", true);
}

static bool silent_of_root(const struct pod *p, const cJSON *c)
{
    return !cJSON_IsBool(json_path(c, "securityContext.runAsNonRoot")) &&
           !cJSON_IsBool(json_get(p->security, "runAsNonRoot"));
}

static void check_non_root(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    bool own_users = !json_bool(p->spec, "hostUsers", true);
    if (own_users)
        return;
    if (!json_bool(p->security, "runAsNonRoot", true))
        buf_adds(&detail, "pod must not set securityContext.runAsNonRoot=false");
    add_containers(p, says_root, "", "must not set securityContext.runAsNonRoot=false", &detail);
    if (!detail.len)
        add_containers(p, silent_of_root, "pod or ", "must set securityContext.runAsNonRoot=true",
                       &detail);
    add_reason(out, "runAsNonRoot != true", &detail);
}

static bool runs_as_zero(const struct pod *p, const cJSON *c)
{
    (void)p;
    return json_int(c, "securityContext.runAsUser", -1) == 0;
}

static void check_user(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    if (!json_bool(p->spec, "hostUsers", true))
        return;
    if (json_int(p->security, "runAsUser", -1) == 0)
        buf_adds(&detail, "pod must not set runAsUser=0");
    add_containers(p, runs_as_zero, "", "must not set runAsUser=0", &detail);
    add_reason(out, "runAsUser=0", &detail);
}

static bool silent_of_seccomp(const struct pod *p, const cJSON *c)
{
    return !*json_str_or(c, "securityContext.seccompProfile.type", "") &&
           !*json_str_or(p->security, "seccompProfile.type", "");
}

static void check_seccomp_set(const struct pod *p, struct buf *out)
{
    cleanup_buf struct buf detail = {0};
    if (p->windows)
        return;
    explicit_seccomp(p, &detail);
    add_containers(
        p, silent_of_seccomp, "pod or ",
        "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        &detail);
    add_reason(out, "seccompProfile", &detail);
}

static const struct {
    void (*check)(const struct pod *p, struct buf *out);
    enum level from, to; /* a stricter check of the next level takes its place */
} checks[] = {
    {check_apparmor, BASELINE, RESTRICTED},        {check_capabilities, BASELINE, BASELINE},
    {check_host_namespaces, BASELINE, RESTRICTED}, {check_host_path, BASELINE, BASELINE},
    {check_host_ports, BASELINE, RESTRICTED},      {check_privileged, BASELINE, RESTRICTED},
    {check_proc_mount, BASELINE, RESTRICTED},      {check_se_linux, BASELINE, RESTRICTED},
    {check_seccomp, BASELINE, BASELINE},           {check_sysctls, BASELINE, RESTRICTED},
    {check_host_process, BASELINE, RESTRICTED},    {check_escalation, RESTRICTED, RESTRICTED},
    {check_dropped, RESTRICTED, RESTRICTED},       {check_volumes, RESTRICTED, RESTRICTED},
    {check_non_root, RESTRICTED, RESTRICTED},      {check_user, RESTRICTED, RESTRICTED},
    {check_seccomp_set, RESTRICTED, RESTRICTED},
};

void pod_security_evaluate(const cJSON *meta, const cJSON *spec, const char *level_name,
                           struct buf *out)
{
    enum level level = !strcmp(level_name, "privileged") ? PRIVILEGED
                       : !strcmp(level_name, "baseline")
                           ? BASELINE
                           : RESTRICTED; /* what it does not know, too */
    struct pod p = {.meta = meta,
                    .spec = spec,
                    .security = json_get(spec, "securityContext"),
                    .windows = !strcmp(json_str_or(spec, "os.name", ""), "windows")};
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (level >= checks[i].from && level <= checks[i].to)
            checks[i].check(&p, out);
}

/* --- the namespace's labels --- */

static const char *label_of(const struct stored *ns, const char *name)
{
    for (const char **l = ns->labels; l && l[0]; l += 2)
        if (!strcmp(l[0], name))
            return l[1];
    return NULL;
}

/* What is wrong with the pod for the level under `mode`: 'PodSecurity "level:version": ...', NULL
 * when good. */
static char *violation(const struct stored *ns, const char *mode, const cJSON *meta,
                       const cJSON *spec)
{
    cleanup_free char *level_label = mem_printf(LABEL "%s", mode);
    cleanup_free char *version_label = mem_printf(LABEL "%s-version", mode);
    const char *level = label_of(ns, level_label), *version = label_of(ns, version_label);
    if (!level)
        return NULL;
    cleanup_buf struct buf wrong = {0};
    pod_security_evaluate(meta, spec, level, &wrong);
    return wrong.len ? mem_printf("PodSecurity \"%s:%s\": %s", level, version ? version : "latest",
                                  buf_str(&wrong))
                     : NULL;
}

static bool containers_equal(const cJSON *a, const cJSON *b)
{
    static const char *const lists[] = {"containers", "initContainers", "ephemeralContainers"};
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const cJSON *x = json_get(a, lists[i]), *y = json_get(b, lists[i]);
        if (!json_equal(x, y) && (cJSON_GetArraySize(x) || cJSON_GetArraySize(y)))
            return false;
    }
    return true;
}

/* Where the kinds that make pods keep their template. */
static const char *template_path(const struct write *w)
{
    if (write_is(w->r, "batch", "CronJob"))
        return "spec.jobTemplate.spec.template";
    if (write_is(w->r, "apps", "Deployment") || write_is(w->r, "apps", "ReplicaSet") ||
        write_is(w->r, "apps", "DaemonSet") || write_is(w->r, "apps", "StatefulSet") ||
        write_is(w->r, "batch", "Job") || write_is(w->r, "", "ReplicationController"))
        return "spec.template";
    return write_is(w->r, "", "PodTemplate") ? "template" : NULL;
}

static bool check_labels(const struct write *w, const cJSON *ns, struct error **err)
{
    static const char *const modes[] = {"enforce", "audit", "warn"};
    cleanup_field_errors struct field_errors errors = {0};
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        cleanup_free char *label = mem_printf(LABEL "%s", modes[i]);
        const char *level = json_map_str(json_path(ns, "metadata.labels"), label);
        bool known = !level;
        for (size_t k = 0; !known && k < ARRAY_LEN(level_names); k++)
            known = !strcmp(level, level_names[k]);
        if (!known)
            field_invalid_str(&errors, PATH_KEY(PATH_CHILD(PATH_ROOT("metadata"), "labels"), label),
                              level, "must be one of privileged, baseline, restricted");
    }
    return field_errors_check(&errors, "", "Namespace", json_str_or(ns, "metadata.name", w->name),
                              err);
}

bool pod_security_admit(struct write *w, const cJSON *object, const cJSON *old, struct error **err)
{
    if (write_is(w->r, "", "Namespace"))
        return *w->sub || check_labels(w, object, err);
    bool pod = write_is(w->r, "", "Pod");
    const char *path = pod ? NULL : template_path(w);
    if ((!pod && !path) ||
        (*w->sub && strcmp(w->sub, "ephemeralcontainers") && strcmp(w->sub, "resize")))
        return true;
    const cJSON *template = pod ? object : json_path(object, path),
                *spec = json_get(template, "spec");
    if (old && (pod ? containers_equal(spec, json_get(old, "spec"))
                    : json_equal(template, json_path(old, path))))
        return true;
    struct cache *cache = storage_cache(w->req->storage, resource_find("", "v1", "namespaces"));
    cleanup_stored struct stored *ns = cache ? cache_get(cache, "", w->ns) : NULL;
    if (!ns) {
        api_error_not_found(err, resource_find("", "v1", "namespaces"), w->ns);
        return false;
    }
    const cJSON *meta = json_get(template, "metadata");
    if (pod) {
        cleanup_free char *wrong = violation(ns, "enforce", meta, spec);
        if (wrong) {
            cleanup_free char *why = mem_printf("violates %s", wrong);
            api_error_forbidden(err, w->r, json_str_or(meta, "name", ""), why);
            return false;
        }
    }
    cleanup_free char *warn = violation(ns, "warn", meta, spec);
    if (warn) {
        cleanup_free char *text = mem_printf("would violate %s", warn);
        api_warn(w->req, text);
    }
    return true;
}
