/* Directories of this node as PersistentVolumes: bound into pods; those of skiff.dev/local-path are made and removed here.
 * https://kubernetes.io/docs/concepts/storage/volumes/#local */
#include "common/json.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/volumes.h"
#include "kubelet/volume/atomic.h"
#include "kubelet/volume/volume.h"
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

bool bind_mounted(const char *from, const char *to)
{
    struct stat a, b;
    return stat(from, &a) == 0 && stat(to, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Made for anybody who may have it mounted, as an emptyDir. */
static bool make_ours(const char *path, struct error **err)
{
    if (access(path, F_OK) == 0)
        return true;
    if (!make_directories(path, 0777, err))
        return false;
    if (chmod(path, 0777) != 0) {
        error_set_errno(err, errno, "chmod %s", path);
        return false;
    }
    return true;
}

bool local_volume_setup(const struct volume_node *n, const char *dir, const cJSON *volume, bool *mounted, struct error **err)
{
    const char *path = json_str_or(volume, "local.path", "");
    *mounted = false;
    if (json_bool(volume, VOLUME_OURS, false)) {
        bool there = access(path, F_OK) == 0;
        if (!make_ours(path, err))
            return false;
        if (!there && n->local_changed)
            n->local_changed(n->userdata);
    }
    struct stat st;
    if (stat(path, &st) != 0) {
        error_setf(err, "path \"%s\" does not exist", path);
        return false;
    }
    if (!S_ISDIR(st.st_mode)) {
        error_setf(err, "path \"%s\" is not a directory", path);
        return false;
    }
    if (!make_directories(dir, 0750, err))
        return false;
    if (bind_mounted(path, dir))
        return true;
    if (mount(path, dir, NULL, MS_BIND | MS_REC, NULL) != 0) {
        error_set_errno(err, errno, "bind %s to %s", path, dir);
        return false;
    }
    *mounted = true;
    return true;
}

/* --- those that we make --- */

static bool is_ours(const char *name)
{
    return strncmp(name, "pvc-", 4) == 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t list_ours(const char *root, char ***names)
{
    DIR *d = opendir(root);
    size_t count = 0;
    *names = NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!is_ours(e->d_name))
            continue;
        *names = mem_realloc(*names, (count + 1) * sizeof(**names));
        (*names)[count++] = mem_strdup(e->d_name);
    }
    if (d)
        closedir(d);
    if (count)
        qsort(*names, count, sizeof(**names), by_text);
    return count;
}

cJSON *local_volumes_in_use(void)
{
    char **names;
    size_t count = list_ours(LOCAL_VOLUMES_DIR, &names);
    cJSON *list = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        cleanup_free char *text = mem_printf(LOCAL_VOLUME_IN_USE "%s", names[i]);
        cJSON_AddItemToArray(list, cJSON_CreateString(text));
        free(names[i]);
    }
    free(names);
    return list;
}

/* Is it bound into a pod's directory? */
static bool is_mounted(const struct volume_node *n, const char *name)
{
    cleanup_free char *pods = mem_printf("%s/pods", n->root_dir);
    DIR *d = opendir(pods);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        cleanup_free char *dir = mem_printf("%s/%s/volumes/kubernetes.io~local-volume/%s", pods, e->d_name, name);
        found = e->d_name[0] != '.' && access(dir, F_OK) == 0;
    }
    if (d)
        closedir(d);
    return found;
}

void local_volumes_collect(const struct volume_node *n)
{
    char **names;
    size_t count = list_ours(LOCAL_VOLUMES_DIR, &names);
    bool changed = false;
    for (size_t i = 0; i < count; i++) {
        if (!is_mounted(n, names[i])) {
            cleanup_free char *path = mem_printf("/api/v1/persistentvolumes/%s", names[i]);
            cleanup_json cJSON *pv = n->api->request(n->api->userdata, "GET", path, NULL, NULL, NULL);
            /* Only what the API says to be given up: a volume that it does not know may be one that somebody wants to keep. */
            bool goes = pv && strcmp(json_str_or(pv, "status.phase", ""), "Released") == 0 &&
                        strcmp(json_str_or(pv, "spec.persistentVolumeReclaimPolicy", "Retain"), "Delete") == 0 &&
                        strcmp(json_str_or(pv, "spec.local.path", ""), "") != 0;
            cleanup_free char *dir = mem_printf(LOCAL_VOLUMES_DIR "/%s", names[i]);
            cleanup_error struct error *failure = NULL;
            if (goes && strcmp(json_str_or(pv, "spec.local.path", ""), dir) == 0) {
                if (remove_tree(dir, &failure)) {
                    log_info("Removed the directory of a released volume", "volume", names[i]);
                    changed = true;
                } else {
                    log_warn("Could not remove the directory of a released volume", "volume", names[i], "err",
                             error_message(failure));
                }
            }
        }
        free(names[i]);
    }
    free(names);
    if (changed && n->local_changed)
        n->local_changed(n->userdata);
}
