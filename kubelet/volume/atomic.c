#include "kubelet/volume/atomic.h"
#include "common/buf.h"
#include "common/mem.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static bool path_is_safe(const char *path)
{
    if (!*path || *path == '/' || strlen(path) > 4000 || strncmp(path, "..", 2) == 0)
        return false;
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n > 255 || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
        while (*p == '/')
            p++;
    }
    return true;
}

bool payload_add(struct payload *p, const char *path, const void *data, size_t len, unsigned mode, struct error **err)
{
    if (!path_is_safe(path)) {
        error_setf(err, "invalid path: %s", path);
        return false;
    }
    struct payload_file *f = NULL;
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->items[i].path, path) == 0)
            f = &p->items[i];
    if (!f) {
        p->items = mem_realloc(p->items, (p->count + 1) * sizeof(*p->items));
        f = &p->items[p->count++];
        *f = (struct payload_file){.path = mem_strdup(path)};
    }
    free(f->data);
    f->data = mem_alloc(len + 1);
    if (len)
        memcpy(f->data, data, len);
    f->len = len;
    f->mode = mode & 0777;
    return true;
}

void payload_clear(struct payload *p)
{
    for (size_t i = 0; i < p->count; i++) {
        free(p->items[i].path);
        free(p->items[i].data);
    }
    free(p->items);
    *p = (struct payload){0};
}

bool make_directories(const char *path, unsigned mode, struct error **err)
{
    cleanup_free char *copy = mem_strdup(path);
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(copy, 0755) != 0 && errno != EEXIST) {
            error_set_errno(err, errno, "mkdir %s", copy);
            return false;
        }
        *p = '/';
    }
    if (mkdir(copy, mode) != 0 && errno != EEXIST) {
        error_set_errno(err, errno, "mkdir %s", copy);
        return false;
    }
    return true;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)ftw;
    int r = type == FTW_DP || type == FTW_D || type == FTW_DNR ? rmdir(path) : unlink(path);
    return r != 0 && errno != ENOENT ? -1 : 0;
}

bool remove_tree(const char *path, struct error **err)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT) {
        error_set_errno(err, errno, "remove %s", path);
        return false;
    }
    return true;
}

static bool same_file(const char *path, const struct payload_file *f, long gid)
{
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode) || (size_t)st.st_size != f->len)
        return false;
    if (gid >= 0 ? st.st_gid != (gid_t)gid : (st.st_mode & 0777) != f->mode)
        return false;
    cleanup_buf struct buf b = {0};
    return buf_read_file(&b, path, NULL) && b.len == f->len && memcmp(buf_str(&b), f->data, f->len) == 0;
}

static size_t count_files(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        cleanup_free char *path = mem_printf("%s/%s", dir, e->d_name);
        struct stat st;
        if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
            n += count_files(path);
        else
            n++;
    }
    if (d)
        closedir(d);
    return n;
}

static bool unchanged(const char *current, const struct payload *p, long gid)
{
    for (size_t i = 0; i < p->count; i++) {
        cleanup_free char *path = mem_printf("%s/%s", current, p->items[i].path);
        if (!same_file(path, &p->items[i], gid))
            return false;
    }
    return count_files(current) == p->count;
}

static bool write_payload_file(const char *dir, const struct payload_file *f, long gid, struct error **err)
{
    cleanup_free char *path = mem_printf("%s/%s", dir, f->path);
    cleanup_free char *parent = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    if (!make_directories(parent, 0755, err))
        return false;
    cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    size_t done = 0;
    while (fd >= 0 && done < f->len) {
        ssize_t n = write(fd, f->data + done, f->len - done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    unsigned mode = f->mode;
    if (gid >= 0)
        mode |= (mode & 0400) >> 3 | 0040; /* the group may read what was made for it */
    if (fd < 0 || done != f->len || fchmod(fd, mode) != 0 || (gid >= 0 && fchown(fd, (uid_t)-1, (gid_t)gid) != 0)) {
        error_set_errno(err, errno, "write %s", path);
        return false;
    }
    return true;
}

static bool is_wanted(const struct payload *p, const char *top)
{
    size_t n = strlen(top);
    for (size_t i = 0; i < p->count; i++)
        if (strncmp(p->items[i].path, top, n) == 0 && (p->items[i].path[n] == '\0' || p->items[i].path[n] == '/'))
            return true;
    return false;
}

/* Links for what is new, and none for what is gone; everything else below dir is ours as well. */
static bool update_links(const char *dir, const struct payload *p, const char *keep, struct error **err)
{
    for (size_t i = 0; i < p->count; i++) {
        cleanup_free char *top = mem_strndup(p->items[i].path, strcspn(p->items[i].path, "/"));
        cleanup_free char *link = mem_printf("%s/%s", dir, top);
        cleanup_free char *target = mem_printf("..data/%s", top);
        if (symlink(target, link) != 0 && errno != EEXIST) {
            error_set_errno(err, errno, "link %s", link);
            return false;
        }
    }
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || strcmp(e->d_name, "..data") == 0 ||
            strcmp(e->d_name, keep) == 0 || is_wanted(p, e->d_name))
            continue;
        cleanup_free char *path = mem_printf("%s/%s", dir, e->d_name);
        remove_tree(path, NULL); /* an old set, a stale link, or what a crash left */
    }
    if (d)
        closedir(d);
    return true;
}

bool atomic_write(const char *dir, const struct payload *p, long gid, bool *changed, struct error **err)
{
    if (changed)
        *changed = false;
    cleanup_free char *data_link = mem_printf("%s/..data", dir);
    char current_name[256] = "";
    ssize_t n = readlink(data_link, current_name, sizeof(current_name) - 1);
    current_name[n > 0 ? n : 0] = '\0';
    cleanup_free char *current = mem_printf("%s/%s", dir, current_name);
    if (n > 0 && unchanged(current, p, gid))
        return update_links(dir, p, current_name, err);

    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm tm;
    gmtime_r(&now.tv_sec, &tm);
    char name[64];
    size_t len = strftime(name, sizeof(name), "..%Y_%m_%d_%H_%M_%S.", &tm);
    snprintf(name + len, sizeof(name) - len, "%09ld", now.tv_nsec);
    cleanup_free char *fresh = mem_printf("%s/%s", dir, name);
    if (mkdir(fresh, 0755) != 0 || chmod(fresh, 0755) != 0) {
        error_set_errno(err, errno, "mkdir %s", fresh);
        return false;
    }
    for (size_t i = 0; i < p->count; i++)
        if (!write_payload_file(fresh, &p->items[i], gid, err)) {
            remove_tree(fresh, NULL);
            return false;
        }
    cleanup_free char *tmp_link = mem_printf("%s/..data_tmp", dir);
    unlink(tmp_link);
    if (symlink(name, tmp_link) != 0 || rename(tmp_link, data_link) != 0) {
        error_set_errno(err, errno, "link %s", data_link);
        return false;
    }
    if (changed)
        *changed = true;
    return update_links(dir, p, name, err);
}
