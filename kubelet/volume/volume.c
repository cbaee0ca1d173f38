#include "kubelet/volume/volume.h"
#include "kubelet/csi/csi.h"
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/timefmt.h"
#include "common/quantity.h"
#include "kubelet/volume/atomic.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mntent.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

char *volumes_pod_dir(const struct volume_node *n, const char *uid)
{
    return mem_printf("%s/pods/%s", n->root_dir, uid);
}

static const cJSON *find_volume(const cJSON *pod, const char *name)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        if (strcmp(json_str_or(v, "name", ""), name) == 0)
            return v;
    }
    return NULL;
}

/* The plug-in directory names that Kubernetes uses, by the volume's source. */
static const char *plugin_of(const cJSON *volume)
{
    static const char *const plugins[][2] = {
        {"emptyDir", "kubernetes.io~empty-dir"}, {"configMap", "kubernetes.io~configmap"},
        {"secret", "kubernetes.io~secret"},      {"downwardAPI", "kubernetes.io~downward-api"},
        {"projected", "kubernetes.io~projected"}, {"hostPath", "kubernetes.io~host-path"},
        {"local", "kubernetes.io~local-volume"}, {"csi", "kubernetes.io~csi"},
    };
    for (size_t i = 0; i < ARRAY_LEN(plugins); i++)
        if (json_get(volume, plugins[i][0]))
            return plugins[i][1];
    return NULL;
}

static bool has_api_content(const cJSON *volume)
{
    return json_get(volume, "configMap") || json_get(volume, "secret") || json_get(volume, "downwardAPI") ||
           json_get(volume, "projected");
}

bool volumes_need_refresh(const cJSON *pod)
{
    const cJSON *v;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        if (has_api_content(v))
            return true;
    }
    return false;
}

static char *volume_dir(const struct volume_node *n, const cJSON *pod, const cJSON *volume)
{
    const char *host = json_str(volume, "hostPath.path");
    if (host)
        return mem_strdup(host);
    return mem_printf("%s/pods/%s/volumes/%s/%s", n->root_dir, json_str_or(pod, "metadata.uid", ""), plugin_of(volume),
                      json_str_or(volume, VOLUME_PV, json_str_or(volume, "name", "")));
}

static bool is_mount_point(const char *dir)
{
    cleanup_free char *parent = mem_printf("%s/..", dir);
    struct stat a, b;
    return stat(dir, &a) == 0 && stat(parent, &b) == 0 && a.st_dev != b.st_dev;
}

static bool mount_tmpfs(const char *dir, int64_t size, struct error **err)
{
    if (is_mount_point(dir))
        return true;
    char options[64] = "";
    if (size > 0)
        snprintf(options, sizeof(options), "size=%lld", (long long)size);
    if (mount("tmpfs", dir, "tmpfs", 0, options) != 0) {
        error_set_errno(err, errno, "mount tmpfs on %s", dir);
        return false;
    }
    return true;
}

/* --- fsGroup: the volume belongs to the group, new files in it too --- */

static _Thread_local gid_t owner_group; /* for nftw, which passes nothing on; set by the calling thread */
static int give_to_group(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)ftw;
    if (lchown(path, (uid_t)-1, owner_group) != 0)
        return -1;
    if (type == FTW_SL || S_ISLNK(st->st_mode))
        return 0;
    mode_t mode = (st->st_mode & 07777) | 0660;
    if (S_ISDIR(st->st_mode))
        mode |= S_ISGID | 0110;
    return chmod(path, mode);
}

static bool apply_fs_group(const char *dir, int64_t gid, struct error **err)
{
    owner_group = (gid_t)gid;
    if (nftw(dir, give_to_group, 16, FTW_PHYS | FTW_MOUNT) != 0) {
        error_set_errno(err, errno, "set group of %s", dir);
        return false;
    }
    return true;
}

/* fsGroupChangePolicy OnRootMismatch: a volume whose root is right is taken to be right. */
bool volume_give_to_group(const char *dir, const cJSON *pod, int64_t gid, struct error **err)
{
    struct stat st;
    if (strcmp(json_str_or(pod, "spec.securityContext.fsGroupChangePolicy", "Always"), "OnRootMismatch") == 0 &&
        stat(dir, &st) == 0 && st.st_gid == (gid_t)gid && (st.st_mode & (S_ISGID | 0770)) == (S_ISGID | 0770))
        return true;
    return apply_fs_group(dir, gid, err);
}

/* --- the kinds --- */

static bool setup_empty_dir(const char *dir, const cJSON *pod, const cJSON *volume, struct error **err)
{
    const cJSON *source = json_get(volume, "emptyDir");
    bool fresh = access(dir, F_OK) != 0;
    if (!make_directories(dir, 0777, err))
        return false;
    if (strcmp(json_str_or(source, "medium", ""), "Memory") == 0) {
        fresh = fresh || !is_mount_point(dir);
        if (!mount_tmpfs(dir, quantity_text_value(json_str(source, "sizeLimit")), err))
            return false;
    }
    if (!fresh)
        return true;
    if (chmod(dir, 0777) != 0) {
        error_set_errno(err, errno, "chmod %s", dir);
        return false;
    }
    int64_t gid = json_int(pod, "spec.securityContext.fsGroup", -1);
    return gid < 0 || apply_fs_group(dir, gid, err);
}

/* https://kubernetes.io/docs/concepts/storage/volumes/#hostpath */
static bool check_host_path(const cJSON *volume, struct error **err)
{
    const char *path = json_str_or(volume, "hostPath.path", ""), *type = json_str_or(volume, "hostPath.type", "");
    if (!*type)
        return true;
    struct stat st;
    bool exists = stat(path, &st) == 0;
    if (strcmp(type, "DirectoryOrCreate") == 0) {
        if (!exists)
            return make_directories(path, 0755, err);
        type = "Directory";
    } else if (strcmp(type, "FileOrCreate") == 0) {
        if (!exists) {
            cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
            if (fd < 0)
                error_set_errno(err, errno, "open %s", path);
            return fd >= 0;
        }
        type = "File";
    }
    static const struct {
        const char *type, *what;
        mode_t mode;
    } kinds[] = {{"Directory", "directory", S_IFDIR},
                 {"File", "file", S_IFREG},
                 {"Socket", "socket file", S_IFSOCK},
                 {"CharDevice", "character device", S_IFCHR},
                 {"BlockDevice", "block device", S_IFBLK}};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(type, kinds[i].type) == 0) {
            if (exists && (st.st_mode & S_IFMT) == kinds[i].mode)
                return true;
            error_setf(err, "hostPath type check failed: %s is not a %s", path, kinds[i].what);
            return false;
        }
    }
    error_setf(err, "%s is an invalid volume type", type);
    return false;
}

static bool setup_content(const struct volume_node *n, const struct downward_source *downward, const char *dir,
                          const cJSON *volume, int64_t max_age_ms, struct error **err)
{
    cleanup_payload struct payload files = {0};
    if (!volume_payload(n, downward, volume, max_age_ms, &files, err))
        return false;
    if (!make_directories(dir, 0755, err))
        return false;
    /* Secrets never reach a disk; ConfigMaps may. */
    if (!json_get(volume, "configMap") && !mount_tmpfs(dir, 0, err))
        return false;
    int64_t gid = json_int(downward->pod, "spec.securityContext.fsGroup", -1);
    if (gid >= 0 && (chown(dir, (uid_t)-1, (gid_t)gid) != 0 || chmod(dir, 02775) != 0)) {
        error_set_errno(err, errno, "set group of %s", dir);
        return false;
    }
    return atomic_write(dir, &files, (long)gid, NULL, err);
}

static bool setup_local(const struct volume_node *n, const char *dir, const cJSON *pod, const cJSON *volume,
                        struct error **err)
{
    bool mounted;
    if (!local_volume_setup(n, dir, volume, &mounted, err))
        return false;
    int64_t gid = json_int(pod, "spec.securityContext.fsGroup", -1);
    return !mounted || gid < 0 || volume_give_to_group(dir, pod, gid, err);
}

static bool is_used(const cJSON *pod, const char *volume)
{
    cleanup_pod_containers struct pod_container_list all = {0};
    pod_containers(pod, &all);
    for (size_t i = 0; i < all.count; i++) {
        const cJSON *m;
        cJSON_ArrayForEach(m, json_get(all.items[i].spec, "volumeMounts"))
        {
            if (strcmp(json_str_or(m, "name", ""), volume) == 0)
                return true;
        }
    }
    return false;
}

bool volumes_ensure(const struct volume_node *n, const struct downward_source *downward, int64_t max_age_ms,
                    struct error **err)
{
    const cJSON *pod = downward->pod, *v;
    int64_t began_ms = time_monotonic_ms(); /* what was fetched since then serves all of the pod's volumes */
    cleanup_free char *pod_dir = volumes_pod_dir(n, json_str_or(pod, "metadata.uid", ""));
    if (!make_directories(pod_dir, 0750, err))
        return false;
    cJSON_ArrayForEach(v, json_path(pod, "spec.volumes"))
    {
        const char *name = json_str_or(v, "name", "");
        if (!is_used(pod, name))
            continue;
        cleanup_error struct error *failure = NULL;
        bool ok = false;
        cleanup_json cJSON *volume = volume_resolve(n, pod, v, max_age_ms <= 1000, &failure);
        if (volume && !plugin_of(volume)) {
            error_setf(&failure, "the volume's source is not supported by this node");
        } else if (volume) {
            cleanup_free char *dir = volume_dir(n, pod, volume);
            if (json_get(volume, "hostPath"))
                ok = check_host_path(volume, &failure);
            else if (json_get(volume, "emptyDir"))
                ok = setup_empty_dir(dir, pod, volume, &failure);
            else if (json_get(volume, "local"))
                ok = setup_local(n, dir, pod, volume, &failure);
            else if (json_get(volume, "csi") && n->csi)
                ok = csi_setup(n->csi, dir, pod, volume, &failure);
            else
                ok = setup_content(n, downward, dir, volume, max_age_ms + time_monotonic_ms() - began_ms + 1, &failure);
        }
        if (!ok) {
            error_set(err, failure ? failure->code : 0, "", "MountVolume.SetUp failed for volume \"%s\" : %s", name,
                      error_message(failure));
            return false;
        }
    }
    return true;
}

bool volumes_mounts(const struct volume_node *n, const cJSON *pod, const cJSON *container, const struct env_list *env,
                    struct translate_mounts *out, struct error **err)
{
    const char *uid = json_str_or(pod, "metadata.uid", ""), *container_name = json_str_or(container, "name", "");
    const cJSON *m;
    int index = -1;
    cJSON_ArrayForEach(m, json_get(container, "volumeMounts"))
    {
        index++;
        const char *name = json_str_or(m, "name", ""), *path = json_str_or(m, "mountPath", "");
        const cJSON *of_pod = find_volume(pod, name);
        cleanup_json cJSON *volume = of_pod ? volume_resolve(n, pod, of_pod, false, err) : NULL;
        if (of_pod && !volume)
            return false;
        if (!volume || !plugin_of(volume)) {
            error_setf(err, "cannot find volume \"%s\" to mount into container \"%s\"", name, container_name);
            return false;
        }
        cleanup_free char *host = volume_dir(n, pod, volume);
        if (json_get(volume, "csi")) {
            char *mounted = mem_printf("%s/mount", host);
            free(host);
            host = mounted;
        }
        const char *subpath = json_str(m, "subPath"), *expression = json_str(m, "subPathExpr");
        cleanup_free char *expanded = expression && *expression ? env_expand(expression, env, NULL) : NULL;
        if (expanded)
            subpath = expanded;
        if (subpath && *subpath) {
            cleanup_free char *target = mem_printf("%s/pods/%s/volume-subpaths/%s/%s/%d", n->root_dir, uid, name,
                                                   container_name, index);
            cleanup_error struct error *failure = NULL;
            cleanup_free char *bound = subpath_bind(host, subpath, target, false, &failure);
            if (!bound) {
                error_setf(err, "failed to prepare subPath for volumeMount \"%s\" of container \"%s\": %s", name,
                           container_name, error_message(failure));
                return false;
            }
            free(host);
            host = mem_strdup(bound);
        }
        /* No runtime that we know says that it can do it. */
        if (strcmp(json_str_or(m, "recursiveReadOnly", ""), "Enabled") == 0) {
            error_setf(err,
                       "failed to resolve recursive read-only mode: volume \"%s\" requested recursive read-only mode, but "
                       "it is not supported by the runtime",
                       name);
            return false;
        }
        bool readonly = json_bool(m, "readOnly", false) || json_bool(volume, VOLUME_READONLY, false) || has_api_content(volume);
        cleanup_free char *absolute = mem_printf("%s%s", *path == '/' ? "" : "/", path);
        translate_mounts_add(out, host, absolute, readonly, json_str(m, "mountPropagation"));
    }
    return true;
}

/* --- the end --- */

/* All mount points at or below dir, deepest last in the file, so from the end. */
static void unmount_below(const char *dir)
{
    FILE *f = setmntent("/proc/self/mounts", "r");
    if (!f)
        return;
    char **found = NULL;
    size_t count = 0, len = strlen(dir);
    struct mntent e;
    char line[8192];
    while (getmntent_r(f, &e, line, sizeof(line))) {
        if (strncmp(e.mnt_dir, dir, len) == 0 && (e.mnt_dir[len] == '/' || !e.mnt_dir[len])) {
            found = mem_realloc(found, (count + 1) * sizeof(*found));
            found[count++] = mem_strdup(e.mnt_dir);
        }
    }
    endmntent(f);
    while (count > 0) {
        if (umount2(found[--count], 0) != 0 && errno == EBUSY)
            umount2(found[count], MNT_DETACH);
        free(found[count]);
    }
    free(found);
}

bool volumes_teardown(const struct volume_node *n, const char *uid, struct error **err)
{
    cleanup_free char *dir = volumes_pod_dir(n, uid);
    if (access(dir, F_OK) != 0)
        return true;
    cleanup_free char *subpaths = mem_printf("%s/volume-subpaths", dir);
    unmount_below(subpaths); /* binds of what the drivers are about to unmount */
    if (n->csi && !csi_teardown(n->csi, dir, err))
        return false;
    unmount_below(dir);
    return remove_tree(dir, err);
}
