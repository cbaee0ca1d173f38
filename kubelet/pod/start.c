/* Starts one container: environment, mounts, configuration, create, start, postStart. */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/metrics.h"
#include "kubelet/pod/pod.h"
#include "kubelet/pod/resize.h"
#include "kubelet/volume/atomic.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY_MS 5000 /* a configuration that cannot work yet: a ConfigMap that is missing, ... */

static void create_fails(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const char *reason,
                         const struct error *failure)
{
    const char *message = error_message(failure);
    pthread_mutex_lock(&p->lock);
    pod_set_waiting(s, reason, message);
    cleanup_free char *path = pod_field_path(s);
    pthread_mutex_unlock(&p->lock);
    kubelet_event(p->kubelet, o->json, path, "Warning", "Failed", "Error: %s", message);
    pod_wake_after(p, RETRY_MS);
}

/* /etc/hosts of the pod: all its containers share one file, written when the first starts. */
static bool hosts_file(struct pod *p, const cJSON *pod, const char *ips, char **path, struct error **err)
{
    cleanup_free char *dir = volumes_pod_dir(&p->kubelet->volumes, p->uid);
    *path = mem_printf("%s/etc-hosts", dir);
    cleanup_buf struct buf text = {0}, host = {0}, domain = {0};
    if (pod_host_network(pod)) {
        buf_adds(&text, "# Kubernetes-managed hosts file (host network).\n");
        buf_read_file(&text, "/etc/hosts", NULL);
    } else {
        buf_adds(&text, "# Kubernetes-managed hosts file.\n"
                        "127.0.0.1\tlocalhost\n"
                        "::1\tlocalhost ip6-localhost ip6-loopback\n"
                        "fe00::0\tip6-localnet\n"
                        "fe00::0\tip6-mcastprefix\n"
                        "fe00::1\tip6-allnodes\n"
                        "fe00::2\tip6-allrouters\n");
        pod_hostname(pod, p->kubelet->translate.cluster_domain, &host, &domain);
        cleanup_free char *list = mem_strdup(ips ? ips : "");
        char *save = NULL;
        for (char *ip = strtok_r(list, ",", &save); ip; ip = strtok_r(NULL, ",", &save)) {
            if (domain.len)
                buf_printf(&text, "%s\t%s.%s\t%s\n", ip, buf_str(&host), buf_str(&domain), buf_str(&host));
            else
                buf_printf(&text, "%s\t%s\n", ip, buf_str(&host));
        }
    }
    const cJSON *alias, *name;
    const cJSON *aliases = json_path(pod, "spec.hostAliases");
    if (cJSON_GetArraySize(aliases))
        buf_adds(&text, "\n# Entries added by HostAliases.\n");
    cJSON_ArrayForEach(alias, aliases)
    {
        buf_adds(&text, json_str_or(alias, "ip", ""));
        cJSON_ArrayForEach(name, json_get(alias, "hostnames"))
        {
            if (cJSON_IsString(name))
                buf_printf(&text, "\t%s", name->valuestring);
        }
        buf_addc(&text, '\n');
    }
    /* In place, for containers that have it mounted already. */
    cleanup_close int fd = open(*path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len) {
        error_set_errno(err, errno, "write %s", *path);
        return false;
    }
    return true;
}

static bool mounts_path(const cJSON *container, const char *path)
{
    const cJSON *m;
    cJSON_ArrayForEach(m, json_get(container, "volumeMounts"))
    {
        if (strcmp(json_str_or(m, "mountPath", ""), path) == 0)
            return true;
    }
    return false;
}

static bool all_mounts(struct pod *p, const cJSON *pod, const cJSON *container, const struct env_list *env,
                       const char *ips, int restart_count, struct translate_mounts *out, struct error **err)
{
    if (!volumes_mounts(&p->kubelet->volumes, pod, container, env, out, err))
        return false;
    if (!mounts_path(container, "/etc/hosts")) {
        cleanup_free char *hosts = NULL;
        if (!hosts_file(p, pod, ips, &hosts, err))
            return false;
        translate_mounts_add(out, hosts, "/etc/hosts", false, NULL);
    }
    const char *path = json_str_or(container, "terminationMessagePath", "/dev/termination-log");
    if (*path) {
        cleanup_free char *pod_dir = volumes_pod_dir(&p->kubelet->volumes, p->uid);
        cleanup_free char *dir = mem_printf("%s/containers/%s", pod_dir, json_str_or(container, "name", ""));
        cleanup_free char *file = mem_printf("%s/%d", dir, restart_count);
        if (!make_directories(dir, 0750, err))
            return false;
        /* Any user of the container may write its last words. */
        cleanup_close int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0 || fchmod(fd, 0666) != 0) {
            error_set_errno(err, errno, "create %s", file);
            return false;
        }
        translate_mounts_add(out, file, path, false, NULL);
    }
    return true;
}

static bool service_env(struct pod *p, const cJSON *pod, struct env_list *out, struct error **err)
{
    const char *ns = json_str_or(pod, "metadata.namespace", "");
    if (json_bool(pod, "spec.enableServiceLinks", true)) {
        /* A static pod runs without an API, too. */
        cleanup_object struct kube_object *own = object_cache_get(p->kubelet->objects, "services", ns, NULL, 1000, p->is_static ? NULL : err);
        if (!own && !p->is_static)
            return false;
        if (own)
            env_add_services(out, own->json, NULL);
    }
    if (env_get(out, "KUBERNETES_SERVICE_HOST") || p->is_static)
        return true;
    cleanup_object struct kube_object *of_default =
        object_cache_get(p->kubelet->objects, "services", "default", NULL, 10000, err);
    if (!of_default)
        return false;
    env_add_services(out, of_default->json, "kubernetes");
    return true;
}

static bool check_run_as_non_root(struct pod *p, const cJSON *pod, const cJSON *container, const char *image,
                                  struct error **err)
{
    const cJSON *own = json_get(container, "securityContext"), *of_pod = json_path(pod, "spec.securityContext");
    const cJSON *wanted = json_get(own, "runAsNonRoot");
    if (!wanted)
        wanted = json_get(of_pod, "runAsNonRoot");
    if (!cJSON_IsTrue(wanted))
        return true;
    const cJSON *user = json_get(own, "runAsUser");
    if (!user)
        user = json_get(of_pod, "runAsUser");
    const char *ns = json_str_or(pod, "metadata.namespace", ""), *name = json_str_or(container, "name", "");
    cleanup_free char *who = mem_printf("(pod: \"%s_%s(%s)\", container: %s)", json_str_or(pod, "metadata.name", ""),
                                        ns, p->uid, name);
    if (cJSON_IsNumber(user)) {
        if (user->valuedouble != 0)
            return true;
        error_setf(err, "container's runAsUser breaks non-root policy %s", who);
        return false;
    }
    int64_t uid = -1;
    cleanup_free char *username = NULL;
    if (!cri_image_user(&p->kubelet->cri, image, &uid, &username, err))
        return false;
    if (uid == 0 || (uid < 0 && !*username))
        error_setf(err, "container has runAsNonRoot and image will run as root %s", who);
    else if (uid < 0)
        error_setf(err,
                   "container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s",
                   username, who);
    return uid > 0;
}

/* /var/log/containers/<pod>_<namespace>_<container>-<id>.log, where log collectors look. */
static void link_log(const cJSON *pod, const char *name, const char *id, const char *log_path)
{
    if (mkdir("/var/log/containers", 0755) != 0 && errno != EEXIST)
        return;
    cleanup_free char *link = mem_printf("/var/log/containers/%s_%s_%s-%s.log", json_str_or(pod, "metadata.name", ""),
                                         json_str_or(pod, "metadata.namespace", ""), name, id);
    if (symlink(log_path, link) != 0 && errno != EEXIST)
        log_debug(2, "Could not link a log", "link", link, "err", strerror(errno));
}

/* --- postStart --- */

struct post_start {
    struct pod *pod;
    struct kube_object *object;
    char *container, *id;
};

static void run_post_start(void *arg)
{
    struct post_start *j = arg;
    struct pod *p = j->pod;
    const cJSON *spec = pod_find_container(j->object->json, j->container, NULL);
    cleanup_error struct error *failure = NULL;
    bool ok = pod_run_hook(p, j->object->json, spec, j->id, json_path(spec, "lifecycle.postStart"), 0, &failure);
    pthread_mutex_lock(&p->lock);
    struct pod_container_state *s = pod_state(p, j->container);
    cleanup_free char *path = NULL;
    if (s && s->instance && strcmp(s->instance, j->id) == 0) {
        s->post_start_running = false;
        path = pod_field_path(s);
        if (!ok) {
            free(s->kill_reason);
            s->kill_reason = mem_strdup("FailedPostStartHook");
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (!ok)
        kubelet_event(p->kubelet, j->object->json, path, "Warning", "FailedPostStartHook", "PostStartHook failed");
    pod_wake(p);
    pod_unref(p);
    kube_object_unref(j->object);
    free(j->container);
    free(j->id);
    free(j);
}

static void begin_post_start(struct pod *p, const struct kube_object *o, const char *container, const char *id)
{
    struct post_start *j = mem_alloc(sizeof(*j));
    j->pod = pod_ref(p);
    j->object = kube_object_ref((struct kube_object *)o);
    j->container = mem_strdup(container);
    j->id = mem_strdup(id);
    pool_run(p->kubelet->pool, run_post_start, j);
}

/* --- */

static int next_restart_count(struct pod *p, const struct kube_object *o, const struct pod_container_state *s)
{
    const struct runtime_container *last = pod_instance(p, s->name, NULL);
    if (last)
        return last->state == CONTAINER_CREATED ? last->restart_count : last->restart_count + 1;
    /* The runtime lost its dead containers: go on from what was reported. */
    const cJSON *e;
    cJSON_ArrayForEach(e, json_get(pod_reported_status(p, o), container_kind_status(s->kind)))
    {
        if (strcmp(json_str_or(e, "name", ""), s->name) == 0 && json_str(e, "containerID"))
            return (int)json_int(e, "restartCount", 0) + 1;
    }
    return 0;
}

bool pod_start_container(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const cJSON *spec,
                         const struct runtime_sandbox *sandbox)
{
    struct kubelet *k = p->kubelet;
    if (pod_image(p, o, s, spec) != IMAGE_READY)
        return false;
    pthread_mutex_lock(&p->lock);
    struct downward_source downward;
    pod_downward(p, o, &downward);
    cleanup_free char *ips = mem_strdup(downward.pod_ips);
    downward.pod_ips = ips;
    int restart_count = next_restart_count(p, o, s);
    const char *target_name = json_str(spec, "targetContainerName");
    const struct runtime_container *target =
        target_name && *target_name ? pod_instance(p, target_name, sandbox->id) : NULL;
    cleanup_free char *target_id = target && target->state == CONTAINER_RUNNING ? mem_strdup(target->id) : NULL;
    const struct runtime_container *leftover = pod_instance(p, s->name, sandbox->id);
    cleanup_free char *unstarted =
        leftover && leftover->state == CONTAINER_CREATED ? mem_strdup(leftover->id) : NULL;
    cleanup_free char *image = mem_strdup(s->image_ref);
    cleanup_free char *path = pod_field_path(s);
    pthread_mutex_unlock(&p->lock);
    if (unstarted) /* created, but we died before it was started */
        cri_remove_container(&k->cri, unstarted, NULL);

    cleanup_error struct error *failure = NULL;
    cleanup_env struct env_list services = {0}, env = {0};
    cleanup_mounts struct translate_mounts mounts = {0};
    cleanup_arena struct arena a = {0};
    cri_container_config *config = NULL;
    struct translate_container_input in = {o->json, spec, restart_count, image, &env, &mounts, target_id};
    if (target_name && *target_name && !target_id)
        error_setf(&failure, "unable to find target container %s", target_name);
    if (failure || !service_env(p, o->json, &services, &failure) ||
        !env_build(&downward, spec, k->objects, &services, &env, &failure) ||
        !check_run_as_non_root(p, o->json, spec, image, &failure) ||
        !all_mounts(p, o->json, spec, &env, ips, restart_count, &mounts, &failure) ||
        !(config = translate_container(&a, &k->translate, &in, &failure))) {
        create_fails(p, o, s, "CreateContainerConfigError", failure);
        return false;
    }
    cleanup_free char *log_dir = pod_log_dir(o->json);
    cleanup_free char *container_logs = mem_printf("%s/%s", log_dir, s->name);
    cleanup_free char *log_path = mem_printf("%s/%s", log_dir, config->log_path);
    cleanup_free char *cgroup = cgroups_pod_path(k->cgroups, pod_qos(o->json), p->uid);
    cri_sandbox_config *sandbox_config = translate_sandbox(&a, &k->translate, o->json, sandbox->attempt, cgroup);
    cleanup_free char *id = NULL;
    if (!make_directories(container_logs, 0755, &failure) ||
        !cri_create_container(&k->cri, sandbox->id, config, sandbox_config, &id, &failure)) {
        create_fails(p, o, s, "CreateContainerError", failure);
        return false;
    }
    kubelet_event(k, o->json, path, "Normal", "Created", "Created container: %s", s->name);
    if (!cri_start_container(&k->cri, id, &failure)) {
        create_fails(p, o, s, "RunContainerError", failure);
        return false;
    }
    kubelet_event(k, o->json, path, "Normal", "Started", "Started container %s", s->name);
    kubelet_metrics_started_container();
    log_debug(1, "Started container", "pod", p->key, "container", s->name, "id", id);
    link_log(o->json, s->name, id, log_path);

    bool hook = json_path(spec, "lifecycle.postStart") != NULL;
    pthread_mutex_lock(&p->lock);
    free(s->instance);
    s->instance = mem_strdup(id);
    s->started = !json_get(spec, "startupProbe");
    s->ready = !json_get(spec, "readinessProbe");
    s->post_start_running = hook;
    pod_set_applied(s, spec);
    s->probing = 0;
    free(s->kill_reason);
    s->kill_reason = NULL;
    free(s->image_ref);
    s->image_ref = NULL; /* the next start looks again, as its pull policy says */
    free(s->pull_error);
    s->pull_error = NULL;
    pod_set_waiting(s, NULL, NULL);
    pthread_mutex_unlock(&p->lock);
    if (hook)
        begin_post_start(p, o, s->name, id);
    return true;
}
