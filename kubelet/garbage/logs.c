/* Rotation of the logs of containers that run. The runtime writes them; it opens a new file when
 * told. https://kubernetes.io/docs/concepts/cluster-administration/logging/#log-rotation */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <zlib.h>
#include "common/log.h"
#include "common/mem.h"
#include "kubelet/garbage/garbage.h"
#include "kubelet/pod/pod.h"

/* --- files beside the log: "<name>.20261124-102608", then with ".gz" --- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Rotated files of a log, oldest first; what an interrupted compression left is removed. Caller
 * frees all. */
static char **rotated_files(const char *path, size_t *count)
{
    const char *slash = strrchr(path, '/');
    cleanup_free char *dir = mem_strndup(path, (size_t)(slash - path));
    const char *name = slash + 1;
    size_t n = strlen(name);
    char **files = NULL;
    *count = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (strncmp(e->d_name, name, n) != 0 || e->d_name[n] != '.')
            continue;
        char *file = mem_printf("%s/%s", dir, e->d_name);
        if (ends_with(file, ".tmp")) {
            unlink(file);
            free(file);
            continue;
        }
        files = mem_realloc(files, (*count + 1) * sizeof(*files));
        files[(*count)++] = file;
    }
    if (d)
        closedir(d);
    if (*count)
        qsort(files, *count, sizeof(*files), by_name);
    return files;
}

/* To <file>.gz by way of <file>.tmp, so that a crash leaves one whole form of it. */
static bool compress_file(const char *file, struct error **err)
{
    cleanup_free char *temporary = mem_printf("%s.tmp", file);
    cleanup_free char *final = mem_printf("%s.gz", file);
    cleanup_close int in = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
    gzFile gz = out >= 0 ? gzdopen(out, "wb1") : NULL;
    if (in < 0 || !gz) {
        error_set_errno(err, errno, "compress %s", file);
        if (out >= 0)
            close(out);
        return false;
    }
    enum { PIECE = 64 * 1024 };
    cleanup_free char *bytes = mem_alloc(PIECE);
    ssize_t n;
    bool ok = true;
    while (ok && (n = read(in, bytes, PIECE)) != 0)
        ok = n > 0 && gzwrite(gz, bytes, (unsigned)n) == (int)n;
    ok = gzclose(gz) == Z_OK && ok;
    if (!ok || rename(temporary, final) != 0) {
        error_set_errno(err, errno, "compress %s", file);
        unlink(temporary);
        return false;
    }
    unlink(file);
    return true;
}

static void remove_oldest(char **files, size_t *count, size_t keep)
{
    size_t gone = *count > keep ? *count - keep : 0;
    for (size_t i = 0; i < gone; i++) {
        unlink(files[i]);
        free(files[i]);
    }
    memmove(files, files + gone, (*count - gone) * sizeof(*files));
    *count -= gone;
}

static bool move_aside(const char *path, bool (*reopen)(void *userdata, struct error **err),
                       void *userdata, struct error **err)
{
    char stamp[32];
    struct tm t;
    time_t now = time(NULL);
    localtime_r(&now, &t);
    strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &t);
    cleanup_free char *aside = mem_printf("%s.%s", path, stamp);
    struct stat st;
    if (lstat(aside, &st) == 0) {
        error_setf(err, "%s is there already",
                   aside); /* twice in one second: the next look does it */
        return false;
    }
    if (rename(path, aside) != 0) {
        error_set_errno(err, errno, "rename %s", path);
        return false;
    }
    if (reopen(userdata, err))
        return true;
    if (rename(aside, path) !=
        0) /* the runtime goes on writing to the old one, under its old name */
        log_warn("Could not put a log back", "path", path, "err", strerror(errno));
    return false;
}

bool log_rotate(const char *path, int64_t max_size, int64_t max_files,
                bool (*reopen)(void *userdata, struct error **err), void *userdata,
                struct error **err)
{
    struct stat st;
    if (stat(path, &st) != 0 || st.st_size < max_size)
        return false;
    size_t count;
    char **files = rotated_files(path, &count);
    /* Room for the one that is rotated now, beside the one that is begun. */
    if (count)
        remove_oldest(files, &count, max_files > 2 ? (size_t)max_files - 2 : 0);
    for (size_t i = 0; i < count; i++) {
        cleanup_error struct error *failure = NULL;
        if (!ends_with(files[i], ".gz") && !compress_file(files[i], &failure))
            log_warn("Could not compress a log", "path", files[i], "err", error_message(failure));
        free(files[i]);
    }
    free(files);
    return move_aside(path, reopen, userdata, err);
}
