/* Images for containers, by pull policy. Pulling runs as a job of its own.
 * https://kubernetes.io/docs/concepts/containers/images/ */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "kubelet/credential/credential.h"
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

/* All that are for this image: of the pod, of the plug-ins, of the node. */
static void find_credentials(struct pod *p, const cJSON *pod, const char *image, struct arena *a, struct credentials *out)
{
    struct kubelet *k = p->kubelet;
    const char *repository = credential_repository(a, image);
    const cJSON *e;
    cJSON_ArrayForEach(e, json_path(pod, "spec.imagePullSecrets"))
    {
        const char *name = json_str(e, "name"), *ns = json_str_or(pod, "metadata.namespace", "");
        cleanup_error struct error *failure = NULL;
        cleanup_object struct kube_object *secret =
            name ? object_cache_get(k->objects, "secrets", ns, name, 1000, &failure) : NULL;
        if (failure)
            kubelet_event(k, pod, NULL, "Warning", "FailedToRetrieveImagePullSecret",
                          "Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.",
                          name);
        const cJSON *data = secret ? json_get(secret->json, "data") : NULL;
        const char *text = json_map_str(data, ".dockerconfigjson");
        if (!text)
            text = json_map_str(data, ".dockercfg");
        cleanup_buf struct buf config = {0};
        if (text && buf_add_base64_decoded(&config, text, strlen(text)))
            credentials_from_docker_config(out, a, buf_str(&config), config.len, repository);
    }
    credentials_from_providers(out, a, k->credential_providers, image);
    cleanup_free char *path = mem_printf("%s/config.json", k->root_dir ? k->root_dir : "");
    cleanup_buf struct buf own = {0};
    if (buf_read_file(&own, path, NULL))
        credentials_from_docker_config(out, a, buf_str(&own), own.len, repository);
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
    struct credentials credentials = {0};
    find_credentials(p, o->json, j->image, &a, &credentials);
    cri_sandbox_config *sandbox = translate_sandbox(&a, &p->kubelet->translate, o->json, 0, "");
    int64_t started = time_monotonic_ms();
    cleanup_error struct error *failure = NULL;
    cleanup_free char *ref = NULL;
    bool ok = false;
    size_t tries = 0;
    do { /* without credentials once, with each of them otherwise */
        error_free(failure);
        failure = NULL;
        cri_auth *auth = credentials.count ? credentials.items[tries] : NULL;
        ok = cri_pull_image(&p->kubelet->cri, j->image, auth, sandbox, &ref, &failure);
    } while (!ok && ++tries < credentials.count);
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
