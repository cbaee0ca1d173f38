/* Images for containers, by pull policy. Pulling runs as a job of its own.
 * https://kubernetes.io/docs/concepts/containers/images/ */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/pod/pod.h"
#include <ctype.h>
#include <string.h>

static const struct backoff_limits pull_limits = {10000, 300000};

/* "nginx" -> "nginx:latest"; a tag or digest stays. A ':' before the last '/' is a registry's port. */
static char *with_tag(const char *image)
{
    const char *slash = strrchr(image, '/');
    bool tagged = strchr(slash ? slash : image, ':') || strchr(image, '@');
    return mem_printf("%s%s", image, tagged ? "" : ":latest");
}

static bool name_is_valid(const char *image)
{
    if (!*image || strlen(image) > 1024)
        return false;
    const char *slash = strrchr(image, '/');
    for (const char *p = image; *p; p++) {
        if (isspace((unsigned char)*p) || iscntrl((unsigned char)*p))
            return false;
        /* Upper case is for tags, digests and host names only. */
        if (isupper((unsigned char)*p) && (!slash || p > slash) && !strchr(image, '@')) {
            const char *colon = strrchr(slash ? slash : image, ':');
            if (!colon || p < colon)
                return false;
        }
    }
    return true;
}

/* --- credentials --- */

static const char *registry_of(const char *image, struct buf *out)
{
    size_t n = strcspn(image, "/");
    bool host = image[n] == '/' && (memchr(image, '.', n) || memchr(image, ':', n) || strncmp(image, "localhost/", 10) == 0);
    if (host)
        buf_add(out, image, n);
    else
        buf_adds(out, "docker.io");
    return buf_str(out);
}

/* "https://index.docker.io/v1/" and "registry.example/path" name a host in several ways. */
static bool names_registry(const char *key, const char *registry, const char *image)
{
    if (strncmp(key, "https://", 8) == 0)
        key += 8;
    else if (strncmp(key, "http://", 7) == 0)
        key += 7;
    size_t n = strcspn(key, "/");
    cleanup_free char *host = mem_strndup(key, n);
    if (strcmp(registry, "docker.io") == 0)
        return strcmp(host, "index.docker.io") == 0 || strcmp(host, "docker.io") == 0;
    if (strcmp(host, registry) != 0)
        return false;
    size_t len = strlen(key);
    while (len > n && key[len - 1] == '/')
        len--;
    return len <= n || strncmp(image, key, len) == 0 || strstr(key, "/v1") || strstr(key, "/v2");
}

/* Looks for the registry in one docker configuration; false if it has nothing for it. */
static bool auth_from_config(const char *text, size_t len, const char *registry, const char *image, cri_auth *auth,
                             struct arena *a)
{
    cleanup_json cJSON *config = json_parse(text, len, NULL);
    const cJSON *auths = json_get(config, "auths"), *e;
    if (!auths)
        auths = config; /* the older form has the registries at the top */
    cJSON_ArrayForEach(e, auths)
    {
        if (!e->string || !names_registry(e->string, registry, image))
            continue;
        const char *encoded = json_str(e, "auth");
        if (encoded) {
            cleanup_buf struct buf plain = {0};
            const char *colon;
            if (buf_add_base64_decoded(&plain, encoded, strlen(encoded)) && (colon = strchr(buf_str(&plain), ':'))) {
                auth->username = arena_strndup(a, plain.data, (size_t)(colon - plain.data));
                auth->password = arena_strdup(a, colon + 1);
                return true;
            }
        }
        const char *user = json_str(e, "username"), *password = json_str(e, "password");
        const char *token = json_str(e, "identitytoken");
        if (user && password) {
            auth->username = arena_strdup(a, user);
            auth->password = arena_strdup(a, password);
            return true;
        }
        if (token) {
            auth->identity_token = arena_strdup(a, token);
            return true;
        }
    }
    return false;
}

static cri_auth *find_auth(struct pod *p, const cJSON *pod, const char *image, struct arena *a)
{
    cleanup_buf struct buf registry = {0};
    registry_of(image, &registry);
    cri_auth *auth = arena_alloc(a, sizeof(*auth));
    runtime__v1__auth_config__init(auth);
    const cJSON *e;
    cJSON_ArrayForEach(e, json_path(pod, "spec.imagePullSecrets"))
    {
        const char *name = json_str(e, "name");
        cleanup_object struct kube_object *secret =
            name ? object_cache_get(p->kubelet->objects, "secrets", json_str_or(pod, "metadata.namespace", ""), name,
                                    1000, NULL)
                 : NULL;
        const cJSON *data = secret ? json_get(secret->json, "data") : NULL;
        const char *text = json_map_str(data, ".dockerconfigjson");
        if (!text)
            text = json_map_str(data, ".dockercfg");
        cleanup_buf struct buf config = {0};
        if (text && buf_add_base64_decoded(&config, text, strlen(text)) &&
            auth_from_config(buf_str(&config), config.len, buf_str(&registry), image, auth, a))
            return auth;
    }
    return NULL;
}

/* --- pulling --- */

struct pull {
    struct pod *pod;
    char *container, *image, *shown; /* shown: as the pod names it */
};

static void report(struct pull *j, const char *type, const char *reason, const char *message)
{
    pthread_mutex_lock(&j->pod->lock);
    struct pod_container_state *s = pod_state(j->pod, j->container);
    cleanup_free char *path = s ? pod_field_path(s) : NULL;
    cleanup_object struct kube_object *o = kube_object_ref(j->pod->object);
    pthread_mutex_unlock(&j->pod->lock);
    kubelet_event(j->pod->kubelet, o->json, path, type, reason, "%s", message);
}

static void pull_image(void *arg)
{
    struct pull *j = arg;
    struct pod *p = j->pod;
    pthread_mutex_lock(&p->lock);
    cleanup_object struct kube_object *o = kube_object_ref(p->object);
    pthread_mutex_unlock(&p->lock);
    cleanup_free char *pulling = mem_printf("Pulling image \"%s\"", j->shown);
    report(j, "Normal", "Pulling", pulling);
    cleanup_arena struct arena a = {0};
    cri_auth *auth = find_auth(p, o->json, j->image, &a);
    cri_sandbox_config *sandbox = translate_sandbox(&a, &p->kubelet->translate, o->json, 0, "");
    int64_t started = time_monotonic_ms();
    cleanup_error struct error *failure = NULL;
    cleanup_free char *ref = NULL;
    bool ok = cri_pull_image(&p->kubelet->cri, j->image, auth, sandbox, &ref, &failure);
    double seconds = (double)(time_monotonic_ms() - started) / 1000;
    cleanup_free char *told =
        ok ? mem_printf("Successfully pulled image \"%s\" in %.3gs (%.3gs including waiting)", j->shown, seconds, seconds)
           : mem_printf("Failed to pull image \"%s\": %s", j->shown, error_message(failure));
    report(j, ok ? "Normal" : "Warning", ok ? "Pulled" : "Failed", told);
    if (!ok)
        report(j, "Warning", "Failed", "Error: ErrImagePull");
    pthread_mutex_lock(&p->lock);
    struct pod_container_state *s = pod_state(p, j->container);
    if (s) {
        s->pulling = false;
        free(s->pull_error);
        s->pull_error = ok ? NULL : mem_strdup(error_message(failure));
        free(s->image_ref);
        s->image_ref = ok ? mem_strdup(ref) : NULL;
        if (!ok) {
            int64_t now = time_now_micros() / 1000;
            s->pull_failed_ms = now;
            s->pull_backoff_told = false;
            backoff_next(&s->pull_backoff, pull_limits, now, now);
            pod_set_waiting(s, "ErrImagePull", s->pull_error);
        }
    }
    pthread_mutex_unlock(&p->lock);
    pod_wake(p);
    pod_unref(p);
    free(j->container);
    free(j->image);
    free(j->shown);
    free(j);
}

static void image_fails(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const char *reason,
                        const char *message)
{
    pthread_mutex_lock(&p->lock);
    bool told = s->waiting_reason && strcmp(s->waiting_reason, reason) == 0;
    pod_set_waiting(s, reason, message);
    cleanup_free char *path = pod_field_path(s);
    pthread_mutex_unlock(&p->lock);
    if (told)
        return;
    if (strcmp(reason, "InvalidImageName") != 0)
        kubelet_event(p->kubelet, o->json, path, "Warning", reason, "%s", message);
    else
        kubelet_event(p->kubelet, o->json, path, "Warning", "InspectFailed", "%s", message);
    kubelet_event(p->kubelet, o->json, path, "Warning", "Failed", "Error: %s", reason);
}

/* Already known to have failed: ErrImagePull until the next look, then ImagePullBackOff until it may try again. */
static bool backing_off(struct pod *p, const struct kube_object *o, struct pod_container_state *s, const char *shown)
{
    int64_t now = time_now_micros() / 1000, remaining = 0;
    pthread_mutex_lock(&p->lock);
    bool active = s->pull_error && backoff_active(&s->pull_backoff, pull_limits, s->pull_failed_ms, now, &remaining);
    bool tell = active && !s->pull_backoff_told && now - s->pull_failed_ms >= 1000;
    cleanup_free char *path = pod_field_path(s);
    if (tell) {
        s->pull_backoff_told = true;
        cleanup_free char *message =
            mem_printf("Back-off pulling image \"%s\": ErrImagePull: %s", shown, s->pull_error);
        pod_set_waiting(s, "ImagePullBackOff", message);
    }
    bool told = s->pull_backoff_told;
    pthread_mutex_unlock(&p->lock);
    if (tell) {
        kubelet_event(p->kubelet, o->json, path, "Normal", "BackOff", "Back-off pulling image \"%s\"", shown);
        kubelet_event(p->kubelet, o->json, path, "Warning", "Failed", "Error: ImagePullBackOff");
    }
    if (active)
        pod_wake_after(p, told ? remaining : 1000);
    return active;
}

enum image_result pod_image(struct pod *p, const struct kube_object *o, struct pod_container_state *s,
                            const cJSON *spec)
{
    const char *shown = json_str_or(spec, "image", "");
    pthread_mutex_lock(&p->lock);
    bool busy = s->pulling, known = s->image_ref != NULL;
    pthread_mutex_unlock(&p->lock);
    if (busy)
        return IMAGE_LATER;
    if (known)
        return IMAGE_READY;
    if (!name_is_valid(shown)) {
        cleanup_free char *message = mem_printf("Failed to apply default image tag \"%s\": couldn't parse image name "
                                                "\"%s\": invalid reference format",
                                                shown, shown);
        image_fails(p, o, s, "InvalidImageName", message);
        return IMAGE_LATER;
    }
    cleanup_free char *image = with_tag(shown);
    const char *policy = json_str_or(spec, "imagePullPolicy", "IfNotPresent");
    if (strcmp(policy, "Always") != 0) {
        cleanup_free char *ref = NULL;
        cleanup_error struct error *failure = NULL;
        if (!cri_image_status(&p->kubelet->cri, image, &ref, &failure)) {
            cleanup_free char *message =
                mem_printf("Failed to inspect image \"%s\": %s", shown, error_message(failure));
            image_fails(p, o, s, "ImageInspectError", message);
            pod_wake_after(p, 2000);
            return IMAGE_LATER;
        }
        if (ref) {
            pthread_mutex_lock(&p->lock);
            free(s->image_ref);
            s->image_ref = mem_strdup(ref);
            cleanup_free char *path = pod_field_path(s);
            pthread_mutex_unlock(&p->lock);
            kubelet_event(p->kubelet, o->json, path, "Normal", "Pulled",
                          "Container image \"%s\" already present on machine", shown);
            return IMAGE_READY;
        }
        if (strcmp(policy, "Never") == 0) {
            cleanup_free char *message =
                mem_printf("Container image \"%s\" is not present with pull policy of Never", shown);
            image_fails(p, o, s, "ErrImageNeverPull", message);
            pod_wake_after(p, 10000); /* somebody may import it */
            return IMAGE_LATER;
        }
    }
    if (backing_off(p, o, s, shown))
        return IMAGE_LATER;
    struct pull *j = mem_alloc(sizeof(*j));
    j->pod = pod_ref(p);
    j->container = mem_strdup(s->name);
    j->image = mem_strdup(image);
    j->shown = mem_strdup(shown);
    pthread_mutex_lock(&p->lock);
    s->pulling = true;
    pthread_mutex_unlock(&p->lock);
    pool_run(p->kubelet->pool, pull_image, j);
    return IMAGE_LATER;
}
