#include "kubelet/pod/static.h"
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/thread.h"
#include "common/timefmt.h"
#include "common/yaml.h"
#include <dirent.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANNOTATION_MIRROR "kubernetes.io/config.mirror"
#define ANNOTATION_HASH   "kubernetes.io/config.hash"
#define ANNOTATION_SOURCE "kubernetes.io/config.source"
#define ANNOTATION_SEEN   "kubernetes.io/config.seen"

static const char *annotation(const cJSON *pod, const char *key)
{
    return json_map_str(json_path(pod, "metadata.annotations"), key);
}

bool is_mirror_pod(const cJSON *pod)
{
    return annotation(pod, ANNOTATION_MIRROR) != NULL;
}

bool is_static_pod(const cJSON *pod)
{
    const char *source = annotation(pod, ANNOTATION_SOURCE);
    return source && strcmp(source, "api") != 0;
}

/* --- from a file to a pod --- */

/* A static pod must be able to run without the API: nothing of it may come from there. */
static bool refers_to_api(const cJSON *pod, struct error **err)
{
    static const char *const sources[][2] = {
        {"configMap", "configmaps"},
        {"secret", "secrets"},
        {"persistentVolumeClaim", "persistentvolumeclaims"},
        {"ephemeral", "ephemeral volumes"},
    };
    const char *what = NULL;
    if (*json_str_or(pod, "spec.serviceAccountName", ""))
        what = "serviceaccounts";
    const cJSON *v, *e;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        for (size_t i = 0; i < ARRAY_LEN(sources); i++)
            if (json_get(v, sources[i][0]))
                what = sources[i][1];
        cJSON_ArrayForEach(e, json_path(v, "projected.sources"))
        {
            if (!json_get(e, "downwardAPI"))
                what = "configmaps, secrets or tokens";
        }
    }
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++) {
        cJSON_ArrayForEach(e, json_get(all.items[i].spec, "env"))
        {
            if (json_path(e, "valueFrom.configMapKeyRef") || json_path(e, "valueFrom.secretKeyRef"))
                what = "configmaps or secrets";
        }
        if (cJSON_GetArraySize(json_get(all.items[i].spec, "envFrom")))
            what = "configmaps or secrets";
    }
    if (what)
        error_setf(err, "static pods may not reference %s", what);
    return what != NULL;
}

static char *content_hash(const cJSON *pod, const char *file, const char *node_name)
{
    cleanup_free char *text = json_text(pod);
    cleanup_free char *all = mem_printf("host:%s\nfile:%s\n%s", node_name, file, text);
    unsigned char digest[32];
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, all, strlen(all), digest) != 0)
        memset(digest, 0, sizeof(digest));
    char *hex = mem_alloc(33);
    for (int i = 0; i < 16; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return hex;
}

cJSON *static_pod_parse(const char *text, size_t len, const char *file, const char *node_name,
                        struct error **err)
{
    cleanup_json cJSON *pod = yaml_to_json(text, len, err); /* of which JSON is a part */
    if (!pod)
        return NULL;
    if (!cJSON_IsObject(pod) || strcmp(json_str_or(pod, "kind", ""), "Pod") != 0 ||
        strcmp(json_str_or(pod, "apiVersion", ""), "v1") != 0) {
        error_setf(err, "it is no v1 Pod");
        return NULL;
    }
    const char *given = json_str_or(pod, "metadata.name", "");
    if (!*given || !cJSON_GetArraySize(json_path(pod, "spec.containers"))) {
        error_setf(err, "it has no name or no container");
        return NULL;
    }
    if (refers_to_api(pod, err))
        return NULL;
    cleanup_free char *hash = content_hash(pod, file, node_name);
    cleanup_free char *name = mem_printf("%s-%s", given, node_name);
    json_set_str(pod, "metadata.name", name);
    if (!*json_str_or(pod, "metadata.namespace", ""))
        json_set_str(pod, "metadata.namespace", "default");
    json_set_str(pod, "metadata.uid", hash);
    json_remove(pod, "metadata.resourceVersion");
    json_remove(pod, "metadata.deletionTimestamp");
    json_remove(pod, "status");
    cJSON *notes = json_ensure_object(pod, "metadata.annotations");
    char now[TIME_TEXT_MAX];
    json_map_set_str(notes, ANNOTATION_HASH, hash);
    json_map_set_str(notes, ANNOTATION_SEEN, time_format_micro(time_now_micros(), now));
    json_map_set_str(notes, ANNOTATION_SOURCE, "file");
    json_map_set(notes, ANNOTATION_MIRROR, NULL);
    json_set_str(pod, "spec.nodeName", node_name);
    /* It stays whatever becomes of the node. */
    cJSON *tolerations = json_ensure_array(pod, "spec.tolerations"), *all = cJSON_CreateObject();
    json_set_str(all, "operator", "Exists");
    json_set_str(all, "effect", "NoExecute");
    cJSON_AddItemToArray(tolerations, all);
    json_set_str(pod, "status.phase", "Pending");
    if (!translate_safe_names(pod, err))
        return NULL;
    cJSON *out = pod;
    pod = NULL;
    return out;
}

/* --- the folder --- */

struct static_pods {
    struct kubelet *k;
    char *path;
    pthread_t thread;
    int stop; /* eventfd */
};

static void add_file(struct static_pods *s, const char *file, struct kube_object ***list,
                     size_t *count)
{
    cleanup_error struct error *failure = NULL;
    cleanup_buf struct buf text = {0};
    struct stat st;
    if (stat(file, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > 10 << 20)
        return;
    cJSON *pod = buf_read_file(&text, file, &failure)
                     ? static_pod_parse(buf_str(&text), text.len, file, s->k->node_name, &failure)
                     : NULL;
    if (!pod) {
        log_error("Could not process manifest file", "path", file, "err", error_message(failure));
        return;
    }
    struct kube_object *o = kube_object_new(pod);
    for (size_t i = 0; i < *count; i++) {
        if (strcmp((*list)[i]->key, o->key) == 0 || strcmp((*list)[i]->uid, o->uid) == 0) {
            log_error("Two manifest files make the same pod", "path", file, "pod", o->key);
            kube_object_unref(o);
            return;
        }
    }
    *list = mem_realloc(*list, (*count + 1) * sizeof(**list));
    (*list)[(*count)++] = o;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void read_all(struct static_pods *s, struct kube_object ***list, size_t *count)
{
    DIR *d = opendir(s->path);
    if (!d) {
        add_file(s, s->path, list, count); /* one file, or nothing yet */
        return;
    }
    char **names = NULL;
    size_t n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        names = mem_realloc(names, (n + 1) * sizeof(*names));
        names[n++] = mem_printf("%s/%s", s->path, e->d_name);
    }
    closedir(d);
    if (n)
        qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 0; i < n; i++) {
        add_file(s, names[i], list, count);
        free(names[i]);
    }
    free(names);
}

/* What the files say now becomes what runs: pods that they do not name any more end, new ones
 * begin. */
static void refresh(struct static_pods *s)
{
    struct kube_object **wanted = NULL;
    size_t count = 0;
    read_all(s, &wanted, &count);
    struct pod **old = pods_all(s->k);
    for (size_t i = 0; old[i]; i++) {
        bool keep = !old[i]->is_static;
        for (size_t n = 0; n < count && !keep; n++)
            keep = strcmp(wanted[n]->uid, old[i]->uid) == 0;
        pthread_mutex_lock(&old[i]->lock);
        bool ends = !keep && !old[i]->removed;
        old[i]->removed = old[i]->removed || ends;
        pthread_mutex_unlock(&old[i]->lock);
        if (ends)
            pod_wake(old[i]);
    }
    pods_free_list(old);
    for (size_t n = 0; n < count; n++) {
        cleanup_pod struct pod *known = pods_find_uid(s->k, wanted[n]->uid);
        /* One that is ending comes back when it has ended. */
        if (!known)
            pods_add(s->k, wanted[n], true);
        kube_object_unref(wanted[n]);
    }
    free(wanted);
}

static void *follow(void *arg)
{
    enum { CHECK_MS = 20000 }; /* Kubernetes' --file-check-frequency */
    struct static_pods *s = arg;
    cleanup_close int notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int watch = -1;
    for (;;) {
        if (watch < 0 && notify >= 0) {
            watch = inotify_add_watch(notify, s->path,
                                      IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE |
                                          IN_DELETE_SELF);
            if (watch >= 0)
                refresh(s); /* what came before we looked */
        }
        struct pollfd fds[] = {{.fd = s->stop, .events = POLLIN}, {.fd = notify, .events = POLLIN}};
        if (poll(fds, 2, CHECK_MS) < 0 && errno != EINTR)
            return NULL;
        if (fds[0].revents)
            return NULL;
        char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
        for (ssize_t n; notify >= 0 && (n = read(notify, events, sizeof(events))) > 0;)
            for (char *p = events; p < events + n;) {
                const struct inotify_event *e = (const void *)p;
                if (e->mask & IN_IGNORED)
                    watch = -1;
                p += sizeof(*e) + e->len;
            }
        refresh(s);
    }
}

struct static_pods *static_pods_start(struct kubelet *k, const char *path)
{
    struct static_pods *s = mem_alloc(sizeof(*s));
    s->k = k;
    s->path = mem_strdup(path);
    s->stop = eventfd(0, EFD_CLOEXEC);
    refresh(s);
    if (s->stop < 0 || !thread_start(&s->thread, follow, s)) {
        log_error("Cannot follow manifest files", "path", path);
        free(s->path);
        free(s);
        return NULL;
    }
    return s;
}

void static_pods_stop(struct static_pods *s)
{
    if (!s)
        return;
    eventfd_write(s->stop, 1);
    pthread_join(s->thread, NULL);
    close(s->stop);
    free(s->path);
    free(s);
}

/* --- mirrors --- */

static bool delete_mirror(struct kubelet *k, const struct kube_object *mirror, struct error **err)
{
    cleanup_json cJSON *options = cJSON_CreateObject();
    json_set_str(options, "apiVersion", "v1");
    json_set_str(options, "kind", "DeleteOptions");
    json_set_int(options, "gracePeriodSeconds", 0);
    json_set_str(options, "preconditions.uid", mirror->uid);
    cleanup_free char *path = kube_path_new("v1", "pods", mirror->ns, mirror->name, NULL);
    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *answer =
        k->api.request(k->api.userdata, "DELETE", path, NULL, options, &failure);
    bool gone = answer || (failure && (failure->code == 404 || failure->code == 409));
    if (!gone && failure) {
        error_move(err, failure);
        failure = NULL;
    }
    return gone;
}

struct removal {
    struct kubelet *k;
    struct kube_object *mirror;
    int tries;
};

static void remove_mirror(void *arg)
{
    struct removal *j = arg;
    /* A file may have come meanwhile that makes the very pod; the mirror is its own to replace
     * then. */
    cleanup_pod struct pod *p = pods_find(j->k, j->mirror->ns, j->mirror->name);
    bool wanted = p && p->is_static && !p->removed;
    if (!wanted && !atomic_load(&j->k->stopping) && !delete_mirror(j->k, j->mirror, NULL) &&
        j->tries++ < 20) {
        pool_run_after(j->k->pool, 500 << (j->tries < 5 ? j->tries : 5), remove_mirror, j);
        return;
    }
    kube_object_unref(j->mirror);
    free(j);
}

static void remove_mirror_later(struct kubelet *k, struct kube_object *mirror)
{
    struct removal *j = mem_alloc(sizeof(*j));
    *j = (struct removal){k, kube_object_ref(mirror), 0};
    pool_run(k->pool, remove_mirror, j);
}

void static_mirror_changed(struct kubelet *k, enum informer_event event, struct kube_object *mirror)
{
    cleanup_pod struct pod *p = pods_find(k, mirror->ns, mirror->name);
    if (!p || !p->is_static) {
        if (event != INFORMER_DELETED)
            remove_mirror_later(k, mirror); /* its file went away while we did not look */
        return;
    }
    pthread_mutex_lock(&p->lock);
    bool same = p->mirror && strcmp(p->mirror->uid, mirror->uid) == 0;
    if (event != INFORMER_DELETED || same) {
        kube_object_unref(p->mirror);
        p->mirror = event == INFORMER_DELETED ? NULL : kube_object_ref(mirror);
    }
    p->status_dirty = p->status_dirty || !p->removed;
    pthread_mutex_unlock(&p->lock);
    pod_wake(p);
}

/* The node owns it, so that it goes when the node goes. */
static void own(struct pod *p, cJSON *mirror)
{
    cleanup_free char *path = kube_path_new("v1", "nodes", NULL, p->kubelet->node_name, NULL);
    cleanup_json cJSON *node =
        p->kubelet->api.request(p->kubelet->api.userdata, "GET", path, NULL, NULL, NULL);
    const char *uid = json_str(node, "metadata.uid");
    if (!uid)
        return;
    cJSON *ref = cJSON_CreateObject();
    json_set_str(ref, "apiVersion", "v1");
    json_set_str(ref, "kind", "Node");
    json_set_str(ref, "name", p->kubelet->node_name);
    json_set_str(ref, "uid", uid);
    json_set_bool(ref, "controller", true);
    cJSON_AddItemToArray(json_ensure_array(mirror, "metadata.ownerReferences"), ref);
}

bool static_mirror_ensure(struct pod *p, struct error **err)
{
    struct kubelet *k = p->kubelet;
    pthread_mutex_lock(&p->lock);
    cleanup_object struct kube_object *mirror = kube_object_ref(p->mirror),
                                      *o = kube_object_ref(p->object);
    pthread_mutex_unlock(&p->lock);
    if (mirror) {
        const char *of = annotation(mirror->json, ANNOTATION_MIRROR);
        if (of && strcmp(of, p->uid) == 0 && !json_str(mirror->json, "metadata.deletionTimestamp"))
            return true;
        /* Deleted by somebody, or of an earlier file: the pod itself goes on. */
        if (!delete_mirror(k, mirror, err))
            return false;
    }
    cleanup_json cJSON *copy = json_dup(o->json);
    json_remove(copy, "metadata.uid");
    json_remove(copy, "status");
    json_map_set_str(json_ensure_object(copy, "metadata.annotations"), ANNOTATION_MIRROR, p->uid);
    own(p, copy);
    cleanup_free char *path = kube_path_new("v1", "pods", o->ns, NULL, NULL);
    cleanup_json cJSON *made = k->api.request(k->api.userdata, "POST", path, NULL, copy, err);
    if (!made)
        return false; /* there is one already? The watch brings it. */
    struct kube_object *fresh = kube_object_new(made);
    made = NULL;
    pthread_mutex_lock(&p->lock);
    kube_object_unref(p->mirror);
    p->mirror = fresh;
    pthread_mutex_unlock(&p->lock);
    return true;
}

void static_pod_ended(struct pod *p)
{
    pthread_mutex_lock(&p->lock);
    cleanup_object struct kube_object *mirror = kube_object_ref(p->mirror);
    pthread_mutex_unlock(&p->lock);
    if (mirror)
        remove_mirror_later(p->kubelet, mirror);
}
