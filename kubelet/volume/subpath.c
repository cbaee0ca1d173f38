/* subPath mounts. A container may have replaced a directory of the volume by a link that leads elsewhere; so the
 * path is resolved by the kernel beneath the volume (openat2), and what was found there is bound to a place that
 * only we write to. */
#include "common/mem.h"
#include "kubelet/volume/atomic.h"
#include "kubelet/volume/volume.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_beneath(int dir, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* Makes the directories of path that are missing, one by one beneath the volume and with its permissions. */
static bool make_beneath(int volume, const char *path, struct error **err)
{
    struct stat of_volume;
    mode_t mode = fstat(volume, &of_volume) == 0 ? of_volume.st_mode & 0777 : 0750;
    cleanup_free char *partial = mem_strdup(path);
    for (char *p = partial;; p++) {
        if (*p != '/' && *p != '\0')
            continue;
        bool last = !*p;
        *p = '\0';
        if (*partial) {
            cleanup_close int fd = open_beneath(volume, partial);
            if (fd < 0 && errno == ENOENT) {
                char *slash = strrchr(partial, '/');
                cleanup_free char *parent = slash ? mem_strndup(partial, (size_t)(slash - partial)) : mem_strdup(".");
                cleanup_close int parent_fd = open_beneath(volume, parent);
                const char *name = slash ? slash + 1 : partial;
                if (parent_fd < 0 || (mkdirat(parent_fd, name, mode) != 0 && errno != EEXIST) ||
                    fchmodat(parent_fd, name, mode, 0) != 0) {
                    error_set_errno(err, errno, "mkdir %s", partial);
                    return false;
                }
            } else if (fd < 0) {
                error_set_errno(err, errno, "subpath %s", partial);
                return false;
            }
        }
        if (last)
            return true;
        *p = '/';
    }
}

char *subpath_bind(const char *volume_dir, const char *subpath, const char *target, bool volume_is_file,
                   struct error **err)
{
    if (*subpath == '/' || strstr(subpath, "..")) {
        error_setf(err, "must not contain '..': %s", subpath);
        return NULL;
    }
    cleanup_close int volume = open(volume_dir, O_PATH | O_CLOEXEC | (volume_is_file ? 0 : O_DIRECTORY));
    if (volume < 0) {
        error_set_errno(err, errno, "open %s", volume_dir);
        return NULL;
    }
    cleanup_close int found = open_beneath(volume, subpath);
    if (found < 0 && errno == ENOENT) {
        if (!make_beneath(volume, subpath, err))
            return NULL;
        found = open_beneath(volume, subpath);
    }
    struct stat st;
    if (found < 0 || fstat(found, &st) != 0) {
        error_set_errno(err, errno, "subpath %s of %s", subpath, volume_dir);
        return NULL;
    }
    umount2(target, MNT_DETACH); /* of the container's earlier run: the volume's file may be another one by now */
    cleanup_free char *parent = mem_strndup(target, (size_t)(strrchr(target, '/') - target));
    if (!make_directories(parent, 0750, err))
        return NULL;
    if (S_ISDIR(st.st_mode)) {
        unlink(target);
        if (mkdir(target, 0750) != 0 && errno != EEXIST) {
            error_set_errno(err, errno, "mkdir %s", target);
            return NULL;
        }
    } else {
        rmdir(target);
        int file = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
        if (file < 0) {
            error_set_errno(err, errno, "create %s", target);
            return NULL;
        }
        close(file);
    }
    char from[64];
    snprintf(from, sizeof(from), "/proc/self/fd/%d", found);
    if (mount(from, target, NULL, MS_BIND, NULL) != 0) {
        error_set_errno(err, errno, "bind %s to %s", subpath, target);
        return NULL;
    }
    return mem_strdup(target);
}
