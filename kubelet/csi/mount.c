/* A pod's volumes of CSI drivers: staged once on the node, published for each pod; and the way
 * back. What the way back needs stands in vol_data.json beside each mount, as Kubernetes has it. */
#include "common/json.h"
#include "common/kube_client.h"
#include "common/log.h"
#include "common/mem.h"
#include "kubelet/arena.h"
#include "kubelet/csi/csi.h"
#include "kubelet/csi/csi.pb-c.h"
#include "kubelet/pod/spec.h"
#include "kubelet/volume/atomic.h"
#include "kubelet/volume/volume.h"
#include <dirent.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <mntent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *sha256_hex(const char *text)
{
    unsigned char digest[32];
    if (gnutls_hash_fast(GNUTLS_DIG_SHA256, text, strlen(text), digest) != 0)
        memset(digest, 0, sizeof(digest));
    char *hex = mem_alloc(65);
    for (int i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return hex;
}

static bool mounted_at(const char *dir)
{
    FILE *f = setmntent("/proc/self/mounts", "r");
    struct mntent e;
    char line[8192];
    bool found = false;
    while (f && !found && getmntent_r(f, &e, line, sizeof(line)))
        found = strcmp(e.mnt_dir, dir) == 0;
    if (f)
        endmntent(f);
    return found;
}

/* --- messages --- */

/* Every map that protobuf-c generates has entries of its own type but of this one layout. */
struct map_entry {
    ProtobufCMessage base;
    char *key, *value;
};

static void *map_of(struct arena *a, const cJSON *json, const ProtobufCMessageDescriptor *type,
                    size_t *count)
{
    struct map_entry **entries =
        arena_alloc(a, ((size_t)cJSON_GetArraySize(json) + 1) * sizeof(*entries));
    const cJSON *m;
    *count = 0;
    cJSON_ArrayForEach(m, json)
    {
        if (!cJSON_IsString(m) || !m->string)
            continue;
        struct map_entry *e = arena_alloc(a, sizeof(*e));
        protobuf_c_message_init(type, e);
        e->key = arena_strdup(a, m->string);
        e->value = arena_strdup(a, m->valuestring);
        entries[(*count)++] = e;
    }
    return entries;
}

static Csi__V1__VolumeCapability *capability(struct arena *a, const cJSON *volume,
                                             const char *mount_group)
{
    Csi__V1__VolumeCapability *c = arena_alloc(a, sizeof(*c));
    csi__v1__volume_capability__init(c);
    c->access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
    c->mount = arena_alloc(a, sizeof(*c->mount));
    csi__v1__volume_capability__mount_volume__init(c->mount);
    c->mount->fs_type = arena_strdup(a, json_str_or(volume, "csi.fsType", ""));
    if (mount_group)
        c->mount->volume_mount_group = arena_strdup(a, mount_group);
    const cJSON *options = json_get(volume, VOLUME_MOUNT_OPTIONS), *o;
    c->mount->mount_flags =
        arena_alloc(a, ((size_t)cJSON_GetArraySize(options) + 1) * sizeof(*c->mount->mount_flags));
    cJSON_ArrayForEach(o, options)
    {
        if (cJSON_IsString(o))
            c->mount->mount_flags[c->mount->n_mount_flags++] = arena_strdup(a, o->valuestring);
    }
    c->access_mode = arena_alloc(a, sizeof(*c->access_mode));
    csi__v1__volume_capability__access_mode__init(c->access_mode);
    const cJSON *modes = json_get(volume, VOLUME_ACCESS_MODES);
    c->access_mode->mode =
        json_has_str(modes, "ReadWriteMany")
            ? CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_MULTI_WRITER
        : json_has_str(modes, "ReadOnlyMany")
            ? CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY
            : CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER;
    return c;
}

static bool call(struct csi_driver *d, const char *method, const void *request,
                 const ProtobufCMessageDescriptor *answer_type, struct error **err)
{
    cleanup_free char *path = mem_printf("/csi.v1.Node/%s", method);
    ProtobufCMessage *answer = csi_call(d->client, path, request, answer_type, err);
    if (answer)
        protobuf_c_message_free_unpacked(answer, NULL);
    return answer != NULL;
}

/* --- what is asked of the API --- */

/* A Secret's keys, decoded; {} without a reference. NULL: it cannot be had. */
static cJSON *secrets_of(struct csi *c, const cJSON *ref, const char *ns, struct error **err)
{
    cleanup_json cJSON *out = cJSON_CreateObject();
    const char *name = json_str(ref, "name");
    if (name) {
        cleanup_object struct kube_object *s = object_cache_get(
            csi_config(c)->objects, "secrets", json_str_or(ref, "namespace", ns), name, 1000, err);
        if (!s)
            return NULL;
        const cJSON *e;
        cJSON_ArrayForEach(e, json_get(s->json, "data"))
        {
            cleanup_buf struct buf text = {0};
            if (cJSON_IsString(e) &&
                buf_add_base64_decoded(&text, e->valuestring, strlen(e->valuestring)))
                json_map_set_str(out, e->string, buf_str(&text));
        }
    }
    cJSON *taken = out;
    out = NULL;
    return taken;
}

/* The attachment that a controller outside has made for the volume on this node; its metadata in
 * *context. */
static bool attached(struct csi *c, const cJSON *volume, const struct csi_driver *d,
                     cJSON **context, struct error **err)
{
    const struct csi_options *o = csi_config(c);
    cleanup_free char *all =
        mem_printf("%s%s%s", json_str_or(volume, "csi.volumeHandle", ""), d->name, o->node_name);
    cleanup_free char *hash = sha256_hex(all);
    cleanup_free char *name = mem_printf("csi-%s", hash);
    cleanup_free char *path =
        kube_path_new("storage.k8s.io/v1", "volumeattachments", NULL, name, NULL);
    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *va = o->api->request(o->api->userdata, "GET", path, NULL, NULL, &failure);
    if (va && json_bool(va, "status.attached", false)) {
        *context = json_dup(json_path(va, "status.attachmentMetadata"));
        return true;
    }
    if (va)
        error_setf(err, "volume attachment is being waited for: %s", name);
    else
        error_setf(err, "volumeattachments.storage.k8s.io \"%s\" is not to be had: %s", name,
                   error_message(failure));
    return false;
}

/* {attach, pod info, fsGroupPolicy}: what the CSIDriver says, with Kubernetes' defaults. */
struct driver_policy {
    bool attach, pod_info;
    char fs_group; /* 'N'one, 'F'ile, 'R'eadWriteOnceWithFSType */
};

static bool read_policy(struct csi *c, const char *driver, struct driver_policy *p,
                        struct error **err)
{
    const struct csi_options *o = csi_config(c);
    cleanup_free char *path = kube_path_new("storage.k8s.io/v1", "csidrivers", NULL, driver, NULL);
    cleanup_error struct error *failure = NULL;
    cleanup_json cJSON *object =
        o->api->request(o->api->userdata, "GET", path, NULL, NULL, &failure);
    if (!object && (!failure || failure->code != 404)) {
        error_move(err, failure);
        failure = NULL;
        return false;
    }
    p->attach = json_bool(object, "spec.attachRequired", true);
    p->pod_info = json_bool(object, "spec.podInfoOnMount", false);
    p->fs_group = *json_str_or(object, "spec.fsGroupPolicy", "ReadWriteOnceWithFSType");
    return true;
}

/* --- up --- */

static char *stage_dir(struct csi *c, const char *driver, const char *handle)
{
    cleanup_free char *hash = sha256_hex(handle);
    return mem_printf("%s/plugins/kubernetes.io/csi/%s/%s", csi_config(c)->root_dir, driver, hash);
}

static bool write_data(const char *dir, const char *driver, const char *handle, const char *pv,
                       bool ephemeral, struct error **err)
{
    cleanup_json cJSON *data = cJSON_CreateObject();
    json_set_str(data, "driverName", driver);
    json_set_str(data, "volumeHandle", handle);
    json_set_str(data, "specVolID", pv);
    json_set_str(data, "volumeLifecycleMode", ephemeral ? "Ephemeral" : "Persistent");
    cleanup_free char *text = json_text(data);
    cleanup_free char *path = mem_printf("%s/vol_data.json", dir);
    return make_directories(dir, 0750, err) &&
           buf_write_file_atomic(path, text, strlen(text), 0640, err);
}

struct setup {
    struct csi *c;
    struct csi_driver *d;
    const cJSON *pod, *volume;
    const char *handle, *target;
    char *staged;                /* owned; NULL: not staged */
    cJSON *attachment, *context; /* owned */
    const char *mount_group;
    bool readonly;
};

static bool stage(struct setup *s, struct error **err)
{
    cleanup_arena struct arena a = {0};
    cleanup_free char *dir = stage_dir(s->c, s->d->name, s->handle);
    s->staged = mem_printf("%s/globalmount", dir);
    cleanup_json cJSON *secrets =
        secrets_of(s->c, json_path(s->volume, "csi.nodeStageSecretRef"), "", err);
    if (!secrets ||
        !write_data(dir, s->d->name, s->handle, json_str_or(s->volume, VOLUME_PV, ""), false,
                    err) ||
        !make_directories(s->staged, 0750, err))
        return false;
    Csi__V1__NodeStageVolumeRequest r = CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;
    r.volume_id = (char *)s->handle;
    r.staging_target_path = s->staged;
    r.volume_capability = capability(&a, s->volume, s->mount_group);
    r.publish_context = map_of(
        &a, s->attachment, &csi__v1__node_stage_volume_request__publish_context_entry__descriptor,
        &r.n_publish_context);
    r.secrets = map_of(&a, secrets, &csi__v1__node_stage_volume_request__secrets_entry__descriptor,
                       &r.n_secrets);
    r.volume_context = map_of(&a, json_path(s->volume, "csi.volumeAttributes"),
                              &csi__v1__node_stage_volume_request__volume_context_entry__descriptor,
                              &r.n_volume_context);
    return call(s->d, "NodeStageVolume", &r, &csi__v1__node_stage_volume_response__descriptor, err);
}

static bool publish(struct setup *s, struct error **err)
{
    cleanup_arena struct arena a = {0};
    cleanup_json cJSON *secrets = secrets_of(s->c, json_path(s->volume, "csi.nodePublishSecretRef"),
                                             json_str_or(s->pod, "metadata.namespace", ""), err);
    if (!secrets)
        return false;
    Csi__V1__NodePublishVolumeRequest r = CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;
    r.volume_id = (char *)s->handle;
    r.target_path = (char *)s->target;
    if (s->staged)
        r.staging_target_path = s->staged;
    r.readonly = s->readonly;
    r.volume_capability = capability(&a, s->volume, s->mount_group);
    r.publish_context = map_of(
        &a, s->attachment, &csi__v1__node_publish_volume_request__publish_context_entry__descriptor,
        &r.n_publish_context);
    r.secrets =
        map_of(&a, secrets, &csi__v1__node_publish_volume_request__secrets_entry__descriptor,
               &r.n_secrets);
    r.volume_context = map_of(
        &a, s->context, &csi__v1__node_publish_volume_request__volume_context_entry__descriptor,
        &r.n_volume_context);
    return call(s->d, "NodePublishVolume", &r, &csi__v1__node_publish_volume_response__descriptor,
                err);
}

static void add_pod_info(cJSON *context, const cJSON *pod)
{
    json_map_set_str(context, "csi.storage.k8s.io/pod.name", json_str_or(pod, "metadata.name", ""));
    json_map_set_str(context, "csi.storage.k8s.io/pod.namespace",
                     json_str_or(pod, "metadata.namespace", ""));
    json_map_set_str(context, "csi.storage.k8s.io/pod.uid", json_str_or(pod, "metadata.uid", ""));
    json_map_set_str(context, "csi.storage.k8s.io/serviceAccount.name",
                     json_str_or(pod, "spec.serviceAccountName", "default"));
}

bool csi_setup(struct csi *c, const char *dir, const cJSON *pod, const cJSON *volume,
               struct error **err)
{
    cleanup_free char *target = mem_printf("%s/mount", dir);
    if (mounted_at(target))
        return true;
    const char *name = json_str_or(volume, "csi.driver", "");
    bool ephemeral = !json_str(volume, VOLUME_PV);
    cleanup_free char *own = NULL;
    if (ephemeral) { /* inline in the pod: a volume of its own, that lives as long */
        cleanup_free char *all = mem_printf("%s%s%s", json_str_or(volume, "name", ""),
                                            json_str_or(pod, "metadata.namespace", ""),
                                            json_str_or(pod, "metadata.uid", ""));
        cleanup_free char *hash = sha256_hex(all);
        own = mem_printf("csi-%s", hash);
    }
    struct setup s = {.c = c, .pod = pod, .volume = volume, .target = target};
    s.handle = ephemeral ? own : json_str_or(volume, "csi.volumeHandle", "");
    s.readonly =
        json_bool(volume, "csi.readOnly", false) || json_bool(volume, VOLUME_READONLY, false);
    struct driver_policy policy = {0};
    s.d = csi_driver_get(c, name, err);
    if (!s.d)
        return false;
    int64_t gid = json_int(pod, "spec.securityContext.fsGroup", -1);
    char group[32];
    snprintf(group, sizeof(group), "%lld", (long long)gid);
    s.mount_group = gid >= 0 && s.d->mount_group ? group : NULL;
    s.context = json_dup(json_path(volume, "csi.volumeAttributes"));
    if (!s.context)
        s.context = cJSON_CreateObject();
    if (ephemeral)
        json_map_set_str(s.context, "csi.storage.k8s.io/ephemeral", "true");
    /* What is written first is found again, whatever happens to us meanwhile. */
    bool ok = read_policy(c, name, &policy, err) &&
              write_data(dir, name, s.handle,
                         json_str_or(volume, VOLUME_PV, json_str_or(volume, "name", "")), ephemeral,
                         err) &&
              (ephemeral || !policy.attach || attached(c, volume, s.d, &s.attachment, err)) &&
              (ephemeral || !s.d->stages || stage(&s, err));
    if (ok && policy.pod_info)
        add_pod_info(s.context, pod);
    ok = ok && publish(&s, err);
    bool once = json_has_str(json_get(volume, VOLUME_ACCESS_MODES), "ReadWriteOnce");
    if (ok && gid >= 0 && !s.mount_group && !s.readonly &&
        (policy.fs_group == 'F' ||
         (policy.fs_group == 'R' && once && *json_str_or(volume, "csi.fsType", ""))))
        ok = volume_give_to_group(target, pod, gid, err);
    csi_driver_put(c, s.d);
    free(s.staged);
    cJSON_Delete(s.attachment);
    cJSON_Delete(s.context);
    return ok;
}

/* --- down --- */

static cJSON *read_data(const char *dir)
{
    cleanup_free char *path = mem_printf("%s/vol_data.json", dir);
    cleanup_buf struct buf text = {0};
    return buf_read_file(&text, path, NULL) ? json_parse(buf_str(&text), text.len, NULL) : NULL;
}

/* Calls fn for each CSI volume below a pod's directory until it returns false; whether it went
 * through. */
static bool each_volume(const char *pod_dir,
                        bool (*fn)(void *ctx, const char *dir, const cJSON *data), void *ctx)
{
    cleanup_free char *folder = mem_printf("%s/volumes/kubernetes.io~csi", pod_dir);
    DIR *d = opendir(folder);
    bool go_on = true;
    for (struct dirent *e; d && go_on && (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        cleanup_free char *dir = mem_printf("%s/%s", folder, e->d_name);
        cleanup_json cJSON *data = read_data(dir);
        if (data)
            go_on = fn(ctx, dir, data);
    }
    if (d)
        closedir(d);
    return go_on;
}

struct user {
    const char *driver, *handle;
};

static bool is_other(void *ctx, const char *dir, const cJSON *data)
{
    const struct user *u = ctx;
    (void)dir;
    return strcmp(json_str_or(data, "driverName", ""), u->driver) != 0 ||
           strcmp(json_str_or(data, "volumeHandle", ""), u->handle) != 0;
}

static bool used_by_other_pods(struct csi *c, const char *pod_dir, const char *driver,
                               const char *handle)
{
    cleanup_free char *pods = mem_printf("%s/pods", csi_config(c)->root_dir);
    DIR *d = opendir(pods);
    bool used = false;
    for (struct dirent *e; d && !used && (e = readdir(d));) {
        cleanup_free char *dir = mem_printf("%s/%s", pods, e->d_name);
        struct user u = {driver, handle};
        if (e->d_name[0] != '.' && strcmp(dir, pod_dir) != 0)
            used = !each_volume(dir, is_other, &u);
    }
    if (d)
        closedir(d);
    return used;
}

static bool unstage(struct csi *c, struct csi_driver *d, const char *handle, struct error **err)
{
    cleanup_free char *dir = stage_dir(c, d->name, handle);
    cleanup_free char *staged = mem_printf("%s/globalmount", dir);
    if (access(dir, F_OK) != 0)
        return true;
    Csi__V1__NodeUnstageVolumeRequest r = CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;
    r.volume_id = (char *)handle;
    r.staging_target_path = staged;
    return call(d, "NodeUnstageVolume", &r, &csi__v1__node_unstage_volume_response__descriptor,
                err) &&
           remove_tree(dir, err);
}

struct teardown {
    struct csi *c;
    const char *pod_dir;
    struct error **err;
};

static bool take_down(void *ctx, const char *dir, const cJSON *data)
{
    struct teardown *t = ctx;
    const char *handle = json_str_or(data, "volumeHandle", "");
    struct csi_driver *d = csi_driver_get(t->c, json_str_or(data, "driverName", ""), t->err);
    if (!d)
        return false; /* it must come back: only it knows what to do */
    cleanup_free char *target = mem_printf("%s/mount", dir);
    Csi__V1__NodeUnpublishVolumeRequest r = CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;
    r.volume_id = (char *)handle;
    r.target_path = target;
    bool ok = call(d, "NodeUnpublishVolume", &r,
                   &csi__v1__node_unpublish_volume_response__descriptor, t->err);
    if (ok && mounted_at(target)) {
        error_setf(t->err, "driver %s left %s mounted", d->name, target);
        ok = false;
    }
    if (ok && d->stages && strcmp(json_str_or(data, "volumeLifecycleMode", ""), "Ephemeral") != 0 &&
        !used_by_other_pods(t->c, t->pod_dir, d->name, handle))
        ok = unstage(t->c, d, handle, t->err);
    ok = ok && remove_tree(dir, t->err);
    csi_driver_put(t->c, d);
    return ok;
}

bool csi_teardown(struct csi *c, const char *pod_dir, struct error **err)
{
    struct teardown t = {c, pod_dir, err};
    return each_volume(pod_dir, take_down, &t);
}
